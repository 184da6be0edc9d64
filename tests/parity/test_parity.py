"""The whole family against AudioCraft's recorded data, by the command that does it for any such folder; and that it can fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.parity import figures
from tests.parity.__main__ import everything, is_equal, main
from tests.parity.recorded import RecordedModel

MODELS = ("audiogen", "melody", "musicgen", "stereo", "style")
TOKENS = ("greedy", "guided", "continuation", "long", "sampled_topk", "two_step")
LOGITS = 1e-3
SOUND = 1e-5


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_equal(golden_dir: Path, model: str) -> None:
    report = everything(golden_dir, {model})[model]
    assert report["equal"] == 1.0, report
    assert all(report[name]["equal"] == 1.0 and report[name]["first_mismatch"] is None for name in TOKENS)
    assert report["decode_max_difference"] < SOUND
    assert report["streamed_max_difference"] < SOUND
    assert report["text"]["lengths_equal"]
    assert report["text"]["embeddings_max_difference"] < SOUND
    assert report["logits"]["sequence_equal"]
    assert max(value for key, value in report["logits"].items() if key.endswith("max_difference")) < LOGITS
    assert ("melody_long" in report) == (model == "melody")
    assert ("style_double_guidance_5.0" in report) == (model == "style")


def test_utilities_and_patterns_are_reproduced(golden_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(golden_dir), "--json", "--only", "utils", "patterns"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"patterns", "utils", "notes"}
    assert all(report["patterns"].values())
    assert len(report["patterns"]) > 8


def test_what_differs_is_found(golden_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tampered(golden_dir, tmp_path)
    assert main([str(folder)]) == 1
    report = everything(folder, set())
    assert not any(is_equal(report[name]) for name in ("musicgen", "patterns", "utils"))
    assert report["musicgen"]["greedy"]["first_mismatch"] == {"stream": 0, "codebook": 2, "frame": 7}
    assert report["musicgen"]["guided"]["equal"] == 1.0
    assert report["broken"]["equal"] == 0.0
    assert "broken" in report["broken"]["error"]
    assert not report["patterns"]["parallel"]
    assert report["patterns"]["unroll"]
    assert "greedy" in capsys.readouterr().out


def tampered(golden: Path, folder: Path) -> Path:
    """A folder in which a token, a pattern and the loudness are not what was recorded, and one model does not load."""
    for name in ("musicgen", "t5-tiny", "musicgen.json"):
        (folder / name).symlink_to(golden / name)
    arrays = load(golden / "musicgen.npz")
    arrays["gen1_tokens"][0, 2, 7] ^= 1
    np.savez(folder / "musicgen.npz", **arrays)
    patterns = json.loads((golden / "patterns.json").read_text())
    patterns["parallel"]["layout"][3] = []
    (folder / "patterns.json").write_text(json.dumps(patterns))
    utilities = load(golden / "utils.npz")
    utilities["lufs_mono"] += np.float32(0.5)
    np.savez(folder / "utils.npz", **utilities)
    (folder / "broken").mkdir()
    (folder / "broken" / "state_dict.bin").write_bytes(b"no checkpoint")
    (folder / "broken.json").symlink_to(golden / "musicgen.json")
    (folder / "broken.npz").symlink_to(golden / "musicgen.npz")
    return folder


def load(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return {name: file[name].copy() for name in file.files}


def test_the_first_mismatch_is_the_one_that_was_sampled_first() -> None:
    theirs = torch.zeros(1, 3, 9, dtype=torch.long)
    ours = theirs.clone()
    ours[0, 2, 4] = ours[0, 0, 5] = 1
    assert figures.tokens(ours, theirs)["first_mismatch"] == {"stream": 0, "codebook": 2, "frame": 4}
    found = figures.tokens(ours, theirs, delays=(0, 1, 2))
    assert found["first_mismatch"] == {"stream": 0, "codebook": 0, "frame": 5}
    assert found["equal"] == pytest.approx(25 / 27)
    assert figures.tokens(ours[..., :3], theirs)["equal"] == 0.0


@pytest.mark.parametrize("name", MODELS)
def test_a_text_is_heard_alike_whatever_stands_beside_it(golden_dir: Path, name: str) -> None:
    model = RecordedModel(golden_dir, name)
    bundle, facts = model.bundle, model.facts
    assert (bundle.sample_rate, bundle.frame_rate) == (facts["sample_rate"], facts["frame_rate"])
    assert (bundle.channels, bundle.num_codebooks) == (facts["channels"], facts["n_q"])
    assert bundle.card == facts["card"] == facts["special_token_id"]
    assert bundle.window_frames == facts["max_duration_cfg"] * facts["frame_rate"]
    assert bundle.kind == ("sound" if name == "audiogen" else "music")
    first, second = (model.condition(text) for text in model.texts[:2])
    made = model.generate([first, second])
    assert torch.equal(made[:1], model["gen1_tokens"])
    assert torch.equal(made[1:], model["gen_solo_b"])
