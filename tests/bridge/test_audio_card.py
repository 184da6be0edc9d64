"""A real sound card process: PortAudio on a JACK server without hardware, heard by another JACK client."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from daw_bridge.audio.card import CardOutput
from daw_bridge.audio.card_process import DeviceOutput
from daw_bridge.audio.devices import Device, child_environment, scan_devices
from daw_bridge.audio.feeder import Feeder
from daw_bridge.audio.player import Player, PlayerSettings
from daw_bridge.audio.recovery import RecoveryPolicy
from protocols.errors import ErrorCode, RequestError
from tests.support.jack import JackRecorder, JackServer, wait_until


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JackServer]:
    server = JackServer()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    with server:
        yield server


def write_all(voice: Feeder, sound: NDArray[np.float32]) -> None:
    """Write everything as room appears, then end the stream."""
    written = 0

    def done() -> bool:
        nonlocal written
        written += voice.write(sound[written:])
        return written == len(sound)

    wait_until(done, "all sound is taken", 30.0)
    voice.finish()


def test_the_devices_are_listed(server: JackServer) -> None:
    jack = [device for device in scan_devices() if device.host_api.startswith("JACK")]
    assert [(device.name, device.sample_rate, device.host_api_default) for device in jack] == [("system", 48_000, True)]


def record(player: Player, recorder: JackRecorder, sound: NDArray[np.float32]) -> Feeder:
    """Play ``sound`` to its end and a little beyond while the recorder listens."""
    wait_until(lambda: recorder.wired, "the recorder hears the player")
    voice = player.open_voice(48_000, 2, lead_seconds=0.5)
    write_all(voice, sound)
    wait_until(lambda: voice.finished, "the sound is over")
    until = recorder.frames + 8192
    wait_until(lambda: recorder.frames > until, "the recorder has the rest")
    return voice


def test_what_is_played_is_heard_bit_for_bit(server: JackServer, tmp_path: Path) -> None:
    sound = np.random.default_rng(7).uniform(-0.9, 0.9, (96_000, 2)).astype(np.float32)
    with Player() as player:
        player.start("JACK")
        for _ in range(3):
            with JackRecorder(server, tmp_path) as recorder:
                voice = record(player, recorder, sound)
            if not recorder.xruns:
                break
        else:
            pytest.skip("this machine is too busy: JACK missed periods in each of three recordings")
        status = player.status()
    heard = recorder.recorded()
    start = int(np.flatnonzero(heard[:, 0])[0])
    assert np.array_equal(heard[start + 240 : start + 96_000 - 240], sound[240:-240])
    assert not heard[start + 96_000 :].any()
    assert (voice.status().underruns, status.faults, status.blocksize) == (0, 0, 1024)
    assert voice.status().played == 96_000


def test_the_sound_goes_on_when_the_server_crashes_and_returns_at_another_rate(
    server: JackServer, tmp_path: Path
) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    recovery = RecoveryPolicy(patience=30.0, retry=0.1, retry_limit=0.3)
    frequency = 441.0
    seconds = 4
    sine = (0.5 * np.sin(2 * np.pi * frequency * np.arange(32_000 * seconds) / 32_000)).astype(np.float32)
    with Player(PlayerSettings(recovery=recovery), lambda *event: events.append(event)) as player:
        player.start("JACK")
        voice = player.open_voice(32_000, lead_seconds=float(seconds))
        assert voice.write(sine) == len(sine)
        voice.finish()
        wait_until(lambda: voice.status().played > 8000, "some of it is played")
        server.end(signal.SIGKILL)
        wait_until(lambda: player.status().state == "searching", "the loss is noticed")
        reached = voice.status().played
        server.start(44_100)
        wait_until(lambda: player.status().state == "playing", "the player is back")
        with JackRecorder(server, tmp_path) as recorder:
            wait_until(lambda: recorder.wired, "the recorder hears the player")
            wait_until(lambda: voice.finished, "the rest is played")
        heard = recorder.recorded()[:, 0]
        status = player.status()
    assert status.sample_rate == 44_100
    assert reached < len(sine) - 32_000
    assert voice.status().played == len(sine)
    assert [event for event, _ in events] == ["device_opened", "device_lost", "device_opened"]
    loud = np.flatnonzero(np.abs(heard) > 0.4)
    assert len(loud) > 0.5 * 44_100 * 0.2
    middle = heard[loud[0] : loud[-1]]
    # A period that JACK missed for want of processor time is a jump that is not ours.
    if not recorder.xruns:
        assert np.abs(np.diff(middle)).max() < 2 * np.pi * frequency / 44_100 * 0.5 * 1.01, "one sine without a jump"
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) / len(middle) * 44_100 == pytest.approx(frequency, abs=2.0)


def test_a_card_process_that_is_killed_is_replaced(server: JackServer) -> None:
    recovery = RecoveryPolicy(patience=30.0, retry=0.1, retry_limit=0.3)
    with Player(PlayerSettings(recovery=recovery)) as player:
        player.start("JACK")
        voice = player.open_voice(48_000)
        voice.write(np.full(96_000, 0.1, np.float32))
        wait_until(lambda: voice.status().played > 2000, "it plays")
        process = player._output._process  # type: ignore[union-attr]
        process.kill()
        wait_until(lambda: player.status().lost == 1 and player.status().state == "playing", "a new process plays")
        reached = voice.status().played
        wait_until(lambda: voice.status().played > reached, "the sound goes on")


def test_without_the_server_the_player_falls_back_and_returns(server: JackServer) -> None:
    recovery = RecoveryPolicy(patience=0.1, retry=0.1, retry_limit=0.3)
    with Player(PlayerSettings(recovery=recovery)) as player:
        player.start("JACK")
        voice = player.open_voice(32_000, lead_seconds=30.0)
        voice.write(np.full(32_000 * 30, 0.1, np.float32))
        server.end()
        wait_until(lambda: player.status().state == "fallback", "something else takes over")
        reached = voice.status().played
        wait_until(lambda: voice.status().played > reached + 3200, "the stream goes on")
        server.start()
        wait_until(lambda: player.status().state == "playing", "JACK is taken again", 20.0)
        assert player.status().host_api.startswith("JACK")


def test_an_unknown_device_is_named(server: JackServer) -> None:
    with pytest.raises(RequestError, match="JACK Audio Connection Kit/system") as caught:
        CardOutput("no such card").open()
    assert caught.value.code == ErrorCode.UNKNOWN_DEVICE


def test_a_rate_that_the_card_refuses_gives_the_cards_own(server: JackServer) -> None:
    output = CardOutput("JACK", channels=16, sample_rate=22_050)
    output.open()
    try:
        assert (output.sample_rate, output.channels) == (48_000, 2)
    finally:
        output.close()
        output.close()
    assert not output.active


def test_the_card_process_does_not_outlive_the_bridge(server: JackServer) -> None:
    script = (
        "import os\nfrom daw_bridge.audio.card import CardOutput\n"
        "output = CardOutput('JACK')\noutput.open()\n"
        "print(output._process.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    bridge = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=child_environment(), timeout=30
    )
    assert bridge.returncode == -signal.SIGKILL
    card = int(bridge.stdout)

    def gone() -> bool:
        try:
            os.kill(card, 0)
        except ProcessLookupError:
            return True
        # An orphan without a reaper stays as a zombie, which has no command line.
        return Path(f"/proc/{card}/cmdline").exists() and not Path(f"/proc/{card}/cmdline").read_bytes()

    wait_until(gone, "the card process has ended")


def test_voices_come_and_go_without_a_trace(server: JackServer) -> None:
    folder = Path("/dev/shm")
    before = set(folder.glob("daw-bridge-*"))
    output = CardOutput("JACK")
    output.open()
    try:
        for _ in range(20):
            feeder = Feeder(48_000, lead_seconds=0.1)
            feeder.attach(output)
            feeder.detach()
        feeder = Feeder(48_000)
        feeder.attach(output)
        feeder.write(np.full(9600, 0.1, np.float32))
        feeder.finish()
        wait_until(lambda: feeder.finished, "the card still plays")
        assert output.meters.faults == 0
        maps = Path(f"/proc/{output._process.pid}/maps")  # type: ignore[union-attr]
        if maps.exists():
            # The meters, what is kept of the output, and the one voice that is still there.
            wait_until(lambda: maps.read_text().count("daw-bridge-") <= 3, "the card has let go of the others")
    finally:
        output.close()
    assert set(folder.glob("daw-bridge-*")) <= before


def test_the_callback_does_not_wait_for_this_process(server: JackServer) -> None:
    with Player() as player:
        player.start("JACK")
        voice = player.open_voice(48_000)
        voice.write(np.full(96_000, 0.1, np.float32))
        wait_until(lambda: voice.status().played > 1024, "it plays")
        before = player.status().callbacks
        sum(range(20_000_000))  # one call into C that never gives the interpreter lock away
        assert player.status().callbacks - before >= 4
        assert voice.status().underruns == 0


@pytest.mark.parametrize(
    ("told", "believed"), [(0.012, 0.012), (0.0, 0.0), (89_478.464, 2 * 1024 / 48_000), (-1.0, 2 * 1024 / 48_000)]
)
def test_a_latency_that_is_none_is_not_believed(told: float, believed: float) -> None:
    """PipeWire's JACK told a day, and clocks would have been a day late."""

    class Stream:
        latency = told
        active = True

        def __init__(self, callback: Any, **settings: Any) -> None:
            self._callback = callback

        def start(self) -> None:
            times = SimpleNamespace(outputBufferDacTime=told, currentTime=0.0)
            self._callback(np.zeros((1024, 2), np.float32), 1024, times, None)

        def close(self, ignore_errors: bool) -> None: ...

    module = SimpleNamespace(OutputStream=Stream, PortAudioError=OSError, check_output_settings=lambda *a, **k: None)
    output = DeviceOutput(module, Device(0, "null", "JACK", 2, 48_000, True, True))  # type: ignore[arg-type]
    output.open()
    assert output.latency == pytest.approx(believed)
    output.close()
