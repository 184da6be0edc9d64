"""The style of a recording, as MusicGen-Style hears it: an excerpt of a few seconds, brought down to ten tokens or so.

The method is that of Rouard et al., "Audio Conditioning for Music Generation via Discrete Bottleneck Features" (2024), as it is in
AudioCraft (``StyleConditioner``): features of the excerpt (a codec's codes, or MERT), a small transformer that looks both ways,
normalisation with the statistics of the training, a residual quantiser, and of that one frame in fifteen. The fewer of the
quantiser's codebooks count, the vaguer the style. AudioCraft takes the excerpt from a random place; here it is where one asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.runtime.conditions import StylePrelude
from engine.runtime.lm import sinusoids
from protocols.errors import ErrorCode, RequestError
from protocols.style import StyleCodes

_ID_CHARACTERS = 16


class StyleFeatures(Protocol):
    """What is looked at in a recording, frame by frame."""

    @property
    def parameters(self) -> int:
        """Weights that only they have."""

    def __call__(self, sound: Tensor) -> Tensor:
        """Features ``[frames, dim]`` of float32 sound ``[samples]`` at the model's rate."""


@dataclass(frozen=True)
class StyleFacts:
    """What a style model expects of a style.

    Attributes:
        sample_rate: of sound that is read, in Hz; the codec's.
        seconds: length of the excerpt by default.
        shortest: the shortest excerpt that the model was trained on, in seconds.
        longest: the longest one.
        books: codebooks of its quantiser; 0 where it has none.
        detail: how many of them count by default.
        tokens: that the longest excerpt becomes.
    """

    sample_rate: int
    seconds: float
    shortest: float
    longest: float
    books: int
    detail: int
    tokens: int


class StyleEncoder(nn.Module):
    """From features to what the quantiser reads: pre-norm transformer layers that look both ways, then normalisation.

    The weights are allocated and left as they are: they come from a checkpoint.

    Args:
        dim: width.
        heads: of each layer; divides ``dim``.
        layers: how many; 0 leaves features as they are.
        normalised: whether a batch norm follows, with the statistics of the training.
    """

    def __init__(self, dim: int, heads: int, layers: int, *, normalised: bool) -> None:
        super().__init__()
        self.dim = dim
        self.layers = nn.ModuleList(_Layer(dim, heads) for _ in range(layers))
        self.norm = nn.BatchNorm1d(dim, affine=False) if normalised else None

    def forward(self, x: Tensor) -> Tensor:
        """``[frames, dim]`` to ``[frames, dim]``."""
        if len(self.layers):
            x = x + sinusoids(len(x), self.dim).to(x)
        for layer in self.layers:
            x = layer(x)
        return x if self.norm is None else self.norm(x)


class _Layer(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.self_norm = nn.LayerNorm(dim, eps=1e-5)
        self.self_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.self_out = nn.Linear(dim, dim, bias=False)
        self.ff_norm = nn.LayerNorm(dim, eps=1e-5)
        self.ff_in = nn.Linear(dim, 4 * dim, bias=False)
        self.ff_out = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        frames, dim = x.shape
        q, k, v = self.self_qkv(self.self_norm(x)).view(1, frames, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()
        heard = F.scaled_dot_product_attention(q, k, v)
        x = x + self.self_out(heard.transpose(1, 2).reshape(frames, dim))
        added: Tensor = self.ff_out(F.gelu(self.ff_in(self.ff_norm(x))))
        return x + added


class Style:
    """A style that is ready to be heard, in every degree of detail. Never changes; any thread.

    Args:
        preludes: for one codebook, for two, and so on; a single one where nothing is quantised.
    """

    def __init__(self, preludes: Sequence[StylePrelude]) -> None:
        self._preludes = tuple(preludes)

    def __len__(self) -> int:
        """Tokens."""
        return self._preludes[0].length

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return sum(prelude.embeddings.nbytes for prelude in self._preludes)

    def prelude(self, detail: int) -> StylePrelude:
        """What stands before the text where so many codebooks count."""
        return self._preludes[min(detail, len(self._preludes)) - 1]


class StyleConditioner:
    """Reads styles, writes them down, and brings them into the form that the LM hears. Never changes; any thread.

    All of it runs in single precision on every device: a quantiser turns rounding errors into other codes.

    Args:
        facts: what the model expects.
        features: of a recording.
        encoder: of features.
        books: of the quantiser, ``[facts.books, card, dim]``; None where it has none.
        every: which frames become tokens: each so-manieth from the first on.
        weight: of the layer that brings tokens to the LM's width, ``[LM dim, dim]``.
        bias: ``[LM dim]``.
        device: where it computes.
        dtype: of the LM.

    Attributes:
        facts: as given.
        id: names the quantiser; codes of any other one mean something else.
    """

    def __init__(
        self,
        facts: StyleFacts,
        features: StyleFeatures,
        encoder: StyleEncoder,
        books: Tensor | None,
        every: int,
        weight: Tensor,
        bias: Tensor,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.facts = facts
        self._features = features
        self._encoder = encoder.to(device, torch.float32).eval().requires_grad_(False)
        self._books = None if books is None else books.to(device, torch.float32)
        self._every = every
        self._weight, self._bias = weight.to(device, torch.float32), bias.to(device, torch.float32)
        self._device, self._dtype = device, dtype
        meaning = self._weight if self._books is None else self._books
        digest = hashlib.sha256(np.ascontiguousarray(meaning.cpu().numpy(), dtype="<f4").data)
        self.id = digest.hexdigest()[:_ID_CHARACTERS]

    @property
    def parameters(self) -> int:
        """Weights, those of the codec not counted where its codes are the features."""
        own = [self._weight, self._bias, *([] if self._books is None else [self._books])]
        return self._features.parameters + sum(tensor.numel() for tensor in [*own, *self._encoder.parameters()])

    @torch.inference_mode()
    def read(self, sound: Tensor | NDArray[np.float32]) -> StyleCodes:
        """The style of an excerpt.

        Args:
            sound: float32 ``[samples]`` or ``[channels, samples]`` at the model's rate; channels are averaged.

        Raises:
            RequestError: about ``style_path``: EMPTY, NOT_AUDIO.
        """
        samples = torch.as_tensor(sound).detach().to(self._device, torch.float32)
        if samples.dim() not in (1, 2) or not samples.numel():
            raise RequestError(
                ErrorCode.EMPTY, "style_path", f"sound of shape {list(samples.shape)}", "one sample or more"
            )
        if not bool(torch.isfinite(samples).all()):
            raise RequestError(ErrorCode.NOT_AUDIO, "style_path", "NaN or infinite samples", "finite samples")
        latent = self._latent(samples.mean(dim=0) if samples.dim() == 2 else samples)
        if self._books is None:
            return StyleCodes.of_floats(self.id, latent.flatten().tolist())
        return StyleCodes(self.id, tuple(tuple(row) for row in self._quantise(latent).tolist()))

    def check(self, codes: StyleCodes) -> None:
        """Refuse what this model has not read.

        Raises:
            RequestError: about ``style_codes``: UNSUPPORTED where another kind of model has read it; OUT_OF_RANGE; TOO_LONG.
        """
        if codes.model != self.id:
            allowed = f"a style that this model has read ({self.id}): read the recording again"
            raise RequestError(ErrorCode.UNSUPPORTED, "style_codes", codes.model, allowed)
        if self._books is None:
            dim, values = self._encoder.dim, codes.floats() if codes.values else []
            if not values or len(values) % dim:
                raise RequestError(
                    ErrorCode.OUT_OF_RANGE, "style_codes", f"{len(values)} values", f"tokens of {dim} values"
                )
            tokens = len(values) // dim
        else:
            books, card, _ = self._books.shape
            highest = max(map(max, codes.codes), default=0)
            if len(codes.codes) != books or highest >= card:
                found = f"{len(codes.codes)} codebooks with codes up to {highest}"
                raise RequestError(ErrorCode.OUT_OF_RANGE, "style_codes", found, f"{books} codebooks of {card} codes")
            tokens = len(codes.codes[0])
        if tokens > self.facts.tokens:
            raise RequestError(ErrorCode.TOO_LONG, "style_codes", f"{tokens} tokens", f"at most {self.facts.tokens}")

    @torch.inference_mode()
    def style(self, codes: StyleCodes) -> Style:
        """A style that was read, as the LM hears it.

        Raises:
            RequestError: as `check`.
        """
        self.check(codes)
        if self._books is None:
            values = torch.tensor(codes.floats(), device=self._device)
            return Style([self._prelude(values.view(-1, self._encoder.dim))])
        rows = torch.tensor(codes.codes, device=self._device)
        heard, preludes = torch.zeros(1, device=self._device), []
        for book, row in zip(self._books, rows, strict=True):
            heard = heard + F.embedding(row, book)
            preludes.append(self._prelude(heard))
        return Style(preludes)

    def encode(
        self, audio: Tensor, *, start: int = 0, length: int | None = None, eval_q: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """What AudioCraft's conditioner gives for a recording whose excerpt it has taken from ``start``.

        Args:
            audio: float32 ``[channels, samples]`` at the model's rate.
            start: of the excerpt, in samples.
            length: of the excerpt, in samples; None for the model's own.
            eval_q: how many codebooks count; None for the model's own.

        Returns:
            Embeddings ``[tokens, LM dim]`` and their mask ``[tokens]``, whole numbers.

        Raises:
            RequestError: as `read`; OUT_OF_RANGE about ``style_start``, ``style_length`` or ``style_detail``.
        """
        samples = audio.shape[-1]
        length = int(self.facts.seconds * self.facts.sample_rate) if length is None else length
        if not 0 <= start < samples:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "style_start", start, f"0 to {samples - 1} samples")
        if not 0 < length <= samples - start:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "style_length", length, f"1 to {samples - start} samples")
        style = self.style(self.read(audio[..., start : start + length]))
        embeddings = style.prelude(self.checked_detail(eval_q or 0)).embeddings
        return embeddings, torch.ones(len(embeddings), dtype=torch.int32)

    def checked_detail(self, detail: int) -> int:
        """How many codebooks count, for what a request asks: 0 is the model's own choice.

        Raises:
            RequestError: OUT_OF_RANGE about ``style_detail``.
        """
        most = self.facts.books
        if not 0 <= detail <= most:
            allowed = (
                f"0 (the model's own: {self.facts.detail}) to {most}"
                if most
                else "0: this model has one degree of detail"
            )
            raise RequestError(ErrorCode.OUT_OF_RANGE, "style_detail", detail, allowed)
        return detail or max(1, self.facts.detail)

    def _latent(self, sound: Tensor) -> Tensor:
        """What the quantiser reads, ``[tokens, dim]``."""
        latent: Tensor = self._encoder(self._features(sound).to(torch.float32))[:: self._every]
        return latent

    def _quantise(self, latent: Tensor) -> Tensor:
        """Codes ``[books, tokens]``: each codebook's nearest entry to what those before it have left."""
        assert self._books is not None
        rows, left = [], latent
        for book in self._books:
            distance = left.square().sum(1, keepdim=True) - 2 * left @ book.T + book.square().sum(1)
            rows.append(distance.argmin(dim=1))
            left = left - F.embedding(rows[-1], book)
        return torch.stack(rows)

    def _prelude(self, tokens: Tensor) -> StylePrelude:
        return StylePrelude(F.linear(tokens, self._weight, self._bias).to(self._dtype))


class EncodesAudio(Protocol):
    """What is needed of a codec."""

    @property
    def channels(self) -> int:
        """Of sound."""

    def encode(self, audio: Tensor) -> Tensor:
        """``[channels, samples]`` to codes ``[codebooks, frames]``."""


class CodecFeatures:
    """Embedded codes of a codec: each codebook's own, added up.

    Args:
        codec: the model's own, or one like that which the style was trained with.
        embeddings: of the codebooks that count, ``[codebooks, card, dim]``.
        device: where they are added up.
        step: rows of codes for each codebook: 2 for a codec that runs once per channel, which hears the same twice here.
    """

    def __init__(self, codec: EncodesAudio, embeddings: Tensor, device: torch.device, *, step: int = 1) -> None:
        self._codec = codec
        self._embeddings = embeddings.to(device, torch.float32)
        self._step = step

    @property
    def parameters(self) -> int:
        """The embeddings'."""
        return self._embeddings.numel()

    def __call__(self, sound: Tensor) -> Tensor:
        """Features ``[frames, dim]``; see `StyleFeatures`."""
        codes = self._codec.encode(sound.expand(self._codec.channels, -1))[:: self._step]
        features = F.embedding(codes[0], self._embeddings[0])
        for row, book in zip(codes[1 : len(self._embeddings)], self._embeddings[1:], strict=True):
            features = features + F.embedding(row, book)
        return features
