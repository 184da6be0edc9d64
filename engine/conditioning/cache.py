"""The latest results of something slow, kept for as long as they find room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Remembers values by their keys; what was not asked for the longest goes first. One thread at a time asks, any may count.

    Args:
        most: how many values to keep.
        most_bytes: how much all of them may take; a value that is larger than that alone is not kept.
        size: of a value, in bytes.
    """

    def __init__(self, most: int, *, most_bytes: int = 1 << 62, size: Callable[[V], int] = lambda value: 0) -> None:
        self.bytes = 0
        self._most = most
        self._most_bytes = most_bytes
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of ``key``, made now if it is not there. What ``make`` raises is raised, and nothing is kept."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = make()
        size = self._size(value)
        if size <= self._most_bytes:
            self._values[key] = value
            self.bytes += size
            while len(self._values) > self._most or self.bytes > self._most_bytes:
                self.bytes -= self._size(self._values.popitem(last=False)[1])
        return value
