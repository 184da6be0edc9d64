"""Solvers of ordinary differential equations whose right side is worked out in pieces, so that nobody waits for a whole step.

Each solver is a generator: it yields None between pieces of work and returns the solution.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import torch
from torch import Tensor

Pieces = Generator[None, None, Tensor]
"""Work in pieces, which returns a tensor."""
Field = Callable[[Tensor, Tensor], Pieces]
"""The right side: of a moment (a number, in the state's precision) and a state of any shape, the state's rate of change."""

MOST_EVALUATIONS = 3000
"""Of the right side by `dormand_prince`; a trained flow takes a few hundred."""

_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_MOMENTS = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_FOURTH_ORDER = (1951 / 21600, 0.0, 22642 / 50085, 451 / 720, -12231 / 42400, 649 / 6300, 1 / 60)
_ERROR = tuple(a - b for a, b in zip((*_STAGES[-1], 0.0), _FOURTH_ORDER, strict=True))
_MIDDLE = (
    6025192743 / 30085553152 / 2,
    0.0,
    51252292925 / 65400821598 / 2,
    -2691868925 / 45128329728 / 2,
    187940372067 / 1594534317056 / 2,
    -1776094331 / 19743644256 / 2,
    11237099 / 235043384 / 2,
)
_ORDER = 5
_SAFETY, _MOST_GROWTH, _MOST_SHRINKING = 0.9, 10.0, 0.2


def euler(field: Field, state: Tensor, steps: int) -> Pieces:
    """From 0 to 1 in ``steps`` equal steps."""
    moment = torch.zeros((), device=state.device)
    for _ in range(steps):
        rate = yield from field(moment, state)
        state = state + 1 / steps * rate
        moment = moment + 1 / steps
    return state


def dormand_prince(field: Field, state: Tensor, *, end: float, rtol: float = 1e-5, atol: float = 1e-5) -> Pieces:
    """From 0 to ``end`` by Dormand and Prince's pair of orders 5 and 4, with steps as long as the error allows.

    Coefficients of Dormand and Prince (1980) with Shampine's error estimate and middle point (1986); the first step and the
    control of steps are Hairer, Nørsett and Wanner's (Solving Ordinary Differential Equations I, II.4), all as in torchdiffeq's
    ``dopri5``, which JASCO is solved with. The last step goes beyond ``end``; the polynomial through it gives the state there.

    Raises:
        RuntimeError: no solution after `MOST_EVALUATIONS`, or numbers that are not finite.
    """
    begun, evaluations = 0.0, 2
    first = yield from field(_number(begun, state), state)
    step = yield from _first_step(field, state, first, rtol, atol)
    while True:
        rates = [first]
        length = _number(step, state)
        for stage, moment in zip(_STAGES, _MOMENTS, strict=True):
            reached = state + _sum(rates, stage, length)
            if moment == 1:
                at = torch.nextafter(_number(begun + step, state), _number(-1.0, state))
            else:
                at = _number(begun, state) + moment * length
            rates.append((yield from field(at, reached)))
        evaluations += len(_STAGES)
        tolerance = atol + rtol * torch.maximum(state.abs(), reached.abs()).double()
        error = float(_size(_sum(rates, _ERROR, length) / tolerance))
        if not error < float("inf") or evaluations > MOST_EVALUATIONS:
            raise RuntimeError(f"the flow has no solution after {evaluations} evaluations (error {error:g})")
        if error <= 1:
            if begun + step >= end:
                middle = state + _sum(rates, _MIDDLE, length)
                share = _number((end - begun) / step, state)
                return _between(share, length, (state, middle, reached), (rates[0], rates[-1]))
            begun, state, first = begun + step, reached, rates[-1]
        least = 1.0 if error < 1 else _MOST_SHRINKING
        step *= min(_MOST_GROWTH, max(_SAFETY / error ** (1 / _ORDER), least)) if error else _MOST_GROWTH


def _first_step(field: Field, state: Tensor, rate: Tensor, rtol: float, atol: float) -> Generator[None, None, float]:
    """A first step that is about as long as the error allows."""
    scale = atol + state.abs().double() * rtol
    size, speed = float(_size(state / scale)), float(_size(rate / scale))
    guess = 0.01 * size / speed if size >= 1e-5 and speed >= 1e-5 else 1e-6
    ahead = yield from field(_number(guess, state), state + _number(guess, state) * rate)
    bend = float(_size((ahead - rate) / scale)) / guess
    if speed <= 1e-15 and bend <= 1e-15:
        return min(100 * guess, max(1e-6, guess * 1e-3))
    return float(min(100 * guess, (0.01 / max(speed, bend)) ** (1 / _ORDER)))


def _number(value: float, state: Tensor) -> Tensor:
    return torch.tensor(value, dtype=state.dtype, device=state.device)


def _size(values: Tensor) -> Tensor:
    return values.pow(2).mean().sqrt()


def _sum(rates: list[Tensor], weights: tuple[float, ...], length: Tensor) -> Tensor:
    """The weighted sum of the rates, times the length of a step."""
    total = torch.zeros_like(rates[0])
    for rate, weight in zip(rates, weights, strict=True):
        if weight:
            total = total + rate * (length * weight)
    return total


def _between(share: Tensor, length: Tensor, states: tuple[Tensor, ...], rates: tuple[Tensor, Tensor]) -> Tensor:
    """The polynomial of degree 4 through three states and two rates of one step, where ``share`` of it is over."""
    begun, middle, ended = states
    first, last = rates
    fourth = 2 * length * (last - first) - 8 * (ended + begun) + 16 * middle
    third = length * (5 * first - 3 * last) + 18 * begun + 14 * ended - 32 * middle
    second = length * (last - 4 * first) - 11 * begun - 5 * ended + 16 * middle
    return begun + share * (length * first + share * (second + share * (third + share * fourth)))
