"""Integrated loudness of a stream of blocks, and the gain that brings a take to a target."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

TARGET_LUFS = -14.0
CEILING_DBFS = -1.0
# Below this the material is noise or near silence, and bringing it to a target would only raise its floor.
MIN_RMS = 2e-3
MAX_METER_CHANNELS = 5
# The weighting filters reach over half of a lower rate.
MIN_METER_RATE = 8_000

_CHANNEL_WEIGHTS = (1.0, 1.0, 1.0, 1.41, 1.41)
_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE_LU = -10.0


class LoudnessMode(StrEnum):
    """How a take is levelled when it is finished."""

    NONE = "none"
    LUFS = "lufs"
    PEAK = "peak"


def decibels(amplitude: float) -> float:
    """An amplitude in dB re full scale; silence is minus infinity."""
    return 20.0 * math.log10(amplitude) if amplitude > 0.0 else -math.inf


class LoudnessMeter:
    """Integrated loudness after ITU-R BS.1770-4, block by block in bounded memory.

    The filters are pyloudnorm's and the gating follows its ``Meter.integrated_loudness``, so the two agree; this one
    keeps one number per tenth of a second instead of the audio. Not thread-safe: one thread pushes and reads.

    Args:
        sample_rate: at least 8000 Hz.
        channels: 1 to 5, in the order left, right, centre, left surround, right surround.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        # Imported here: it brings scipy.signal, about a second, which a program that measures nothing need not pay.
        from pyloudnorm.iirfilter import IIRfilter
        from scipy.signal import lfilter

        self._lfilter = lfilter
        # The two stages of the K-weighting, with the parameters pyloudnorm gives them.
        self._stages = (
            IIRfilter(4.0, 1.0 / math.sqrt(2.0), 1500.0, sample_rate, "high_shelf"),
            IIRfilter(0.0, 0.5, 38.0, sample_rate, "high_pass"),
        )
        self._states = [np.zeros((len(stage.a) - 1, channels)) for stage in self._stages]
        self._weights = np.array(_CHANNEL_WEIGHTS[:channels])
        self._rate = sample_rate
        self._samples = 0
        self._segments = array("d", [0.0])  # energy of each tenth of a second; the last one is still filling

    def push(self, block: npt.NDArray[np.floating]) -> None:
        """Measure the next block ``[frames, channels]``."""
        if len(block) == 0:
            return
        signal = np.asarray(block, dtype=np.float64)
        for index, stage in enumerate(self._stages):
            signal, self._states[index] = self._lfilter(stage.b, stage.a, signal, axis=0, zi=self._states[index])
            signal = signal * stage.passband_gain
        energy = np.square(signal) @ self._weights
        if len(self._segments) * self._rate // 10 == self._samples:
            self._segments.append(0.0)
        first, end = len(self._segments), self._samples + len(block)
        cuts = [0]
        while (edge := (first + len(cuts) - 1) * self._rate // 10) < end:
            cuts.append(edge - self._samples)
        sums = np.add.reduceat(energy, cuts)
        self._segments[-1] += float(sums[0])
        self._segments.extend(sums[1:].tolist())
        self._samples = end

    def integrated(self) -> float | None:
        """Loudness so far in LUFS; minus infinity below the gate, None when under 0.4 s were pushed."""
        if self._samples < 0.4 * self._rate:
            return None
        windows = round((self._samples / self._rate - 0.4) / 0.1) + 1
        segments = np.zeros(windows + 3)
        held = min(len(self._segments), len(segments))
        segments[:held] = self._segments[:held]
        power: npt.NDArray[np.float64] = np.convolve(segments, np.ones(4), mode="valid") / (0.4 * self._rate)
        power = power[power >= 10.0 ** ((_ABSOLUTE_GATE_LUFS + 0.691) / 10.0)]
        if len(power) == 0:
            return -math.inf
        power = power[power > power.mean() * 10.0 ** (_RELATIVE_GATE_LU / 10.0)]
        return -0.691 + 10.0 * math.log10(power.mean())


@dataclass(frozen=True, slots=True)
class Levelling:
    """What was measured on a take and the gain it was given.

    Attributes:
        mode: what was asked for.
        integrated_lufs: loudness before the gain; None where it was not asked for or is not defined.
        rms_dbfs: level before the gain, over all channels.
        peak_dbfs: highest sample before the gain.
        gain_db: one gain for the whole take; 0 when nothing was done.
        limited_by_peak: the gain is smaller than the loudness target asks, because a peak would pass -1 dBFS.
        skipped: why no gain was applied although one was asked for; empty otherwise.
    """

    mode: LoudnessMode
    integrated_lufs: float | None
    rms_dbfs: float
    peak_dbfs: float
    gain_db: float = 0.0
    limited_by_peak: bool = False
    skipped: str = ""

    @property
    def gain(self) -> float:
        """The gain as a factor."""
        return math.pow(10.0, self.gain_db / 20.0)


def choose_gain(mode: LoudnessMode, *, rms: float, peak: float, integrated_lufs: float | None) -> Levelling:
    """The one gain that brings a take to -14 LUFS, or its peak to -1 dBFS.

    A take quieter than an RMS of 2e-3 is left alone, as AudioCraft's ``audio_write`` does for loudness. A peak that
    would pass -1 dBFS lowers the gain; no sample is ever clipped or shaped.

    Args:
        mode: what was asked for.
        rms: root mean square over all samples and channels, linear.
        peak: highest absolute sample, linear.
        integrated_lufs: measured loudness, for ``LoudnessMode.LUFS``.
    """
    measured = Levelling(mode, integrated_lufs, decibels(rms), decibels(peak))
    skipped = ""
    if mode is LoudnessMode.NONE:
        return measured
    if rms < MIN_RMS:
        skipped = f"quieter than {decibels(MIN_RMS):.1f} dBFS RMS"
    elif mode is LoudnessMode.LUFS and (integrated_lufs is None or not math.isfinite(integrated_lufs)):
        skipped = "loudness is not defined under 0.4 s" if integrated_lufs is None else "below the loudness gate"
    if skipped:
        return Levelling(mode, integrated_lufs, measured.rms_dbfs, measured.peak_dbfs, skipped=skipped)
    to_ceiling = CEILING_DBFS - measured.peak_dbfs
    wanted = to_ceiling
    if mode is LoudnessMode.LUFS and integrated_lufs is not None:
        wanted = TARGET_LUFS - integrated_lufs
    gain_db = min(wanted, to_ceiling)
    return Levelling(mode, integrated_lufs, measured.rms_dbfs, measured.peak_dbfs, gain_db, gain_db < wanted)
