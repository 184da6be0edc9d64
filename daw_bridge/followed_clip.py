"""What a clip asks of the engine: a melody to follow, a tempo, a key and words, at whatever tempo it is played."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from daw_bridge.lead_line import lead_line
from daw_bridge.midi_clip import KEY_CONFIDENCE_TO_NAME, MidiClip
from protocols.errors import ErrorCode, RequestError
from protocols.melody import AnyMelody, MelodyLine
from protocols.messages import FASTEST_BPM, SLOWEST_BPM
from protocols.metre import read_metre


@dataclass(frozen=True)
class FollowedClip:
    """A clip to play along. Never changes; any thread.

    Attributes:
        line: its lead line at its own tempo, or the melody of a recording; None where only drums play.
        bpm: its own tempo, exactly, as musicians count it; the mean where it changes; 0 for a recording, which tells none.
        seconds: its length at that tempo.
        key: as the clip is signed; empty where it is not.
        key_hint: as its notes sound; empty where that is not clear, and where it is signed.
        words: what a prompt should say about it that fields cannot: a metre other than 4/4, drums.
        description: what it is, for people.
        clip: all of it, for a synthesiser; None where there is only the line.
        metre: of its first bar, such as 3/4, where that is not 4/4.
    """

    line: AnyMelody | None
    bpm: Fraction
    seconds: Fraction
    key: str
    key_hint: str
    words: str
    description: str
    clip: MidiClip | None = field(default=None, repr=False)
    metre: str = ""

    @classmethod
    def of_clip(cls, clip: MidiClip, rule: str = "auto") -> FollowedClip:
        """Find the clip's lead line by a rule, see `lead_line`. By ``auto``, a clip of drums has none.

        Raises:
            RequestError: as `lead_line`.
        """
        only_drums = clip.drum_share == 1.0
        line = None if only_drums and rule == "auto" else lead_line(clip, rule)
        metre = " then ".join(dict.fromkeys(map(str, clip.time_signatures[:4])))
        drums = "" if not clip.drum_share else "drums" if only_drums else "with drums"
        signed, estimate = clip.key_signature, clip.estimated_key
        clear = signed is None and estimate is not None and estimate.confidence >= KEY_CONFIDENCE_TO_NAME
        return cls(
            line=line,
            bpm=clip.beat_bpm,
            seconds=clip.length_seconds,
            key=signed or "",
            key_hint=estimate.name if clear and estimate is not None else "",
            words=", ".join(filter(None, ("" if metre == "4/4" else metre, drums))),
            description=f"{clip.name}: {clip.describe()}"
            + ("; only drums play, there is no melody" if only_drums else ""),
            clip=clip,
            metre=_metre_of(clip),
        )

    @classmethod
    def of_recording(cls, melody: AnyMelody, description: str) -> FollowedClip:
        """The melody of a recording."""
        return cls(melody, Fraction(0), melody.seconds, key="", key_hint="", words="", description=description)

    @property
    def note_count(self) -> int:
        """How many notes its line has."""
        return 0 if self.line is None else self.line.note_count

    def at(self, bpm: float = 0.0) -> PlayedClip:
        """The clip at a tempo: its notes follow each other faster or slower.

        The engine counts tempos in thousandths. The clip is fitted to one of these, so that its bars are the engine's bars however
        long it is repeated.

        Args:
            bpm: beats per minute; 0 is the clip's own tempo.

        Raises:
            RequestError: about ``bpm``: OUT_OF_RANGE; about ``melody``: a clip that is too long or too short at this tempo.
        """
        if bpm and not SLOWEST_BPM <= bpm <= FASTEST_BPM:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "bpm", bpm, f"0, or {SLOWEST_BPM} to {FASTEST_BPM}")
        if not self.bpm:
            return PlayedClip(bpm, self._melody(Fraction(1)), self.seconds, self.description)
        tempo = Fraction(round((bpm or self.bpm) * 1000), 1000)
        if not SLOWEST_BPM <= tempo <= FASTEST_BPM:  # its own, which no engine takes: its notes tell it all the same
            return PlayedClip(0.0, self._melody(Fraction(1)), self.seconds, self.description)
        stretch = self.bpm / tempo
        elsewhere = bpm and round(self.bpm, 1) != round(tempo, 1)
        played = f", played at {float(tempo):g} bpm" if elsewhere else ""
        return PlayedClip(float(tempo), self._melody(stretch), self.seconds * stretch, self.description + played)

    def _melody(self, stretch: Fraction) -> str:
        line = self.line
        if line is None:
            return ""
        if stretch == 1 or not isinstance(line, MelodyLine):
            return line.encode()
        tick = stretch / line.rate
        notes = ((note.start * tick, note.end * tick, note.pitch) for note in line.notes)
        return MelodyLine.of_seconds(notes, line.length * tick).encode()


def _metre_of(clip: MidiClip) -> str:
    """The metre of its first bar where that is told; 4/4 is what a file means that tells none."""
    written = str(clip.time_signatures[0])
    try:
        read_metre(written)
    except RequestError:  # 4/1, 1/8 and their like
        return ""
    return "" if written == "4/4" else written


@dataclass(frozen=True)
class PlayedClip:
    """A clip at one tempo.

    Attributes:
        bpm: of the request; 0 where the engine takes no such tempo.
        melody: of the request.
        seconds: length of the clip at this tempo, exactly.
        note: what is played, for people.
    """

    bpm: float
    melody: str
    seconds: Fraction
    note: str
