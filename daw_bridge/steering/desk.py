"""Steering for the bridge's service: streams looked after while they play, governors set, and all of it told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Protocol, TypeVar

from daw_bridge.bridge_stream import BridgeStream
from daw_bridge.clock.desk import ClockDesk
from daw_bridge.clock.starts import Start
from daw_bridge.engine_client import EngineClient
from daw_bridge.steering.beats import Grid
from daw_bridge.steering.equaliser import warm_up
from daw_bridge.steering.governor import Setting
from daw_bridge.steering.lock import BeatLock
from daw_bridge.steering.opening import setting_of
from daw_bridge.steering.steered import Steered, names_file
from daw_bridge.stream_table import StreamTable
from daw_bridge.wording import Wording
from protocols.bridge_messages import GovernorState, GovernorTold, LockTold, SetGovernor, SteeringRequest
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Event, Reply
from protocols.osc.front import Asker
from protocols.settings import FileSettings
from protocols.units import as_fraction, seconds_to_samples

_GOVERNOR_S, _LOCK_S, _GRID_S = 4.0, 1.0, 0.25
_FILTERS_AFTER_S = 1.0
"""The bridge is ready before they are loaded, which would take the interpreter away from its own start."""
T = TypeVar("T")


class SteeringHost(Protocol):
    """What steering needs of the bridge."""

    engine: EngineClient | None
    clock: ClockDesk
    streams: StreamTable

    def publish(self, event: Event, asker: Asker) -> None:
        """Tell a client, and whoever listens."""

    def in_background(self, work: Callable[[], T], asker: Asker, reply: Callable[[T], Reply]) -> None:
        """Do something slow beside the loop and answer with what ``reply`` makes of it."""


class _Seen:
    """What was last seen of a stream, and told."""

    def __init__(self, wording: Wording) -> None:
        self.wording = wording
        self.start: Start | None = None
        self.began: Fraction | None = None  # second of the stage at which its first sample is heard
        self.governor_at = self.lock_at = self.grid_at = 0.0


class SteeringDesk:
    """Looks after streams. For the loop's thread only.

    Args:
        host: the bridge.
        files: where references may lie.
        monotonic: seconds.
    """

    requests = SteeringRequest

    def __init__(
        self, host: SteeringHost, files: FileSettings, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._host = host
        self._files = files
        self._monotonic = monotonic
        self._seen: dict[BridgeStream, _Seen] = {}
        filters = threading.Timer(_FILTERS_AFTER_S, warm_up)
        filters.name, filters.daemon = "filters", True
        filters.start()

    def handle(self, request: SetGovernor, asker: Asker) -> GovernorState | None:
        """Set a governor and answer how it stands.

        Raises:
            RequestError: UNKNOWN_STREAM; UNSUPPORTED for a stream that is not governed; as `setting_of`.
        """
        stream = self._host.streams.find(request.stream)
        governor = stream.steered.governor
        if governor is None or stream.steered.steering.record is not None:
            raise RequestError(ErrorCode.UNSUPPORTED, "stream", request.stream, "a stream of /bridge/open")
        if request.reference is None:
            if request.on is not None:
                governor.set(Setting(on=request.on))
            return _state(stream.number, stream.steered, request.on)
        reference, on = request.reference, request.on

        def read() -> Setting:
            return setting_of(reference, request.start, request.length, stream.steered.welcome, self._files, on)

        def reply(setting: Setting) -> GovernorState:
            governor.set(setting)
            return _state(stream.number, stream.steered, on)

        if not names_file(reference):
            return reply(read())
        self._host.in_background(read, asker, reply)
        return None

    def pump(self) -> None:
        """Called every few milliseconds."""
        now = self._monotonic()
        streams = [stream for stream in self._host.streams.played if stream.samples]
        self._seen = {stream: self._seen.get(stream) or _Seen(stream.wordings[0][1]) for stream in streams}
        for stream, seen in self._seen.items():
            self._steer(stream, seen)
            self._keep_time(stream, seen, now)
            governor = stream.steered.governor
            if governor is not None and governor.on and now - seen.governor_at >= _GOVERNOR_S:
                seen.governor_at = now
                self._host.publish(_told(_state(stream.number, stream.steered)), stream.asker)

    def close(self) -> None:
        """Nothing to do."""

    def _steer(self, stream: BridgeStream, seen: _Seen) -> None:
        steered, wording = stream.steered, stream.wordings[-1][1]
        if wording is not seen.wording:
            clips = wording.asked.clip is not seen.wording.asked.clip
            other = clips or (wording.words, wording.facts) != (seen.wording.words, seen.wording.facts)
            if wording.facts.bpm != seen.wording.facts.bpm and steered.lock is not None:
                steered.lock.set_grid(
                    steered.lock.grid
                )  # what was heard at the old tempo tells nothing about the new one
            seen.wording = wording
            steer = steered.changed(dict(wording.asked.values), other)
        else:
            steer = steered.look()
        engine = self._host.engine
        if steer is not None and engine is not None and engine.ready and stream.engine_number:
            engine.request(steer.update(stream.engine_number), lambda reply: None)

    def _keep_time(self, stream: BridgeStream, seen: _Seen, now: float) -> None:
        lock = stream.steered.lock
        start = stream.steered.start
        if lock is None or start is None:
            return
        if now - seen.grid_at >= _GRID_S:
            seen.grid_at = now
            stage = self._host.clock.stage
            if stage.output is not None and seen.start is not start:
                seen.start, seen.began = start, stage.seconds_at(start.frame)
            if seen.began is not None:
                stream.steered.follow(self._grid(lock, seen.began, stream.rates[0]))
        if lock.grid is not None and now - seen.lock_at >= _LOCK_S:
            seen.lock_at = now
            state = lock.state
            self._host.publish(
                LockTold(
                    stream=stream.number,
                    error=state.error_ms,
                    confidence=state.confidence,
                    corrected=state.corrected_ms,
                    tempo=state.tempo_percent,
                ),
                stream.asker,
            )

    def _grid(self, lock: BeatLock, began: Fraction, rate: int) -> Grid | None:
        """The clock's beats, in samples that come out, where the stream is; None while the clock stands."""
        timeline = self._host.clock.clock.timeline
        ahead = began + Fraction(lock.position, rate)
        piece = timeline.at(ahead)
        if not piece.playing:
            return None
        if lock.grid is not None and piece.bpm == lock.grid.bpm:
            # The same piece still, unless the beat was moved: the origin stays, and with it every fraction short.
            off = (piece.beat_at(began + Fraction(lock.grid.origin, rate)) + Fraction(1, 2)) % 1 - Fraction(1, 2)
            if abs(off) * lock.grid.period < 1:
                return lock.grid
        beat = -(-piece.beat_at(ahead) // 1)
        return Grid(as_fraction(piece.bpm), seconds_to_samples(piece.seconds_at(Fraction(beat)) - began, rate), rate)


def _state(number: int, steered: Steered, on: bool | None = None) -> GovernorState:
    """How a governor stands, which is about to be on or off."""
    assert steered.governor is not None
    state = steered.governor.state
    return GovernorState(
        stream=number,
        on=state.on if on is None else on,
        lufs=state.lufs,
        reference=round(state.reference.lufs or 0.0, 2),
        gain=state.gain_db,
        bands=" ".join(f"{value:g}" for value in state.band_gains_db),
        steered=steered.reason,
        learning=state.learning,
    )


def _told(state: GovernorState) -> GovernorTold:
    return GovernorTold(
        stream=state.stream,
        lufs=state.lufs,
        reference=state.reference,
        gain=state.gain,
        bands=state.bands,
        steered=state.steered,
    )
