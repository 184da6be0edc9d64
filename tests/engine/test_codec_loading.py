"""Codecs out of files of every layout make the codes and the sound that AudioCraft, encodec, Descript and transformers make."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor

from engine.checkpoints.codecs import find_codec, load_codec
from engine.runtime import spectral_codec
from engine.runtime.audio_codec import AudioCodec, Encoded
from engine.runtime.spectral_codec import SpectralCodec
from protocols.errors import ErrorCode, RequestError
from tests.engine import test_codec, test_codec_chunks, test_codec_dac
from tests.engine.test_codec import difference, refusal
from tests.support import codec_states as states

FIGURES = json.loads((Path(__file__).parent / "figures" / "codecs.json").read_text())
TOLERANCE = 1e-5


def write_package(path: Path, settings: dict[str, Any], seed: int = 7) -> Path:
    """A codec's file as AudioCraft exports it."""
    state = states.encodec_state(settings["seanet"], settings["rvq"]["n_q"], settings["rvq"]["bins"], seed)
    content = {"best_state": state, "xp.cfg": yaml.safe_dump(settings), "version": "1.4.0a2", "exported": True}
    torch.save(content, path)
    return path


def heard_as_recorded(audio: Tensor, figures: dict[str, Any]) -> None:
    places, values = figures["audio"]
    found = audio.flatten()[places]
    assert float((found - torch.tensor(values)).abs().max()) < TOLERANCE * max(1.0, figures["level"])


@pytest.mark.parametrize("name", states.VARIANTS)
def test_audiocraft_s_codecs(name: str, tmp_path: Path) -> None:
    """Every option of its SEANet: norms, activations, halves of their own, a scale for the signal."""
    settings, figures = states.settings_of(name), FIGURES["audiocraft"][name]
    codec = load_codec(str(write_package(tmp_path / "compression_state_dict.bin", settings)))
    audio = states.sound(settings["channels"], 1234)
    encoded = codec.encode_whole(audio)
    assert encoded.codes.tolist() == figures["codes"]
    channels, samples = figures["audio_shape"]
    if figures["scale"] is None:
        assert encoded.scales is None
    else:
        assert encoded.scales is not None
        assert encoded.scales.tolist() == pytest.approx(figures["scale"], rel=1e-6)
    heard = codec.decode_whole(Encoded(encoded.codes, samples, encoded.scales))
    assert heard.shape == (channels, samples)
    heard_as_recorded(heard, figures)


@pytest.mark.parametrize("name", ["plain", "causal", "no_norm", "spectral_norm", "two_halves"])
def test_their_streams_equal_the_whole(name: str, tmp_path: Path) -> None:
    settings = states.settings_of(name)
    codec = load_codec(str(write_package(tmp_path / "codec.bin", settings)))
    audio = states.sound(settings["channels"], 5 * states.SAMPLE_RATE + 3)
    whole = codec.encode_whole(audio)
    meter = codec.level_meter()
    for block in torch.split(audio, 700, 1):
        meter.add(block)
    encoder = codec.encoder_stream(scales=meter.scales if codec.scaled else None)
    pieces = [encoder.encode(block) for block in torch.split(audio, 333, 1)]
    encoded = Encoded.join([*pieces, encoder.flush()])
    assert torch.equal(encoded.codes, whole.codes)
    decoder = codec.decoder_stream(audio.shape[1])
    parts = [Encoded(codes, 0) for codes in torch.split(encoded.codes, 17, 1)]
    parts[0] = Encoded(parts[0].codes, encoded.samples, encoded.scales)
    heard = torch.cat([*(decoder.decode(part) for part in parts), decoder.flush()], 1)
    assert difference(heard, codec.decode_whole(whole)) < TOLERANCE
    if codec.scaled:
        assert refusal(codec.encoder_stream) == (ErrorCode.OUT_OF_RANGE, "scales")
        assert refusal(lambda: codec.decoder_stream().decode(Encoded(whole.codes, 1)))[1] == "scales"


@pytest.mark.parametrize("name", ["encodec_24khz", "encodec_48khz"])
def test_the_encodec_package_s_files(name: str, tmp_path: Path) -> None:
    figures, stereo = FIGURES["encodec"][name], name == "encodec_48khz"
    norm = "time_group_norm" if stereo else "weight_norm"
    changes = {"channels": 1 + stereo, "ratios": [8, 5, 4, 2], "norm": norm, "true_skip": False}
    torch.save(
        states.encodec_state(states.SEANET | changes, states.CODEBOOKS, states.CARD, seed=9), tmp_path / f"{name}.th"
    )
    codec = load_codec(str(tmp_path))
    assert (codec.sample_rate, codec.channels) == ((48_000, 2) if stereo else (24_000, 1))
    assert (codec.chunks is not None, codec.scaled) == (stereo, stereo)
    encoded = codec.encode_whole(states.sound(codec.channels, figures["samples"]))
    assert encoded.codes.tolist() == figures["codes"]
    if stereo:
        assert encoded.scales is not None
        assert encoded.scales.tolist() == pytest.approx(figures["scales"], rel=1e-5)
    heard_as_recorded(codec.decode_whole(encoded), figures)


def test_descript_s_files(tmp_path: Path) -> None:
    figures = FIGURES["descript"]
    torch.save(states.descript_content(11, **figures["settings"]), tmp_path / "weights.pth")
    codec = load_codec(str(tmp_path / "weights.pth"))
    codes = codec.encode(states.sound(1, 5000))
    assert codes.tolist() == figures["codes"]
    audio = codec.decode(codes)
    assert audio.shape == (1, 16 * 320)
    heard_as_recorded(audio[:, : figures["audio_samples"]], figures)
    assert not audio[:, figures["audio_samples"] :].any()
    broken = states.descript_content(11, **figures["settings"])
    broken["metadata"]["kwargs"]["decoder_rates"] = [8, 0]
    torch.save(broken, tmp_path / "weights.pth")
    assert refusal(lambda: load_codec(str(tmp_path)))[1] == "metadata.kwargs.decoder_rates"


@cache
def saved(folder: Path, kind: str) -> Any:
    model = {
        "encodec": lambda: test_codec.make_model(),
        "chunked": lambda: test_codec_chunks.pair("encodec_48khz")[0],
        "dac": lambda: test_codec_dac.make_model(**test_codec_dac.CONFIGS["small"]),
    }[kind]()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", ["encodec", "chunked", "dac"])
def test_transformers_folders(kind: str, tmp_path: Path) -> None:
    """With weight norm in the new form, in the old one, folded in, and as a pickle."""
    model = saved(tmp_path, kind)
    codec = load_codec(str(tmp_path))
    audio = states.sound(codec.channels, 3 * codec.hop_length + 5)
    encoded = codec.encode_whole(audio)
    direct: AudioCodec = {
        "encodec": test_codec.Codec,
        "chunked": test_codec_chunks.make_codec,
        "dac": lambda model, channels, device, dtype: test_codec_dac.DacCodec(
            test_codec_dac.DacWeights.of_model(model)
        ),
    }[kind](model, codec.channels, "cpu", torch.float32)  # type: ignore[operator]
    assert torch.equal(encoded.codes, direct.encode_whole(audio).codes)
    assert codec.fingerprint == direct.fingerprint
    heard = codec.decode_whole(encoded)
    state = {}
    for name, tensor in model.state_dict().items():
        name = name.replace("parametrizations.weight.original0", "weight_g")
        state[name.replace("parametrizations.weight.original1", "weight_v")] = tensor
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    again = load_codec(str(tmp_path))
    assert again.fingerprint == codec.fingerprint
    assert torch.equal(again.decode_whole(encoded), heard)
    assert refusal(lambda: load_codec(str(tmp_path), channels=3)) == (ErrorCode.UNSUPPORTED, "channels")


def test_a_model_s_own_codec(tmp_path: Path) -> None:
    codec = load_codec("pocket")
    assert isinstance(codec, SpectralCodec)
    audio = states.sound(1, 40_000)
    encoder = codec.encoder_stream()
    encoded = Encoded.join([*(encoder.encode(block) for block in torch.split(audio, 999, 1)), encoder.flush()])
    assert torch.equal(encoded.codes, codec.encode(audio))
    assert codec.decode_whole(encoded).shape == audio.shape


def test_our_own_codec_encodes_long_sound_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a window sees before and behind is all that its frames depend on."""
    codec = load_codec("pocket", channels=2)
    assert isinstance(codec, SpectralCodec)
    audio = states.sound(2, 150 * codec.hop_length + 11)
    whole = codec.encode(audio)
    monkeypatch.setattr(spectral_codec, "_BLOCK_FRAMES", 20)
    encoder = codec.encoder_stream()
    pieces = [encoder.encode(block) for block in torch.split(audio, 7777, 1)]
    assert encoder.frames_done > 100
    assert encoder.state_bytes < 80 * codec.hop_length * 2 * 4
    assert torch.equal(Encoded.join([*pieces, encoder.flush()]).codes, whole)


def test_a_pointer_leads_to_a_folder_beside_it(tmp_path: Path) -> None:
    saved(tmp_path / "dac_44khz", "dac")
    torch.save(
        {"pretrained": "dac_44khz", "exported": True, "version": "1.4.0a2"}, tmp_path / "compression_state_dict.bin"
    )
    assert load_codec(str(tmp_path / "compression_state_dict.bin")).sample_rate == 16_000


def test_fine_tunes_have_names_of_their_own(tmp_path: Path) -> None:
    settings = states.settings_of("plain")
    path = write_package(tmp_path / "codec.bin", settings)
    first = load_codec(str(path)).fingerprint
    fewer = copy.deepcopy(settings)
    fewer["rvq"]["n_q"] = 2
    content = torch.load(path, weights_only=True)
    torch.save({**content, "xp.cfg": yaml.safe_dump(fewer)}, path)
    assert load_codec(str(path)).fingerprint == first
    content["best_state"]["decoder.model.0.conv.conv.bias"][0] += 1e-3
    torch.save(content, path)
    assert load_codec(str(path)).fingerprint != first


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"seanet": {"activation": "Softplus"}}, "activation"),
        ({"seanet": {"activation_params": {"beta": 1.0}}}, "activation_params.beta"),
        ({"seanet": {"pad_mode": "circular"}}, "seanet.pad_mode"),
        ({"seanet": {"norm": "layer_norm"}}, "seanet.norm"),
        ({"seanet": {"norm": "time_group_norm", "causal": True}}, "seanet.norm"),
        ({"seanet": {"groups": 2}}, "seanet.groups"),
        ({"seanet": {"decoder": {"trim_right_ratio": 0.5}}}, "seanet.decoder.trim_right_ratio"),
        ({"seanet": {"decoder": {"final_activation": "Softmax"}}}, "final_activation"),
        ({"seanet": {"encoder": {"ratios": [4, 4]}}}, "seanet.ratios"),
        ({"encodec": {"quantizer": "no_quant"}}, "encodec.quantizer"),
        ({"compression_model": "dac"}, "compression_model"),
        ({"seanet": {"kernel_size": 5}}, "encoder.layers.0.conv.weight"),
        ({"rvq": {"n_q": 4}}, "quantizer.layers.3.codebook.embed"),
    ],
)
def test_what_is_not_computed_is_named(change: dict[str, Any], key: str, tmp_path: Path) -> None:
    settings = states.settings_of("plain")
    path = write_package(tmp_path / "codec.bin", settings)
    changed = copy.deepcopy(settings)
    for name, value in change.items():
        changed[name] = {**changed[name], **value} if isinstance(value, dict) else value
    torch.save({**torch.load(path, weights_only=True), "xp.cfg": yaml.safe_dump(changed)}, path)
    assert key in refusal(lambda: load_codec(str(path)))[1]


def test_what_is_no_codec_is_refused(tmp_path: Path) -> None:
    assert refusal(lambda: load_codec("no such codec")) == (ErrorCode.NOT_FOUND, "codec")
    assert refusal(lambda: load_codec(str(tmp_path))) == (ErrorCode.NOT_FOUND, "codec")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert refusal(lambda: load_codec(str(tmp_path))) == (ErrorCode.UNSUPPORTED, "model_type")
    (tmp_path / "config.json").write_text("[")
    assert refusal(lambda: load_codec(str(tmp_path)))[0] is ErrorCode.MALFORMED
    (tmp_path / "config.json").write_text('{"model_type": "encodec", "num_filters": "many"}')
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    assert refusal(lambda: load_codec(str(tmp_path)))[0] is ErrorCode.MALFORMED
    saved(tmp_path / "broken", "encodec")
    config = json.loads((tmp_path / "broken" / "config.json").read_text())
    for key, value in (
        *(("upsampling_ratios", [0, 4]), ("upsampling_ratios", []), ("compress", 0), ("num_filters", -4)),
        *(("num_lstm_layers", -1), ("kernel_size", 0), ("sampling_rate", 0), ("chunk_length_s", float("nan"))),
        *(("target_bandwidths", []), ("target_bandwidths", [1e9]), ("codebook_size", 1), ("overlap", 2.0)),
        *(("audio_channels", 7), ("norm_type", "none"), ("num_filters", 1 << 40), ("hidden_size", "16")),
    ):
        changed = config | {"chunk_length_s": 1.0} if key == "overlap" else config
        (tmp_path / "broken" / "config.json").write_text(json.dumps(changed | {key: value}))
        with pytest.raises(RequestError):
            pytest.fail(f"{key}: {load_codec(str(tmp_path / 'broken'))}")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    assert refusal(lambda: load_codec(str(tmp_path / "other.pth"))) == (ErrorCode.UNSUPPORTED, "codec")
    assert find_codec(str(tmp_path)) == tmp_path
