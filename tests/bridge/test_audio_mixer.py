"""Voices and the mixer, moved by hand: fades, gaps, sums, levels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from daw_bridge.audio.mixer import Meters
from daw_bridge.audio.output import OfflineOutput
from daw_bridge.audio.ramp import GainRamp, fade_curve
from daw_bridge.audio.voice import VoiceLayout, VoiceMemory, VoiceState

FADE = 240
BLOCKS = [1, 2, 7, 64, 239, 240, 241, 512, 1000, 4096, 5000]
STEEPEST = math.pi / 2 / FADE * 1.001
"""Largest step of full-scale DC under a fade."""


def envelope_and_noise(frames: int, seed: int = 0) -> NDArray[np.float32]:
    """Left: full-scale DC, which shows the gain of each frame. Right: noise, which shows which frame it is."""
    sound = np.ones((frames, 2), np.float32)
    sound[:, 1] = np.random.default_rng(seed).uniform(-1, 1, frames)
    return sound


def layout(capacity: int = 48_000, channels: int = 2, prebuffer: int = 480, fade: int = FADE) -> VoiceLayout:
    return VoiceLayout(capacity, channels, prebuffer, fade)


def assert_plays(heard: NDArray[np.float32], sound: NDArray[np.float32]) -> None:
    """Every frame of ``sound`` once, in order, under an envelope without jumps."""
    envelope = heard[:, 0]
    played = heard[envelope > 0]
    assert len(played) == len(sound)
    assert np.array_equal(played[:, 1], sound[:, 1] * played[:, 0])
    assert np.abs(np.diff(envelope, prepend=0, append=0)).max() <= STEEPEST


@pytest.mark.parametrize("block", BLOCKS)
def test_start_and_natural_end_are_fades_and_all_is_played(block: int) -> None:
    output = OfflineOutput(blocksize=block)
    memory = output.add_voice(layout())
    sound = envelope_and_noise(3000)
    memory.ring.write(sound)
    memory.ended = True
    heard = output.advance(3000 + 2 * block)
    assert_plays(heard, sound)
    assert np.array_equal(heard[FADE : 3000 - FADE], sound[FADE:-FADE])
    assert np.allclose(heard[:FADE, :1], fade_curve(FADE))
    assert memory.state == VoiceState.FINISHED
    assert memory.underruns == 0


@pytest.mark.parametrize("block", BLOCKS)
def test_a_gap_is_faded_on_both_sides_and_counted_once(block: int) -> None:
    output = OfflineOutput(blocksize=block)
    memory = output.add_voice(layout())
    sound = envelope_and_noise(5000)
    memory.ring.write(sound[:2000])
    parts = [output.advance(2000 + 3 * block)]
    assert memory.underruns == 1
    memory.ring.write(sound[2000:2400])
    parts.append(output.advance(3 * block))
    assert not parts[-1].any(), "below the prebuffer it must wait"
    memory.ring.write(sound[2400:])
    memory.ended = True
    parts.append(output.advance(3000 + 3 * block))
    assert_plays(np.concatenate(parts), sound)
    assert memory.underruns == 1
    assert memory.state == VoiceState.FINISHED


@pytest.mark.parametrize("block", BLOCKS)
def test_stop_fades_out_within_one_fade(block: int) -> None:
    output = OfflineOutput(blocksize=block)
    memory = output.add_voice(layout())
    sound = envelope_and_noise(40_000)
    memory.ring.write(sound)
    before = output.advance(math.ceil(1000 / block) * block)
    memory.stopping = True
    after = output.advance(FADE + 2 * block)
    heard = np.concatenate([before, after])
    assert_plays(heard, sound[: len(before) + FADE])
    assert not after[FADE:].any()
    assert memory.state == VoiceState.FINISHED
    assert memory.underruns == 0


@pytest.mark.parametrize("block", BLOCKS)
def test_one_voice_takes_over_from_another_at_a_frame(block: int) -> None:
    output = OfflineOutput(blocksize=block)
    frame, ones = 5555, np.ones((40_000, 2), np.float32)
    leaving, entering = output.add_voice(layout()), output.add_voice(layout())
    for memory in (leaving, entering):
        memory.ring.write(ones)
    leaving.stop = entering.start = frame
    sounds = [output.advance(3 * block)]
    leaving.stop = 0 if block < 1000 else frame  # taken back before it comes
    sounds.append(output.advance(block))
    leaving.stop = frame if block < 1000 else leaving.stop
    sounds.append(output.advance(12_000))
    heard = np.concatenate(sounds)
    assert np.allclose(heard[FADE : FADE + 11_000], 1, atol=1e-6), "two fades that add up to 1, at one frame"
    assert (leaving.state, entering.state) == (VoiceState.FINISHED, VoiceState.PLAYING)
    assert leaving.frames_played == frame + FADE
    assert leaving.underruns == entering.underruns == 0


@pytest.mark.parametrize("frequency", [50.0, 997.0])
def test_a_full_scale_sine_never_steps_more_than_by_itself_and_the_fade(frequency: float) -> None:
    output = OfflineOutput(blocksize=333)
    memory = output.add_voice(layout(channels=1))
    sine = np.cos(2 * np.pi * frequency * np.arange(9000) / 48_000).astype(np.float32)[:, None]
    memory.ring.write(sine[:3000])
    heard = [output.advance(5000)]
    memory.ring.write(sine[3000:])
    heard.append(output.advance(2000))
    memory.stopping = True
    heard.append(output.advance(2000))
    steps = np.abs(np.diff(np.concatenate(heard)[:, 0], prepend=0))
    assert steps.max() <= 2 * np.pi * frequency / 48_000 + STEEPEST


def test_hold_stands_still_and_goes_on_with_the_next_frame() -> None:
    output = OfflineOutput(blocksize=100)
    memory = output.add_voice(layout())
    sound = envelope_and_noise(6000)
    memory.ring.write(sound)
    memory.ended = True
    parts = [output.advance(1000)]
    memory.held = True
    parts.append(output.advance(2000))
    assert memory.state == VoiceState.WAITING
    assert memory.frames_played == 1000 + FADE
    memory.held = False
    parts.append(output.advance(8000))
    assert_plays(np.concatenate(parts), sound)
    assert memory.underruns == 0


@given(
    block=st.integers(1, 700),
    fade=st.integers(1, 300),
    prebuffer=st.integers(1, 600),
    writes=st.lists(st.tuples(st.integers(0, 900), st.integers(1, 4)), max_size=25),
)
@settings(max_examples=120, deadline=None)
def test_any_supply_plays_every_frame_once_without_a_jump(
    block: int, fade: int, prebuffer: int, writes: list[tuple[int, int]]
) -> None:
    output = OfflineOutput(blocksize=block)
    memory = output.add_voice(layout(2000, 2, prebuffer, fade))
    sound = envelope_and_noise(sum(frames for frames, _ in writes))
    parts, offered = [], 0
    for frames, callbacks in writes:
        offered += frames
        if memory.ring.written < offered:
            memory.ring.write(sound[memory.ring.written : offered])
        parts.append(output.advance(callbacks * block))
    while memory.ring.written < len(sound):
        memory.ring.write(sound[memory.ring.written :])
        parts.append(output.advance(block))
    memory.ended = True
    parts.append(output.advance(2100 + 4 * block))
    heard = np.concatenate(parts)
    envelope = heard[:, 0]
    played = heard[envelope > 0]
    assert len(played) == len(sound)
    assert np.array_equal(played[:, 1], sound[:, 1] * played[:, 0])
    assert np.abs(np.diff(envelope, prepend=0, append=0)).max() <= min(1.0, math.pi / 2 / fade * 1.001)
    assert memory.state == VoiceState.FINISHED


def test_voices_are_summed_and_those_that_wait_are_silent() -> None:
    output = OfflineOutput(channels=2, blocksize=256)
    sounds = [0.3 * envelope_and_noise(4000, seed) for seed in range(3)]
    memories = [output.add_voice(layout()) for _ in range(4)]
    for memory, sound in zip(memories, sounds, strict=False):
        memory.ring.write(sound)
        memory.ended = True
    heard = output.advance(4000)
    assert np.allclose(heard[FADE:-FADE], np.sum(sounds, axis=0)[FADE:-FADE], atol=1e-6)
    output.remove_voice(memories[3])
    assert output.mixer.voices == 3
    output.remove_voice(memories[3])
    assert not output.advance(512).any()


@pytest.mark.parametrize(
    ("voice", "card", "expected"),
    [
        (1, 1, [1.0]),
        (1, 4, [1.0, 1.0, 1.0, 1.0]),
        (2, 2, [1.0, 0.5]),
        (2, 6, [1.0, 0.5, 0, 0, 0, 0]),
        (2, 1, [0.75]),
        (3, 2, [0.625, 0.5]),
        (4, 2, [0.625, 0.3125]),
    ],
)
def test_channels_are_mapped(voice: int, card: int, expected: list[float]) -> None:
    output = OfflineOutput(channels=card)
    memory = output.add_voice(layout(channels=voice))
    memory.ring.write(np.tile(np.array([1.0, 0.5, 0.25, 0.125][:voice], np.float32), (2000, 1)))
    heard = output.advance(1000)
    assert np.allclose(heard[-1], expected)


def test_the_sum_is_clipped_counted_and_metered() -> None:
    output = OfflineOutput()
    for _ in range(3):
        output.add_voice(layout(channels=1)).ring.write(np.full((40_000, 1), 0.9, np.float32))
    heard = output.advance(10_240)
    assert heard.max() == 1.0
    assert output.meters.clipped_blocks > 15
    assert output.meters.level == pytest.approx(2.7, abs=1e-4)
    assert output.meters.callbacks == 20
    assert output.meters.frames == 10_240
    assert output.meters.max_render_seconds > 0


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_poisoned_voice_is_silenced_and_the_others_play_on(poison: float) -> None:
    output = OfflineOutput(blocksize=500)
    good, bad = output.add_voice(layout(channels=1)), output.add_voice(layout(channels=1))
    good.ring.write(np.full((5000, 1), 0.25, np.float32))
    sound = np.full((5000, 1), 0.25, np.float32)
    sound[1100] = poison
    bad.ring.write(sound)
    heard = output.advance(3000)
    assert np.isfinite(heard).all()
    assert np.all(heard[1000:1500] == 0.25)
    assert np.all(heard[1500:3000] == 0.5)
    assert (good.bad_blocks, bad.bad_blocks) == (0, 1)


def test_a_sum_beyond_floating_point_is_silence() -> None:
    output = OfflineOutput()
    for _ in range(2):
        output.add_voice(layout(channels=1)).ring.write(np.full((5000, 1), 3e38, np.float32))
    heard = output.advance(2048)
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() <= 1.0


def test_gains_glide() -> None:
    output = OfflineOutput(blocksize=100)
    memory = output.add_voice(layout(channels=1))
    memory.ring.write(np.full((30_000, 1), 1.0, np.float32))
    output.advance(1000)
    memory.gain = 0.25
    quieter = output.advance(2000)[:, 0]
    output.set_gain(0.5)
    quietest = output.advance(2000)[:, 0]
    assert quieter[-1] == pytest.approx(0.25)
    assert quietest[-1] == pytest.approx(0.125)
    steps = np.abs(np.diff(np.concatenate([[1.0], quieter, quietest])))
    assert steps.max() <= 1.01 / 960


@given(
    moves=st.lists(st.tuples(st.floats(0, 4), st.integers(1, 500)), min_size=1, max_size=10), unit=st.integers(1, 2000)
)
@settings(deadline=None)
def test_a_gain_ramp_never_jumps_and_arrives(moves: list[tuple[float, int]], unit: int) -> None:
    ramp = GainRamp(1.0, unit, 4096)
    heard = [np.ones(1, np.float32)]
    for target, frames in moves:
        block = np.ones((frames, 1), np.float32)
        ramp.apply(block, target)
        heard.append(block[:, 0])
    final = np.ones((4096, 1), np.float32)
    for _ in range(3):
        final = np.ones((4096, 1), np.float32)
        ramp.apply(final, moves[-1][0])
        heard.append(final[:, 0])
    assert np.abs(np.diff(np.concatenate(heard))).max() <= 1 / unit + 1e-5
    assert final[-1, 0] == pytest.approx(moves[-1][0], abs=1e-6)


def test_first_sound_is_timed() -> None:
    output = OfflineOutput(blocksize=512)
    memory = output.add_voice(layout())
    output.advance(1024)
    assert memory.first_audible is None
    memory.ring.write(envelope_and_noise(4000))
    output.advance(512)
    first = memory.first_audible
    assert first is not None
    output.advance(1024)
    assert memory.first_audible == first


def test_the_voice_starts_at_its_prebuffer_and_not_before() -> None:
    output = OfflineOutput(blocksize=64)
    memory = output.add_voice(layout(prebuffer=1000))
    memory.ring.write(envelope_and_noise(999))
    assert not output.advance(640).any()
    memory.ring.write(envelope_and_noise(1))
    assert output.advance(64).any()


def test_a_stream_shorter_than_its_prebuffer_plays_when_it_ends() -> None:
    output = OfflineOutput(blocksize=64)
    memory = output.add_voice(layout(prebuffer=1000))
    sound = envelope_and_noise(9)
    memory.ring.write(sound)
    memory.ended = True
    assert_plays(output.advance(128), sound)
    assert memory.state == VoiceState.FINISHED


def test_an_exception_costs_a_block_and_not_the_callback() -> None:
    output = OfflineOutput()
    broken = output.add_voice(layout())
    broken.ring.write(envelope_and_noise(4000))
    broken.ring.read_into = lambda out: 1 // 0  # type: ignore[method-assign]
    assert not output.advance(1024).any()
    assert (output.meters.faults, output.meters.callbacks) == (2, 2)
    output.remove_voice(broken)
    output.add_voice(layout()).ring.write(envelope_and_noise(4000))
    assert output.advance(512).any()


@pytest.mark.parametrize("bad", [(100, 1, 0, 10), (100, 1, 101, 10), (100, 1, 50, 0), (100, 1, 50, 100)])
def test_a_layout_that_could_never_play_is_refused(bad: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="never start"):
        VoiceMemory(VoiceLayout(*bad))


def test_a_callback_that_is_held_up_while_it_tells_its_time_leaves_the_last_account() -> None:
    """Else whoever looks at that moment takes the card for lost, and counts from another frame when it is back."""
    meters = Meters()
    assert meters.heard is None
    meters.note_heard(5.0)
    meters.note_block(256, 0.0)
    assert meters.heard == (0, 5.0)
    meters._turn[0] += 1  # as in the middle of the next account
    assert meters.heard == (0, 5.0)
    meters._turn[0] -= 1
    meters.note_heard(6.0)
    assert meters.heard == (256, 6.0)
