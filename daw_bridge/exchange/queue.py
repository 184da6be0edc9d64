"""OSC for hosts without sockets: a thread beside the loop that reads their files and writes the answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from daw_bridge.exchange.post import Post
from protocols.errors import RequestError
from protocols.osc.front import OscFront, Peer

log = structlog.get_logger()

_POLL_S = 0.02
_IDLE_POLL_S = 0.1
_GATHER_S = 0.002  # answers of one moment share a file
_RETRY_S = 1.0
_CLOSE_S = 2.0


class FileQueue:
    """Serves the file queue of a folder. `serve`, `send` and `close` are for the loop's thread.

    Args:
        folder: see `daw_bridge.exchange.mailbox.Mailbox`.
        call_soon: runs something on the loop's thread, from any thread.
    """

    def __init__(self, folder: Path, call_soon: Callable[[Callable[[], None]], None]) -> None:
        self._folder = folder
        self._call_soon = call_soon
        self._changed = threading.Condition()
        self._answers = False
        self._closing = False
        self._post: Post | None = None
        self._thread = threading.Thread(target=self._run, name="file-queue", daemon=True)

    def serve(self, front: OscFront) -> None:
        """Give what comes in to ``front`` from now on. Where the folder cannot be used, the log says so and nothing is served.

        What an earlier run left is gone when this returns: a client that comes after that is not taken for one of then.
        """
        post = Post(self._folder, front, self._call_soon)
        try:
            post.mailbox.open()
        except RequestError as error:
            log.warning("no file queue", reason=error.text)
            return
        log.info("file queue ready", folder=str(self._folder))
        self._post = post
        self._thread.start()

    def send(self, peer: Peer, packet: bytes) -> None:
        """Put a packet on its way to a client; one that leaves too much unread is forgotten."""
        if self._post is not None and self._post.send(peer, packet):
            with self._changed:
                self._answers = True
                self._changed.notify()

    def close(self) -> None:
        """Write the answers that wait and let go of the folder."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        assert self._post is not None
        try:
            self._poll(self._post)
            self._post.deliver()
        except OSError as error:
            log.warning("answers not written", reason=error.strerror)
        finally:
            self._post.mailbox.close()

    def _poll(self, post: Post) -> None:
        pause, troubled = 0.0, False
        while self._wait(pause):
            try:
                post.turn()
                pause, troubled = _POLL_S if post.active else _IDLE_POLL_S, False
            except OSError as error:
                if not troubled:
                    log.warning("file queue stands still", folder=str(self._folder), reason=error.strerror)
                pause, troubled = _RETRY_S, True
                if isinstance(error, FileNotFoundError):  # somebody has tidied up
                    self._make_again(post)

    @staticmethod
    def _make_again(post: Post) -> None:
        post.mailbox.close()
        try:
            post.mailbox.open()
        except RequestError as error:
            log.warning("no file queue", reason=error.text)

    def _wait(self, seconds: float) -> bool:
        """Wait for answers or the next look at the folder; False when the bridge closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._answers, seconds)
            self._answers = False
            if self._closing:
                return False
        time.sleep(_GATHER_S)
        return True
