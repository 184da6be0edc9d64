"""What streams listen to: texts, melodies, styles and scores in the form that an LM hears, and several of them at once.

A text reaches the LM in one of two ways: by cross-attention, from every layer, or before the first code, after a melody or a
style. A `Condition` has a place for both; what a model has no use for is empty. A score is heard in neither way: each of its rows
is added to the embedding of the step that samples the row's frame.

A stream may have several conditions, each with a weight (`Mix`): each is heard by a row of its own, beside one null row, and
guidance joins them (Liu et al., 2022, "Compositional Visual Generation with Composable Diffusion Models").
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.runtime.sampling import Blend

NULL_BIN = 0
"""The null melody is this bin of chroma in every frame, and not zeros: so the models were trained, and so silence comes out too."""

MOST_PARTS = 17
"""Of a `Mix`. Each is a row of every step. Eight prompts may turn into eight others, beside a style alone."""


class Melody(Protocol):
    """A melody that goes on for as long as a stream does; see `engine.conditioning.melody`."""

    def window(self, frame: int) -> Tensor:
        """The bins of chroma, whole numbers ``[chroma_frames]``, of a window that begins at this frame of the stream."""


class Score(Protocol):
    """What is known about the frames of a stream, one by one; see `engine.conditioning.score`."""

    def rows(self, frame: int, count: int) -> NDArray[np.float32]:
        """The features ``[count, score_features]`` of the frames from ``frame`` of the stream on."""


class Prelude(Protocol):
    """What stands before the text: a melody, or the style of a recording."""

    @property
    def length(self) -> int:
        """Positions, the same for every window."""

    def rows(self, frame: int) -> Tensor:
        """The conditional and the null row, ``[2, length, dim]``, for a window that begins at ``frame`` of the stream."""


@dataclass(frozen=True)
class ChromaPrelude:
    """A melody, window by window.

    Attributes:
        chroma: ``[bins, dim]``, each bin's embedding.
        length: how many frames of chroma there are.
        melody: where they come from; None is the null melody.
    """

    chroma: Tensor
    length: int
    melody: Melody | None

    def rows(self, frame: int) -> Tensor:
        """The conditional and the null row, ``[2, length, dim]``; see `Prelude`."""
        null = self.chroma[NULL_BIN].expand(self.length, -1)
        sung = null if self.melody is None else self.chroma[self.melody.window(frame).to(self.chroma.device)]
        if sung.shape != null.shape:
            raise ValueError(f"a melody of {len(sung)} frames, not {self.length}")
        return torch.stack((sung, null))


@dataclass(frozen=True)
class StylePrelude:
    """The style of a recording, the same before every window. Beside it, the null row has zeros.

    Attributes:
        embeddings: ``[length, dim]``; a single row of zeros is no style.
    """

    embeddings: Tensor

    @property
    def length(self) -> int:
        return len(self.embeddings)

    def rows(self, frame: int) -> Tensor:
        """The conditional and the null row, ``[2, length, dim]``; see `Prelude`."""
        return torch.stack((self.embeddings, torch.zeros_like(self.embeddings)))


@dataclass(frozen=True)
class Prefix:
    """What a model without cross-attention hears before the codes.

    Attributes:
        prelude: the melody or the style.
        text: ``[length, dim]`` projected text, zeros where it is masked. The null row has zeros throughout.
    """

    prelude: Prelude
    text: Tensor

    @property
    def length(self) -> int:
        return self.prelude.length + len(self.text)

    def rows(self, frame: int) -> Tensor:
        """The conditional and the null row, ``[2, length, dim]``, for a window that begins at ``frame`` of the stream."""
        conditional, null = self.prelude.rows(frame)
        return torch.stack((torch.cat((conditional, self.text)), torch.cat((null, torch.zeros_like(self.text)))))


@dataclass(frozen=True)
class Condition:
    """What one stream listens to, ready for the LM; made by `MusicgenLM.condition`.

    It belongs to no session: the same condition may be used by any number of streams, at any time.

    Attributes:
        keys_values: what cross-attention looks at, ``[layers, 2, heads, length, head_dim]``. Length 0 is the null condition:
            projected null text is all zeros and attention has no bias, so that its output is exactly zero and need not be computed.
        prefix: what is heard before the codes; None where text is heard by cross-attention.
        score: what is heard frame by frame; None adds nothing.
        null_keys_values: what cross-attention looks at in the null row beside it, where a null text is more than zeros; as
            ``keys_values``. None: nothing, or the same for all null rows.
    """

    keys_values: Tensor
    prefix: Prefix | None = None
    score: Score | None = None
    null_keys_values: Tensor | None = None

    @property
    def length(self) -> int:
        return self.keys_values.shape[3]


@dataclass(frozen=True)
class Mix:
    """Several conditions of one stream, joined by guidance: ``null + guidance · Σ weight · (conditional - null)``.

    Attributes:
        parts: 1 to 17 conditions, each with its weight; the weights add up to 1. One below 0 leads away from its condition.

    Raises:
        ValueError: another number of parts, or weights that are not finite or add up to something else.
    """

    parts: tuple[tuple[Condition, float], ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.parts) <= MOST_PARTS:
            raise ValueError(f"{len(self.parts)} parts, not 1 to {MOST_PARTS}")
        total = sum(weight for _, weight in self.parts)
        if not math.isclose(total, 1, abs_tol=1e-6):
            raise ValueError(f"weights that add up to {total}, not 1")


Parts = tuple[tuple[Condition, float], ...]
"""The conditions of one stream, with their weights."""


def parts_of(condition: Condition | Mix) -> Parts:
    """A mix as it is, and a condition as the only part of one."""
    return condition.parts if isinstance(condition, Mix) else ((condition, 1.0),)


def weigh(parts: list[Parts], device: torch.device) -> tuple[Tensor | None, Blend | None]:
    """Which rows belong to which stream: the stream of each conditional row, and how much each row counts.

    Args:
        parts: of each stream; each part has a row, in the order of the streams.
        device: of the result.

    Returns:
        None and None where each stream has one row.
    """
    counts = [len(stream) for stream in parts]
    most = max(counts)
    if most == 1:
        return None, None
    firsts = [sum(counts[:stream]) for stream in range(len(counts))]
    # A stream with fewer parts than another counts its first row again, with a weight of 0.
    rows = [
        [first + part * (part < count) for first, count in zip(firsts, counts, strict=True)] for part in range(most)
    ]
    weights = [[stream[part][1] if part < len(stream) else 0.0 for stream in parts] for part in range(most)]
    owners = torch.tensor([stream for stream, count in enumerate(counts) for _ in range(count)], device=device)
    return owners, Blend(torch.tensor(rows, device=device), torch.tensor(weights, device=device))


def without_words(condition: Condition) -> Condition:
    """The same for a model that hears its text before the codes, and no text: zeros, as many as there were."""
    prefix = condition.prefix
    if prefix is None:
        raise ValueError("a text that is not heard before the codes")
    text = _no_words(*prefix.text.shape, prefix.text.device, prefix.text.dtype)
    return dataclasses.replace(condition, prefix=dataclasses.replace(prefix, text=text))


@lru_cache(maxsize=64)
def _no_words(length: int, dim: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    # The same one each time: by its text a row is known again, and keeps what it has heard.
    return torch.zeros(length, dim, device=device, dtype=dtype)


def same_words(known: Condition, condition: Condition) -> bool:
    """Whether two conditions were made of the same text."""
    if known.prefix is None or condition.prefix is None:
        return known.keys_values is condition.keys_values
    return known.prefix.text is condition.prefix.text
