"""The event loop with real sockets and threads."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import zmq

from protocols.loop import IoLoop

WAIT_S = 10.0
"""How long something that must happen may take before a test fails; nothing waits for this to pass."""


@contextmanager
def running(loop: IoLoop) -> Iterator[threading.Thread]:
    """The loop on a thread of its own, stopped at the end."""
    thread = threading.Thread(target=loop.run, name="loop", daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        loop.stop()
        thread.join(WAIT_S)
        assert not thread.is_alive()


@pytest.fixture
def loop() -> Iterator[IoLoop]:
    loop = IoLoop()
    yield loop
    loop.close()


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def drain(sock: socket.socket, take: Callable[[bytes], None]) -> Callable[[int], int]:
    """A reader that takes up to ``limit`` packets."""

    def read(limit: int) -> int:
        for count in range(limit):
            try:
                take(sock.recv(4096))
            except BlockingIOError:
                return count
        return limit

    return read


def test_packets_are_read_on_the_loops_thread(loop: IoLoop, udp: socket.socket) -> None:
    found: list[tuple[bytes, str]] = []
    done = threading.Event()

    def take(packet: bytes) -> None:
        found.append((packet, threading.current_thread().name))
        if len(found) == 200:
            done.set()

    loop.add_reader(udp, drain(udp, take))
    with running(loop), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for number in range(200):
            client.sendto(b"%d" % number, udp.getsockname())
        assert done.wait(WAIT_S)
    assert found == [(b"%d" % number, "loop") for number in range(200)]


def test_zmq_and_plain_sockets_side_by_side(loop: IoLoop, udp: socket.socket) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    receiver, sender = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    port = receiver.bind_to_random_port("tcp://127.0.0.1")
    sender.connect(f"tcp://127.0.0.1:{port}")
    seen: set[str] = set()
    both = threading.Event()

    def saw(what: str) -> None:
        seen.add(what)
        if len(seen) == 2:
            both.set()

    def read_zmq(limit: int) -> int:
        for count in range(limit):
            try:
                saw(receiver.recv(zmq.NOBLOCK).decode())
            except zmq.Again:
                return count
        return limit

    try:
        loop.add_reader(receiver, read_zmq)
        loop.add_reader(udp, drain(udp, lambda packet: saw(packet.decode())))
        with running(loop), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"udp", udp.getsockname())
            sender.send(b"zmq")
            assert both.wait(WAIT_S)
        loop.remove_reader(receiver)
    finally:
        for sock in (receiver, sender):
            sock.close(linger=0)
        context.term()
    assert seen == {"udp", "zmq"}


def test_a_reader_that_was_removed_is_not_called(loop: IoLoop, udp: socket.socket) -> None:
    first, again = threading.Event(), threading.Event()

    def read(limit: int) -> int:
        assert not first.is_set()
        loop.remove_reader(udp)
        loop.remove_reader(udp)
        first.set()
        return 1

    loop.add_reader(udp, read)
    with running(loop), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"1", udp.getsockname())
        assert first.wait(WAIT_S)
        client.sendto(b"2", udp.getsockname())
        loop.call_soon(lambda: loop.call_soon(again.set))
        assert again.wait(WAIT_S)


def test_timers_go_on_and_do_not_need_the_sockets(loop: IoLoop) -> None:
    fast: list[int] = []
    slow: list[int] = []
    enough = threading.Event()

    def tick() -> None:
        fast.append(len(slow))
        if len(fast) >= 20 and len(slow) >= 2:
            enough.set()

    loop.call_every(0.001, tick)
    loop.call_every(0.02, lambda: slow.append(len(fast)))
    with running(loop):
        assert enough.wait(WAIT_S)
    assert len(fast) > len(slow)


def test_calls_from_many_threads_come_each_once_and_in_each_threads_order(loop: IoLoop) -> None:
    threads, each = 8, 500
    found: list[tuple[int, int]] = []
    done = threading.Event()

    def call(thread: int, number: int) -> None:
        assert threading.current_thread().name == "loop"
        found.append((thread, number))
        if len(found) == threads * each:
            done.set()

    def caller(thread: int) -> None:
        for number in range(each):
            loop.call_soon(lambda number=number: call(thread, number))  # type: ignore[misc]

    with running(loop):
        callers = [threading.Thread(target=caller, args=(thread,)) for thread in range(threads)]
        for thread in callers:
            thread.start()
        for thread in callers:
            thread.join(WAIT_S)
        assert done.wait(WAIT_S)
    for thread_number in range(threads):
        assert [number for thread, number in found if thread == thread_number] == list(range(each))


def test_calls_wake_a_loop_that_has_nothing_else_to_do(loop: IoLoop) -> None:
    with running(loop):
        for _ in range(50):
            called = threading.Event()
            loop.call_soon(called.set)
            assert called.wait(WAIT_S)


def test_a_call_may_ask_for_another(loop: IoLoop) -> None:
    order: list[int] = []
    done = threading.Event()

    def first() -> None:
        loop.call_soon(second)
        order.append(1)

    def second() -> None:
        order.append(2)
        done.set()

    with running(loop):
        loop.call_soon(first)
        assert done.wait(WAIT_S)
    assert order == [1, 2]


def test_more_calls_than_the_wake_up_pipe_holds(loop: IoLoop) -> None:
    """Nobody runs the loop yet: the pipe fills up, and no call may be lost or block."""
    count = 0

    def add() -> None:
        nonlocal count
        count += 1

    for _ in range(100_000):
        loop.call_soon(add)
    loop.stop()
    loop.run()
    assert count == 100_000


def test_a_flood_on_a_socket_starves_neither_calls_nor_timers_nor_other_sockets(
    loop: IoLoop, udp: socket.socket
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooded:
        flooded.bind(("127.0.0.1", 0))
        flooded.sendto(b"never read, so always there", flooded.getsockname())
        floods = 0
        ticked, heard = threading.Event(), threading.Event()

        def flood(limit: int) -> int:
            nonlocal floods
            floods += limit
            return limit

        loop.add_reader(flooded, flood)
        loop.add_reader(udp, drain(udp, lambda packet: heard.set()))
        loop.call_every(0.005, ticked.set)
        with running(loop):
            for _ in range(20):
                called = threading.Event()
                loop.call_soon(called.set)
                assert called.wait(WAIT_S)
            flooded.sendto(b"x", udp.getsockname())
            assert heard.wait(WAIT_S)
            assert ticked.wait(WAIT_S)
        assert floods > 0


def test_a_flood_leaves_the_interpreter_to_others(loop: IoLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a full burst the loop sleeps longer than it worked; after less than a burst it does not sleep."""
    slept: list[float] = []
    monkeypatch.setattr("protocols.loop.time.sleep", slept.append)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.sendto(b"x", sock.getsockname())
        rounds = 0

        def read(limit: int) -> int:
            nonlocal rounds
            rounds += 1
            if rounds == 10:
                loop.stop()
            return limit if rounds <= 4 else limit - 1

        loop.add_reader(sock, read)
        loop.run()
    assert rounds >= 10
    assert len(slept) == 4
    assert all(0 < pause <= 0.02 for pause in slept)


def test_stop_makes_the_calls_that_wait_and_later_ones_can_be_made_by_hand(loop: IoLoop) -> None:
    made: list[str] = []
    loop.call_soon(lambda: made.append("before"))
    loop.stop()
    loop.call_soon(lambda: made.append("after"))
    loop.run()
    assert made == ["before", "after"]
    loop.call_soon(lambda: made.append("late"))
    loop.run_pending()
    assert made == ["before", "after", "late"]


def test_call_soon_after_the_end_does_no_harm() -> None:
    loop = IoLoop()
    loop.stop()
    loop.run()
    loop.close()
    loop.call_soon(lambda: None)
