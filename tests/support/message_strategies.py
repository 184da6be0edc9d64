"""Hypothesis strategies that make valid instances of any message class, from nothing but its declared types and limits."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

texts = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_MAX_TEXT = 30


def instances_of(message: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Messages of this class, every field filled within its limits."""
    info = inspect.type_info(message)
    assert isinstance(info, inspect.StructType)
    return st.builds(message, **{field.name: values_of(field.type) for field in info.fields})


def values_of(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Values of one field's type."""
    match kind:
        case inspect.Metadata():
            return values_of(kind.type)
        case inspect.UnionType():
            return st.one_of([values_of(option) for option in kind.types])
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType():
            low = -(2**31) if kind.ge is None else kind.ge
            return st.integers(low, 2**31 - 1 if kind.le is None else kind.le)
        case inspect.FloatType():
            return st.floats(kind.ge, kind.le, allow_nan=False, allow_infinity=False)
        case inspect.StrType():
            return st.text(texts, max_size=min(kind.max_length or _MAX_TEXT, _MAX_TEXT))
        case inspect.BytesType():
            return st.binary(max_size=_MAX_TEXT)
        case inspect.LiteralType():
            return st.sampled_from(kind.values)
        case inspect.ListType():
            return st.lists(values_of(kind.item_type), max_size=3)
        case inspect.DictType():
            return st.dictionaries(values_of(kind.key_type), values_of(kind.value_type), max_size=3)
        case inspect.StructType():
            return instances_of(kind.cls)
    raise TypeError(f"no strategy for {kind}")
