"""The governor of an endless stream: its loudness and its spectrum stay near those of a reference, for hours.

A slow gain follows the loudness of the last seconds of sound (ITU-R BS.1770-4, gated), and a gentle equaliser the spectrum of the
last half minute. What is done to a hop was decided from the hops before it, so that nothing waits: sound comes out as it goes in,
sample by sample. All of it depends on the samples alone, and not on the blocks they come in, so a take is made again by governing
the same stream under the same record.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from daw_bridge.steering.character import Character
from daw_bridge.steering.equaliser import Equaliser, soft_ceiling
from daw_bridge.steering.hops import Hops, finite
from daw_bridge.steering.reference import (
    ABSOLUTE_GATE_LUFS,
    BLOCK_HOPS,
    MOST_GAIN_DB,
    Learner,
    Reference,
    gated_mean,
    shape_of,
)
from daw_bridge.steering.spectrum import HOP_SECONDS, HopSpectrum, band_layout, lufs_of
from protocols.errors import ErrorCode, RequestError

MOST_BAND_DB = 6.0
FASTEST_DB_PER_S = 1.0
"""Of the gain."""
FASTEST_BAND_DB_PER_S = 0.25
KNEE, CEILING = 0.84, 0.98
"""Of the soft ceiling, linear: -1.5 and -0.2 dBFS."""

WINDOW_SECONDS = 12.0
"""Over which loudness is measured."""
SPECTRUM_SECONDS = 30.0
"""Over which the spectrum is averaged."""
QUIET_LU = 24.0
"""So far below the reference sound is a rest, and no reason to turn it up."""
SUDDEN_LU = 4.0
"""What is louder than the reference by more is turned down by its last three seconds alone."""

_SETTLE_SECONDS = 3.0
_BAND_SETTLE_SECONDS = 12.0
_BAND_TOLERANCE_DB = 2.0
_BAND_LEAK_DB_PER_S = 0.02
_MISSING_DB = 15.0
_PEAK_SECONDS = 10.0
_OVERSHOOT_DB = 3.0
_LEAST_BLOCKS = 20
_SHORT_HOPS = 30
_SNAP_DB = 1e-3

Learning = Literal["all", "spectrum"]


@dataclass(frozen=True)
class Setting:
    """A change of what the governor does; what is None stays as it is.

    Attributes:
        on: whether it governs.
        reference: what it holds from now on.
        learn: take the reference from the next sound: ``all`` of it, or the ``spectrum`` and character alone.
    """

    on: bool | None = None
    reference: Reference | None = None
    learn: Learning | None = None

    def record(self) -> dict[str, Any]:
        """As a sidecar keeps it."""
        return {
            "on": self.on,
            "reference": None if self.reference is None else self.reference.record(),
            "learn": self.learn,
        }

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Setting:
        """Read what `record` wrote.

        Raises:
            RequestError: as `Reference.read`.
        """
        reference = record.get("reference")
        return cls(record.get("on"), None if reference is None else Reference.read(reference), record.get("learn"))


FROM_THE_START = Setting(on=True, learn="all")
"""Hold what the stream is at first."""


@dataclass(frozen=True)
class Governed:
    """How it stands.

    Attributes:
        on: whether it governs.
        lufs: loudness of the last three seconds as they are heard; -120 for silence.
        reference: what is held; loudness None while it is learnt.
        gain_db: of the gain.
        band_gains_db: of the equaliser, from the lowest band.
        learning: seconds of sound that are still wanted for the reference; 0 once it is known.
    """

    on: bool
    lufs: float
    reference: Reference
    gain_db: float
    band_gains_db: tuple[float, ...]
    learning: float


class Governor:
    """A stage between a stream and whatever takes its sound. For one thread.

    Args:
        sample_rate: of the stream, in Hz, at least 8000.
        channels: at least 1.
        setting: how it begins; by default it learns its reference from the stream's first sound.
        character: hears every hop, too.
    """

    def __init__(
        self,
        sample_rate: int,
        channels: int,
        setting: Setting = FROM_THE_START,
        character: Character | None = None,
    ) -> None:
        self._layout = band_layout(sample_rate)
        self._equaliser = Equaliser(sample_rate, channels)
        self._hops = Hops(self._layout.hop, 2 * self._layout.hop, channels)
        self._character = character
        self._hop = 0
        self._on = False
        self._reference = Reference()
        self._learning: Learning | None = None
        self._learner = Learner()
        self._gain_db = 0.0
        self._band_db: NDArray[np.float64] = np.zeros(self._equaliser.bands)
        self._begin = self._end = np.ones(self._equaliser.bands)
        self._members = _shares(self._layout.centres, self._equaliser.edges_hz)
        self._energies: deque[float] = deque(maxlen=BLOCK_HOPS)
        self._blocks: deque[float] = deque(maxlen=round(WINDOW_SECONDS / HOP_SECONDS))
        self._heard: deque[float] = deque(maxlen=_SHORT_HOPS)
        self._peaks: deque[float] = deque(maxlen=round(_PEAK_SECONDS / HOP_SECONDS))
        self._peak = 0.0
        self._average: NDArray[np.float64] = np.zeros(len(self._layout.centres))
        self._averaged = 0
        self._pending: Setting | None = None
        self._script: dict[int, Setting] = {}
        self._record: list[dict[str, Any]] = []
        self._take(setting)

    @classmethod
    def again(cls, sample_rate: int, channels: int, record: object) -> Governor:
        """The governor that a take was made with.

        Raises:
            RequestError: MALFORMED for what is no such record.
        """
        try:
            first, *later = [(int(entry["hop"]), Setting.read(entry)) for entry in record]  # type: ignore[attr-defined]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise RequestError(ErrorCode.MALFORMED, "governor", str(error), "as a take's sidecar holds it") from None
        governor = cls(sample_rate, channels, first[1])
        governor._script = dict(later)
        return governor

    @property
    def record(self) -> list[dict[str, Any]]:
        """All settings, each with the hop after which it holds: with them the same samples are governed the same way again."""
        return list(self._record)

    @property
    def on(self) -> bool:
        """Whether it governs."""
        return self._on

    @property
    def state(self) -> Governed:
        """How it stands."""
        heard = sum(self._heard) / len(self._heard) if self._heard else 0.0
        wanted = max(0.0, self._learner.seconds - self._learner.heard) if self._learning else 0.0
        bands = tuple(round(float(value), 2) for value in self._band_db)
        return Governed(
            self._on, round(lufs_of(heard), 2), self._reference, round(self._gain_db, 2), bands, round(wanted, 1)
        )

    def set(self, setting: Setting) -> None:
        """Change something from the end of this hop on, a tenth of a second at most."""
        before = self._pending or Setting()
        self._pending = Setting(
            before.on if setting.on is None else setting.on,
            setting.reference or (None if setting.learn == "all" else before.reference),
            setting.learn or (None if setting.reference else before.learn),
        )

    def process(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Govern the next samples ``[samples, channels]``, of any number; they are left as they are. As many come out, at once."""
        block = finite(block)
        result = np.empty_like(block)
        done = 0
        for piece, within, whole in self._hops.pieces(block):
            sound = self._equaliser.process(piece, self._begin, self._end, within, self._layout.hop)
            self._peak = max(self._peak, float(np.abs(sound).max(initial=0.0)))
            if self._touches:
                soft_ceiling(sound, KNEE, CEILING)
            result[done : done + len(piece)] = sound.T
            done += len(piece)
            if whole:
                self._decide()
        return result

    def _take(self, setting: Setting) -> None:
        self._record.append({"hop": self._hop, **setting.record()})
        if setting.on is not None:
            self._on = setting.on
        if setting.reference is not None:
            self._reference, self._learning = setting.reference, None
            if setting.reference.lufs is None:
                self._learning, self._learner = "all", Learner()
            elif not setting.reference.shape_db:
                self._learning, self._learner = "spectrum", Learner()
        if setting.learn is not None:
            self._learning, self._learner = setting.learn, Learner()
            kept = None if setting.learn == "all" else self._reference.lufs
            self._reference = Reference(kept)
            self._averaged = 0
            if self._character is not None:
                self._character.learn()

    def _decide(self) -> None:
        """At a hop's end: what it was, and the gains at the end of the next one."""
        self._hop += 1
        spectrum = self._layout.measure(self._hops.window)
        response = self._equaliser.response(10 ** (self._band_db / 20), self._layout.centres)
        energy = float(spectrum.weighted @ response)
        self._energies.append(energy)
        self._heard.append(energy * 10 ** (self._gain_db / 10))
        self._peaks.append(self._peak / float(10 ** (self._gain_db / 20)))
        self._peak = 0.0
        block = sum(self._energies) / BLOCK_HOPS
        sounding = len(self._energies) == BLOCK_HOPS and lufs_of(block) > self._gate
        if self._character is not None:
            self._character.hear(spectrum, self._hops.window, sounding)
        if sounding:
            self._blocks.append(block)
            self._remember(spectrum)
        setting = self._script.get(self._hop, self._pending)
        self._pending = None
        if setting is not None:
            self._take(setting)
        if self._learning is not None:
            self._learn(spectrum)
        elif sounding or not self._on:
            self._turn_bands(response)
        if sounding or not self._on:
            self._turn_gain()
        self._begin, self._end = self._end, 10 ** ((self._gain_db + self._band_db) / 20)

    @property
    def _touches(self) -> bool:
        """Whether anything is done to this hop; what is left alone stays as it is, however loud."""
        return bool((self._begin != 1).any() or (self._end != 1).any())

    @property
    def _gate(self) -> float:
        lufs = self._reference.lufs
        return ABSOLUTE_GATE_LUFS if lufs is None else max(ABSOLUTE_GATE_LUFS, lufs - QUIET_LU)

    def _remember(self, spectrum: HopSpectrum) -> None:
        self._averaged += 1
        share = max(HOP_SECONDS / SPECTRUM_SECONDS, 1 / self._averaged)
        self._average += share * (spectrum.power - self._average)

    def _learn(self, spectrum: HopSpectrum) -> None:
        self._learner.hear(spectrum, float(spectrum.weighted.sum()) * 10 ** (self._gain_db / 10))
        self._band_db = _towards(self._band_db, 0.0, FASTEST_BAND_DB_PER_S * HOP_SECONDS)
        if self._learner.done:
            learnt = self._learner.reference()
            lufs = learnt.lufs if self._reference.lufs is None else self._reference.lufs
            self._reference, self._learning = Reference(lufs, learnt.shape_db), None

    def _turn_gain(self) -> None:
        wanted = 0.0
        if self._on:
            lufs = self._reference.lufs
            if lufs is None or len(self._blocks) < _LEAST_BLOCKS:
                return
            blocks = np.array(self._blocks)
            headroom = 20 * np.log10(CEILING / max(max(self._peaks), 1e-6)) + _OVERSHOOT_DB
            recent = lufs_of(float(blocks[-_SHORT_HOPS:].mean()))
            wanted = min(
                lufs - lufs_of(gated_mean(blocks)), max(0.0, headroom), lufs + SUDDEN_LU - recent, MOST_GAIN_DB
            )
            wanted = max(wanted, -MOST_GAIN_DB)
        step = (wanted - self._gain_db) * HOP_SECONDS / _SETTLE_SECONDS
        most = FASTEST_DB_PER_S * HOP_SECONDS
        self._gain_db += min(most, max(-most, step))
        if abs(self._gain_db - wanted) < _SNAP_DB:
            self._gain_db = wanted

    def _turn_bands(self, response: NDArray[np.float64]) -> None:
        most = FASTEST_BAND_DB_PER_S * HOP_SECONDS
        if not self._on or len(self._reference.shape_db) != len(self._average):
            self._band_db = _towards(self._band_db, 0.0, most)
            return
        wanted = np.array(self._reference.shape_db)
        now, raw = shape_of(self._average * response), shape_of(self._average)
        off, missing = self._members @ (wanted - now), self._members @ (wanted - raw)
        present = np.abs(missing) <= _MISSING_DB
        off -= float(np.median(off[present])) if present.any() else 0.0  # that is the gain's to mend
        beyond = np.sign(off) * np.maximum(np.abs(off) - _BAND_TOLERANCE_DB, 0) * present
        step = np.clip(beyond * HOP_SECONDS / _BAND_SETTLE_SECONDS, -most, most)
        turned = np.clip(self._band_db + step, -MOST_BAND_DB, MOST_BAND_DB)
        self._band_db = np.where(beyond == 0, _towards(turned, 0.0, _BAND_LEAK_DB_PER_S * HOP_SECONDS), turned)


def _towards(values: NDArray[np.float64], goal: float, most: float) -> NDArray[np.float64]:
    return values + np.clip(goal - values, -most, most)


def _shares(centres: NDArray[np.float64], edges: tuple[float, ...]) -> NDArray[np.float64]:
    """Which thirds of an octave make up each band of the equaliser, each by its share: ``[bands, thirds]``."""
    inside = (centres >= np.array(edges)[:-1, None]) & (centres < np.array(edges)[1:, None])
    return np.asarray(inside / np.maximum(1, inside.sum(axis=1, keepdims=True)))
