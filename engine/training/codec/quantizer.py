"""Training of a residual vector quantiser: codebooks that follow running averages, and gradients that pass straight through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_KMEANS_PIECE = 1 << 14
"""Rows compared with a codebook at once, so that k-means over many rows does not fill the memory."""


@dataclass(frozen=True)
class Quantised:
    """What the quantiser made of latents ``[batch, dim, frames]``.

    Attributes:
        latents: the sum of the chosen entries, with the gradient of the latents that went in.
        codes: ``[batch, codebooks, frames]``.
        commitment: how far the latents are from their entries, relative to the latents' variance; a scalar with gradient.
    """

    latents: Tensor
    codes: Tensor
    commitment: Tensor


class QuantizerTraining(nn.Module):
    """Trains the ``embed`` buffers ``[size, dim]`` of codebooks that belong to a model.

    Each codebook quantises what the ones before it left (Zeghidour et al. 2021, arXiv:2107.03312). Entries are running
    averages of the latents that chose them and entries that nobody chooses are moved to latents of the batch (van den
    Oord et al. 2017, arXiv:1711.00937, appendix A; Dhariwal et al. 2020, arXiv:2005.00341).

    Args:
        codebooks: objects with a tensor ``embed``, whose values are changed in place: those of a spectral codec or of
            transformers' ``EncodecModel``.
        decay: of the running averages.
        revive_below: an entry chosen less often than this share of an even distribution is moved.
    """

    def __init__(self, codebooks: Sequence[Any], decay: float = 0.99, revive_below: float = 0.05) -> None:
        super().__init__()
        # In a tuple, so that the model's modules are not this one's as well.
        self._codebooks = tuple(codebooks)
        self.decay = decay
        self.revive_below = revive_below
        for index, book in enumerate(self._codebooks):
            embed: Tensor = book.embed
            self.register_buffer(f"count_{index}", torch.ones(len(embed), device=embed.device))
            self.register_buffer(f"sum_{index}", embed.detach().clone())

    @torch.no_grad()
    def initialise(self, latents: Tensor, generator: torch.Generator, rounds: int = 12) -> None:
        """Set all codebooks by k-means of ``[rows, dim]``, each on what the ones before it left."""
        residual = latents.float()
        for index, book in enumerate(self._codebooks):
            centres, counts = kmeans(residual, len(book.embed), generator, rounds)
            book.embed.copy_(centres)
            share = counts.clamp(min=1) * (len(centres) / counts.sum())
            self.get_buffer(f"count_{index}").copy_(share)
            self.get_buffer(f"sum_{index}").copy_(centres * share[:, None])
            residual = residual - centres[nearest(residual, centres)]

    def forward(self, latents: Tensor, generator: torch.Generator | None = None, dropout: float = 0.0) -> Quantised:
        """Quantise ``[batch, dim, frames]``; in training mode the codebooks learn from it, unless it is not finite.

        Args:
            latents: of the encoder.
            generator: for dropout and for the choice of latents that dead entries move to; needed in training mode.
            dropout: the share of clips that are decoded from fewer codebooks, so that a prefix of them is a codec too.
        """
        latents = latents.float()
        batch, dim, _ = latents.shape
        rows = latents.transpose(1, 2).reshape(-1, dim)
        used = self._books_per_clip(batch, dropout, generator).to(latents.device)
        residual, total = rows, torch.zeros_like(rows)
        commitment = rows.new_zeros(())
        scale = rows.detach().var(0).sum().clamp(min=1e-8)
        learns = self.training and bool(torch.isfinite(rows.detach()).all())
        codes = []
        for index, book in enumerate(self._codebooks):
            chosen = nearest(residual.detach(), book.embed)
            entries = F.embedding(chosen, book.embed)
            keep = (used > index).repeat_interleave(len(rows) // batch)[:, None]
            commitment = commitment + ((residual - entries).square().sum(1) * keep[:, 0]).mean() / scale
            if learns:
                assert generator is not None
                self._learn(index, residual.detach(), chosen, generator)
            total = total + entries * keep
            # The entries are constants: what is left to the next codebook has the latents' gradient.
            residual = residual - entries
            codes.append(chosen.view(batch, -1))
        straight = rows + (total - rows).detach()
        quantised = straight.view(batch, -1, dim).transpose(1, 2)
        return Quantised(quantised, torch.stack(codes, 1), commitment / len(self._codebooks))

    def perplexities(self) -> list[float]:
        """How many entries of each codebook are in use: the exponential of the entropy of its running counts."""
        result = []
        for index in range(len(self._codebooks)):
            shares = self.get_buffer(f"count_{index}")
            shares = shares / shares.sum()
            result.append(float((-(shares * shares.clamp(min=1e-12).log()).sum()).exp()))
        return result

    def _books_per_clip(self, batch: int, dropout: float, generator: torch.Generator | None) -> Tensor:
        books = torch.full((batch,), len(self._codebooks))
        if not self.training or dropout <= 0 or generator is None:
            return books
        fewer = torch.randint(1, len(self._codebooks) + 1, (batch,), generator=generator)
        return torch.where(torch.rand(batch, generator=generator) < dropout, fewer, books)

    @torch.no_grad()
    def _learn(self, index: int, rows: Tensor, chosen: Tensor, generator: torch.Generator) -> None:
        embed: Tensor = self._codebooks[index].embed
        count, total = self.get_buffer(f"count_{index}"), self.get_buffer(f"sum_{index}")
        size = len(embed)
        # Counted in multiples of an even distribution, so that the batch size does not matter.
        even = size / len(rows)
        now = torch.zeros_like(count).index_add_(0, chosen, torch.full_like(chosen, 1, dtype=count.dtype)) * even
        count.lerp_(now, 1 - self.decay)
        total.lerp_(torch.zeros_like(total).index_add_(0, chosen, rows) * even, 1 - self.decay)
        dead = (count < self.revive_below).nonzero()[:, 0]
        if len(dead):
            picked = torch.randint(len(rows), (len(dead),), generator=generator).to(rows.device)
            count[dead] = 0.5
            total[dead] = 0.5 * rows[picked]
        embed.copy_(total / count.clamp(min=1e-6)[:, None])


def nearest(rows: Tensor, centres: Tensor) -> Tensor:
    """The index of the nearest of ``[size, dim]`` for each of ``[n, dim]``."""
    return torch.addmm(-0.5 * centres.square().sum(1), rows, centres.t()).argmax(1)


@torch.no_grad()
def kmeans(rows: Tensor, size: int, generator: torch.Generator, rounds: int) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from random rows: centres ``[size, dim]``, and how many of the rows ``[n, dim]`` chose each.

    Centres that nobody chooses are moved to random rows in every round but the last.
    """
    order = torch.randperm(len(rows), generator=generator)
    centres = rows[order.repeat(-(-size // len(rows)))[:size].to(rows.device)].clone()
    counts = torch.zeros(size, device=rows.device)
    for step in range(rounds):
        counts.zero_()
        sums = torch.zeros_like(centres)
        for piece in torch.split(rows, _KMEANS_PIECE):
            chosen = nearest(piece, centres)
            counts.index_add_(0, chosen, torch.ones(len(piece), device=rows.device))
            sums.index_add_(0, chosen, piece)
        filled = counts > 0
        centres[filled] = sums[filled] / counts[filled, None]
        empty = (~filled).nonzero()[:, 0]
        if len(empty) and step < rounds - 1:
            centres[empty] = rows[torch.randint(len(rows), (len(empty),), generator=generator).to(rows.device)]
    return centres, counts
