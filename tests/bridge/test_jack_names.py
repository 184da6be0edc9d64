"""The bridge on a JACK server: what it is called there, and where its outputs are led."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from daw_bridge.audio.card import CardOutput
from daw_bridge.audio.devices import scan_devices
from daw_bridge.audio.feeder import Feeder
from daw_bridge.audio.jack_names import JackChoice
from daw_bridge.audio.player import Player, PlayerSettings
from protocols.errors import ErrorCode, RequestError
from tests.support.jack import JackRecorder, JackServer, wait_until

BOTH = ["recorder:in_0", "system:playback_1"]
NOBODY = "nobody is called like this"
"""A prefix with which a recorder connects itself to nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JackServer]:
    server = JackServer()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    with server:
        yield server


def jack(server: JackServer, *command: str) -> str:
    done = subprocess.run(command, env={**os.environ, **server.environment}, capture_output=True, text=True)
    return done.stdout


def connections(server: JackServer, port: str) -> list[str]:
    """What a port is connected to."""
    lines = iter(jack(server, "jack_lsp", "-c").splitlines())
    found: list[str] = []
    for line in lines:
        if line == port:
            for partner in lines:
                if not partner.startswith(" "):
                    break
                found.append(partner.strip())
    return found


@pytest.fixture
def opened(server: JackServer) -> Iterator[Callable[[JackChoice], CardOutput]]:
    outputs: list[CardOutput] = []

    def open_card(choice: JackChoice) -> CardOutput:
        outputs.append(CardOutput("JACK", jack=choice))
        outputs[-1].open()
        return outputs[-1]

    yield open_card
    for output in outputs:
        output.close()


def test_it_is_called_by_its_name_and_connected_to_the_card(
    server: JackServer, opened: Callable[[JackChoice], CardOutput]
) -> None:
    output = opened(JackChoice())
    assert output.jack_client == "daw-bridge"
    assert connections(server, "daw-bridge:out_0") == ["system:playback_1"]
    assert connections(server, "daw-bridge:out_1") == ["system:playback_2"]
    scan_devices()
    assert "daw-bridge:out_0" in jack(server, "jack_lsp")
    assert opened(JackChoice("strings")).jack_client == "strings"
    assert opened(JackChoice("strings")).jack_client == "strings-01", "two bridges side by side"


def test_the_host_connects_where_it_is_told_to_connect_nothing(
    server: JackServer, opened: Callable[[JackChoice], CardOutput]
) -> None:
    opened(JackChoice(connect="None"))
    wait_until(lambda: not connections(server, "daw-bridge:out_0"), "it lets go of the card")
    wait_until(lambda: not connections(server, "daw-bridge:out_1"), "it lets go of the card")
    assert "daw-bridge:out_1" in jack(server, "jack_lsp")


def test_a_host_that_comes_later_is_connected_and_hears_it_bit_for_bit(server: JackServer, tmp_path: Path) -> None:
    sound = np.random.default_rng(9).uniform(-0.9, 0.9, (48_000, 2)).astype(np.float32)
    settings = PlayerSettings(jack=JackChoice(connect="recorder:in_., ^system:playback_[12]$"))
    with Player(settings) as player:
        player.start("JACK")
        for _ in range(3):
            with JackRecorder(server, tmp_path, NOBODY) as recorder:
                wait_until(lambda: sorted(connections(server, "daw-bridge:out_0")) == BOTH, "the host is found", 20)
                wait_until(lambda: "recorder:in_1" in connections(server, "daw-bridge:out_1"), "the other side too")
                play(player, sound)
                until = recorder.frames + 8192
                wait_until(lambda recorder=recorder, until=until: recorder.frames > until, "the rest")
                heard, xruns = recorder.recorded(), recorder.xruns
            if not xruns:
                break
        else:
            pytest.skip("this machine is too busy: JACK missed periods in each of three recordings")
    start = int(np.flatnonzero(heard[:, 0])[0])
    assert np.array_equal(heard[start + 240 : start + len(sound) - 240], sound[240:-240])


def play(player: Player, sound: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Feeder:
    """Play ``sound`` to its end."""
    voice = player.open_voice(48_000, 2, lead_seconds=2.0)
    assert voice.write(sound) == len(sound)
    voice.finish()
    wait_until(lambda: voice.finished, "the sound is over")
    return voice


def test_what_the_user_takes_apart_stays_apart(
    server: JackServer, opened: Callable[[JackChoice], CardOutput], tmp_path: Path
) -> None:
    opened(JackChoice(connect="system:playback_2, recorder:in_"))  # crosswise, which PortAudio does not do
    wait_until(lambda: connections(server, "daw-bridge:out_0") == ["system:playback_2"], "connected")
    jack(server, "jack_disconnect", "daw-bridge:out_0", "system:playback_2")
    # Whoever appears afterwards shows that the patch has looked again since.
    with JackRecorder(server, tmp_path, NOBODY):
        wait_until(lambda: connections(server, "daw-bridge:out_1") == ["recorder:in_1"], "the newcomer", 20)
        assert connections(server, "daw-bridge:out_0") == ["recorder:in_0"], "and nothing but that"


@pytest.mark.parametrize(
    ("name", "connect", "field"),
    [("a:b", "", "bridge.jack_name"), (" ", "", "bridge.jack_name"), ("a", "ardour:(", "bridge.jack_connect")],
)
def test_what_jack_does_not_take_is_refused(name: str, connect: str, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        JackChoice(name, connect)
    assert (caught.value.code, caught.value.field) == (ErrorCode.MALFORMED, field)


def test_patterns() -> None:
    assert JackChoice(connect=" a.* , ,b$ ").patterns == ["a.*", "b$"]
    assert JackChoice(connect="none").patterns == JackChoice(connect="").patterns == []
