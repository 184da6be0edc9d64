"""Checkpoints of melody models: from a folder to a bundle, names, and damage that is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.checkpoints import CATALOGUE, ModelBundle, find_source, load_model
from engine.conditioning.melody import MelodyFacts
from engine.conditioning.text import MAX_TOKENS
from protocols.errors import ErrorCode, RequestError
from tests.support.own_models import write_own_model
from tests.support.tiny_checkpoints import TEXTS, write_tiny_checkpoint

CHROMA_FRAMES = 31


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"), chroma_length=CHROMA_FRAMES)


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint in a folder that may be damaged."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def edit_json(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def edit_weights(folder: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    path = folder / "model.safetensors"
    state = load_file(path)
    edit(state)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path, metadata={"format": "pt"})


def logits_of(bundle: ModelBundle) -> Tensor:
    text = bundle.text.encode(TEXTS[0])
    session = bundle.lm.session([bundle.lm.condition(text.hidden, text.mask)], 3)
    logits: Tensor = bundle.lm(torch.arange(4 * 3).view(1, 4, 3), session)
    return logits


def test_a_folder_becomes_a_bundle(tiny: Path) -> None:
    from transformers import MusicgenMelodyForConditionalGeneration

    bundle = load_model(str(tiny), device="cpu", dtype="float32")
    assert (bundle.name, bundle.status, bundle.score) == (tiny.name, "trained", False)
    assert (bundle.sample_rate, bundle.channels, bundle.hop_length) == (32_000, 1, 640)
    assert (bundle.num_codebooks, bundle.card, bundle.delays) == (4, 64, (0, 1, 2, 3))
    # Chroma takes of the 256 positions, a text does not.
    assert bundle.window_frames == 256 - CHROMA_FRAMES - 3
    assert bundle.lm.config.max_positions == 256 + MAX_TOKENS
    assert not bundle.lm.config.cross_attention
    assert bundle.melody == MelodyFacts(
        sample_rate=32_000,
        frame_rate=Fraction(50),
        window_frames=bundle.window_frames,
        frames=CHROMA_FRAMES,
        fft_size=16_384,
        hop_length=4096,
    )
    reference = MusicgenMelodyForConditionalGeneration.from_pretrained(tiny)
    assert bundle.parameters == sum(p.numel() for p in reference.parameters())


def test_shards_and_bin_files_load_the_same(tiny: Path, copy: Path, tmp_path: Path) -> None:
    expected = logits_of(load_model(str(tiny), device="cpu", dtype="float32"))
    sharded = write_tiny_checkpoint(tmp_path / "sharded", chroma_length=CHROMA_FRAMES, max_shard_size="200KB")
    assert len(list(sharded.glob("model-*.safetensors"))) > 1
    torch.testing.assert_close(logits_of(load_model(str(sharded), device="cpu", dtype="float32")), expected)
    state = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    torch.save(state, copy / "pytorch_model.bin")
    torch.testing.assert_close(logits_of(load_model(str(copy), device="cpu", dtype="float32")), expected)


def test_the_settings_of_chroma_are_those_of_the_folder(copy: Path) -> None:
    file = copy / "preprocessor_config.json"
    edit_json(file, lambda settings: settings.update(n_fft=8192, hop_length=2048))
    written = load_model(str(copy), device="cpu", dtype="float32")
    assert written.melody is not None
    assert (written.melody.fft_size, written.melody.hop_length) == (8192, 2048)
    assert written.melody.rate == Fraction(32_000, 2048)

    (copy / "processor_config.json").write_text(json.dumps({"feature_extractor": json.loads(file.read_text())}))
    file.unlink()
    assert load_model(str(copy), device="cpu", dtype="float32").melody == written.melody

    (copy / "processor_config.json").unlink()
    without = load_model(str(copy), device="cpu", dtype="float32")
    assert without.melody is not None
    assert (without.melody.fft_size, without.melody.hop_length) == (16_384, 4096)
    assert without.fingerprint != written.fingerprint


def test_a_full_size_model_has_its_window_of_30_seconds(copy: Path) -> None:
    def enlarge(config: dict[str, Any]) -> None:
        config["decoder"]["max_position_embeddings"] = 2048
        config["chroma_length"] = 235

    edit_json(copy / "config.json", enlarge)
    bundle = load_model(str(copy), device="cpu", dtype="float32")
    assert (bundle.window_frames, bundle.stride_frames) == (1500, 900)
    assert bundle.melody is not None
    assert bundle.melody.frames == 235 == 1 + bundle.melody.window_samples // bundle.melody.hop_length


Damage = Callable[[Path], object]


def _config(**values: object) -> Damage:
    return lambda folder: edit_json(folder / "config.json", lambda config: config.update(values))


def _part(part: str, **values: object) -> Damage:
    return lambda folder: edit_json(folder / "config.json", lambda config: config[part].update(values))


def _settings(**values: object) -> Damage:
    return lambda folder: edit_json(folder / "preprocessor_config.json", lambda settings: settings.update(values))


def _written(name: str, text: str) -> Damage:
    return lambda folder: (folder / name).write_text(text)


def _without(*names: str) -> Damage:
    return lambda folder: edit_weights(folder, lambda state: [state.pop(name) for name in names])


def _cut(name: str) -> Damage:
    return lambda folder: edit_weights(folder, lambda state: state.update({name: state[name][1:]}))


DAMAGE: dict[str, tuple[Damage, ErrorCode, str]] = {
    "no chroma": (_config(chroma_length=0), ErrorCode.MALFORMED, "chroma_length = 0"),
    "chroma in words": (_config(chroma_length="long"), ErrorCode.MALFORMED, "chroma_length = long"),
    "chroma without a length": (_config(chroma_length=None), ErrorCode.MALFORMED, "chroma_length = null"),
    "no room for codes": (_config(chroma_length=252), ErrorCode.UNSUPPORTED, "chroma_length = 252 (allowed: 1 to 251)"),
    "quarter tones": (_config(num_chroma=24), ErrorCode.UNSUPPORTED, "num_chroma = 24 (allowed: 12)"),
    "an LM as narrow as chroma": (
        lambda folder: write_tiny_checkpoint(folder, dim=12, heads=2, chroma_length=CHROMA_FRAMES),
        ErrorCode.UNSUPPORTED,
        "decoder.hidden_size = 12",
    ),
    "a text that is no T5": (
        _part("text_encoder", model_type="bert"),
        ErrorCode.UNSUPPORTED,
        "text_encoder.model_type = bert (allowed: t5)",
    ),
    "another activation": (_part("decoder", activation_function="relu"), ErrorCode.UNSUPPORTED, "decoder.activation"),
    "scaled embeddings": (_part("decoder", scale_embedding=True), ErrorCode.UNSUPPORTED, "decoder.scale_embedding"),
    "a layer too many": (_part("decoder", num_hidden_layers=4), ErrorCode.MALFORMED, "decoder.model.decoder.layers.3"),
    "a layer too few": (
        _part("decoder", num_hidden_layers=2),
        ErrorCode.MALFORMED,
        "decoder.num_hidden_layers = 2 (allowed: 3, as the weights have)",
    ),
    "a codebook too few": (_part("decoder", num_codebooks=3), ErrorCode.UNSUPPORTED, "audio_encoder.num_quantizers"),
    "half a text encoder": (_part("text_encoder", num_layers=1), ErrorCode.MALFORMED, "text_encoder.num_layers = 1"),
    "more codes than the codec": (
        _part("audio_encoder", codebook_size=32),
        ErrorCode.MALFORMED,
        "codebook.cluster_size",
    ),
    "no chroma projection": (
        _without("audio_enc_to_dec_proj.weight", "audio_enc_to_dec_proj.bias"),
        ErrorCode.MALFORMED,
        "weights with audio_enc_to_dec_proj.bias and 1 more",
    ),
    "a chroma projection cut short": (
        _cut("audio_enc_to_dec_proj.weight"),
        ErrorCode.MALFORMED,
        "unlike audio_enc_to_dec_proj.weight",
    ),
    "no text projection": (_without("enc_to_dec_proj.bias"), ErrorCode.MALFORMED, "weights with enc_to_dec_proj.bias"),
    "settings that are no JSON": (
        _written("preprocessor_config.json", "{"),
        ErrorCode.MALFORMED,
        "preprocessor_config.json",
    ),
    "settings that are a list": (
        _written("preprocessor_config.json", "[]"),
        ErrorCode.MALFORMED,
        "preprocessor_config.json",
    ),
    "another rate than the codec": (
        _settings(sampling_rate=44_100),
        ErrorCode.UNSUPPORTED,
        "preprocessor_config.sampling_rate = 44100 (allowed: 32000",
    ),
    "more pitch classes": (_settings(feature_size=24), ErrorCode.UNSUPPORTED, "preprocessor_config.feature_size = 24"),
    "an odd transform": (_settings(n_fft=16_383), ErrorCode.UNSUPPORTED, "preprocessor_config.n_fft = 16383"),
    "a huge transform": (_settings(n_fft=1 << 40), ErrorCode.UNSUPPORTED, "preprocessor_config.n_fft"),
    "a hop of a fraction": (_settings(hop_length=40.5), ErrorCode.MALFORMED, "preprocessor_config.hop_length = 40.5"),
    "a hop of nothing": (_settings(hop_length=0), ErrorCode.MALFORMED, "preprocessor_config.hop_length = 0"),
    "a tiny hop": (_settings(hop_length=1), ErrorCode.UNSUPPORTED, "preprocessor_config.hop_length = 1"),
    "a hop over gaps": (_settings(hop_length=16_385), ErrorCode.UNSUPPORTED, "preprocessor_config.hop_length = 16385"),
    "half a weight file": (
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000]),
        ErrorCode.MALFORMED,
        "weights that load",
    ),
    "a plain MusicGen that says it is a melody model": (
        lambda folder: (write_tiny_checkpoint(folder), _config(model_type="musicgen_melody")(folder)),
        ErrorCode.MALFORMED,
        "audio_enc_to_dec_proj",
    ),
    "a melody model that says it is a plain one": (_config(model_type="musicgen"), ErrorCode.MALFORMED, "encoder_attn"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_folder_names_what_is_wrong(copy: Path, kind: str) -> None:
    damage, code, named = DAMAGE[kind]
    damage(copy)
    with pytest.raises(RequestError) as error:
        load_model(str(copy), device="cpu", dtype="float32")
    assert named in error.value.text
    assert error.value.code == code


def test_our_own_layout_has_no_melody_models(tmp_path: Path) -> None:
    folder = tmp_path
    write_own_model(folder)
    edit_json(folder / "config.json", lambda config: config.update(model_type="musicgen_melody"))
    with pytest.raises(RequestError) as error:
        load_model(str(folder), device="cpu", dtype="float32")
    assert (error.value.code, error.value.field) == (ErrorCode.UNSUPPORTED, "model_type")


@pytest.mark.parametrize("name", ["melody", "melody-large", "stereo-melody", "stereo-melody-large"])
def test_the_catalogue(name: str) -> None:
    entry = CATALOGUE[f"musicgen-{name}"]
    assert (entry.hub_id, entry.licence) == (f"facebook/musicgen-{name}", "CC-BY-NC-4.0")
    assert (entry.channels, entry.status) == (2 if "stereo" in name else 1, "trained")
    assert "melody" in entry.about.rpartition(",")[2]
    assert find_source(entry.name).hub_id == entry.hub_id


def test_a_model_on_the_hub_is_its_downloaded_folder(monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
    asked: list[str] = []

    def located(hub_id: str, patterns: object) -> Path:
        asked.append(hub_id)
        return tiny

    monkeypatch.setattr("engine.checkpoints.hub.located", located)
    bundle = load_model("musicgen-melody", device="cpu", dtype="float32")
    assert (bundle.name, asked) == ("musicgen-melody", ["facebook/musicgen-melody"])
    assert bundle.melody is not None
