"""From the engine's chunks to the output, over changes of output and rate."""

from __future__ import annotations

import math

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from daw_bridge.audio.feeder import Feeder, SourceWindow
from daw_bridge.audio.output import OfflineOutput
from protocols.errors import ErrorCode, RequestError

FADE = 240


def noise(frames: int, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-0.4, 0.4, (frames, channels)).astype(np.float32)


def play_out(feeder: Feeder, output: OfflineOutput, seconds: float = 30.0) -> NDArray[np.float32]:
    """Advance block by block, supplying the voice in between, until it has finished."""
    heard = []
    while not feeder.finished:
        feeder.pump()
        heard.append(output.advance(output.blocksize))
        assert len(heard) * output.blocksize < seconds * output.sample_rate, "never finished"
    return np.concatenate(heard)


@given(
    rate=st.sampled_from([44_100, 48_000, 32_000]),
    sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=10),
    block=st.integers(16, 2000),
)
@settings(max_examples=60, deadline=None)
def test_any_chunks_and_blocks_sound_as_one_shot(rate: int, sizes: list[int], block: int) -> None:
    output = OfflineOutput(rate, 1, block)
    output.open()
    feeder = Feeder(32_000, lead_seconds=0.25, prebuffer_seconds=0.25)
    feeder.attach(output)
    sound = noise(sum(sizes))
    start = 0
    heard = []
    for size in sizes:
        offered = 0
        while offered < size:
            took = feeder.write(sound[start + offered : start + size])
            offered += took
            if not took:
                heard.append(output.advance(block))
        start += size
    feeder.finish()
    heard.append(play_out(feeder, output))
    whole = np.concatenate(heard)
    expected = soxr.resample(sound, 32_000, rate)
    fade = round(rate * 0.005)
    begin = 0 if not len(expected) else int(np.flatnonzero(whole[:, 0])[0]) if whole.any() else 0
    middle = slice(begin + fade, begin + max(fade, len(expected) - fade))
    assert np.allclose(whole[middle], expected[fade : max(fade, len(expected) - fade)], atol=2e-6)
    assert not whole[begin + len(expected) :].any()
    status = feeder.status()
    assert status.taken == status.consumed == status.played == len(sound)
    assert status.underruns == 0


def test_the_remainder_is_bounded_and_acknowledged_as_it_moves_on() -> None:
    output = OfflineOutput(48_000, 1, 480)
    feeder = Feeder(32_000, lead_seconds=1.0)
    feeder.attach(output)
    sound = noise(32_000 * 10)
    took = feeder.write(sound)
    assert 64_000 <= took < 80_000, "about twice the lead"
    assert feeder.write(sound[took:]) == 0
    before = feeder.consumed
    assert 32_000 <= before < 36_000, "about the lead"
    output.advance(24_000)
    assert feeder.write(sound[took:]) > 0
    assert feeder.consumed - before == pytest.approx(16_000, abs=2100)
    assert feeder.status().played == 16_000


def test_same_rate_hand_over_is_exact() -> None:
    sound = np.ones((20_000, 2), np.float32)
    sound[:, 1:] = noise(20_000)
    feeder = Feeder(48_000, 2)
    first, second = OfflineOutput(blocksize=300), OfflineOutput(blocksize=77)
    for output in (first, second):
        output.open()
    feeder.attach(first)
    feeder.write(sound)
    feeder.finish()
    heard = [first.advance(3000)]
    feeder.hold()
    heard.append(first.advance(600))
    assert feeder.silent
    feeder.attach(second)
    assert first.mixer.voices == 0
    heard.append(play_out(feeder, second))
    whole = np.concatenate(heard)
    played = whole[whole[:, 0] > 0]
    assert len(played) == len(sound)
    assert np.array_equal(played[:, 1], sound[:, 1] * played[:, 0])
    assert feeder.status().underruns == 0


@pytest.mark.parametrize("rates", [(48_000, 44_100), (44_100, 48_000), (48_000, 96_000), (32_000, 44_100)])
def test_hand_over_to_another_rate_goes_on_at_the_very_sample(rates: tuple[int, int]) -> None:
    frequency = 437.0
    sine = np.sin(2 * np.pi * frequency * np.arange(32_000 * 2) / 32_000).astype(np.float32)
    feeder = Feeder(32_000)
    first, second = OfflineOutput(rates[0], 1, 512), OfflineOutput(rates[1], 1, 512)
    feeder.attach(first)
    feeder.write(sine)
    first.advance(512 * 53)  # the card dies here, in the middle of the sound
    reached = 512 * 53 / rates[0]
    assert feeder.status().played == math.floor(reached * 32_000)
    feeder.attach(second)
    heard = second.advance(20_480)[:, 0]
    assert heard[0] != 0.0, "it goes on at once"
    fade = round(0.005 * rates[1])
    turns = 2 * np.pi * frequency * np.arange(len(heard)) / rates[1]
    basis = np.stack([np.cos(turns), np.sin(turns)], axis=1)[fade:]
    (at_sin, at_cos), *_ = np.linalg.lstsq(basis, heard[fade:], rcond=None)
    assert np.abs(basis @ [at_sin, at_cos] - heard[fade:]).max() < 1e-4, "one clean sine from the first sample on"
    phase = (math.atan2(at_sin, at_cos) / (2 * np.pi) - reached * frequency) % 1.0
    late = (phase + 0.01) % 1.0 - 0.01
    assert -1e-6 <= late / frequency * rates[1] < 1.0 + 1e-3, "less than one frame later than where it stopped"


def test_consumed_never_goes_back() -> None:
    feeder = Feeder(32_000)
    feeder.write(noise(60_000))
    assert feeder.consumed == 0
    seen = []
    for rate in (48_000, 44_100, 32_000):
        output = OfflineOutput(rate, 1)
        feeder.attach(output)
        output.advance(2000)
        feeder.pump()
        seen.append(feeder.consumed)
        feeder.detach()
        seen.append(feeder.consumed)
    assert seen == sorted(seen)


def test_without_an_output_sound_waits() -> None:
    feeder = Feeder(48_000)
    sound = noise(4000)
    assert feeder.write(sound) == 4000
    feeder.finish()
    assert feeder.status().state == "detached"
    output = OfflineOutput(channels=1)
    feeder.attach(output)
    heard = play_out(feeder, output)
    assert np.array_equal(heard[FADE : 4000 - FADE], sound[FADE:-FADE])


def test_stop_drops_the_rest_and_swallows_what_still_comes() -> None:
    output = OfflineOutput(channels=1, blocksize=128)
    feeder = Feeder(48_000)
    feeder.attach(output)
    feeder.write(noise(30_000))
    output.advance(1280)
    feeder.stop()
    assert not feeder.finished
    output.advance(512)
    assert feeder.finished
    assert feeder.write(noise(100)) == 100
    assert not output.advance(512).any()
    assert feeder.consumed == feeder.status().taken


def test_stop_without_an_output_finishes_at_once() -> None:
    feeder = Feeder(48_000)
    feeder.write(noise(1000))
    feeder.stop()
    assert feeder.finished
    feeder.attach(OfflineOutput())
    assert feeder.status().state == "finished"


def test_stop_after_the_end_changes_nothing() -> None:
    output = OfflineOutput(44_100, 1)
    feeder = Feeder(32_000)
    feeder.attach(output)
    feeder.write(noise(1001))
    feeder.finish()
    play_out(feeder, output)
    feeder.stop()
    assert feeder.status().played == 1001


def test_an_empty_stream_finishes() -> None:
    output = OfflineOutput()
    feeder = Feeder(32_000)
    feeder.attach(output)
    feeder.finish()
    feeder.finish()
    assert not output.advance(1024).any()
    assert feeder.finished


def test_underruns_are_counted_over_all_outputs() -> None:
    feeder = Feeder(48_000)
    for _ in range(3):
        output = OfflineOutput(channels=1)
        feeder.attach(output)
        feeder.write(noise(6000))
        output.advance(9000)
    assert feeder.status().underruns == 3
    assert feeder.status().first_audible is not None


def test_nan_becomes_silence_before_it_reaches_the_filter() -> None:
    output = OfflineOutput(44_100, 1)
    feeder = Feeder(32_000)
    feeder.attach(output)
    sound = np.full(20_000, 0.5, np.float32)
    sound[5000:5003] = [np.nan, np.inf, -np.inf]
    feeder.write(sound)
    heard = output.advance(20_480)
    assert np.isfinite(heard).all()
    assert heard[-1] == pytest.approx(0.5, abs=1e-4)
    assert feeder.status().bad_frames == 3


def test_the_prebuffer_covers_a_block_of_the_card() -> None:
    output = OfflineOutput(48_000, 1, 2048)
    feeder = Feeder(48_000, prebuffer_seconds=0.0)
    feeder.attach(output)
    feeder.write(noise(2048))
    assert not output.advance(2048).any()
    feeder.write(noise(FADE))
    assert output.advance(2048).all()
    assert feeder.status().underruns == 0


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"sample_rate": 0}, "sample_rate"),
        ({"channels": 0}, "channels"),
        ({"channels": 65}, "channels"),
        ({"lead_seconds": 1e9}, "lead_seconds"),
        ({"lead_seconds": math.nan}, "lead_seconds"),
        ({"prebuffer_seconds": 3.0, "lead_seconds": 2.0}, "prebuffer_seconds"),
        ({"gain": -1.0}, "gain"),
        ({"fade_seconds": 0.0}, "fade_seconds"),
    ],
)
def test_impossible_settings_are_refused(arguments: dict[str, float], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        Feeder(**{"sample_rate": 32_000, **arguments})  # type: ignore[arg-type]
    assert caught.value.code == ErrorCode.OUT_OF_RANGE
    assert caught.value.field == field


@pytest.mark.parametrize("chunk", [np.zeros((10, 3), np.float32), np.zeros(10, np.int16), np.zeros((2, 2, 2))])
def test_what_is_not_sound_is_refused(chunk: NDArray[np.float32]) -> None:
    with pytest.raises(RequestError) as caught:
        Feeder(32_000, 2).write(chunk)
    assert caught.value.code == ErrorCode.BAD_TYPE


def test_sound_after_the_end_is_refused() -> None:
    feeder = Feeder(32_000)
    feeder.finish()
    with pytest.raises(RequestError) as caught:
        feeder.write(noise(10))
    assert caught.value.code == ErrorCode.NOT_ALLOWED


def test_gain_follows_the_voice_to_the_next_output() -> None:
    feeder = Feeder(48_000, gain=0.5)
    feeder.write(np.full(40_000, 0.5, np.float32))
    for _ in range(2):
        output = OfflineOutput(channels=1)
        feeder.attach(output)
        assert output.advance(2048)[-1] == pytest.approx(0.5 * feeder.gain)
        feeder.gain = 2.0
    with pytest.raises(RequestError):
        feeder.gain = math.inf


@given(chunks=st.lists(st.integers(0, 70), max_size=30), keep=st.integers(0, 40))
def test_the_window_keeps_what_it_must(chunks: list[int], keep: int) -> None:
    window = SourceWindow(64, 1)
    sound = np.arange(3000, dtype=np.float32)[:, None]
    for size in chunks:
        oldest = max(0, window.end - keep)
        took = window.append(sound[window.end : window.end + size], oldest)
        assert took == min(size, 64 - min(keep, window.end - took))
        position = oldest
        while position < window.end:
            part = window.segment(position, 10)
            assert 0 < len(part) <= 10
            assert np.array_equal(part, sound[position : position + len(part)])
            position += len(part)
