"""How the layers of a `MusicgenLM` are run where it is not its own modules that run them.

A runner is given to a model once its weights are final (``lm.runner``). From then on the sessions' caches are of the runner's
making, and all that the model hears goes through it. The modules remain what it is measured by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from engine.runtime.language_model import Step
    from engine.runtime.session import Session


class Runner(Protocol):
    """What runs a model's layers and heads. One thread at a time, but for `memory`'s giving back, which may come from any."""

    @property
    def name(self) -> str:
        """As settings and status call it."""

    @property
    def grain(self) -> int:
        """Slots by which a session's caches grow as they fill, where they cost memory from the beginning; 0: they need not grow."""

    def memory(self, rows: int, slots: int) -> list[Tensor]:
        """Caches for a session, layer by layer: ``[2, rows or more, kv_heads, slots, head_dim]``, keys before values.

        They are the session's until it lets all of them go.
        """

    def remember(self, session: Session) -> None:
        """Note what a session's rows are and look at, before it hears anything more: `Session.looked_at` and `Session.leads`."""

    def texts(self, text: Tensor) -> Tensor | None:
        """`DecoderLayer.cross_kv` of projected text ``[length, dim]``, layer by layer: ``[layers, length, 2 · dim]``. Any thread.

        A word's numbers do not depend on how many words there are. None: the modules are to do it.
        """

    def append(self, x: Tensor, session: Session, start: int) -> Tensor:
        """Run ``[rows, n, dim]``, positions added, which stand at slots ``start…`` of the session's caches, through the layers.

        Returns:
            The last norm's output, ``[rows, n, dim]``; undefined where a row has not begun (see `Session.starts`).
        """

    def score(self, x: Tensor, session: Session, start: int) -> Tensor:
        """As `append`, and through the heads: ``[rows, n, codebooks · card]``."""

    def step(self, steps: Sequence[Step]) -> list[Tensor]:
        """One column for each of several sessions: ``[rows, codebooks, 1, card]`` of each; see `LanguageModel.step`."""
