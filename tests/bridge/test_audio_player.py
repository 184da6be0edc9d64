"""The player on outputs that are moved by hand, appear and disappear."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from daw_bridge.audio.devices import DeviceChoice, InputChoice
from daw_bridge.audio.output import OfflineOutput, Output, PacedOutput
from daw_bridge.audio.player import MAX_VOICES, Player, PlayerEvent, PlayerSettings
from daw_bridge.audio.recovery import NO_CARD, Liveness, RecoveryPolicy, Search
from protocols.errors import ErrorCode, RequestError
from tests.support.jack import wait_until

PATIENT = RecoveryPolicy(stall=60.0, patience=60.0, retry=0.02, retry_limit=0.05)
HASTY = RecoveryPolicy(stall=60.0, patience=0.0, retry=0.02, retry_limit=0.05)


class Desk:
    """A desk with devices that can be plugged in and pulled out; each is an output moved by hand."""

    def __init__(self, **rates: int) -> None:
        self.rates = dict(rates)
        self.default = next(iter(rates), "")
        self.opened: list[OfflineOutput] = []
        self.events: list[tuple[PlayerEvent, dict[str, Any]]] = []

    def open(self, choice: DeviceChoice, source: InputChoice) -> Output:
        name = self.default if choice is None else str(choice)
        if name != NO_CARD and name not in self.rates:
            raise RequestError(ErrorCode.UNKNOWN_DEVICE, "device", choice, ", ".join(self.rates))
        output = OfflineOutput(self.rates.get(name, 48_000), 2, 256)
        output.name = name
        output.open()
        self.opened.append(output)
        return output

    def player(self, recovery: RecoveryPolicy = PATIENT) -> Player:
        return Player(PlayerSettings(recovery=recovery), lambda *event: self.events.append(event), self.open)

    def unplug(self, name: str) -> None:
        del self.rates[name]
        for output in self.opened:
            if output.name == name:
                output.close()

    @property
    def current(self) -> OfflineOutput:
        return self.opened[-1]


@pytest.fixture
def desk() -> Desk:
    return Desk(usb=48_000, builtin=44_100)


def steps(frames: int) -> NDArray[np.float32]:
    sound = np.ones((frames, 2), np.float32)
    sound[:, 1] = np.random.default_rng(5).uniform(-1, 1, frames)
    return sound


def kept_moving(desk: Desk) -> Iterator[NDArray[np.float32]]:
    while True:
        yield desk.current.advance(256)


def test_plays_and_reports(desk: Desk) -> None:
    with desk.player() as player:
        assert player.status().state == "stopped"
        player.start("usb")
        voice = player.open_voice(48_000, 2)
        sound = steps(10_000)
        assert voice.write(sound) == len(sound)
        voice.finish()
        heard = desk.current.advance(10_240)
        assert np.array_equal(heard[240:9760], sound[240:9760])
        wait_until(lambda: player.status().voices == 0, "the finished voice is forgotten")
        status = player.status()
        assert (status.state, status.name, status.sample_rate, status.callbacks) == ("playing", "usb", 48_000, 40)
        assert desk.current.mixer.voices == 0
        assert voice.status().state == "finished"
        assert voice.status().played == 10_000
    assert desk.events[0][0] == PlayerEvent.DEVICE_OPENED
    assert desk.events[0][1]["fallback"] is False


def test_what_finds_no_room_is_passed_on_without_being_asked(desk: Desk) -> None:
    with desk.player() as player:
        player.start("usb")
        voice = player.open_voice(48_000, 2, lead_seconds=0.1)
        assert voice.write(steps(20_000)) == 20_000
        voice.finish()

        def supplied() -> bool:
            status = voice.status()
            ready = round(status.ready_seconds * 48_000)
            return voice.finished or ready > 4000 or status.played + ready == 20_000

        while not voice.finished:
            wait_until(supplied, "the ring is full or the stream has ended")
            desk.current.advance(256)
        assert voice.status().played == 20_000
        assert voice.status().underruns == 0


def test_a_lost_device_is_waited_for_and_nothing_is_lost(desk: Desk) -> None:
    with desk.player() as player:
        player.start("usb")
        voice = player.open_voice(48_000, 2)
        sound = steps(30_000)
        voice.write(sound)
        voice.finish()
        heard = [desk.current.advance(5120)]
        desk.unplug("usb")
        wait_until(lambda: player.status().state == "searching", "the loss is noticed")
        assert voice.status().state == "detached"
        waiting = player.open_voice(48_000, 2)
        assert waiting.write(steps(100)) == 100
        waiting.stop()
        desk.rates["usb"] = 48_000
        wait_until(lambda: player.status().state == "playing", "the device is taken again")
        while not voice.finished:
            heard.append(desk.current.advance(2560))
        whole = np.concatenate(heard)
        played = whole[whole[:, 0] > 0]
        assert np.array_equal(played[:, 1], sound[:, 1] * played[:, 0])
        assert len(played) == len(sound)
        assert player.status().lost == 1
    assert [event for event, _ in desk.events] == ["device_opened", "device_lost", "device_opened"]


def test_another_rate_after_the_loss_is_no_obstacle(desk: Desk) -> None:
    with desk.player() as player:
        player.start("usb")
        voice = player.open_voice(32_000, 1)
        voice.write(np.full(64_000, 0.5, np.float32))
        desk.current.advance(4800)
        desk.unplug("usb")
        wait_until(lambda: player.status().state == "searching", "the loss is noticed")
        desk.rates["usb"] = 96_000
        wait_until(lambda: player.status().sample_rate == 96_000, "the device is taken at its new rate")
        assert np.allclose(desk.current.advance(9600)[600:], 0.5, atol=1e-4)
        assert voice.status().played == pytest.approx(6400 - 85, abs=90)
        assert voice.status().underruns == 0


def test_when_patience_ends_the_default_device_takes_over_and_later_hands_back(desk: Desk) -> None:
    desk.default = "builtin"
    with desk.player(HASTY) as player:
        player.start("usb")
        voice = player.open_voice(48_000, 2)
        voice.write(steps(30_000))
        desk.unplug("usb")
        wait_until(lambda: player.status().state == "fallback", "the default device takes over")
        assert player.status().name == "builtin"
        assert desk.events[-1][1]["fallback"] is True
        assert "usb" in desk.events[-1][1]["reason"]
        assert desk.current.advance(1024).any()
        desk.rates["usb"] = 48_000
        moving = kept_moving(desk)
        wait_until(lambda: next(moving) is not None and player.status().state == "playing", "usb is taken again")
        assert player.status().name == "usb"
        assert player.status().lost == 1, "the default device was left, not lost"


def test_with_no_device_left_streams_go_on_without_a_card(desk: Desk) -> None:
    del desk.rates["builtin"]
    with desk.player(HASTY) as player:
        player.start()
        desk.unplug("usb")
        wait_until(lambda: player.status().name == NO_CARD, "no card takes over")
        assert player.status().state == "fallback"


def test_start_without_any_device_says_so() -> None:
    desk = Desk()
    with desk.player() as player:
        player.start()
        assert player.status().state == "fallback"
        event, details = desk.events[0]
        assert event == PlayerEvent.DEVICE_OPENED
        assert details["fallback"] is True
        assert "unknown_device" in details["reason"]


def test_a_named_device_that_is_unknown_is_an_error(desk: Desk) -> None:
    with desk.player() as player:
        with pytest.raises(RequestError, match="usb, builtin") as caught:
            player.start("piano")
        assert caught.value.code == ErrorCode.UNKNOWN_DEVICE
        player.start("builtin")
        with pytest.raises(RequestError) as caught:
            player.start("usb")
        assert caught.value.code == ErrorCode.NOT_ALLOWED


def test_changing_the_device_loses_nothing(desk: Desk) -> None:
    desk.rates["builtin"] = 48_000
    with desk.player() as player:
        player.start("usb")
        voice = player.open_voice(48_000, 2)
        sound = steps(30_000)
        voice.write(sound)
        voice.finish()
        old = desk.current
        heard = [old.advance(2560)]
        with pytest.raises(RequestError):
            player.set_device("piano")
        changing = threading.Thread(target=player.set_device, args=("builtin",))
        changing.start()
        while changing.is_alive():
            heard.append(old.advance(256))
            time.sleep(0.001)
        assert player.status().name == "builtin"
        while not voice.finished:
            heard.append(desk.current.advance(2560))
        whole = np.concatenate(heard)
        played = whole[whole[:, 0] > 0]
        assert len(played) == len(sound)
        assert np.array_equal(played[:, 1], sound[:, 1] * played[:, 0])
        assert not old.active
        assert player.status().lost == 0


def test_a_device_that_stops_calling_back_is_lost(desk: Desk) -> None:
    stalling = RecoveryPolicy(stall=0.05, patience=60.0, retry=60.0)
    with desk.player(stalling) as player:
        player.start("usb")
        wait_until(lambda: any(event == PlayerEvent.DEVICE_LOST for event, _ in desk.events), "the stall is noticed")
        assert "no callback" in desk.events[1][1]["reason"]


def test_a_listener_that_fails_does_not_end_the_watchdog(desk: Desk) -> None:
    def fail(event: PlayerEvent, details: dict[str, Any]) -> None:
        raise RuntimeError("a defect of the listener")

    with Player(PlayerSettings(recovery=PATIENT), fail, desk.open) as player:
        player.start("usb")
        for _ in range(2):
            desk.unplug("usb")
            wait_until(lambda: player.status().state == "searching", "the loss is noticed")
            desk.rates["usb"] = 48_000
            wait_until(lambda: player.status().state == "playing", "the device is taken again")


def test_stop_all_and_gain(desk: Desk) -> None:
    with desk.player() as player:
        player.start("usb")
        voices = [player.open_voice(48_000, gain=0.5) for _ in range(3)]
        for voice in voices:
            voice.write(np.full(40_000, 0.5, np.float32))
        player.gain = 0.5
        assert desk.current.advance(2560)[-1, 0] == pytest.approx(0.375)
        player.stop(voices[0])
        assert desk.current.advance(512)[-1, 0] == pytest.approx(0.25)
        assert len(player.voices()) >= 2
        player.stop_all()
        assert not desk.current.advance(512)[-1].any()
        wait_until(lambda: player.status().voices == 0, "all voices are forgotten")
        with pytest.raises(RequestError):
            player.gain = -1.0


def test_the_number_of_voices_is_bounded(desk: Desk) -> None:
    with desk.player() as player:
        for _ in range(MAX_VOICES):
            player.open_voice(8000, lead_seconds=0.01, prebuffer_seconds=0.0)
        with pytest.raises(RequestError) as caught:
            player.open_voice(8000)
        assert caught.value.code == ErrorCode.BUSY


def test_a_player_can_be_closed_and_started_again(desk: Desk) -> None:
    player = desk.player()
    for _ in range(2):
        player.start("usb")
        player.open_voice(48_000).write(steps(1000)[:, 0])
        player.close()
        player.close()
        assert player.status().state == "stopped"
        assert not desk.current.active


def test_no_card_keeps_time() -> None:
    with Player() as player:
        player.start(NO_CARD)
        voice = player.open_voice(32_000)
        begun = time.monotonic()
        voice.write(np.full(9600, 0.5, np.float32))
        voice.finish()
        wait_until(lambda: voice.finished, "0.3 s of sound are over")
        assert time.monotonic() - begun >= 0.25, "it must not run ahead of the clock"
        assert player.status().host_api == PacedOutput.host_api


def test_without_portaudio_the_player_runs_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    events: list[tuple[PlayerEvent, dict[str, Any]]] = []
    with Player(on_event=lambda *event: events.append(event)) as player:
        with pytest.raises(RequestError, match="libportaudio2"):
            player.start("JACK")
        player.start()
        assert "libportaudio2" in events[0][1]["reason"]
        wait_until(lambda: player.status().callbacks > 3, "the clock runs")


def test_search_widens_when_patience_ends() -> None:
    search = Search("usb", RecoveryPolicy(patience=5.0, retry=1.0, retry_limit=3.0), now=100.0)
    tried = []
    now = 100.0
    while now < 120.0:
        if search.due(now):
            tried.append((now - 100.0, search.candidates(now, playing=False)))
            search.missed(now, playing=False)
        now += 0.5
    wide: list[DeviceChoice] = ["usb", None, NO_CARD]
    assert tried[:5] == [(0.0, ["usb"]), (1.0, ["usb"]), (3.0, ["usb"]), (5.0, wide), (8.0, wide)]
    assert search.candidates(now, playing=True) == ["usb"]
    assert Search(None, HASTY, 0.0).candidates(1.0, playing=False) == [None, NO_CARD]


def test_liveness() -> None:
    output = OfflineOutput(blocksize=480)
    output.open()
    watch = Liveness(output, RecoveryPolicy(stall=1.0), now=0.0)
    assert watch.verdict(0.9) == ""
    assert watch.verdict(1.8) == ""
    assert "no callback" in watch.verdict(2.0)
    output.advance(480)
    assert watch.verdict(2.1) == ""
    output.close()
    assert "ended" in watch.verdict(2.2)
