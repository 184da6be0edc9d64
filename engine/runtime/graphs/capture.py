"""Pieces of work as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable

import torch

Replay = Callable[[], object]
"""Does a piece of work that reads and writes the same memory every time; what it returns is of no use."""


class Capture:
    """Makes CUDA graphs that share their memory, since they are replayed one after the other.

    Other threads may use the device meanwhile, but must not capture.
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Replay) -> Replay:
        """A graph of a piece of work.

        Raises:
            RuntimeError: it cannot be captured.
        """
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            work()  # lets the libraries allocate what they keep
        torch.cuda.current_stream().wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            work()
        return graph.replay
