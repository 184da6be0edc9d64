"""Recordings of what is played on MIDI inputs: opened, told about, kept as notes, handed to streams that follow them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import mido
from msgspec.structs import replace

from daw_bridge.followed_clip import FollowedClip
from daw_bridge.lead_line import check_rule
from daw_bridge.midi_input import InputPort, MidiInput
from daw_bridge.note_lists import NoteLists, check_name
from daw_bridge.played_notes import Phrase, PlayedNotes
from protocols.bridge_messages import BridgeUpdate, MidiInputInfo, MidiInputList, NotesRecorded, Recording, RecordNotes
from protocols.errors import ErrorCode, RequestError
from protocols.messages import FASTEST_BPM, SLOWEST_BPM, Event, Reply
from protocols.osc.front import Asker

MAX_RECORDINGS = 4
"""Each has a process of its own."""

_USUAL_BPM = 120.0
_TOLD_NS = 250_000_000
_UPDATE = "/bridge/update"


class PlayedInput(Protocol):
    """What a recording needs of `MidiInput`."""

    name: str
    error: RequestError | None

    @property
    def lost(self) -> int: ...
    def read(self) -> list[tuple[int, mido.Message]]: ...
    def close(self) -> None: ...


class LiveHost(Protocol):
    """What recordings need of the bridge."""

    def publish(self, event: Event, asker: Asker) -> None:
        """Tell a client, and whoever listens."""

    def done(self, asker: Asker, reply: Reply) -> None:
        """Answer a client."""

    def fail(self, asker: Asker, error: RequestError) -> None:
        """Refuse a client's request."""

    def tempo(self, stream: int | None) -> float:
        """The tempo of a stream (0: of the first there is) as far as fields told it, else the clock's; raises UNKNOWN_STREAM."""

    def update(self, request: BridgeUpdate, asker: Asker) -> None:
        """Change streams."""


@dataclass(eq=False)
class _Recording:
    request: RecordNotes
    asker: Asker
    input: PlayedInput
    played: PlayedNotes
    opened: bool = False
    told: int = 0
    answer: NotesRecorded | None = None


class LiveNotes:
    """Every recording under way. For the loop's thread only.

    Args:
        notes: where phrases are kept.
        midi_input: part of the name of the input for requests that name none.
        host: the bridge.
        open_input: opens an input by a part of its name; see `MidiInput`.
        clock: ns, the one that the input's moments are of.
    """

    def __init__(
        self,
        notes: NoteLists,
        midi_input: str,
        host: LiveHost,
        open_input: Callable[[str], PlayedInput] = MidiInput,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._notes = notes
        self._midi_input = midi_input
        self._host = host
        self._open = open_input
        self._clock = clock
        self._recordings: list[_Recording] = []

    def record(self, request: RecordNotes, asker: Asker) -> None:
        """Begin a recording; the client is answered at its end.

        Raises:
            RequestError: EMPTY without a name; BUSY (one of that name, or too many); UNKNOWN_STREAM; OUT_OF_RANGE about ``bpm``; as
                `PlayedNotes` and `check_rule`.
        """
        check_name(request.name)
        check_rule(request.lead)
        if any(one.asker.peer == asker.peer and one.request.name == request.name for one in self._recordings):
            raise RequestError(ErrorCode.BUSY, "name", request.name, "a name that is not being recorded")
        if len(self._recordings) >= MAX_RECORDINGS:
            found = len(self._recordings)
            raise RequestError(ErrorCode.BUSY, "recordings", found, f"at most {MAX_RECORDINGS} at once")
        if 0 < request.bpm < SLOWEST_BPM:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "bpm", request.bpm, f"0, or at least {SLOWEST_BPM}")
        tempo = self._host.tempo(request.stream)
        bpm = request.bpm or (tempo if SLOWEST_BPM <= tempo <= FASTEST_BPM else _USUAL_BPM)
        played = PlayedNotes(request.name, bpm, request.length, request.turns, self._clock())
        source = self._open(request.input or self._midi_input)
        self._recordings.append(_Recording(request, asker, source, played))

    def stop(self, name: str, asker: Asker) -> None:
        """End a recording of this client's, or with an empty name all of them; each is answered with what was played.

        Raises:
            RequestError: NOT_FOUND.
        """
        mine = [one for one in self._recordings if one.asker.peer == asker.peer]
        ending = [one for one in mine if name in ("", one.request.name)]
        if name and not ending:
            known = ", ".join(one.request.name for one in mine) or "a recording of yours; there is none"
            raise RequestError(ErrorCode.NOT_FOUND, "name", name, known)
        for one in ending:
            self._read(one)
            self._end(one)

    def pump(self) -> None:
        """Called every few milliseconds: take in what was played."""
        for one in list(self._recordings):
            self._read(one)

    def close(self) -> None:
        """End all of them; each is answered with what was played."""
        for one in list(self._recordings):
            self._end(one, "the bridge was closed")

    def listed(self, inputs: Iterable[InputPort]) -> MidiInputList:
        """The inputs as they are told."""
        open_now = {one.input.name for one in self._recordings}
        rows = [MidiInputInfo(name=port.name, api=port.api, open=port.name in open_now) for port in inputs]
        return MidiInputList(items=rows)

    def _read(self, one: _Recording) -> None:
        events = one.input.read()
        if one.input.name and not one.opened:
            one.opened = True
            if any(
                other.input.name == one.input.name and other.opened for other in self._recordings if other is not one
            ):
                error = RequestError(ErrorCode.BUSY, "input", one.input.name, "an input that is not being recorded")
                self._leave(one, error)
                return
            self._tell(one, "ready")
        playing = one.played.playing
        now = self._clock()
        self._keep(one, one.played.take(events, now))
        if one not in self._recordings:
            return
        if one.input.error is not None:
            if one.opened and one.played.playing:
                self._end(one, f"the input {one.input.name} is gone")
            else:
                self._leave(one, one.input.error)
        elif one.played.over:
            self._end(one)
        elif one.played.playing and (not playing or now - one.told >= _TOLD_NS):
            self._tell(one, "playing")

    def _end(self, one: _Recording, note: str = "") -> None:
        """Answer with what was played."""
        self._keep(one, one.played.stop(self._clock(), note))
        if one not in self._recordings:
            return
        if one.answer is None:
            self._leave(one, RequestError(ErrorCode.EMPTY, "name", one.request.name, "notes that are played; none was"))
        else:
            self._leave(
                one, one.answer if note in one.answer.note else replace(one.answer, note=f"{one.answer.note}; {note}")
            )

    def _keep(self, one: _Recording, phrases: list[Phrase]) -> None:
        for phrase in phrases:
            try:
                clip = FollowedClip.of_clip(phrase.clip, one.request.lead)
            except RequestError as error:
                about = "name" if error.field == "path" else error.field
                self._leave(one, RequestError(error.code, about, error.value, error.allowed))
                return
            held = self._notes.keep(one.asker.peer, one.request.name, clip).held
            lost = f"{one.input.lost} MIDI messages came too fast and were lost" if one.input.lost else ""
            one.answer = NotesRecorded(
                name=one.request.name,
                held=held,
                beats=float(phrase.clip.length_beats),
                input=one.input.name,
                note="; ".join(filter(None, (clip.description, phrase.note, lost))),
            )
            self._host.publish(
                Recording(name=one.request.name, state="turn", beats=one.answer.beats, notes=held), one.asker
            )
            self._hand_over(one)

    def _hand_over(self, one: _Recording) -> None:
        """Let the stream follow the phrase, as if the client had asked for it."""
        if one.request.stream is None:
            return
        asker = Asker(one.asker.peer, _UPDATE, 0)
        try:
            self._host.update(BridgeUpdate(stream=one.request.stream, notes=one.request.name), asker)
        except RequestError as error:
            self._host.fail(asker, error)
            if error.code is ErrorCode.UNKNOWN_STREAM and one.answer is not None and not one.played.over:
                self._leave(one, one.answer)

    def _tell(self, one: _Recording, state: str) -> None:
        now = self._clock()
        one.told = now
        event = Recording(
            name=one.request.name, state=state, beats=round(one.played.beats(now), 3), notes=one.played.notes
        )
        self._host.publish(event, one.asker)

    def _leave(self, one: _Recording, answer: NotesRecorded | RequestError) -> None:
        self._recordings.remove(one)
        one.input.close()
        if isinstance(answer, RequestError):
            self._host.fail(one.asker, answer)
        else:
            self._host.done(one.asker, answer)
