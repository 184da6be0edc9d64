"""The feeding side of a voice: takes what the engine streams and keeps the output supplied."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from daw_bridge.audio.mixer import GLIDE_SECONDS
from daw_bridge.audio.output import Output
from daw_bridge.audio.resample import PRE_ROLL, Resampler
from daw_bridge.audio.voice import START_OPEN, VoiceLayout, VoiceState
from protocols.errors import ErrorCode, RequestError

FADE_SECONDS = 0.005
"""Length of the fades at start, stop, end and around gaps."""

MAX_LEAD_SECONDS = 60.0
"""The most sound that may lie ready ahead of the output."""

MAX_GAIN = 16.0
"""The highest gain, linear (24 dB)."""

_LEAST_LEAD_SECONDS = 0.5  # of the source is kept even for a shorter lead, so that a large block always finds enough
_SLICE = 2048  # source frames resampled at once; bounds what is resampled but does not fit into the ring yet


class SourceWindow:
    """The latest part of a stream, at the engine's rate, in a ring of fixed size addressed by absolute frames.

    Frames from ``end - capacity`` on can be read again: that is what lets a voice go on at another rate.

    Args:
        capacity: frames.
        channels: at least 1.
    """

    def __init__(self, capacity: int, channels: int) -> None:
        self.capacity = capacity
        self.end = 0
        self._samples: NDArray[np.float32] = np.zeros((capacity, channels), np.float32)

    def append(self, chunk: NDArray[np.float32], keep_from: int) -> int:
        """Copy in as much of ``chunk`` [frames, channels] as fits without losing frame ``keep_from``; return how many."""
        frames = min(len(chunk), self.capacity - (self.end - keep_from))
        start = self.end % self.capacity
        head = min(frames, self.capacity - start)
        self._samples[start : start + head] = chunk[:head]
        self._samples[: frames - head] = chunk[head:frames]
        self.end += frames
        return frames

    def segment(self, position: int, limit: int) -> NDArray[np.float32]:
        """A view [frames, channels] of at most ``limit`` frames from ``position`` on; at least one if there is one."""
        start = position % self.capacity
        frames = min(limit, self.end - position, self.capacity - start)
        return self._samples[start : start + frames]


@dataclass(frozen=True)
class VoiceStatus:
    """A voice as a musician or a log would want to see it.

    Args:
        state: "detached" while there is no output, else the `VoiceState` in lower case.
        taken: source frames accepted by `Feeder.write`.
        consumed: source frames passed on towards the card.
        played: source frames that the audio callback took.
        ready_seconds: sound in the ring, ahead of the callback.
        underruns: how often it ran dry before its end.
        bad_frames: source frames in which NaN or infinity was replaced by 0.
        first_audible: ``time.monotonic()`` of the first sound's callback; add the output's latency for the ear.
        level: peak meter, linear.
    """

    state: str
    taken: int
    consumed: int
    played: int
    ready_seconds: float
    underruns: int
    bad_frames: int
    first_audible: float | None
    level: float


@dataclass(frozen=True)
class Place:
    """Where a voice plays.

    Args:
        output: on which output; its frames count from its opening.
        origin: source frame with which it began there.
        frames: of the output, that were taken from it there so far.
    """

    output: Output
    origin: Fraction
    frames: int


class _Route:
    """The way of one stream into one output: resampler, ring, and the arithmetic between the two rates.

    Threads: whoever holds the feeder's lock.
    """

    def __init__(
        self, output: Output, layout: VoiceLayout, window: SourceWindow, position: Fraction, sample_rate: int
    ) -> None:
        self.output = output
        self.memory = output.add_voice(layout)
        self.prebuffer = layout.prebuffer
        self._window = window
        self._step = Fraction(sample_rate, output.sample_rate)
        self._resampler = Resampler(sample_rate, output.sample_rate, layout.channels)
        # The resampler starts a little earlier in the stream, so that its filter has settled where the sound goes on.
        self.fed = max(0, math.floor(position) - PRE_ROLL)
        self._skip = math.ceil((position - self.fed) / self._step)
        self._origin = self.fed + self._skip * self._step
        self._carry: NDArray[np.float32] = np.zeros((0, layout.channels), np.float32)
        self._flushed = False

    @property
    def position(self) -> Fraction:
        """How far the callback has come in the stream, source frames."""
        return self._origin + self.memory.frames_played * self._step

    @property
    def place(self) -> Place:
        """How far the callback has come, exactly."""
        return Place(self.output, self._origin, self.memory.frames_played)

    @property
    def ready_seconds(self) -> float:
        """Sound that lies in the ring."""
        return self.memory.ring.available / self.output.sample_rate

    def pump(self, finishing: bool) -> None:
        """Move as much of the window as fits into the ring; ``finishing`` says that no more will come."""
        while True:
            self._carry = self._carry[self.memory.ring.write(self._carry) :]
            if len(self._carry):
                return
            if self.fed < self._window.end:
                segment = self._window.segment(self.fed, _SLICE)
                self.fed += len(segment)
                self._carry = self._resampler.process(segment)
            elif finishing and not self._flushed:
                self._flushed = True
                self._carry = self._resampler.flush()
            else:
                break
            skipped = min(self._skip, len(self._carry))
            self._skip -= skipped
            self._carry = self._carry[skipped:]
        if self._flushed:
            self.memory.ended = True


class Feeder:
    """One stream on its way to an output; what `Player.open_voice` hands out.

    Chunks of any size come in at the engine's rate, are resampled, and go into the voice's ring as far as they fit; the
    rest is kept, up to a fixed bound. Nothing ever blocks.

    Moving to another output (`attach`) makes the ring anew from the stream itself, from the very frame that was
    reached: whatever the two rates are, the sound is resampled once, and nothing is lost or repeated.

    Threads: any; one lock inside, held no longer than it takes to resample what fits. The audio callback never takes
    it: it lives on the other side of the `VoiceMemory`.

    Args:
        sample_rate: of the stream, 1000 to 768000 Hz.
        channels: of the stream, 1 to 64.
        lead_seconds: sound that may lie ready ahead of the output, 0.01 to `MAX_LEAD_SECONDS`; as much again may wait.
        prebuffer_seconds: sound that must be ready before the voice starts, 0 to ``lead_seconds``. It is raised to one
            block of the output plus a fade, below which a start would run dry at once.
        gain: linear, 0 to 16.
        fade_seconds: length of every fade, 0.0005 to 1.
        scheduled: the voice begins at the frame that `schedule` names, and not before.

    Raises:
        RequestError: OUT_OF_RANGE.
    """

    def __init__(
        self,
        sample_rate: int,
        channels: int = 1,
        lead_seconds: float = 2.0,
        prebuffer_seconds: float = 0.05,
        gain: float = 1.0,
        fade_seconds: float = FADE_SECONDS,
        scheduled: bool = False,
    ) -> None:
        _check("sample_rate", sample_rate, 1_000, 768_000)
        _check("channels", channels, 1, 64)
        _check("lead_seconds", lead_seconds, 0.01, MAX_LEAD_SECONDS)
        _check("prebuffer_seconds", prebuffer_seconds, 0.0, lead_seconds)
        _check("gain", gain, 0.0, MAX_GAIN)
        _check("fade_seconds", fade_seconds, 0.0005, 1.0)
        self.sample_rate = sample_rate
        self.channels = channels
        self._lead = lead_seconds
        self._prebuffer = prebuffer_seconds
        self._fade = fade_seconds
        self._gain = gain
        self._scheduled = scheduled
        self._lock = threading.Lock()
        kept = math.ceil(2 * max(lead_seconds, _LEAST_LEAD_SECONDS) * sample_rate) + PRE_ROLL + 2 * _SLICE
        self._window = SourceWindow(kept, channels)
        self._route: _Route | None = None
        self._position = Fraction(0)  # where the last output left off
        self._underruns = 0  # on outputs of the past
        self._first_audible: float | None = None
        self._consumed = 0
        self._bad_frames = 0
        self._ending = False
        self._stopped = False
        self._done = False
        self._place: Place | None = None

    def write(self, chunk: NDArray[np.floating]) -> int:
        """Take as much of ``chunk`` as there is room for, and pass on what fits.

        Args:
            chunk: float samples [frames, channels], or [frames] for a mono stream; NaN and infinity become 0.

        Returns:
            Source frames taken, 0 to len(chunk). The rest must be offered again later. After `stop` everything is
            taken, and dropped.

        Raises:
            RequestError: BAD_TYPE for another shape or for integers, NOT_ALLOWED after `finish`.
        """
        samples = self._as_samples(chunk)
        with self._lock:
            if self._ending:
                raise RequestError(ErrorCode.NOT_ALLOWED, "audio", None, "no sound after the end of a stream")
            if self._stopped:
                self._consumed = self._window.end
                return len(samples)
            bad = ~np.isfinite(samples)
            if bad.any():
                self._bad_frames += int(bad.any(axis=1).sum())
                samples = np.where(bad, np.float32(0.0), samples)
            taken = self._window.append(samples, max(0, math.floor(self._reached()) - PRE_ROLL))
            self._pump()
            return taken

    def finish(self) -> None:
        """No more sound will come: play what is there to its end. Safe to call twice."""
        with self._lock:
            self._ending = True
            self._pump()

    def stop(self) -> None:
        """Fade out now and drop the rest. Safe to call twice, and without effect on a voice that has finished."""
        with self._lock:
            if self.finished:
                return
            self._stopped = True
            if self._route is None:
                self._done = True
            else:
                self._route.memory.stopping = True

    def pump(self) -> None:
        """Pass on what has found no room so far; `Player` calls this every few milliseconds."""
        with self._lock:
            self._pump()

    def attach(self, output: Output) -> None:
        """Go on playing on ``output``, which is open, from where the last output left off."""
        with self._lock:
            self._detach()
            if self._done:
                return
            self._route = _Route(output, self._layout(output), self._window, self._position, self.sample_rate)
            self._route.memory.gain = self._gain
            if self._scheduled and self._first_audible is None:
                self._route.memory.start = START_OPEN  # frames of another output say nothing here
            self._pump()

    def schedule(self, output: Output, frame: int) -> None:
        """Begin at a frame of an output, while the voice is scheduled and has not begun; without effect on another output.

        Where sound is not `ready` by then the voice stays silent, until it is given a later frame.
        """
        with self._lock:
            waits = self._scheduled and self._first_audible is None
            if waits and self._route is not None and self._route.output is output:
                self._route.memory.start = frame

    def postpone(self) -> None:
        """Take the frame back that `schedule` has named: the voice waits for another."""
        with self._lock:
            if self._scheduled and self._route is not None:
                self._route.memory.start = START_OPEN

    def release(self) -> None:
        """Begin as soon as there is sound enough, whatever frame was named."""
        with self._lock:
            self._scheduled = False
            if self._route is not None:
                self._route.memory.start = 0

    def stop_at(self, output: Output, frame: int) -> None:
        """Fade out for good from a frame of an output on, or not after all (0); without effect on another output."""
        with self._lock:
            if self._route is not None and self._route.output is output:
                self._route.memory.stop = frame

    @property
    def place(self) -> Place | None:
        """Where it plays, or played last; None before it was attached."""
        with self._lock:
            return self._place if self._route is None else self._route.place

    @property
    def begun(self) -> bool:
        """Whether the first sample has been taken."""
        route = self._route
        return self._first_audible is not None or (route is not None and route.memory.first_audible is not None)

    @property
    def ready(self) -> bool:
        """Whether there is sound enough to begin."""
        with self._lock:
            route = self._route
            return route is not None and (route.memory.ended or route.memory.ring.available >= route.prebuffer)

    def detach(self) -> None:
        """Leave the output and remember the position."""
        with self._lock:
            self._detach()

    def hold(self) -> None:
        """Fade out and stand still until the next `attach`; nothing is lost."""
        with self._lock:
            if self._route is not None:
                self._route.memory.held = True

    @property
    def silent(self) -> bool:
        """Whether the callback takes nothing from this voice now."""
        route = self._route
        return route is None or route.memory.state in (VoiceState.WAITING, VoiceState.FINISHED)

    @property
    def finished(self) -> bool:
        """Whether the last sound has been played, or the voice has faded out after `stop`."""
        route = self._route
        return self._done or (route is not None and route.memory.state == VoiceState.FINISHED)

    @property
    def consumed(self) -> int:
        """Source frames passed on towards the card so far: acknowledge these to the engine to get more."""
        with self._lock:
            return self._consumed

    @property
    def gain(self) -> float:
        """Linear gain; a change glides. Setting it raises RequestError OUT_OF_RANGE outside 0 to 16."""
        return self._gain

    @gain.setter
    def gain(self, value: float) -> None:
        _check("gain", value, 0.0, MAX_GAIN)
        with self._lock:
            self._gain = value
            if self._route is not None:
                self._route.memory.gain = value

    def status(self) -> VoiceStatus:
        """Where the stream stands."""
        with self._lock:
            route = self._route
            memory = None if route is None else route.memory
            return VoiceStatus(
                state=("finished" if self._done else "detached") if memory is None else memory.state.name.lower(),
                taken=self._window.end,
                consumed=self._consumed,
                played=math.floor(self._reached()),
                ready_seconds=0.0 if route is None else route.ready_seconds,
                underruns=self._underruns + (0 if memory is None else memory.underruns),
                bad_frames=self._bad_frames,
                first_audible=self._first_audible or (None if memory is None else memory.first_audible),
                level=0.0 if memory is None else memory.level,
            )

    def _as_samples(self, chunk: NDArray[np.floating]) -> NDArray[np.float32]:
        array = np.asarray(chunk)
        if array.ndim == 1 and self.channels == 1:
            array = array[:, np.newaxis]
        if array.ndim != 2 or array.shape[1] != self.channels or not np.issubdtype(array.dtype, np.floating):
            wanted = f"float samples [frames, {self.channels}]"
            raise RequestError(ErrorCode.BAD_TYPE, "audio", f"{array.dtype} {list(array.shape)}", wanted)
        return array.astype(np.float32, copy=False)

    def _layout(self, output: Output) -> VoiceLayout:
        rate = output.sample_rate
        fade = max(1, round(self._fade * rate))
        prebuffer = max(round(self._prebuffer * rate), output.blocksize + fade)
        least = prebuffer + fade + 2 * output.blocksize
        capacity = max(round(self._lead * rate), least)
        return VoiceLayout(capacity, self.channels, prebuffer, fade, max(1, round(GLIDE_SECONDS * rate)))

    def _reached(self) -> Fraction:
        """How far the stream has been played, source frames."""
        route = self._route
        if route is None:
            return self._position
        # Rounding to whole frames at the output's rate must not leave the last source frame unplayed, or add one.
        if route.memory.state == VoiceState.FINISHED and not self._stopped:
            return Fraction(self._window.end)
        return min(route.position, Fraction(self._window.end))

    def _pump(self) -> None:
        route = self._route
        if route is None:
            return
        route.pump(self._ending)
        # After a move the resampler runs over ground that was counted before.
        self._consumed = max(self._consumed, self._window.end if self._stopped else route.fed)

    def _detach(self) -> None:
        route = self._route
        if route is None:
            return
        self._position = self._reached()
        self._place = route.place
        self._underruns += route.memory.underruns
        self._first_audible = self._first_audible or route.memory.first_audible
        # In this order: `finished` reads both without the lock, and must not fall back to False.
        self._done = self._stopped or route.memory.state == VoiceState.FINISHED
        self._route = None
        route.output.remove_voice(route.memory)


def _check(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise RequestError(ErrorCode.OUT_OF_RANGE, field, value, f"{low:g} to {high:g}")
