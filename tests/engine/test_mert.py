"""MERT as the eyes of a style: transformers' own HuBERT computes it, and what it would compute wrongly is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from audio_files.regions import mix_and_resample
from engine.checkpoints import load_model
from engine.checkpoints.audiocraft.mert import load_mert
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.conditioning.mert import MERT, MERT_FRAME_RATE, MERT_RATE
from protocols.errors import RequestError
from tests.support.style_models import recording, write_style_checkpoint


def write_mert(folder: Path, settings: dict[str, Any] | None = None, *, safe: bool = False) -> Any:
    """A tiny HuBERT in the files, and with the names of weights, that MERT's folder on the hub has; and the model itself."""
    ensure_torchaudio()
    from transformers import HubertConfig, HubertModel

    config = HubertConfig(
        num_hidden_layers=1,
        intermediate_size=64,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=16,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = HubertModel(config).eval()
    old_names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = {}
    for name, tensor in model.state_dict().items():
        for new, old in old_names.items():
            name = name.replace(new, old)
        state[name] = tensor.clone()
    folder.mkdir(parents=True)
    if safe:
        from safetensors.torch import save_file

        save_file(state, folder / "model.safetensors")
    else:
        torch.save(state, folder / "pytorch_model.bin")
    theirs = {
        "model_type": "mert_model",
        "architectures": ["MERTModel"],
        "auto_map": {"AutoModel": "modeling_MERT.MERTModel"},
        "feature_extractor_cqt": False,
        "deepnorm": False,
        "attention_relax": -1.0,
        "sample_rate": MERT_RATE,
    }
    (folder / "config.json").write_text(json.dumps(config.to_dict() | theirs | (settings or {})))
    return model


@pytest.mark.parametrize("safe", [False, True])
def test_features_are_huberts(tmp_path: Path, safe: bool) -> None:
    reference = write_mert(tmp_path / "MERT-v1-95M", safe=safe)
    features = MERT(load_mert(tmp_path), torch.eye(768), torch.zeros(768), 32_000, torch.device("cpu"))
    sound = recording(1.5)
    at_its_rate = mix_and_resample(sound[None], 32_000, sample_rate=MERT_RATE, channels=1, resampling="sinc")
    with torch.inference_mode():
        expected = reference(torch.from_numpy(at_its_rate)).last_hidden_state[0]
    made = features(torch.from_numpy(sound))
    assert made.shape == (int(1.5 * MERT_FRAME_RATE), 768)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)


def test_a_model_that_looks_at_styles_with_mert(tmp_path: Path) -> None:
    folder = write_style_checkpoint(tmp_path / "quantised", mert=True)
    write_mert(folder / "MERT-v1-95M")
    style = load_model(str(folder), device="cpu").style
    assert style is not None
    codes = style.read(recording(3.0))
    assert len(codes.codes[0]) == 15, "3 s are 224 frames, one in 15 of them a token"
    assert codes == style.read(recording(3.0))
    assert codes != style.read(recording(3.0, pitch=330.0))


def test_without_mert_it_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(RequestError, match=r"style_encoder.*m-a-p/MERT-v1-95M.*or a folder with MERT"):
        load_mert(tmp_path)
    with pytest.raises(RequestError, match=r"style_encoder.*nowhere"):
        load_mert(tmp_path, str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"feature_extractor_cqt": True}, "feature_extractor_cqt"),
        ({"deepnorm": True}, "deepnorm"),
        ({"attention_relax": 32.0}, "attention_relax"),
        ({"do_stable_layer_norm": True}, "do_stable_layer_norm"),
        ({"hidden_size": 1024}, "hidden_size"),
        ({"sample_rate": 16_000}, "sample_rate"),
        ({"num_hidden_layers": 2}, "weights that fit its config.json"),
        ({"conv_dim": "many"}, "weights that fit its config.json"),
    ],
)
def test_what_hubert_would_compute_wrongly_is_refused(tmp_path: Path, settings: dict[str, Any], match: str) -> None:
    write_mert(tmp_path / "mert", settings)
    with pytest.raises(RequestError, match=match):
        load_mert(tmp_path, str(tmp_path / "mert"))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    write_mert(tmp_path / "mert")
    weights = tmp_path / "mert" / "pytorch_model.bin"
    weights.write_bytes(weights.read_bytes()[:9000])
    with pytest.raises(RequestError):
        load_mert(tmp_path, str(tmp_path / "mert"))
    weights.unlink()
    with pytest.raises(RequestError, match=r"pytorch_model\.bin"):
        load_mert(tmp_path, str(tmp_path / "mert"))
    (tmp_path / "mert" / "config.json").write_text("{")
    with pytest.raises(RequestError, match="readable JSON"):
        load_mert(tmp_path, str(tmp_path / "mert"))
