"""Folders in the layout of our own models: what they become, and what is said of damaged ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.checkpoints import CATALOGUE, ModelBundle, find_source, load_model
from engine.checkpoints.catalogue import pocket_entry
from engine.entries import models_in_memory
from engine.library import shelf
from engine.runtime.spectral_codec import SpectralCodec, load_spectral_codec
from protocols.errors import ErrorCode, RequestError
from tests.support.own_models import CARD, CODEBOOKS, TEXTS, edit_config, forget_score, write_own_model

WEIGHTS = "model.safetensors"
LAYER = "decoder.model.decoder.layers.1"
BLOCK = "text_encoder.encoder.block.0.layer.0"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models") / "tiny"
    write_own_model(folder)
    return folder


@pytest.fixture(scope="module")
def bundle(tiny: Path) -> ModelBundle:
    return load_model(str(tiny), device="cpu", dtype="float32")


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """The tiny model in a folder that may be damaged."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def edit_weights(path: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(path)
    edit(weights)
    save_file(weights, path)


def test_a_folder_becomes_a_bundle(tiny: Path, bundle: ModelBundle) -> None:
    assert (bundle.name, bundle.status, bundle.score) == ("tiny", "preview", True)
    assert (bundle.sample_rate, bundle.channels, bundle.hop_length, bundle.frame_rate) == (32_000, 1, 640, Fraction(50))
    assert (bundle.num_codebooks, bundle.card, bundle.delays) == (CODEBOOKS, CARD, (0, 1, 2, 3))
    assert (bundle.window_frames, bundle.stride_frames) == (100, 50)
    assert (bundle.device, bundle.dtype) == (torch.device("cpu"), torch.float32)
    files = (tiny / WEIGHTS, tiny / "codec" / WEIGHTS)
    assert bundle.parameters == sum(tensor.numel() for path in files for tensor in load_file(path).values())
    assert not any(parameter.requires_grad for parameter in bundle.lm.parameters())


def test_the_text_encoder_and_the_codec_are_those_of_the_folder(tiny: Path, bundle: ModelBundle) -> None:
    reference = write_own_model(tiny.parent / "same")
    tokens = bundle.text._tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    assert tokens.shape[1] == len(TEXTS[0].split()) + 1, "a word is one token, and the end"
    with torch.no_grad():
        expected = reference.text_encoder(input_ids=tokens).last_hidden_state[0]
    torch.testing.assert_close(bundle.text.encode(TEXTS[0]).hidden, expected)

    assert isinstance(bundle.codec, SpectralCodec)
    codes = torch.randint(0, CARD, (CODEBOOKS, 20), generator=torch.Generator().manual_seed(1))
    assert torch.equal(bundle.codec.decode(codes), load_spectral_codec(tiny / "codec").decode(codes))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_it_computes_in_the_precision_that_is_asked_for(tiny: Path, bundle: ModelBundle, dtype: str) -> None:
    half = load_model(str(tiny), device="cpu", dtype=dtype)
    assert half.lm.dtype == half.dtype == getattr(torch, dtype)
    assert half.codec.dtype == torch.float32
    codes = torch.randint(0, CARD, (1, CODEBOOKS, 8), generator=torch.Generator().manual_seed(1))
    logits = [one.lm(codes, one.lm.session([one.lm.condition(None)], 8)).float() for one in (bundle, half)]
    torch.testing.assert_close(logits[1], logits[0], rtol=0.2, atol=0.2)


def test_the_window_ends_where_the_positions_do(copy: Path) -> None:
    edit_config(copy, lambda config: config["daw_bridge"].update(window_seconds=12.8, stride_seconds=6.4))
    bundle = load_model(str(copy), device="cpu", dtype="float32")
    assert (bundle.window_frames, bundle.stride_frames) == (160 - 3, (160 - 3) // 2)


def test_the_fingerprint_follows_every_file(bundle: ModelBundle, copy: Path) -> None:
    assert load_model(str(copy), device="cpu", dtype="float32").fingerprint == bundle.fingerprint
    seen = {bundle.fingerprint}
    for path, name in ((copy / WEIGHTS, "score.weight"), (copy / "codec" / WEIGHTS, "codebooks.0.embed")):
        weights = load_file(path)
        weights[name] *= 2
        save_file(weights, path)
        seen.add(load_model(str(copy), device="cpu", dtype="float32").fingerprint)
    edit_config(copy, lambda config: config["daw_bridge"].update(status="trained"))
    trained = load_model(str(copy), device="cpu", dtype="float32")
    assert trained.status == "trained"
    assert len(seen | {trained.fingerprint}) == 4


def test_a_model_may_hear_no_score(copy: Path) -> None:
    forget_score(copy)
    bundle = load_model(str(copy), device="cpu", dtype="float32")
    assert not bundle.score
    assert bundle.lm.score_weight is None


# --- damage


def _section(**values: object) -> Callable[[Path], None]:
    return lambda folder: edit_config(folder, lambda config: config["daw_bridge"].update(values))


def _config(part: str, **values: object) -> Callable[[Path], None]:
    return lambda folder: edit_config(folder, lambda config: config[part].update(values))


def _weights(edit: Callable[[dict[str, Tensor]], object], part: str = "") -> Callable[[Path], None]:
    return lambda folder: edit_weights(folder / part / WEIGHTS, edit)


def _without(name: str, part: str = "") -> Callable[[Path], None]:
    return _weights(lambda weights: weights.pop(name), part)


def _reshaped(name: str, part: str = "") -> Callable[[Path], None]:
    return _weights(lambda weights: weights.update({name: torch.zeros(3, 5)}), part)


def _codec(**values: object) -> Callable[[Path], None]:
    return lambda folder: edit_config(folder / "codec", lambda config: config.update(values))


def _linked(folder: Path) -> None:
    """A codec folder that leads out of the model's."""
    (folder / "codec").rename(folder.parent / "elsewhere")
    (folder / "codec").symlink_to(folder.parent / "elsewhere")


MISSING, BROKEN, UNSUPPORTED = ErrorCode.NOT_FOUND, ErrorCode.MALFORMED, ErrorCode.UNSUPPORTED
DAMAGE: dict[str, tuple[Callable[[Path], object], ErrorCode, str]] = {
    "no_weights": (lambda f: (f / WEIGHTS).unlink(), MISSING, WEIGHTS),
    "torn_weights": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-9]), BROKEN, "weights that load"),
    "no_tokenizer": (lambda f: (f / "tokenizer.json").unlink(), MISSING, "tokenizer.json"),
    "bad_tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), BROKEN, "a tokenizer that loads"),
    "bad_status": (_section(status="finished"), BROKEN, "daw_bridge.status = finished"),
    "bad_window": (_section(window_seconds=0), BROKEN, "daw_bridge.window_seconds"),
    "codec_is_a_number": (_section(codec=3), BROKEN, "daw_bridge.codec = 3"),
    "codec_above": (_section(codec="../copy/codec/../.."), ErrorCode.NOT_ALLOWED, "daw_bridge.codec"),
    "codec_elsewhere": (_section(codec="/tmp"), ErrorCode.NOT_ALLOWED, "daw_bridge.codec = /tmp"),
    "codec_is_the_model": (_section(codec="."), ErrorCode.NOT_ALLOWED, "daw_bridge.codec"),
    "codec_without_a_name": (_section(codec=""), BROKEN, "daw_bridge.codec"),
    "codec_with_an_odd_name": (_section(codec="co\0dec"), ErrorCode.NOT_ALLOWED, "daw_bridge.codec"),
    "codec_by_a_link": (_linked, ErrorCode.NOT_ALLOWED, "daw_bridge.codec = codec"),
    "no_codec": (lambda f: shutil.rmtree(f / "codec"), MISSING, "daw_bridge.codec = codec"),
    "no_codec_weights": (lambda f: (f / "codec" / WEIGHTS).unlink(), MISSING, "codec = "),
    "torn_codec": (lambda f: (f / "codec" / WEIGHTS).write_bytes(b"\0" * 50), BROKEN, "codec = "),
    "codec_of_another_kind": (_codec(model_type="encodec"), UNSUPPORTED, "codec.model_type = encodec"),
    "codec_of_no_size": (_codec(decoder_dim=0), BROKEN, "codec.decoder_dim = 0"),
    "codec_that_does_not_fit": (_codec(decoder_dim=32), BROKEN, "weights that fit the config"),
    "codec_without": (_without("decoder.head.bias", "codec"), BROKEN, "decoder.head.bias"),
    "codec_with_other_codebooks": (_codec(num_codebooks=3), BROKEN, "codebooks.3.embed"),
    "another_score": (_section(score_form=2), UNSUPPORTED, "daw_bridge.score_form = 2 (allowed: 1)"),
    "score_of_no_form": (_section(score_form=None), UNSUPPORTED, "daw_bridge.score_form = null"),
    "score_form_in_words": (_section(score_form="1"), BROKEN, "daw_bridge.score_form = 1"),
    "form_without_score": (_without("score.weight"), BROKEN, "weights with score.weight"),
    "narrow_score": (_reshaped("score.weight"), BROKEN, "score.weight is [48, 68], not [3, 5]"),
    "no_decoder": (lambda f: edit_config(f, lambda c: c.pop("decoder")), BROKEN, "decoder = null"),
    "decoder_in_words": (_config("decoder", hidden_size="wide"), BROKEN, "decoder"),
    "another_decoder": (_config("decoder", model_type="gpt2"), UNSUPPORTED, "decoder.model_type = gpt2"),
    "too_many_layers": (_config("decoder", num_hidden_layers=4), BROKEN, "decoder.num_hidden_layers = 4 (allowed: 3,"),
    "too_wide": (_config("decoder", hidden_size=64), BROKEN, "decoder.hidden_size = 64 (allowed: 48,"),
    "another_card": (_config("decoder", vocab_size=33, pad_token_id=33), BROKEN, "decoder.vocab_size = 33"),
    "heads_that_do_not_divide": (_config("decoder", num_attention_heads=5), UNSUPPORTED, "decoder.num_attention_heads"),
    "no_heads": (_config("decoder", num_attention_heads=0), UNSUPPORTED, "decoder.num_attention_heads = 0"),
    "no_positions": (_config("decoder", max_position_embeddings=0), UNSUPPORTED, "decoder.max_position_embeddings"),
    "endless_positions": (_config("decoder", max_position_embeddings=10**12), UNSUPPORTED, "max_position_embeddings"),
    "relu": (_config("decoder", activation_function="relu"), UNSUPPORTED, "decoder.activation_function = relu"),
    "scaled": (_config("decoder", scale_embedding=True), UNSUPPORTED, "decoder.scale_embedding"),
    "stereo": (_config("decoder", audio_channels=2), UNSUPPORTED, "codec.num_codebooks = 8 (allowed: 4)"),
    "no_channels": (_config("decoder", audio_channels=0), BROKEN, "audio channels"),
    "another_text_encoder": (_config("text_encoder", model_type="bert"), UNSUPPORTED, "text_encoder.model_type = bert"),
    "too_many_text_layers": (_config("text_encoder", num_layers=2), BROKEN, "text_encoder.num_layers = 2"),
    "wider_text": (_config("text_encoder", d_ff=64), BROKEN, "text encoder that fits its config"),
    "no_text_weights": (_without(f"{BLOCK}.SelfAttention.q.weight"), BROKEN, "SelfAttention.q.weight"),
    "no_words": (_without("text_encoder.shared.weight"), BROKEN, "shared.weight"),
    "no_attention": (_without(f"{LAYER}.self_attn.q_proj.weight"), BROKEN, f"weights with {LAYER}.self_attn.q_proj"),
    "another_attention": (_reshaped(f"{LAYER}.fc2.weight"), BROKEN, f"{LAYER}.fc2.weight is [48, 96], not [3, 5]"),
    "no_projection": (_without("enc_to_dec_proj.weight"), BROKEN, "weights with enc_to_dec_proj.weight"),
    "whole_numbers": (
        _weights(lambda weights: weights.update({"score.weight": weights["score.weight"].to(torch.int32)})),
        BROKEN,
        "torch.int32",
    ),
    "a_stranger": (_weights(lambda w: w.update(melody=torch.zeros(3))), BROKEN, "weights without melody"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_folder_names_what_is_wrong(copy: Path, kind: str) -> None:
    damage, code, named = DAMAGE[kind]
    damage(copy)
    with pytest.raises(RequestError) as refused:
        load_model(str(copy), device="cpu", dtype="float32")
    assert named in refused.value.text
    assert refused.value.code == code


# --- the pocket model


def test_the_packaged_model_is_pocket(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = pocket_entry(tiny)
    assert (entry.name, entry.licence, entry.status, entry.folder) == ("pocket", "MIT", "preview", tiny)
    monkeypatch.setitem(CATALOGUE, "pocket", entry)
    assert find_source("pocket").folder == tiny
    bundle = load_model("pocket", device="cpu", dtype="float32")
    assert (bundle.name, bundle.status, bundle.score) == ("pocket", "preview", True)
    matrices = (
        tensor
        for name, tensor in load_file(tiny / WEIGHTS).items()
        if name.startswith("decoder.") and tensor.dim() == 2
    )
    assert entry.lm_parameters == sum(tensor.numel() for tensor in matrices)
    rows = shelf.with_loaded(shelf.rows(shelf.place_of("cpu", "float32")), models_in_memory(bundle))
    listed = next(item for item in rows if item.name == "pocket")
    assert (listed.source, listed.status, listed.loaded) == ("comes with the engine", "preview", True)


def test_without_a_packaged_model_pocket_is_untrained(tmp_path: Path) -> None:
    entry = pocket_entry(tmp_path)
    assert (entry.status, entry.folder, entry.hub_id) == ("untrained", None, None)
    assert entry.source == "made on this machine"


@pytest.mark.parametrize("content", ["{", "[]", "{}", json.dumps({"daw_bridge": [], "decoder": {}})])
def test_a_damaged_packaged_model_is_told_when_it_is_loaded(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(content)
    monkeypatch.setitem(CATALOGUE, "pocket", pocket_entry(tmp_path))
    with pytest.raises(RequestError):
        load_model("pocket", device="cpu", dtype="float32")
