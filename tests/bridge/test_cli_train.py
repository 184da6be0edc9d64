"""``daw-bridge train``: the command that turns into a training, run as it is typed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from daw_bridge.cli.failures import CannotStart
from daw_bridge.cli.train import check_packages, missing_packages
from engine.runtime.spectral_codec import save_spectral_network
from engine.runtime.spectral_network import SpectralConfig, SpectralNetwork
from engine.training.checkpoint import load_checkpoint
from engine.training.composer import compose
from engine.training.data.records import record_of
from engine.training.data.shards import CODES, write_shard
from engine.training.pipeline import codes_of
from tests.support.processes import wait_until

pytestmark = pytest.mark.timeout(400)  # seconds on a core of its own, which the tests may not have

MAIN = "from daw_bridge.cli import main; main()"
LIMIT_S = 300.0


def run(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", before + MAIN, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "DAW_BRIDGE_SETTINGS": "/nonexistent"},
        check=False,
    )


def test_help_is_the_trainings_own() -> None:
    assert "train" in run("--help").stdout
    for arguments, wanted in {
        ("train",): "one after the other",
        ("train", "--help"): "one after the other",
        ("train", "lm", "--help"): "--learning-rate",
        ("train", "codec", "-h"): "--quantised-steps",
        ("train", "data", "--help"): "--audio DIR",
    }.items():
        done = run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert wanted in done.stdout


def test_a_recipe_is_printed_as_json() -> None:
    done = run("train", "recipe", "miniature")
    assert done.returncode == 0
    assert '"reconstruction_steps"' in done.stdout


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("lm", "--steps=0"), "out_of_range: steps = 0 (allowed: 1 or more)"),
        (("lm", "--steps=many"), "invalid int value"),
        (("all", "--set", "lm.stepz=3"), "unknown_parameter: set = lm.stepz=3"),
        (("codec", "--no-such-option"), "unrecognized arguments"),
        (("nothing",), "invalid choice"),
        (("data", "--hours=-1"), "out_of_range: hours = -1.0"),
        (("data", "--audio=/nonexistent"), "not_found: audio = /nonexistent"),
        (("lm", "--from=/nonexistent"), "not_found: from = /nonexistent"),
        (("all", "--recipe=nothing"), "not_found: recipe = nothing"),
    ],
)
def test_wrong_input_is_told_in_one_line(tmp_path: Path, arguments: tuple[str, ...], wanted: str) -> None:
    done = run("train", *arguments, *(() if arguments == ("nothing",) else (f"--folder={tmp_path / 'new'}",)))
    assert done.returncode == 2
    assert wanted in done.stderr.splitlines()[-1]
    assert not (tmp_path / "new").exists(), "nothing is begun with wrong input"


def test_missing_packages_are_named_with_the_line_that_installs_them() -> None:
    assert missing_packages(lambda module: None) == ["matplotlib", "pyfluidsynth"]
    assert missing_packages(lambda module: module) == []
    with pytest.raises(CannotStart, match=r"matplotlib.*-m pip install 'daw-bridge\[train\]'"):
        check_packages(["all"], ["matplotlib"])
    check_packages(["lm", "--help"], ["matplotlib"])
    without = "import importlib.util as u; held = u.find_spec; u.find_spec = lambda n: n != 'matplotlib' and held(n) or None; "
    done = run("train", "all", before=without)
    assert done.returncode == 2
    assert done.stderr.startswith("daw-bridge: training needs matplotlib, not installed here; to install: ")


def test_command_line_loads_no_torch() -> None:
    code = "import sys, daw_bridge.cli.train; sys.exit(any(name.split('.')[0] in ('torch', 'engine') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], timeout=LIMIT_S, check=False).returncode == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training with made-up codes of an untrained codec, which is all that a language model's training looks at."""
    folder = tmp_path_factory.mktemp("training")
    codec = folder / "codec" / "frozen"
    save_spectral_network(SpectralNetwork(SpectralConfig(encoder_dim=8, encoder_layers=1, decoder_dim=8)), codec)
    (folder / "codec" / "FROZEN").touch()
    for part, seed in (("train", 1), ("held_out", 25)):
        codes = np.arange(800).reshape(400, 2) % 24
        write_shard(folder / "tokens" / part, 0, CODES, Fraction(50), [codes], [record_of(compose(seed), 0, 400)], 24)
    (folder / "tokens" / "train" / "recipe.json").write_text(json.dumps({"encoder": codes_of(codec)}))
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_the_training_when_its_state_is_saved(folder: Path, number: int) -> None:
    """The second one goes on where the first one was stopped."""
    checkpoint, metrics = folder / "lm" / "checkpoint.pt", folder / "lm" / "metrics.jsonl"
    before = load_checkpoint(checkpoint)["step"] if checkpoint.is_file() else 0
    lines = len(metrics.read_bytes().splitlines()) if metrics.is_file() else 0
    shape = (
        "--dim=16",
        "--layers=1",
        "--heads=2",
        "--ff-dim=32",
        "--text-dim=32",
        "--text-layers=1",
        "--vocabulary=60",
    )
    settings = (
        "--batch=2",
        "--crop-frames=32",
        "--evaluation-crops=2",
        "--no-bf16",
        "--log-every=5",
        "--steps=1000000",
    )
    arguments = ["train", "lm", f"--folder={folder}", "--device=cpu", "--threads=1", *shape, *settings]
    with subprocess.Popen([sys.executable, "-c", MAIN, *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: metrics.is_file() and len(metrics.read_bytes().splitlines()) > lines, LIMIT_S)
            process.send_signal(number)
            _, said = process.communicate(timeout=LIMIT_S)
        finally:
            process.kill()
    assert process.returncode == 128 + number
    assert "the same command goes on" in said.lower()
    assert load_checkpoint(checkpoint)["step"] >= before + 5
