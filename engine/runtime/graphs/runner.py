"""The steps of all sessions of a model as replays of captured graphs; what is heard many positions at once runs in its modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor

from engine.runtime.graphs.capture import Capture, Replay
from engine.runtime.graphs.step import StaticStep
from engine.runtime.graphs.tables import SPLIT, Block, Tables

if TYPE_CHECKING:
    from engine.runtime.graphs.ops import Ops
    from engine.runtime.language_model import Step
    from engine.runtime.lm import MusicgenLM
    from engine.runtime.session import Session

ROWS = (2, 4, 8, 16, 32, 48, 64, 96, 128)
"""Numbers of rows for which there are graphs; a step takes the next that it fits into."""
CONTEXTS = (512, 1024)
"""Slots for which there are graphs, beside one for as many as there may be: so that short contexts launch no programs in vain."""


class GraphRunner:
    """Runs a model's steps, a column for each of several sessions at once; an `engine.runtime.runner.Runner`.

    A row's result is the same to the bit whatever stands beside it and however many rows there are, since every operation takes
    rows by themselves or in tiles of a fixed height, and sums in an order that the row alone decides.

    Args:
        lm: the model, its weights final.
        ops: what computes.
        most: rows that a step has at most; more are run one batch after the other, and a session of more than that in the modules.
    """

    name = "graphs"
    grain = 256

    def __init__(self, lm: MusicgenLM, ops: Ops, most: int = ROWS[-1]) -> None:
        self.most = most
        self._model = ref(lm)  # not a circle: a model that is let go is to be gone at once
        self._sizes = [rows for rows in ROWS if rows < most] + [most]
        self.tables = Tables(lm, most)
        every = self.tables.splits
        self._splits = [slots // SPLIT for slots in CONTEXTS if slots // SPLIT < every] + [every]
        self._run = StaticStep(lm, ops, self.tables)
        self._blocks: WeakKeyDictionary[Session, Block] = WeakKeyDictionary()
        self._replays: dict[tuple[int, int], Replay] = {}

    @property
    def _lm(self) -> MusicgenLM:
        lm = self._model()
        assert lm is not None
        return lm

    @torch.inference_mode()
    def capture(self) -> None:
        """Capture a graph for each number of rows and splits, the largest first, so that the others fit into its memory.

        Raises:
            RuntimeError: a kernel cannot be built or captured here. Nothing is captured then.
        """
        self.tables.clear()
        with torch.cuda.device(self._lm.device):
            capture = Capture()
            self._replays = {
                (rows, splits): capture(partial(self._run, rows, splits))
                for rows in reversed(self._sizes)
                for splits in reversed(self._splits)
            }

    @property
    def captured(self) -> bool:
        """Whether steps are replayed; else they are run operation by operation, with the same result."""
        return bool(self._replays)

    @contextmanager
    def uncaptured(self) -> Iterator[None]:
        """Run steps operation by operation for a while, though there are graphs."""
        replays, self._replays = self._replays, {}
        try:
            yield
        finally:
            self._replays = replays

    def memory(self, rows: int, slots: int) -> list[Tensor]:
        """See `Runner.memory`."""
        lm, config = self._lm, self._lm.config
        shape = (2, rows, config.kv_heads, slots, config.head_dim)
        return [torch.zeros(shape, device=lm.device, dtype=lm.cache_dtype) for _ in range(config.layers)]

    def remember(self, session: Session) -> None:
        """See `Runner.remember`; the tables are written with the next step."""
        self._blocks.pop(session, None)

    def texts(self, text: Tensor) -> Tensor | None:
        """See `Runner.texts`: by the modules."""
        return None

    def append(self, x: Tensor, session: Session, start: int) -> Tensor:
        """See `Runner.append`: by the model's modules, which have nothing to gain from a graph."""
        session.make_room(start + x.shape[1])
        session.pack_texts()
        return self._lm.by_modules(x, session, start)

    def score(self, x: Tensor, session: Session, start: int) -> Tensor:
        """See `Runner.score`."""
        scores: Tensor = self._lm.heads(self.append(x, session, start))
        return scores

    @torch.inference_mode()
    def step(self, steps: Sequence[Step]) -> list[Tensor]:
        """See `Runner.step`; what is returned is written over by the next step."""
        logits: list[Tensor] = []
        batch: list[Step] = []
        rows = 0
        for step in steps:
            if rows + step.rows > self.most and batch:
                # The batch after it would write over these.
                logits += [one.clone() for one in self._together(batch, rows)]
                batch, rows = [], 0
            batch.append(step)
            rows += step.rows
        return [*logits, *self._together(batch, rows)]

    def _together(self, steps: Sequence[Step], rows: int) -> list[Tensor]:
        lm, config = self._lm, self._lm.config
        sessions = [step.session for step in steps]
        for step, session in zip(steps, sessions, strict=True):
            if session.prefix_pending:
                lm.hear_prefix(session, session.prefix_pending)
            if len(step.codes) != session.streams or session.position >= session.positions:
                raise ValueError(
                    f"{len(step.codes)} streams do not fit a session of {session.streams} "
                    f"at position {session.position} of {session.positions}"
                )
            session.make_room(session.prefix_length + session.position + 1)
        if rows > self.most:
            (alone,) = steps
            return [lm.logits(lm.advance(lm.embed(alone.codes), alone.session))]
        self.tables.fill([self._block(session) for session in sessions], [step.codes for step in steps], sessions)
        furthest = max(session.prefix_length + session.position for session in sessions)
        splits = next(splits for splits in self._splits if furthest < splits * SPLIT)
        if self._replays:
            self._replays[next(size for size in self._sizes if size >= rows), splits]()
        elif lm.device.type == "cuda":
            with torch.cuda.device(lm.device):
                self._run(rows, splits)
        else:
            self._run(rows, splits)
        logits = self.tables.logits[:rows].view(rows, config.num_codebooks, 1, config.card)
        for session in sessions:
            session.position += 1
        return list(torch.split(logits, [session.rows for session in sessions]))

    def _block(self, session: Session) -> Block:
        block = self._blocks.get(session)
        if block is None:
            block = self._blocks[session] = Block.of(session)
        return block
