"""ReaStream for the bridge's service: set, told and remembered; the process that sends follows the sound card and the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from daw_bridge.audio.output import Output
from daw_bridge.clock.clocks import Clock
from daw_bridge.clock.stage import StageTime
from daw_bridge.reastream.marks import MarkPlan
from daw_bridge.reastream.packets import DEFAULT_PORT, MAX_CHANNELS, check_identifier
from daw_bridge.reastream.sender import Sender
from daw_bridge.reastream.stream import Counts
from daw_bridge.reastream.targets import needs_lookup, resolve
from daw_bridge.state_file import StateFile
from protocols.bridge_messages import HowReaStreams, ReaStreaming, ReaStreamState, SetReaStream
from protocols.errors import RequestError
from protocols.fields import build
from protocols.messages import Event, Reply
from protocols.osc.front import Asker, Peer

log = structlog.get_logger()
T = TypeVar("T")

_SECTION = "reastream"
_RESTART_S = 2.0
_NOBODY = Asker(Peer("udp", "127.0.0.1", 0), "/bridge/reastream", 0)  # an answer to it goes nowhere


class ReaStreamHost(Protocol):
    """What ReaStream needs of the bridge."""

    def publish(self, event: Event) -> None:
        """Tell whoever listens."""

    def in_background(self, work: Callable[[], T], asker: Asker, reply: Callable[[T], Reply]) -> None:
        """Do something slow beside the loop and answer with what ``reply`` makes of it."""


@dataclass(frozen=True)
class Wish:
    """What is set."""

    on: bool = False
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    name: str = "daw-bridge"
    marks: bool = False

    def changed(self, request: SetReaStream) -> Wish:
        """The same with what a request gives."""
        given = {name: value for name, value in msgspec.structs.asdict(request).items() if value is not None}
        return Wish(**{**self.__dict__, **given})


class ReaStreamDesk:
    """Sends what the card plays. For the loop's thread only.

    Args:
        stage: the card's time.
        clock: the clock that counts now.
        host: the bridge.
        allowed: other machines that may be sent to, see `resolve`.
        state: where what is set is kept.
        monotonic: seconds.
    """

    requests: Any = SetReaStream | HowReaStreams

    def __init__(
        self,
        stage: StageTime,
        clock: Callable[[], Clock],
        host: ReaStreamHost,
        allowed: Sequence[str] = (),
        state: StateFile | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stage = stage
        self._clock = clock
        self._host = host
        self._allowed = allowed
        self._state = state or StateFile(None)
        self._monotonic = monotonic
        self._wish = Wish()
        self._turn = 0
        self._address = ""
        self._sender: Sender | None = None
        self._plan = MarkPlan(stage)
        self._start_at = 0.0
        self._gaps = 0
        self._position: tuple[int, float] = (0, 0.0)
        self._note = ""
        self._closed = False
        self._restore()

    def handle(self, request: SetReaStream | HowReaStreams, asker: Asker) -> ReaStreamState | None:
        """Carry a request out; None means that it is answered once the host's address is known.

        Raises:
            RequestError: NOT_ALLOWED for a host that the settings do not name; the name is too long or cannot be typed.
        """
        if isinstance(request, HowReaStreams):
            return self.state()
        wish = self._wish.changed(request)
        check_identifier(wish.name)
        self._turn += 1
        if not wish.on or not needs_lookup(wish.host):
            return self._take(wish, resolve(wish.host, self._allowed) if wish.on else "")
        turn = self._turn

        def found(address: str) -> ReaStreamState:
            return self._take(wish, address) if turn == self._turn else self.state()  # else it was set anew meanwhile

        self._host.in_background(lambda: resolve(wish.host, self._allowed), asker, found)
        return None

    def state(self) -> ReaStreamState:
        """How the sound is sent."""
        wish, sender, output = self._wish, self._sender, self._output
        counts = sender.counts if sender is not None else Counts()
        first = sender.first if sender is not None else None
        return ReaStreamState(
            on=wish.on,
            state="off" if not wish.on else "waiting" if first is None else "sending",
            host=wish.host,
            port=wish.port,
            name=wish.name,
            marks=wish.marks,
            channels=self._channels(output) if output is not None else 0,
            sample_rate=output.sample_rate if output is not None else 0,
            packets=counts.packets,
            dropped=counts.dropped,
            gaps=counts.gaps + self._gaps,
            unmarked=counts.unmarked,
            first=-1 if first is None else first,
            bar=self._position[0],
            beat=self._position[1],
            hop_ms=round(counts.hop * 1000, 3),
            longest_hop_ms=round(counts.longest_hop * 1000, 3),
            note=self._note,
        )

    def pump(self) -> None:
        """Follow the card and the clock; called every few milliseconds."""
        if not self._wish.on or self._closed:
            return
        sender = self._sender
        if sender is None:
            if self._monotonic() >= self._start_at:
                self._sender = Sender((self._address, self._wish.port), self._wish.name, self._wish.marks)
            return
        flows = sender.pump()
        if sender.gone:
            self._lost(sender)
            return
        output = self._stage.output
        if output is not sender.output:
            self._listen(sender, output)
        if self._wish.marks and output is not None:
            plan = self._plan.news(self._clock().timeline)
            if plan is not None:
                sender.plan(plan)
        if flows and output is not None:
            self._tell(sender, output)

    def close(self) -> None:
        """Send nothing more, however long the bridge still takes to leave."""
        self._closed = True
        self._stop()

    @property
    def _output(self) -> Output | None:
        return self._sender.output if self._sender is not None else None

    def _channels(self, output: Output) -> int:
        return min(output.channels, MAX_CHANNELS - self._wish.marks) + self._wish.marks

    def _stop(self) -> None:
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def _take(self, wish: Wish, address: str) -> ReaStreamState:
        """Send like this from now on."""
        if (wish, address) != (self._wish, self._address):
            self._stop()
            self._wish, self._address = wish, address
            self._gaps, self._position, self._note, self._start_at = 0, (0, 0.0), "", 0.0
            self._state.put(_SECTION, dict(wish.__dict__))
        return self.state()

    def _listen(self, sender: Sender, output: Output | None) -> None:
        """Another card, the first one, or none any more."""
        self._gaps += sender.first is not None
        self._plan = MarkPlan(self._stage)
        self._position = (0, 0.0)
        try:
            sender.listen_to(output)
            self._note = "" if output is not None else "there is no sound card; it is being looked for"
        except RequestError as error:
            self._note = error.text

    def _lost(self, sender: Sender) -> None:
        """The process has ended: another takes its place, but not at once for ever."""
        log.warning("the process that sends ReaStream has ended", name=self._wish.name)
        self._gaps += sender.counts.gaps + 1
        self._note = "the process that sends has ended; it is started again"
        sender.close()
        self._sender = None
        self._start_at = self._monotonic() + _RESTART_S

    def _tell(self, sender: Sender, output: Output) -> None:
        first = sender.first or 0
        moment = self._stage.seconds_at(first)
        timeline = self._clock().timeline
        if timeline.at(moment).playing:
            beat = timeline.beat_at(moment)
            place = timeline.position(beat)
            self._position = (place.bar, round(float(place.beat + beat % 1), 6))
        else:
            self._position = (0, 0.0)
        self._note = ""
        wish = self._wish
        self._host.publish(
            ReaStreaming(
                host=wish.host,
                port=wish.port,
                name=wish.name,
                channels=self._channels(output),
                sample_rate=output.sample_rate,
                marks=wish.marks,
                first=first,
                bar=self._position[0],
                beat=self._position[1],
                hop_ms=round(sender.counts.hop * 1000, 3),
            )
        )

    def _restore(self) -> None:
        """Begin with what was set in the last run, as far as that is allowed now."""
        kept = self._state.get(_SECTION)
        if not kept:
            return
        try:
            self.handle(build(SetReaStream, kept), _NOBODY)
        except RequestError as error:
            log.warning("ReaStream is not as it was", reason=error.text)
