"""A ZeroMQ client of an engine that looks at nothing but the clock, and one that also takes a stream as a player does."""

from __future__ import annotations

import time
from collections.abc import Iterator

import zmq

from protocols import PROTOCOL_VERSION
from protocols.messages import (
    Acknowledge,
    AudioHeader,
    Cancel,
    Ended,
    EngineStatus,
    Event,
    Fail,
    Hello,
    Opened,
    Reply,
    Request,
    Status,
    StreamRequest,
    Welcome,
)
from protocols.wire import decode_answer, encode_request, error_of

WAIT_S = 60.0
_PUMP_S = 0.01
"""How often a player tells what it has played, as the bridge does."""


class EngineLine:
    """A connection to an engine on this machine, greeted."""

    def __init__(self, port: int) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.connect(f"tcp://127.0.0.1:{port}")
        self._last_id = 0
        self.samples = memoryview(b"")
        """Of the audio block that came last."""
        self.send(Hello(protocol=PROTOCOL_VERSION, client="benchmark"))
        welcome = self.receive()
        assert isinstance(welcome, Welcome)
        self.welcome = welcome

    def close(self) -> None:
        """Hang up."""
        self._context.destroy(linger=0)

    def send(self, request: Request) -> None:
        """Ask for something."""
        self._last_id += 1
        self._socket.send_multipart(encode_request(self._last_id, request))

    def receive(self, seconds: float = WAIT_S) -> AudioHeader | Reply | Event:
        """The next answer, event or audio block.

        Raises:
            RequestError: it is a refusal.
            RuntimeError: the engine says nothing for so long.
        """
        content = self.poll(seconds)
        if content is None:
            raise RuntimeError(f"the engine said nothing for {seconds:g} s")
        return content

    def status(self) -> EngineStatus:
        """The engine's own account of itself. Only while no stream is open on this line: what else comes is lost."""
        self.send(Status())
        while not isinstance(answer := self.receive(), EngineStatus):
            pass
        return answer

    def poll(self, seconds: float) -> AudioHeader | Reply | Event | None:
        """As `receive`, None when nothing comes."""
        if not self._socket.poll(round(1000 * seconds)):
            return None
        key, content = decode_answer(self._socket.recv_multipart())
        if isinstance(content, Fail):
            raise error_of(content)
        if isinstance(key, AudioHeader):
            assert isinstance(content, memoryview)
            self.samples = content
            return key
        assert isinstance(content, Reply | Event)
        return content


class PlayedStream:
    """A stream that is taken as fast as it sounds, by a player that cannot wait.

    It begins to play when ``prebuffer`` seconds are there. From then on every block has a moment by which it must have come.

    Args:
        line: to the engine.
        request: opens the stream.
        prebuffer: audio that must be there before it sounds, in seconds.
    """

    def __init__(self, line: EngineLine, request: StreamRequest, prebuffer: float) -> None:
        self.margins: list[tuple[float, int]] = []
        """Of each block: how long before its first sample was due it came, in seconds (below 0: late), and its frames."""
        self.received = 0
        self._line = line
        self._prebuffer = prebuffer
        self._began: float | None = None
        line.send(request)
        while not isinstance(opened := line.receive(), Opened):
            pass
        self.number = opened.stream

    def play(self, seconds: float) -> Iterator[Event]:
        """Play for so long; what happens meanwhile is handed out as it happens."""
        rate = self._line.welcome.sample_rate
        now = told = time.monotonic()
        ends = now + seconds
        while (now := time.monotonic()) < ends:
            if self._began is not None and now >= told:
                told = now + _PUMP_S
                played = min(self.received, int((now - self._began) * rate))
                self._line.send(Acknowledge(stream=self.number, position=played))
            content = self._line.poll(_PUMP_S / 2)
            if isinstance(content, AudioHeader):
                self._take(content, time.monotonic(), rate)
            elif isinstance(content, Event):
                if isinstance(content, Ended):
                    raise RuntimeError(f"the stream ended: {content.reason} {content.text}")
                yield content

    def stop(self) -> None:
        """End it, and hear that it has ended."""
        self._line.send(Cancel(stream=self.number))
        while not isinstance(self._line.receive(), Ended):
            pass

    def _take(self, block: AudioHeader, now: float, rate: int) -> None:
        if self._began is not None:
            margin = self._began + block.position / rate - now
            self.margins.append((margin, -(-block.frames // self._line.welcome.frame_samples)))
        self.received = block.position + block.frames
        if self._began is None and self.received >= self._prebuffer * rate:
            self._began = now
