"""The character of a stream: what drifts is noticed, steered against step by step, and left alone once it is back."""

from __future__ import annotations

import numpy as np
import pytest
from sounds import RATE, Sound, blocks, music, random_blocks

from daw_bridge.steering.character import JUDGED_BARS, MOST_LEVEL, REST_BARS, Character, Sampling, Steer, Steersman
from daw_bridge.steering.governor import FROM_THE_START, Governor, Setting
from protocols.messages import Update

USUAL = music(40)
OWN = Sampling(1.0, 250, 3.0)


def noise(seconds: float) -> Sound:
    return np.random.default_rng(3).normal(0, 0.1, (round(seconds * RATE), 1)).astype(np.float32)


def drone(seconds: float) -> Sound:
    places = np.arange(round(seconds * RATE)) / RATE
    return (0.1 * np.sin(2 * np.pi * 220 * places) + 0.05 * np.sin(2 * np.pi * 330 * places)).astype(np.float32)[
        :, None
    ]


class Stage:
    """A governed stream with its steersman, asked after every tenth of a second."""

    def __init__(self) -> None:
        self.character = Character(RATE)
        self.governor = Governor(RATE, 1, FROM_THE_START, self.character)
        self.steersman = Steersman(self.character, OWN, 11)

    def play(self, sound: Sound) -> list[Steer]:
        found = []
        for block in blocks(sound, RATE // 10):
            self.governor.process(block)
            steer = self.steersman.look()
            if steer is not None:
                found.append(steer)
        return found


def test_material_that_stays_as_it_is_is_not_steered() -> None:
    assert Stage().play(music(120)) == []


@pytest.mark.parametrize(
    ("sound", "reasons"),
    [
        (noise(60), {"mushy", "noisy"}),
        (drone(60), {"bare", "mushy"}),
        (np.zeros((60 * RATE, 1), np.float32), {"silent"}),
        (0.1 * music(60), {"quiet"}),
        (np.clip(8 * music(60), -8, 8), {"loud"}),
    ],
)
def test_what_drifts_is_steered_against_and_given_back(sound: Sound, reasons: set[str]) -> None:
    stage = Stage()
    stage.play(USUAL)
    steers = stage.play(sound)
    assert {steer.reason for steer in steers} <= reasons
    assert 2 <= len(steers) <= 60 / 2 / REST_BARS + 1
    assert steers[-1].sampling != OWN
    assert stage.play(music(2 * 2 * JUDGED_BARS + 4))[-1] == Steer("back", OWN)
    assert stage.steersman.level == 0


def test_silence_is_drawn_from_another_seed_each_time() -> None:
    stage = Stage()
    stage.play(USUAL)
    seeds = [steer.seed for steer in stage.play(np.zeros((80 * RATE, 1), np.float32))]
    assert None not in seeds
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds if seed is not None)


def test_steering_goes_a_little_further_each_time_and_no_further_than_its_last_step() -> None:
    stage = Stage()
    stage.play(USUAL)
    steers = stage.play(drone(120))
    heat = [abs(steer.sampling.temperature - OWN.temperature) for steer in steers]
    assert heat[:MOST_LEVEL] == sorted(heat[:MOST_LEVEL])
    assert max(heat) < 0.25
    assert [steer.seed is None for steer in steers[: MOST_LEVEL + 1]] == [True] * MOST_LEVEL + [False]


def test_what_the_user_sets_wins() -> None:
    stage = Stage()
    stage.play(USUAL)
    assert stage.play(noise(16))
    back = stage.steersman.user_set(1.3, None, None)
    assert back == Steer("back", Sampling(1.3, 250, 3.0))
    assert stage.steersman.user_set(1.2, None, None) is None
    assert stage.play(noise(12)) == []
    assert stage.steersman.own == Sampling(1.2, 250, 3.0)


def test_a_spectrum_that_is_learnt_anew_is_a_character_that_is_learnt_anew() -> None:
    stage = Stage()
    stage.play(USUAL)
    stage.governor.set(Setting(learn="spectrum"))
    assert stage.play(drone(90)) == []


def test_a_steer_is_an_update_of_its_stream() -> None:
    assert Steer("mushy", Sampling(0.9, 100, 3.5), 7).update(4) == Update(
        stream=4, temperature=0.9, top_k=100, guidance=3.5, seed=7
    )


def test_blocks_make_no_difference() -> None:
    sound = np.concatenate((USUAL[: 20 * RATE], drone(20)))
    profiles = []
    for cut in (blocks(sound, len(sound)), random_blocks(sound, 1, 4000)):
        character = Character(RATE)
        governor = Governor(RATE, 1, FROM_THE_START, character)
        for block in cut:
            governor.process(block)
        profiles.append((character.now, character.reference, character.bars))
    assert profiles[0] == profiles[1]
