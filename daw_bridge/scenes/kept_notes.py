"""Notes as a scene holds them on disk, so that they can be followed again in another run of the bridge."""

from __future__ import annotations

from fractions import Fraction

import msgspec

from daw_bridge.followed_clip import FollowedClip
from daw_bridge.midi_clip import MidiClip, Note, TempoMap, TimeSignature
from daw_bridge.midi_controls import Control
from protocols.errors import ErrorCode, RequestError
from protocols.melody import decode_melody

Ratio = tuple[int, int]


class KeptClip(msgspec.Struct, frozen=True, kw_only=True):
    """A `MidiClip`, without what follows from it. Each note: start, end (ticks), pitch, velocity, channel, track."""

    name: str
    ticks_per_beat: int
    tempos: list[tuple[int, int]]
    notes: list[tuple[int, int, int, int, int, int]]
    controls: list[tuple[int, int, int, int]] = []
    time_signatures: list[tuple[int, int, int]]
    key_signature: str | None = None
    content_ticks: int
    length_beats: Ratio
    channel_messages: list[tuple[int, bytes]] = []

    @classmethod
    def of(cls, clip: MidiClip) -> KeptClip:
        """What is kept of a clip."""
        return cls(
            name=clip.name,
            ticks_per_beat=clip.ticks_per_beat,
            tempos=[(change.tick, change.microseconds_per_beat) for change in clip.tempo_map.changes],
            notes=[
                (note.start_tick, note.end_tick, note.pitch, note.velocity, note.channel, note.track)
                for note in clip.notes
            ],
            controls=[(one.tick, one.channel, one.number, one.value) for one in clip.controls],
            time_signatures=[(sign.tick, sign.numerator, sign.denominator) for sign in clip.time_signatures],
            key_signature=clip.key_signature,
            content_ticks=clip.content_ticks,
            length_beats=clip.length_beats.as_integer_ratio(),
            channel_messages=list(clip.channel_messages),
        )

    def clip(self) -> MidiClip:
        """The clip again."""
        tempo_map, beat = TempoMap(self.ticks_per_beat, self.tempos), self.ticks_per_beat
        clip = MidiClip.of_notes(
            self.name,
            [
                Note(
                    start_tick=start,
                    end_tick=end,
                    start_beats=Fraction(start, beat),
                    end_beats=Fraction(end, beat),
                    start_seconds=tempo_map.seconds_at(start),
                    end_seconds=tempo_map.seconds_at(end),
                    pitch=pitch,
                    velocity=velocity,
                    channel=channel,
                    track=track,
                )
                for start, end, pitch, velocity, channel, track in self.notes
            ],
            tempo_map,
            controls=[Control(*values) for values in self.controls],
            channel_messages=self.channel_messages,
            time_signatures=[TimeSignature(*values) for values in self.time_signatures],
            key_signature=self.key_signature,
            content_ticks=self.content_ticks,
        )
        length = Fraction(*self.length_beats)
        return clip if clip.length_beats == length else clip.lasting(length)


class KeptNotes(msgspec.Struct, frozen=True, kw_only=True):
    """A `FollowedClip`; without a name it stands for following none.

    Attributes:
        melody: its line, as a melody is written down; empty where only drums play.
    """

    name: str = ""
    melody: str = ""
    bpm: Ratio = (0, 1)
    seconds: Ratio = (0, 1)
    key: str = ""
    key_hint: str = ""
    words: str = ""
    description: str = ""
    metre: str = ""
    clip: KeptClip | None = None

    @classmethod
    def of(cls, name: str, clip: FollowedClip) -> KeptNotes:
        """What is kept of notes."""
        return cls(
            name=name,
            melody=clip.line.encode() if clip.line is not None else "",
            bpm=clip.bpm.as_integer_ratio(),
            seconds=clip.seconds.as_integer_ratio(),
            key=clip.key,
            key_hint=clip.key_hint,
            words=clip.words,
            description=clip.description,
            metre=clip.metre,
            clip=KeptClip.of(clip.clip) if clip.clip is not None else None,
        )

    def followed(self) -> FollowedClip:
        """The notes again.

        Raises:
            RequestError: MALFORMED, about ``notes``: the file was changed by somebody.
        """
        try:
            return FollowedClip(
                line=decode_melody(self.melody) if self.melody else None,
                bpm=Fraction(*self.bpm),
                seconds=Fraction(*self.seconds),
                key=self.key,
                key_hint=self.key_hint,
                words=self.words,
                description=self.description,
                metre=self.metre,
                clip=self.clip.clip() if self.clip is not None else None,
            )
        except (RequestError, ValueError, ArithmeticError, LookupError) as error:
            raise RequestError(ErrorCode.MALFORMED, "notes", self.name, f"notes that can be read: {error}") from None
