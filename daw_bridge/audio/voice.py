"""One stream being played: the memory its two sides share, and the half that the audio callback runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from daw_bridge.audio.ramp import GainRamp, fade_curve
from daw_bridge.audio.ring import RingBuffer

MAX_BLOCK = 4096
"""Longest block, in frames, that a voice renders at once; `Mixer` splits longer ones."""

START_OPEN = 2**62
"""As the start of a voice: it has a place in time, which is not known yet."""

_SLOT_BYTES = 192


class VoiceState(IntEnum):
    """What the playing side of a voice is doing."""

    WAITING = 0
    PLAYING = 1
    FADING = 2
    FINISHED = 3


@dataclass(frozen=True)
class VoiceLayout:
    """Shape and policy of a voice; all lengths in frames at the output's rate.

    Args:
        capacity: length of the ring.
        channels: channels of the stream.
        prebuffer: frames that must lie ready before the voice starts, and starts again after an underrun.
        fade: length of every fade.
        glide: frames that a change of gain by 1 takes.
    """

    capacity: int
    channels: int
    prebuffer: int
    fade: int
    glide: int = 960

    def __post_init__(self) -> None:
        if self.fade < 1 or not 1 <= self.prebuffer <= self.capacity or self.capacity <= self.fade:
            raise ValueError(f"a voice that could never start: {self}")

    @property
    def bytes_needed(self) -> int:
        """Size of the memory for a `VoiceMemory` of this layout, in bytes."""
        return _SLOT_BYTES + RingBuffer.bytes_needed(self.capacity, self.channels)


class VoiceMemory:
    """Everything that the feeding and the playing side of a voice share: a ring and a few plain slots.

    Each slot is an aligned 8-byte number with one writer, so no lock is needed, in one process or between two.
    The feeding side writes ``ended``, ``stopping``, ``held``, ``gain``, ``start`` and ``stop``; the playing side writes ``state``,
    ``underruns``, ``bad_blocks``, ``first_audible`` and ``level``. Anyone may read.

    Args:
        layout: the shape.
        memory: zeroed, writable bytes, at least ``layout.bytes_needed``; private memory when left out.
        attach: True for the side that finds the memory already set up.
    """

    def __init__(self, layout: VoiceLayout, memory: memoryview | None = None, attach: bool = False) -> None:
        if memory is None:
            memory = memoryview(bytearray(layout.bytes_needed))
        self.layout = layout
        self._feeder_flags = memory[0:24].cast("q")
        self._gain = memory[24:32].cast("d")
        self._start = memory[32:40].cast("q")
        self._stop = memory[40:48].cast("q")
        self._player_counts = memory[64:88].cast("q")
        self._player_reals = memory[88:104].cast("d")
        self.ring = RingBuffer(layout.capacity, layout.channels, memory[_SLOT_BYTES:])
        if not attach:
            self._gain[0] = 1.0

    @property
    def ended(self) -> bool:
        """The last frame of the stream has been written."""
        return bool(self._feeder_flags[0])

    @ended.setter
    def ended(self, value: bool) -> None:
        self._feeder_flags[0] = value

    @property
    def stopping(self) -> bool:
        """The user wants silence: fade out and finish, whatever the ring still holds."""
        return bool(self._feeder_flags[1])

    @stopping.setter
    def stopping(self, value: bool) -> None:
        self._feeder_flags[1] = value

    @property
    def held(self) -> bool:
        """Fade out and stand still; go on with the very next frame once it is cleared."""
        return bool(self._feeder_flags[2])

    @held.setter
    def held(self, value: bool) -> None:
        self._feeder_flags[2] = value

    @property
    def gain(self) -> float:
        """Linear gain that the voice glides to."""
        return self._gain[0]

    @gain.setter
    def gain(self, value: float) -> None:
        self._gain[0] = value

    @property
    def start(self) -> int:
        """Frame of the output at which the first sample sounds, or `START_OPEN`; 0 for as soon as the prebuffer is there.

        It counts until the voice has begun. One that is not ready at its frame stays silent until it is given a later one.
        """
        return self._start[0]

    @start.setter
    def start(self, frame: int) -> None:
        self._start[0] = frame

    @property
    def stop(self) -> int:
        """Frame of the output at which the voice begins to fade out for good; 0 for none."""
        return self._stop[0]

    @stop.setter
    def stop(self, frame: int) -> None:
        self._stop[0] = frame

    @property
    def state(self) -> VoiceState:
        """What the playing side is doing."""
        return VoiceState(self._player_counts[0])

    @property
    def underruns(self) -> int:
        """How often the voice ran dry before its end."""
        return self._player_counts[1]

    @property
    def bad_blocks(self) -> int:
        """Blocks that were replaced by silence because they held NaN or infinity."""
        return self._player_counts[2]

    @property
    def first_audible(self) -> float | None:
        """``time.monotonic()`` of the callback that rendered the first sound; None before."""
        return self._player_reals[0] or None

    @property
    def level(self) -> float:
        """Peak meter with a slow fall, linear, after the voice's gain."""
        return self._player_reals[1]

    @property
    def frames_played(self) -> int:
        """Frames that the callback took, at the output's rate."""
        return self.ring.read

    def note_state(self, state: VoiceState) -> None:
        """Playing side: publish the state."""
        self._player_counts[0] = state

    def note_underrun(self) -> None:
        """Playing side: count one underrun."""
        self._player_counts[1] += 1

    def note_bad_block(self) -> None:
        """Playing side: count one block that was thrown away."""
        self._player_counts[2] += 1

    def note_audible(self, now: float) -> None:
        """Playing side: keep the moment of the first sound."""
        if not self._player_reals[0]:
            self._player_reals[0] = now

    def note_level(self, level: float) -> None:
        """Playing side: publish the meter."""
        self._player_reals[1] = level


class Voice:
    """The playing side of one stream: reads the ring and never lets the signal jump.

    ``ramp`` counts how many steps of a fade in have been climbed, and one rule keeps everything smooth: the ring
    always holds at least ``ramp`` unread frames, so a fade down to silence is always possible with sound that is
    there. A voice climbs or stays level only as far as that rule allows, else it fades out; after a gap it waits for
    its prebuffer. This works for blocks of any size, one frame included, and plays every frame exactly once.

    Threads: `render` for the audio callback alone; control threads speak to the voice through its `VoiceMemory`.
    """

    def __init__(self, memory: VoiceMemory) -> None:
        layout = memory.layout
        self.memory = memory
        self.channels = layout.channels
        self._ring = memory.ring
        self._prebuffer = layout.prebuffer
        self._fade = layout.fade
        self._rise = fade_curve(layout.fade)
        self._fall = np.ascontiguousarray(self._rise[::-1])
        self._gain = GainRamp(memory.gain, layout.glide, MAX_BLOCK)
        self._scratch: NDArray[np.float32] = np.zeros((MAX_BLOCK, layout.channels), np.float32)
        self._magnitude: NDArray[np.float32] = np.zeros((MAX_BLOCK, layout.channels), np.float32)
        self._state = VoiceState.WAITING
        self._ramp = 0
        self._short = False
        self._begun = False
        self._stopping = False

    def render(self, frames: int, now: float, decay: float, frame: int = 0) -> NDArray[np.float32] | None:
        """Make the next ``frames`` (at most `MAX_BLOCK`) of this voice.

        Args:
            frames: length of the block.
            now: monotonic time of this callback, seconds.
            decay: factor by which the meter falls over this block.
            frame: of the output, at which the block begins.

        Returns:
            The voice's scratch [frames, channels], valid until the next call; None for silence. A block that holds NaN
            or infinity becomes silence and is counted.
        """
        memory = self.memory
        block = self._scratch[:frames]
        level = memory.level * decay
        if not self._play(block, now, frame):
            self._gain.current = memory.gain
            memory.note_level(level)
            return None
        self._gain.apply(block, memory.gain)
        magnitude = self._magnitude[:frames]
        np.abs(block, out=magnitude)
        peak = float(magnitude.max())
        if not peak < math.inf:
            memory.note_bad_block()
            return None
        memory.note_level(max(peak, level))
        return block

    def _play(self, block: NDArray[np.float32], now: float, frame: int) -> bool:
        """Fill ``block`` with sound and silence; False when it would be silence alone (and is left as it was)."""
        memory = self.memory
        # Read the flag before the ring: once it is set, everything that was written before it is there.
        ended = memory.ended
        available = self._ring.available
        frames = len(block)
        position = 0
        audible = False
        stop = memory.stop or START_OPEN
        self._stopping = memory.stopping or stop <= frame
        while position < frames and self._state != VoiceState.FINISHED:
            if self._state == VoiceState.WAITING:
                wait = 0 if self._begun else self._frames_to_start(frame + position)
                if wait >= frames - position:
                    self._finish_unheard(ended, available)
                    break
                if not self._may_start(ended, available):
                    break
                self._begun = True
                block[position : position + wait] = 0.0
                position += wait
                memory.note_audible(now)
                continue
            if self._state == VoiceState.PLAYING:
                self._stopping = self._stopping or stop <= frame + position
                room = frames - position if self._stopping else min(frames, stop - frame) - position
                count, gains = self._next_step(room, available)
                if not count:
                    self._short = not (self._stopping or memory.held)
                    self._enter(VoiceState.FADING)
                    continue
            else:
                count = min(frames - position, self._ramp)
                top = self._fade - self._ramp
                gains = self._fall[top : top + count]
                self._ramp -= count
            part = block[position : position + count]
            self._ring.read_into(part)
            if gains is not None:
                part *= gains
            audible = True
            available -= count
            position += count
            if self._state == VoiceState.FADING and self._ramp == 0:
                self._faded_out(ended, available)
        if audible and position < frames:
            block[position:] = 0.0
        return audible

    def _frames_to_start(self, frame: int) -> int:
        """How many frames after ``frame`` the voice begins; more than any block where it must wait for another start."""
        start = self.memory.start
        return 0 if not start else start - frame if start >= frame else START_OPEN

    def _finish_unheard(self, ended: bool, available: int) -> None:
        """A voice that waits for its start may be told to stop, or have nothing to play."""
        if self._stopping or (ended and not available):
            self._enter(VoiceState.FINISHED)

    def _may_start(self, ended: bool, available: int) -> bool:
        """Leave WAITING for PLAYING or FINISHED if it is time to; True when there is something to play."""
        if self._stopping or (ended and not available):
            self._enter(VoiceState.FINISHED)
            return False
        if self.memory.held or not (ended or available >= self._prebuffer):
            return False
        self._enter(VoiceState.PLAYING)
        return True

    def _next_step(self, room: int, available: int) -> tuple[int, NDArray[np.float32] | None]:
        """How many frames may be played on, rising or level, and at which gains (None for 1); 0 to fade out."""
        if self._stopping or self.memory.held:
            return 0, None
        ramp = self._ramp
        spare = available - ramp
        if ramp == self._fade:
            return min(room, spare), None
        count = min(room, self._fade - ramp, spare // 2)
        if count > 0:
            self._ramp = ramp + count
            return count, self._rise[ramp : ramp + count]
        # One odd frame is left before the fade out: it stays at the level that has been reached.
        return min(room, spare), self._rise[ramp - 1 : ramp] if ramp else self._rise[:1]

    def _faded_out(self, ended: bool, available: int) -> None:
        """The fade out has reached silence: finish, or wait for more."""
        if self._stopping or (ended and not available):
            self._enter(VoiceState.FINISHED)
            return
        if self._short:
            self.memory.note_underrun()
        self._enter(VoiceState.WAITING)

    def _enter(self, state: VoiceState) -> None:
        self._state = state
        self.memory.note_state(state)
