"""What a pad asks for: a request to the bridge, written as one text."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import cache
from typing import Any

from protocols.bridge_messages import (
    BRIDGE_REQUESTS,
    BridgeQuit,
    BridgeStatus,
    BridgeVersion,
    PlayAgain,
    Playback,
    TriggerRequest,
)
from protocols.errors import ErrorCode, RequestError
from protocols.fields import FieldSpec, fields_of
from protocols.messages import Request
from protocols.osc.form import Address, address_space, parse

VALUE = "{value}"
"""Stands for a controller's value in the text of an action."""

_NEVER = (TriggerRequest, BridgeQuit, BridgeStatus, BridgeVersion)


class Action:
    """A request as text: its address, then what a host sends there, but without the number of a request. Never changes.

    Texts with spaces stand between quotation marks. Words that begin with no address are a prompt.

    Args:
        text: such as ``/bridge/open 'warm strings' guidance 4``.
        prompt: address that words are sent to.
        field: that errors about the text itself are told of.

    Raises:
        RequestError: EMPTY, MALFORMED, UNKNOWN_ADDRESS; NOT_ALLOWED for what no pad may ask.
    """

    def __init__(self, text: str, prompt: str = "/bridge/play", field: str = "action") -> None:
        self.text = text.strip()
        if not self.text:
            raise RequestError(ErrorCode.EMPTY, field, text, "a request to the bridge, or words for a prompt")
        if self.text.startswith("/"):
            try:
                path, *tokens = shlex.split(self.text)
            except ValueError as error:
                raise RequestError(
                    ErrorCode.MALFORMED, field, text, f"texts between quotation marks ({error})"
                ) from None
        else:
            path, tokens = prompt, [self.text]
        found = _addresses().get(path)
        if found is None:
            raise RequestError(ErrorCode.UNKNOWN_ADDRESS, field, path, ", ".join(_addresses()))
        if issubclass(found.request, _NEVER):
            raise RequestError(ErrorCode.NOT_ALLOWED, field, path, "what a pad may ask for")
        self.path = path
        self._address = found
        self._tokens = tokens

    @property
    def opens_stream(self) -> bool:
        """Whether it opens a stream that can be held, stopped and kept ready."""
        return issubclass(self._address.request, Playback | PlayAgain)

    @property
    def takes_value(self) -> bool:
        """Whether a controller's value has a place in it."""
        return any(VALUE in token for token in self._tokens)

    def request(self, defaults: Mapping[str, object], value: float = 0.0) -> Request:
        """The request.

        Args:
            defaults: values of parameters that the text leaves out.
            value: of a controller.

        Raises:
            RequestError: what is wrong with its parameters.
        """
        tokens = [token.replace(VALUE, f"{value:.6g}") for token in self._tokens]
        if len(tokens) < len(self._address.positional):
            missing = self._address.positional[len(tokens)]
            raise RequestError(ErrorCode.MISSING, missing.name, None, missing.allowed)
        try:
            _, request, _ = parse(self._address, [0, *_typed(self._address, tokens)], defaults)
        except RequestError as error:
            raise RequestError(error.code, error.field, error.value, error.allowed) from None
        return request


@cache
def _addresses() -> dict[str, Address]:
    return address_space(BRIDGE_REQUESTS)


def _typed(address: Address, tokens: list[str]) -> list[Any]:
    """Words as the arguments that a host would send: numbers where the address takes numbers."""
    first = [_value(spec, token) for spec, token in zip(address.positional, tokens, strict=False)]
    rest, many = tokens[len(first) :], []
    while address.rest is not None and rest and isinstance(number := _number(rest[0]), int | float):
        many.append(number)
        rest.pop(0)
    specs = fields_of(address.request)
    named: list[Any] = []
    for name, token in zip(rest[::2], rest[1::2], strict=False):
        named += [name, _value(specs[name], token) if name in specs else token]
    return [*first, *many, *named, *rest[len(named) :]]


def _value(spec: FieldSpec, token: str) -> int | float | str:
    return token if spec.kind in ("str", "list") else _number(token)


def _number(token: str) -> int | float | str:
    """A number; what is none stays as it is, and is refused by name."""
    for kind in (int, float):
        try:
            return kind(token)
        except ValueError:
            pass
    return token
