"""What an engine loads to be ready with a small model, and what it leaves alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.own_models import write_own_model

READY = """
import json, os, sys
from engine.__main__ import _make
from protocols.settings import load_settings
flags = ["port=0", "osc_port=0", "oscquery=false", "zeroconf=false", "threads=1", f"model={sys.argv[1]}"]
process = _make(load_settings([*(f"engine.{flag}" for flag in flags), "files.journal=none"]))
process.stop()
process.run()
waiting = {name: os.environ.get(name) for name in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")}
print(json.dumps({"loaded": list(sys.modules), "waiting": waiting}))
"""
UNNEEDED = ("transformers", "torchaudio", "torch._dynamo", "sympy", "scipy.ndimage", "huggingface_hub", "ray")
"""Each of them takes longer than a small model."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in our own layout."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_own_model(folder)
    return folder


def test_a_model_of_ours_is_ready_without_the_heavy_libraries(model: Path) -> None:
    done = subprocess.run([sys.executable, "-c", READY, str(model)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert "torch" in told["loaded"]
    assert not set(UNNEEDED) & set(told["loaded"])
    assert told["waiting"] == {"GOMP_SPINCOUNT": "5000", "KMP_BLOCKTIME": "1"}
