"""The event loop on which each process runs its sockets: one thread, one poller, timers, and calls from other threads."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

    import zmq

_log = logging.getLogger(__name__)

_BURST = 64
_YIELD_SHARE = 3
_MAX_YIELD_S = 0.02


class IoLoop:
    """Waits on sockets and calls back. Built on zmq's poller, which takes ZeroMQ and plain sockets alike.

    Threads: everything is for the thread that calls `run`, except `call_soon` and `stop`, which any thread may call.

    A flood on the sockets does not starve the rest of the process: after a full burst of messages the loop sleeps for a
    multiple of the time it spent, so that the interpreter is free for the thread that drives the model or feeds the sound.
    """

    def __init__(self) -> None:
        import socket

        import zmq

        self._zmq = zmq
        self._poller = zmq.Poller()
        self._readers: dict[Any, Callable[[int], int]] = {}
        self._timers: list[_Timer] = []
        self._calls: deque[Callable[[], None]] = deque()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._poller.register(self._wake_in, zmq.POLLIN)
        self._stopping = False

    def add_reader(self, sock: zmq.Socket[bytes] | socket.socket, read: Callable[[int], int]) -> None:
        """Call ``read(limit)`` whenever the socket has something; it handles at most ``limit`` messages, returns how many."""
        key = sock if isinstance(sock, self._zmq.Socket) else sock.fileno()
        self._readers[key] = read
        self._poller.register(sock, self._zmq.POLLIN)

    def remove_reader(self, sock: zmq.Socket[bytes] | socket.socket) -> None:
        """Forget a socket; call it before the socket is closed."""
        key = sock if isinstance(sock, self._zmq.Socket) else sock.fileno()
        if self._readers.pop(key, None) is not None:
            self._poller.unregister(sock)

    def call_every(self, seconds: float, call: Callable[[], None]) -> None:
        """Call something about every ``seconds`` from now on."""
        self._timers.append(_Timer(seconds, call, time.monotonic() + seconds))

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call something once, after so many seconds."""
        timer = _Timer(seconds, call, time.monotonic() + seconds)

        def once() -> None:
            self._timers.remove(timer)
            call()

        timer.call = once
        self._timers.append(timer)

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call something on the loop's thread as soon as it is free. Any thread; never blocks."""
        self._calls.append(call)
        with contextlib.suppress(OSError):  # the pipe is full or closed: the loop is awake, or gone
            self._wake_out.send(b"\0")

    def stop(self) -> None:
        """Leave `run` after the calls that wait. Any thread."""
        self.call_soon(self._stop)

    def run(self) -> None:
        """Serve until `stop`."""
        while not self._stopping:
            ready = dict(self._poller.poll(self._timeout_ms()))
            began = time.monotonic()
            self._drain_wake()
            self.run_pending()
            busiest = max((self._read(key) for key in ready), default=0)
            self._run_timers()
            if busiest >= _BURST and not self._stopping:
                time.sleep(min(_YIELD_SHARE * (time.monotonic() - began), _MAX_YIELD_S))
        self.run_pending()

    def run_pending(self) -> None:
        """Make the calls that wait, once; after `run` has returned, for what other threads said while they stopped."""
        for _ in range(len(self._calls)):
            self._guard(self._calls.popleft())

    def close(self) -> None:
        """Release the loop's own sockets, after `run` has returned."""
        self._wake_in.close()
        self._wake_out.close()

    def _stop(self) -> None:
        self._stopping = True

    def _timeout_ms(self) -> int | None:
        if self._calls:
            return 0
        if not self._timers:
            return None
        until = min(timer.due for timer in self._timers) - time.monotonic()
        return max(0, int(until * 1000) + 1)

    def _drain_wake(self) -> None:
        with contextlib.suppress(OSError):
            while len(self._wake_in.recv(4096)) == 4096:
                pass

    def _read(self, key: Any) -> int:
        read = self._readers.get(key)
        handled = 0

        def handle() -> None:
            nonlocal handled
            if read is not None:
                handled = read(_BURST)

        self._guard(handle)
        return handled

    @staticmethod
    def _guard(call: Callable[[], None]) -> None:
        """A fault in one call is told and stays there: the loop serves everybody else."""
        try:
            call()
        except Exception:
            _log.exception("a call on the I/O loop failed")

    def _run_timers(self) -> None:
        now = time.monotonic()
        for timer in sorted(self._timers, key=lambda waiting: waiting.due):
            if now >= timer.due:
                timer.due = now + timer.seconds
                self._guard(timer.call)


class _Timer:
    def __init__(self, seconds: float, call: Callable[[], None], due: float) -> None:
        self.seconds, self.call, self.due = seconds, call, due
