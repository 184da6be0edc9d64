"""Folders of AudioCraft's become bundles: every kind of model and form of file, against AudioCraft on the same weights."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.checkpoints import ModelBundle, load_model
from engine.checkpoints.parts import quiet_transformers
from engine.conditioning.melody import chroma, melody_from_audio
from engine.models import check_name
from engine.runtime.lm import Condition
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings
from protocols.errors import ErrorCode, RequestError
from protocols.settings import EngineSettings, FileSettings
from tests.support.audiocraft_checkpoints import TEXT_ENCODER, write_audiocraft_checkpoint

FIGURES = json.loads((Path(__file__).parent / "figures" / "audiocraft_layout.json").read_text())["models"]
TEXT = "a happy rock song with guitar"


@pytest.fixture(scope="module", params=list(FIGURES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def bundle(kind: Any, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder = write_audiocraft_checkpoint(tmp_path_factory.mktemp("kinds") / kind, kind, **FIGURES[kind]["shape"])
    return load_model(str(folder), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_audiocraft_checkpoint(tmp_path_factory.mktemp("small") / "small", dim=32, layers=2, card=16)


def condition(bundle: ModelBundle, sound: Tensor | None = None, frames: int = 40) -> Condition:
    text = bundle.text.encode(TEXT)
    melody = None
    if bundle.melody is not None and sound is not None:
        melody = melody_from_audio(sound, bundle.melody, total_frames=frames)
    return bundle.lm.condition(text.hidden, text.mask, melody=melody)


def greedy(bundle: ModelBundle, frames: int, heard: Condition) -> Tensor:
    sampler = FrameSampler(
        bundle.lm,
        [heard],
        SamplingSettings(temperature=0.0),
        total_frames=frames,
        window_frames=bundle.window_frames,
        stride_frames=20 if bundle.kind == "sound" else bundle.stride_frames,
        seed=0,
    )
    made = []
    while not sampler.done:
        if (completed := sampler.advance()) is not None:
            made.append(completed)
    return torch.cat(made, dim=2)[0]


def recorded_melody() -> Tensor:
    """The sound that the recorded melody was read from."""
    t = torch.arange(4 * 32_000) / 32_000
    return 0.5 * torch.sin(2 * np.pi * 440 * t) + 0.3 * torch.sin(2 * np.pi * 660 * t * (1 + 0.02 * t))


def refused(folder: Path, **options: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        load_model(str(folder), device="cpu", **options)
    return caught.value


# --- what AudioCraft makes of the same weights


def test_tokens_are_those_of_audiocraft(kind: str, bundle: ModelBundle) -> None:
    expected = torch.tensor(FIGURES[kind]["tokens"])
    frames = expected.shape[1]
    assert torch.equal(greedy(bundle, frames, condition(bundle, recorded_melody(), frames)), expected)


def test_sound_and_codes_are_those_of_audiocraft(kind: str, bundle: ModelBundle) -> None:
    figures = FIGURES[kind]
    audio = bundle.codec.decode(torch.tensor(figures["tokens"]))
    torch.testing.assert_close(audio[-1, ::997], torch.tensor(figures["audio"]), rtol=1e-4, atol=1e-5)
    noise = torch.from_numpy(np.random.RandomState(5).randn(bundle.channels, 6400)).float() * 0.1
    assert torch.equal(bundle.codec.encode(noise), torch.tensor(figures["codes"]))


def test_facts(kind: str, bundle: ModelBundle) -> None:
    shape = FIGURES[kind]["shape"]
    sound, stereo = kind == "audiogen", kind == "stereo"
    assert bundle.kind == ("sound" if sound else "music")
    assert bundle.sample_rate == (16_000 if sound else 32_000)
    assert bundle.channels == (2 if stereo else 1)
    assert bundle.num_codebooks == shape["codebooks"] * (2 if stereo else 1)
    assert bundle.card == shape["card"]
    assert bundle.window_frames == 50 * shape.get("seconds", 30)
    assert bundle.stride_frames == (100 if sound else 900)
    assert bundle.usual.seconds == (5 if sound else 15)
    assert (bundle.melody is not None) == (kind == "melody")
    assert bundle.status == "trained"


# --- forms of files


@pytest.mark.parametrize("form", ["training", "legacy"])
def test_every_form_is_the_same_model(form: Any, small: Path, tmp_path: Path) -> None:
    exported = load_model(str(small), device="cpu", dtype="float32")
    other = write_audiocraft_checkpoint(tmp_path / form, form=form, codec_form=form, dim=32, layers=2, card=16)
    loaded = load_model(str(other), device="cpu", dtype="float32")
    assert torch.equal(greedy(loaded, 12, condition(loaded)), greedy(exported, 12, condition(exported)))
    codes = torch.arange(16).repeat(4, 1)
    assert torch.equal(loaded.codec.decode(codes), exported.codec.decode(codes))


def test_the_text_encoder_may_be_somewhere_else(small: Path, tmp_path: Path) -> None:
    folder = write_audiocraft_checkpoint(tmp_path / "bare", dim=32, layers=2, card=16, text_encoder=False)
    bundle = load_model(str(folder), device="cpu", dtype="float32", text_encoder=str(small / TEXT_ENCODER))
    assert bundle.fingerprint == load_model(str(small), device="cpu", dtype="float32").fingerprint
    wide = write_audiocraft_checkpoint(tmp_path / "wide", dim=32, layers=2, card=16, text_dim=40)
    error = refused(folder, text_encoder=str(wide / TEXT_ENCODER))
    assert (error.code, error.field) == (ErrorCode.MALFORMED, "text_encoder")
    assert "width 32, not 40" in error.text


def test_a_text_encoder_that_was_trained_with_the_model(small: Path, tmp_path: Path) -> None:
    from transformers import T5EncoderModel

    load: Any = T5EncoderModel.from_pretrained
    encoder = load(small / TEXT_ENCODER)
    prefix = "condition_provider.conditioners.description.t5."
    tuned = {f"{prefix}{name}": 1.5 * tensor for name, tensor in encoder.state_dict().items()}
    settings = {"conditioners.description.t5.finetune": True}
    folder = write_audiocraft_checkpoint(
        tmp_path / "tuned", dim=32, layers=2, card=16, settings=settings, weights=tuned
    )
    heard = load_model(str(folder), device="cpu", dtype="float32").text.encode(TEXT).hidden
    plain = load_model(str(small), device="cpu", dtype="float32").text.encode(TEXT).hidden
    assert heard.shape == plain.shape
    assert not torch.allclose(heard, plain)


def test_what_a_configuration_leaves_out(small: Path, tmp_path: Path) -> None:
    """Files of the first release lack sections that came later."""
    absent: dict[str, Any] = dict.fromkeys(("interleave_stereo_codebooks", "solver", "codebooks_pattern", "fuser.sum"))
    settings = absent | {"transformer_lm.q_modeling": "delay", "transformer_lm.qk_layer_norm": None}
    older = write_audiocraft_checkpoint(tmp_path / "older", dim=32, layers=2, card=16, settings=settings)
    bundle, usual = (
        load_model(str(older), device="cpu", dtype="float32"),
        load_model(str(small), device="cpu", dtype="float32"),
    )
    assert torch.equal(greedy(bundle, 8, condition(bundle)), greedy(usual, 8, condition(usual)))


# --- what is refused


@pytest.mark.parametrize(
    ("settings", "code", "named"),
    [
        ({"transformer_lm.dim": 40}, ErrorCode.MALFORMED, "transformer_lm.dim = 40"),
        ({"transformer_lm.num_layers": 3}, ErrorCode.MALFORMED, "transformer_lm.num_layers = 3 (allowed: 2"),
        ({"transformer_lm.n_q": 5}, ErrorCode.MALFORMED, "transformer_lm.n_q = 5"),
        ({"transformer_lm.card": 17}, ErrorCode.MALFORMED, "transformer_lm.card = 17"),
        ({"transformer_lm.num_heads": 5}, ErrorCode.MALFORMED, "transformer_lm.num_heads = 5"),
        ({"transformer_lm.hidden_scale": 3}, ErrorCode.MALFORMED, "transformer_lm.hidden_scale = 3"),
        ({"transformer_lm.dim": "wide"}, ErrorCode.MALFORMED, "transformer_lm.dim = wide"),
        ({"transformer_lm.dim": "${transformer_lm.width}"}, ErrorCode.MALFORMED, "transformer_lm.dim"),
        ({"transformer_lm.dim": "${transformer_lm.dim}"}, ErrorCode.MALFORMED, "transformer_lm.dim"),
        ({"transformer_lm.bias_ff": True}, ErrorCode.MALFORMED, "linear1.bias"),
        ({"lm_model": "transformer_xl"}, ErrorCode.UNSUPPORTED, "lm_model = transformer_xl"),
        ({"fuser.cross": [], "fuser.sum": ["description"]}, ErrorCode.UNSUPPORTED, "fuser.sum"),
        ({"conditioners.description.model": "clap"}, ErrorCode.UNSUPPORTED, "conditioners.description.model = clap"),
        ({"conditioners.genre.model": "lut"}, ErrorCode.UNSUPPORTED, "conditioners.genre = lut"),
        ({"dataset.segment_duration": 0}, ErrorCode.MALFORMED, "dataset.segment_duration = 0"),
        ({"dataset.segment_duration": None}, ErrorCode.MISSING, "dataset.segment_duration"),
        ({"sample_rate": 16_000}, ErrorCode.MALFORMED, "sample_rate = 16000 (allowed: 32000"),
        ({"interleave_stereo_codebooks.use": True}, ErrorCode.MALFORMED, "channels"),
        ({"codebooks_pattern.delay.delays": [0, 1, 2]}, ErrorCode.MALFORMED, "codebooks_pattern.delay.delays"),
    ],
)
def test_a_configuration_that_does_not_fit(
    settings: dict[str, Any], code: ErrorCode, named: str, tmp_path: Path, small: Path
) -> None:
    folder = write_audiocraft_checkpoint(
        tmp_path / "x", dim=32, layers=2, card=16, settings=settings, text_encoder=False
    )
    error = refused(folder, text_encoder=str(small / TEXT_ENCODER))
    assert named in error.text
    assert error.code == code


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ({"transformer.layers.1.norm2.bias": torch.zeros(31)}, "transformer.layers.1.norm2.bias is [32], not [31]"),
        ({"linears.3.weight": torch.zeros(16, 32, dtype=torch.int64)}, "linears.3.weight is [16, 32]"),
        ({"transformer.layers.0.layer_scale_1.scale": torch.ones(32)}, "without transformer.layers.0.layer_scale_1"),
        ({"emb.4.weight": torch.zeros(17, 32)}, "transformer_lm.n_q = 4 (allowed: 5"),
    ],
)
def test_weights_that_do_not_fit(weights: dict[str, Tensor], named: str, tmp_path: Path, small: Path) -> None:
    folder = write_audiocraft_checkpoint(tmp_path / "x", dim=32, layers=2, card=16, weights=weights, text_encoder=False)
    error = refused(folder, text_encoder=str(small / TEXT_ENCODER))
    assert named in error.text
    assert error.code == ErrorCode.MALFORMED


@pytest.mark.parametrize(
    ("damage", "code", "named"),
    [
        (lambda f: (f / "compression_state_dict.bin").unlink(), ErrorCode.NOT_DOWNLOADED, "encodec-32khz"),
        (lambda f: (f / "state_dict.bin").write_bytes(b""), ErrorCode.MALFORMED, "not empty"),
        (lambda f: (f / "state_dict.bin").write_bytes(b"<!DOCTYPE html>"), ErrorCode.MALFORMED, "not a web page"),
        (lambda f: _cut(f / "state_dict.bin"), ErrorCode.MALFORMED, "that is whole"),
        (lambda f: _cut(f / "compression_state_dict.bin"), ErrorCode.MALFORMED, "compression_state_dict.bin"),
        (
            lambda f: (f / "state_dict.bin").write_bytes((f / "compression_state_dict.bin").read_bytes()),
            ErrorCode.MISSING,
            "lm_model",
        ),
        (
            lambda f: (f / "compression_state_dict.bin").write_bytes((f / "state_dict.bin").read_bytes()),
            ErrorCode.MISSING,
            "compression_model",
        ),
    ],
)
def test_a_damaged_folder(
    damage: Callable[[Path], object], code: ErrorCode, named: str, tmp_path: Path, small: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    folder = write_audiocraft_checkpoint(tmp_path / "x", dim=32, layers=2, card=16, text_encoder=False)
    damage(folder)
    error = refused(folder, text_encoder=str(small / TEXT_ENCODER))
    assert named in error.text
    assert error.code == code


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# --- what is stored although it could be computed


def test_chroma_is_read_under_the_window_that_is_stored(tmp_path: Path) -> None:
    """In half precision, as AudioCraft stores it, it decides what leads in frame 60 of this noise: D sharp, by AudioCraft 1.4.0a2
    with such a checkpoint; B, with a window that is computed."""
    folder = write_audiocraft_checkpoint(tmp_path / "x", "melody", dim=32, layers=1, card=16)
    facts = load_model(str(folder), device="cpu", dtype="float32").melody
    assert facts is not None
    noise = torch.from_numpy(np.random.RandomState(2).randn(256_000).cumsum() / 100).float()
    computed = dataclasses.replace(facts, stored_window=None)
    assert facts == computed
    assert [int(chroma(noise, each)[60].argmax()) for each in (facts, computed)] == [3, 11]


@pytest.mark.parametrize("window", [torch.zeros(1 << 14), torch.ones(1 << 13), torch.full((1 << 14,), torch.nan)])
def test_a_window_of_no_use_is_refused(window: Tensor, tmp_path: Path) -> None:
    folder = write_audiocraft_checkpoint(tmp_path / "x", "melody", dim=32, layers=1, card=16)
    package = torch.load(folder / "state_dict.bin", weights_only=True)
    package["best_state"]["condition_provider.conditioners.self_wav.chroma.spec.window"] = window
    torch.save(package, folder / "state_dict.bin")
    assert "chroma.spec.window" in refused(folder).text


# --- codecs that are somewhere else


def write_encodec(folder: Path, codebooks: int) -> Path:
    """An ``EncodecModel`` in transformers' layout, 32 kHz, of 16 entries."""
    from transformers import EncodecConfig, EncodecModel

    settings = {"sampling_rate": 32_000, "upsampling_ratios": [8, 5, 4, 4], "codebook_size": 16, "hidden_size": 16}
    settings |= {"num_filters": 4, "num_lstm_layers": 1, "use_causal_conv": False}
    config: Any = EncodecConfig
    make: Any = EncodecModel
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(3)
        model = make(config(**settings, target_bandwidths=[codebooks * 4 * 50 / 1000]))
        for layer in model.quantizer.layers:
            layer.codebook.embed.normal_()
        model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("pointed", ["by a file", "by a solver's configuration"])
def test_a_codec_that_is_pointed_to(pointed: str, tmp_path: Path) -> None:
    """It has more codebooks than the LM was trained with: the first ones count."""
    ours = pointed == "by a file"
    folder = write_audiocraft_checkpoint(
        tmp_path / "x",
        form="exported" if ours else "training",
        codec_form="pointer" if ours else "none",
        dim=32,
        layers=2,
        card=16,
    )
    write_encodec(folder / "encodec_32khz", 6)
    bundle = load_model(str(folder), device="cpu", dtype="float32")
    assert (bundle.num_codebooks, bundle.codec.num_codebooks, bundle.card) == (4, 4, 16)
    noise = torch.from_numpy(np.random.RandomState(5).randn(1, 6400)).float() * 0.1
    codes = bundle.codec.encode(noise)
    assert codes.shape == (4, 10)
    assert bundle.codec.decode(codes).shape == (1, 6400)
    before = bundle.fingerprint
    write_encodec(folder / "encodec_32khz", 5)
    assert load_model(str(folder), device="cpu", dtype="float32").fingerprint != before


def test_a_codec_of_fewer_codebooks_is_refused(tmp_path: Path) -> None:
    folder = write_audiocraft_checkpoint(tmp_path / "x", codec_form="pointer", dim=32, layers=2, card=16)
    write_encodec(folder / "encodec_32khz", 2)
    assert "transformer_lm.n_q = 4 (allowed: up to 2" in refused(folder).text


def test_a_solver_whose_codec_is_nowhere(tmp_path: Path) -> None:
    settings = {"compression_model_checkpoint": "//sig/0123abcd"}
    folder = write_audiocraft_checkpoint(
        tmp_path / "x", form="training", codec_form="none", dim=32, layers=2, card=16, settings=settings
    )
    error = refused(folder)
    assert error.code == ErrorCode.NOT_FOUND
    assert "compression_state_dict.bin" in error.text
    assert "//sig/0123abcd" in error.text


def test_the_file_that_a_training_leaves_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_audiocraft_checkpoint(tmp_path / "mine", form="training", dim=32, layers=2, card=16)
    bundle = load_model(str(folder / "checkpoint.th"), device="cpu", dtype="float32")
    assert (bundle.name, bundle.card) == ("mine", 16)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        RequestError
    ) as caught:  # a client may name none but those in the allowed folders, however it writes it
        check_name(
            "mine/checkpoint.th",
            EngineSettings(),
            FileSettings(allowed=[str(tmp_path / "other")], takes=str(tmp_path / "takes")),
        )
    assert caught.value.code == ErrorCode.NOT_ALLOWED
