"""Scenes on their way into streams that play: sent so far ahead of a beat that what is heard there is sampled under them."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Protocol

import structlog

from daw_bridge.bridge_stream import BridgeStream, linear_gain
from daw_bridge.clock.desk import ClockDesk
from daw_bridge.clock.timeline import Unit
from daw_bridge.orders import Insider
from daw_bridge.scenes.scene import Scene
from protocols.bridge_messages import BridgeUpdate, RecallScene, SceneDue, SceneRecalled
from protocols.errors import RequestError
from protocols.messages import Event, Reply
from protocols.osc.front import Asker

log = structlog.get_logger()

FRAMES_AHEAD = 4
"""Codec frames beyond the last that is whole: three that the delay pattern of four codebooks has begun, and one in the making."""

CHUNK_SHARE = Fraction(1, 24)
"""Of what a stream has in store: how far the engine is ahead of what has arrived, on average: it makes twice as much at once."""


class RecallHost(Protocol):
    """What recalling needs of the bridge."""

    clock: ClockDesk

    def update(self, request: BridgeUpdate, asker: Asker) -> None:
        """Change streams; it is answered later."""

    def publish(self, event: Event, asker: Asker) -> None:
        """Tell the client, and whoever listens."""

    def done(self, asker: Asker, reply: Reply) -> None:
        """Answer a client."""

    def fail(self, asker: Asker, error: RequestError) -> None:
        """Refuse a client's request."""


@dataclass
class _Answer:
    """One request, answered once every stream has taken the change, or one has refused it."""

    asker: Asker
    streams: list[int]
    missing: int
    over: bool = False


@dataclass
class _Due:
    """A change that waits for its moment, in one stream."""

    stream: BridgeStream
    update: BridgeUpdate
    level: float | None
    answer: _Answer
    beat: Fraction | None  # None for as soon as it can
    sent: bool = field(default=False)


class Recalls:
    """Sends changes. A level is changed when it is heard, at its beat; the rest is sent ahead. For the loop's thread only.

    Args:
        host: the bridge.
    """

    def __init__(self, host: RecallHost) -> None:
        self._host = host
        self._due: list[_Due] = []

    def begin(self, scene: Scene, request: RecallScene, streams: list[BridgeStream], asker: Asker) -> None:
        """Recall a scene in streams that play; answered once the engine has taken it."""
        beat = self._beat(request.at, streams)
        answer = _Answer(asker, [stream.number for stream in streams], len(streams))
        for stream in streams:
            # What was to come at the same place or later is not wanted any more.
            for earlier in [due for due in self._due if due.stream is stream and not due.sent]:
                self._due.remove(earlier)
                self._settle(earlier.answer, None)
            update = scene.update(request.name, stream.number, request.morph)
            self._due.append(_Due(stream, update, scene.level, answer, beat))
            if beat is not None:
                self._tell(request.name, stream, beat, asker)
        self.pump()

    def pump(self) -> None:
        """Send what is due; called every few milliseconds."""
        if self._due:
            self._due = [due for due in self._due if self._keep(due)]

    def _keep(self, due: _Due) -> bool:
        """Look after one change; False once nothing of it is left to do."""
        clock = self._host.clock
        if due.stream.cancelled or due.stream.voice is None or due.stream.voice.finished:
            if not due.sent:
                self._settle(due.answer, None)
            return False
        moment = None if due.beat is None else clock.clock.timeline.seconds_at(due.beat, clock.clock.now())
        if not due.sent and (moment is None or self._sampled_until(due.stream) >= moment):
            due.sent = True
            self._send(due)
        if due.level is not None and (moment is None or clock.stage.rendered >= moment):
            due.stream.set_level(linear_gain(due.level))
            due.level = None
        return not due.sent or due.level is not None

    def _send(self, due: _Due) -> None:
        asker = due.answer.asker
        settle = partial(self._settle, due.answer)
        try:
            self._host.update(due.update, Insider(asker.peer, asker.address, asker.request_id, settle))
        except RequestError as error:
            self._settle(due.answer, error)

    def _settle(self, answer: _Answer, reply: Reply | RequestError | None) -> None:
        answer.missing -= 1
        if answer.over:
            return
        if isinstance(reply, RequestError):
            answer.over = True
            self._host.fail(answer.asker, reply)
        elif not answer.missing:
            answer.over = True
            streams = answer.streams
            self._host.done(answer.asker, SceneRecalled(streams=len(streams), stream=streams[0]))

    def _beat(self, at: str, streams: list[BridgeStream]) -> Fraction | None:
        """The first beat or bar line that every stream can still be changed at; None for at once."""
        if at == "now":
            return None
        unit: Unit = "bar" if at == "bar" else "beat"
        earliest = max(self._sampled_until(stream) for stream in streams)
        return self._host.clock.clock.timeline.next_beat(unit, earliest)

    def _sampled_until(self, stream: BridgeStream) -> Fraction:
        """When the last of a stream that is sampled already will be heard; what is sent now is heard from there on."""
        rate, frame_samples = stream.rates
        store = Fraction(max(0, stream.samples - stream.played), rate)
        on_its_way = Fraction(FRAMES_AHEAD * frame_samples, rate) + store * CHUNK_SHARE
        return self._host.clock.stage.rendered + store + on_its_way

    def _tell(self, name: str, stream: BridgeStream, beat: Fraction, asker: Asker) -> None:
        clock = self._host.clock.clock
        now = clock.now()
        moment = clock.timeline.seconds_at(beat, now)
        position = clock.timeline.position(beat)
        seconds = 0.0 if moment is None else float(moment - now)
        due = SceneDue(name=name, stream=stream.number, bar=position.bar, beat=position.beat, seconds=seconds)
        self._host.publish(due, asker)
