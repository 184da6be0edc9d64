"""Integrated loudness of a stream of blocks, and the gain that brings a take to a target."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

TARGET_LUFS = -14.0
CEILING_DBFS = -1.0
TARGET_RMS_DBFS = -18.0
# Below this the material is noise or near silence, and bringing it to a target would only raise its floor.
MIN_RMS = 2e-3
MAX_METER_CHANNELS = 5
# The weighting filters reach over half of a lower rate.
MIN_METER_RATE = 8_000

_ROUNDEST = np.float32(1.0 - 2.0**-23)
_CHANNEL_WEIGHTS = (1.0, 1.0, 1.0, 1.41, 1.41)
_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE_LU = -10.0


class LoudnessMode(StrEnum):
    """How a take is levelled when it is finished. The last three are AudioCraft's: of ``audio_write``, by what it calls strategies.

    Attributes:
        NONE: not at all.
        LUFS: one gain, to -14 LUFS, or less where a peak would pass -1 dBFS.
        PEAK: one gain, to a peak of -1 dBFS.
        LOUD: to -14 LUFS, then rounded off by tanh, so that no peak holds it down ("loudness" with its compressor).
        RMS: to an RMS of -18 dBFS of the mean of all channels; what passes full scale is clipped.
        CLIP: clipped at -1 dBFS.
    """

    NONE = "none"
    LUFS = "lufs"
    PEAK = "peak"
    LOUD = "loud"
    RMS = "rms"
    CLIP = "clip"

    @property
    def metered(self) -> bool:
        """Whether it needs the loudness."""
        return self in (LoudnessMode.LUFS, LoudnessMode.LOUD)


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
        for index in range(len(self._stages)):
            signal = self._weigh(index, signal)
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

    def _weigh(self, index: int, signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Put the next block through one of the filters."""
        stage = self._stages[index]
        weighed, self._states[index] = self._lfilter(stage.b, stage.a, signal, axis=0, zi=self._states[index])
        scaled: npt.NDArray[np.float64] = weighed * stage.passband_gain
        return scaled

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
        rms_dbfs: level before the gain, over all channels; for `LoudnessMode.RMS`, of their mean.
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

    @classmethod
    def of_sidecar(cls, audio: Mapping[str, Any]) -> Levelling:
        """What a take's sidecar says in its ``audio`` block; nothing was done where that says nothing."""
        record = audio.get("loudness") or {}
        gain_db, skipped = float(record.get("gain_db") or 0.0), str(record.get("skipped") or "")
        return cls(LoudnessMode(record.get("mode", "none")), None, 0.0, 0.0, gain_db, skipped=skipped)

    def undo(self, block: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The samples before they were levelled, but for those that were clipped."""
        if self.mode is LoudnessMode.LOUD and not self.skipped:
            # tanh's own values stop short of 1, and so do the file's but for rounding.
            block = np.arctanh(block.clip(-_ROUNDEST, _ROUNDEST))
        return block / np.float32(self.gain) if self.gain_db else block

    def apply(self, block: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Level a block of the take, of any shape."""
        if self.gain_db:
            block = block * np.float32(self.gain)
        if self.mode is LoudnessMode.LOUD and not self.skipped:
            block = np.tanh(block)
        elif self.mode is LoudnessMode.RMS:
            block = block.clip(-1.0, 1.0)
        elif self.mode is LoudnessMode.CLIP:
            ceiling = np.float32(10.0 ** (CEILING_DBFS / 20.0))
            block = block.clip(-ceiling, ceiling)
        return block


def choose_gain(mode: LoudnessMode, *, rms: float, peak: float, integrated_lufs: float | None) -> Levelling:
    """The one gain that brings a take to where ``mode`` says.

    A take quieter than an RMS of 2e-3 is left alone, as AudioCraft's ``audio_write`` does for loudness. With ``LUFS`` and ``PEAK``
    no sample is ever clipped or shaped.

    Args:
        mode: what was asked for.
        rms: root mean square over all samples and channels, linear; for `LoudnessMode.RMS`, of the mean of all channels.
        peak: highest absolute sample, linear.
        integrated_lufs: measured loudness, for the modes that are `LoudnessMode.metered`.
    """
    measured = Levelling(mode, integrated_lufs, decibels(rms), decibels(peak))
    skipped = ""
    if mode in (LoudnessMode.NONE, LoudnessMode.CLIP):
        return measured
    if rms < MIN_RMS:
        skipped = f"quieter than {decibels(MIN_RMS):.1f} dBFS RMS"
    elif mode.metered and (integrated_lufs is None or not math.isfinite(integrated_lufs)):
        skipped = "loudness is not defined under 0.4 s" if integrated_lufs is None else "below the loudness gate"
    if skipped:
        return Levelling(mode, integrated_lufs, measured.rms_dbfs, measured.peak_dbfs, skipped=skipped)
    to_ceiling = CEILING_DBFS - measured.peak_dbfs
    wanted = to_ceiling
    if mode.metered and integrated_lufs is not None:
        wanted = TARGET_LUFS - integrated_lufs
    elif mode is LoudnessMode.RMS:
        wanted = TARGET_RMS_DBFS - measured.rms_dbfs
    gain_db = min(wanted, to_ceiling) if mode is LoudnessMode.LUFS else wanted
    return Levelling(mode, integrated_lufs, measured.rms_dbfs, measured.peak_dbfs, gain_db, gain_db < wanted)


def level(
    audio: npt.NDArray[np.float32], sample_rate: int, mode: LoudnessMode, *, integrated_lufs: float | None = None
) -> npt.NDArray[np.float32]:
    """Audio ``[channels, samples]`` as a take in this mode is levelled; its loudness is measured where it is not given."""
    if mode.metered and integrated_lufs is None:
        meter = LoudnessMeter(sample_rate, len(audio))
        meter.push(audio.T)
        integrated_lufs = meter.integrated()
    heard = audio.mean(axis=0) if mode is LoudnessMode.RMS else audio
    rms = math.sqrt(float(np.square(heard, dtype=np.float64).mean()))
    peak = float(np.abs(audio).max())
    return choose_gain(mode, rms=rms, peak=peak, integrated_lufs=integrated_lufs).apply(audio)
