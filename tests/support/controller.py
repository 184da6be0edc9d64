"""A controller as others write it: it knows zeroconf, HTTP, WebSockets and OSC, and nothing of ours."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import zeroconf
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import build_msg
from websockets.sync.client import connect

KINDS = ("_oscjson._tcp.local.", "_osc._udp.local.")
_TYPES = {"i": int, "f": float, "s": str}


class Browser:
    """What zeroconf finds on loopback, by kind and port."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, int], zeroconf.ServiceInfo] = {}
        self._names: dict[tuple[str, str], int] = {}
        self._changed = threading.Condition()
        self._zeroconf = zeroconf.Zeroconf(interfaces=["127.0.0.1"])
        self._browser = zeroconf.ServiceBrowser(self._zeroconf, list(KINDS), self)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exc: object) -> None:
        self._zeroconf.close()

    def add_service(self, responder: zeroconf.Zeroconf, kind: str, name: str) -> None:
        info = responder.get_service_info(kind, name, 3000)
        if info is not None and info.port is not None:
            with self._changed:
                self.found[kind, info.port] = info
                self._names[kind, name] = info.port
                self._changed.notify_all()

    update_service = add_service

    def remove_service(self, responder: zeroconf.Zeroconf, kind: str, name: str) -> None:
        with self._changed:
            port = self._names.pop((kind, name), None)
            self.found.pop((kind, port or 0), None)
            self._changed.notify_all()

    def wait(self, condition: Callable[[], Any], seconds: float = 20.0) -> Any:
        """The condition's first true value; false in the end."""
        with self._changed:
            self._changed.wait_for(condition, seconds)
            return condition()


class Controller:
    """A client of one OSCQuery server: what it answers over HTTP, and a WebSocket."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connection = connect(f"ws://127.0.0.1:{port}/", max_size=None)
        self.values: dict[str, Any] = {}
        self.notices: list[tuple[str, Any]] = []
        self.heard: list[tuple[str, list[Any]]] = []

    def __enter__(self) -> Controller:
        self.socket = self._connection.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.__exit__(None, None, None)

    def get(self, target: str = "/") -> Any:
        """What is answered, as JSON."""
        status, body = fetch(self.port, target)
        assert status == 200, (status, body)
        return json.loads(body)

    def listen(self, *paths: str) -> None:
        """Hear of the values at some addresses."""
        for path in paths:
            self.socket.send(json.dumps({"COMMAND": "LISTEN", "DATA": path}))

    def send(self, path: str, *arguments: Any) -> None:
        """Send OSC over the WebSocket."""
        self.socket.send(build_msg(path, list(arguments)).dgram)

    def receive(self, seconds: float) -> bool:
        """Take one message; False when none came."""
        try:
            message = self.socket.recv(max(seconds, 0.001))
        except TimeoutError:
            return False
        if isinstance(message, str):
            told = json.loads(message)
            self.notices.append((told["COMMAND"], told["DATA"]))
        else:
            osc = OscMessage(message)
            self.heard.append((osc.address, list(osc.params)))
            if osc.params:
                self.values[osc.address] = osc.params[0]
        return True

    def wait(self, condition: Callable[[], Any], seconds: float = 20.0) -> Any:
        """Take messages until something is true; returns that."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            in_time = self.receive(deadline - time.monotonic()) or time.monotonic() < deadline
            assert in_time, f"not within {seconds} s; heard {self.heard[-5:]}, {self.notices[-5:]}"
        return found


def fetch(port: int, target: str, headers: dict[str, str] | None = None, method: str = "GET") -> tuple[int, bytes]:
    """Status and body of an HTTP answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{target}", headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def walk(node: dict[str, Any], path: str = "/") -> Iterator[dict[str, Any]]:
    """Every node of a tree, each checked against the proposal and against its place."""
    assert node["FULL_PATH"] == path
    assert node["ACCESS"] in (0, 1, 2, 3)
    types = node.get("TYPE", "")
    _check_values(node, types)
    for overload in node.get("OVERLOADS", ()):
        _check_values(overload, overload["TYPE"])
    if node["ACCESS"]:
        assert types, f"{path} takes or gives something, but does not say what"
        assert node["DESCRIPTION"].strip()
    if node["ACCESS"] & 1:
        assert len(node["VALUE"]) == 1, f"{path} can be read"
    else:
        assert "VALUE" not in node
    yield node
    for name, child in node.get("CONTENTS", {}).items():
        assert name
        assert not set(name) & set(" #*,/?[]{}"), f"{name} cannot be part of an OSC address"
        yield from walk(child, f"{path.rstrip('/')}/{name}")


def _check_values(node: dict[str, Any], types: str) -> None:
    if types in ("", "N"):
        assert not {"VALUE", "RANGE", "UNIT", "CLIPMODE"} & node.keys()
        return
    assert set(types) <= _TYPES.keys()
    for name in ("VALUE", "RANGE", "UNIT", "CLIPMODE"):
        if name in node:
            assert len(node[name]) == len(types), f"{node.get('FULL_PATH')}: one {name} for each type"
    for kind, value in zip(types, node.get("VALUE", ()), strict=False):
        assert type(value) is _TYPES[kind], f"{node.get('FULL_PATH')}: {value!r} is no {kind}"
    for kind, bounds in zip(types, node.get("RANGE", ()), strict=False):
        assert bounds.keys() <= {"MIN", "MAX", "VALS"}
        for bound in [bounds[name] for name in ("MIN", "MAX") if name in bounds] + bounds.get("VALS", []):
            assert type(bound) is _TYPES[kind]
    for value, bounds in zip(node.get("VALUE", ()), node.get("RANGE", ()), strict=False):
        assert bounds.get("MIN", value) <= value <= bounds.get("MAX", value)
        assert value in bounds.get("VALS", [value])
