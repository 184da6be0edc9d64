"""A codec's decoder as captured graphs: one for each number of frames that streams decode at once.

In the middle of a stream every layer remembers as many rows as it did before, so that a call with so many frames is always the
same work: the stream's state is copied in, the graph replayed, and the state copied out. Each stream is decoded by itself: its
sound does not depend on how many others there are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.runtime.graphs.capture import Capture, Replay
from engine.runtime.streaming_layers import Lstm

if TYPE_CHECKING:
    from engine.runtime.seanet import StreamingNetwork

SIZES = range(1, 9)
"""Frames that a stream decodes at once: it begins with one, and no chunk is longer than the last."""
_BEGINNING = 16
"""Calls after which any stream is past its beginning."""
_TOLERANCES = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}


class CapturedNetwork:
    """Runs a network's calls in the middle of a stream; what `StreamingNetwork.graph` is.

    Args:
        network: the decoder, with no graph of its own.
        batch: streams in a call: the runs of a codec per stream.
        sizes: numbers of rows.
        capture: turns a piece of work, which reads and writes the same memory at every call, into what does it again.

    Raises:
        ValueError: a network whose states never settle, or that gives nothing for so few rows.
    """

    def __init__(
        self, network: StreamingNetwork, batch: int, sizes: Iterable[int], capture: Callable[[Replay], Replay]
    ) -> None:
        assert network.graph is None
        first: Any = network.layers[0]
        self.layers = len(network.layers)
        self.channels = int(first.channels)
        dtype, device = first.weight.dtype, first.weight.device
        settled = _settled(network, batch, torch.zeros(batch, 1, self.channels, dtype=dtype, device=device))
        self._shape = _shape_of(settled)
        self._memory = [tensor.clone() for tensor in _tensors(settled)]
        self._rows: dict[int, Tensor] = {}
        self._made: dict[int, Tensor] = {}
        self._replays: dict[int, Replay] = {}
        with _stepwise(network) as self._kept:
            for size in sorted(sizes, reverse=True):
                rows = torch.zeros(batch, size, self.channels, dtype=dtype, device=device)
                trial = copy.deepcopy(settled)
                sound = network.step(rows.clone(), trial)
                if sound is None or _shape_of(trial) != self._shape:
                    raise ValueError(f"a stream of {size} rows at once does not settle")
                self._rows[size], self._made[size] = rows, torch.empty_like(sound)
                self._replays[size] = capture(self._work(network, settled, size))

    def takes(self, rows: Tensor, states: Sequence[Any]) -> bool:
        """Whether it can do this call: as many rows as it knows, of streams that are past their beginning."""
        known = self._rows.get(rows.shape[1])
        return known is not None and known.shape == rows.shape and _shape_of(states) == self._shape

    def step(self, rows: Tensor, states: Sequence[Any]) -> Tensor:
        """Do it: the rows that became final. The states move on."""
        size = rows.shape[1]
        self._rows[size].copy_(rows)
        torch._foreach_copy_(self._memory, _tensors(states))
        self._replays[size]()
        _remember(states, [tensor.clone() for tensor in self._memory])
        return self._made[size].clone()

    def _work(self, network: StreamingNetwork, settled: Sequence[Any], size: int) -> Replay:
        """What is captured: from rows and memory to sound and memory."""
        layers = _Layers(network)

        def work() -> None:
            states = [copy.copy(state) for state in settled]
            _remember(states, self._memory)
            sound = layers(self._rows[size].clone(), states)
            assert sound is not None
            self._made[size].copy_(sound)
            torch._foreach_copy_(self._memory, _tensors(states))

        return work


class _Layers:
    """A network without its graph."""

    def __init__(self, network: StreamingNetwork) -> None:
        self._layers = network.layers

    def __call__(self, rows: Tensor | None, states: Sequence[Any]) -> Tensor | None:
        for layer, state in zip(self._layers, states, strict=True):
            rows = layer.step(rows, state, False)
        return rows


@torch.inference_mode()
def capture_network(network: StreamingNetwork, batch: int, device: torch.device) -> bool:
    """Decode by captured graphs from now on; False, and all as before, where they cannot be made or give another sound."""
    try:
        with torch.cuda.device(device):
            captured = CapturedNetwork(network, batch, SIZES, Capture())
            right = equals(network, captured, batch)
    except Exception:  # libraries, drivers and allocators raise what they like
        return False
    network.graph = captured if right else None
    return right


@torch.inference_mode()
def equals(network: StreamingNetwork, captured: CapturedNetwork, batch: int) -> bool:
    """Whether graphs make what the layers make in the middle of a stream, in pieces of every size."""
    assert network.graph is None
    chance = torch.Generator().manual_seed(0)
    first: Any = network.layers[0]
    states, others = network.new_states(batch), network.new_states(batch)
    expected, made, taken = [], [], 0
    for size in [1] * _BEGINNING + [*SIZES, 3, 1, 8]:
        rows = torch.randn(batch, size, captured.channels, generator=chance).to(first.weight)
        plain = network.step(rows.clone(), others)
        if captured.takes(rows, states):
            taken += 1
            sound: Tensor | None = captured.step(rows, states)
        else:
            sound = network.step(rows.clone(), states)
        expected += [] if plain is None else [plain]
        made += [] if sound is None else [sound]
    theirs, ours = torch.cat(expected, 1), torch.cat(made, 1)
    allowed = _TOLERANCES[first.weight.dtype] * float(theirs.abs().max())
    return taken >= len(SIZES) and theirs.shape == ours.shape and float((theirs - ours).abs().max()) <= allowed


def _settled(network: StreamingNetwork, batch: int, row: Tensor) -> list[Any]:
    """States of a stream past its beginning, from which on they keep their shape."""
    states = network.new_states(batch)
    shape = None
    for _ in range(_BEGINNING):
        made = network.step(row.clone(), states)
        if made is not None and shape == (shape := _shape_of(states)):
            return states
    raise ValueError("states that never settle")


def _shape_of(states: Sequence[Any]) -> list[Any]:
    """All of some states but the numbers in their tensors."""
    return [
        (value.shape, value.dtype) if isinstance(value, Tensor) else value
        for state in states
        for value in _values(state)
    ]


def _values(state: Any) -> Iterator[Any]:
    for name in () if state is None else state.__dataclass_fields__:
        value = getattr(state, name)
        yield from value if isinstance(value, list) else (value,)


def _tensors(states: Sequence[Any]) -> list[Tensor]:
    return [value for state in states for value in _values(state) if isinstance(value, Tensor)]


def _remember(states: Sequence[Any], tensors: Iterable[Tensor]) -> None:
    """Put tensors in the places of those that some states hold, in their order."""
    coming = iter(tensors)
    for state in states:
        for name in () if state is None else state.__dataclass_fields__:
            value = getattr(state, name)
            if isinstance(value, Tensor):
                setattr(state, name, next(coming))
            elif isinstance(value, list):
                setattr(state, name, [next(coming) if isinstance(one, Tensor) else one for one in value])


@contextmanager
def _stepwise(network: StreamingNetwork) -> Iterator[list[object]]:
    """Let recurrent layers run step by step meanwhile: a library's own kernels look at host memory, which no graph may.

    What is given has to be kept as long as the graphs are.
    """
    written: list[object] = []
    layers = [layer for layer in network.layers if isinstance(layer, Lstm) and not layer.steps]
    for layer in layers:
        layer.steps = layer.written_out()
        written.append(layer.steps)
    try:
        yield written
    finally:
        for layer in layers:
            layer.steps = []
