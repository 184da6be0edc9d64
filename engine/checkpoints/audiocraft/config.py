"""AudioCraft's configurations, read without OmegaConf and without trust.

They stand in a checkpoint under ``xp.cfg``: as YAML in released files, as a pickle of OmegaConf's nodes in what a solver leaves.
Values may refer to others, ``${transformer_lm.n_q}``; a reference is followed when its value is asked for, so that one to the
environment of the machine that trained harms nobody who does not ask.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import yaml  # type: ignore[import-untyped]

from engine.checkpoints.audiocraft.pickles import Record
from protocols.errors import ErrorCode, RequestError

MAX_TEXT = 1 << 20
"""The longest configuration in characters: AudioCraft's have ten thousand."""
MAX_NODES = 50_000
MAX_DEPTH = 24
MAX_REFERENCES = 16
"""How many references may lead from one to the next."""

_MAX_VALUE = 10_000
_MISSING = "???"
_REFERENCE = re.compile(r"\$\{([^${}]*)\}")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F_]+|0o?[0-7_]+|0b[01_]+")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*)?\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+")
_INFINITE = re.compile(r"([-+])?\.(?:inf|Inf|INF)")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **{spelt: True for word in ("true", "yes", "on") for spelt in (word, word.capitalize(), word.upper())},
    **{spelt: False for word in ("false", "no", "off") for spelt in (word, word.capitalize(), word.upper())},
}

_T = TypeVar("_T")
_REQUIRED: Any = object()


class Config:
    """A configuration, or a section of one. Every getter takes a dotted key, ``"codebooks_pattern.delay.delays"``.

    A key that is absent or ``null`` gives ``default`` where there is one. Each getter raises a `RequestError` that names the whole
    key, the value and what is allowed.

    Args:
        content: the whole configuration, of dictionaries, lists, texts, numbers, booleans and None.
        path: of this section in it.
    """

    def __init__(self, content: dict[str, Any], path: tuple[str, ...] = ()) -> None:
        self._content = content
        self._path = path

    @classmethod
    def read(cls, source: object) -> Config:
        """From what a checkpoint holds under ``xp.cfg`` or ``cfg``: YAML, OmegaConf's nodes as `safe_load` gives them, or a dict.

        Raises:
            RequestError: it cannot be read as one, or is too large to be one.
        """
        if isinstance(source, str):
            content = _from_yaml(source)
        elif isinstance(source, dict | Record):
            content = _plain(source, [MAX_NODES], 0)
        else:
            raise _malformed("xp.cfg", type(source).__name__, "a configuration: YAML or nodes of OmegaConf")
        if not isinstance(content, dict):
            raise _malformed("xp.cfg", type(content).__name__, "a configuration with keys")
        return cls(content)

    def key(self, name: str) -> str:
        """The whole of a key that is given from here, as errors name it."""
        return ".".join((*self._path, *([name] if name else [])))

    def __contains__(self, name: str) -> bool:
        """Whether a key is there, whatever its value."""
        return self._look((*self._path, *name.split(".")))[0]

    def __iter__(self) -> Iterator[str]:
        """The names of what this section holds."""
        found, value = self._look(self._path)
        return iter(list(value) if found and isinstance(value, dict) else [])

    def get(self, name: str, default: Any = None) -> Any:
        """A value of any kind, references followed; sections and lists come with what they hold as it was written."""
        found, value = self._look((*self._path, *name.split(".")))
        if not found:
            return default
        return self._resolve(value, (*self._path, *name.split(".")), MAX_REFERENCES)

    def section(self, name: str, *, optional: bool = False) -> Config:
        """The section under a key; empty where it is ``optional`` and absent or ``null``."""
        path = (*self._path, *name.split("."))
        found, value = self._look(path)
        if found:
            value = self._resolve(value, path, MAX_REFERENCES)
        if isinstance(value, dict):
            return Config(self._content, path)
        if optional and value is None:
            return Config(self._content, path)
        raise _malformed(self.key(name), value, "a section") if found else _missing(self.key(name), "a section")

    def text(self, name: str, default: str = _REQUIRED) -> str:
        """A text that is not empty."""
        return self._get(name, default, lambda value: value if isinstance(value, str) and value else None, "a text")

    def flag(self, name: str, default: bool = _REQUIRED) -> bool:
        """True or false."""
        return self._get(name, default, lambda value: value if isinstance(value, bool) else None, "true or false")

    def whole(self, name: str, default: int = _REQUIRED, *, least: int = 0, most: int = 1 << 31) -> int:
        """A whole number from ``least`` to ``most``; ``8.0`` is one too."""
        return self._get(
            name, default, lambda value: _whole(value, least, most), f"a whole number from {least} to {most}"
        )

    def number(self, name: str, default: float = _REQUIRED, *, least: float = 0, most: float = 1e12) -> float:
        """A finite number from ``least`` to ``most``."""

        def read(value: Any) -> float | None:
            if isinstance(value, bool) or not isinstance(value, int | float):
                return None
            return float(value) if least <= value <= most else None

        return self._get(name, default, read, f"a number from {least} to {most}")

    def choice(self, name: str, choices: Sequence[str], default: str = _REQUIRED) -> str:
        """One of these texts; another one is what this engine does not know, hence ``unsupported``."""
        value = self.get(name)
        if value is None:
            if default is _REQUIRED:
                raise _missing(self.key(name), ", ".join(choices))
            return default
        if value not in choices:
            raise RequestError(ErrorCode.UNSUPPORTED, self.key(name), value, ", ".join(choices))
        return str(value)

    def wholes(
        self, name: str, default: Sequence[int] = _REQUIRED, *, least: int = 0, most: int = 1 << 31
    ) -> list[int]:
        """A list of whole numbers, each from ``least`` to ``most``; it may be empty."""
        allowed = f"a list of whole numbers from {least} to {most}"
        return self._get(
            name, default, lambda value: self._list(name, value, lambda one: _whole(one, least, most)), allowed
        )

    def numbers(self, name: str, default: Sequence[float] = _REQUIRED) -> list[float]:
        """A list of finite numbers; it may be empty."""

        def read(value: Any) -> float | None:
            number = not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
            return float(value) if number else None

        return self._get(name, default, lambda value: self._list(name, value, read), "a list of numbers")

    def texts(self, name: str, default: Sequence[str] = _REQUIRED) -> list[str]:
        """A list of texts; it may be empty."""
        read: Callable[[Any], str | None] = lambda value: value if isinstance(value, str) else None  # noqa: E731
        return self._get(name, default, lambda value: self._list(name, value, read), "a list of texts")

    def expect(self, **wanted: object) -> None:
        """Refuse what the engine would compute wrongly: the values of these keys of this section, where they are given.

        Raises:
            RequestError: ``unsupported`` for the first key that is given and has another value.
        """
        for name, expected in wanted.items():
            if name in self and (value := self.get(name)) != expected:
                raise RequestError(
                    ErrorCode.UNSUPPORTED, self.key(name), "null" if value is None else value, _spelt(expected)
                )

    # Inside

    def _get(self, name: str, default: Any, read: Callable[[Any], _T | None], allowed: str) -> _T:
        value = self.get(name)
        if value is None and default is not _REQUIRED:
            given: _T = list(default) if isinstance(default, list | tuple) else default  # type: ignore[assignment]
            return given
        if value is None:
            raise _missing(self.key(name), allowed)
        if (read_value := read(value)) is None:
            raise _malformed(self.key(name), value, allowed)
        return read_value

    def _list(self, name: str, value: Any, read: Callable[[Any], _T | None]) -> list[_T] | None:
        if not isinstance(value, list):
            return None
        path = (*self._path, *name.split("."))
        made = [read(self._resolve(one, (*path, str(index)), MAX_REFERENCES)) for index, one in enumerate(value)]
        return None if any(one is None for one in made) else [one for one in made if one is not None]

    def _look(self, path: Sequence[str]) -> tuple[bool, Any]:
        """Whether there is something at a path, and what; sections on the way may be references."""
        value: Any = self._content
        for index, name in enumerate(path):
            if isinstance(value, str) and "${" in value:
                value = self._resolve(value, tuple(path[:index]), MAX_REFERENCES)
            if isinstance(value, dict) and name in value:
                value = value[name]
            elif isinstance(value, list) and name.isdecimal() and len(name) < 6 and int(name) < len(value):
                value = value[int(name)]
            else:
                return False, None
        return value != _MISSING, value

    def _resolve(self, value: Any, path: tuple[str, ...], left: int) -> Any:
        """Follow a value's references, which are from the root, or, with leading dots, from the section that holds it."""
        for _ in range(left):
            if not isinstance(value, str) or not _REFERENCE.search(value):
                return value
            if len(value) > _MAX_VALUE:
                raise _malformed(".".join(path), value, f"a text of up to {_MAX_VALUE} characters")
            whole = _REFERENCE.fullmatch(value)
            if whole is not None:
                path, value = self._follow(whole[1], path)
                continue
            value = self._fill(value, path)
        raise _malformed(".".join(path), value, f"references that end, after {MAX_REFERENCES} at most")

    def _fill(self, text: str, path: tuple[str, ...]) -> str:
        return _REFERENCE.sub(lambda match: _inner_text(self._follow(match[1], path)[1]), text)

    def _follow(self, reference: str, path: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
        reference = reference.strip()
        if ":" in reference:
            raise RequestError(
                ErrorCode.UNSUPPORTED,
                ".".join(path),
                f"${{{reference}}}",
                "a value, not one that another program looks up",
            )
        dots = len(reference) - len(reference.lstrip("."))
        names = tuple(re.sub(r"\[([^\[\]]*)\]", r".\1", reference[dots:]).strip(".").split("."))
        target = (*path[: max(len(path) - dots, 0)], *names) if dots else names
        if len(target) > MAX_DEPTH or target == path:
            raise _malformed(".".join(path), f"${{{reference}}}", "a reference to another key")
        value: Any = self._content
        for name in target:
            if isinstance(value, dict) and name in value:
                value = value[name]
            elif isinstance(value, list) and name.isdecimal() and len(name) < 6 and int(name) < len(value):
                value = value[int(name)]
            else:
                raise _malformed(".".join(path), f"${{{reference}}}", "a reference to a key that exists")
        return target, value


def _inner_text(value: Any) -> str:
    if isinstance(value, dict | list):
        raise _malformed("xp.cfg", type(value).__name__, "references inside a text that lead to a text or a number")
    return "null" if value is None else str(value)


def _whole(value: Any, least: int, most: int) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most else None


def _spelt(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _missing(key: str, allowed: str) -> RequestError:
    return RequestError(ErrorCode.MISSING, key, None, allowed)


def _malformed(key: str, value: object, allowed: str) -> RequestError:
    return RequestError(ErrorCode.MALFORMED, key, "null" if value is None else value, allowed)


def _plain(value: Any, left: list[int], depth: int) -> Any:
    """OmegaConf's nodes and their kin as plain values; what is neither becomes None."""
    left[0] -= 1
    if left[0] < 0 or depth > MAX_DEPTH:
        raise _malformed("xp.cfg", None, f"up to {MAX_NODES} values in sections up to {MAX_DEPTH} deep")
    if isinstance(value, Record):
        state = value.state[0] if isinstance(value.state, tuple) and value.state else value.state
        if not value.kind.startswith("omegaconf.") or not isinstance(state, dict):
            return None
        content = state.get("_content", state.get("_val"))
        return _plain(content, left, depth)
    if isinstance(value, dict):
        return {str(key): _plain(one, left, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, left, depth + 1) for one in value]
    return value if value is None or isinstance(value, str | int | float | bool) else None


def _from_yaml(text: str) -> Any:
    """YAML's values by its events, so that depth, number and tags are seen before anything is made."""
    if len(text) > MAX_TEXT:
        raise _malformed("xp.cfg", f"{len(text)} characters", f"up to {MAX_TEXT}")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _from_events(yaml.parse(text, Loader=loader))
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())[:160]
        raise _malformed("xp.cfg", None, f"a configuration that is YAML: {reason}") from error
    except UnicodeError as error:
        raise _malformed("xp.cfg", None, "a configuration of readable text") from error


def _from_events(events: Iterator[Any]) -> Any:
    open_: list[Any] = []  # sections and lists that are not complete
    keys: list[str | None] = []  # beside each of them, the key that waits for its value
    result: Any = None
    for count, event in enumerate(events):
        if count > 3 * MAX_NODES or len(open_) > MAX_DEPTH:
            raise _malformed("xp.cfg", None, f"up to {MAX_NODES} values in sections up to {MAX_DEPTH} deep")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _malformed("xp.cfg", event.anchor, "YAML without anchors and aliases")
        if getattr(event, "tag", None) is not None:
            raise _malformed("xp.cfg", event.tag, "YAML without tags")
        if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            value = open_.pop()
            keys.pop()
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            open_.append({} if isinstance(event, yaml.MappingStartEvent) else [])
            keys.append(None)
            continue
        elif isinstance(event, yaml.ScalarEvent):
            value = _scalar(event)
        else:
            continue
        if not open_:
            result = value
        elif isinstance(open_[-1], list):
            open_[-1].append(value)
        elif keys[-1] is None:
            if isinstance(value, dict | list):
                raise _malformed("xp.cfg", None, "keys that are texts")
            keys[-1] = event.value
        else:
            open_[-1][keys[-1]] = value
            keys[-1] = None
    return result


def _scalar(event: Any) -> Any:
    """As YAML 1.1 reads a plain scalar; and, as OmegaConf does, ``1e-5`` as a number and dates as texts."""
    text: str = event.value
    if not event.implicit[0]:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > 64:
        return text
    digits = text.replace("_", "")
    if _INTEGER.fullmatch(text):
        for base in (0, 8):
            try:
                return int(digits, base)
            except ValueError:
                continue
        return text
    if _FLOAT.fullmatch(text) and any(letter.isdigit() for letter in text):
        return float(digits)
    if infinite := _INFINITE.fullmatch(text):
        return -math.inf if infinite[1] == "-" else math.inf
    return math.nan if text in (".nan", ".NaN", ".NAN") else text
