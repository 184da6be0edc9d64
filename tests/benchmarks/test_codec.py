"""The codec benchmark at its smallest: it runs, says everything it promises, and counts what it counts."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from benchmarks import codec
from benchmarks._shapes import SHAPES, ModelShape, build_codec, build_peer_codec

TINY = ModelShape(
    dim=32, layers=1, heads=4, card=64, text_dim=16, text_heads=2, codec_filters=4, codec_dim=16, codec_lstm_layers=1
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHAPES, "tiny", TINY)
    for name, value in {"_ROUNDS": 1, "_SIZES_SECONDS": 0.2, "_PEER_SECONDS": 0.5, "_PEER_RUNS": 1}.items():
        monkeypatch.setattr(codec, name, value)


def test_every_figure_stands_beside_the_peers_and_the_floor() -> None:
    result = codec.measure("tiny", by_shape=True, minutes=0.02, chunk=4, threads=1, device="cpu")
    assert list(result["ms_per_frame"]) == [str(size) for size in range(1, 9)]
    figures = [result[f"{name}ms_per_frame"] for name in ("peer_", "floor_")]
    figures += [result["ms_per_frame_whole_file"], result["realtime"], *result["ms_per_frame"].values()]
    paired = result["side_by_side"]
    for minute in (result["first_minute"], result["last_minute"], paired["old"], paired["fresh"]):
        figures += [minute["ms"], minute["processor_ms"]]
    assert all(0 < figure < math.inf for figure in figures)
    assert result["state_bytes"] == result["state_bytes_after"] > 0
    (limit,) = result["limits"]
    assert (limit["value"], limit["kept"]) == (paired["ratio"], paired["ratio"] <= 1.02)
    assert len(result["each_minute_ms"]) == 1
    assert json.loads(json.dumps(result)) == result
    assert "old over fresh" in codec.describe(result)


def test_old_and_fresh_are_compared_in_pairs_of_turns() -> None:
    # What drifts in both is no difference between them, and neither is who comes first.
    drift = [1.0 + 0.01 * index for index in range(100)]
    first = [1.1 if index % 2 else 1.0 for index in range(100)]
    old = [slow * turn for slow, turn in zip(drift, first, strict=True)]
    fresh = [slow * (2.1 - turn) for slow, turn in zip(drift, first, strict=True)]
    assert codec._ratio(old, fresh) == pytest.approx(1, abs=0.005)
    assert codec._ratio([1.05 * value for value in old], fresh) == pytest.approx(1.05, abs=0.005)


def test_multiply_adds_are_counted_from_the_layers() -> None:
    model = build_peer_codec(TINY)
    frames = 50
    lengths = [frames]
    counted = 0
    for module in model.decoder.modules():
        if isinstance(module, nn.LSTM):
            counted += 2 * frames * sum(weight.numel() for weight in module.parameters() if weight.dim() == 2)
        if isinstance(module, nn.ConvTranspose1d):
            counted += 2 * lengths[-1] * module.weight.numel()
            lengths.append(lengths[-1] * module.stride[0])
    total = codec._peer_flops(model) * frames
    assert lengths[-1] == 640 * frames
    assert total > counted > 0
    last = model.decoder.layers[-1].conv
    assert total - counted > 2 * lengths[-1] * last.weight.numel(), "the other convolutions are more than the last"


def test_the_flops_of_a_stream_are_those_of_its_frames() -> None:
    found = codec._flops(build_codec(TINY, torch.device("cpu")))
    assert found is None or 0.5 < found / codec._peer_flops(build_peer_codec(TINY)) < 1.5


def test_bad_input_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert codec.main(["--device", "abacus"]) == 2
    assert "unknown_device" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        codec.main(["--minutes", "0"])
