"""Files that torch wrote, opened without trust: what is in them is read as data, and no byte of them decides what runs.

Both of torch's formats: a zip archive of one pickle and a file per storage (since torch 1.6), and before that a row of pickles with
the storages behind them. Pickles are read by `engine.checkpoints.audiocraft.pickles`. A tensor is a view into the file, which is
mapped into memory; its place is checked against what the file has, so that no size that a file merely claims is ever allocated.
"""

from __future__ import annotations

import math
import mmap
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.checkpoints.audiocraft.names import dtype_name, is_allowed, plain_builders, storage_element
from engine.checkpoints.audiocraft.pickles import Name, PickleError, PickleReader
from protocols.errors import ErrorCode, RequestError

MAX_PICKLE_BYTES = 64 << 20
"""The largest pickle that is read; the largest checkpoint has less than a hundredth of it."""
MAX_ENTRIES = 100_000
"""The most files of one archive: one for each tensor, of which the largest checkpoint has two thousand."""
MAX_DIMS = 8

_LONGEST_SHOWN = 80
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_STORED = zipfile.ZIP_STORED
_OTHER_KINDS = (
    (b"version https://git-lfs", "the file itself, not the pointer that Git LFS left: run `git lfs pull`"),
    (b"<", "a checkpoint, not a web page: the download went wrong"),
    (b"{", "a checkpoint of torch, not JSON"),
    (b"\x1f\x8b", "a checkpoint of torch that is unpacked first, not a gzip archive"),
    (b"GGUF", "a checkpoint of torch, not GGUF"),
    (b"\x89HDF", "a checkpoint of torch, not HDF5"),
    (b"RIFF", "a checkpoint of torch, not a sound"),
)


def safe_load(path: Path, field: str = "model") -> dict[Any, Any]:
    """The dictionary that torch saved in a file, in host memory, mapped from it where that is possible.

    Tensors come as they are stored, in their own precision and without gradients; do not write to them. Objects of other libraries
    come as `engine.checkpoints.audiocraft.pickles.Record`, paths as texts, ordered and default dictionaries as plain ones.

    Args:
        path: ``state_dict.bin``, ``checkpoint.th``, or any other file of ``torch.save``.
        field: which parameter brought the path, for errors.

    Raises:
        RequestError: it is missing, cut, damaged, of another kind, or holds what no checkpoint needs; the text says which.
    """
    try:
        content = _load(path)
    except RequestError:
        raise
    except FileNotFoundError as error:
        raise RequestError(ErrorCode.NOT_FOUND, field, shown(path), "a file that exists") from error
    except PickleError as error:
        raise RequestError(ErrorCode.MALFORMED, field, shown(path), f"a checkpoint that is whole; {error}") from error
    except _RefusalError as error:
        raise RequestError(ErrorCode.MALFORMED, field, shown(path), str(error)) from error
    except OSError as error:
        raise RequestError(ErrorCode.NOT_FOUND, field, shown(path), f"a file that can be read: {error}") from error
    except Exception as error:  # what is damaged in a way that nobody has thought of is damaged none the less
        allowed = f"a checkpoint that is whole; reading it ends with {type(error).__name__}"
        raise RequestError(ErrorCode.MALFORMED, field, shown(path), allowed) from error
    if not isinstance(content, dict):
        allowed = f"a checkpoint with its parts by name, not a {type(content).__name__}"
        raise RequestError(ErrorCode.MALFORMED, field, shown(path), allowed)
    return content


def shown(path: Path) -> str:
    """A path as errors tell it: of a long one its end, which says which file it is."""
    text = str(path)
    return text if len(text) <= _LONGEST_SHOWN else f"…{text[1 - _LONGEST_SHOWN :]}"


def are_numbers(tensor: Tensor) -> bool:
    """Whether there is neither NaN nor infinity in a tensor; in one pass, without another tensor of its size."""
    return bool(tensor.sum(dtype=torch.float32).isfinite()) if tensor.is_floating_point() else True


class _RefusalError(Exception):
    """What an acceptable file is, in words that go on after "allowed:"."""


def _load(path: Path) -> Any:
    if path.is_dir():
        raise _RefusalError("a file, not a folder")
    with path.open("rb") as file:
        head = file.read(64)
        if not head:
            raise _RefusalError("a file that is not empty")
        # A private copy of the pages that are written to, of which there are none: torch takes no memory it may not write.
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    if head.startswith(b"PK"):
        return _Archive(path, content).load()
    if head.startswith(b"\x80"):
        return _load_legacy(content)
    for start, allowed in _OTHER_KINDS:
        if head.lstrip().startswith(start):
            raise _RefusalError(allowed)
    raise _RefusalError("a file that torch saved, which this is not")


class _Archive:
    """A zip archive as torch has written it since 1.6: ``<any>/data.pkl`` and ``<any>/data/<key>``, all of it uncompressed."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self._content = content
        self._sizes = 0
        self._entries = self._directory(path)
        self._checked: set[str] = set()
        roots = [name for name in self._entries if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise _RefusalError("a file that torch saved: an archive with one data.pkl")
        self._root = roots[0].removesuffix("data.pkl")
        if f"{self._root}constants.pkl" in self._entries:
            raise _RefusalError("a checkpoint of weights, not a TorchScript program")

    def load(self) -> Any:
        if (order := self._entries.get(f"{self._root}byteorder")) and bytes(self._bytes(order)) != b"little":
            raise _RefusalError("a checkpoint of a little-endian machine")
        pickle = self._bytes(self._entries[f"{self._root}data.pkl"])
        if len(pickle) > MAX_PICKLE_BYTES:
            raise _RefusalError(f"a checkpoint whose data.pkl has up to {MAX_PICKLE_BYTES} bytes, not {len(pickle)}")
        builders = plain_builders() | _tensor_builders()
        return PickleReader(pickle, allowed=is_allowed, builders=builders, persistent=self._storage).load()

    def _directory(self, path: Path) -> dict[str, zipfile.ZipInfo]:
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except Exception as error:  # a damaged directory surfaces as any of half a dozen types
            raise _RefusalError(
                f"a checkpoint that is whole: the archive's directory cannot be read ({error})"
            ) from error
        if len(entries) > MAX_ENTRIES:
            raise _RefusalError(f"an archive of up to {MAX_ENTRIES} files, not {len(entries)}")
        for entry in entries:
            if entry.compress_type != _STORED or entry.file_size != entry.compress_size:
                raise _RefusalError(f"an archive without compression, unlike its {entry.filename[:80]!r}")
            self._sizes += entry.file_size
        if self._sizes > len(self._content):
            raise _RefusalError("an archive whose files are no larger than itself")
        return {entry.filename: entry for entry in entries}

    def _bytes(self, entry: zipfile.ZipInfo) -> memoryview:
        """An entry's content, once it has been compared with its checksum."""
        start, end = self._place(entry)
        piece = memoryview(self._content)[start:end]
        # torch can be told to write no checksums, which then are 0.
        if entry.filename not in self._checked and entry.CRC and zlib.crc32(piece) != entry.CRC:
            raise _RefusalError(f"a checkpoint that is not damaged: {entry.filename[:80]!r} differs from its checksum")
        self._checked.add(entry.filename)
        return piece

    def _place(self, entry: zipfile.ZipInfo) -> tuple[int, int]:
        header = self._content[entry.header_offset : entry.header_offset + 30]
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise _RefusalError(f"a checkpoint that is whole: {entry.filename[:80]!r} is not where the archive says")
        start = (
            entry.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        )
        if start + entry.file_size > len(self._content):
            raise _RefusalError(f"a checkpoint that is whole: {entry.filename[:80]!r} is cut short")
        return start, start + entry.file_size

    def _storage(self, key: Any) -> Tensor:
        dtype, width, name, count = _storage_facts(key)
        entry = self._entries.get(f"{self._root}data/{name}")
        if entry is None:
            raise PickleError(f"its storage {name[:40]!r} is missing")
        if entry.file_size != count * width:
            raise PickleError(f"its storage {name[:40]!r} has {entry.file_size} bytes, not {count * width}")
        self._bytes(entry)
        return _numbers(self._content, self._place(entry)[0], count, dtype, width)


def _load_legacy(content: mmap.mmap) -> Any:
    """What torch wrote before 1.6: magic number, protocol, facts of the system, the value, keys, then storages in their order."""
    view = memoryview(content)
    reader = PickleReader(view, allowed=is_allowed, builders=plain_builders())
    if reader.load() != _LEGACY_MAGIC or reader.load() != _LEGACY_PROTOCOL:
        raise _RefusalError("a file that torch saved, not another pickle")
    system = reader.load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise _RefusalError("a checkpoint of a little-endian machine")
    begin = reader.offset
    if len(view) - begin < 2:
        raise PickleError("it is cut short")

    # The value says what its storages are, and stands before them: so it is read twice, the first time without tensors.
    facts: dict[str, tuple[str, int, int]] = {}

    def note(key: Any) -> None:
        dtype, width, name, count = _storage_facts(key)
        if facts.setdefault(name, (dtype, width, count)) != (dtype, width, count):
            raise PickleError(f"its storage {name[:40]!r} is of two kinds")

    first = plain_builders() | dict.fromkeys(_tensor_builders(), lambda *_: None)
    reader = PickleReader(view, allowed=is_allowed, builders=first, persistent=note, offset=begin)
    reader.load()
    keys = reader.load()
    if (
        not isinstance(keys, list)
        or not all(isinstance(key, str) for key in keys)
        or set(keys) != set(facts)
        or len(keys) != len(facts)
    ):
        raise PickleError("its list of storages does not fit its tensors")
    storages: dict[str, Tensor] = {}
    offset = reader.offset
    for key in keys:
        dtype, width, count = facts[key]
        start = offset + 8
        if int.from_bytes(view[offset:start], "little") != count or start + count * width > len(view):
            raise PickleError(f"its storage {str(key)[:40]!r} is cut short")
        storages[key] = _numbers(content, start, count, dtype, width)
        offset = start + count * width
    again = PickleReader(
        view,
        allowed=is_allowed,
        builders=plain_builders() | _tensor_builders(),
        persistent=lambda key: storages[_storage_facts(key)[2]],
        offset=begin,
    )
    return again.load()


def _storage_facts(key: Any) -> tuple[str, int, str, int]:
    """Dtype, bytes of an element, name and number of elements, from what a pickle says of a storage."""
    if not isinstance(key, tuple) or len(key) < 5 or key[0] != "storage":
        raise PickleError("it refers to something that is no storage")
    _, kind, name, place, count = key[:5]
    element = storage_element(kind.full) if isinstance(kind, Name) else None
    if isinstance(kind, Name) and kind.full == "torch.storage.UntypedStorage":
        element = ("uint8", 1)
    if element is None:
        known = kind.full if isinstance(kind, Name) else type(kind).__name__
        raise PickleError(f"it has a storage of a kind that is not known: {known[:80]}")
    if (
        not isinstance(name, str)
        or not isinstance(place, str)
        or isinstance(count, bool)
        or not isinstance(count, int)
        or count < 0
    ):
        raise PickleError("it has a storage without name or size")
    if len(key) > 5 and key[5] is not None:
        raise PickleError("it has a storage inside another, as torch wrote before 0.4")
    return *element, name, count


def _numbers(content: mmap.mmap, start: int, count: int, dtype: str, width: int) -> Tensor:
    kind = getattr(torch, dtype)
    if not count:
        return torch.empty(0, dtype=kind)
    if start % width:  # some kernels read only from addresses that are multiples of the element's size
        return torch.frombuffer(bytearray(content[start : start + count * width]), dtype=kind)
    return torch.frombuffer(content, dtype=kind, count=count, offset=start)


def _tensor_builders() -> dict[str, Callable[..., Any]]:
    return {
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_tensor_v3": _typed_tensor,
        "torch._utils._rebuild_parameter": lambda data, *_: _known_tensor(data),
        "torch._utils._rebuild_parameter_with_state": lambda data, *_: _known_tensor(data),
        "torch._tensor._rebuild_from_type_v2": _tensor_of_type,
    }


def _known_tensor(data: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise PickleError("it has a parameter that is no tensor")
    return data


def _tensor_of_type(function: Any, _kind: Any, arguments: Any, *_: Any) -> Tensor:
    builder = _tensor_builders().get(function.full) if isinstance(function, Name) else None
    if builder is None or not isinstance(arguments, tuple):
        raise PickleError("it has a tensor of a kind that is not known")
    return _known_tensor(builder(*arguments))


def _typed_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, *_: Any
) -> Tensor:
    name = dtype_name(dtype)
    if name is None or not isinstance(storage, Tensor):
        raise PickleError("it has a tensor of a kind that is not known")
    kind = getattr(torch, name)
    if storage.numel() * storage.element_size() % kind.itemsize:
        raise PickleError("it has a tensor that is larger than its storage")
    return _tensor(storage.clone().view(kind), offset, size, stride)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A view of a storage, as `torch.as_strided` makes it, once it is known to lie inside."""
    if not isinstance(storage, Tensor):
        raise PickleError("it has a tensor without storage")
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or len(size) != len(stride) or len(size) > MAX_DIMS:
        raise PickleError("it has a tensor without shape")
    numbers = (offset, *size, *stride)
    if not all(
        isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 1 << 62 for number in numbers
    ):
        raise PickleError("it has a tensor without shape")
    count = 1
    for length in size:
        count *= length
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if count and (last >= storage.numel() or count > storage.numel()):
        raise PickleError(f"its tensor of shape {list(size)} is larger than its storage")
    if not count:
        if math.prod(max(length, 1) for length in size) > 1 << 40:
            raise PickleError("it has a tensor without shape")
        return storage.new_empty(size)
    return storage.as_strided(size, stride, offset)
