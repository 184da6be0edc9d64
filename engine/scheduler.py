"""The model's thread: which stream gets the next piece of work, and what reaches it from outside between two pieces."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import structlog

from engine.changes import Change
from engine.stream import EngineEvent, EngineStream, StreamEnded, StreamProgress, StreamStarted
from protocols.messages import EndReason

log = structlog.get_logger()

_PROGRESS_S = 0.25
_STALLED_S = 5.0
_GIVEN_UP_S = 600.0
_IDLE_S = 0.5
_COLLECT_STEPS = 512


@dataclass(frozen=True)
class Start:
    """Take a stream in; it waits while as many as may run do run."""

    stream: EngineStream


@dataclass(frozen=True)
class Alter:
    """Change a stream."""

    stream: int
    change: Change


@dataclass(frozen=True)
class Take:
    """The owner of a stream has taken its audio up to this sample."""

    stream: int
    position: int


@dataclass(frozen=True)
class End:
    """End a stream before its time."""

    stream: int
    reason: EndReason


@dataclass(frozen=True)
class Pass:
    """Call back, on the model's thread: what ended before is forgotten by then. The call must neither block nor raise."""

    call: Callable[[], None]


@dataclass(frozen=True)
class Stop:
    """End all streams and leave the thread."""


Command = Start | Alter | Take | End | Pass | Stop


class SchedulerStats:
    """Counters that the model's thread writes and others read; each is one plain value, so no lock is needed."""

    def __init__(self) -> None:
        self.running = 0
        self.waiting = 0
        self.frames = 0
        self.realtime = 0.0


class Scheduler:
    """Runs streams side by side on one thread: the one whose listener would run dry first comes first.

    Threads: `post`, `start` and `join` may be called from any thread; everything else is the model thread's own. Events leave
    through ``emit``, which must neither block nor raise.

    A stream that is as far ahead as it may be is not touched until its owner has taken more. One whose owner takes nothing for a
    while gives its place to the next that waits, goes on when its owner does, and is ended when that lasts too long. A patient one
    has no place before its owner takes anything, and needs none.

    Args:
        emit: takes each event.
        max_running: how many streams are made side by side; others wait in order.
        collect: frees what reference counting cannot, up to a generation (``gc.collect``); called often with 1 while frames are
            made, with 2 when there is nothing to do.
        clock: seconds, monotonic; tests move their own.
        prepare_thread: called once on the model's thread before its first step (thread counts, warm-up).
    """

    def __init__(
        self,
        emit: Callable[[EngineEvent], None],
        *,
        max_running: int,
        prepare_thread: Callable[[], None] = lambda: None,
        collect: Callable[[int], object] = lambda generation: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stats = SchedulerStats()
        self._emit = emit
        self._max_running = max_running
        self._prepare_thread = prepare_thread
        self._collect = collect
        self._clock = clock
        self._inbox: SimpleQueue[Command] = SimpleQueue()
        self._running: dict[int, EngineStream] = {}
        self._waiting: deque[EngineStream] = deque()
        self._told: dict[int, float] = {}
        self._full_since: dict[int, float] = {}
        self._stopping = False
        self._steps = 0
        self._thread = threading.Thread(target=self.run, name="model", daemon=True)

    def start(self) -> None:
        """Start the model's thread."""
        self._thread.start()

    def join(self, seconds: float) -> bool:
        """Wait for the thread to end after a `Stop`; False when it has not within ``seconds``."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def post(self, command: Command) -> None:
        """Hand a command over; it takes effect before the next step."""
        self._inbox.put(command)

    def run(self) -> None:
        """Serve until a `Stop` (the thread's body; tests call `step` themselves)."""
        self._prepare_thread()
        while not self._stopping:
            self.step()

    def step(self, wait_seconds: float = _IDLE_S) -> None:
        """Carry out what has been posted, then give the most urgent stream one piece of work; wait when there is none."""
        # Not held meanwhile: a stream that is ended now may be the last of its model, which is not to be freed here.
        self._take_commands(wait_seconds if self._most_urgent() is None else 0.0)
        self._fill()
        stream = self._most_urgent()
        if stream is not None:
            self._advance(stream)

    def _take_commands(self, wait_seconds: float) -> None:
        try:
            if wait_seconds > 0 and self._inbox.empty():
                self._collect(2)
                self._carry_out(self._inbox.get(timeout=wait_seconds))
            while True:
                self._carry_out(self._inbox.get_nowait())
        except Empty:
            pass

    def _carry_out(self, command: Command) -> None:
        match command:
            case Start(stream):
                self._waiting.append(stream)
                self.stats.waiting = len(self._waiting)
            case Alter(number, change):
                stream_found = self._find(number)
                if stream_found is not None:
                    stream_found.add_change(change)
            case Take(number, position):
                stream_found = self._find(number)
                if stream_found is not None:
                    stream_found.taken = max(stream_found.taken, min(position, stream_found.samples_out))
                    stream_found.patient = False
                    self._full_since.pop(number, None)
            case End(number, reason):
                self._end(number, reason)
            case Pass(call):
                call()
            case Stop():
                for number in [*self._running, *(stream.id for stream in self._waiting)]:
                    self._end(number, "stopping")
                self._stopping = True

    def _find(self, number: int) -> EngineStream | None:
        if number in self._running:
            return self._running[number]
        return next((stream for stream in self._waiting if stream.id == number), None)

    def _fill(self) -> None:
        now = self._clock()
        for number, since in list(self._full_since.items()):
            if now - since > _GIVEN_UP_S:
                self._end(number, "owner_lost", f"its owner took nothing for {_GIVEN_UP_S:g} s")
        stalled = {number for number, since in self._full_since.items() if now - since > _STALLED_S}
        places = sum(not stream.patient and number not in stalled for number, stream in self._running.items())
        for stream in list(self._waiting):
            if stream.patient or places < self._max_running:
                places += not stream.patient
                self._waiting.remove(stream)
                self._running[stream.id] = stream
                self._emit(StreamStarted(stream.id))
        self.stats.running, self.stats.waiting = len(self._running), len(self._waiting)

    def _most_urgent(self) -> EngineStream | None:
        ready = [stream for stream in self._running.values() if stream.has_room]
        return min(ready, key=lambda stream: stream.ahead, default=None)

    def _advance(self, stream: EngineStream) -> None:
        frames_before, catching_up = stream.sampler.frames_done, stream.catching_up
        began = time.perf_counter()
        try:
            events = stream.advance()
        except Exception as error:  # a fault stays in its room: this stream ends, the others go on
            log.exception("stream failed", stream=stream.id)
            self._end(stream.id, "failed", f"{type(error).__name__}: {error}"[:200])
            return
        made = 0 if catching_up else stream.sampler.frames_done - frames_before
        self._count(stream, made, time.perf_counter() - began)
        for event in events:
            self._emit(event)
            if isinstance(event, StreamEnded):
                self._forget(stream.id)
        now = self._clock()
        if not stream.has_room and stream.id in self._running:
            self._full_since.setdefault(stream.id, now)
        if stream.id in self._running and now - self._told.get(stream.id, 0.0) >= _PROGRESS_S:
            self._told[stream.id] = now
            self._emit(StreamProgress(stream.id, stream.samples_out, stream.realtime))

    def _count(self, stream: EngineStream, frames: int, seconds: float) -> None:
        self.stats.frames += frames
        if frames:
            made = frames * stream.frame_samples / stream.sample_rate
            recent = made / max(seconds, 1e-9)
            self.stats.realtime = recent if not self.stats.realtime else 0.98 * self.stats.realtime + 0.02 * recent
        self._steps += 1
        if self._steps % _COLLECT_STEPS == 0:
            self._collect(1)

    def _end(self, number: int, reason: EndReason, text: str = "") -> None:
        stream = self._find(number)
        if stream is None:
            return
        self._forget(number)
        self._waiting = deque(waiting for waiting in self._waiting if waiting.id != number)
        self._emit(StreamEnded(number, reason, stream.samples_out, text))

    def _forget(self, number: int) -> None:
        self._running.pop(number, None)
        self._told.pop(number, None)
        self._full_since.pop(number, None)
