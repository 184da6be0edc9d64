"""What a request asks for that means nothing to the model is told in the stream's note, and what models hear in their list."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.admission import Admission
from engine.checkpoints import load_model
from engine.checkpoints.bundle import ModelBundle
from engine.entries import models_in_memory
from engine.library.__main__ import main
from protocols.errors import RequestError
from protocols.fields import build
from protocols.messages import Generate
from protocols.settings import Settings
from tests.support.audiocraft_checkpoints import write_audiocraft_checkpoint
from tests.support.jasco_checkpoint import write_jasco_checkpoint
from tests.support.magnet_checkpoint import write_magnet_checkpoint


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelBundle]:
    folder = tmp_path_factory.mktemp("models")
    folders = [
        write_audiocraft_checkpoint(folder / "musicgen", "musicgen", seconds=1),
        write_magnet_checkpoint(folder / "magnet"),
        write_jasco_checkpoint(folder / "jasco"),
    ]
    return {path.name: load_model(str(path), device="cpu") for path in folders}


@pytest.mark.parametrize(
    ("name", "asked", "note"),
    [
        ("musicgen", {}, ""),
        ("musicgen", {"temperature": 0.5, "top_k": 30, "guidance": 5.0, "steps": ""}, ""),
        ("musicgen", {"steps": "4 2 2 2"}, "steps means nothing to musicgen"),
        (
            "musicgen",
            {"spans": "stride1", "final_guidance": 2.0, "text_guidance": 1.0},
            "spans, final_guidance and text_guidance mean nothing to musicgen",
        ),
        (
            "musicgen",
            {"style_detail": 0, "style_start": 1.0, "double_guidance": 4.0},
            "double_guidance and style_start mean nothing to musicgen",
        ),
        ("magnet", {"steps": "4 2 2 2", "spans": "stride1", "final_guidance": 2.0}, ""),
        ("magnet", {"text_guidance": 2.0}, "text_guidance means nothing to magnet"),
        ("jasco", {"steps": "5", "text_guidance": 2.0}, ""),
        ("jasco", {"top_k": 30, "spans": "stride1"}, "top_k and spans mean nothing to jasco"),
    ],
)
def test_settings_without_meaning_are_told(
    models: dict[str, ModelBundle], name: str, asked: dict[str, object], note: str
) -> None:
    request = build(Generate, {"prompt": "x", "duration": 0.5, **asked})
    assert Admission(models[name], Settings()).plan(request, b"").note == note


def test_passes_may_be_sent_as_a_number() -> None:
    assert build(Generate, {"prompt": "x", "steps": 50}, cast=True).steps == "50"
    assert build(Generate, {"prompt": "x", "steps": 50.0}, cast=True).steps == "50"


def test_the_list_says_what_models_of_ones_own_hear(models: dict[str, ModelBundle]) -> None:
    heard = {row.name: row.hears for row in models_in_memory(models["jasco"], models.values())}
    assert heard == {"musicgen": "text", "magnet": "text", "jasco": "text, chords, drums, melody"}


def test_a_checkpoint_of_ones_own_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_audiocraft_checkpoint(tmp_path / "mine", "audiogen")
    assert main(["show", str(folder), "--device", "cpu"]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (shown["name"], shown["layout"], shown["path"]) == ("mine", "AudioCraft", str(folder))
    assert "million" in shown["weights"]
    assert main(["show", str(tmp_path), "--device", "cpu"]) != 0


def test_a_folder_that_is_none_of_ours_says_what_one_has(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"config\.json .*state_dict\.bin or checkpoint\.th"):
        load_model(str(tmp_path))
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(RequestError, match="rather than a file"):
        load_model(str(tmp_path / "a.wav"))
