"""The sound card that is not there: its deadlines, its name, and the card process that plays on it without PortAudio."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daw_bridge.audio.capture import Bus
from daw_bridge.audio.card import CardOutput
from daw_bridge.audio.devices import DeviceChoice, InputChoice
from daw_bridge.audio.feeder import Feeder
from daw_bridge.audio.pacer import GIVE_UP_S, Pacer
from daw_bridge.audio.player import Player, PlayerSettings
from daw_bridge.audio.recovery import NO_CARD
from daw_bridge.audio.virtual import DEFAULT_BLOCK, VIRTUAL, is_virtual, list_with_virtual
from protocols.errors import ErrorCode, RequestError
from tests.support.jack import wait_until

NANO = 10**9


@pytest.fixture
def no_portaudio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.syspath_prepend(tmp_path)


# --- deadlines --------------------------------------------------------------------------------------------------------


@given(st.sampled_from([8000, 44_100, 48_000, 96_000]), st.integers(16, 4096), st.integers(0, 2**60))
def test_after_a_day_a_block_is_due_to_the_nanosecond(rate: int, block: int, start: int) -> None:
    pacer = Pacer(rate, block, start)
    pacer._blocks = blocks = 24 * 3600 * rate // block
    assert pacer.due == start + blocks * block * NANO // rate
    before = pacer.due
    pacer.rendered()
    assert pacer.due - before in (block * NANO // rate, block * NANO // rate + 1)


def test_what_is_late_is_caught_up_with_and_what_is_far_too_late_is_given_up() -> None:
    pacer = Pacer(48_000, 480, 0)
    for _ in range(10):
        pacer.rendered()
    assert pacer.due == NANO // 10
    late = NANO // 10 + int(GIVE_UP_S * NANO)
    assert pacer.caught_up(late)
    assert pacer.due == NANO // 10, "blocks follow without a pause until they are in time"
    assert not pacer.caught_up(late + 1)
    assert pacer.due == late + 1, "it goes on from now"


# --- its name -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        ("virtual", True),
        (" Virtual ", True),
        ("daw-bridge/virtual", True),
        ("CABLE Input (VB-Audio Virtual Cable)", False),
        ("virtual cable", False),
        ("", False),
        (None, False),
        (-1, False),
    ],
)
def test_its_whole_name_is_meant(choice: DeviceChoice, meant: bool) -> None:
    assert is_virtual(choice) == meant


def test_it_is_listed_even_without_portaudio(no_portaudio: None) -> None:
    assert [(device.full_name, device.channels) for device in list_with_virtual()] == [("daw-bridge/virtual", 2)]


# --- the card process ---------------------------------------------------------------------------------------------------------


def test_it_plays_what_it_is_given_without_portaudio(no_portaudio: None) -> None:
    output = CardOutput(VIRTUAL, 2, 44_100, blocksize=300)
    output.open()
    try:
        assert (output.name, output.sample_rate, output.channels, output.blocksize) == (VIRTUAL, 44_100, 2, 300)
        assert output.active
        bus = output.capture(Bus.OUTPUT)
        noise = np.random.default_rng(3).uniform(-0.5, 0.5, (20_000, 2)).astype(np.float32)
        voice = Feeder(44_100, 2, 1.0, 0.0, fade_seconds=0.0005, scheduled=True)
        voice.attach(output)
        voice.write(noise)
        voice.finish()
        frame = output.meters.frames + 6000
        voice.schedule(output, frame)

        def played() -> bool:
            voice.pump()
            return bus.latest > frame + len(noise)

        wait_until(played, "the noise has been played")
        heard = bus.read(frame, len(noise))
        assert np.array_equal(heard[100:-100], noise[100:-100])
        assert output.meters.faults == 0
    finally:
        output.close()
    assert not output.active


def test_it_does_not_run_ahead_of_time() -> None:
    began = time.monotonic()
    output = CardOutput(VIRTUAL)
    output.open()
    try:
        wait_until(lambda: output.meters.frames >= 24_000, "half a second of blocks")
        frames, passed = output.meters.frames, time.monotonic() - began
        assert frames <= passed * 48_000 + DEFAULT_BLOCK
        reading = output.meters.heard
        assert reading is not None
        frame, heard = reading
        assert heard - began <= passed + output.latency + 0.001
        assert frame % DEFAULT_BLOCK == 0
    finally:
        output.close()


def test_voices_move_to_it_and_back_while_they_play() -> None:
    with Player(PlayerSettings(sample_rate=32_000, blocksize=128)) as player:
        player.start(NO_CARD)
        ramp = np.linspace(0.0, 0.5, 32_000, dtype=np.float32)
        voice = player.open_voice(32_000, lead_seconds=2.0)
        assert voice.write(ramp) == len(ramp)
        voice.finish()
        player.set_device("virtual")
        status = player.status()
        assert (status.name, status.host_api, status.sample_rate, status.blocksize) == (
            "virtual",
            "daw-bridge",
            32_000,
            128,
        )
        assert (status.state, status.lost) == ("playing", 0)
        wait_until(lambda: voice.finished, "the ramp is over")
        assert player.status().faults == 0
        player.set_device(NO_CARD)
        assert player.status().host_api == "paced"


def test_it_has_no_input() -> None:
    with Player() as player:
        player.start("virtual")
        with pytest.raises(RequestError) as caught:
            player.set_input(InputChoice("default"))
        assert (caught.value.code, caught.value.field) == (ErrorCode.UNSUPPORTED, "input")
        assert player.status().name == "virtual", "it plays on"
