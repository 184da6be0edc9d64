"""What a comparison comes to: a share of equal tokens and the first that differs, or a largest difference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

Figures = dict[str, Any]


def tokens(ours: Tensor, theirs: Tensor, delays: Sequence[int] = ()) -> Figures:
    """Compare codes ``[streams, codebooks, frames]``.

    Args:
        ours: made here.
        theirs: recorded.
        delays: of codebooks that were sampled one after the other, so that the first difference is the one that led to the others.

    Returns:
        ``equal``: share, 0 to 1; ``tokens``: how many; ``first_mismatch``: its stream, codebook and frame, None without one.
    """
    if ours.shape != theirs.shape:
        shapes = f"shape {list(ours.shape)}, not {list(theirs.shape)}"
        return {"equal": 0.0, "tokens": theirs.numel(), "first_mismatch": shapes}
    same = ours == theirs
    first = None
    if not bool(same.all()):
        apart = (~same).nonzero().tolist()
        stream, codebook, frame = min(apart, key=lambda at: (at[2] + (delays[at[1]] if delays else 0), at[0], at[1]))
        first = {"stream": stream, "codebook": codebook, "frame": frame}
    return {"equal": float(same.float().mean()), "tokens": theirs.numel(), "first_mismatch": first}


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest absolute difference; infinite between shapes."""
    if ours.shape != theirs.shape:
        return float("inf")
    return float((ours.double() - theirs.double()).abs().max()) if theirs.numel() else 0.0


def share(compared: Iterable[Figures]) -> float:
    """The share of equal tokens of several comparisons together."""
    compared = list(compared)
    total = sum(figures["tokens"] for figures in compared)
    return sum(figures["equal"] * figures["tokens"] for figures in compared) / max(total, 1)
