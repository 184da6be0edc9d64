"""The style of a recording on its way through the bridge: read here, sent along, remembered for changes and scenes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile

from audio_files.regions import read_region
from daw_bridge.asked import Asked
from daw_bridge.asking import prepare, takes_a_while
from daw_bridge.changing import changes_of
from daw_bridge.forwarding import Forwarding
from daw_bridge.heard_recordings import region_of
from daw_bridge.scenes.scene import Scene
from daw_bridge.stream_table import StreamTable
from daw_bridge.style_sound import style_sound
from daw_bridge.wording import Facts, Wording
from protocols.bridge_messages import AudioNotes, BridgeUpdate, Play, PlayContinue, PlayOpen
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Continue, Done, Generate, Open, Update
from protocols.settings import FileSettings
from tests.support.facts import WELCOME

STYLED = msgspec.structs.replace(WELCOME, style_seconds=3.0)
ASKER: Any = SimpleNamespace()


@pytest.fixture
def files(tmp_path: Path) -> FileSettings:
    ramp = np.stack([np.arange(44_100 * 6) / 1e6, np.zeros(44_100 * 6)], axis=1)
    soundfile.write(tmp_path / "a.wav", ramp, 44_100, subtype="FLOAT")
    soundfile.write(tmp_path / "prompt.wav", np.full(8000, 0.25), 32_000, subtype="FLOAT")
    return FileSettings(allowed=[str(tmp_path)], takes=str(tmp_path))


def test_the_excerpt_is_sent_along(tmp_path: Path, files: FileSettings) -> None:
    path = str(tmp_path / "a.wav")
    request = Play(
        prompt="strings", style="soft", style_path=path, style_start=1.0, style_detail=2, double_guidance=5.0
    )
    assert takes_a_while(request, STYLED, None)
    prepared = prepare(request, STYLED, files)
    message = prepared.message
    assert isinstance(message, Generate)
    assert message.prompt == "strings, soft", "words for a template are something else"
    assert (message.style_path, message.style_start, message.style_samples) == ("", 0.0, 96_000)
    assert (message.style_detail, message.double_guidance) == (2, 5.0)
    sound = np.frombuffer(prepared.payload, "<f4")
    assert len(sound) == 96_000
    assert sound[48_000] == pytest.approx(44_100 * 2.5 / 1e6 / 2, rel=1e-3), "both channels' mean, from second 1 on"


def test_every_recording_is_resampled_as_the_model_wants_it(tmp_path: Path, files: FileSettings) -> None:
    path = tmp_path / "noise.wav"
    soundfile.write(path, np.random.RandomState(1).uniform(-1, 1, 44_100), 44_100, subtype="FLOAT")
    for resampling in ("soxr", "sinc"):
        welcome = msgspec.structs.replace(STYLED, resampling=resampling)
        region = read_region(path, sample_rate=32_000, channels=1, allowed_folders=None, resampling=resampling)
        sound = region.audio.tobytes()
        assert style_sound(Play(style_path=str(path), style_length=1.0), welcome, files) == sound
        assert prepare(PlayContinue(path=str(path)), welcome, files).payload == sound
        assert region_of(AudioNotes(name="a", path=str(path)), welcome, files)[1] == sound


def test_it_comes_after_the_prompts_samples(tmp_path: Path, files: FileSettings) -> None:
    path = str(tmp_path / "a.wav")
    for request in (
        PlayContinue(path=str(tmp_path / "prompt.wav"), style_path=path, style_length=2.0),
        PlayOpen(path=str(tmp_path / "prompt.wav"), style_path=path, style_length=2.0),
    ):
        prepared = prepare(request, STYLED, files)
        assert isinstance(prepared.message, Continue | Open)
        assert prepared.message.style_samples == 64_000
        assert prepared.message.style_length == 2.0
        assert len(prepared.payload) == 4 * (8000 + 64_000)
        assert np.all(np.frombuffer(prepared.payload, "<f4")[:8000] == 0.25)


@pytest.mark.parametrize(
    ("values", "field", "code"),
    [
        ({"style_path": "/nowhere.wav"}, "style_path", None),
        ({"style_start": 7.0}, "style_start", ErrorCode.OUT_OF_RANGE),
    ],
)
def test_errors_name_the_styles_parameters(
    tmp_path: Path, files: FileSettings, values: dict[str, Any], field: str, code: ErrorCode | None
) -> None:
    request = msgspec.structs.replace(Play(style_path=str(tmp_path / "a.wav")), **values)
    with pytest.raises(RequestError) as refused:
        prepare(request, STYLED, files)
    assert refused.value.field == field
    assert code in (None, refused.value.code)


def test_a_model_that_hears_no_styles_says_so(tmp_path: Path, files: FileSettings) -> None:
    with pytest.raises(RequestError, match="hears styles") as refused:
        style_sound(Play(style_path=str(tmp_path / "a.wav")), WELCOME, files)
    assert (refused.value.code, refused.value.field) == (ErrorCode.UNSUPPORTED, "style_path")
    assert style_sound(Play(), WELCOME, files) == b""


def test_another_place_is_one_in_the_same_file() -> None:
    asked = Asked().after(PlayOpen(style_path="a.wav", style_start=2.0, style_length=4.0), None)
    assert asked.excerpt(BridgeUpdate(stream=1, prompt="x")) == {}
    assert asked.excerpt(BridgeUpdate(stream=1, style_start=3.0)) == {
        "style_path": "a.wav",
        "style_start": 3.0,
        "style_length": 4.0,
    }
    other = BridgeUpdate(stream=1, style_path="b.wav")
    assert asked.excerpt(other) == {"style_path": "b.wav", "style_start": 0.0, "style_length": 0.0}
    assert asked.after(other, None).excerpt(BridgeUpdate(stream=1, style_length=2.0))["style_path"] == "b.wav"
    streams: list[Any] = [SimpleStream(number, Wording(asked=asked)) for number in (1, 2)]
    updates, wordings = changes_of(BridgeUpdate(stream=0, style_start=3.0), streams, None, None)
    assert updates == [Update(stream=0, style_path="a.wav", style_start=3.0, style_length=4.0)]
    assert {
        wording.asked.excerpt(BridgeUpdate(stream=1, style_length=1.5))["style_start"] for wording in wordings.values()
    } == {3.0}


class SimpleStream:
    def __init__(self, number: int, wording: Wording) -> None:
        self.number, self.wording = number, wording


def test_a_scene_holds_a_style() -> None:
    opened = PlayOpen(prompt="strings", style_path="a.wav", style_start=2.0, style_detail=2, double_guidance=4.0)
    scene = Scene.of_stream(Wording(facts=Facts(prompt="strings"), asked=Asked().after(opened, None)), 0.0)
    kept = Scene.read(msgspec.to_builtins(scene))
    update = kept.update("one", 3, None)
    assert (update.style_path, update.style_start, update.style_detail, update.double_guidance) == (
        "a.wav",
        2.0,
        2,
        4.0,
    )
    assert kept.opening("one", {}).style_path == "a.wav"
    without = Scene.of_stream(Wording(asked=Asked().after(PlayOpen(prompt="x"), None)), 0.0)
    assert without.update("two", 3, None).style_path == "", "the scene without a style takes it away"


class Host:
    """A bridge whose engine takes what it gets."""

    def __init__(self, welcome: Any = STYLED) -> None:
        self.welcome = welcome
        self.sent: list[tuple[Any, bytes]] = []
        self.answers: list[Any] = []

    def ready_engine(self) -> Any:
        return self

    def request(self, message: Any, answer: Any, payload: bytes = b"") -> None:
        self.sent.append((message, payload))
        answer(Done())

    def named_notes(self, request: Any, asker: Any) -> None:
        return None

    def read(self, work: Any, asker: Any, go: Any) -> None:
        go(work())

    def done(self, asker: Any, reply: Any) -> None:
        self.answers.append(reply)

    def fail(self, asker: Any, error: RequestError) -> None:
        self.answers.append(error.field)


def test_a_change_sends_the_excerpt(tmp_path: Path, files: FileSettings) -> None:
    host: Any = Host()
    forwarding = Forwarding(host, StreamTable(), files)
    forwarding.change(BridgeUpdate(stream=0, style_path=str(tmp_path / "a.wav"), double_guidance=2.0), ASKER, None)
    ((message, payload),) = host.sent
    assert (message.style_path, message.style_samples, message.double_guidance) == ("", 96_000, 2.0)
    assert len(payload) == 4 * 96_000
    assert host.answers == [Done()]
    forwarding.change(BridgeUpdate(stream=0, style_path=""), ASKER, None)
    assert host.sent[1] == (Update(stream=0, style_path=""), b"")
    forwarding.change(BridgeUpdate(stream=0, style_path="/nowhere.wav"), ASKER, None)
    assert (len(host.sent), host.answers[-1]) == (2, "style_path")
