"""Weights of eight and four bits: how near they are, how small, and that rows do not know each other."""

from __future__ import annotations

import pytest
import torch

from engine.runtime import quantised
from engine.runtime.quantised import Form, Int8Weight, quantise


def matrix(outputs: int, inputs: int) -> torch.Tensor:
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(1)) * 0.02


@pytest.mark.parametrize(("form", "most"), [("int8", 0.01), ("int4", 0.12)])
@pytest.mark.parametrize("shape", [(96, 128), (64, 64), (33, 96), (16, 32)])
def test_the_matrix_is_near(form: Form, most: float, shape: tuple[int, int]) -> None:
    exact = matrix(*shape)
    rounded = quantise(exact, form)
    error = float((rounded.plain() - exact).square().mean().sqrt() / exact.square().mean().sqrt())
    assert rounded.shape == shape
    assert 0 < rounded.error < most
    assert error == pytest.approx(rounded.error, rel=0.1)


@pytest.mark.parametrize("form", ["int8", "int4"])
@pytest.mark.parametrize("fast", [True, False])
def test_the_product_is_that_of_the_rounded_matrix(form: Form, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast:
        monkeypatch.setattr(quantised, "_int8_works", lambda device: False)
        monkeypatch.setattr(quantised, "_int4_works", lambda: False)
    weight = quantise(matrix(96, 128), form)
    x = torch.randn(5, 128, generator=torch.Generator().manual_seed(2))
    expected = x @ weight.plain().T
    assert (weight.product(x) - expected).abs().max() < 0.02 * expected.abs().max()
    assert weight.product(x).dtype == torch.float32


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_a_row_does_not_depend_on_its_neighbours(form: Form) -> None:
    weight = quantise(matrix(96, 128), form)
    x = torch.randn(4, 128, generator=torch.Generator().manual_seed(2))
    loud = x.clone()
    loud[1:] *= 1000
    assert torch.equal(weight.product(x)[:1], weight.product(loud)[:1])


def test_it_is_small() -> None:
    exact = matrix(1024, 1024)
    assert quantise(exact, "int8").nbytes < 1.02 * 1024 * 1024
    assert quantise(exact, "int4").nbytes < 0.75 * 1024 * 1024


def test_rows_that_have_no_groups_get_eight_bits() -> None:
    assert isinstance(quantise(matrix(32, 20), "int4"), Int8Weight)


def test_a_matrix_of_zeros_stays_one() -> None:
    for form in ("int8", "int4"):
        weight = quantise(torch.zeros(32, 64), form)  # type: ignore[arg-type]
        assert weight.error == 0.0
        assert not weight.product(torch.ones(2, 64)).any()
