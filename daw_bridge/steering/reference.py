"""What an endless stream is held to: a loudness, a spectrum and a character; learnt from sound, or given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daw_bridge.steering.spectrum import Bands, HopSpectrum, band_layout, lufs_of
from protocols.errors import ErrorCode, RequestError

LEARNT_SECONDS = 8.0
"""How much sound a reference is learnt from; silence does not count."""

MOST_GAIN_DB = 12.0
"""As far as a governor raises or lowers a stream to its reference."""

BLOCK_HOPS = 4  # BS.1770's 400 ms
ABSOLUTE_GATE_LUFS = -70.0
_ABSOLUTE_GATE = 10 ** ((ABSOLUTE_GATE_LUFS + 0.691) / 10)
_RELATIVE_GATE = 0.1
_QUIETEST_BAND_DB = -70.0


@dataclass(frozen=True)
class Reference:
    """What is held.

    Attributes:
        lufs: loudness; None is not held.
        shape_db: power in each band by its share of the whole, as `shape_of`; empty: the spectrum is not held.
    """

    lufs: float | None = None
    shape_db: tuple[float, ...] = ()

    def record(self) -> dict[str, Any]:
        """As a sidecar keeps it."""
        return {"lufs": self.lufs, "shape_db": list(self.shape_db)}

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Reference:
        """Read what `record` wrote.

        Raises:
            RequestError: MALFORMED for anything else.
        """
        try:
            lufs = record["lufs"]
            return cls(None if lufs is None else float(lufs), tuple(float(value) for value in record["shape_db"]))
        except (LookupError, TypeError, ValueError) as error:
            raise RequestError(ErrorCode.MALFORMED, "governor", str(error), "as a take's sidecar holds it") from None

    @classmethod
    def of_sound(cls, sound: NDArray[np.float32], sample_rate: int) -> Reference:
        """The reference that a piece of audio ``[samples, channels]`` is.

        Raises:
            RequestError: OUT_OF_RANGE for silence, or less than half a second of sound.
        """
        layout, learner = band_layout(sample_rate), Learner(math.inf)
        for end in range(2 * layout.hop, len(sound) + 1, layout.hop):
            spectrum = layout.measure(sound[end - 2 * layout.hop : end])
            learner.hear(spectrum, float(spectrum.weighted.sum()))
        if learner.heard < 0.5:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "reference", "silence", "a region with half a second of sound")
        return learner.reference()


class Learner:
    """Learns a reference from the first sound that it hears.

    Args:
        seconds: how much sound that is.
    """

    def __init__(self, seconds: float = LEARNT_SECONDS) -> None:
        self.seconds = seconds
        self._energies: list[float] = []
        self._blocks: list[float] = []
        self._power: Bands | None = None

    @property
    def heard(self) -> float:
        """Seconds of sound so far."""
        return len(self._blocks) / 10

    @property
    def done(self) -> bool:
        return self.heard >= self.seconds

    def hear(self, spectrum: HopSpectrum, energy: float) -> None:
        """Hear a hop, with the energy of its K-weighted sound."""
        self._energies = [*self._energies[1 - BLOCK_HOPS :], energy]
        block = sum(self._energies) / BLOCK_HOPS
        if len(self._energies) < BLOCK_HOPS or block < _ABSOLUTE_GATE:
            return
        self._blocks.append(block)
        self._power = spectrum.power if self._power is None else self._power + spectrum.power

    def reference(self) -> Reference:
        """What was learnt; of nothing at all, a reference that holds nothing."""
        if self._power is None:
            return Reference()
        lufs = lufs_of(gated_mean(np.array(self._blocks)))
        return Reference(round(lufs, 3), tuple(round(float(value), 3) for value in shape_of(self._power)))


def gated_mean(blocks: NDArray[np.float64]) -> float:
    """Mean energy of 400 ms blocks that are no more than 10 LU below their own mean, as BS.1770-4 gates; 0 of none."""
    sounding = blocks[blocks >= _ABSOLUTE_GATE]
    if not len(sounding):
        return 0.0
    return float(sounding[sounding >= _RELATIVE_GATE * sounding.mean()].mean())


def shape_of(power: Bands) -> NDArray[np.float64]:
    """Power by band as shares of the whole, in dB, no less than -70."""
    total = float(power.sum())
    if total <= 0:
        return np.full(len(power), _QUIETEST_BAND_DB)
    return np.asarray(np.maximum(10 * np.log10(np.maximum(power / total, 1e-12)), _QUIETEST_BAND_DB))
