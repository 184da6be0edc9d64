"""What an endless stream sounds like bar by bar, and what to change in its sampling when that drifts.

A gain and an equaliser hold what sound they get; they cannot mend material that has lost its attacks, turned to noise, or fallen
silent. That is the model's to do: `Character` measures, `Steersman` proposes. A proposal goes to the engine as any change does, so
it is recorded with its frame, and a take that is made again needs no steersman.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daw_bridge.steering.onsets import onset_reader
from daw_bridge.steering.reference import MOST_GAIN_DB
from daw_bridge.steering.spectrum import HOP_SECONDS, HopSpectrum, lufs_of
from protocols.messages import Update

Fault = Literal["silent", "quiet", "loud", "mushy", "noisy", "bare", "frantic"]

BAR_SECONDS = 2.0
"""Where no tempo is known."""
JUDGED_BARS = 4
"""A fault has lasted so long before it is one; so long must all be well before it is over."""
LEARNT_BARS = 8
REST_BARS = 8
"""From one proposal to the next."""
MOST_LEVEL = 3

_SILENT_SHARE = 0.1
_JUDGED_SHARE = 0.5
_CENTROID_OCTAVES = 1.0
_FLATNESS_OCTAVES = 1.5
_NOISE = -2.0  # octaves below white noise; rock with cymbals has -3, pads have -6
_FEWER, _MORE = 0.5, 2.0
_LEAST_ONSETS = 1.0
_STANDS_OUT = 0.15
_AROUND_HOPS = 10
_LEVEL_SHARE = 0.05
_LEAST = 1e-9


class Profile(NamedTuple):
    """A few bars in numbers.

    Attributes:
        lufs: loudness before any gain, of what sounds.
        onsets: a second of what sounds, at most ten.
        centroid: octaves above 1 Hz.
        flatness: octaves below that of white noise, so at most 0.
        sounding: share of the time with sound.
    """

    lufs: float
    onsets: float
    centroid: float
    flatness: float
    sounding: float


class Character:
    """Measures bars. For one thread; it hears hop by hop, so it knows nothing of blocks.

    Args:
        sample_rate: in Hz.
        bar_seconds: length of a bar.
    """

    def __init__(self, sample_rate: int, bar_seconds: float = BAR_SECONDS) -> None:
        self._reader = onset_reader(sample_rate)
        self._bar_hops = max(1, round(bar_seconds / HOP_SECONDS))
        self._level = 0.0
        self._around: deque[float] = deque(maxlen=_AROUND_HOPS)
        self._bar: list[tuple[float, float, float, float, float]] = []
        self._bars: deque[Profile] = deque(maxlen=LEARNT_BARS)
        self._learnt: list[Profile] = []
        self.bars = 0
        self.reference: Profile | None = None

    def hear(self, spectrum: HopSpectrum, window: NDArray[np.float32], sounding: bool) -> None:
        """Hear a hop: its spectrum, the samples that end with it, and whether it is more than a rest."""
        power = float(spectrum.power.sum())
        if sounding:
            share = _LEVEL_SHARE if self._level else 1.0
            self._level += share * (math.sqrt(power) - self._level)
        strength = self._reader.read(window[len(window) - self._reader.window :], self._level)
        self._around.append(float(strength.mean()))
        usual = sum(self._around) / len(self._around)
        begins = sounding and float(strength.max()) > usual + _STANDS_OUT
        energy = float(spectrum.weighted.sum())
        self._bar.append(
            (
                energy * sounding,
                float(begins),
                math.log2(max(spectrum.centroid_hz, 1.0)) * sounding,
                math.log2(max(spectrum.flatness, _LEAST)) * sounding,
                float(sounding),
            )
        )
        if len(self._bar) == self._bar_hops:
            self._end_bar()

    def learn(self) -> None:
        """Take the reference anew, from the next bars that sound."""
        self._learnt, self.reference = [], None
        self._bars.clear()

    @property
    def now(self) -> Profile | None:
        """The latest bars; None until there are enough of them."""
        return _mean(list(self._bars)[-JUDGED_BARS:]) if len(self._bars) >= JUDGED_BARS else None

    @property
    def fault(self) -> Fault | None:
        """What is wrong with the latest bars, if anything is."""
        now, reference = self.now, self.reference
        if now is None:
            return None
        if now.sounding < _SILENT_SHARE:
            return "silent"
        if reference is None or now.sounding < _JUDGED_SHARE * reference.sounding:
            return None
        if abs(now.lufs - reference.lufs) > MOST_GAIN_DB:
            return "loud" if now.lufs > reference.lufs else "quiet"
        noisier = now.flatness - reference.flatness
        if reference.onsets >= _LEAST_ONSETS and now.onsets < _FEWER * reference.onsets:
            return "bare" if noisier < 0 else "mushy"
        if noisier > _FLATNESS_OCTAVES and now.flatness > _NOISE:
            return "noisy"
        if abs(now.centroid - reference.centroid) > _CENTROID_OCTAVES:
            return "mushy" if now.centroid < reference.centroid else "noisy"
        return "frantic" if now.onsets > _MORE * max(reference.onsets, _LEAST_ONSETS) else None

    def _end_bar(self) -> None:
        energy, onsets, centroid, flatness, sounding = (float(value) for value in np.sum(self._bar, axis=0))
        count = max(1.0, sounding)
        bar = Profile(
            lufs_of(energy / count),
            onsets / (count * HOP_SECONDS),
            centroid / count,
            flatness / count,
            sounding / self._bar_hops,
        )
        self._bar = []
        self._bars.append(bar)
        self.bars += 1
        if self.reference is None and bar.sounding > 0.5:
            self._learnt.append(bar)
            if len(self._learnt) == LEARNT_BARS:
                self.reference = _mean(self._learnt)


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn, as far as a steersman touches it; meanings and ranges are those of requests."""

    temperature: float = 1.0
    top_k: int = 250
    guidance: float = 3.0


AS_USUAL = Sampling()
"""What requests ask for that say nothing about it."""


@dataclass(frozen=True)
class Steer:
    """A proposal.

    Attributes:
        reason: the fault that is steered against; ``back`` where the user's own values come again.
        sampling: what to draw with from now on.
        seed: what to draw from anew, so that the stream leaves the way it is on; None to go on.
    """

    reason: Fault | Literal["back"]
    sampling: Sampling
    seed: int | None = None

    def update(self, stream: int) -> Update:
        """As the engine is asked for it."""
        drawn = self.sampling
        return Update(
            stream=stream, temperature=drawn.temperature, top_k=drawn.top_k, guidance=drawn.guidance, seed=self.seed
        )


# How a fault is steered against, a level: factor of temperature, of top-k, and what guidance gains.
_AGAINST: dict[Fault, tuple[float, float, float]] = {
    "silent": (1.08, 1.0, 0.5),
    "quiet": (1.04, 1.0, 0.5),
    "loud": (0.94, 0.7, 0.0),
    "mushy": (0.94, 0.7, 0.5),
    "noisy": (0.92, 0.6, 0.5),
    "bare": (1.06, 1.0, 0.5),
    "frantic": (0.92, 0.7, 0.0),
}


class Steersman:
    """Proposes changes of sampling while the character of a stream has drifted, and the user's own values once it is back.

    The first proposal is a small one, later ones go further, up to three levels; then the stream is drawn from another seed, as one
    that has fallen silent is at once. Between two proposals lie bars. For one thread.

    Args:
        character: of the stream.
        own: the user's values.
        seed: of the stream; new seeds follow from it.
    """

    def __init__(self, character: Character, own: Sampling, seed: int) -> None:
        self.own = own
        self.level = 0
        self._character = character
        self._seed = seed
        self._seeds = 0
        self._last_bar = -REST_BARS
        self._looked_at = 0
        self._well_since: int | None = None

    def user_set(self, temperature: float | None, top_k: int | None, guidance: float | None) -> Steer | None:
        """The user has chosen values: they hold, and what was steered is taken back; None if nothing else is to be done."""
        own = self.own
        self.own = Sampling(
            own.temperature if temperature is None else temperature,
            own.top_k if top_k is None else top_k,
            own.guidance if guidance is None else guidance,
        )
        self._last_bar = self._character.bars
        was, self.level = self.level, 0
        return Steer("back", self.own) if was else None

    def look(self) -> Steer | None:
        """What to change now, if anything; to be asked at any time."""
        bars = self._character.bars
        if bars == self._looked_at:
            return None
        self._looked_at, fault = bars, self._character.fault
        if fault is None:
            self._well_since = bars if self._well_since is None else self._well_since
            if self.level and bars - self._well_since >= JUDGED_BARS:
                self.level, self._last_bar = 0, bars
                return Steer("back", self.own)
            return None
        self._well_since = None
        if bars - self._last_bar < REST_BARS:
            return None
        self._last_bar = bars
        seed = None
        if fault == "silent" or self.level == MOST_LEVEL:
            self._seeds += 1
            seed = (self._seed + 7919 * self._seeds) % 2**31
        self.level = min(self.level + 1, MOST_LEVEL)
        heat, narrower, guided = _AGAINST[fault]
        own = self.own
        return Steer(
            fault,
            Sampling(
                round(min(4.0, own.temperature * heat**self.level), 3),
                max(32, round((own.top_k or 250) * narrower**self.level)) if narrower < 1 else own.top_k,
                round(min(20.0, own.guidance + guided * self.level), 3),
            ),
            seed,
        )


def _mean(bars: list[Profile]) -> Profile:
    """The mean of bars: of what sounds in them."""
    weights = np.array([bar.sounding for bar in bars])
    total = float(weights.sum())
    values = np.array(bars)
    heard = (weights @ values) / total if total > 0 else values.mean(axis=0)
    power = float(weights @ 10 ** (values[:, 0] / 10)) / total if total > 0 else 0.0
    lufs = 10 * math.log10(power) if power > 0 else -120.0
    return Profile(lufs, float(heard[1]), float(heard[2]), float(heard[3]), total / len(bars))
