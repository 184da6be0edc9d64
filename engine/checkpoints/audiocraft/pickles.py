"""Pickles read as data: the names in them are compared with a list and never imported, and nothing in them is ever called.

Python's own unpickler does what a pickle says; a pickle says which functions to call. Here a name is a `Name`, an object of a
class is a `Record` of what was stored in it, and only a handful of builders, which the caller passes, make anything else. So what
a training run pickled beside its weights, OmegaConf's nodes among them, can be read where those libraries are not installed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_OPERATIONS = 5_000_000
"""The most operations of one pickle: a hundred times what the largest checkpoint has."""

_LONGEST_INTEGER = 64
_OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class PickleError(ValueError):
    """A pickle that cannot be read as data; says why."""


@dataclass(frozen=True)
class Name:
    """A class or a function that a pickle names: ``module.name``, not looked up anywhere."""

    full: str


@dataclass(eq=False)
class Record:
    """An object of a class that is known by name only.

    Attributes:
        kind: ``module.name`` of the class, or of the function that would have made it.
        arguments: what it would have been made from.
        state: what would have been put into it afterwards; None: nothing.
        entries: what it holds as a mapping.
        items: what it holds as a list or a set.
    """

    kind: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    entries: dict[Any, Any] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)


Builder = Callable[..., Any]


class PickleReader:
    """Reads one pickle after the other from a buffer.

    Args:
        data: the pickles, and whatever follows them.
        allowed: whether an object of this name may be there at all.
        builders: makes a value from a name's arguments; a name without builder becomes a `Record`.
        persistent: makes a value from a persistent id, of which a file of torch has one for each storage.
        offset: where the first pickle begins.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        *,
        allowed: Callable[[str], bool],
        builders: Mapping[str, Builder] | None = None,
        persistent: Callable[[Any], Any] | None = None,
        offset: int = 0,
    ) -> None:
        self._data = data
        self._allowed = allowed
        self._builders = builders or {}
        self._persistent = persistent
        self.offset = offset

    def load(self) -> Any:
        """The next pickle's value; `offset` stands behind it afterwards.

        Raises:
            PickleError: it is cut, damaged, names what is not allowed, or does what data has no need of.
        """
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        data, operations = self._data, _OPERATIONS
        try:
            for _ in range(MAX_OPERATIONS):
                code = data[self.offset]
                self.offset += 1
                if code == 0x2E:  # STOP
                    return self._pop()
                operation = operations.get(code)
                if operation is None:
                    raise PickleError(f"it has an operation that is not known: {code:#04x}")
                operation(self)
        except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
            if isinstance(error, PickleError):
                raise
            raise PickleError(f"it is damaged near byte {self.offset}") from error
        raise PickleError(f"it has more than {MAX_OPERATIONS} operations")

    # Bytes

    def _take(self, count: int) -> bytes:
        end = self.offset + count
        if count < 0 or end > len(self._data):
            raise PickleError("it is cut short")
        piece = bytes(self._data[self.offset : end])
        self.offset = end
        return piece

    def _byte(self) -> int:
        value = self._data[self.offset]
        self.offset += 1
        return value

    def _number(self, form: str) -> int:
        number: int = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        return number

    def _line(self) -> str:
        end = self.offset
        while end < len(self._data) and end - self.offset < 4096:
            if self._data[end] == 0x0A:
                return self._take(end + 1 - self.offset)[:-1].decode("utf-8")
            end += 1
        raise PickleError("it is cut short")

    # Stack

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if self._marks and len(self._stack) <= self._marks[-1]:
            raise PickleError(f"it is damaged near byte {self.offset}")
        return self._stack.pop()

    def _top(self) -> Any:
        value = self._pop()
        self._stack.append(value)
        return value

    def _to_mark(self) -> list[Any]:
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    # What operations do

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _tuple(self, count: int) -> None:
        values = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(values)))

    def _text(self, length: int) -> None:
        self._push(self._take(length).decode("utf-8", "surrogatepass"))

    def _old_text(self, length: int) -> None:
        self._push(self._take(length).decode("latin-1"))

    def _integer(self, length: int) -> None:
        if not 0 <= length <= _LONGEST_INTEGER:
            raise PickleError(f"it has a number of {length} bytes")
        self._push(int.from_bytes(self._take(length), "little", signed=True))

    def _text_integer(self) -> None:
        line = self._line()
        if line in ("00", "01"):
            self._push(line == "01")
            return
        if len(line) > 3 * _LONGEST_INTEGER:
            raise PickleError(f"it has a number of {len(line)} digits")
        self._push(int(line.removesuffix("L")))

    def _quoted(self) -> None:
        line = self._line()
        if len(line) < 2 or line[0] not in "'\"" or line[-1] != line[0] or "\\" in line:
            raise PickleError("it has a text in a form that is not known")
        self._push(line[1:-1])

    def _extend(self, target: Any, values: list[Any]) -> None:
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, set):
            target.update(_key(value) for value in values)
        elif isinstance(target, Record):
            target.items.extend(values)
        else:
            raise PickleError(f"it adds to what is no list: {type(target).__name__}")

    def _set_items(self, target: Any, values: list[Any]) -> None:
        if not isinstance(target, dict | Record) or len(values) % 2:
            raise PickleError(f"it sets items of what is no mapping: {type(target).__name__}")
        entries = target.entries if isinstance(target, Record) else target
        for key, value in zip(values[::2], values[1::2], strict=True):
            entries[_key(key)] = value

    def _name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleError("it names something by what is no text")
        full = f"{_OLD_MODULES.get(module, module)}.{name}"
        if not self._allowed(full):
            raise PickleError(f"it names {full[:120]}, which no checkpoint needs")
        self._push(Name(full))

    def _make(self, maker: Any, arguments: Any) -> None:
        if not isinstance(maker, Name) or not isinstance(arguments, tuple):
            raise PickleError("it calls what is no name")
        if maker.full == "copyreg._reconstructor" and arguments and isinstance(arguments[0], Name):
            maker, arguments = arguments[0], ()
        builder = self._builders.get(maker.full)
        self._push(builder(*arguments) if builder is not None else Record(maker.full, arguments))

    def _build(self) -> None:
        state = self._pop()
        target = self._top()
        if isinstance(target, Record):
            target.state = state
        elif isinstance(target, Name):
            raise PickleError(f"it changes {target.full[:120]}")
        # The attributes of a dictionary or a tensor are of no use to anybody here.

    def _persist(self, key: Any) -> None:
        if self._persistent is None:
            raise PickleError("it refers to something outside it")
        self._push(self._persistent(key))

    def _remember(self, index: int) -> None:
        self._memo[index] = self._top()

    def _make_instance(self, *, named: bool) -> None:
        if named:
            self._name(self._line(), self._line())
            maker = self._pop()
            self._make(maker, tuple(self._to_mark()))
        else:
            maker, *arguments = self._to_mark()
            self._make(maker, tuple(arguments))

    def _make_with_keywords(self) -> None:
        keywords, arguments, maker = self._pop(), self._pop(), self._pop()
        if keywords:
            raise PickleError("it makes an object by keywords")
        self._make(maker, arguments)


def _key(value: Any) -> Any:
    """A value as a dictionary's key. Nothing nested: the hash of what is nested deeply enough ends the process."""
    parts = value if isinstance(value, tuple) else (value,)
    if not all(part is None or isinstance(part, str | bytes | int | float | Name) for part in parts):
        raise PickleError("it has a key that is neither text nor number")
    return value


def _reversed_make(reader: PickleReader) -> None:
    arguments, maker = reader._pop(), reader._pop()
    reader._make(maker, arguments)


def _stack_name(reader: PickleReader) -> None:
    name, module = reader._pop(), reader._pop()
    reader._name(module, name)


def _set_item(reader: PickleReader) -> None:
    value, key = reader._pop(), reader._pop()
    reader._set_items(reader._top(), [key, value])


def _append(reader: PickleReader) -> None:
    value = reader._pop()
    reader._extend(reader._top(), [value])


def _many(reader: PickleReader, into: Callable[[Any, list[Any]], None]) -> None:
    values = reader._to_mark()
    into(reader._top(), values)


def _dictionary(reader: PickleReader) -> None:
    values = reader._to_mark()
    made: dict[Any, Any] = {}
    reader._set_items(made, values)
    reader._push(made)


def _protocol(reader: PickleReader) -> None:
    if (number := reader._take(1)[0]) > 5:
        raise PickleError(f"it is of protocol {number}")


def _pop_mark(reader: PickleReader) -> None:
    reader._to_mark()


# The codes are those of Python's `pickletools`; those that only programs need, such as extension registries, are left out.
_OPERATIONS: dict[int, Callable[[PickleReader], Any]] = {
    0x80: _protocol,
    0x95: lambda r: r._take(8),  # FRAME
    0x28: lambda r: r._mark(),
    0x30: lambda r: r._pop(),
    0x31: _pop_mark,
    0x32: lambda r: r._push(r._top()),  # DUP
    0x4E: lambda r: r._push(None),
    0x88: lambda r: r._push(True),
    0x89: lambda r: r._push(False),
    0x49: lambda r: r._text_integer(),
    0x4C: lambda r: r._text_integer(),
    0x4A: lambda r: r._push(r._number("<i")),
    0x4B: lambda r: r._push(r._byte()),
    0x4D: lambda r: r._push(r._number("<H")),
    0x8A: lambda r: r._integer(r._byte()),
    0x8B: lambda r: r._integer(r._number("<i")),
    0x46: lambda r: r._push(float(r._line())),
    0x47: lambda r: r._push(struct.unpack(">d", r._take(8))[0]),
    0x53: lambda r: r._quoted(),  # STRING
    0x54: lambda r: r._old_text(r._number("<i")),
    0x55: lambda r: r._old_text(r._byte()),
    0x56: lambda r: r._push(r._line()),  # UNICODE
    0x58: lambda r: r._text(r._number("<I")),
    0x8C: lambda r: r._text(r._byte()),
    0x8D: lambda r: r._text(r._number("<Q")),
    0x42: lambda r: r._push(r._take(r._number("<I"))),
    0x43: lambda r: r._push(r._take(r._byte())),
    0x8E: lambda r: r._push(r._take(r._number("<Q"))),
    0x96: lambda r: r._push(r._take(r._number("<Q"))),  # BYTEARRAY8
    0x5D: lambda r: r._push([]),
    0x61: _append,
    0x65: lambda r: _many(r, r._extend),
    0x6C: lambda r: r._push(r._to_mark()),
    0x29: lambda r: r._push(()),
    0x74: lambda r: r._push(tuple(r._to_mark())),
    0x85: lambda r: r._tuple(1),
    0x86: lambda r: r._tuple(2),
    0x87: lambda r: r._tuple(3),
    0x7D: lambda r: r._push({}),
    0x64: _dictionary,
    0x73: _set_item,
    0x75: lambda r: _many(r, r._set_items),
    0x8F: lambda r: r._push(set()),
    0x90: lambda r: _many(r, r._extend),  # ADDITEMS
    0x91: lambda r: r._push(frozenset(_key(value) for value in r._to_mark())),
    0x70: lambda r: r._remember(int(r._line())),
    0x71: lambda r: r._remember(r._byte()),
    0x72: lambda r: r._remember(r._number("<I")),
    0x94: lambda r: r._remember(len(r._memo)),
    0x67: lambda r: r._push(r._memo[int(r._line())]),
    0x68: lambda r: r._push(r._memo[r._byte()]),
    0x6A: lambda r: r._push(r._memo[r._number("<I")]),
    0x63: lambda r: r._name(r._line(), r._line()),
    0x93: _stack_name,
    0x52: _reversed_make,  # REDUCE
    0x62: lambda r: r._build(),
    0x81: _reversed_make,  # NEWOBJ
    0x92: lambda r: r._make_with_keywords(),
    0x69: lambda r: r._make_instance(named=True),
    0x6F: lambda r: r._make_instance(named=False),
    0x50: lambda r: r._persist(r._line()),
    0x51: lambda r: r._persist(r._pop()),
}
