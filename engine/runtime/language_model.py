"""What a language model over codebooks has to be, for `engine.runtime.sampler` to make streams of it.

`engine.runtime.lm.MusicgenLM` is one. A network of another kind becomes one inside `engine.runtime.custom_lm.CustomLM`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from engine.runtime.conditions import Condition, Mix
from engine.runtime.patterns import CodebookPattern
from engine.runtime.sampling import Blend


class LMSession(Protocol):
    """What an LM has heard of streams that started together. One thread at a time."""

    @property
    def position(self) -> int:
        """How many columns of codes it has heard since the window began."""

    @property
    def prefix_length(self) -> int:
        """Positions that stand before the codes."""

    @property
    def prefix_heard(self) -> int:
        """How many of them are heard."""

    @property
    def prefix_pending(self) -> int:
        """How many of them are still to be heard before the next codes."""

    @property
    def rows(self) -> int:
        """How many rows the logits have: those of the conditions, and a null row per stream where it is guided."""

    @property
    def blend(self) -> Blend | None:
        """Which rows of the logits belong to which stream; None where each stream has one conditional row."""

    def rewind(self, position: int = 0) -> None:
        """Forget the codes from ``position`` on, or, where that is all that can be done, every code; ``position`` says which."""

    def begin(self, frame: int, conditions: Sequence[Condition | Mix] | None = None) -> None:
        """Forget all codes; the next ones belong to a window that begins at this frame. None leaves the conditions as they are."""

    def set_condition(self, stream: int, condition: Condition | Mix) -> None:
        """Change what one stream listens to, from the next codes on. ``position`` is 0 after it where all has to be heard anew."""


class Step(NamedTuple):
    """One column for one session, as the next that it hears.

    Attributes:
        codes: ``[streams, codebooks, 1]`` on the LM's device, special tokens included.
        session: of the LM's making, with no prefix left to be heard.
    """

    codes: Tensor
    session: Any

    @property
    def rows(self) -> int:
        """How many rows of a batch it takes: conditional and null ones."""
        return int(self.session.rows)


class LanguageModel(Protocol):
    """An LM that samples codes column by column. Its weights never change; what does stands in the sessions that it makes."""

    @property
    def device(self) -> torch.device:
        """Where codes have to be."""

    @property
    def pattern(self) -> CodebookPattern:
        """How frames are laid out in columns."""

    @property
    def card(self) -> int:
        """Entries per codebook."""

    @property
    def special_token(self) -> int:
        """Stands in every slot that holds no code."""

    def session(self, conditions: Sequence[Condition | Mix], positions: int, *, frame: int = 0) -> LMSession:
        """A fresh guided state for a stream per condition and at most so many columns; ``frame`` as in `LMSession.begin`."""

    def hear_prefix(self, session: Any, most: int) -> None:
        """Work through the next ``most`` positions of a session's prefix."""

    def hear(self, codes: Tensor, session: Any) -> None:
        """Append columns ``[streams, codebooks, n]``, special tokens included, to what a session has heard."""

    def __call__(self, codes: Tensor, session: Any) -> Tensor:
        """As `hear`, and the logits ``[rows, codebooks, n, card]`` of what follows each column.

        Rows are the conditional ones of every stream, then a null row per stream; see `engine.runtime.sampling.guide`.
        """

    def step(self, steps: Sequence[Step]) -> list[Tensor]:
        """One column for each of several sessions, none of them twice: the logits ``[rows, codebooks, 1, card]`` of each.

        They are to the bit what calling the LM gives for each alone. What is returned may be written over by the next step.
        """
