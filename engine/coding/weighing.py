"""What an object holds in tensors, wherever in it they are."""

from __future__ import annotations

from torch import Tensor


def bytes_held(thing: object) -> int:
    """Bytes of all tensors that can be reached from ``thing`` through its attributes, lists, tuples and maps, each counted once."""
    seen: set[int] = set()
    storages: dict[int, int] = {}
    waiting = [thing]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Tensor):
            storage = one.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list | tuple | set):
            waiting += one
        elif not isinstance(one, type) and type(one).__module__.split(".")[0] in ("engine", "torch"):
            waiting += getattr(one, "__dict__", {}).values()
            waiting += [getattr(one, name, None) for name in getattr(type(one), "__slots__", ())]
    return sum(storages.values())
