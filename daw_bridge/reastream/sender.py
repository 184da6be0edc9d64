"""The sending process as the bridge sees it: which card it listens to, what it counts."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from daw_bridge.audio.output import Output, OutputTap
from daw_bridge.child import Child
from daw_bridge.reastream.marks import Plan
from daw_bridge.reastream.stream import Counts

TAP_SECONDS = 2.0
"""How long the sender may be held up before sound is missing."""

_MODULE = "daw_bridge.reastream.process"


class Sender:
    """A process that sends. For the loop's thread; nothing blocks.

    Args:
        target: address and port.
        name: identifier of the stream.
        marks: whether there is a channel of marks.

    Attributes:
        counts: as it last told them.
        first: the first frame of the present card that was sent; None before.
        gone: it has ended by itself.
    """

    def __init__(self, target: tuple[str, int], name: str, marks: bool) -> None:
        self.counts = Counts()
        self.first: int | None = None
        self.gone = False
        self.output: Output | None = None
        self._marks = marks
        self._number = 0
        self._tap: OutputTap | None = None
        self._child = Child(_MODULE, {"target": list(target), "name": name})

    def listen_to(self, output: Output | None) -> None:
        """Send what this output plays from now on; None for nothing until there is one.

        Raises:
            RequestError: there is no memory left to share.
        """
        self._release()
        self.output, self.first = output, None
        if output is None:
            self._child.tell({"do": "untap"})
            return
        self._number += 1
        self._tap = tap = output.open_tap(TAP_SECONDS)
        line = {"do": "tap", "number": self._number, "path": tap.block.path, "layout": asdict(tap.layout)}
        self._child.tell({**line, "sample_rate": output.sample_rate, "marks": self._marks})

    def plan(self, plan: Plan) -> None:
        """Tell the marks to come."""
        first, until, marks = plan
        self._child.tell({"do": "plan", "first": first, "until": until, "marks": marks})

    def pump(self) -> bool:
        """Take in what it says; True when the first packets of the present card have left."""
        flows = False
        for line in self._child.read():
            match line:
                case {"counts": counts}:
                    self.counts = _counts(counts)
                case {"flowing": number, "first": first, "hop": hop} if number == self._number:
                    self.first, self.counts.hop, flows = first, hop, True
                    self._release()
                case {"failed": number} if number == self._number:
                    self.gone = True
                case None:
                    self.gone = True
        return flows

    def close(self) -> None:
        """Send nothing more."""
        self._release()
        if self.output is not None:
            self.output.close_tap()
            self.output = None
        self._child.close()

    def _release(self) -> None:
        """Take the tap's name away: both sides have it, or nobody shall."""
        if self._tap is not None:
            self._tap.block.unlink()
            self._tap = None


def _counts(told: dict[str, Any]) -> Counts:
    return Counts(**{field.name: told[field.name] for field in fields(Counts)})
