"""An address space as it is at one moment, and what is answered to a question about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from protocols.osc.codec import Argument
from protocols.oscquery.nodes import ATTRIBUTES, READ, Node, container

HOST_INFO = "HOST_INFO"
MAX_QUERY = 256
"""Longest query of a URL, in characters."""


@dataclass(frozen=True)
class Structure:
    """Which addresses there are. Never changes; any thread.

    Attributes:
        nodes: every node that is known of itself, by its path; what lies between is filled in.
        children: names of the nodes below each, in order.
    """

    nodes: Mapping[str, Node]
    children: Mapping[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        nodes: dict[str, Node] = {"/": container("/")}
        children: dict[str, dict[str, None]] = {"/": {}}
        for path, node in self.nodes.items():
            nodes[path] = node
            parts = path.strip("/").split("/") if path != "/" else []
            for depth, name in enumerate(parts):
                above = "/" + "/".join(parts[:depth])
                nodes.setdefault(above, container(above))
                children.setdefault(above, {})[name] = None
        object.__setattr__(self, "nodes", nodes)
        object.__setattr__(self, "children", {path: tuple(names) for path, names in children.items()})


@dataclass(frozen=True)
class Answer:
    """What is answered to a question over HTTP."""

    status: HTTPStatus
    body: bytes = b""


@dataclass(frozen=True)
class Snapshot:
    """An address space at one moment. Never changes; any thread.

    Attributes:
        structure: its addresses.
        values: what those that can be read hold.
    """

    structure: Structure = field(default_factory=lambda: Structure({}))
    values: Mapping[str, Argument] = field(default_factory=dict)

    def value(self, path: str) -> Argument | None:
        """What is read at a path; None where nothing can be read."""
        node = self.structure.nodes.get(path)
        return self.values.get(path) if node is not None and node.access & READ else None

    def tree(self, path: str) -> dict[str, Any]:
        """A node with everything below it."""
        found = self.structure.nodes[path].attributes(self.values.get(path))
        names = self.structure.children.get(path)
        if names is not None:
            found["CONTENTS"] = {name: self.tree(f"{path.rstrip('/')}/{name}") for name in names}
        return found

    def answer(self, target: str, host_info: Mapping[str, Any]) -> Answer:
        """Answer a question.

        Args:
            target: of the HTTP request: a path, and after a question mark the attributes that are wanted.
            host_info: what is answered to ``?HOST_INFO``.
        """
        try:
            parts = urlsplit(target)
            path, query = unquote(parts.path, errors="strict"), parts.query
        except ValueError:
            return _refused(HTTPStatus.BAD_REQUEST, "a URL that can be read")
        if len(query) > MAX_QUERY:
            return _refused(HTTPStatus.BAD_REQUEST, f"a query of at most {MAX_QUERY} characters")
        # HOST_INFO?, HOST_INFO= and HOST_INFO=1 are all seen.
        wanted = [name.partition("=")[0].upper() for name in query.replace(";", "&").split("&") if name]
        unknown = [name for name in wanted if name not in ATTRIBUTES and name != HOST_INFO]
        if unknown:
            return _refused(HTTPStatus.BAD_REQUEST, f"of the attributes {', '.join((HOST_INFO, *ATTRIBUTES))}")
        if HOST_INFO in wanted:
            return _json(host_info)
        path = "/" + path.strip("/")
        if path not in self.structure.nodes:
            return _refused(HTTPStatus.NOT_FOUND, "an address of the tree")
        if not wanted:
            return _json(self.tree(path))
        return self._attributes(path, wanted)

    def _attributes(self, path: str, wanted: list[str]) -> Answer:
        node = self.structure.nodes[path]
        found = self.tree(path) if "CONTENTS" in wanted else node.attributes(self.values.get(path))
        if "VALUE" in wanted and not node.access & READ:
            return Answer(HTTPStatus.NO_CONTENT)
        return _json({name: found[name] for name in wanted if name in found})


def _json(content: Mapping[str, Any]) -> Answer:
    return Answer(HTTPStatus.OK, msgspec.json.encode(content))


def _refused(status: HTTPStatus, expected: str) -> Answer:
    return Answer(status, msgspec.json.encode({"ERROR": status.value, "EXPECTED": expected}))
