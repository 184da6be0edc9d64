"""Replicas for tests of the front: real sockets and loops, and behind them an engine that does what it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import msgspec
import numpy as np
import zmq

from engine.replicas.member import Place
from engine.replicas.router import Router
from engine.serving import Answer, Client
from engine.transports.zmq_front import ZmqFront
from protocols import PROTOCOL_VERSION
from protocols.errors import ErrorCode, RequestError
from protocols.fields import fields_of
from protocols.loop import IoLoop
from protocols.messages import (
    Acknowledge,
    AudioHeader,
    Cancel,
    CodecEnded,
    CodecQueued,
    Done,
    Encode,
    Ended,
    EngineStatus,
    Event,
    Generate,
    JournalInfo,
    JournalList,
    Journals,
    Listen,
    Load,
    Loaded,
    ModelChanged,
    Open,
    Opened,
    Reply,
    Request,
    Resume,
    Status,
    StreamInfo,
    StreamList,
    Streams,
    Update,
    VersionInfo,
    Welcome,
)
from protocols.release import VERSION

T = TypeVar("T")
RATE = 32_000


class _Looped:
    """Something on an I/O loop with a thread of its own."""

    def __init__(self) -> None:
        self.loop = IoLoop()
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._thread = threading.Thread(target=self.loop.run, daemon=True)

    def on_loop(self, call: Callable[[], T]) -> T:
        """Do something on the loop's thread and wait for it."""
        done, result = threading.Event(), []

        def work() -> None:
            try:
                result.append(call())
            finally:
                done.set()

        self.loop.call_soon(work)
        assert done.wait(10)
        return result[0]

    def _begin(self) -> None:
        self._thread.start()

    def _end(self) -> None:
        self.loop.stop()
        self._thread.join(10)
        self.loop.close()
        self.context.destroy(linger=0)


class ToldEngine(_Looped):
    """An engine of which only the sockets are real: it keeps lists of what it was asked, and says what it is told to say.

    Args:
        model: that it has.
        room: streams that it takes.
        journals: that are on its disk.
        refuses: a model that it cannot load.
    """

    def __init__(self, model: str = "one", *, room: int = 9, journals: tuple[str, ...] = (), refuses: str = "") -> None:
        super().__init__()
        self.clients: set[Client] = set()
        self.heralds: list[Callable[[Event], None]] = []
        self.model = model
        self.room = room
        self.journals = set(journals)
        self.refuses = refuses
        self.instance = 1 + id(self) % 2**30
        self.speed = 0.0
        self.asked: list[Request] = []
        self.owners: dict[int, Client] = {}
        self.listeners: dict[int, list[Client]] = {}
        self.deaf = False
        self.broken = 0
        self._last = 0
        self._front = ZmqFront(self.loop, self.context, self, "127.0.0.1", 0)
        self._begin()

    def place(self, node: str = "here") -> Place:
        """Where it serves."""
        endpoint = f"tcp://127.0.0.1:{self._front.port}"
        return Place(endpoint=endpoint, node=node, pid=1, welcome=self.welcome())

    def play(self, stream: int, position: int, samples: np.ndarray) -> None:
        """Send a block to the owner of a stream and to those who listen."""
        header = AudioHeader(
            stream=stream, sequence=0, position=position, frames=len(samples), channels=1, sample_rate=RATE
        )
        for client in (self.owners[stream], *self.listeners.get(stream, [])):
            self.on_loop(lambda client=client: client.audio(header, samples.data.cast("B")))

    def end(self, stream: int, samples: int) -> None:
        """End a stream."""
        ended = Ended(stream=stream, reason="done", samples=samples, seconds=samples / RATE)
        for client in (self.owners.pop(stream), *self.listeners.pop(stream, [])):
            self.on_loop(lambda client=client: client.event(ended))

    def finish_job(self, job: int) -> None:
        """Tell of the end of a codec job."""
        self.on_loop(lambda: self.owners[-job].event(CodecEnded(job=job, reason="done", path="/x/made.codes")))

    def forget_clients(self) -> None:
        """Take every client for dead, as the transport does with those that are silent; on the loop's thread."""
        self._front._clients.clear()

    def die(self) -> None:
        """Be gone from one moment to the next."""
        self._end()

    # --- what a transport asks ----------------------------------------------------------------------------------------

    def handle(self, request: Request, client: Client, answer: Answer, payload: bytes = b"") -> None:
        if self.deaf:
            return
        if not isinstance(request, Status):
            self.asked.append(request)
        try:
            answer(self._reply(request, client))
        except RequestError as error:
            answer(error)

    def _reply(self, request: Request, client: Client) -> Reply:
        match request:
            case Generate() | Open() | Resume():
                if isinstance(request, Resume) and request.journal not in self.journals:
                    raise RequestError(ErrorCode.NOT_FOUND, "journal", request.journal, "a journal that is listed")
                if len(self.owners) >= self.room:
                    raise RequestError(ErrorCode.BUSY, "queue", len(self.owners), "fewer streams")
                self._last += 1
                self.owners[self._last] = client
                journal = f"{self.instance}-{self._last}"
                self.journals.add(journal)
                return Opened(stream=self._last, seed=1, journal=journal)
            case Encode():
                self._last += 1
                self.owners[-self._last] = client
                return CodecQueued(job=self._last)
            case Acknowledge(stream=stream) | Update(stream=stream) | Cancel(stream=stream) if stream:
                if stream not in self.owners:
                    raise RequestError(ErrorCode.UNKNOWN_STREAM, "stream", stream)
            case Listen(stream=stream):
                self.listeners.setdefault(stream, []).append(client)
            case Load(model=model):
                if model == self.refuses:
                    raise RequestError(ErrorCode.NO_MEMORY, "model", model, "a smaller one")
                self.model = model
                for each in self.clients:
                    each.event(self._facts())
                return Loaded(model=model, seconds=1.0, weights_mb=10.0)
            case Journals():
                return JournalList(items=[_journal(name) for name in self.journals])
            case Streams():
                return StreamList(items=[_stream(number, client) for number, client in self.owners.items()])
            case Status():
                return self.status()
        return Done()

    def count_broken(self) -> None:
        self.broken += 1

    def welcome(self) -> Welcome:
        facts = msgspec.structs.asdict(self._facts())
        return Welcome(protocol=PROTOCOL_VERSION, version=VERSION, instance=self.instance, max_message=1, **facts)

    def version(self) -> VersionInfo:
        return VersionInfo(name="engine", version=VERSION, protocol=PROTOCOL_VERSION, instance=self.instance)

    def status(self) -> EngineStatus:
        values: dict[str, object] = {
            spec.name: "" if spec.kind == "str" else 0 for spec in fields_of(EngineStatus).values()
        }
        playing = sum(number > 0 for number in self.owners)
        values |= {"state": "ready", "model": self.model, "device": "cpu", "status": "untrained"}
        values |= {"threads": 2, "frames": 100, "streams_running": playing, "realtime": self.speed, "memory_mb": 100.0}
        return msgspec.convert(values, EngineStatus)

    def client_lost(self, client: Client) -> None:
        self.clients.discard(client)

    def _facts(self) -> ModelChanged:
        return ModelChanged(
            model=self.model,
            fingerprint=f"of {self.model}",
            status="untrained",
            sample_rate=RATE,
            channels=1,
            frame_samples=640,
            melodies=False,
        )


class Front(_Looped):
    """A router with its ZeroMQ front, on a thread of its own.

    Args:
        count: replicas that there should be.
    """

    def __init__(self, count: int = 2) -> None:
        super().__init__()
        self.restarted: list[int] = []
        self.router = Router(
            self.loop, self.context, count, quit=self.loop.stop, restart=lambda number: self.restarted.append(number)
        )
        self._front = ZmqFront(self.loop, self.context, self.router, "127.0.0.1", 0)
        self.port = self._front.port
        self._begin()

    def up(self, number: int, engine: ToldEngine, node: str = "here") -> None:
        """A replica serves."""
        self.on_loop(lambda: self.router.team.up(number, engine.place(node)))

    def down(self, number: int, why: str = "killed") -> None:
        """A replica's process is over."""
        self.on_loop(lambda: self.router.team.down(number, why))

    def close(self) -> None:
        """Leave."""
        self.on_loop(self.router.close)
        self._end()


def _stream(number: int, client: Client) -> StreamInfo:
    return StreamInfo(
        stream=number,
        kind="open",
        state="running",
        prompt="",
        seed=1,
        seconds=0.0,
        total_seconds=0.0,
        client=client.name,
    )


def _journal(name: str) -> JournalInfo:
    return JournalInfo(
        journal=name,
        kind="open",
        prompt="",
        seed=1,
        model="one",
        fingerprint="",
        seconds=1.0,
        begins=0.0,
        state="done",
        bytes=1,
    )
