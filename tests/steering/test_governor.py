"""The governor: what drifts is held, what rests is left alone, and how the stream is cut into blocks makes no difference."""

from __future__ import annotations

import json

import numpy as np
import pyloudnorm
import pytest
from scipy.signal import lfilter
from sounds import RATE, Sound, blocks, music, random_blocks

from daw_bridge.steering.governor import CEILING, FROM_THE_START, MOST_BAND_DB, Governor, Setting
from daw_bridge.steering.reference import MOST_GAIN_DB, Reference
from daw_bridge.steering.spectrum import band_layout, lufs_of
from protocols.errors import ErrorCode, RequestError


def governed(sound: Sound, setting: Setting = FROM_THE_START, rate: int = RATE) -> tuple[Sound, Governor]:
    governor = Governor(rate, sound.shape[1], setting)
    return np.concatenate([governor.process(block) for block in blocks(sound, 1000)]), governor


def loudness(sound: Sound, rate: int = RATE) -> float:
    return float(pyloudnorm.Meter(rate).integrated_loudness(sound.astype(np.float64)))


def glide(begin_db: float, end_db: float, count: int) -> np.ndarray:
    return 10 ** (np.linspace(begin_db, end_db, count) / 20)[:, None]


@pytest.mark.parametrize("rate", [16_000, 32_000, 44_100, 48_000])
def test_loudness_is_measured_as_pyloudnorm_measures_it(rate: int) -> None:
    sound = music(12, rate=rate)
    assert Reference.of_sound(sound, rate).lufs == pytest.approx(loudness(sound, rate), abs=0.15)
    both = np.concatenate((sound, 0.5 * sound), axis=1)
    assert Reference.of_sound(both, rate).lufs == pytest.approx(loudness(both, rate), abs=0.15)


def test_a_full_scale_sine_at_1_khz_has_minus_3_lufs() -> None:
    layout = band_layout(48_000)
    sine = np.sin(2 * np.pi * 997 * np.arange(2 * layout.hop) / 48_000).astype(np.float32)[:, None]
    assert lufs_of(float(layout.measure(sine).weighted.sum())) == pytest.approx(-3.0, abs=0.1)


@pytest.mark.parametrize("drift_db", [12.0, -12.0])
def test_a_level_that_drifts_over_minutes_is_held(drift_db: float) -> None:
    sound = music(240, level=0.02 if drift_db > 0 else 0.08)
    drifting = (sound * glide(0, drift_db, len(sound))).astype(np.float32)
    held, governor = governed(drifting)
    reference = governor.state.reference.lufs
    assert reference is not None
    minute = 60 * RATE
    raw = [loudness(part) - reference for part in blocks(drifting, minute)]
    off = [loudness(part) - reference for part in blocks(held, minute)]
    assert abs(raw[-1]) > 10
    assert max(map(abs, off)) < 0.7
    assert governor.state.gain_db == pytest.approx(-drift_db, abs=0.8)


def test_the_gain_has_limits() -> None:
    sound = music(90, level=0.01)
    sound[RATE * 20 :] *= 10 ** (-18 / 20)
    _, governor = governed(sound)
    assert governor.state.gain_db == pytest.approx(MOST_GAIN_DB, abs=0.1)


def test_the_gain_glides_no_faster_than_a_decibel_a_second() -> None:
    sound = music(40, level=0.05)
    sound[RATE * 20 :] *= 4
    governor, gains = Governor(RATE, 1), []
    for block in blocks(sound, RATE // 10):
        governor.process(block)
        gains.append(governor.state.gain_db)
    assert gains[-1] < -8
    assert np.abs(np.diff(gains)).max() <= 0.1 + 0.011


def test_a_colour_that_drifts_is_brought_back_gently() -> None:
    sound = music(240)
    dull = lfilter([0.35], [1, -0.65], sound, axis=0).astype(np.float32)
    fade = np.clip(np.linspace(-0.1, 1.0, len(sound)), 0, 1)[:, None]
    drifting = ((1 - fade) * sound + fade * dull).astype(np.float32)
    held, governor = governed(drifting)

    def treble(part: Sound) -> float:
        power = np.square(np.abs(np.fft.rfft(part[:, 0])))
        return 10 * float(np.log10(power[len(power) * 3 // 8 :].sum() / power.sum()))

    last = 30 * RATE
    begin = treble(sound[:last])
    assert treble(drifting[-last:]) < begin - 5
    assert treble(held[-last:]) > treble(drifting[-last:]) + 2.5
    assert max(map(abs, governor.state.band_gains_db)) <= MOST_BAND_DB


def test_what_does_not_drift_goes_through_bit_for_bit_while_it_is_learnt_and_nearly_after() -> None:
    sound = music(30)
    held, governor = governed(sound)
    learnt = 8 * RATE
    assert np.array_equal(held[:learnt], sound[:learnt])
    assert governor.state.learning == 0
    assert abs(governor.state.gain_db) < 0.3
    assert np.abs(held - sound).max() < 0.05


def test_silence_is_not_turned_up() -> None:
    sound = music(60, level=0.05)
    sound[RATE * 20 : RATE * 50] *= 1e-4
    governor, gains = Governor(RATE, 1), []
    for block in blocks(sound, RATE):
        governor.process(block)
        gains.append(governor.state.gain_db)
    assert max(map(abs, gains)) < 0.5
    assert Governor(RATE, 1).process(np.zeros((RATE * 20, 1), np.float32)).max() == 0


def test_rests_between_notes_are_not_turned_up_either() -> None:
    sound = music(120, level=0.05)
    sparse = sound * ((np.arange(len(sound)) // (2 * RATE)) % 3 == 0)[:, None]
    _, governor = governed(sparse.astype(np.float32))
    assert abs(governor.state.gain_db) < 0.5


def test_nothing_clips() -> None:
    sound = music(60, level=0.1)
    loud = np.clip(sound * glide(0, 24, len(sound)), -4, 4).astype(np.float32)
    held, _ = governed(loud)
    assert np.abs(loud).max() > 2
    assert np.abs(held).max() < CEILING
    quiet, _ = governed(sound, Setting(on=True, reference=Reference(-3.0)))
    assert np.abs(quiet).max() < CEILING


def test_a_loudness_is_held_as_it_is_told() -> None:
    held, governor = governed(music(60, level=0.05), Setting(on=True, reference=Reference(-30.0)))
    assert loudness(held[RATE * 30 :]) == pytest.approx(-30, abs=0.3)
    assert governor.state.lufs == pytest.approx(-30, abs=0.5)


def test_off_means_untouched_and_turning_off_glides_back() -> None:
    sound = music(60, level=0.05)
    untouched, governor = governed(sound, Setting(on=False, learn="all"))
    assert np.array_equal(untouched, sound)
    governor = Governor(RATE, 1, Setting(on=True, reference=Reference(-30.0)))
    parts = list(blocks(sound, RATE))
    for part in parts[:30]:
        governor.process(part)
    assert governor.state.gain_db < -3
    governor.set(Setting(on=False))
    rest = [governor.process(part) for part in parts[30:]]
    assert governor.state.gain_db == 0
    assert np.array_equal(rest[-1], parts[-1])


def test_blocks_make_no_difference() -> None:
    sound = np.concatenate((music(40, seed=1), music(40, level=0.3, seed=2)), axis=1)
    sound = (sound * glide(0, 9, len(sound))).astype(np.float32)
    whole = Governor(RATE, 2).process(sound)
    for seed, most in ((0, 50), (1, 700), (2, 5000), (3, 40_000)):
        governor = Governor(RATE, 2)
        cut = np.concatenate([governor.process(block) for block in random_blocks(sound, seed, most)])
        assert np.array_equal(cut, whole)


def test_a_record_governs_the_same_again() -> None:
    sound = (music(90) * glide(0, 9, 90 * RATE)).astype(np.float32)
    governor, made = Governor(RATE, 1), []
    for number, block in enumerate(random_blocks(sound, 5, 3000)):
        if number == 200:
            governor.set(Setting(reference=Reference(-26.0)))
        if number == 500:
            governor.set(Setting(learn="spectrum"))
        if number == 700:
            governor.set(Setting(on=False))
        made.append(governor.process(block))
    assert len(governor.record) == 4
    again = Governor.again(RATE, 1, json.loads(json.dumps(governor.record)))
    assert np.array_equal(again.process(sound), np.concatenate(made))
    assert again.record == governor.record


def test_what_is_no_number_is_silence_and_soon_forgotten() -> None:
    sound = (music(40) * glide(0, 6, 40 * RATE)).astype(np.float32)
    sound[RATE * 20 : RATE * 20 + 3] = [[np.nan], [np.inf], [-np.inf]]
    held, governor = governed(sound)
    assert np.isfinite(held).all()
    assert -7 < governor.state.gain_db < -1
    assert np.isfinite(governor.state.lufs)


def test_a_record_that_is_none_is_refused() -> None:
    for record in ([], {"hop": 1}, [{"on": True}], [{"hop": 0, "reference": {"lufs": "loud", "shape_db": []}}], 3):
        with pytest.raises(RequestError) as refused:
            Governor.again(RATE, 1, record)
        assert refused.value.code == ErrorCode.MALFORMED


def test_a_silent_region_is_no_reference() -> None:
    with pytest.raises(RequestError) as refused:
        Reference.of_sound(np.zeros((RATE * 3, 1), np.float32), RATE)
    assert refused.value.code == ErrorCode.OUT_OF_RANGE
