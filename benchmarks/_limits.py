"""What a figure has to keep to, as it stands in the record beside the figure, and what the record says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def at_most(what: str, limit: float, value: float | None) -> dict[str, Any]:
    """A figure that may not be above ``limit``; one that was not measured (None) is neither kept nor missed."""
    return _limit(what, "≤", limit, value, None if value is None else value <= limit)


def at_least(what: str, limit: float, value: float | None) -> dict[str, Any]:
    """As `at_most`, of a figure that may not be below ``limit``."""
    return _limit(what, "≥", limit, value, None if value is None else value >= limit)


def broken(result: Mapping[str, Any]) -> list[str]:
    """The limits of a result that are missed, in words."""
    return [described(limit) for limit in result.get("limits", ()) if limit["kept"] is False]


def described(limit: Mapping[str, Any]) -> str:
    """A limit in words."""
    value = "not measured" if limit["value"] is None else f"{limit['value']:g}"
    verdict = {True: "kept", False: "MISSED", None: "open"}[limit["kept"]]
    return f"{limit['what']}: {value} ({limit['sense']} {limit['limit']:g}: {verdict})"


def lines(limits: Iterable[Mapping[str, Any]]) -> str:
    """Limits for a terminal, one a line; nothing where there are none."""
    return "".join(f"limit of {described(limit)}\n" for limit in limits)


def _limit(what: str, sense: str, limit: float, value: float | None, kept: bool | None) -> dict[str, Any]:
    return {"what": what, "sense": sense, "limit": limit, "value": value, "kept": kept}
