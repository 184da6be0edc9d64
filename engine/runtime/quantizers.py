"""Residual vector quantisers: latents to codes. In float32, since rounding errors become other codes."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Quantizer(Protocol):
    """Latents to codes, one codebook after the other, each for what those before it left."""

    def encode(self, latents: Tensor, books: int) -> Tensor:
        """Quantise ``[batch, n, dimension]`` with the first ``books`` codebooks: codes ``[books, batch, n]``, int64."""


class EuclideanQuantizer:
    """The nearest entry of each codebook, as in SoundStream and EnCodec.

    Args:
        codebooks: each ``[card, dimension]``.
    """

    def __init__(self, codebooks: list[Tensor]) -> None:
        self.codebooks = codebooks
        self.squares = [book.square().sum(1) for book in codebooks]

    def encode(self, latents: Tensor, books: int) -> Tensor:
        residual = latents.reshape(-1, latents.shape[2])
        codes = []
        for book, squares in zip(self.codebooks[:books], self.squares[:books], strict=True):
            # The reference's terms in its order: ties and near ties fall the same way.
            distances = residual.square().sum(1, keepdim=True) - 2 * residual @ book.t() + squares
            codes.append((-distances).argmax(1))
            residual = residual - book[codes[-1]]
        return torch.stack(codes).view(len(codes), *latents.shape[:2])


class FactorisedQuantizer:
    """Entries looked up by direction in a space of a few dimensions, as in the Descript Audio Codec (after Yu et al. 2022).

    Args:
        codebooks: each ``[card, small]``.
        inward: for each a matrix ``[small, dimension]`` and a bias ``[small]``.
        outward: for each a matrix ``[dimension, small]`` and a bias ``[dimension]``.
    """

    def __init__(
        self,
        codebooks: list[Tensor],
        inward: list[tuple[Tensor, Tensor]],
        outward: list[tuple[Tensor, Tensor]],
    ) -> None:
        self.codebooks, self.inward, self.outward = codebooks, inward, outward
        self.directions = [F.normalize(book) for book in codebooks]

    def tables(self) -> list[Tensor]:
        """For each codebook what its entries add to the latent: ``[card, dimension]``."""
        return [F.linear(book, *outward) for book, outward in zip(self.codebooks, self.outward, strict=True)]

    def encode(self, latents: Tensor, books: int) -> Tensor:
        residual = latents.reshape(-1, latents.shape[2])
        codes = []
        for index in range(books):
            projected = F.linear(residual, *self.inward[index])
            wanted, directions = F.normalize(projected), self.directions[index]
            distances = wanted.square().sum(1, keepdim=True) - 2 * wanted @ directions.t() + directions.square().sum(1)
            codes.append((-distances).argmax(1))
            found = self.codebooks[index][codes[-1]]
            # The sum is the reference's way of writing `found`, whose rounding the next codebook sees.
            residual = residual - F.linear(projected + (found - projected), *self.outward[index])
        return torch.stack(codes).view(books, *latents.shape[:2])
