"""Which names AudioCraft's files may hold, and what becomes of them: passive values, never the things named."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from engine.checkpoints.audiocraft.pickles import Builder, Name, PickleError, Record

# What a training run leaves beside the weights: its configuration as OmegaConf's nodes, its solver's and its optimizer's state,
# and the metrics of its epochs. Each is kept as a record of what was stored and does nothing.
_PREFIXES = ("omegaconf.", "audiocraft.", "flashy.", "dora.", "torch.optim.", "torch.distributed.")
_NAMES = frozenset(
    {
        *(f"builtins.{name}" for name in ("dict", "list", "tuple", "set", "frozenset", "int", "float", "str", "bool")),
        *(
            f"builtins.{name}"
            for name in ("type", "long", "unicode", "object", "complex", "bytes", "bytearray", "slice", "range")
        ),
        *(f"collections.{name}" for name in ("OrderedDict", "defaultdict", "Counter", "deque")),
        *(f"typing.{name}" for name in ("Any", "Dict", "List", "Optional", "Union", "Tuple")),
        *(f"pathlib.{name}" for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
        *(f"pathlib._local.{name}" for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath")),
        *(f"numpy.core.multiarray.{name}" for name in ("scalar", "_reconstruct")),
        *(f"numpy._core.multiarray.{name}" for name in ("scalar", "_reconstruct")),
        *(f"numpy.{name}" for name in ("dtype", "ndarray", "float64", "float32", "float16", "int64", "int32", "bool_")),
        *(f"torch._utils.{name}" for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")),
        *(f"torch._utils.{name}" for name in ("_rebuild_parameter", "_rebuild_parameter_with_state")),
        *(f"torch.{name}" for name in ("Size", "device", "dtype", "Tensor", "Generator")),
        "torch._tensor._rebuild_from_type_v2",
        "torch.nn.parameter.Parameter",
        "torch.serialization._get_layout",
        "torch.storage.UntypedStorage",
        "torch.storage.TypedStorage",
        "torch.storage._load_from_bytes",
        "datetime.datetime",
        "datetime.timedelta",
        "argparse.Namespace",
        "copyreg._reconstructor",
        "_codecs.encode",
        "enum.Enum",
    }
)

ELEMENTS: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "Double": ("float64", 8),
        "Float": ("float32", 4),
        "Half": ("float16", 2),
        "BFloat16": ("bfloat16", 2),
        "Long": ("int64", 8),
        "Int": ("int32", 4),
        "Short": ("int16", 2),
        "Char": ("int8", 1),
        "Byte": ("uint8", 1),
        "Bool": ("bool", 1),
        "ComplexFloat": ("complex64", 8),
        "ComplexDouble": ("complex128", 16),
    }
)
"""Of each of torch's storage classes: what torch calls its elements, and their bytes."""

_DTYPES = frozenset(f"torch.{name}" for name, _ in ELEMENTS.values())
_NUMBERS = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b", "u1": "B", "b1": "?"}


def is_allowed(full: str) -> bool:
    """Whether a checkpoint may name this at all."""
    return full in _NAMES or full in _DTYPES or storage_element(full) is not None or full.startswith(_PREFIXES)


def storage_element(full: str) -> tuple[str, int] | None:
    """Dtype and bytes of an element of a storage class, ``torch.FloatStorage`` for one; None: it is none."""
    for prefix in ("torch.", "torch.cuda."):
        if full.startswith(prefix) and full.endswith("Storage"):
            return ELEMENTS.get(full.removeprefix(prefix).removesuffix("Storage"))
    return None


def plain_builders() -> dict[str, Builder]:
    """Builders of all values that are no tensors."""
    return {
        "collections.OrderedDict": _dictionary,
        "collections.Counter": _dictionary,
        "collections.defaultdict": lambda *_: {},
        "collections.deque": lambda *_: [],
        "builtins.dict": lambda *_: {},
        "builtins.list": lambda *_: [],
        "builtins.set": _set,
        "builtins.frozenset": _set,
        "builtins.bytearray": _bytes,
        "builtins.bytes": _bytes,
        "torch.Size": lambda sizes=(): tuple(sizes),
        "_codecs.encode": _encoded,
        "numpy.core.multiarray.scalar": _number,
        "numpy._core.multiarray.scalar": _number,
        **{name: _path for name in _NAMES if name.startswith("pathlib.")},
    }


def _dictionary(pairs: Any = (), *_: Any) -> dict[Any, Any]:
    if isinstance(pairs, dict):
        return dict(pairs)
    made: dict[Any, Any] = {}
    for pair in pairs:
        key, value = pair
        if not isinstance(key, str | int):
            raise PickleError("it has a key that is neither text nor number")
        made[key] = value
    return made


def _set(values: Any = ()) -> set[Any]:
    if not isinstance(values, list | tuple) or not all(isinstance(value, str | int | float) for value in values):
        raise PickleError("it has a set of other things than texts and numbers")
    return set(values)


def _bytes(*content: Any) -> bytes:
    """Only what is written out: a mere number would ask for as many zeros."""
    if not content:
        return b""
    if isinstance(content[0], bytes):
        return content[0]
    raise PickleError("it has bytes in a form that is not known")


def _encoded(text: Any, *_: Any) -> bytes:
    if not isinstance(text, str):
        raise PickleError("it has bytes in a form that is not known")
    return text.encode("latin-1")


def _path(*parts: Any) -> str:
    if not all(isinstance(part, str) for part in parts):
        raise PickleError("it has a path that is no text")
    return str(PurePosixPath(*parts))


def _number(dtype: Any, content: Any = b"", *_: Any) -> Any:
    """A scalar of numpy's as a number of Python's."""
    code = dtype.arguments[0] if isinstance(dtype, Record) and dtype.arguments else dtype
    form = _NUMBERS.get(code if isinstance(code, str) else "")
    content = content.encode("latin-1") if isinstance(content, str) else content
    if form is None or not isinstance(content, bytes) or struct.calcsize(f"<{form}") != len(content):
        return Record("numpy.core.multiarray.scalar", (dtype, content))
    return struct.unpack(f"<{form}", content)[0]


def dtype_name(value: Any) -> str | None:
    """``float32`` of the name ``torch.float32``; None of anything else."""
    return value.full.removeprefix("torch.") if isinstance(value, Name) and value.full in _DTYPES else None
