"""The voice of a layer, written a little ahead of the card: the frame of every sample is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from daw_bridge.audio.feeder import FADE_SECONDS, Feeder
from daw_bridge.audio.output import Output
from daw_bridge.audio.ramp import fade_curve

FADE_S = 0.01
"""Of what is muted, and of what stops."""

VOICE_FADE_S = FADE_SECONDS
"""With which a voice begins."""

OpenVoice = Callable[[int], Feeder]


class Track:
    """One voice at a time, whose sample i sounds at frame ``start + i`` of one card. For one thread.

    Args:
        open_voice: opens a voice of two channels that waits for its frame; takes its rate in Hz, which is the card's.
    """

    def __init__(self, open_voice: OpenVoice) -> None:
        self._open_voice = open_voice
        self._voice: Feeder | None = None
        self._output: Output | None = None
        self._level = 1.0
        self._hushed = False
        self._heard_again: int | None = None
        self._gate = Gate(1)
        self.frame = 0
        """The frame at which what is written next will sound."""
        self.start = 0
        """The frame of its first sample."""

    @property
    def open(self) -> bool:
        """Whether there is a voice."""
        return self._voice is not None

    def begin(self, output: Output, frame: int) -> None:
        """Open a voice that begins at a frame; it is to be written to at once."""
        self.drop()
        rate = output.sample_rate
        self._voice = self._open_voice(rate)
        self._voice.gain = 0.0 if self._hushed else self._level
        self._voice.schedule(output, frame)
        self._output = output
        self._gate = Gate(round(FADE_S * rate), self._gate.is_open)
        if self._heard_again is not None:
            self._heard_again = frame
        self.start = self.frame = frame

    def lost(self, output: Output | None, rendered: int) -> bool:
        """Whether what is written will not be heard where it was meant to be."""
        voice = self._voice
        if voice is None:
            return False
        if output is not self._output or voice.finished or voice.status().underruns:
            return True
        late = rendered > self.start + output.blocksize if output is not None else True
        return self.frame < rendered or (late and not voice.begun)

    def write(self, block: NDArray[np.float32]) -> None:
        """What sounds next: ``[samples, 2]``."""
        if self._voice is not None:
            self._voice.write(self._gate.pass_on(block, self.frame))
            self.frame += len(block)

    def end(self, ringing: NDArray[np.float32]) -> None:
        """Fade ``ringing`` out and close the voice behind it."""
        self.write(ringing * fade_curve(len(ringing))[::-1])
        if self._voice is not None:
            self._voice.finish()
            self._voice = None

    def drop(self) -> None:
        """Fade out now."""
        if self._voice is not None:
            self._voice.stop()
            self._voice = None

    # --- level and mute -----------------------------------------------------------------------------------------------

    def set_level(self, gain: float) -> None:
        """Glide to a linear gain."""
        self._level = gain
        self._tell_voice()

    def hush(self) -> None:
        """Silence, as soon as can be."""
        self._hushed, self._heard_again = True, None
        self._tell_voice()

    def turn(self, audible: bool) -> None:
        """Silence what is written from here on, or let it be heard."""
        self._gate.turn(self.frame, audible)

    def unhush(self) -> None:
        """Let it be heard again, as soon as can be."""
        if not self._gate.is_open:
            self.turn(True)
        self._hushed, self._heard_again = False, None
        self._tell_voice()

    def unhush_later(self) -> None:
        """Stay silent until `turn` says otherwise, though it was silenced by `hush`."""
        if self._hushed:
            self.turn(False)
            self._heard_again = self.frame + self._gate.fade

    def pump(self, rendered: int) -> None:
        """To be called every few milliseconds."""
        if self._heard_again is not None and rendered >= self._heard_again:
            self._hushed, self._heard_again = False, None
            self._tell_voice()

    def _tell_voice(self) -> None:
        if self._voice is not None:
            self._voice.gain = 0.0 if self._hushed else self._level


class Gate:
    """Lets sound through or not, with a fade in between that begins on a frame.

    Args:
        fade: its length in frames.
        is_open: to begin with.
    """

    def __init__(self, fade: int, is_open: bool = True) -> None:
        self.fade = fade
        self.is_open = is_open
        self._since = -(2**62)
        self._curve = fade_curve(fade)

    def turn(self, frame: int, is_open: bool) -> None:
        """Open or close from a frame on; frames before it have passed already."""
        if is_open != self.is_open:
            # In the middle of a fade it goes back from where it is.
            left = max(0, self.fade - (frame - self._since))
            self._since = frame - left
            self.is_open = is_open

    def pass_on(self, block: NDArray[np.float32], frame: int) -> NDArray[np.float32]:
        """A block ``[samples, channels]`` that begins at a frame, with the gate's gain."""
        place = frame - self._since
        if place >= self.fade:
            return block if self.is_open else np.zeros_like(block)
        curve = self._curve if self.is_open else self._curve[::-1]
        gains = np.full((len(block), 1), 1.0 if self.is_open else 0.0, np.float32)
        part = curve[place : place + len(block)]
        gains[: len(part)] = part
        return block * gains
