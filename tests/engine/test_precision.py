"""Precisions: what they cost, measured beside single precision, and a model that is loaded in each."""

from __future__ import annotations

import json

import pytest
import torch

from engine.checkpoints import ModelBundle, devices, load_model
from engine.memory import weights_of
from engine.precision import main, measure, table
from engine.runtime.linear import Linear
from protocols.errors import ErrorCode, RequestError

FRAMES = 24


@pytest.fixture(scope="module")
def full() -> ModelBundle:
    return load_model("pocket", device="cpu", dtype="float32")


def test_names() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert devices.pick_precision("int8", cpu) == devices.Precision("int8", torch.float32, "int8")
    assert devices.pick_precision("INT4", gpu) == devices.Precision("int4", torch.float16, "int4")
    auto = devices.pick_precision("auto", cpu)
    assert (auto.form, auto.asked, devices.pick_precision("float32", cpu).asked) == (None, "auto", "float32")
    with pytest.raises(RequestError) as refused:
        devices.pick_precision("int2", cpu)
    assert (refused.value.code, refused.value.field) == (ErrorCode.NOT_ALLOWED, "dtype")
    assert "int4" in refused.value.allowed


@pytest.mark.parametrize(("form", "share"), [("int8", 0.7), ("int4", 0.65)])
def test_a_model_in_few_bits_is_smaller_and_says_so(full: ModelBundle, form: str, share: float) -> None:
    rounded = load_model("pocket", device="cpu", dtype=form)
    assert rounded.precision == rounded.form == form
    assert full.precision == "float32"
    assert weights_of(rounded) < share * weights_of(full)
    matrices = [module for module in rounded.lm.modules() if isinstance(module, Linear)]
    assert all(module.rounded is not None for module in matrices)
    assert 0 < rounded.lm.rounding_error < 0.15
    assert full.lm.rounding_error == 0
    assert rounded.fingerprint != full.fingerprint, "it makes other tokens"


def test_figures_grow_as_bits_go() -> None:
    figures = {one.precision: one for one in measure("pocket", device="cpu", frames=FRAMES)}
    ways = {f"{form}, {how}" for form in devices.FORMS for how in ("int8 caches", "plain")}
    assert set(figures) == {*devices.PRECISIONS, *ways}
    exact = figures["float32"]
    assert (exact.logits_max, exact.kl_nats, exact.top_equal) == (0, 0, 1)
    order = ["float32", "float16", "int8", "int4"]
    errors = [figures[name].logits_rms for name in order]
    assert errors == sorted(errors)
    assert 0 < figures["int8"].kl_nats < 0.002
    assert figures["int8"].kl_nats < figures["int4"].kl_nats < 0.05
    # Run by onnxruntime or by its own modules, it errs as much.
    assert (figures["int8"].runner, figures["int8, plain"].runner, exact.runner) == ("onnx", "plain", "plain")
    assert figures["int8, plain"].logits_rms == pytest.approx(figures["int8"].logits_rms, rel=0.2)
    assert figures["int8, int8 caches"].cache_mb == pytest.approx(exact.cache_mb / 4)
    assert figures["int8, int8 caches"].kl_nats < 0.003
    assert figures["int4"].top_equal > 0.6
    assert figures["int4"].weights_mb < figures["int8"].weights_mb < exact.weights_mb
    assert "int4, plain" in table(list(figures.values())).splitlines()[-1]


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["pocket", "--device", "cpu", "--precision", "int8", "--frames", str(FRAMES)]
    assert main([*command, "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"float32", "int8", "int8, int8 caches", "int8, plain"}
    assert main(["no-such-model"]) == 1
    assert "no-such-model" in capsys.readouterr().err
