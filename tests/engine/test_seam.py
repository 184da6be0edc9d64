"""The seam: new material follows the region's last sample, at its level, whatever the region and the codec are like."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.seam import MOST_DB, Seam
from protocols.errors import ErrorCode, RequestError

RATE = 32_000
HELD = 1120
"""Samples that the decoder of the shipped model holds back."""
Sound = NDArray[np.float32]


def chord(seconds: float, begin: float = 0.0, level: float = 0.1) -> Sound:
    """Four tones, slightly out of tune with each other ``[1, samples]``."""
    time = begin + np.arange(round(seconds * RATE)) / RATE
    tones = (np.sin(2 * np.pi * pitch * time + pitch) for pitch in (55.3, 220.9, 277.4, 1318.7))
    return (level * sum(tones))[None].astype(np.float32)


def noise(samples: int, channels: int = 1, seed: int = 0) -> Sound:
    return (0.1 * np.random.default_rng(seed).standard_normal((channels, samples))).astype(np.float32)


def seam_of(region: Sound, coded: Sound | None = None, held: int = HELD) -> Seam:
    """The seam where the codec gives back the region exactly, unless something else is given."""
    return Seam.between(region, region[:, :-held] if coded is None else coded, held, RATE)


def levels(sound: Sound, window: int = 320) -> NDArray[np.float64]:
    whole = sound[..., : sound.shape[-1] // window * window].astype(np.float64)
    return 10 * np.log10(np.mean(whole.reshape(*whole.shape[:-1], -1, window) ** 2, axis=-1))


def test_what_is_foretold_of_tones_is_what_they_do() -> None:
    seam = seam_of(chord(1))
    fade = np.cos(np.pi / 2 * np.arange(len(seam.own)) / len(seam.own)) ** 2
    true = chord(0.025, begin=1.0)[0]
    np.testing.assert_allclose(seam.own[:, 0], fade * true, atol=0.005)


@pytest.mark.parametrize("channels", [1, 2])
def test_the_first_sample_follows_the_last_one_of_the_region(channels: int) -> None:
    region = np.concatenate([chord(1), chord(1, begin=0.3)])[:channels]
    model = np.concatenate([chord(1, begin=0.705), chord(1, begin=0.107)])[:channels].T
    made = seam_of(region).applied(model, 0)
    steps = np.std(np.diff(region[:, -1000:]), axis=1)
    raw = np.abs(model[0] - region[:, -1]) / steps
    assert np.min(raw) > 10, "without a seam there is a jump"
    assert np.all(np.abs(made[0] - region[:, -1]) < 3 * steps)
    whole = np.concatenate([region, made.T], axis=1)
    around = np.abs(np.diff(whole[:, -len(made) - 10 : -len(made) + 1000]))
    assert np.all(np.max(around, axis=1) < 6 * steps), "nor is there one afterwards"


def test_a_quieter_codec_is_made_up_for_and_the_difference_given_back_slowly() -> None:
    region, model = chord(2), 0.7 * chord(5, begin=2.0).T
    seam = seam_of(region, 0.7 * region[:, :-HELD])
    assert seam.gain_db == pytest.approx(-20 * math.log10(0.7), abs=0.01)
    made = seam.applied(model, 0)
    before = levels(region[0, -RATE:], RATE // 5)
    after = levels(made[: RATE // 5, 0], RATE // 5)
    assert abs(after[0] - before[-1]) < 0.6
    fade = levels(np.concatenate([region[0, -3200:], made[:3200, 0]]))
    true = levels(chord(0.2, begin=1.9)[0])
    assert np.max(np.abs(fade - true)) < 0.5, "neither a bump nor a dip, at any moment"
    gains = made[1000:, 0] / np.where(np.abs(model[1000:, 0]) > 0.01, model[1000:, 0], np.nan)
    assert np.nanmax(np.diff(gains[~np.isnan(gains)])) < 1e-3, "it only ever sinks"
    end = seam.length
    assert 2 * RATE <= end <= round((seam.gain_db + 0.01) * RATE)
    assert np.array_equal(made[end:], model[end:])


@pytest.mark.parametrize("alike", [True, False])
def test_the_cross_fade_keeps_the_power_of_what_is_alike_and_of_what_is_not(alike: bool) -> None:
    """Over many tones, each with a phase of its own, so that the mean is the law's and not one signal's."""
    rng = np.random.default_rng(1)
    time = np.arange(3 * RATE) / RATE
    difference = []
    for _ in range(60):
        pitch, first, other = rng.uniform(200, 2000), *rng.uniform(0, 2 * np.pi, 2)
        region = 0.1 * np.sin(2 * np.pi * pitch * time + first).astype(np.float32)[None]
        # What correlates in the region does so beyond it; what does not is another tone.
        heard = region if alike else 0.1 * np.sin(2 * np.pi * (pitch * 1.31) * time + other).astype(np.float32)[None]
        seam = Seam.between(region[:, : 2 * RATE], heard[:, : 2 * RATE - HELD], HELD, RATE)
        made = seam.applied(heard[:, 2 * RATE :].T, 0)
        difference.append(np.mean(made[:800].reshape(5, -1) ** 2, axis=1) / 0.005)
    assert np.max(np.abs(10 * np.log10(np.mean(difference, axis=0)))) < 0.6


def test_what_cannot_be_foretold_leaves_no_gap() -> None:
    region, model = noise(RATE, 8), noise(RATE, 8, seed=1)
    made = seam_of(region, noise(RATE - HELD, 8, seed=2)).applied(model.T, 0)
    power = 10 * np.log10(np.mean(made[:960].reshape(6, -1) ** 2, axis=1) / 0.01)
    assert np.max(np.abs(power[1:])) < 1.5
    assert -4 < power[0] < 1


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_a_codec_that_is_far_off_is_followed_so_far_only(factor: float) -> None:
    region = chord(1)
    assert abs(seam_of(region, factor * region[:, :-HELD]).gain_db) == MOST_DB


@pytest.mark.parametrize(("region", "coded"), [(0.0, 0.1), (0.1, 0.0), (0.0, 0.0)])
def test_silence_has_no_level(region: float, coded: float) -> None:
    sound = chord(1)
    seam = seam_of(10 * region * sound, 10 * coded * sound[:, :-HELD])
    assert seam.gain_db == 0.0
    if not region:
        model = chord(1).T
        made = seam.applied(model, 0)
        assert made[0, 0] == 0.0, "sound sets in where there was none"
        assert np.array_equal(made[64:], model[64:])


@pytest.mark.parametrize("samples", [1, 2, 5, 100, 639, 3000])
@pytest.mark.parametrize("known", [True, False])
def test_a_region_of_any_length_has_a_seam(samples: int, known: bool) -> None:
    region = chord(1)[:, RATE - samples :]
    coded = region[:, : max(0, samples - HELD)] if known else region[:, :0]
    made = Seam.between(region, coded, HELD, RATE).applied(chord(1, begin=1.0).T, 0)
    assert np.all(np.isfinite(made))
    assert abs(made[0, 0] - region[0, -1]) < 0.04
    assert np.max(np.abs(made)) < 0.6


def test_nothing_clips_that_did_not_clip_before() -> None:
    region, quiet = chord(2, level=0.249), 0.5 * chord(2, level=0.249)
    model = np.clip(chord(3, begin=2.0, level=0.4), -1, 1).T
    made = seam_of(region, quiet[:, :-HELD]).applied(model, 0)
    assert 0.9 < np.max(np.abs(model)) <= np.max(np.abs(made)) <= 1.0
    over = 1.3 * model
    assert np.max(np.abs(seam_of(region, quiet[:, :-HELD]).applied(over, 0))) <= np.max(np.abs(over))


def test_a_region_beyond_full_scale_is_followed_there() -> None:
    region = np.full((1, RATE), 1.4, np.float32)
    made = seam_of(region).applied(np.zeros((RATE, 1), np.float32), 0)
    assert made[0, 0] == pytest.approx(1.4, abs=0.01)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(1, 3 * RATE), max_size=8))
def test_blocks_of_any_size_make_the_same_samples(cuts: list[int]) -> None:
    seam = seam_of(chord(1), 0.8 * chord(1)[:, :-HELD])
    model = noise(3 * RATE).T
    places = sorted({0, *cuts, len(model)})
    pieces = [seam.applied(model[begin:end], begin) for begin, end in pairwise(places)]
    assert np.array_equal(np.concatenate(pieces), seam.applied(model, 0))


@pytest.mark.parametrize("channels", [1, 2])
def test_a_seam_comes_back_bit_for_bit_from_what_a_sidecar_keeps(channels: int) -> None:
    region = noise(RATE, channels)
    seam = seam_of(region, 0.9 * region[:, :-HELD])
    again = Seam.decode(seam.encode(), sample_rate=RATE, channels=channels)
    model = noise(3 * RATE, channels, seed=1).T
    assert np.array_equal(again.applied(model, 0), seam.applied(model, 0))
    assert again.encode() == seam.encode()
    assert len(seam.encode()) < 2**15


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"channels": 2}, ErrorCode.OUT_OF_RANGE),
        ({"sample_rate": 48_000}, ErrorCode.OUT_OF_RANGE),
        ({"gain_db": 60.0}, ErrorCode.MALFORMED),
        ({"gain_db": math.nan}, ErrorCode.MALFORMED),
        ({"gain_db": "loud"}, ErrorCode.MALFORMED),
        ({"own": "&&&"}, ErrorCode.MALFORMED),
        ({"own": "AAAA"}, ErrorCode.MALFORMED),
        ({"own": "AADAfwAAwH8="}, ErrorCode.MALFORMED),
        ({"weights": ""}, ErrorCode.MALFORMED),
        ({"weights": None}, ErrorCode.MALFORMED),
    ],
)
def test_what_is_no_seam_is_refused(change: dict[str, object], code: ErrorCode) -> None:
    record = json.loads(seam_of(chord(1)).encode())
    with pytest.raises(RequestError) as refused:
        Seam.decode(json.dumps(record | change), sample_rate=RATE, channels=1)
    assert (refused.value.code, refused.value.field) == (code, "seam_record")


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "{}", "[" * 100_000])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(RequestError) as refused:
        Seam.decode(text, sample_rate=RATE, channels=1)
    assert refused.value.code == ErrorCode.MALFORMED
