"""A gentle equaliser without latency: broad bands that add up to the very sound that went in, each with a gain that glides.

The bands are the differences of one-pole low-passes, so that flat gains leave every sample as it is, bit for bit, and nothing is
heard of the coefficients: they never change.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

CROSSOVERS_HZ = (120.0, 350.0, 1000.0, 2800.0, 7500.0)
"""Between the bands, an octave and a half each."""

Gains = NDArray[np.float64]
"""Linear, one for each band, from the lowest."""


def warm_up() -> None:
    """Load the filter now: it brings scipy.signal, most of a second, which nobody should wait for later. Any thread."""
    _filter()


def _filter() -> Callable[..., Any]:
    return importlib.import_module("scipy.signal").lfilter  # type: ignore[no-any-return]


class Equaliser:
    """Filters pieces of a stream. For one thread.

    Args:
        sample_rate: in Hz.
        channels: at least 1.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._lfilter = _filter()
        crossovers = [hz for hz in CROSSOVERS_HZ if hz < 0.4 * sample_rate]
        self._poles = [math.exp(-2 * math.pi * hz / sample_rate) for hz in crossovers]
        self._states: NDArray[np.float64] = np.zeros((len(crossovers), channels, 1))
        self._sample_rate = sample_rate
        self.bands = len(crossovers) + 1
        self.edges_hz: tuple[float, ...] = (0.0, *crossovers, sample_rate / 2)

    def process(
        self, piece: NDArray[np.float32], begin: Gains, end: Gains, within: int, hop: int
    ) -> NDArray[np.float64]:
        """Filter a piece ``[samples, channels]`` of a hop; the gains glide in a line from the hop's begin to its end.

        Args:
            piece: samples, which follow the last piece's.
            begin: gains at the hop's first sample.
            end: gains at the next hop's first sample.
            within: how far into the hop the piece begins.
            hop: length of the hop.

        Returns:
            float64 ``[channels, samples]``.
        """
        sound = piece.T.astype(np.float64)
        moving = not np.array_equal(begin, end)
        place = np.arange(within, within + len(piece)) / hop if moving else 0.0
        top = begin[-1] + (end[-1] - begin[-1]) * place
        result: NDArray[np.float64] = sound * top
        for index, pole in enumerate(self._poles):
            first = begin[index] - begin[index + 1]
            step = (end[index] - end[index + 1]) - first
            if not first and not step:
                self._states[index] = 0.0  # where it sets in again, it begins from silence, and with a gain of nothing
                continue
            low, self._states[index] = self._lfilter([1 - pole], [1, -pole], sound, axis=-1, zi=self._states[index])
            result += low * (first + step * place)
        return result

    def response(self, gains: Gains, frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
        """What steady gains make of the power at these frequencies, linear."""
        z = np.exp(-2j * np.pi * frequencies / self._sample_rate)
        total = np.full(len(frequencies), gains[-1], np.complex128)
        for index, pole in enumerate(self._poles):
            total += (gains[index] - gains[index + 1]) * (1 - pole) / (1 - pole * z)
        return np.square(np.abs(total))


def soft_ceiling(sound: NDArray[np.float64], knee: float, ceiling: float) -> NDArray[np.float64]:
    """Bend what is beyond ``knee`` so that nothing reaches ``ceiling``; what is below stays as it is. In place."""
    magnitude = np.abs(sound)
    loud = magnitude > knee
    if loud.any():
        beyond = magnitude[loud] - knee
        room = ceiling - knee
        sound[loud] = np.copysign(knee + room * beyond / (room + beyond), sound[loud])
    return sound
