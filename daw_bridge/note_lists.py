"""Notes that clients send piece by piece, for hosts that have no file to name: kept by client and name, for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from fractions import Fraction

from daw_bridge.followed_clip import FollowedClip
from daw_bridge.lead_line import check_rule
from daw_bridge.midi_clip import MidiClip, Note, TempoMap
from protocols.bridge_messages import NOTES_PER_LIST, AddNotes, BeginNotes, NotesHeld
from protocols.errors import ErrorCode, RequestError

MAX_LISTS = 64
MAX_NOTES = 32 * NOTES_PER_LIST
"""Of all lists together; those that were not used for longest are forgotten for new ones."""
IDLE_SECONDS = 600.0

_NUMBERS = 4  # pitch, start, length, velocity
_TICKS_PER_BEAT = 20_160  # every division up to a tenth is whole
_MICROSECONDS = 60_000_000
_MAX_BEATS = 16_384.0

_Values = tuple[int, float, float, int]


@dataclass
class _List:
    """Notes under way, or a clip that is complete."""

    begun: BeginNotes | None
    used: float
    notes: dict[int, _Values] = field(default_factory=dict)
    clip: FollowedClip | None = None

    @property
    def size(self) -> int:
        whole = None if self.clip is None else self.clip.clip
        if whole is not None:
            return min(MAX_NOTES, len(whole.notes) + len(whole.channel_messages))
        return max(len(self.notes), 0 if self.clip is None else self.clip.note_count)


class NoteLists:
    """What every client has sent. For the loop's thread only.

    Args:
        clock: seconds, for what is forgotten after `IDLE_SECONDS` without use.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lists: dict[tuple[Hashable, str], _List] = {}

    def begin(self, client: Hashable, request: BeginNotes) -> NotesHeld:
        """Begin a list, in place of one of the same name.

        Raises:
            RequestError: no name, or no such rule for the lead line.
        """
        check_rule(request.lead)
        self._put(client, request.name, _List(request, self._clock()))
        return NotesHeld(name=request.name, held=0)

    def add(self, client: Hashable, request: AddNotes) -> NotesHeld:
        """Put notes into a list, each at its place; one that is there already is replaced.

        Raises:
            RequestError: NOT_FOUND; MALFORMED (no whole groups of four); OUT_OF_RANGE; TOO_LONG.
        """
        held = self._list(client, request.name, "name")
        if held.begun is None:
            raise RequestError(ErrorCode.UNSUPPORTED, "name", request.name, "notes that were begun with notes/begin")
        values = request.values
        if not values or len(values) % _NUMBERS:
            allowed = "pitch, start, length and velocity of each note"
            raise RequestError(ErrorCode.MALFORMED, "values", f"{len(values)} numbers", allowed)
        most = held.begun.count or NOTES_PER_LIST
        if request.index + len(values) // _NUMBERS > most:
            found = f"note {request.index + len(values) // _NUMBERS}"
            raise RequestError(ErrorCode.TOO_LONG, "values", found, f"{most} notes in {request.name!r}")
        groups = [values[at : at + _NUMBERS] for at in range(0, len(values), _NUMBERS)]
        notes = {index: _checked(index, group) for index, group in enumerate(groups, request.index)}
        held.notes |= notes
        held.clip = None
        self._make_room(held)
        return NotesHeld(name=request.name, held=len(held.notes))

    def keep(self, client: Hashable, name: str, clip: FollowedClip) -> NotesHeld:
        """Keep a clip under a name.

        Raises:
            RequestError: no name.
        """
        self._put(client, name, _List(None, self._clock(), clip=clip))
        return NotesHeld(name=name, held=clip.note_count)

    def forget(self, client: Hashable, name: str) -> None:
        """Forget a list, or with an empty name all of the client's.

        Raises:
            RequestError: NOT_FOUND.
        """
        if name:
            self._list(client, name, "name")
        self._lists = {key: held for key, held in self._lists.items() if key[0] != client or (name and key[1] != name)}

    def clip(self, client: Hashable, name: str) -> FollowedClip:
        """What a client's list asks of the engine.

        Raises:
            RequestError: about ``notes``: NOT_FOUND; EMPTY; MISSING (notes that did not arrive); as `FollowedClip.of_clip`.
        """
        held = self._list(client, name, "notes")
        if held.clip is None:
            assert held.begun is not None
            try:
                held.clip = FollowedClip.of_clip(_clip_of(held.begun, held.notes), held.begun.lead)
            except RequestError as error:
                about = "notes" if error.field == "path" else error.field
                raise RequestError(error.code, about, error.value, error.allowed) from None
        return held.clip

    def _put(self, client: Hashable, name: str, held: _List) -> None:
        check_name(name)
        self._lists.pop((client, name), None)
        self._lists[client, name] = held
        self._make_room(held)

    def _list(self, client: Hashable, name: str, asked_in: str) -> _List:
        now = self._clock()
        self._lists = {key: held for key, held in self._lists.items() if now - held.used <= IDLE_SECONDS}
        held = self._lists.pop((client, name), None)
        if held is None:
            known = ", ".join(other for owner, other in self._lists if owner == client)
            raise RequestError(ErrorCode.NOT_FOUND, asked_in, name, known or "notes that you have sent; there are none")
        held.used = now
        self._lists[client, name] = held  # last used, last forgotten
        return held

    def _make_room(self, latest: _List) -> None:
        while len(self._lists) > MAX_LISTS or sum(held.size for held in self._lists.values()) > MAX_NOTES:
            oldest = next(key for key, held in self._lists.items() if held is not latest)
            del self._lists[oldest]


def check_name(name: str) -> None:
    """Refuse a list without a name.

    Raises:
        RequestError: EMPTY.
    """
    if not name.strip():
        raise RequestError(ErrorCode.EMPTY, "name", name, "a name of your choice")


def _checked(index: int, values: list[float]) -> _Values:
    pitch, start, length, velocity = values
    for name, value, low, high, whole in (
        ("pitch", pitch, 0, 127, True),
        ("start", start, 0, _MAX_BEATS, False),
        ("length", length, 0, _MAX_BEATS, False),
        ("velocity", velocity, 1, 127, True),
    ):
        if not low <= value <= high or (whole and value != int(value)):
            allowed = f"{'a whole number from ' if whole else ''}{low} to {high:g}{'' if whole else ' beats'}"
            raise RequestError(ErrorCode.OUT_OF_RANGE, "values", f"note {index}: {name} {value:g}", allowed)
    return int(pitch), start, length, int(velocity)


def _clip_of(begun: BeginNotes, notes: dict[int, _Values]) -> MidiClip:
    """The notes as a clip in 4/4."""
    if not notes:
        raise RequestError(ErrorCode.EMPTY, "notes", begun.name, "one note or more")
    wanted = begun.count or 1 + max(notes)
    missing = [index for index in range(wanted) if index not in notes]
    if missing:
        found = f"{begun.name}: {len(missing)} of {wanted} notes are missing, the first is note {missing[0]}"
        raise RequestError(ErrorCode.MISSING, "notes", found, "all notes, counted from 0")
    tempo_map = TempoMap(_TICKS_PER_BEAT, [(0, round(_MICROSECONDS / begun.bpm))])
    timed = sorted(
        (round(start * _TICKS_PER_BEAT), pitch, round((start + length) * _TICKS_PER_BEAT), velocity)
        for pitch, start, length, velocity in notes.values()
    )
    clip = MidiClip.of_notes(
        begun.name,
        [
            Note(
                start_tick=start,
                end_tick=end,
                start_beats=Fraction(start, _TICKS_PER_BEAT),
                end_beats=Fraction(end, _TICKS_PER_BEAT),
                start_seconds=tempo_map.seconds_at(start),
                end_seconds=tempo_map.seconds_at(end),
                pitch=pitch,
                velocity=velocity,
                channel=0,
            )
            for start, pitch, end, velocity in timed
        ],
        tempo_map,
        content_ticks=max(1, *(end for _, _, end, _ in timed)),
    )
    if not begun.length:
        return clip
    return clip.lasting(Fraction(round(begun.length * _TICKS_PER_BEAT), _TICKS_PER_BEAT))
