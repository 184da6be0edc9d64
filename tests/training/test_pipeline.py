"""The whole pipeline in miniature: from nothing to a model, killed on the way, by the command that a user runs."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from engine.checkpoints import load_model
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.conditioning.score import FEATURES
from engine.evaluation.generation import Request, make_clips
from engine.runtime.spectral_codec import load_spectral_codec
from engine.training.checkpoint import load_checkpoint
from engine.training.codec.models import load_codec
from engine.training.data import Split
from engine.training.display import Display
from engine.training.lm.__main__ import make_parser, open_training
from engine.training.lm.trainer import LMTrainer
from engine.training.needs import check_rendering
from engine.training.package import package_model, status_of
from engine.training.pipeline import CODEC, DATA, LM, TOKENS, Run, codes_of, run_stages
from engine.training.recipes import RECIPES, Recipe, folder_recipe, read_recipe
from engine.training.stopping import Stop
from protocols.errors import ErrorCode, RequestError
from tests.support.processes import wait_until

pytestmark = pytest.mark.timeout(600)  # half a minute on a core of its own, which the tests may not have

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 400.0
SMALL_CODEC = {
    "num_codebooks": 2,
    "codebook_size": 32,
    "codebook_dim": 16,
    "encoder_dim": 48,
    "encoder_layers": 1,
    "decoder_dim": 48,
    "decoder_layers": 1,
}
MAIN = f"""
import sys
from functools import partial

if __name__ == "__main__":  # what renders imports this too, and needs no torch
    from engine.training.codec import __main__ as codec_stage
    from engine.training.data import build
    from engine.training.__main__ import main

    build._PIECES = 2
    codec_stage.make_spectral = partial(codec_stage.make_spectral, **{SMALL_CODEC})
    sys.exit(main(sys.argv[1:]))
"""
TINY = {
    "name": "tiny",
    "hours": 0.03,
    "held_out_hours": 0.01,
    "codec": {
        "bf16": False,
        "reconstruction_steps": 40,
        "quantised_steps": 40,
        "decoder_steps": 5,
        "refinement_steps": 5,
        "batch": 4,
        "crop_frames": 12,
        "learning_rate": 2e-3,
        "warmup_steps": 5,
        "mel_ramp": 20,
        "ema_decay": 0.9,
        "kmeans_crops": 64,
        "discriminator_filters": 4,
        "discriminator_crops": 1,
        "discriminator_frames": 4,
        "half": False,
        "log_every": 5,
        "evaluate_every": 40,
        "evaluation_crops": 4,
        "checkpoint_seconds": 3.0,
    },
    "lm": {
        "bf16": False,
        "dim": 32,
        "layers": 2,
        "heads": 2,
        "ff_dim": 64,
        "text_dim": 32,
        "text_layers": 1,
        "vocabulary": 200,
        "steps": 60,
        "batch": 4,
        "crop_frames": 100,
        "learning_rate": 5e-3,
        "warmup_steps": 5,
        "ema_decay": 0.9,
        "half": False,
        "log_every": 5,
        "evaluate_every": 20,
        "evaluation_crops": 4,
        "checkpoint_seconds": 3.0,
    },
}


class Command:
    """``python -m engine.training`` in a process of its own, with small shards and a small codec."""

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        script = folder / "main.py"
        script.write_text(MAIN)
        self.log = folder / "log"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, script, *arguments], stdin=subprocess.DEVNULL, stderr=log, env=environment
            )

    def end(self) -> int:
        """Its exit code."""
        return self.process.wait(LIMIT_S)

    def stop_when(self, condition: Any, number: int) -> int:
        """Send a signal at a moment of the training; its exit code."""
        try:
            wait_until(lambda: condition() or self.process.poll() is not None, LIMIT_S)
        finally:
            self.process.send_signal(number)
        return self.end()


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def refused(code: ErrorCode, field: str, call: Any) -> None:
    with pytest.raises(RequestError) as caught:
        call()
    assert (caught.value.code, caught.value.field) == (code, field)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything was made, by a command that was killed in one stage and stopped in another."""
    try:
        check_rendering()
    except RequestError as error:
        pytest.skip(error.text)
    folder = tmp_path_factory.mktemp("training")
    recipe = folder / "tiny.json"
    recipe.write_text(json.dumps(TINY))
    out = folder / "out"
    command = ["all", f"--folder={out}", f"--recipe={recipe}", "--threads=1", "--workers=1", "--device=cpu"]
    codec, lm = out / "codec", out / "lm"

    killed = Command(folder, command)
    code = killed.stop_when(
        lambda: (codec / "checkpoint.pt").is_file() and lines_of(codec / "metrics.jsonl"), signal.SIGKILL
    )
    assert code == -signal.SIGKILL, killed.log.read_text()
    assert not (out / "model").exists()

    stopped = Command(folder, command)
    code = stopped.stop_when(lambda: lines_of(lm / "metrics.jsonl"), signal.SIGTERM)
    assert code == 128 + signal.SIGTERM, stopped.log.read_text()
    assert 0 < load_checkpoint(lm / "checkpoint.pt")["step"] < TINY["lm"]["steps"]
    assert "the same command goes on" in stopped.log.read_text().lower()

    last = Command(folder, command[:2] + command[3:])  # the folder knows its recipe
    assert last.end() == 0, last.log.read_text()
    return out


@pytest.fixture(scope="module")
def trainer(trained: Path) -> LMTrainer:
    return open_training(
        make_parser().parse_args([f"--data={trained / 'tokens'}", f"--out={trained / 'lm'}", "--threads=1"])
    )


def test_every_loss_falls(trained: Path) -> None:
    codec = lines_of(trained / "codec" / "metrics.jsonl")
    joint = [line for line in codec if line["stage"] in ("reconstruction", "quantised")]
    for name in ("mel", "log_mel", "commitment"):  # the waveform's own loss takes thousands of steps to move
        values = [line[name] for line in joint if "gradient" in line and name in line]
        assert np.mean(values[-3:]) < 0.95 * np.mean(values[:2]), name
    lm = [line for line in lines_of(trained / "lm" / "metrics.jsonl") if "entropy" in line]
    for name in ("entropy", "entropy_0", "entropy_1"):
        assert lm[-1][name] < lm[0][name] - 0.2, name
    held_out = [
        line["heldout_entropy"] for line in lines_of(trained / "lm" / "metrics.jsonl") if "heldout_entropy" in line
    ]
    assert held_out[-1] < held_out[0]


def test_a_killed_and_a_stopped_stage_went_on(trained: Path) -> None:
    for stage, steps in (("codec", 90), ("lm", 60)):
        assert load_checkpoint(trained / stage / "checkpoint.pt")["step"] == steps
        counted = [line["step"] for line in lines_of(trained / stage / "metrics.jsonl")]
        assert counted == sorted(counted)
        assert counted[0] <= 5
        assert counted[-1] == steps
        assert (trained / stage / "curves.png").stat().st_size > 0
    assert folder_recipe(trained) == Recipe.from_dict(TINY)


def test_codes_are_those_of_the_codec(trained: Path) -> None:
    codec = load_spectral_codec(trained / "model" / "codec")
    for part in ("train", "held_out"):
        sound, tokens = Split(trained / "data" / part), Split(trained / "tokens" / part)
        assert [record.seed for record in tokens.records] == [record.seed for record in sound.records]
        audio = torch.from_numpy(sound.audio(0))
        assert torch.equal(codec.encode(audio[None]), torch.from_numpy(tokens.codes(0).astype(np.int64)))


def test_codec_decodes_to_what_its_training_gives(trained: Path) -> None:
    codes = torch.from_numpy(Split(trained / "tokens" / "held_out").codes(0, 0, 100).astype(np.int64))
    network: Any = load_codec(trained / "codec" / "export")
    network.load_state_dict(load_checkpoint(trained / "codec" / "checkpoint.pt")["averaged"])
    with torch.no_grad():
        latents = sum(
            torch.nn.functional.embedding(row, book.embed) for row, book in zip(codes, network.codebooks, strict=True)
        )
        wanted = network.decode(latents.T[None])[0]
    made = load_spectral_codec(trained / "model" / "codec").decode(codes)
    torch.testing.assert_close(made, wanted, rtol=1e-4, atol=1e-4)
    assert float(made.std()) > 1e-3


def test_model_is_a_musicgen_to_transformers(trained: Path, trainer: LMTrainer) -> None:
    ensure_torchaudio()
    from transformers import AutoTokenizer, MusicgenDecoderConfig, MusicgenForCausalLM, T5Config, T5EncoderModel

    folder = trained / "model"
    config = json.loads((folder / "config.json").read_text())
    state = load_file(folder / "model.safetensors")
    decoder: Any = MusicgenForCausalLM(MusicgenDecoderConfig(**config["decoder"])).eval()
    text: Any = T5EncoderModel(T5Config(**config["text_encoder"])).eval()
    for part, prefix in ((decoder, "decoder."), (text, "text_encoder.")):
        held = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        report = part.load_state_dict(held, strict=False)
        assert not report.unexpected_keys
        assert not [
            name for name in report.missing_keys if "embed_positions" not in name and "embed_tokens" not in name
        ]
    load: Any = AutoTokenizer.from_pretrained
    tokens = load(folder)("slow jazz in A minor, 92 bpm", return_tensors="pt")["input_ids"]
    card, books = config["decoder"]["vocab_size"], config["decoder"]["num_codebooks"]
    columns = torch.randint(0, card + 1, (1, books, 20), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        hidden = text(input_ids=tokens).last_hidden_state
        hidden = torch.nn.functional.linear(hidden, state["enc_to_dec_proj.weight"], state["enc_to_dec_proj.bias"])
        theirs = decoder(input_ids=columns.flatten(0, 1), encoder_hidden_states=hidden).logits
        ours = trainer.averaged(
            columns, torch.zeros(1, 20, FEATURES), tokens, torch.ones_like(tokens, dtype=torch.bool)
        )[0]
    torch.testing.assert_close(theirs.view(books, 20, card).transpose(0, 1), ours, rtol=1e-4, atol=1e-4)


def test_engine_makes_music_with_the_model(trained: Path) -> None:
    bundle = load_model(str(trained / "model"), device="cpu")
    assert (bundle.status, bundle.score, bundle.num_codebooks, bundle.card) == ("preview", True, 2, 32)
    assert (bundle.window_frames, bundle.stride_frames) == (100, 50)
    clips = make_clips(bundle, [Request("slow jazz, 92 bpm"), Request("fast rock")], Fraction(3), seed=1)
    for clip in clips:
        assert clip.shape == (96_000,)
        assert np.isfinite(clip).all()
        assert clip.std() > 1e-4
    assert not np.array_equal(*clips)


def test_model_card_tells_what_is_true(trained: Path) -> None:
    text = (trained / "model" / "README.md").read_text()
    assert "**Status: preview.**" in text
    assert "60 of 60" in text
    assert "license: mit" in text
    entropy = [line for line in lines_of(trained / "lm" / "metrics.jsonl") if "heldout_entropy" in line][-1]
    assert f"{entropy['heldout_entropy']:.4g}" in text


def test_training_goes_on_from_a_model(trained: Path, tmp_path: Path) -> None:
    """What is tuned keeps codec, words and shape, and begins with the model's weights."""
    out = tmp_path / "tuned"
    options = [f"--folder={out}", f"--from={trained / 'model'}", "--threads=1", "--workers=1", "--device=cpu"]
    changes = [
        "lm.steps=4",
        "lm.batch=2",
        "lm.crop_frames=64",
        "lm.evaluation_crops=2",
        "lm.bf16=false",
        "lm.half=false",
    ]
    changes += ["hours=0.01", "held_out_hours=0.01", "lm.learning_rate=1e-9"]
    assert Command(tmp_path, ["all", *options, *(f"--set={change}" for change in changes)]).end() == 0, (
        tmp_path / "log"
    ).read_text()
    before, after = (load_file(folder / "model" / "model.safetensors") for folder in (trained, out))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-6)
    assert codes_of(out / "model" / "codec") == codes_of(trained / "model" / "codec")
    assert not (out / "codec").exists()
    # Another model's codes do not fit this codec.
    assert Command(tmp_path, ["lm", f"--folder={out}", f"--from={trained}"]).end() == 2


def test_stages_say_what_is_missing(tmp_path: Path) -> None:
    run = Run(tmp_path / "none", RECIPES["miniature"], Stop(), Display(Console(quiet=True)))
    for stage, wanted in (("codec", DATA), ("tokens", CODEC), ("lm", TOKENS), ("export", LM)):
        with pytest.raises(RequestError, match=f"daw-bridge train {wanted}") as caught:
            run_stages([stage], run)
        assert (caught.value.code, caught.value.field) == (ErrorCode.NOT_FOUND, wanted)
    assert not (tmp_path / "none").exists()


def test_status_needs_gates_that_are_all_met() -> None:
    gate = {"value": 0.8, "bound": 0.7, "met": True}
    assert status_of({"gates": {"tempo": gate}}) == "trained"
    for evaluation in (
        None,
        {},
        {"gates": {}},
        {"gates": []},
        {"gates": {"tempo": gate, "key": {**gate, "met": False}}},
        {"gates": {"tempo": {"value": 1}}},
        {"gates": {"tempo": "yes"}},
    ):
        assert status_of(evaluation) == "preview"  # type: ignore[arg-type]


def test_package_refuses_what_does_not_fit(trained: Path, tmp_path: Path) -> None:
    def make(**changes: Any) -> None:
        values: dict[str, Any] = {
            "lm": trained / "lm" / "export",
            "codec": trained / "model" / "codec",
            "folder": tmp_path / "model",
            "status": "preview",
            "window_seconds": Fraction(2),
            "stride_seconds": Fraction(1),
            "card_facts": {"name": "test"},
        } | changes
        package_model(**values)

    refused(ErrorCode.OUT_OF_RANGE, "status", lambda: make(status="good"))
    refused(ErrorCode.OUT_OF_RANGE, "stride_seconds", lambda: make(stride_seconds=Fraction(3)))
    refused(ErrorCode.NOT_FOUND, "model", lambda: make(lm=tmp_path))
    refused(ErrorCode.NOT_FOUND, "codec", lambda: make(codec=tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").touch()
    refused(ErrorCode.NOT_ALLOWED, "out", lambda: make(folder=other))
    assert (other / "mine.txt").is_file()
    assert not (tmp_path / "model").exists()
    make()
    make(
        status="trained",
        card_facts={"name": "again", "evaluation": {"gates": {"tempo": {"value": 0.8, "bound": 0.7, "met": True}}}},
    )
    text = (tmp_path / "model" / "README.md").read_text()
    assert "| tempo | 0.8 | 0.7 | yes |" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "other"]


def test_recipes_are_read_and_checked(tmp_path: Path) -> None:
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert Recipe.from_dict(recipe.to_dict()) == recipe
    changed = RECIPES["pocket"].changed(["hours=2", "codec.batch=8", "lm.bf16=false", "lm.learning_rate=1e-4"])
    assert (changed.hours, changed.codec.batch, changed.lm.bf16, changed.lm.learning_rate) == (2.0, 8, False, 1e-4)
    assert changed.settings_in("lm", ["hours=0.5", "codec.batch=8", "lm.bf16=false"]) == {"bf16": False}
    for change, code in {
        "hours": ErrorCode.UNKNOWN_PARAMETER,
        "lm.stepz=1": ErrorCode.UNKNOWN_PARAMETER,
        "codec=1": ErrorCode.UNKNOWN_PARAMETER,
        "lm.steps=many": ErrorCode.BAD_TYPE,
        "lm.bf16=1": ErrorCode.BAD_TYPE,
        "lm.steps=0": ErrorCode.OUT_OF_RANGE,
        "hours=-1": ErrorCode.OUT_OF_RANGE,
        "codec.batch=0": ErrorCode.OUT_OF_RANGE,
    }.items():
        with pytest.raises(RequestError) as caught:
            RECIPES["pocket"].changed([change])
        assert caught.value.code is code, change
    path = tmp_path / "mine.json"
    for content, field in (
        ("[1]", "recipe"),
        ("{", "recipe"),
        ('{"hour": 1}', "hour"),
        ('{"hours": "1"}', "hours"),
        ('{"lm": {"steps": "9"}}', "steps"),
        ('{"lm": 3}', "lm"),
        ('{"codec": {"step": 3}}', "step"),
    ):
        path.write_text(content)
        with pytest.raises(RequestError) as caught:
            read_recipe(str(path))
        assert caught.value.field == field, content
    path.write_text('{"hours": 3}')
    assert (read_recipe(str(path)).name, read_recipe(str(path)).hours) == ("mine", 3)
    refused(ErrorCode.NOT_FOUND, "recipe", lambda: read_recipe("nothing"))


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(caplog: pytest.LogCaptureFixture) -> None:
    screen = io.StringIO()
    with caplog.at_level(logging.INFO):
        with Display(Console(file=screen, force_terminal=True, width=100)).bar("data", 4, lines=True) as advance:
            advance(1, "a quarter")
        assert "25%" in screen.getvalue()
        assert "a quarter" in screen.getvalue()
        assert not caplog.messages
        with Display(Console(file=screen, force_terminal=False)).bar("data", 4, lines=True) as advance:
            advance(3, "three quarters")
    assert caplog.messages == ["data: 3 of 4  three quarters"]


def test_a_missing_renderer_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from engine.training import needs

    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    monkeypatch.setattr(needs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"pip install 'daw-bridge\[train\]'"):
        check_rendering()
    monkeypatch.setattr(needs.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(RequestError, match="to install it"):
        check_rendering()
    monkeypatch.setitem(sys.modules, "fluidsynth", object())
    monkeypatch.setattr("audio_files.soundfonts.SOUNDFONTS", (tmp_path / "none.sf2",))
    with pytest.raises(RequestError, match="--soundfont FILE"):
        check_rendering()
    refused(ErrorCode.NOT_FOUND, "soundfont", lambda: check_rendering(tmp_path / "none.sf2"))
    assert needs.system_line(lambda name: name if name == "dnf" else None).startswith("sudo dnf")
    assert "fluidsynth.org" in needs.system_line(lambda name: None)
