"""A real card with an input: PortAudio's duplex stream on a JACK server without hardware, its output patched to its input.

Within JACK the way from a client's output to its own input takes exactly one period.
"""

from __future__ import annotations

import operator
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daw_bridge.audio.bar_recorder import BarRecorder
from daw_bridge.audio.capture import Bus
from daw_bridge.audio.card import CardOutput
from daw_bridge.audio.devices import SAME, InputChoice, scan_devices
from daw_bridge.audio.feeder import Feeder
from daw_bridge.audio.player import Player, PlayerSettings
from daw_bridge.audio.recovery import RecoveryPolicy
from daw_bridge.osc_client import OscClient
from protocols.bridge_messages import BridgeReport, BridgeStatus, DeviceList, Devices, InputState, SetInput
from protocols.errors import ErrorCode, RequestError
from tests.support.jack import JackServer, patch_back, wait_until
from tests.support.processes import running

PERIOD = 1024
RECOVERY = RecoveryPolicy(patience=30.0, retry=0.1, retry_limit=0.3)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JackServer]:
    server = JackServer(period=PERIOD)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    with server:
        yield server


def duplex(name: str = SAME) -> PlayerSettings:
    return PlayerSettings(recovery=RECOVERY, source=InputChoice(name))


def play_at(player: Player, sound: np.ndarray[Any, np.dtype[np.float32]], ahead: int) -> tuple[Feeder, int]:
    """Play ``sound`` from a frame of the card on; the voice and the frame."""
    output = player._output
    assert output is not None
    voice = player.open_voice(48_000, 2, lead_seconds=4.0, scheduled=True)
    assert voice.write(sound) == len(sound)
    voice.finish()
    frame = output.meters.frames + ahead
    voice.schedule(output, frame)
    return voice, frame


def test_what_is_played_comes_back_a_period_later_bit_for_bit(server: JackServer) -> None:
    sound = np.random.default_rng(7).uniform(-0.9, 0.9, (60_000, 2)).astype(np.float32)
    with Player(duplex()) as player:
        player.start("JACK")
        status = player.status()
        assert (status.input, status.inputs, status.input_reason) == ("system", 2, "")
        patch_back(server)
        for _ in range(3):
            lost = (player.listen(Bus.INPUT).gaps, player.listen(Bus.OUTPUT).gaps)
            _, frame = play_at(player, sound, 24_000)
            played, heard = player.listen(Bus.OUTPUT), player.listen(Bus.INPUT)
            # What a performer plays in time is looked for a round trip later; JACK's own loop takes but a period.
            early = frame + PERIOD - heard.delay
            bars = BarRecorder(heard, early, early + 50_000, 480)
            mix = BarRecorder(played, frame, frame + 50_000, 480)

            def over(bars: BarRecorder = bars, mix: BarRecorder = mix) -> bool:
                bars.pump()
                mix.pump()
                return bars.done and mix.done

            wait_until(over, "both recordings are whole", 20.0)
            if lost == (heard.gaps, played.gaps):
                break
        else:
            pytest.skip("this machine is too busy: JACK missed periods in each of three recordings")
        assert bars.recorded is not None
        assert mix.recorded is not None
        assert (bars.recorded.gaps, mix.recorded.gaps) == (0, 0)
        assert np.array_equal(mix.recorded.samples[240:], sound[240 : 50_000 + 480]), "from the frame it was asked for"
        assert np.array_equal(bars.recorded.samples, mix.recorded.samples), "and back exactly one period later"
        before = player.capture(Bus.INPUT, early - PERIOD, PERIOD)
        assert not before.any()
        assert player.capture(Bus.INPUT, early, 1000).any()
        assert heard.delay == 3 * PERIOD, "JACK's dummy driver: one period in, two out"
        assert player.captured_until(Bus.OUTPUT) % PERIOD == 0
        assert 0.5 < heard.level(2.0) <= 0.9
        assert player.status().faults == 0


def test_the_input_is_taken_up_and_put_down_while_sound_goes_on(server: JackServer) -> None:
    events: list[dict[str, Any]] = []
    ramp = (np.arange(1, 96_001, dtype=np.float32) / 96_000)[:, None].repeat(2, 1)
    with Player(PlayerSettings(recovery=RECOVERY), lambda _, details: events.append(details)) as player:
        player.start("JACK")
        with pytest.raises(RequestError, match="/bridge/input"):
            player.listen(Bus.INPUT)
        voice = player.open_voice(48_000, 2, lead_seconds=3.0)
        assert voice.write(ramp) == len(ramp)
        voice.finish()
        wait_until(lambda: voice.status().played > 4000, "it plays")
        first = player.listen(Bus.OUTPUT)
        player.set_input(InputChoice(SAME, 1))
        second = player.listen(Bus.OUTPUT)
        assert (player.status().inputs, player.listen(Bus.INPUT).channels, first.alive) == (1, 1, False)
        with pytest.raises(RequestError, match=": system") as caught:
            player.set_input(InputChoice("no such microphone"))
        assert (caught.value.code, caught.value.field) == (ErrorCode.UNKNOWN_DEVICE, "input")
        assert (second.alive, player.status().inputs) == (True, 1), "what was there is kept"
        wait_until(lambda: voice.finished, "all of it is played", 20.0)
        pieces = [bus.read(bus.oldest, bus.latest - bus.oldest)[:, 0] for bus in (first, second)]
        played = np.concatenate([piece[piece > 0] for piece in pieces])
        assert len(played) == len(ramp)
        # Between the two it faded out and in; where it did not, each frame is the next.
        level = played / ramp[:, 0]
        assert np.count_nonzero(np.abs(level - 1) > 1e-6) <= 4 * 240
        player.set_input(InputChoice("none"))
        assert player.status().inputs == 0
    assert [(event["input"], event["inputs"]) for event in events] == [("", 0), ("system", 1), ("", 0)]


def test_an_input_that_is_not_there_leaves_the_output_alone(server: JackServer) -> None:
    events: list[dict[str, Any]] = []
    with Player(duplex("Scarlett"), lambda _, details: events.append(details)) as player:
        player.start("JACK")
        status = player.status()
        assert (status.state, status.inputs) == ("playing", 0)
        assert "Scarlett" in status.input_reason
        assert events[0]["input_reason"] == status.input_reason
        wait_until(lambda: player.captured_until(Bus.OUTPUT) > 0, "it plays")
        with pytest.raises(RequestError, match="Scarlett"):
            player.listen(Bus.INPUT)


def test_an_input_that_does_not_open_leaves_the_output_alone(
    server: JackServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The card process gets a sounddevice whose duplex streams are refused, or take PortAudio down with them."""
    for fault, code in (("raise real.PortAudioError('busy')", "unsupported"), ("os.abort()", "internal")):
        (tmp_path / "sounddevice.py").write_text(
            "import importlib.util, os, sys\n"
            "here = os.path.dirname(__file__)\n"
            "sys.path = [entry for entry in sys.path if entry != here]\n"
            "del sys.modules['sounddevice']\n"
            "import sounddevice as real\n"
            f"def refuse(*args, **settings):\n    {fault}\n"
            "real.Stream = refuse\n"
            "sys.modules['sounddevice'] = real\n"
        )
        with monkeypatch.context() as patched:
            patched.syspath_prepend(tmp_path)
            output = CardOutput("JACK", source=InputChoice(SAME))
            output.open()
            try:
                assert output.active
                assert (output.inputs, output.channels) == (0, 2)
                assert output.input_refusal is not None
                assert (output.input_refusal.code, output.input_refusal.field) == (code, "input")
                played = output.capture(Bus.OUTPUT)
                wait_until(partial(operator.attrgetter("latest"), played), "it plays")
            finally:
                output.close()


def test_after_a_crash_of_the_server_the_input_is_there_again(server: JackServer) -> None:
    with Player(duplex()) as player:
        player.start("JACK")
        bus = player.listen(Bus.INPUT)
        recording = BarRecorder(bus, bus.latest, bus.latest + 48_000 * 60)
        server.end(signal.SIGKILL)

        def ended() -> bool:
            recording.pump()
            return recording.error is not None

        wait_until(ended, "the recording ends with its card")
        server.start()
        wait_until(lambda: player.status().state == "playing", "the player is back")
        assert player.status().inputs == 2
        again = player.listen(Bus.INPUT)
        wait_until(lambda: again.latest > again.oldest, "the input is heard again")
        assert not bus.alive


def test_a_host_finds_sets_and_drops_the_input_of_a_bridge_that_runs(server: JackServer, tmp_path: Path) -> None:
    settings = [
        "bridge.output=JACK",
        "bridge.osc_port=0",
        "bridge.engine=tcp://127.0.0.1:1",
        f"files.takes={tmp_path}",
        f"files.templates={tmp_path / 'templates.toml'}",
        "files.state=none",
    ]
    with running("daw_bridge", settings, tmp_path / "log") as bridge, OscClient(bridge.ports["osc_port"]) as host:
        listed = host.call(Devices())
        assert isinstance(listed, DeviceList)
        assert [(one.inputs, one.chosen, one.recorded) for one in listed.items if one.name == "system"] == [
            (2, True, False)
        ]
        taken = host.call(SetInput(name=SAME, channels=1))
        assert isinstance(taken, InputState)
        assert (taken.name, taken.channels, taken.round_trip_ms) == ("system", 1, 3 * PERIOD / 48)
        with pytest.raises(RequestError, match=": system"):
            host.call(SetInput(name="no such microphone"))
        report = host.call(BridgeStatus())
        assert isinstance(report, BridgeReport)
        assert (report.state, report.input, report.input_channels) == ("playing", "system", 1)
        assert host.call(SetInput(name="none")) == host.call(SetInput())


def test_devices_tell_their_inputs(server: JackServer) -> None:
    jack = [device for device in scan_devices() if device.host_api.startswith("JACK")]
    assert [(device.channels, device.inputs, device.host_api_default_input) for device in jack] == [(2, 2, True)]
