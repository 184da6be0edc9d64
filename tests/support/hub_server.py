"""A server that speaks what the Hugging Face hub's client asks for: repositories from folders, large files from another address."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = 4096
"""Files of this size and more lie beside Git, as on the hub."""


class HubServer(ThreadingHTTPServer):
    """Repositories by name, each a folder; and what may go wrong with them.

    Attributes:
        folders: by ``owner/name``.
        licences: what a repository's page says.
        gated: names that ask for a login.
        moved: old names of repositories.
        cut_after: bytes after which the next answers for large files break off, in their order.
        asked: method, path and Range of every request.
        damaged: files that are sent with other bytes than they have.
        hold_after: bytes after which the next answer for a large file waits for `release`.
        tokens_at_storage: how often a token was sent to where large files lie.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folders: dict[str, Path] = {}
        self.licences: dict[str, str] = {}
        self.gated: set[str] = set()
        self.moved: dict[str, str] = {}
        self.cut_after: list[int] = []
        self.asked: list[tuple[str, str, str]] = []
        self.tokens_at_storage = 0
        self.damaged: set[str] = set()
        self.hold_after: int | None = None
        self._released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def environment(self, home: Path) -> dict[str, str]:
        """What a process needs to take this for the hub, with all that it remembers under ``home``."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home / "huggingface"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_STATE_HOME": str(home / "state"),
            "NO_PROXY": "127.0.0.1",
        }

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that were killed are no news."""

    def release(self) -> None:
        """Let an answer that waits go on, or notice that nobody is there any more."""
        self.hold_after = None
        self._released.set()

    def wait(self) -> None:
        self._released.wait(60)

    def downloads(self) -> list[tuple[str, str]]:
        """Path and Range of everything that was fetched from where large files lie."""
        return [(path, span) for method, path, span in self.asked if method == "GET" and path.startswith("/storage/")]

    def commit(self, name: str) -> str:
        """Of the newest revision: it follows the content."""
        digest = hashlib.sha1()
        for path in self.files(name):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def files(self, name: str) -> list[Path]:
        return sorted(path for path in self.folders[name].rglob("*") if path.is_file())


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """A server that runs for the length of a ``with``."""
    server = HubServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.release()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((self.command, path, self.headers.get("Range", "")))
        parts = path.strip("/").split("/")
        if parts[0] == "storage":
            self.server.tokens_at_storage += "Authorization" in self.headers
            self._send_large("/".join(parts[1:3]), "/".join(parts[3:]))
            return
        name = "/".join(parts[2:4] if parts[:2] == ["api", "models"] else parts[:2])
        if name in self.server.moved:
            target = self.server.moved[name]
            self._send(307, b"", {"Location": self.path.replace(name, target, 1)})
        elif name not in self.server.folders:
            self._fail(404, "RepoNotFound")
        elif name in self.server.gated:
            self._fail(403, "GatedRepo")
        elif parts[0] == "api":
            self._tell(name, parts[4:])
        else:
            self._resolve(name, "/".join(parts[4:]))

    def _tell(self, name: str, rest: list[str]) -> None:
        server = self.server
        root, commit = server.folders[name], server.commit(name)
        rows = [(path.relative_to(root).as_posix(), _facts(path)) for path in server.files(name)]
        if rest[:1] == ["tree"]:
            tree = [
                {"type": "file", "path": file, "size": facts["size"], "oid": facts["blobId"]}
                | ({"lfs": {"oid": facts["lfs"]["sha256"], **facts["lfs"]}} if "lfs" in facts else {})
                for file, facts in rows
            ]
            self._send_json(tree)
            return
        siblings = [{"rfilename": file, **facts} for file, facts in rows]
        info: dict[str, Any] = {"id": name, "modelId": name, "sha": commit, "siblings": siblings, "tags": []}
        if licence := server.licences.get(name):
            info |= {"tags": [f"license:{licence}"], "cardData": {"license": licence}}
        self._send_json(info)

    def _resolve(self, name: str, file: str) -> None:
        path = self.server.folders[name] / file
        if not path.is_file():
            self._fail(404, "EntryNotFound")
            return
        facts, commit = _facts(path), self.server.commit(name)
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if "lfs" in facts:
            sha = facts["lfs"]["sha256"]
            headers |= {"X-Linked-Etag": f'"{sha}"', "X-Linked-Size": str(facts["size"]), "ETag": '"another"'}
            # Another name of this machine stands for another host.
            place = f"http://localhost:{self.server.server_address[1]}/storage/{name}/{file}"
            self._send(302, b"", headers | {"Location": place})
            return
        self._send(200, path.read_bytes(), headers | {"ETag": f'"{facts["blobId"]}"'})

    def _send_large(self, name: str, file: str) -> None:
        server = self.server
        content = (server.folders[name] / file).read_bytes()
        if file in server.damaged:
            content = bytes(len(content) // 2) + content[len(content) // 2 :]
        start = 0
        headers = {"Accept-Ranges": "bytes"}
        status = 200
        if (span := self.headers.get("Range", "")).startswith("bytes="):
            start = int(span.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            status = 206
        body = content[start:]
        cut = server.cut_after.pop(0) if server.cut_after and self.command == "GET" else None
        held = None
        if self.command == "GET":
            held, server.hold_after = server.hold_after, None
        self._send(status, body, headers, cut=cut, held=held)

    def _send_json(self, content: object) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _fail(self, status: int, code: str) -> None:
        self._send(status, b'{"error": "no"}', {"X-Error-Code": code, "Content-Type": "application/json"})

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], *, cut: int | None = None, held: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            if held is not None:
                self.wfile.write(body[:held])
                self.wfile.flush()
                self.server.wait()
                body = body[held:]
            self.wfile.write(body if cut is None else body[:cut])
        except ConnectionError:
            self.close_connection = True
            return
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()


def _facts(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    facts: dict[str, Any] = {"size": len(content), "blobId": blob}
    if len(content) >= LARGE:
        sha = hashlib.sha256(content).hexdigest()
        facts["lfs"] = {"sha256": sha, "size": len(content), "pointerSize": 134}
    return facts
