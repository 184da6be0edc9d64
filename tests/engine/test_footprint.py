"""How much memory a model needs, told before it is loaded: the formula against what loading really takes, and the refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from engine.checkpoints import footprint, headroom, load_model
from engine.checkpoints.catalogue import CATALOGUE
from engine.checkpoints.footprint import Footprint, of_entry, of_folder
from engine.memory import weights_of
from engine.runtime.linear import Linear
from protocols.catalogue import EVERYTHING, MODELS
from protocols.errors import ErrorCode, RequestError
from tests.support.audiocraft_checkpoints import write_audiocraft_checkpoint
from tests.support.own_models import write_own_model
from tests.support.tiny_checkpoints import write_tiny_checkpoint

MB = 1 << 20

MEASURE = """
import json, sys
import torch
from engine.checkpoints import load_model
from engine.memory import hand_back, weights_of
from engine.models import LoadedModel
from protocols.messages import Generate
from protocols.settings import EngineSettings, Settings

def private():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

load_model(sys.argv[2], device="cpu")  # what libraries take when they are used first is not the model's
hand_back()
before = private()
model = LoadedModel.load(sys.argv[1], "cpu", "float32", Settings(engine=EngineSettings(threads=1)))
plan = model.admission.plan(Generate(prompt="a song", duration=1.1, seed=0), b"")
stream = model.preparation.prepare(0, plan).stream
with torch.inference_mode():
    while not stream.sampler.done:
        stream.advance()
print(json.dumps([private() - before, weights_of(model.bundle)]))
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads what Linux tells of a process")
def test_the_formula_says_what_loading_takes(tiny: Path, tmp_path: Path) -> None:
    # Large enough that what the allocator does by the way is small beside it: 15 million weights.
    folder = write_tiny_checkpoint(tmp_path / "model", dim=384, layers=6, heads=6, max_positions=600)
    config = json.loads((folder / "config.json").read_text())
    config["daw_bridge"] = {"window_seconds": 1, "stride_seconds": 0.5}  # so that a short stream goes beyond the window
    (folder / "config.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder), str(tiny)], capture_output=True, text=True, timeout=100, check=True
    )
    taken, weights = json.loads(done.stdout.splitlines()[-1])
    needed = of_folder(folder)
    assert needed is not None
    # The weights to a per cent; with caches, and without what a step takes while it computes, to a fifth.
    assert needed.weights * 4 + needed.others * 4 == pytest.approx(weights, rel=0.01)
    assert needed.bytes("cpu", "float32") - footprint.WORK_BYTES == pytest.approx(taken, rel=0.2)


def test_every_layout_tells_its_weights_without_their_being_read(tiny: Path, tmp_path: Path) -> None:
    own, old = tmp_path / "own", Path(shutil.copytree(tiny, tmp_path / "old"))
    write_own_model(own)
    torch.save(load_file(old / "model.safetensors"), old / "pytorch_model.bin")
    (old / "model.safetensors").unlink()
    for folder in (tiny, old, own):
        bundle = load_model(str(folder), device="cpu", dtype="float32")
        found = of_folder(folder)
        assert found is not None
        assert (found.weights + found.others) * 4 == pytest.approx(weights_of(bundle), rel=0.03)


@pytest.mark.parametrize(
    ("kind", "form"), [("musicgen", "exported"), ("melody", "training"), ("stereo", "legacy"), ("audiogen", "exported")]
)
def test_an_audiocraft_checkpoint_tells_its_weights(tmp_path: Path, kind: Any, form: Any) -> None:
    folder = write_audiocraft_checkpoint(tmp_path / "model", kind, form=form, codec_form=form, seconds=20)
    bundle, found = load_model(str(folder), device="cpu", dtype="float32"), of_folder(folder)
    assert found is not None
    lm = bundle.lm
    numbers = sum(p.numel() for p in lm.parameters()) + sum(
        m.packed_numbers for m in lm.modules() if isinstance(m, Linear)
    )
    assert found.weights - footprint.POSITIONS * 48 == pytest.approx(numbers, rel=0.01)
    assert found.cache == 2 * 2 * 2 * 3 * 48 * 1000
    assert found.others == pytest.approx(bundle.parameters - numbers, rel=0.2)


def header(content: str) -> bytes:
    return len(content).to_bytes(8, "little") + content.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        header("{}"),
        b"\xff" * 64,
        header("[" * 100_000),
        header('{"decoder.w": {"shape": [' + "9" * 400 + "]}}"),
        header('{"decoder.w": {"shape": [-5]}}'),
    ],
    ids=["empty", "short", "bare", "long", "deep", "vast", "negative"],
)
def test_a_damaged_folder_tells_nothing_and_is_left_to_the_loader(tmp_path: Path, content: bytes) -> None:
    decoder = {"hidden_size": 4, "num_hidden_layers": 1, "max_position_embeddings": 1}
    (tmp_path / "config.json").write_text(json.dumps({"decoder": decoder}))
    (tmp_path / "model.safetensors").write_bytes(content)
    assert of_folder(tmp_path) is None
    assert of_folder(tmp_path / "nowhere") is None


def test_a_model_that_does_not_fit_is_refused_and_told_what_would() -> None:
    needed = of_entry(CATALOGUE["musicgen-large"])
    rss = psutil.Process().memory_info().rss // MB
    with pytest.raises(RequestError) as error:
        headroom.check_room("musicgen-large", needed, "cpu", "float32", rss + 5000)
    assert error.value.code == ErrorCode.NO_MEMORY
    assert "GB in float32 on cpu" in error.value.text
    assert f"engine.memory_limit_mb = {rss + 5000}" in error.value.text
    assert "musicgen-small (3.8 GB)" in error.value.text
    assert "musicgen-medium" not in error.value.text
    with pytest.raises(RequestError, match="bfloat16"):
        headroom.check_room("musicgen-medium", of_entry(CATALOGUE["musicgen-medium"]), "cpu", "float32", rss + 9000)
    headroom.check_room("whatever", None, "cpu", "float32", 1)


def test_loading_asks_before_anything_is_loaded(tiny: Path) -> None:
    with pytest.raises(RequestError) as error:
        load_model(str(tiny), device="cpu", memory_limit_mb=1)
    assert error.value.code == ErrorCode.NO_MEMORY
    with pytest.raises(RequestError) as error:  # before it is downloaded, too
        load_model("musicgen-large", device="cpu", memory_limit_mb=1)
    assert error.value.code == ErrorCode.NO_MEMORY


def group(root: Path, line: str, folder: str, **files: str) -> Path:
    (root / "proc" / "self").mkdir(parents=True, exist_ok=True)
    (root / "proc" / "self" / "cgroup").write_text(line + "\n")
    target = root / "sys/fs/cgroup" / folder
    target.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (target / name.replace("__", ".")).write_text(content + "\n")
    return root


def test_containers_set_bounds(tmp_path: Path) -> None:
    assert headroom.container_room(tmp_path) is None
    new = group(
        tmp_path / "v2",
        "0::/a/b",
        "a",
        memory__max="1000",
        memory__current="700",
        memory__stat="inactive_file 200\nx 1",
    )
    assert headroom.container_room(new) == 500
    group(new, "0::/a/b", "a/b", memory__max="max", memory__current="700", memory__stat="")
    assert headroom.container_room(new) == 500, "the parent's bound holds where there is none below"
    group(new, "0::/a/b", "a/b", memory__max="800", memory__current="700", memory__stat="")
    assert headroom.container_room(new) == 100
    facts = {
        "memory__limit_in_bytes": "1000",
        "memory__usage_in_bytes": "400",
        "memory__stat": "total_inactive_file 50",
    }
    old = group(tmp_path / "v1", "8:cpu:/c\n4:memory:/c", "memory/c", **facts)
    assert headroom.container_room(old) == 650
    # In a container the path may be the host's, which is not there: then the mount itself is the group.
    inside = group(tmp_path / "in", "4:memory:/docker/123", "memory", **facts)
    assert headroom.container_room(inside) == 650


def test_the_catalogue_s_shapes_give_the_sizes_that_are_known() -> None:
    for name, parameters in (("small", 0.42e9), ("medium", 1.84e9), ("large", 3.26e9)):
        assert MODELS[f"musicgen-{name}"].lm_parameters == pytest.approx(parameters, rel=0.01)
    bundle = load_model("pocket", device="cpu", dtype="float32")
    found = of_entry(CATALOGUE["pocket"])
    assert found is not None
    assert (found.weights + found.others) * 4 == pytest.approx(weights_of(bundle), rel=0.02)
    for entry in EVERYTHING.values():
        assert entry.hub_id or entry.name == "pocket"
        assert set(entry.needs) <= set(EVERYTHING)
        assert entry.shape is None or entry.shape.dim % entry.shape.heads == 0
    large = Footprint(10**9, 10**8, cache=10**9, tables=10**7)
    sizes = [large.bytes("cpu", precision) for precision in ("bfloat16", "float32")]
    assert sizes == sorted(sizes)
    # Rounded to few bits it takes less while it plays, but all of it is there first.
    assert 4e9 < large.bytes("cpu", "int8") < 1.1 * (5.04e9 + 4e8) + footprint.WORK_BYTES
    assert Footprint(100, 10).bytes("cuda", "float16") < Footprint(100, 10).bytes("cpu", "float32")


def test_what_is_chosen_by_itself_is_counted_as_what_it_comes_to() -> None:
    streaming, segments = Footprint(10**9, 10**8, cache=10**9), Footprint(10**9, 10**8)
    for needed, device, precision in (
        (streaming, "cpu", "int8"),
        (segments, "cpu", "float32"),
        (streaming, "cuda:0", "float16"),
    ):
        assert needed.precision(device) == precision
        assert needed.bytes(device, "auto") == needed.bytes(device, precision)
    assert streaming.precision("cpu", "bfloat16") == "bfloat16"
