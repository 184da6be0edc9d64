"""Weights of eight and four bits: how near and how small they are, that rows do not know each other, and onnxruntime's products."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from engine.runtime import quantised
from engine.runtime.linear import Linear
from engine.runtime.onnx import check
from engine.runtime.quantised import BlockWeight, Form, Int4Weight, Int8Weight, QuantisedWeight, quantise

FORMS: tuple[Form, ...] = ("int8", "int4")
KINDS: dict[str, Callable[[Tensor], QuantisedWeight]] = {
    "int8": lambda weight: BlockWeight(weight, "int8"),
    "int4": lambda weight: BlockWeight(weight, "int4"),
    "int8 elsewhere": Int8Weight,
    "int4 elsewhere": Int4Weight,
}


def matrix(outputs: int, inputs: int) -> Tensor:
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(1)) * 0.02


def rows(count: int, inputs: int) -> Tensor:
    return torch.randn(count, inputs, generator=torch.Generator().manual_seed(2))


def defined(weight: BlockWeight, x: Tensor) -> Tensor:
    """The product as it is defined, in double precision, from what is stored."""
    outputs, inputs = weight.shape
    blocks, half = weight.scales.shape[1], 1 << weight.bits - 1
    stored = weight.codes.long()
    codes = stored if weight.bits == 8 else torch.stack((stored & 15, stored >> 4), dim=-1).flatten(2)
    padded = torch.zeros(len(x), blocks * weight.block)
    padded[:, :inputs] = x
    heard = padded.view(len(x), blocks, weight.block)
    tops = heard.abs().amax(dim=2, keepdim=True)
    rounded = torch.nan_to_num(heard * (127 / tops)).round().long()
    sums = torch.einsum("rbk,obk->rbo", rounded, codes - half)
    return (sums.double() * (tops.double() / 127) * weight.scales.double().T).sum(1).view(len(x), outputs)


@pytest.mark.parametrize(
    ("kind", "most"), [("int8", 0.008), ("int4", 0.1), ("int8 elsewhere", 0.01), ("int4 elsewhere", 0.12)]
)
@pytest.mark.parametrize("shape", [(96, 128), (64, 64), (33, 96), (16, 32)])
def test_the_matrix_is_near(kind: str, most: float, shape: tuple[int, int]) -> None:
    exact = matrix(*shape)
    rounded = KINDS[kind](exact)
    error = float((rounded.plain() - exact).square().mean().sqrt() / exact.square().mean().sqrt())
    assert rounded.shape == shape
    assert 0 < rounded.error < most
    assert error == pytest.approx(rounded.error, rel=1e-3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(96, 128), (30, 40), (7, 20), (1100, 1024)])
@pytest.mark.parametrize("count", [1, 3, 64])
def test_the_product_is_the_one_that_is_defined(form: Form, shape: tuple[int, int], count: int) -> None:
    weight, x = BlockWeight(matrix(*shape), form), rows(count, shape[1])
    x[0, :5] = 0
    expected = defined(weight, x)
    assert weight.product(x).dtype == torch.float32
    torch.testing.assert_close(weight.product(x).double(), expected, rtol=0, atol=2e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", ["int8 elsewhere", "int4 elsewhere"])
def test_elsewhere_the_product_is_that_of_the_rounded_matrix(kind: str) -> None:
    weight, x = KINDS[kind](matrix(96, 128)), rows(5, 128)
    torch.testing.assert_close(weight.product(x), x @ weight.plain().T)
    assert weight.product(x.half()).dtype == torch.float16


@pytest.mark.parametrize("form", FORMS)
def test_floats_and_integers_make_the_same_product(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, x = BlockWeight(matrix(48, 320), form), rows(4, 320)
    made = []
    for most in (0, 1 << 30):
        monkeypatch.setattr(quantised, "_FEW", most)
        made.append(weight.product(x))
    assert torch.equal(*made)


@pytest.mark.parametrize("form", FORMS)
def test_a_row_does_not_depend_on_its_neighbours(form: Form) -> None:
    weight, x = BlockWeight(matrix(96, 320), form), rows(70, 320)
    loud = x.clone()
    loud[1:] *= 1000
    alone = weight.product(x[:1])
    assert torch.equal(alone, weight.product(x)[:1])
    assert torch.equal(alone, weight.product(loud[:3])[:1])


def test_it_is_small() -> None:
    exact = matrix(1024, 1024)
    assert quantise(exact, "int8").nbytes < 1.04 * 1024 * 1024
    assert quantise(exact, "int4").nbytes < 0.63 * 1024 * 1024


def test_blocks_follow_the_matrix() -> None:
    for outputs, inputs, block in ((1024, 1024, 128), (2048, 576, 64), (2048, 544, 32), (320, 1024, 32), (16, 20, 32)):
        assert BlockWeight(torch.zeros(outputs, inputs)).block == block
    assert BlockWeight(torch.zeros(1024, 1024), "int4").block == 64
    assert BlockWeight(torch.zeros(320, 1024), "int4").block == 32
    assert BlockWeight(matrix(8, 20)).plain().shape == (8, 20)


def test_any_matrix_has_blocks_but_not_groups() -> None:
    weight = quantise(matrix(32, 20), "int4")
    assert isinstance(weight, BlockWeight)
    assert weight.bits == 4
    assert not quantised.has_groups(20)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_matrix_of_zeros_stays_one(kind: str) -> None:
    weight = KINDS[kind](torch.zeros(32, 64))
    assert weight.error == 0.0
    assert not weight.product(torch.ones(2, 64)).any()


def test_what_was_let_go_says_so() -> None:
    weight = BlockWeight(matrix(32, 64))
    taken = weight.nbytes
    weight.release()
    assert weight.released
    assert weight.nbytes == taken, "whoever took it over has as much"
    with pytest.raises(RuntimeError, match="let go"):
        weight.product(rows(1, 64))


def test_a_layer_in_few_bits_has_its_bias_and_activation() -> None:
    layer = Linear(24, 40, bias=True, activation="relu")
    layer.weight.data.copy_(matrix(24, 40))
    assert layer.bias is not None
    layer.bias.data.copy_(torch.linspace(-0.2, 0.2, 24))
    x = rows(6, 40).view(2, 3, 40)
    expected = layer(x)
    layer.pack("int8")
    assert isinstance(layer.rounded, BlockWeight)
    assert layer.weight.numel() == 0
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=0.01)
    assert (layer(x) == 0).any()


class TestOnnxruntime:
    """Its own product of such matrices, beside the plain one."""

    def test_they_agree(self) -> None:
        assert check.why_not() is None

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("shape", [(96, 320), (30, 40), (16, 20)])
    def test_on_any_shape(self, form: Form, shape: tuple[int, int]) -> None:
        weight, x = BlockWeight(matrix(*shape), form), rows(6, shape[1])
        expected = weight.product(x)
        made = check.Product(weight)(x)
        torch.testing.assert_close(made, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))

    def test_another_product_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = BlockWeight.product
        for wrong in (
            lambda weight, x: real(weight, x) * 1.001,
            lambda weight, x: x @ weight.plain().T,  # of activations that are not rounded
        ):
            monkeypatch.setattr(BlockWeight, "product", wrong)
            reason = check.why_not.__wrapped__()
            assert reason is not None
            assert "int8" in reason

    def test_a_library_that_is_missing_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
        reason = check.why_not.__wrapped__()
        assert reason is not None
        assert "onnxruntime" in reason
