"""Time, counted three ways and converted exactly: frames in the engine, samples at a sound card, beats in music.

All conversions go through integers and fractions; a float appears only where a person reads or types it.
"""

from __future__ import annotations

from fractions import Fraction


def as_fraction(value: float | int | Fraction) -> Fraction:
    """The number a person typed: 0.1 means one tenth, not the nearest binary float."""
    return value if isinstance(value, Fraction) else Fraction(str(value))


def seconds_to_frames(seconds: float | Fraction, frame_rate: Fraction) -> int:
    """How many whole codec frames cover ``seconds``: rounded up, so that nobody gets less than was asked for."""
    return -((-as_fraction(seconds) * frame_rate) // 1)


def seconds_to_samples(seconds: float | Fraction, sample_rate: int) -> int:
    """The sample nearest to a moment; a half rounds up."""
    return (as_fraction(seconds) * sample_rate + Fraction(1, 2)) // 1


def samples_to_seconds(samples: int, sample_rate: int) -> Fraction:
    """The exact length of ``samples`` at ``sample_rate`` in seconds."""
    return Fraction(samples, sample_rate)


def beats_to_seconds(beats: float | Fraction, bpm: float | Fraction) -> Fraction:
    """The exact length of ``beats`` quarter notes at a steady tempo, in seconds."""
    return as_fraction(beats) * 60 / as_fraction(bpm)


def rescale(position: int, from_rate: int, to_rate: int) -> int:
    """A sample position at one rate as the nearest position at another; a half rounds up."""
    return (2 * position * to_rate + from_rate) // (2 * from_rate)
