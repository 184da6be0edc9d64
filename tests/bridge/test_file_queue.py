"""The file queue without processes: real files, a front, and a clock that the test moves."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daw_bridge.exchange import post as post_module
from daw_bridge.exchange.mailbox import MAX_FILE, PART_SECONDS, Mailbox
from daw_bridge.exchange.post import FORGET_SECONDS, IDLE_SECONDS, MAX_CLIENTS, MAX_PACKETS, MAX_UNFETCHED, Post
from daw_bridge.exchange.queue import FileQueue
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Done, EngineStatus, Ping, Progress, Reply, Request
from protocols.osc.codec import encode
from protocols.osc.framing import framed, packets_of
from protocols.osc.front import Asker, OscFront, Peer
from tests.support.file_client import FileClient
from tests.support.processes import wait_until


class Stage:
    """A front behind a post, on one thread: `turn` is a look of the thread and all that the loop does about it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 1000.0
        self.asked: list[tuple[Request, Asker]] = []
        self.calls: list[Callable[[], None]] = []
        self.front = OscFront("engine", (Ping,), self, lambda peer, packet: self._send(peer, packet))
        self.post = Post(folder / "queue", self.front, self.calls.append, lambda: self.now)
        self.post.mailbox.open()

    def handle(self, request: Request, asker: Asker) -> Reply | None:
        self.asked.append((request, asker))
        return Done()

    def report(self, request: Request) -> EngineStatus:
        raise RequestError(ErrorCode.UNSUPPORTED, "type")

    def _send(self, peer: Peer, packet: bytes) -> None:
        self.post.send(peer, packet)

    def run_loop(self) -> None:
        while self.calls:
            self.calls.pop(0)()

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.post.turn()
            self.run_loop()
        self.post.deliver()

    def client(self, name: str = "") -> FileClient:
        return FileClient(self.folder, name)

    @property
    def ids(self) -> list[int]:
        return [asker.request_id for _, asker in self.asked]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.post.mailbox.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ping(number: int) -> bytes:
    return encode("/engine/ping", number)


def test_packets_of_a_file_are_whole_or_the_file_is_refused() -> None:
    packets = [ping(1), encode("/a", "text", 0.5)]
    assert packets_of(b"".join(map(framed, packets))) == packets
    whole = framed(ping(1))
    for broken in (b"", b"\0", whole[:-1], whole + b"\0\0", whole + b"\0\0\0\0", ping(1), b"\xff" * 40):
        with pytest.raises(RequestError, match=r"file|packet"):
            packets_of(broken)


def test_a_request_is_answered_and_both_files_are_gone(stage: Stage) -> None:
    client = stage.client("reaper")
    assert client.folder == stage.folder / "queue"
    client.send("/engine/ping", 7)
    stage.turn()
    assert stage.asked[0][1].peer == Peer("file", "reaper", 0)
    assert client.receive(0) == ("/done", ["/engine/ping", 7])
    assert names(client.folder / "in") == names(client.folder / "out") == []


def test_the_order_of_a_client_is_kept_whatever_the_folder_lists_first(stage: Stage) -> None:
    client = stage.client()
    for number in range(1, 13):  # 10 comes before 2 by name
        client.send("/engine/ping", number)
    stage.turn()
    assert stage.ids == list(range(1, 13))
    client.send_raw(ping(13), ping(14))
    stage.turn()
    assert stage.ids[12:] == [13, 14]


def test_a_missing_number_is_waited_for_one_look_and_then_gone_without(stage: Stage) -> None:
    client = stage.client()
    client.send("/engine/ping", 1)
    stage.turn()
    client.sent = 2
    client.send("/engine/ping", 3)
    stage.turn()
    assert stage.ids == [1]
    client.sent = 1
    client.send("/engine/ping", 2)  # it had only not been listed
    stage.turn()
    assert stage.ids == [1, 2, 3]
    client.sent = 8
    client.send("/engine/ping", 9)
    stage.turn(2)
    assert stage.ids == [1, 2, 3, 9]


def test_a_client_that_was_started_again_counts_from_one(stage: Stage) -> None:
    old = stage.client("reaper")
    for _ in range(2):
        old.send("/notify", 1)
        stage.turn()
    assert (stage.front.listeners, len(names(old.folder / "out"))) == (1, 2)
    new = stage.client("reaper")
    new.send("/engine/ping", 5)
    stage.turn()
    assert stage.front.listeners == 0
    assert new.receive(0) == ("/done", ["/engine/ping", 5])
    assert names(new.folder / "out") == []


def test_events_reach_listeners_and_those_of_one_moment_share_a_file(stage: Stage) -> None:
    client, other = stage.client(), stage.client()
    client.send("/notify", 1)
    other.send("/engine/ping", 1)
    stage.turn()
    assert client.receive(0) == ("/done", ["/notify", 1])
    for seconds in range(5):
        stage.front.publish(Progress(stream=3, seconds=seconds, total_seconds=9.0, realtime=2.0))
    stage.post.deliver()
    assert names(client.folder / "out") == sorted([f"{client.name}-2.osc", f"{other.name}-1.osc"])
    heard = [client.receive(0) for _ in range(5)]
    assert [event[0] for event in heard if event] == ["/engine/progress"] * 5
    assert [event[1][1] for event in heard if event] == [0.0, 1.0, 2.0, 3.0, 4.0]


BROKEN = {
    "nothing": b"",
    "no length": ping(1),
    "cut off": framed(ping(1))[:-3],
    "a huge packet": (2**31 - 1).to_bytes(4, "big") + b"\0" * 8,
    "no osc": framed(b"hello world!"),
    "too many packets": framed(ping(1)) * (MAX_PACKETS + 1),
    "too many bytes": framed(ping(1)) * (MAX_FILE // 20),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_answered_once_and_removed(stage: Stage, content: bytes) -> None:
    client = stage.client()
    client.write(content)
    client.send("/engine/ping", 2)
    stage.turn()
    answers = [client.receive(0), client.receive(0)]
    assert answers[0] is not None
    assert answers[0][0] == "/fail"
    assert answers[0][1][2] in ("malformed", "too_large", "too_long")
    assert answers[1] == ("/done", ["/engine/ping", 2])
    assert client.receive(0) is None
    assert stage.ids == [2]
    assert names(client.folder / "in") == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_folders_and_foreign_files_are_left_alone(stage: Stage, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(framed(ping(66)))
    queue = tmp_path / "queue"
    (queue / "in" / "link-1.osc").symlink_to(secret)
    (queue / "in" / "folder-1.osc").mkdir()
    os.mkfifo(queue / "in" / "pipe-1.osc")
    for name in (
        "notes.txt",
        "UPPER-1.osc",
        "abc-1.osc",
        "client-0.osc",
        "client-01.osc",
        ".hidden-1.osc",
        "client-1.osc~",
    ):
        (queue / "in" / name).write_bytes(framed(ping(67)))
    before = names(queue / "in")
    stage.turn(3)
    assert stage.asked == []
    assert names(queue / "in") == before
    assert secret.read_bytes() == framed(ping(66))
    (queue / "out" / "mine-1.part").symlink_to(secret)  # where the answer is going to be written
    client = stage.client("mine")
    client.send("/engine/ping", 1)
    stage.turn()
    assert client.receive(0) == ("/done", ["/engine/ping", 1])
    assert secret.read_bytes() == framed(ping(66))


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_folder_that_is_a_link_is_not_served(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "client-1.osc").write_bytes(b"kept")
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "in").symlink_to(elsewhere)
    with pytest.raises(RequestError, match="not_allowed"):
        Mailbox(tmp_path / "queue").open()
    assert names(elsewhere) == ["client-1.osc"]


def test_what_an_earlier_run_left_is_dropped_and_one_bridge_serves(tmp_path: Path) -> None:
    first = Mailbox(tmp_path / "queue")
    first.open()
    marker = (tmp_path / "queue" / "bridge").read_text()
    with pytest.raises(RequestError, match="busy"):
        Mailbox(tmp_path / "queue").open()
    for folder in (first.incoming, first.outgoing):
        (folder / "client-1.osc").write_bytes(framed(ping(1)))
        (folder / "client-2.part").write_bytes(b"")
        (folder / "notes.txt").write_bytes(b"mine")
    first.close()
    assert not (tmp_path / "queue" / "bridge").exists()
    second = Mailbox(tmp_path / "queue")
    second.open()
    assert names(second.incoming) == names(second.outgoing) == ["notes.txt"]
    assert (tmp_path / "queue" / "bridge").read_text() != marker
    second.close()


def test_a_client_that_fetches_nothing_for_long_is_forgotten_with_its_files(stage: Stage) -> None:
    gone, here = stage.client(), stage.client()
    for client in (gone, here):
        client.send("/notify", 1)
    stage.turn()
    assert here.receive(0) is not None
    stage.now += FORGET_SECONDS - 1
    stage.turn()
    assert stage.front.listeners == 2
    stage.now += 2
    stage.turn()
    assert stage.front.listeners == 1
    assert names(gone.folder / "out") == []
    stage.front.publish(Progress(stream=1, seconds=0.0, total_seconds=1.0, realtime=1.0))
    stage.post.deliver()
    assert names(gone.folder / "out") == [f"{here.name}-2.osc"]


def test_answers_that_nobody_reads_are_bounded_on_disk_and_in_memory(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post_module, "MAX_WAITING", 40_000)
    client = stage.client()
    client.send("/notify", 1)
    stage.turn()

    def tell() -> None:
        stage.front.publish(Progress(stream=1, seconds=0.0, total_seconds=1.0, realtime=1.0))
        stage.post.deliver()

    for _ in range(2 * MAX_UNFETCHED):
        tell()
    assert len(names(client.folder / "out")) == MAX_UNFETCHED
    for _ in range(2 * MAX_UNFETCHED + 1):
        assert client.receive(0) is not None  # nothing is lost of what waited
        stage.post.deliver()
    assert client.receive(0) is None
    for _ in range(2000):
        tell()
    stage.turn()
    assert stage.front.listeners == 0
    assert names(client.folder / "out") == []


def test_a_flood_of_one_client_does_not_keep_another_out(stage: Stage) -> None:
    flood, other = stage.client("aaaa"), stage.client("zzzz")
    for number in range(1, 5):
        flood.send_raw(*(ping(number) for _ in range(MAX_PACKETS // 2)))
    other.send("/engine/ping", 99)
    stage.turn()
    assert len(stage.ids) == MAX_PACKETS
    stage.turn()
    assert 99 in stage.ids
    stage.turn(3)
    assert len(stage.ids) == 4 * (MAX_PACKETS // 2) + 1


def test_one_client_too_many_waits_for_the_place_of_a_silent_one(stage: Stage) -> None:
    clients = [stage.client(f"client{number:02d}") for number in range(MAX_CLIENTS)]
    for client in clients:
        client.send("/engine/ping", 1)
    stage.turn(3)
    late = stage.client("late")
    late.send("/engine/ping", 2)
    stage.turn()
    assert 2 not in stage.ids
    stage.now += IDLE_SECONDS + 1
    stage.turn(2)
    assert 2 in stage.ids
    assert late.receive(0) == ("/done", ["/engine/ping", 2])


def test_a_file_that_is_never_finished_is_removed_in_the_end(stage: Stage) -> None:
    part = stage.folder / "queue" / "in" / "client-1.part"
    part.write_bytes(b"half")
    stage.turn()
    assert part.exists()
    old = part.stat().st_mtime - PART_SECONDS - 1
    os.utime(part, (old, old))
    stage.turn()
    assert not part.exists()


def test_a_full_disk_keeps_the_answers_for_later(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    client = stage.client()
    client.send("/engine/ping", 1)
    put = stage.post.mailbox.put

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stage.post.mailbox, "put", full)
    with pytest.raises(OSError, match="No space"):
        stage.turn()
    monkeypatch.setattr(stage.post.mailbox, "put", put)
    stage.turn()
    assert client.receive(0) == ("/done", ["/engine/ping", 1])
    assert client.receive(0) is None


def test_the_thread_carries_and_closes_and_makes_a_folder_again(stage: Stage, tmp_path: Path) -> None:
    """The thread itself, with a lock in the loop's place."""
    folder = tmp_path / "threaded"
    loop = threading.Lock()

    def call_soon(call: Callable[[], None]) -> None:
        with loop:
            call()

    queue = FileQueue(folder / "queue", call_soon)
    front = OscFront("engine", (Ping,), stage, queue.send)
    queue.serve(front)
    wait_until(lambda: (folder / "queue" / "bridge").exists())
    client = FileClient(folder)
    client.send("/engine/ping", 1)
    assert client.wait("/done", "/engine/ping", 1)
    for path in (folder / "queue" / "in", folder / "queue" / "out"):
        path.rmdir()
    wait_until(lambda: (folder / "queue" / "in").is_dir() and (folder / "queue" / "out").is_dir())
    client.send("/engine/ping", 2)
    assert client.wait("/done", "/engine/ping", 2)
    queue.close()
    assert not (folder / "queue" / "bridge").exists()
