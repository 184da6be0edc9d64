"""What the bridge remembers: parts that can say how they are and can be made so again, and the file that they are kept in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec
import structlog

from daw_bridge.clock.desk import ClockDesk
from daw_bridge.state_file import StateFile
from protocols.bridge_messages import SetClock, SetDefaults
from protocols.errors import RequestError
from protocols.fields import build, fields_of
from protocols.osc.front import Asker, Peer

log = structlog.get_logger()

_NOBODY = Asker(Peer("udp", "127.0.0.1", 0), "/bridge/clock", 0)  # an answer to it goes nowhere


class Keeps(Protocol):
    """A part of the bridge that is kept on disk and in sets. For the loop's thread.

    Attributes:
        section: its name in the file; lasting.
        revision: another number after each change of what `state` tells.
    """

    section: str

    @property
    def revision(self) -> object:
        """Equal to an earlier one only if nothing has changed since."""

    def state(self) -> dict[str, Any]:
        """What is to be kept: texts, numbers, lists, dicts, None."""

    def restore(self, state: dict[str, Any]) -> None:
        """Be as `state` once told; it may come from an earlier release, or from somebody's editor.

        Raises:
            RequestError: what cannot be taken, and why; the rest is taken.
        """


class Keeper:
    """Has every part as it was in the last run, and writes down what changes. For the loop's thread.

    Args:
        file: where it is kept.
    """

    def __init__(self, file: StateFile) -> None:
        self._file = file
        self._parts: dict[str, Keeps] = {}
        self._seen: dict[str, object] = {}

    def add(self, part: Keeps, itself: bool = False) -> None:
        """Have a part as it was, and look after it from now on; one that sees to both ``itself`` is looked after in sets alone."""
        self._parts[part.section] = part
        if itself:
            return
        if kept := self._file.get(part.section):
            try:
                part.restore(kept)
            except RequestError as error:
                log.warning("not as it was", part=part.section, reason=error.text)
        self._seen[part.section] = part.revision

    def pump(self) -> None:
        """Put what has changed; called every few milliseconds."""
        for section, seen in self._seen.items():
            part = self._parts[section]
            if part.revision != seen:
                self._seen[section] = part.revision
                self._file.put(section, part.state())

    def state(self) -> dict[str, dict[str, Any]]:
        """All parts as they are."""
        return {section: part.state() for section, part in self._parts.items()}

    def restore(self, state: dict[str, dict[str, Any]]) -> tuple[list[str], list[str]]:
        """Have all parts as they were; returns what was taken, and what could not be and why."""
        taken, refused = [], []
        for section, part in self._parts.items():
            if section not in state:
                continue
            try:
                part.restore(state[section])
                taken.append(section)
            except RequestError as error:
                refused.append(f"{section}: {error.text}")
        return taken, refused


class KeptDefaults:
    """What requests use where they leave a parameter out (`SetDefaults`).

    Args:
        read: the present values.
        write: changes them.
    """

    section = "defaults"

    def __init__(self, read: Callable[[], dict[str, object]], write: Callable[[SetDefaults], None]) -> None:
        self._read = read
        self._write = write

    @property
    def revision(self) -> object:
        return tuple(self._read().values())

    def state(self) -> dict[str, Any]:
        return dict(self._read())

    def restore(self, state: dict[str, Any]) -> None:
        self._write(build(SetDefaults, known(state, fields_of(SetDefaults))))


class KeptClock:
    """Who counts, at which tempo and metre, and who gets its clock; not whether it plays, nor where it stands.

    The clock's desk keeps that itself; this is for sets.

    Args:
        desk: of the clock.
        file: where the desk keeps it.
    """

    section = "clock"
    revision = None

    def __init__(self, desk: ClockDesk, file: StateFile) -> None:
        self._desk = desk
        self._file = file

    def state(self) -> dict[str, Any]:
        state = self._desk.state()
        now = {"source": state.source, "bpm": state.bpm, "beats_per_bar": state.beats_per_bar}
        return self._file.get(self.section) or now

    def restore(self, state: dict[str, Any]) -> None:
        outputs = state.get("outputs")
        for name in outputs if isinstance(outputs, list) else ():
            if name not in self._desk.outputs.names:
                self._desk.outputs.add(str(name))
        wanted = build(SetClock, known(state, fields_of(SetClock)))
        if wanted.source in ("host", "midi"):  # whose tempo is not ours to set
            wanted = msgspec.structs.replace(wanted, bpm=None)
        self._desk.handle(wanted, _NOBODY)


def known(state: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """What is still known of what was kept."""
    return {name: state[name] for name in names if state.get(name) is not None}
