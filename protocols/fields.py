"""What a parameter is: its type, default, range, unit and meaning, read from the message classes themselves.

Every message is a ``msgspec.Struct`` whose fields are ``Annotated`` with ``Meta``. This module turns such a class into a table
(``fields_of``) and checks values against it (``build``), so that one clear ``RequestError`` comes out of any bad input,
whichever way it came in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import inspect

from protocols.errors import ErrorCode, RequestError, shorten

Kind = Literal["int", "float", "str", "bool", "list", "numbers", "bytes"]
M = TypeVar("M", bound=msgspec.Struct)

INT32_MAX = 2**31 - 1
_LARGEST_OF_MANY = 1e12


def about(meaning: str, *, unit: str = "", osc: bool = True, from_number: bool = False, **limits: Any) -> msgspec.Meta:
    """Annotate a field: one line of meaning, its unit, its limits (``ge``, ``le``, ``max_length``, ``min_length``).

    ``osc=False`` keeps a field out of the OSC form (it needs ZeroMQ's second frame, or 64-bit numbers). ``from_number`` lets a text
    be sent as a number too.
    """
    return msgspec.Meta(description=meaning, extra={"unit": unit, "osc": osc, "from_number": from_number}, **limits)


@dataclass(frozen=True)
class FieldSpec:
    """One parameter of a message, as the reference page, the command line and the checks need it."""

    name: str
    kind: Kind
    required: bool
    default: Any
    nullable: bool
    minimum: float | None
    maximum: float | None
    max_length: int | None
    choices: tuple[str, ...]
    unit: str
    meaning: str
    osc: bool
    from_number: bool = False

    @property
    def allowed(self) -> str:
        """The range or the choices in words: ``0 to 4``, ``wav, flac``, ``text of at most 2000 characters``."""
        if self.choices:
            return ", ".join(self.choices)
        if self.kind == "bool":
            return "0 or 1"
        if self.kind == "list":
            return "a list of texts"
        if self.kind == "numbers":
            return f"at most {self.max_length} numbers" if self.max_length else "numbers"
        if self.kind == "bytes":
            return "bytes"
        if self.kind == "str":
            return f"text of at most {self.max_length} characters" if self.max_length else "text"
        noun = "a whole number" if self.kind == "int" else "a number"
        unit = f" {self.unit}" if self.unit else ""
        low, high = (None if bound is None else plain(bound) for bound in (self.minimum, self.maximum))
        if low is not None and high is not None:
            return f"{noun} from {low} to {high}{unit}"
        if low is not None:
            return f"{noun} of at least {low}{unit}"
        if high is not None:
            return f"{noun} of at most {high}{unit}"
        return f"{noun}{unit}"

    def check(self, value: Any, *, cast: bool = False) -> Any:
        """Return ``value`` in the field's own type, or raise a ``RequestError`` that names field, value and range.

        Args:
            value: what came in.
            cast: take numbers of the wrong kind and 0/1 for booleans, as OSC controllers send them.
        """
        if value is None and self.nullable:
            return None
        match self.kind:
            case "str":
                if cast and self.from_number and isinstance(value, int | float) and not isinstance(value, bool):
                    value = plain(value)
                return self._check_text(value)
            case "list":
                if isinstance(value, list) and all(isinstance(item, str) for item in value):
                    return value
                raise self.error(ErrorCode.BAD_TYPE, value)
            case "numbers":
                return self._check_numbers(value)
            case "bytes":
                if isinstance(value, bytes):
                    return value
                raise self.error(ErrorCode.BAD_TYPE, value)
            case "bool":
                if isinstance(value, bool):
                    return value
                if cast and isinstance(value, int | float) and value in (0, 1):
                    return bool(value)
                raise self.error(ErrorCode.BAD_TYPE, value)
            case _:
                return self._check_number(value, cast)

    def error(self, code: ErrorCode, value: Any) -> RequestError:
        """The refusal of ``value`` for this field."""
        return RequestError(code, self.name, value, self.allowed)

    def _check_text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise self.error(ErrorCode.BAD_TYPE, value)
        if self.max_length is not None and len(value) > self.max_length:
            raise self.error(ErrorCode.TOO_LONG, value)
        if self.choices and value not in self.choices:
            raise self.error(ErrorCode.OUT_OF_RANGE, value)
        if "\0" in value:
            raise self.error(ErrorCode.MALFORMED, value)
        return value

    def _check_numbers(self, value: Any) -> list[float]:
        if not isinstance(value, list):
            raise self.error(ErrorCode.BAD_TYPE, value)
        if self.max_length is not None and len(value) > self.max_length:
            raise self.error(ErrorCode.TOO_LONG, f"{len(value)} numbers")
        for number in value:
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise self.error(ErrorCode.BAD_TYPE, number)
            if not abs(number) <= _LARGEST_OF_MANY:
                raise self.error(ErrorCode.OUT_OF_RANGE, number)
        return [float(number) for number in value]

    def _check_number(self, value: Any, cast: bool) -> int | float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(ErrorCode.BAD_TYPE, value)
        try:
            exact = float(value)
        except OverflowError:  # an integer beyond every float
            raise self.error(ErrorCode.OUT_OF_RANGE, value) from None
        if not math.isfinite(exact):
            raise self.error(ErrorCode.OUT_OF_RANGE, value)
        if self.kind == "float":
            number: int | float = exact
        elif isinstance(value, int):
            number = value
        elif cast:
            number = round(value)
        else:
            raise self.error(ErrorCode.BAD_TYPE, value)
        too_low = self.minimum is not None and number < self.minimum
        too_high = self.maximum is not None and number > self.maximum
        if too_low or too_high:
            raise self.error(ErrorCode.OUT_OF_RANGE, value)
        return number


@cache
def fields_of(message: type[msgspec.Struct]) -> dict[str, FieldSpec]:
    """The parameters of a message class, by name, in the order they are declared."""
    info = inspect.type_info(message)
    assert isinstance(info, inspect.StructType)
    return {field.name: _spec(field) for field in info.fields}


def build(message: type[M], values: Mapping[str, Any], *, cast: bool = False) -> M:
    """Check every value against the class's table and make the message.

    Raises:
        RequestError: ``unknown_parameter``, ``missing``, ``bad_type``, ``out_of_range`` or ``too_long``.
    """
    specs = fields_of(message)
    checked = {}
    for name, value in values.items():
        spec = specs.get(name) if isinstance(name, str) else None
        if spec is None:
            raise RequestError(ErrorCode.UNKNOWN_PARAMETER, shortened(name), value, ", ".join(specs) or "none")
        checked[name] = spec.check(value, cast=cast)
    for spec in specs.values():
        if spec.required and spec.name not in checked:
            raise RequestError(ErrorCode.MISSING, spec.name, None, spec.allowed)
    return message(**checked)


def shortened(name: object) -> str:
    """A field name as it came in, safe to print: on one line, of at most 40 characters."""
    return shorten(name, 40)


def plain(number: float) -> str:
    """A bound as people write it: ``2147483647`` and ``0.05``, never ``2.14748e+09``."""
    return str(number) if isinstance(number, int) else f"{number:.15g}"


def _spec(field: inspect.Field) -> FieldSpec:
    kind, nullable, found = _unwrap(field.type)
    extra = found.get("extra", {})
    return FieldSpec(
        name=field.name,
        kind=kind,
        required=field.required,
        default=_default(field),
        nullable=nullable,
        minimum=found.get("minimum"),
        maximum=found.get("maximum"),
        max_length=found.get("max_length"),
        choices=found.get("choices", ()),
        unit=extra.get("unit", ""),
        meaning=found.get("meaning", ""),
        osc=extra.get("osc", True),
        from_number=extra.get("from_number", False),
    )


def _default(field: inspect.Field) -> Any:
    if field.required:
        return None
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default


def _unwrap(kind: inspect.Type) -> tuple[Kind, bool, dict[str, Any]]:
    """Kind, whether None is allowed, and all limits of a field's type, through Metadata and Union wrappers."""
    match kind:
        case inspect.Metadata():
            name, nullable, found = _unwrap(kind.type)
            schema = kind.extra_json_schema or {}
            found.setdefault("meaning", schema.get("description", ""))
            found.setdefault("extra", kind.extra or {})
            return name, nullable, found
        case inspect.UnionType():
            options = [_unwrap(option) for option in kind.types if not isinstance(option, inspect.NoneType)]
            assert len(options) == 1, "a field is of one type, or that type and None"
            return options[0][0], kind.includes_none, options[0][2]
        case inspect.IntType():
            return "int", False, {"minimum": kind.ge, "maximum": kind.le}
        case inspect.FloatType():
            return "float", False, {"minimum": kind.ge, "maximum": kind.le}
        case inspect.StrType():
            return "str", False, {"max_length": kind.max_length}
        case inspect.BoolType():
            return "bool", False, {}
        case inspect.BytesType():
            return "bytes", False, {}
        case inspect.ListType(item_type=inspect.FloatType()):
            return "numbers", False, {"max_length": kind.max_length}
        case inspect.ListType():
            return "list", False, {}
        case inspect.LiteralType():
            return "str", False, {"choices": tuple(str(value) for value in kind.values)}
    raise TypeError(f"parameters are numbers, texts, booleans and lists of texts or numbers, not {kind}")
