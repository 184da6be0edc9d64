"""A melody as chroma: which of the twelve pitch classes leads, 7.8 times a second, as melody models were trained to hear it.

It is either written down (`MelodyCondition`: MIDI, or whatever knows the notes) or read from sound (`melody_from_audio`), in
AudioCraft's way (``ChromaStemConditioner``, without the separation of stems): a power spectrum through twelve filters (Ellis,
"Chroma feature analysis and synthesis", 2007), the strongest of which is on. Everything runs in single precision on the CPU
whatever the model's device is, so that the same sound gives the same chroma everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from engine.runtime.conditions import NULL_BIN
from protocols.errors import ErrorCode, RequestError

PITCH_CLASSES = 12
"""C is 0, B is 11."""
SILENCE = -1
"""Stands in a written melody where nothing sounds. The LM hears the null bin there, as it does where a recording is silent."""
MAX_FRAMES = 1 << 20
"""The longest written melody: nearly three hours at 100 frames per second."""

_A0_HZ = 27.5
_CENTRE_OCTAVE, _OCTAVE_WIDTH = 5.0, 2.0
_LEAST_PEAK = 1e-6
_FRAMES_AT_ONCE = 256


@dataclass(frozen=True)
class MelodyFacts:
    """What a melody model expects of a melody.

    Attributes:
        sample_rate: of sound that is read, in Hz; the codec's.
        frame_rate: codec frames per second, exactly.
        window_frames: the most codec frames the LM hears at once.
        frames: frames of chroma before every window.
        fft_size: samples that are looked at together for one frame of chroma.
        hop_length: samples from one frame of chroma to the next.
        null_bin: the bin that is on where there is no melody.
        stored_window: what is under a frame of chroma, ``[fft_size]``, where the checkpoint has it; else `chroma_window`.
            AudioCraft's have it in half precision, which now and then decides what leads in a noise.
    """

    sample_rate: int
    frame_rate: Fraction
    window_frames: int
    frames: int
    fft_size: int = 16_384
    hop_length: int = 4096
    null_bin: int = NULL_BIN
    stored_window: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def rate(self) -> Fraction:
        """Frames of chroma per second, exactly; 7.8125 at 32 kHz."""
        return Fraction(self.sample_rate, self.hop_length)

    @property
    def window_samples(self) -> int:
        """How much sound a window of the LM is."""
        return int(self.window_frames * self.sample_rate / self.frame_rate)


class MelodyCondition:
    """A melody that is written down: a pitch class for every moment, over and over. Never changes; any thread.

    Each frame of chroma takes what sounds at its moment. That moment is worked out in fractions, so that a loop neither drifts nor
    needs to be a whole number of chroma frames long: an hour later it still begins with its first note.

    Args:
        pitches: whole numbers ``[frames]``, 0 (C) to 11 (B), or `SILENCE`.
        facts: of the model that will hear it.
        rate: of ``pitches``, in frames per second; the model's rate of chroma by default.
        period: after how many of these frames, more than ``len(pitches) - 1``, the melody begins again; by default, after all.
        origin: at which codec frame of the stream the melody begins, an audio prompt's frames counted. What is before it
            belongs to an earlier turn of the loop.

    Raises:
        RequestError: no pitches, too many of them, or values that are not pitch classes; a rate that is not above 0.
    """

    def __init__(
        self,
        pitches: Tensor | NDArray[Any] | Sequence[int],
        facts: MelodyFacts,
        *,
        rate: Fraction | None = None,
        period: Fraction | None = None,
        origin: int = 0,
    ) -> None:
        self._pitches = _checked_pitches(pitches)
        self._period = Fraction(len(self._pitches)) if period is None else period
        self._facts = facts
        self._rate = facts.rate if rate is None else rate
        self._origin = origin
        if self._rate <= 0:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "melody_rate", str(rate), "above 0")

    def window(self, frame: int) -> Tensor:
        """The bins of chroma ``[facts.frames]`` of a window that begins at this codec frame of the stream."""
        facts = self._facts
        first = Fraction(frame - self._origin) / facts.frame_rate * self._rate
        step = self._rate / facts.rate
        # Whole multiples of one unit: floor division of integers is exact at any distance from the beginning.
        unit = math.lcm(first.denominator, step.denominator, self._period.denominator)
        offset, stride, period = int(first * unit), int(step * unit), int(self._period * unit)
        at = [(offset + stride * index) % period // unit for index in range(facts.frames)]
        bins = self._pitches[torch.tensor(at)]
        return bins.masked_fill(bins == SILENCE, facts.null_bin)


class AudioMelody:
    """A recorded melody that moves along with a stream, over and over. Any thread.

    The chroma of every window is read from the sound that a player looping it would play there; a window of 30 s takes some tens of
    milliseconds, the latest is remembered.

    Args:
        sound: float32 ``[samples]`` at the model's rate; see `melody_from_audio`, which checks it.
        facts: of the model that will hear it.
        origin: at which codec frame of the stream the sound begins, an audio prompt's frames counted.
    """

    def __init__(self, sound: Tensor, facts: MelodyFacts, *, origin: int = 0) -> None:
        self._sound = sound
        self._facts = facts
        self._origin = origin
        self._latest: tuple[int, Tensor] | None = None

    def window(self, frame: int) -> Tensor:
        """The bins of chroma ``[facts.frames]`` of a window that begins at this codec frame of the stream."""
        latest = self._latest
        if latest is not None and latest[0] == frame:
            return latest[1]
        facts = self._facts
        first = int((frame - self._origin) * facts.sample_rate / facts.frame_rate // 1) % len(self._sound)
        heard = self._sound[first : first + facts.window_samples]
        if (missing := facts.window_samples - len(heard)) > 0:
            turns = self._sound[:missing].repeat(-(-missing // len(self._sound)))
            heard = torch.cat((heard, turns[:missing]))
        bins = chroma(heard, facts).argmax(dim=1)
        bins = bins.repeat(-(-facts.frames // len(bins)))[: facts.frames]
        self._latest = (frame, bins)
        return bins


def melody_from_audio(
    sound: Tensor | NDArray[np.float32], facts: MelodyFacts, *, total_frames: int | None, origin: int = 0
) -> MelodyCondition | AudioMelody:
    """The melody of a recording, as AudioCraft reads it (``MusicGen.generate_with_chroma`` and ``_generate_tokens``).

    Before a stream that fits the LM's window stands the chroma of the whole recording, cut or repeated frame by frame; for a longer
    one the recording itself is repeated and the windows are read from that. Drums and bass are not separated from it: what leads
    the mix leads the melody.

    Args:
        sound: float32 ``[samples]`` or ``[channels, samples]`` at ``facts.sample_rate``; channels are averaged.
        facts: of the model that will hear it.
        total_frames: length of the stream as `FrameSampler` counts it, an audio prompt's frames included; None has no end.
        origin: at which codec frame of the stream the recording begins.

    Raises:
        RequestError: no sound, or samples that are not finite numbers.
    """
    samples = torch.as_tensor(sound).detach().to("cpu", torch.float32)
    if samples.dim() not in (1, 2):
        raise RequestError(
            ErrorCode.MALFORMED, "melody", f"sound of shape {list(samples.shape)}", "[channels, samples]"
        )
    if not samples.numel():
        raise RequestError(ErrorCode.EMPTY, "melody", "no sound", "one sample or more")
    if not bool(torch.isfinite(samples).all()):
        raise RequestError(ErrorCode.MALFORMED, "melody", "samples that are no numbers", "finite samples")
    mono = samples.mean(dim=0) if samples.dim() == 2 else samples
    if total_frames is None or total_frames > facts.window_frames:
        return AudioMelody(mono, facts, origin=origin)
    return MelodyCondition(chroma(mono, facts).argmax(dim=1), facts, origin=origin)


@torch.inference_mode()
def chroma(sound: Tensor, facts: MelodyFacts) -> Tensor:
    """How strong each pitch class is, relative to the strongest of its frame.

    Args:
        sound: float32 ``[samples]``; shorter than ``facts.fft_size`` it is padded with silence on both sides.
        facts: rate, FFT size and hop.

    Returns:
        ``[1 + samples // hop_length, 12]``, each row's largest value 1, or less where a frame is nearly silent.
    """
    size = facts.fft_size
    if (missing := size - len(sound)) > 0:
        sound = F.pad(sound, (missing // 2, missing - missing // 2))
    window = chroma_window(size) if facts.stored_window is None else facts.stored_window
    filters = chroma_filters(facts.sample_rate, size)
    norm = window.square().sum().sqrt()
    hop, frames = facts.hop_length, 1 + len(sound) // facts.hop_length
    mirrored = F.pad(sound[None, None], (size // 2, size // 2), mode="reflect")[0, 0]
    strengths = torch.empty(frames, PITCH_CLASSES)
    for first in range(0, frames, _FRAMES_AT_ONCE):
        end = min(first + _FRAMES_AT_ONCE, frames)
        heard = mirrored[first * hop : (end - 1) * hop + size]
        spectrum = torch.stft(heard, size, hop, window=window, center=False, return_complex=True)
        power = spectrum.div_(norm).abs().square_()
        strengths[first:end] = torch.einsum("cf,ft->ct", filters, power).T
    return F.normalize(strengths, p=float("inf"), dim=1, eps=_LEAST_PEAK)


@cache
def chroma_window(size: int) -> Tensor:
    """What is under a frame of chroma, ``[size]``: a periodic Hann window."""
    return torch.hann_window(size, dtype=torch.float32)


@cache
def chroma_filters(sample_rate: int, fft_size: int) -> Tensor:
    """What each bin of the spectrum gives to each pitch class, ``[12, fft_size // 2 + 1]``, with C first and A at 440 Hz.

    Every bin gives as much as any other to the pitch classes around its own frequency (a Gaussian as wide as the bin, but no
    narrower than a semitone, of length 1), and then the less, the farther it is from the fifth octave.
    """
    above = torch.arange(1, fft_size, dtype=torch.float64) * (sample_rate / fft_size)
    pitch = PITCH_CLASSES * torch.log2(above / _A0_HZ)
    # The lowest bin has no pitch; it is put far enough below the first one to be as good as left out.
    pitch = torch.cat((pitch[:1] - 1.5 * PITCH_CLASSES, pitch))
    width = F.pad(pitch.diff().clamp(min=1), (0, 1), value=1.0)
    classes = torch.arange(PITCH_CLASSES, dtype=torch.float64).unsqueeze(1)
    half = PITCH_CLASSES // 2
    distance = torch.remainder(pitch - classes + half, PITCH_CLASSES) - half
    weights = torch.exp(-0.5 * (2 * distance / width).square())
    weights = weights / weights.norm(dim=0)
    octaves = (pitch / PITCH_CLASSES - _CENTRE_OCTAVE) / _OCTAVE_WIDTH
    weights = weights * torch.exp(-0.5 * octaves.square())
    from_a_to_c = -3
    filters: Tensor = weights.roll(from_a_to_c, dims=0)[:, : fft_size // 2 + 1].float().contiguous()
    return filters


def _checked_pitches(pitches: Tensor | NDArray[Any] | Sequence[int]) -> Tensor:
    try:
        values = torch.as_tensor(pitches).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise RequestError(ErrorCode.BAD_TYPE, "melody", pitches, "whole numbers") from error
    if not values.numel():
        raise RequestError(ErrorCode.EMPTY, "melody", "no frames", "one frame or more")
    if values.dim() != 1 or values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise RequestError(
            ErrorCode.BAD_TYPE, "melody", f"{values.dtype} {list(values.shape)}", "a row of whole numbers"
        )
    if len(values) > MAX_FRAMES:
        raise RequestError(ErrorCode.TOO_LONG, "melody", f"{len(values)} frames", f"up to {MAX_FRAMES}")
    values = values.to(torch.long)
    outside = values[(values < SILENCE) | (values >= PITCH_CLASSES)]
    if len(outside):
        allowed = f"0 to {PITCH_CLASSES - 1}, and {SILENCE} for silence"
        raise RequestError(ErrorCode.OUT_OF_RANGE, "melody", int(outside[0]), allowed)
    return values.clone()
