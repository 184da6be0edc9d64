"""The decode benchmark at its smallest: it runs, says everything it promises, and its figures are figures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import _steps, decode
from benchmarks._shapes import SHAPES, ModelShape, all_weights, build_lm, checkpoint
from benchmarks._steps import measure_bandwidth
from benchmarks._tokens import compare
from benchmarks._traffic import traffic_of, weight_bytes
from engine.checkpoints import load_model, pocket
from engine.checkpoints.devices import Precision
from engine.runtime import onnx
from engine.runtime.language_model import Step
from engine.runtime.linear import Linear
from engine.runtime.lm import MusicgenLM
from engine.runtime.quantised import BlockWeight, Form
from engine.runtime.session import Session
from protocols.errors import ErrorCode, RequestError
from tests.support.own_models import write_own_model

FIGURES = (
    "step_ms",
    "whole_ms",
    "floor_step_ms",
    "of_floor",
    "codec_ms_per_frame",
    "codec_ms_single_frame",
    "peer_step_ms",
    "peer_int8_step_ms",
    "peer_codec_ms_per_frame",
    "realtime",
    "peer_realtime",
    "times_peer",
    "bandwidth_gb_s",
    "weights_mb",
    "cache_mb",
)
TINY = ModelShape(
    dim=64,
    layers=2,
    heads=4,
    card=64,
    text_dim=16,
    text_layers=1,
    text_heads=2,
    codec_filters=4,
    codec_dim=16,
    codec_lstm_layers=1,
)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_steps, "_READ_SECONDS", 0.01)
    monkeypatch.setattr(_steps, "_CODEC_CHUNKS", 4)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(SHAPES, "tiny", TINY)
    return "tiny"


def test_every_figure_stands_beside_the_peers_and_the_floor(tiny: str) -> None:
    result = decode.measure(
        tiny, threads=1, context=6, steps=6, repeats=2, dtypes=("int8", "float32"), device="cpu", equal_frames=6
    )
    for key in FIGURES:
        assert 0 < result[key] < math.inf, key
    assert [one["dtype"] for one in result["precisions"]] == ["int8", "float32"]
    assert [one["runner"] for one in result["precisions"]] == ["onnx", "plain"]
    rounded, whole = result["precisions"]
    assert (rounded["tokens"]["tokens"], rounded["tokens"]["equal"]) == (24, 1.0)
    assert (rounded["tokens"]["against"], rounded["tokens"]["modules"]["against"]) == ("plain kernels", "modules")
    assert whole["tokens"] is None, "the modules themselves"
    assert rounded["weights_mb"] < whole["weights_mb"] / 2
    assert (result["threads"], result["rows"], result["context"], result["dtype"]) == (1, 2, 6, "int8")
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
    result = decode.measure(
        tiny, threads=1, context=4, steps=2, repeats=1, dtypes=("float32",), device="cpu", equal_frames=0
    )
    assert (result["peer_step_ms"], result["peer_realtime"]) == (None, None)
    assert result["peer_missing"] == "1 GB needed, 0 GB free"
    assert "not measured of transformers" in decode.describe(result)


def test_limits_are_those_of_the_machine_and_the_model() -> None:
    tokens = {"against": "plain kernels", "tokens": 100, "different": 0, "ties": 0, "kl_nats": 3e-3}
    column = {"dtype": "int8", "runner": "onnx", "realtime": 1.2, "of_floor": 0.5, "step_ms": 2.0, "tokens": tokens}
    real_time, same = decode._limits("musicgen-small", CPU, 4, [column], 100.0)
    assert (real_time["limit"], real_time["value"], real_time["kept"]) == (1.0, 1.2, True)
    assert (same["value"], same["kept"]) == (1, True)
    faster = column | {"dtype": "int4", "realtime": 1.4, "tokens": None}
    best = decode._limits("musicgen-small", CPU, 4, [column, faster], 100.0)[0]
    assert (best["what"], best["value"]) == ("real time, int4 by onnx", 1.4)
    off = column | {"tokens": tokens | {"different": 1, "ties": 1}}
    assert decode._limits("musicgen-small", CPU, 4, [off], 100.0)[1]["kept"] is False, "there are no ties"
    modules = column | {"tokens": tokens | {"against": "modules", "different": 2, "ties": 2}}
    same, apart = decode._limits("pocket", torch.device("cuda"), 1, [modules], 100.0)
    assert (same["value"], same["kept"]) == (1, True), "ties are no difference"
    assert (apart["value"], apart["kept"]) == (3e-3, False)
    assert len(decode._limits("musicgen-small", CPU, 2, [column], None)) == 1, "real time is asked of four threads"
    on_a_gpu = decode._limits("musicgen-medium", torch.device("cuda"), 1, [column | {"tokens": None}], 100.0)
    assert [(limit["limit"], limit["kept"]) for limit in on_a_gpu] == [(0.6, False), (15, True)]
    unmeasured = decode._limits("musicgen-medium", torch.device("cuda"), 1, [column], None)
    assert unmeasured[1]["kept"] is None, "neither kept nor missed"


def test_our_own_layout_is_measured_without_the_peers_codec(tmp_path: Path) -> None:
    write_own_model(tmp_path)
    result = decode.measure(
        str(tmp_path),
        by_shape=False,
        threads=1,
        context=4,
        steps=2,
        repeats=1,
        dtypes=("float32",),
        device="cpu",
    )
    assert 0 < result["peer_step_ms"] < math.inf
    assert (result["peer_codec_ms_per_frame"], result["peer_realtime"]) == (None, None)
    assert result["peer_missing"].startswith("its codec")
    lm = MusicgenLM(load_model(str(tmp_path), device="cpu", dtype="float32").lm.config)
    assert result["parameters"] == sum(parameter.numel() for parameter in lm.parameters())
    assert result["codec_ms_per_frame"] > 0


@pytest.mark.parametrize("form", [None, "int8", "int4"])
def test_what_a_step_reads_is_counted_as_the_model_has_it(form: Form | None) -> None:
    config = TINY.lm_config()
    precision = Precision(form or "float32", torch.float32, form)
    lm = build_lm(TINY, CPU, precision)
    parts = {name: module for name, module in lm.named_modules() if isinstance(module, Linear)}
    matrices = sum(
        module.packed_bytes or module.weight.nbytes for name, module in parts.items() if "cross_kv" not in name
    )
    norms = sum(parameter.nbytes for name, parameter in lm.named_parameters() if "norm" in name)
    assert weight_bytes(config, precision, CPU) == matrices + norms
    assert all_weights(config) == sum(parameter.numel() for parameter in MusicgenLM(config).parameters())


def test_random_weights_are_finite_and_the_same_for_the_same_seed() -> None:
    precision = Precision("float32", torch.float32)
    torch.manual_seed(3)
    first = build_lm(TINY, CPU, precision)
    torch.manual_seed(3)
    second = build_lm(TINY, CPU, precision)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.isfinite(one).all()
        assert torch.equal(one, other)


class _ByModules:
    """Runs a model by its own modules, and says what they say, or something else."""

    name = "modules"
    grain = 0

    def __init__(self, lm: MusicgenLM, twist: Callable[[Tensor], Tensor]) -> None:
        self._lm, self._twist = lm, twist

    def memory(self, rows: int, slots: int) -> list[Tensor]:
        config = self._lm.config
        return [torch.zeros(2, rows, config.kv_heads, slots, config.head_dim) for _ in range(config.layers)]

    def remember(self, session: Session) -> None:
        session.pack_texts()

    def texts(self, text: Tensor) -> None:
        return None

    def append(self, x: Tensor, session: Session, start: int) -> Tensor:
        return self._lm.by_modules(x, session, start)

    def score(self, x: Tensor, session: Session, start: int) -> Tensor:
        raise AssertionError("nothing is scored but single columns")

    def step(self, steps: Sequence[Step]) -> list[Tensor]:
        self._lm.runner = None
        try:
            return [self._twist(self._lm(*step)) for step in steps]
        finally:
            self._lm.runner = self


@pytest.mark.parametrize(
    ("twist", "share"), [(lambda logits: logits, 1.0), (lambda logits: -1e4 * logits, 0.0)], ids=["same", "other"]
)
def test_tokens_are_compared_with_those_of_the_modules(twist: Callable[[Tensor], Tensor], share: float) -> None:
    torch.manual_seed(4)
    lm = build_lm(TINY, CPU, Precision("float32", torch.float32))
    condition = lm.condition(torch.randn(3, TINY.text_dim))
    assert compare(lm, condition, prompt=3, frames=5) is None, "the modules run it"
    lm.runner = _ByModules(lm, twist)
    found = compare(lm, condition, prompt=3, frames=5)
    assert found is not None
    assert found.tokens == 20
    assert found.equal == pytest.approx(share, abs=0.2)
    assert (found.different > 0) == (found.widest_gap > 0) == (found.kl_nats > 0) == (share < 1)
    assert isinstance(lm.runner, _ByModules), "it is given back"
    all_ties = compare(lm, condition, prompt=3, frames=5, tie=float("inf"))
    assert all_ties is not None
    assert all_ties.ties == all_ties.different == found.different


def test_onnxruntime_is_compared_with_its_own_kernels() -> None:
    torch.manual_seed(4)
    lm = build_lm(TINY, CPU, Precision("int8", torch.float32, "int8"))
    runner = onnx.attach(lm, 1, keep=True)
    condition = lm.condition(torch.randn(3, TINY.text_dim))
    found = compare(lm, condition, prompt=3, frames=20)
    assert found is not None
    assert (found.against, found.equal, found.different, found.logits_rms) == ("plain kernels", 1.0, 0, 0.0)
    assert found.modules is not None
    assert found.modules.logits_rms > 0
    assert lm.runner is runner
    assert isinstance(lm.heads.rounded, BlockWeight)
    lm.heads.rounded.scales = -lm.heads.rounded.scales  # as only the plain run, which is laid out anew, is given them
    wrong = compare(lm, condition, prompt=3, frames=20)
    assert wrong is not None
    assert wrong.different > 0


def test_a_shape_is_written_as_a_checkpoint_that_loads(tiny: str) -> None:
    with checkpoint(tiny) as folder:
        bundle = load_model(folder, device="cpu", dtype="float32")
        assert (bundle.status, bundle.name) == ("untrained", tiny)
        assert bundle.lm.config.layers == TINY.layers
        bundle.text.encode("a few words")
        traffic = traffic_of(Path(folder), Precision("float32", torch.float32), CPU)
    assert not Path(folder).exists()
    assert traffic is not None
    assert traffic.weights == weight_bytes(bundle.lm.config, Precision("float32", torch.float32), CPU)
    held = traffic.most_streams(1.0)
    assert held * traffic.cache + traffic.weights <= 0.02 * 1e9 < (held + 1) * traffic.cache + traffic.weights


def test_the_pocket_shape_is_the_pocket_models() -> None:
    model = pocket._make_model(400)
    decoder, codec, text = model.config.decoder, model.config.audio_encoder, model.config.text_encoder
    assert SHAPES["pocket"] == ModelShape(
        dim=decoder.hidden_size,
        layers=decoder.num_hidden_layers,
        heads=decoder.num_attention_heads,
        card=decoder.vocab_size,
        text_dim=text.d_model,
        text_layers=text.num_layers,
        text_heads=text.num_heads,
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
