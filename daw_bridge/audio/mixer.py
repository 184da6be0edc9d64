"""What the audio callback calls: the sum of all voices, levelled, clipped and metered."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from daw_bridge.audio.ramp import GainRamp
from daw_bridge.audio.voice import MAX_BLOCK, Voice, VoiceMemory

METER_FALL_SECONDS = 0.3
"""Time constant with which the peak meters fall."""

GLIDE_SECONDS = 0.02
"""Time that a change of gain by 1 takes."""

_READ_ATTEMPTS = 8


class Meters:
    """What an output reports, in plain 8-byte slots with one writer each, in one process or shared by two.

    The callback writes all of it but ``active`` (the output's own watch), ``underflows`` and ``overflows`` (the output's callback).

    Args:
        memory: zeroed, writable bytes, at least ``Meters.BYTES``; private memory when left out.
    """

    BYTES = 128

    def __init__(self, memory: memoryview | None = None) -> None:
        if memory is None:
            memory = memoryview(bytearray(self.BYTES))
        self._counts = memory[0:64].cast("q")
        self._reals = memory[64:128].cast("d")
        # Both halves of `heard` under a count that is odd while they are written.
        self._turn = memory[48:56].cast("q")
        self._heard_frame = memory[56:64].cast("q")
        self._heard_time = memory[80:88].cast("d")
        self._overflows = memory[88:96].cast("q")
        self._last_heard: tuple[int, float] | None = None

    @property
    def callbacks(self) -> int:
        """Blocks rendered."""
        return self._counts[0]

    @property
    def frames(self) -> int:
        """Frames rendered."""
        return self._counts[1]

    @property
    def clipped_blocks(self) -> int:
        """Blocks in which the sum went over full scale and was clipped."""
        return self._counts[2]

    @property
    def faults(self) -> int:
        """Blocks lost to an exception in the callback; anything but 0 is a defect."""
        return self._counts[3]

    @property
    def underflows(self) -> int:
        """Blocks that the sound system says came too late."""
        return self._counts[4]

    @property
    def overflows(self) -> int:
        """Blocks before which the sound system says that it dropped some of the input."""
        return self._overflows[0]

    @property
    def active(self) -> bool:
        """The sound system says that the stream runs."""
        return bool(self._counts[5])

    @property
    def level(self) -> float:
        """Peak meter of the sum before clipping, linear, with a slow fall."""
        return self._reals[0]

    @property
    def max_render_seconds(self) -> float:
        """Longest time that one block took to render."""
        return self._reals[1]

    @property
    def heard(self) -> tuple[int, float] | None:
        """The first frame of a late block and ``time.monotonic()`` at which it is heard; None before the first block.

        A callback that is held up between both halves leaves the account that was read before.
        """
        for _ in range(_READ_ATTEMPTS):
            turn = self._turn[0]
            frame, moment = self._heard_frame[0], self._heard_time[0]
            if not turn % 2 and self._turn[0] == turn:
                self._last_heard = (frame, moment) if turn else None
                break
        return self._last_heard

    def note_heard(self, moment: float) -> None:
        """Callback: the block that is about to be rendered is heard at ``moment``."""
        self._turn[0] += 1
        self._heard_frame[0] = self._counts[1]
        self._heard_time[0] = moment
        self._turn[0] += 1

    def note_block(self, frames: int, seconds: float) -> None:
        """Callback: one block of ``frames`` was rendered in ``seconds``."""
        self._counts[0] += 1
        self._counts[1] += frames
        if seconds > self._reals[1]:
            self._reals[1] = seconds

    def note_level(self, level: float) -> None:
        """Callback: publish the meter."""
        self._reals[0] = level

    def note_clipped(self) -> None:
        """Callback: count one clipped block."""
        self._counts[2] += 1

    def note_fault(self) -> None:
        """Callback: count one block that an exception cost."""
        self._counts[3] += 1

    def note_underflow(self) -> None:
        """Output: count one late block."""
        self._counts[4] += 1

    def note_overflow(self) -> None:
        """Output: count one gap in the input."""
        self._overflows[0] += 1

    def note_active(self, active: bool) -> None:
        """Output: say whether the stream runs."""
        self._counts[5] = active


class Mixer:
    """Sums the voices that play into the blocks that the sound card asks for.

    Channels: a mono voice goes to every channel of the output; otherwise channel i goes to channel i, and where the
    output has fewer, channel i is folded into channel ``i % channels`` at a level that keeps the fold from clipping.
    The sum is clipped to [-1, 1].

    Threads: `render` for the audio callback alone. It takes no lock, logs nothing, and allocates nothing but array
    views and numbers. `add`, `remove` and ``gain`` for one control thread at a time.

    Args:
        sample_rate: of the output, Hz.
        channels: of the output.
        meters: where to report; private ones when left out.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        sample_rate: int,
        channels: int,
        meters: Meters | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sample_rate = sample_rate
        self.channels = channels
        self.meters = meters or Meters()
        self.gain = 1.0
        self._clock = clock
        self._voices: tuple[Voice, ...] = ()
        self._ramp = GainRamp(1.0, round(sample_rate * GLIDE_SECONDS), MAX_BLOCK)
        self._magnitude: NDArray[np.float32] = np.zeros((MAX_BLOCK, channels), np.float32)
        self._fall_rate = -1.0 / (sample_rate * METER_FALL_SECONDS)
        self._level = 0.0

    def add(self, memory: VoiceMemory) -> None:
        """Begin to play a voice; it may still be empty."""
        # The callback sees the old tuple or the new one, never a list in the middle of a change.
        self._voices = (*self._voices, Voice(memory))

    def remove(self, memory: VoiceMemory) -> None:
        """Forget a voice at once, with no fade; unknown ones are ignored."""
        self._voices = tuple(voice for voice in self._voices if voice.memory is not memory)

    @property
    def voices(self) -> int:
        """How many voices are held, silent ones included."""
        return len(self._voices)

    def render(self, out: NDArray[np.float32], ahead: float = 0.0) -> None:
        """Fill ``out`` [frames, channels] with the next block, of any length, which is heard ``ahead`` seconds from now."""
        started = time.perf_counter()
        frames = len(out)
        now = self._clock()
        first = self.meters.frames
        self.meters.note_heard(now + ahead)
        try:
            with np.errstate(all="ignore"):  # a poisoned voice is dealt with below; numpy would print a warning here
                for start in range(0, frames, MAX_BLOCK):
                    self._render_block(out[start : start + MAX_BLOCK], now, first + start)
        except Exception:  # whatever it is, the sound card must get a block and the callback must live
            out.fill(0.0)
            self.meters.note_fault()
        self.meters.note_block(frames, time.perf_counter() - started)

    def _render_block(self, out: NDArray[np.float32], now: float, first: int) -> None:
        frames = len(out)
        decay = math.exp(frames * self._fall_rate)
        out.fill(0.0)
        audible = False
        for voice in self._voices:
            block = voice.render(frames, now, decay, first)
            if block is not None:
                self._sum(block, voice.channels, out)
                audible = True
        self._level *= decay
        if audible:
            self._ramp.apply(out, self.gain)
            self._limit(out)
        else:
            self._ramp.current = self.gain
        self.meters.note_level(self._level)

    def _sum(self, block: NDArray[np.float32], channels: int, out: NDArray[np.float32]) -> None:
        """Add ``block`` [frames, channels] to ``out``; a block that must be folded is scaled in place."""
        width = self.channels
        if channels == width or channels == 1:
            out += block
        elif channels < width:
            part = out[:, :channels]
            part += block
        else:
            for channel in range(channels):
                share = 1.0 / len(range(channel % width, channels, width))
                column = block[:, channel]
                column *= share
                into = out[:, channel % width]
                into += column

    def _limit(self, out: NDArray[np.float32]) -> None:
        magnitude = self._magnitude[: len(out)]
        np.abs(out, out=magnitude)
        peak = float(magnitude.max())
        if peak <= 1.0:
            self._level = max(self._level, peak)
            return
        self.meters.note_clipped()
        if peak < math.inf:
            np.minimum(out, 1.0, out=out)
            np.maximum(out, -1.0, out=out)
            self._level = max(self._level, peak)
        else:
            out.fill(0.0)
