"""The model's thread: which stream gets the next piece of work, and what reaches it from outside between two pieces."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import structlog
import torch
from torch import Tensor

from engine.changes import Change
from engine.runtime.language_model import Step
from engine.runtime.sampler import draw_together
from engine.stream import AudioBlock, EngineEvent, EngineStream, StreamEnded, StreamProgress, StreamStarted
from protocols.messages import EndReason

log = structlog.get_logger()

_PROGRESS_S = 0.25
_STALLED_S = 5.0
_GIVEN_UP_S = 600.0
_IDLE_S = 0.5
_COLLECT_STEPS = 512

_REST_S = 0.25
"""So long nothing has to have been asked for before all objects are looked through for what can be freed: between two frames of a
stream that is as far ahead as it may be, somebody waits for the second one."""

_BUSY_COLLECT_S = 10.0
_REST_AHEAD_S = 0.5
"""Where streams play on and on, they are looked through this often, if every listener has so much left."""

_DUE_S = 0.25
"""A stream whose listener has less than that left shares its steps with none that has more."""

_TURNS_OF_OTHERS = 15
"""So many pieces of work go to those who are about to run dry before a stream that wants to begin has its turn again."""

_QUIET_S = 60.0
"""A step that fails is logged with its trace this often at most: it may be every step."""

_MOST_ROWS = {"cpu": 16}
_MOST_ROWS_ELSEWHERE = 128
"""Rows of one step. On a CPU more of them bring no more frames per second, only longer steps."""

_DRAWN_ALONE = ("cpu",)
"""Devices on which each stream draws its tokens by itself: one's distributions stay in the cache, those of many do not."""

_Drawn = tuple[Tensor | None, Tensor | None]
_NOTHING: _Drawn = (None, None)
"""Logits of a step and the tokens drawn from them, as far as there are any."""


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
    """Counters that the model's thread writes and others read; each is one plain value, so no lock is needed.

    Attributes:
        running: streams that are made.
        waiting: streams that wait for a place.
        frames: codec frames sampled.
        realtime: audio seconds made per second of work, lately.
        late_frames: frames that were missing when a listener had heard all before them, see `Listening`.
        shared: streams to a step of an LM, lately.
    """

    def __init__(self) -> None:
        self.running = 0
        self.waiting = 0
        self.frames = 0
        self.realtime = 0.0
        self.late_frames = 0
        self.shared = 0.0
        self._made_s = 0.0
        self._worked_s = 0.0

    def count(self, made_seconds: float, seconds: float) -> None:
        """So much sound was sampled with so much work."""
        self._made_s = 0.98 * self._made_s + made_seconds
        self._worked_s = 0.98 * self._worked_s + seconds
        if self._worked_s:
            self.realtime = self._made_s / self._worked_s

    def count_step(self, streams: int) -> None:
        """So many streams shared a step."""
        self.shared = 0.98 * self.shared + 0.02 * streams if self.shared else float(streams)


class Listening:
    """Whether a stream's sound is there in time, for a listener who plays from the first sample on without a pause.

    Whoever waits a little before playing hears gaps later, or none. What the owner has not taken yet is there in any case: so a
    listener who paused is not counted as one who waits.
    """

    def __init__(self) -> None:
        self._dry_at: float | None = None

    def heard(self, seconds: float, now: float) -> float:
        """So much more sound has come: how long it was missing, in seconds."""
        missing = 0.0 if self._dry_at is None else max(0.0, now - self._dry_at)
        self._dry_at = (now if self._dry_at is None else max(now, self._dry_at)) + seconds
        return missing

    def has_left(self, seconds: float, now: float) -> None:
        """The owner has said what it took: so much sound is left. Where none is, it may have waited for some time."""
        if self._dry_at is not None and seconds > 0:
            self._dry_at = max(self._dry_at, now + seconds)


class Scheduler:
    """Runs streams side by side on one thread: the one whose listener would run dry first comes first, and others share its steps.

    Threads: `post`, `start` and `join` may be called from any thread; everything else is the model thread's own. Events leave
    through ``emit``, which must neither block nor raise.

    Where the next piece of work of the first one is a step of its LM, others of the same LM whose next piece is a step too join it,
    those nearest to running dry before others, up to a number of rows: an LM reads its weights once for all of them. Everything
    else (pieces of a prefill, of the window ahead, of decoding) is done one by one, between two steps. What a stream is made of
    never depends on who joined whom.

    A stream that nobody has heard yet comes before all but those that are about to run dry; one that nobody listens to takes what
    is left, and shares no step of one that is about to.

    A stream that is as far ahead as it may be is not touched until its owner has taken more. One whose owner takes nothing for a
    while gives its place to the next that waits, goes on when its owner does, and is ended when that lasts too long. A patient one
    has no place before its owner takes anything, and needs none.

    Args:
        emit: takes each event.
        max_running: how many streams are made side by side; others wait in order.
        collect: frees what reference counting cannot, up to a generation (``gc.collect``); called often with 1 while frames are
            made, with 2 once there is nothing to do for a while, and not again before something was done.
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
        self._inbox: SimpleQueue[tuple[Command, float]] = SimpleQueue()
        self._running: dict[int, EngineStream] = {}
        self._waiting: deque[EngineStream] = deque()
        self._told: dict[int, float] = {}
        self._full_since: dict[int, float] = {}
        self._listening: dict[int, Listening] = {}
        self._passed_over = 0
        self._quiet_until = -math.inf
        self._stopping = False
        self._steps = self._collected_at_step = 0
        self._collected_at = clock()
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
        self._inbox.put((command, self._clock()))

    def run(self) -> None:
        """Serve until a `Stop` (the thread's body; tests call `step` themselves)."""
        self._prepare_thread()
        while not self._stopping:
            self.step()

    def step(self, wait_seconds: float = _IDLE_S) -> None:
        """Carry out what has been posted, then give the most urgent stream one piece of work, or it and others a step that they
        share; wait when there is none."""
        # Not held meanwhile: a stream that is ended now may be the last of its model, which is not to be freed here.
        idle = self._most_urgent() is None
        self._send(wait=idle)
        self._take_commands(wait_seconds if idle else 0.0)
        self._fill()
        stream = self._most_urgent()
        if stream is not None:
            self._take_turn(stream)
            self._work(stream)

    def _take_commands(self, wait_seconds: float) -> None:
        try:
            if wait_seconds > 0 and self._inbox.empty():
                self._carry_out(*self._wait(wait_seconds))
            while True:
                self._carry_out(*self._inbox.get_nowait())
        except Empty:
            pass

    def _wait(self, seconds: float) -> tuple[Command, float]:
        """The next command; meanwhile, what can be freed is, when it keeps nobody waiting.

        Raises:
            Empty: none came.
        """
        worked = self._steps != self._collected_at_step
        if worked and self._clock() - self._collected_at >= _BUSY_COLLECT_S and self._all_at_rest():
            self._collect_all()
        first = min(seconds, _REST_S)
        try:
            return self._inbox.get(timeout=first)
        except Empty:
            if seconds < _REST_S:
                raise
            if self._steps != self._collected_at_step:
                self._collect_all()
            if seconds == first:
                raise
            return self._inbox.get(timeout=seconds - first)

    def _all_at_rest(self) -> bool:
        return all(stream.ahead >= _REST_AHEAD_S for stream in self._running.values())

    def _collect_all(self) -> None:
        self._collect(2)
        self._collected_at_step, self._collected_at = self._steps, self._clock()

    def _carry_out(self, command: Command, posted: float) -> None:
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
                    self._taken(stream_found, position, posted)
            case End(number, reason):
                self._end(number, reason)
            case Pass(call):
                call()
            case Stop():
                for number in [*self._running, *(stream.id for stream in self._waiting)]:
                    self._end(number, "stopping")
                self._stopping = True

    def _taken(self, stream: EngineStream, position: int, posted: float) -> None:
        stream.taken = max(stream.taken, min(position, stream.samples_out))
        if stream.patient:
            stream.patient = False
            self._listening.pop(stream.id, None)  # what was made before is no measure of what comes in time from now on
        self._full_since.pop(stream.id, None)
        if (listening := self._listening.get(stream.id)) is not None:
            listening.has_left((stream.samples_out - stream.taken) / stream.sample_rate, posted)

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
        if self._passed_over > _TURNS_OF_OTHERS:
            ready = [stream for stream in ready if _begins(stream)] or ready
        return min(ready, key=lambda stream: stream.ahead, default=None)

    def _take_turn(self, stream: EngineStream) -> None:
        """Count how often those that want to begin have waited for others."""
        begins = any(other.has_room and _begins(other) for other in self._running.values())
        self._passed_over = self._passed_over + 1 if begins and not _begins(stream) else 0

    def _work(self, stream: EngineStream) -> None:
        """One piece of work of a stream, or a step with those that share it."""
        # Streams end while this goes on; none is kept by a name that outlives the call.
        step = self._next_step(stream)
        if step is None:
            self._advance([stream], [_NOTHING], 0.0)
            return
        streams, steps = self._sharing(stream, step)
        self.stats.count_step(len(streams))
        began = time.perf_counter()
        drawn = self._step_together(streams, steps)
        self._advance(streams, drawn, time.perf_counter() - began)

    def _step_together(self, streams: list[EngineStream], steps: list[Step]) -> Sequence[_Drawn]:
        """The logits of each, and its tokens where they are drawn together, too; or, where that went wrong, nothing: whose fault it
        was shows when each does its step for itself."""
        lm = streams[0].lm
        assert lm is not None
        positions = [step.session.position for step in steps]
        try:
            logits = lm.step(steps)
            if len(steps) == 1 or lm.device.type in _DRAWN_ALONE:
                return [(scores, None) for scores in logits]
            with torch.inference_mode():
                tokens = draw_together([stream.sampler for stream in streams], logits)
            return list(zip(logits, tokens, strict=True))
        except Exception:
            if self._clock() >= self._quiet_until:
                self._quiet_until = self._clock() + _QUIET_S
                log.exception("a step failed", streams=[stream.id for stream in streams])
            for step, position in zip(steps, positions, strict=True):
                step.session.rewind(position)
            return [_NOTHING] * len(streams)

    def _sharing(self, first: EngineStream, step: Step) -> tuple[list[EngineStream], list[Step]]:
        """The streams that take their steps together with this one's, and the steps."""
        streams, steps, rows, lm = [first], [step], step.rows, first.lm
        assert lm is not None
        most = _MOST_ROWS.get(lm.device.type, _MOST_ROWS_ELSEWHERE)
        others = [stream for stream in self._running.values() if stream is not first and stream.lm is lm]
        if first.ahead < _DUE_S:
            others = [stream for stream in others if stream.is_played and stream.ahead <= _DUE_S]
        for other in sorted(others, key=lambda stream: stream.ahead):
            if not other.has_room or (joining := self._next_step(other)) is None or rows + joining.rows > most:
                continue
            streams.append(other)
            steps.append(joining)
            rows += joining.rows
        return streams, steps

    def _next_step(self, stream: EngineStream) -> Step | None:
        try:
            return stream.next_step()
        except Exception as error:
            self._fail(stream, error)
            return None

    def _advance(self, streams: list[EngineStream], drawn: Sequence[_Drawn], shared_seconds: float) -> None:
        """Give streams one piece of work each, of which they have shared so many seconds."""
        began, made_seconds = time.perf_counter(), 0.0
        for stream, (logits, tokens) in zip(streams, drawn, strict=True):
            if stream.id not in self._running:
                continue
            stream.work_seconds += shared_seconds / len(streams)
            frames_before, catching_up = stream.sampler.frames_done, stream.catching_up
            try:
                events = stream.advance(logits, tokens)
            except Exception as error:
                self._fail(stream, error)
                continue
            frames = 0 if catching_up else stream.sampler.frames_done - frames_before
            self.stats.frames += frames
            made_seconds += frames * stream.frame_samples / stream.sample_rate
            self._pass_on(stream, events)
        self.stats.count(made_seconds, shared_seconds + time.perf_counter() - began)
        self._steps += 1
        if self._steps % _COLLECT_STEPS == 0:
            self._collect(1)

    def _send(self, *, wait: bool) -> None:
        """Pass on what has come back from the device since; where there is nothing to do but wait for it, that is done."""
        for stream in list(self._running.values()):
            if not stream.is_sending:
                continue
            try:
                events = stream.collect(wait=wait)
            except Exception as error:
                self._fail(stream, error)
            else:
                self._pass_on(stream, events)

    def _pass_on(self, stream: EngineStream, events: list[EngineEvent]) -> None:
        now = self._clock()
        for event in events:
            if isinstance(event, AudioBlock):
                self._listen(stream, event, now)
            self._emit(event)
            if isinstance(event, StreamEnded):
                self._forget(stream.id)
        if stream.id not in self._running:
            return
        if not stream.has_room:
            self._full_since.setdefault(stream.id, now)
        if now - self._told.get(stream.id, 0.0) >= _PROGRESS_S:
            self._told[stream.id] = now
            self._emit(StreamProgress(stream.id, stream.samples_out, stream.realtime))

    def _listen(self, stream: EngineStream, block: AudioBlock, now: float) -> None:
        """Note whether sound comes in time, where somebody listens."""
        if not stream.is_played:
            return
        seconds = len(block.samples) / stream.sample_rate
        missing = self._listening.setdefault(stream.id, Listening()).heard(seconds, now)
        self.stats.late_frames += math.ceil(missing * stream.sample_rate / stream.frame_samples)

    def _fail(self, stream: EngineStream, error: Exception) -> None:
        """A fault stays in its room: this stream ends, the others go on."""
        log.error("stream failed", stream=stream.id, exc_info=error)
        self._end(stream.id, "failed", f"{type(error).__name__}: {error}"[:200])

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
        self._listening.pop(number, None)


def _begins(stream: EngineStream) -> bool:
    """Whether a listener waits for its first sound."""
    return stream.is_played and not stream.has_begun and not stream.catching_up
