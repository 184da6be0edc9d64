"""A model's steps through onnxruntime: several sessions in one batch, with nothing made anew from step to step."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.runtime.caches import CacheScales
from engine.runtime.onnx.arena import Arena, Shape
from engine.runtime.onnx.graph import step_graph, weights_of
from engine.runtime.onnx.opening import open_session, packs_codes
from engine.runtime.onnx.texts import Texts

if TYPE_CHECKING:
    from engine.runtime.language_model import Step
    from engine.runtime.lm import MusicgenLM
    from engine.runtime.session import Session

_TYPES = {torch.float32: np.float32, torch.int8: np.int8, torch.int32: np.int32, torch.int64: np.int64}


class _Place(NamedTuple):
    """The rows of a session."""

    arena: Arena
    first: int
    rows: int


class OnnxRunner:
    """See `engine.runtime.runner.Runner`. Rows of a batch do not know each other: each has the same logits to the bit in any.

    Kernels for an odd number of rows round otherwise than those for an even one, so the number is always even.

    Streams are prepared on other threads than the one that steps, so every method takes a lock: what a run is bound to does not
    move under it.

    Args:
        lm: the model, whose matrices are in few bits; kept by a weak reference.
        threads: of the CPU.
        scales: of caches of eight bits, layer by layer; None: single precision.
        texts: what makes keys and values of a text; None: the modules do.
    """

    name = "onnx"
    grain = 0

    def __init__(
        self,
        lm: MusicgenLM,
        threads: int,
        scales: Sequence[CacheScales] | None = None,
        texts: Texts | None = None,
    ) -> None:
        config = lm.config
        self.threads = threads
        self._lm = weakref.ref(lm)
        self._shape = Shape(
            layers=config.layers,
            kv_heads=config.kv_heads,
            heads=config.heads if config.cross_attention else 0,
            head_dim=config.head_dim,
            dim=config.dim,
            scores=config.num_codebooks * config.card,
            dtype=torch.float32 if scales is None else torch.int8,
        )
        self._columns = (config.num_codebooks, config.card)
        self._slots = config.max_positions
        self._session, self._kept, self._weight_bytes = _load(lm, threads, scales)
        self._texts = texts
        self._null: Tensor | None = None
        if config.cross_attention and config.variant.attention_bias:
            self._null = lm.condition(None).keys_values  # keys and values of nothing are biases
        self._arenas: list[Arena] = []
        self._places: dict[int, _Place] = {}
        self._let_go: deque[int] = deque()
        self._lock = threading.RLock()
        self._bindings: dict[tuple[int, int, int, str], Any] = {}
        self._total = torch.zeros((), dtype=torch.int32)
        self._scored = {count: torch.tensor([count]) for count in (0, 1)}

    @property
    def rows_taken(self) -> int:
        """How many rows sessions have, two at a time."""
        with self._lock:
            self._collect()
            return sum(place.rows for place in self._places.values())

    def memory(self, rows: int, slots: int) -> list[Tensor]:
        """Views of rows in an arena, which are given back once the first of them is let go; see `Runner.memory`."""
        rows += rows % 2
        with self._lock:
            self._collect()
            place = self._room(rows, slots)
            caches = place.arena.views(place.first, rows)
            key = caches[0].data_ptr()
            self._places[key] = place
        weakref.finalize(caches[0], _let_go, place, key, self._let_go).atexit = False
        return caches

    def remember(self, session: Session) -> None:
        """See `Runner.remember`."""
        with self._lock:
            place = arena, first, rows = self._place(session)
            arena.lengths[first : first + rows] = 0
            _stand(place, session, session.prefix_heard + session.position)
            if self._shape.heads:
                texts: list[Tensor | None] = list(session.looked_at)
                texts += [self._null] * (session.rows - len(texts))
                arena.look_at(first, texts + [None] * (rows - len(texts)))

    def texts(self, text: Tensor) -> Tensor | None:
        """See `Runner.texts`. Takes no lock: a text is prepared while others step."""
        return None if self._texts is None else self._texts(text)

    def append(self, x: Tensor, session: Session, start: int) -> Tensor:
        """See `Runner.append`."""
        if x.shape[1] == 1 and not any(session.leads):
            with self._lock:
                place = arena, first, rows = self._place(session)
                arena.x[first : first + session.rows] = x
                _stand(place, session, start)
                self._run(arena, first, first + rows, "hidden")
                arena.lengths[first : first + session.rows] += 1
                return arena.hidden[first : first + session.rows].clone()
        return self._pieces(x, session, start, "hidden", x.shape[2])

    def score(self, x: Tensor, session: Session, start: int) -> Tensor:
        """See `Runner.score`."""
        return self._pieces(x, session, start, "logits", self._shape.scores)

    def step(self, steps: Sequence[Step]) -> list[Tensor]:
        """See `Runner.step`; what is returned is written over by the next step."""
        lm = self._lm()
        assert lm is not None
        with self._lock:
            return self._step(lm, steps)

    def _step(self, lm: MusicgenLM, steps: Sequence[Step]) -> list[Tensor]:
        placed = []
        for one in steps:
            session = one.session
            start = session.prefix_length + session.position
            x = lm.column(one)
            place = arena, first, rows = self._place(session)
            arena.x[first : first + len(x)] = x
            _stand(place, session, start)
            placed.append((arena, first, rows, len(x)))
        for arena in self._arenas:
            stretches = sorted((first, rows) for where, first, rows, _ in placed if where is arena)
            for begin, end in self._batches(arena, stretches):
                self._run(arena, begin, end, "logits")
        heard = []
        for arena, first, _, used in placed:
            arena.lengths[first : first + used] += 1
            heard.append(arena.logits[first : first + used].view(used, *self._columns).unsqueeze(2))
        return heard

    def _place(self, session: Session) -> _Place:
        return self._places[session.layers[0].keys_values.data_ptr()]

    def _collect(self) -> None:
        """Take back the rows that sessions have let go, on whatever thread that was."""
        while self._let_go:
            arena, first, rows = self._places.pop(self._let_go.popleft())
            arena.give_back(first, rows)
        kept = [arena for arena in self._arenas if not arena.empty]
        if len(kept) < len(self._arenas):
            self._arenas = kept or self._arenas[:1]
            alive = {id(arena) for arena in self._arenas}
            self._bindings = {key: binding for key, binding in self._bindings.items() if key[0] in alive}

    def _room(self, rows: int, slots: int) -> _Place:
        for arena in self._arenas:
            if arena.slots >= slots and (first := arena.take(rows)) is not None:
                return _Place(arena, first, rows)
        arena = Arena(self._shape, rows, max(slots, self._slots))
        self._arenas.append(arena)
        first = arena.take(rows)
        assert first is not None
        return _Place(arena, first, rows)

    def _batches(self, arena: Arena, stretches: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Ranges of rows that are run together: over a gap where that costs less than to read the weights again."""
        batches: list[tuple[int, int]] = []
        for first, rows in stretches:
            if batches:
                begin, end = batches[-1]
                gap = int(arena.lengths[end:first].sum()) * self._shape.slot_bytes if first > end else 0
                if gap < self._weight_bytes:
                    batches[-1] = begin, first + rows
                    continue
            batches.append((first, first + rows))
        return batches

    def _run(self, arena: Arena, begin: int, end: int, output: str) -> None:
        """One column for these rows, each at its own slot."""
        key = (id(arena), begin, end, output)
        kept = self._bindings.get(key)
        if kept is None or kept[0] != arena.version:
            binding = self._bind_rows(arena, begin, end)
            _take(binding, "x", arena.x[begin:end])
            _take(binding, "lengths", torch.from_numpy(arena.lengths[begin:end]))
            _take(binding, "total", self._total)
            _take(binding, "scored", self._scored[1 if output == "logits" else 0])
            if self._shape.heads:
                _take(binding, "text_bias", arena.text_bias[begin:end])
            _give(binding, output, getattr(arena, output)[begin:end])
            kept = self._bindings[key] = (arena.version, binding)
        self._total.fill_(int(arena.lengths[begin:end].max()) + 1)
        self._session.run_with_iobinding(kept[1])

    def _pieces(self, x: Tensor, session: Session, start: int, output: str, width: int) -> Tensor:
        """Several columns, row by row, as the attention over what came before wants them.

        Of an odd number of columns, one that is nothing makes it even: it comes last, so that no other hears it.
        """
        with self._lock:
            return self._hear_pieces(self._place(session), x, session, start, output, width)

    def _hear_pieces(self, place: _Place, x: Tensor, session: Session, start: int, output: str, width: int) -> Tensor:
        arena, first, _ = place
        rows, n, dim = x.shape
        made = x.new_zeros(rows, n, width)
        leads = session.leads or (0,) * rows
        for row, lead in enumerate(leads):
            begun = max(lead - start, 0)
            count = n - begun
            if count <= 0:
                continue
            even = count + count % 2
            heard, told = x.new_zeros(1, even, dim), x.new_empty(1, even, width)
            heard[0, :count] = x[row, begun:]
            past = start + begun - lead
            index = first + row
            binding = self._bind_rows(arena, index, index + 1)
            held = [
                heard,
                torch.tensor([past + even - 1], dtype=torch.int32),
                torch.tensor(past + even, dtype=torch.int32),
            ]
            held.append(torch.tensor([even if output == "logits" else 0]))
            for name, value in zip(("x", "lengths", "total", "scored"), held, strict=True):
                _take(binding, name, value)
            if self._shape.heads:
                held.append(arena.text_bias[index : index + 1].expand(-1, -1, even, -1).contiguous())
                _take(binding, "text_bias", held[-1])
            _give(binding, output, told)
            self._session.run_with_iobinding(binding)
            made[row, begun:] = told[0, :count]
            arena.lengths[index] = past + count
        return made

    def _bind_rows(self, arena: Arena, begin: int, end: int) -> Any:
        """The memory of these rows."""
        binding = self._session.io_binding()
        for index, cache in enumerate(arena.caches):
            for name, part in zip(("keys", "values"), cache[:, begin:end], strict=True):
                _take(binding, f"{name}{index}", part)
                _give(binding, f"{name}{index}'", part)
            if self._shape.heads:
                for name, part in zip(("text_keys", "text_values"), arena.text[index, :, begin:end], strict=True):
                    _take(binding, f"{name}{index}", part)
        return binding


def _let_go(place: _Place, key: int, let_go: deque[int]) -> None:
    """Hand back a session's memory at once, and its rows once the runner looks: this may be any thread."""
    place.arena.forget(place.first, place.rows)
    let_go.append(key)


def _stand(place: _Place, session: Session, slot: int) -> None:
    """Note that the next column stands at that slot of a session, which is counted from where its first row begins."""
    leads = session.leads
    if not any(leads):
        place.arena.lengths[place.first : place.first + session.rows] = slot
        return
    for row, lead in enumerate(leads, start=place.first):
        place.arena.lengths[row] = max(slot - lead, 0)


def _take(binding: Any, name: str, value: Tensor) -> None:
    assert value.is_contiguous()
    binding.bind_input(name, "cpu", 0, _TYPES[value.dtype], tuple(value.shape), value.data_ptr())


def _give(binding: Any, name: str, value: Tensor) -> None:
    assert value.is_contiguous()
    binding.bind_output(name, "cpu", 0, _TYPES[value.dtype], tuple(value.shape), value.data_ptr())


def _load(lm: MusicgenLM, threads: int, scales: Sequence[CacheScales] | None) -> tuple[Any, list[Tensor], int]:
    """onnxruntime's session of the model's graph, what of its weights has to be kept, and how many bytes of them a step reads."""
    graph = step_graph(lm, scales)
    session = open_session(graph.model, graph.weights, threads)
    packed = all(packs_codes(weight.bits, weight.block) for weight in weights_of(lm))
    kept = [tensor for tensor in graph.weights.values() if not (packed and tensor.dtype is torch.uint8)]
    return session, kept, sum(tensor.nbytes for tensor in graph.weights.values())
