"""From a name to a bundle: the catalogue, folders that are fine or damaged, the hub, the pocket model, devices."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.checkpoints import CATALOGUE, devices, find_source, load_model
from engine.checkpoints.bundle import ModelBundle, fingerprint_of, window_in_frames
from engine.checkpoints.pocket import REVISION, pocket_folder
from engine.checkpoints.section import OwnSection
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from protocols.errors import ErrorCode, RequestError
from tests.support.tiny_checkpoints import TEXTS, write_tiny_checkpoint

ROOT = Path(__file__).resolve().parents[2]


def run_python(program: str, *arguments: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    return finished.stdout.strip()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint in a folder that may be damaged."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def edit_config(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config))


def refused(name: str | Path, **arguments: str) -> RequestError:
    with pytest.raises(RequestError) as error:
        load_model(str(name), **({"device": "cpu"} | arguments))  # type: ignore[arg-type]
    return error.value


def logits_of(bundle: ModelBundle) -> torch.Tensor:
    text = bundle.text.encode(TEXTS[0])
    session = bundle.lm.session([bundle.lm.condition(text.hidden, text.mask)], 3)
    logits: torch.Tensor = bundle.lm(torch.arange(4 * 3).view(1, 4, 3), session)
    return logits


# --- a folder


def test_a_folder_becomes_a_bundle(tiny: Path) -> None:
    bundle = load_model(str(tiny), device="cpu", dtype="float32")
    assert bundle.name == tiny.name
    assert (bundle.status, bundle.score) == ("trained", False)
    assert (bundle.sample_rate, bundle.channels, bundle.hop_length) == (32_000, 1, 640)
    assert bundle.frame_rate == Fraction(50)
    assert (bundle.num_codebooks, bundle.card, bundle.delays) == (4, 64, (0, 1, 2, 3))
    assert (bundle.device, bundle.dtype) == (torch.device("cpu"), torch.float32)
    # 30 s do not fit the 256 positions of this LM: the window shrinks and the stride with it.
    assert bundle.window_frames == 256 - 3
    assert bundle.stride_frames == 253 * 900 // 1500
    weights = sum(p.numel() for p in load_reference(tiny).parameters())
    assert bundle.parameters == weights


def load_reference(folder: Path) -> Any:
    from transformers import MusicgenForConditionalGeneration

    return MusicgenForConditionalGeneration.from_pretrained(folder)


def test_shards_and_bin_files_load_the_same(tiny: Path, copy: Path, tmp_path: Path) -> None:
    expected = logits_of(load_model(str(tiny), device="cpu", dtype="float32"))
    sharded = write_tiny_checkpoint(tmp_path / "sharded", max_shard_size="200KB")
    assert len(list(sharded.glob("model-*.safetensors"))) > 1
    torch.testing.assert_close(logits_of(load_model(str(sharded), device="cpu", dtype="float32")), expected)
    state = load_reference(tiny).state_dict()
    (copy / "model.safetensors").unlink()
    torch.save(state, copy / "pytorch_model.bin")
    torch.testing.assert_close(logits_of(load_model(str(copy), device="cpu", dtype="float32")), expected)


def test_a_checkpoint_may_name_its_own_window(copy: Path) -> None:
    edit_config(copy, lambda config: config.update(daw_bridge={"window_seconds": 2.5, "stride_seconds": 2}))
    bundle = load_model(str(copy), device="cpu", dtype="float32")
    assert (bundle.window_frames, bundle.stride_frames) == (125, 100)


@pytest.mark.parametrize(
    ("section", "status"),
    [({}, "trained"), ({"trained": False}, "untrained"), ({"status": "preview"}, "preview"), (None, "trained")],
)
def test_a_checkpoint_may_say_how_far_it_is(section: dict[str, Any] | None, status: str) -> None:
    config = {} if section is None else {"daw_bridge": section}
    assert OwnSection.read(config).status == status


def test_window_in_frames() -> None:
    rate = Fraction(50)
    assert window_in_frames(rate, 2045, Fraction(30), Fraction(18)) == (1500, 900)
    assert window_in_frames(rate, 500, Fraction(30), Fraction(18)) == (500, 300)
    assert window_in_frames(rate, 2045, Fraction(10), Fraction(18)) == (500, 499)


def test_the_fingerprint_follows_the_content(tiny: Path, copy: Path, tmp_path: Path) -> None:
    fingerprint = load_model(str(tiny), device="cpu", dtype="float32").fingerprint
    assert load_model(str(copy), device="cpu", dtype="float32").fingerprint == fingerprint
    other = write_tiny_checkpoint(tmp_path / "other", seed=2)
    assert load_model(str(other), device="cpu", dtype="float32").fingerprint != fingerprint
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(5 << 20))
    before = fingerprint_of([large])
    large.write_bytes(bytes((5 << 20) - 1) + b"\1")
    assert fingerprint_of([large]) != before


@pytest.mark.parametrize(
    ("damage", "code", "named"),
    [
        (lambda f: (f / "config.json").unlink(), ErrorCode.NOT_FOUND, "config.json"),
        (lambda f: (f / "config.json").write_text("{"), ErrorCode.MALFORMED, "config.json"),
        (lambda f: (f / "config.json").write_text("[]"), ErrorCode.UNSUPPORTED, "model_type"),
        (lambda f: edit_config(f, lambda c: c.update(model_type="t5")), ErrorCode.UNSUPPORTED, "model_type = t5"),
        (
            lambda f: edit_config(f, lambda c: c["decoder"].update(activation_function="relu")),
            ErrorCode.UNSUPPORTED,
            "decoder.activation_function = relu",
        ),
        (
            lambda f: edit_config(f, lambda c: c["decoder"].update(num_attention_heads=7)),
            ErrorCode.MALFORMED,
            "num_heads",
        ),
        (
            lambda f: edit_config(f, lambda c: c["decoder"].update(num_hidden_layers=4)),
            ErrorCode.MALFORMED,
            "decoder.model.decoder.layers.3",
        ),
        (
            lambda f: edit_config(f, lambda c: c.update(daw_bridge={"window_seconds": "long"})),
            ErrorCode.MALFORMED,
            "daw_bridge.window_seconds",
        ),
        (
            lambda f: edit_config(f, lambda c: c.update(daw_bridge={"status": "done"})),
            ErrorCode.MALFORMED,
            "daw_bridge.status = done",
        ),
        (
            lambda f: edit_config(f, lambda c: c["decoder"].update(scale_embedding=True)),
            ErrorCode.UNSUPPORTED,
            "decoder.scale_embedding = True",
        ),
        (lambda f: (f / "model.safetensors").unlink(), ErrorCode.NOT_FOUND, "model*.safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\0" * 100), ErrorCode.MALFORMED, "weights that load"),
        (lambda f: (f / "tokenizer.json").unlink(), ErrorCode.NOT_FOUND, "tokenizer.json"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), ErrorCode.MALFORMED, "tokenizer"),
    ],
)
def test_a_damaged_folder_names_what_is_wrong(
    copy: Path, damage: Callable[[Path], object], code: ErrorCode, named: str
) -> None:
    damage(copy)
    error = refused(copy)
    assert error.code == code
    assert named in error.text


# --- names


def test_the_catalogue() -> None:
    assert next(iter(CATALOGUE)) == "pocket"
    for name in ("small", "medium", "large", "stereo-small", "stereo-medium", "stereo-large"):
        entry = CATALOGUE[f"musicgen-{name}"]
        assert entry.hub_id == f"facebook/musicgen-{name}"
        assert entry.channels == (2 if "stereo" in name else 1)
        assert entry.status == "trained"
        assert find_source(entry.name).hub_id == entry.hub_id


def test_a_name_may_be_a_folder_or_a_hub_id(tiny: Path) -> None:
    assert find_source(str(tiny)).folder == tiny
    assert find_source("someone/some-model").hub_id == "someone/some-model"
    assert find_source("pocket").hub_id is None


@pytest.mark.parametrize("name", ["musicgen-tiny", "", "/no/such/folder", "a/b/c", "../x"])
def test_an_unknown_name_lists_the_choices(name: str) -> None:
    error = refused(name)
    assert error.code == ErrorCode.UNKNOWN_MODEL
    assert "musicgen-small" in error.text
    assert "pocket" in error.text


def test_a_model_on_the_hub_is_its_downloaded_folder(monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
    asked: list[str] = []

    def located(hub_id: str, patterns: object) -> Path:
        asked.append(hub_id)
        return tiny

    monkeypatch.setattr("engine.checkpoints.hub.located", located)
    bundle = load_model("musicgen-small", device="cpu", dtype="float32")
    assert bundle.name == "musicgen-small"
    assert load_model("someone/else", device="cpu", dtype="float32").fingerprint == bundle.fingerprint
    assert asked == ["facebook/musicgen-small", "someone/else"]


# --- devices


def test_devices_of_this_machine() -> None:
    assert devices.pick_device("cpu") == torch.device("cpu")
    assert devices.pick_device("auto") == torch.device(devices.available_devices()[0])
    for wrong in ("cuda:99", "tpu", ""):
        with pytest.raises(RequestError, match="auto") as error:
            devices.pick_device(wrong)
        assert error.value.code == ErrorCode.UNKNOWN_DEVICE


def test_precision() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda:0")
    assert devices.pick_dtype("auto", cpu) == torch.float32
    assert devices.pick_dtype("auto", gpu) == torch.float16
    assert devices.pick_dtype("bfloat16", cpu) == torch.bfloat16
    with pytest.raises(RequestError, match="bfloat16"):
        devices.pick_dtype("int8", cpu)


# --- the pocket model


def test_two_processes_make_one_pocket_model(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from engine.checkpoints.pocket import pocket_folder as f; "
    program += "print(f(Path(sys.argv[1])))"
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    folders = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert folders == {str(tmp_path / f"pocket-{REVISION}")}
    assert [path.name for path in tmp_path.iterdir()] == [f"pocket-{REVISION}"]

    bundle = load_model("pocket", device="cpu", dtype="float32", pocket_directory=tmp_path)
    assert (bundle.name, bundle.status) == ("pocket", "untrained")
    assert (bundle.sample_rate, bundle.channels, bundle.num_codebooks) == (32_000, 1, 4)
    assert bundle.frame_rate == Fraction(50)
    assert (bundle.window_frames, bundle.stride_frames) == (1500, 900)

    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(0, bundle.card, (bundle.num_codebooks, 1500), generator=generator)
    audio = bundle.codec.decode(codes)
    level = 20 * audio.square().mean().sqrt().log10()
    assert level == pytest.approx(-20, abs=1)
    assert audio.abs().max() < 0.9
    assert audio.mean().abs() < 1e-3

    words = bundle.text.encode("a slow techno beat")
    assert words.hidden.shape[0] == 5  # one token per word and the end
    assert not bundle.text.encode("ζ 🎻").is_null

    again = pocket_folder(tmp_path / "again")
    assert load_model(str(again), device="cpu", dtype="float32").fingerprint == bundle.fingerprint


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError) as error:
        pocket_folder(tmp_path / "file" / "models")
    assert error.value.code == ErrorCode.NOT_ALLOWED


# --- imports


def test_importing_checkpoints_is_cheap() -> None:
    heavy = run_python(
        "import sys, engine.checkpoints; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    assert heavy == "[]"


def test_torchaudio_works_after_the_guard() -> None:
    assert ensure_torchaudio()
    import torchaudio
    from transformers import MusicgenForConditionalGeneration, MusicgenMelodyForConditionalGeneration

    assert MusicgenForConditionalGeneration.__name__ != MusicgenMelodyForConditionalGeneration.__name__
    assert torchaudio.functional.resample(torch.zeros(1, 441), 44_100, 32_000).shape == (1, 320)
    mel = torchaudio.transforms.MelSpectrogram(16_000, n_fft=400, n_mels=20)
    assert mel(torch.zeros(1, 1600)).shape[:2] == (1, 20)


GUARD = """
import sys, logging
sys.path.insert(0, sys.argv[1])
logging.basicConfig(stream=sys.stdout, level="INFO", format="%(levelname)s")
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
print(ensure_torchaudio(), ensure_torchaudio())
import torchaudio
print(torchaudio.EXTENSION, torchaudio._extension.__file__.startswith(sys.argv[1]))
"""


def fake_torchaudio(folder: Path, load: str, package: str = "") -> None:
    extension = folder / "torchaudio" / "_extension"
    extension.mkdir(parents=True)
    (extension.parent / "__init__.py").write_text(f"from ._extension import EXTENSION\n{package}\n")
    (extension / "__init__.py").write_text("from .utils import _load_lib\nEXTENSION = _load_lib('_torchaudio')\n")
    (extension / "utils.py").write_text(f"def _load_lib(lib):\n    {load}\n")


def test_a_torchaudio_that_loads_is_left_alone(tmp_path: Path) -> None:
    fake_torchaudio(tmp_path, "return True")
    assert run_python(GUARD, str(tmp_path)).split() == ["True", "True", "True", "True"]


def test_an_extension_that_does_not_load_is_left_out(tmp_path: Path) -> None:
    fake_torchaudio(tmp_path, "raise OSError('libcudart.so.13')")
    assert run_python(GUARD, str(tmp_path)).split() == ["INFO", "True", "True", "False", "True"]


def test_a_torchaudio_broken_otherwise_says_so(tmp_path: Path) -> None:
    fake_torchaudio(tmp_path, "return True", package="raise ImportError('no such thing')")
    with pytest.raises(subprocess.CalledProcessError) as error:
        run_python(GUARD, str(tmp_path))
    assert "ImportError: no such thing" in error.value.stderr


def test_no_torchaudio_at_all() -> None:
    program = "import sys; sys.modules['torchaudio'] = None; "
    program += "from engine.checkpoints.torchaudio_guard import ensure_torchaudio as e; print(e())"
    assert run_python(program) == "False"
