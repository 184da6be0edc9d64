"""A language model of one's own, as the engine samples it.

A network only has to score columns of codes that follow each other, beside a text (`Network`). Guidance, windows, continuation,
several texts at once, changes while it plays and going on from a journal are the engine's; `CustomLM` brings the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from engine.runtime.conditions import (
    Condition,
    Melody,
    Mix,
    Parts,
    Prefix,
    Score,
    StylePrelude,
    parts_of,
    same_words,
    weigh,
)
from engine.runtime.language_model import Step
from engine.runtime.patterns import CodebookPattern
from engine.runtime.sampling import Blend


class Network(Protocol):
    """An autoregressive network over codebooks.

    It may be a `torch.nn.Module` or anything else with these names. It is used by one thread at a time, in inference mode; what it
    remembers of codes stands in the states that it makes, never in itself: several of them take turns.

    Attributes:
        pattern: how frames are laid out in columns; says how many codebooks there are.
        card: entries per codebook. The special token, in slots without a code, is ``card`` itself.
        text_dim: width of the text encoder's hidden states.
        max_positions: the most columns that a state may be made for.
    """

    @property
    def pattern(self) -> CodebookPattern: ...

    @property
    def card(self) -> int: ...

    @property
    def text_dim(self) -> int: ...

    @property
    def max_positions(self) -> int: ...

    def begin(self, texts: Sequence[Tensor], positions: int) -> Any:
        """A fresh state.

        Args:
            texts: what each row hears, ``[length, text_dim]`` hidden states on the network's device; of length 0 where it hears
                no text: guidance leads away from such rows.
            positions: the most columns that will follow.
        """

    def step(self, codes: Tensor, state: Any) -> Tensor:
        """Append columns to a state, which may be written over, and score what follows each of them.

        Any split of a sequence over several calls has to give the same logits, and no row may depend on its neighbours.

        Args:
            codes: ``[rows, codebooks, n]``, special tokens included.
            state: of `begin`.

        Returns:
            ``[rows, codebooks, n, card]`` logits.
        """


class CustomLM(nn.Module):
    """A network as the engine's `LanguageModel`.

    Where the texts of a stream become others, it hears the frames of its window anew, a few at a time between two frames: a state
    of another's making cannot be changed. New weights of the same texts cost nothing.

    Args:
        network: the network.
        device: where it runs.
        dtype: of its weights, by which memory is counted.

    Raises:
        ValueError: a network without columns or codes.
    """

    def __init__(self, network: Network, *, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        if network.card < 2 or network.max_positions < network.pattern.positions(1) or network.text_dim < 1:
            raise ValueError(
                f"a network of card {network.card}, {network.max_positions} positions and texts {network.text_dim} wide"
            )
        self.network = network
        self.device = device
        self.dtype = dtype

    @property
    def pattern(self) -> CodebookPattern:
        return self.network.pattern

    @property
    def card(self) -> int:
        return self.network.card

    @property
    def special_token(self) -> int:
        return self.network.card

    @property
    def max_positions(self) -> int:
        """The most columns that a session may be made for."""
        return self.network.max_positions

    def condition(
        self,
        hidden: Tensor | None,
        mask: Tensor | None = None,
        *,
        melody: Melody | None = None,
        style: Tensor | None = None,
        score: Score | None = None,
    ) -> Condition:
        """Bring one text into the form that sessions take; see `MusicgenLM.condition`.

        Raises:
            ValueError: hidden states of another shape, or what such a network does not hear.
        """
        if melody is not None or style is not None or score is not None:
            raise ValueError("a melody, a style or a score for a model that hears texts only")
        width = self.network.text_dim
        hidden = torch.zeros(0, width) if hidden is None else hidden
        if hidden.dim() != 2 or hidden.shape[1] != width:
            raise ValueError(f"text of shape {tuple(hidden.shape)}, not [length, {width}]")
        heard = hidden if mask is None else hidden[mask]
        heard = heard.to(self.device, torch.float32)
        # As a text that is heard before the codes, which it is: to become another, it has to be heard anew.
        return Condition(heard.new_zeros(1, 2, 1, 0, 1), Prefix(StylePrelude(heard[:0]), heard))

    def session(
        self, conditions: Sequence[Condition | Mix], positions: int, *, guided: bool = True, frame: int = 0
    ) -> CustomSession:
        """A fresh state for streams that start together; the frame at which they do is nothing to such a network.

        Raises:
            ValueError: no streams, or more positions than the network has.
        """
        return CustomSession(self.network, conditions, positions, guided=guided, device=self.device)

    def hear_prefix(self, session: CustomSession, most: int) -> None:
        """Nothing: texts are heard by the network's own ways."""

    def hear(self, codes: Tensor, session: CustomSession) -> None:
        """Append columns ``[streams, codebooks, n]`` to a session."""
        session.append(codes)

    def forward(self, codes: Tensor, session: CustomSession) -> Tensor:
        """As `hear`, and the logits ``[rows, codebooks, n, card]`` of what follows each column."""
        return session.append(codes)

    def step(self, steps: Sequence[Step]) -> list[Tensor]:
        """See `LanguageModel.step`: one after the other, for a network's states cannot be joined."""
        return [step.session.append(step.codes) for step in steps]


class CustomSession:
    """The state of a network for a batch of streams; see `engine.runtime.language_model.LMSession`."""

    prefix_length = prefix_heard = prefix_pending = 0

    def __init__(
        self,
        network: Network,
        conditions: Sequence[Condition | Mix],
        positions: int,
        *,
        guided: bool,
        device: torch.device,
    ) -> None:
        if not conditions:
            raise ValueError("a session needs at least one stream")
        if not 1 <= positions <= network.max_positions:
            raise ValueError(f"{positions} positions, not 1 to {network.max_positions}")
        self.streams, self.guided = len(conditions), guided
        self.position = 0
        self.owners: Tensor | None = None
        self.blend: Blend | None = None
        self._network, self._positions, self._device = network, positions, device
        self._state: Any = None
        self._parts = [parts_of(condition) for condition in conditions]
        self._take(self._parts)

    @property
    def rows(self) -> int:
        """Conditional rows, and null rows where there are any."""
        return sum(map(len, self._parts)) + (self.streams if self.guided else 0)

    def rewind(self, position: int = 0) -> None:
        """Forget all codes, unless nothing stands after ``position``: a state of another's making cannot be shortened."""
        if position != self.position:
            self._take(self._parts)

    def begin(self, frame: int, conditions: Sequence[Condition | Mix] | None = None) -> None:
        """Forget all codes; None leaves the conditions as they are."""
        self._take(self._parts if conditions is None else [parts_of(condition) for condition in conditions])

    def set_condition(self, stream: int, condition: Condition | Mix) -> None:
        """Change what one stream listens to; ``position`` is 0 afterwards unless only weights are others."""
        parts = [*self._parts[:stream], parts_of(condition), *self._parts[stream + 1 :]]
        before = self._parts[stream]
        if len(before) == len(parts[stream]) and all(
            same_words(old, new) for (old, _), (new, _) in zip(before, parts[stream], strict=True)
        ):
            self._parts = parts
            self.owners, self.blend = weigh(parts, self._device)
        else:
            self._take(parts)

    def append(self, codes: Tensor) -> Tensor:
        """Append columns ``[streams, codebooks, n]``: the logits ``[rows, codebooks, n, card]``.

        Raises:
            ValueError: a wrong number of streams, no room left, or logits of another shape.
        """
        streams, books, n = codes.shape
        if streams != self.streams or self.position + n > self._positions:
            raise ValueError(f"{streams} streams and {n} positions do not fit at {self.position} of {self._positions}")
        if self._state is None:
            nothing = torch.zeros(0, self._network.text_dim, device=self._device)
            heard = (condition.prefix for stream in self._parts for condition, _ in stream)
            texts = [nothing if prefix is None else prefix.text for prefix in heard]
            self._state = self._network.begin(texts + [nothing] * (streams if self.guided else 0), self._positions)
        rows = codes if self.owners is None else codes[self.owners]
        if self.guided:
            rows = torch.cat((rows, codes))
        logits = self._network.step(rows, self._state)
        if logits.shape != (len(rows), books, n, self._network.card):
            expected = [len(rows), books, n, self._network.card]
            raise ValueError(f"the network's logits are {list(logits.shape)}, not {expected}")
        self.position += n
        return logits

    def _take(self, parts: list[Parts]) -> None:
        self._parts = parts
        self.owners, self.blend = weigh(parts, self._device)
        self.position, self._state = 0, None
