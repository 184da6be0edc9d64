"""The decode benchmark at its smallest: it runs, says everything it promises, and its figures are figures."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from benchmarks import decode
from benchmarks._shapes import SHAPES, ModelShape, all_weights, build_lm, step_weights
from benchmarks._steps import measure_bandwidth
from engine.checkpoints import load_model, pocket
from engine.runtime.lm import MusicgenLM
from protocols.errors import ErrorCode, RequestError
from tests.support.own_models import write_own_model

FIGURES = (
    "step_ms",
    "peer_step_ms",
    "floor_step_ms",
    "codec_ms_per_frame",
    "codec_ms_single_frame",
    "peer_codec_ms_per_frame",
    "realtime",
    "peer_realtime",
    "bandwidth_gb_s",
    "weights_mb",
    "cache_mb",
)
TINY = ModelShape(dim=32, layers=2, heads=4, card=64, text_dim=16, codec_filters=4, codec_dim=16, codec_lstm_layers=1)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(SHAPES, "tiny", TINY)
    return "tiny"


def test_every_figure_stands_beside_the_peers_and_the_floor(tiny: str) -> None:
    result = decode.measure(tiny, threads=2, context=6, steps=12, repeats=3, device="cpu")
    for key in FIGURES:
        if key in ("peer_step_ms", "peer_realtime"):
            assert math.isfinite(result[key])  # a difference of two short calls: its sign is the machine's mood
        else:
            assert 0 < result[key] < math.inf, key
    assert (result["threads"], result["rows"], result["context"], result["dtype"]) == (2, 2, 6, "float32")
    assert result["peer_missing"] is None
    assert {"cpu", "cores", "memory_gb", "torch", "transformers", "load", "date"} <= set(result["machine"])
    assert json.loads(json.dumps(result)) == result
    assert "transformers" in decode.describe(result)


def test_without_the_memory_the_peer_is_left_out_and_the_reason_said(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def lacks(device: torch.device, size: int) -> str:
        asked.append(size)
        return "1 GB needed, 0 GB free" if len(asked) > 1 else ""

    monkeypatch.setattr(decode, "_lacks", lacks)
    result = decode.measure(tiny, threads=2, context=4, steps=2, repeats=1, device="cpu")
    assert (result["peer_step_ms"], result["peer_realtime"]) == (None, None)
    assert result["peer_missing"] == "1 GB needed, 0 GB free"
    assert "not measured of transformers" in decode.describe(result)


def test_our_own_layout_is_measured_without_the_peers_codec(tmp_path: Path) -> None:
    write_own_model(tmp_path)
    result = decode.measure(
        str(tmp_path), by_shape=False, threads=2, context=4, steps=2, repeats=1, dtype="float32", device="cpu"
    )
    assert isinstance(result["peer_step_ms"], float), (
        "a difference of two times: of such a small model it may be anything"
    )
    assert (result["peer_codec_ms_per_frame"], result["peer_realtime"]) == (None, None)
    assert result["peer_missing"].startswith("its codec")
    lm = MusicgenLM(load_model(str(tmp_path), device="cpu").lm.config)
    assert result["parameters"] == sum(parameter.numel() for parameter in lm.parameters())
    assert result["codec_ms_per_frame"] > 0


def test_what_a_step_reads_is_counted_as_the_model_has_it() -> None:
    lm = MusicgenLM(TINY.lm_config())
    sizes = {name: parameter.numel() for name, parameter in lm.named_parameters()}
    assert all_weights(TINY.lm_config()) == sum(sizes.values())
    once = ("embeddings", "text_weight", "text_bias")
    read = sum(size for name, size in sizes.items() if name not in once and "cross_kv" not in name)
    assert step_weights(TINY.lm_config()) == read


def test_random_weights_are_finite_and_the_same_for_the_same_seed() -> None:
    torch.manual_seed(3)
    first = build_lm(TINY, torch.device("cpu"), torch.float32)
    torch.manual_seed(3)
    second = build_lm(TINY, torch.device("cpu"), torch.float32)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.isfinite(one).all()
        assert torch.equal(one, other)


def test_the_pocket_shape_is_the_pocket_models() -> None:
    model = pocket._make_model(400)
    decoder, codec, text = model.config.decoder, model.config.audio_encoder, model.config.text_encoder
    assert SHAPES["pocket"] == ModelShape(
        dim=decoder.hidden_size,
        layers=decoder.num_hidden_layers,
        heads=decoder.num_attention_heads,
        card=decoder.vocab_size,
        text_dim=text.d_model,
        codec_filters=codec.num_filters,
        codec_dim=codec.hidden_size,
        codec_lstm_layers=codec.num_lstm_layers,
    )


def test_bandwidth_is_a_rate() -> None:
    assert 0 < measure_bandwidth(torch.device("cpu"), 2**23) < 1e5


def test_bad_input_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RequestError) as refused:
        decode.measure("musicgen-huge")
    assert refused.value.code is ErrorCode.UNKNOWN_MODEL
    assert decode.main(["--device", "abacus"]) == 2
    assert "unknown_device" in capsys.readouterr().err
