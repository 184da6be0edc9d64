"""The process that sends. `Sender` starts it and talks to it over two pipes, one JSON object a line.

It is neither the card's process, whose callback must not wait for it, nor the bridge's, whose work would make it late.

First line in: ``{"target": [address, port], "name"}``. Then
``{"do": "tap", "number", "path", "layout", "sample_rate", "marks"}`` to send what a card plays from now on, ``{"do": "untap"}``,
and ``{"do": "plan", "first", "until", "marks": [[frame, value], …]}``, see `Marks`.

Out: ``{"flowing": number, "first": frame, "hop": seconds}`` when the first packets of a tap have left, ``{"failed": number}`` where
it could not be read, and ``{"counts": …}`` four times a second. It ends when its input does.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import socket
import sys
import threading
import time
from dataclasses import asdict
from typing import Any

from daw_bridge.audio.capture import CaptureLayout, CaptureReader
from daw_bridge.audio.shared import SharedBlock
from daw_bridge.reastream.packets import PacketWriter
from daw_bridge.reastream.stream import Counts, TapStream

_LEAST_S, _MOST_S = 0.0005, 0.005
"""How long it sleeps between two looks at the tap."""

_NEARLY = 0.9  # of a block's time it sleeps in one piece
_REPORT_S = 0.25
_SEND_BUFFER = 2**20


class Process:
    """What is sent, and how that goes. For one thread.

    Args:
        target: address and port.
        name: identifier of the stream.
        say: tells the bridge something.
    """

    def __init__(self, target: tuple[str, int], name: str, say: Any) -> None:
        self.counts = Counts()
        self._target = target
        self._name = name
        self._say = say
        self._number = 0
        self._stream: TapStream | None = None
        self._told = False
        self._rate = 1
        self._reader: CaptureReader | None = None
        self._block = 0
        self._sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sink.setblocking(False)
        self._sink.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._sink.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)

    def obey(self, command: dict[str, Any]) -> None:
        """Carry out a line."""
        match command["do"]:
            case "tap":
                self._tap(command)
            case "untap":
                self._stream = self._reader = None
            case "plan":
                if self._stream is not None and self._stream.marks is not None:
                    self._stream.marks.plan(command["first"], command["until"], command["marks"])

    def pump(self) -> float:
        """Send what there is; how long to wait for more, in seconds."""
        stream, reader = self._stream, self._reader
        if stream is None or reader is None:
            return _MOST_S
        sent = stream.pump()
        if sent and self.counts.hop and not self._told:
            self._told = True
            self._say({"flowing": self._number, "first": stream.first, "hop": self.counts.hop})
        if sent:
            self._block = sent
        expected = reader.moment + _NEARLY * self._block / self._rate
        return min(_MOST_S, max(_LEAST_S, expected - time.monotonic()))

    def _tap(self, command: dict[str, Any]) -> None:
        layout, self._number, self._told = CaptureLayout(**command["layout"]), command["number"], False
        try:
            block = SharedBlock.attach(command["path"], layout.bytes_needed)
        except OSError:
            self._stream = self._reader = None
            self._say({"failed": self._number})
            return
        self._rate = command["sample_rate"]
        self._reader = CaptureReader(layout, block.memory)
        writer = PacketWriter(self._name, self._rate, layout.channels + bool(command["marks"]))
        self._stream = TapStream(self._reader, writer, self._sink, self._target, self.counts)


def _main() -> None:
    replies = os.fdopen(os.dup(1), "w")

    def say(line: dict[str, Any]) -> None:
        replies.write(json.dumps(line) + "\n")
        replies.flush()

    first = json.loads(sys.stdin.buffer.readline())
    address, port = first["target"]
    process = Process((address, port), first["name"], say)
    commands: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            commands.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    # From here on next to no garbage is made, and a collection would make packets late.
    gc.collect()
    gc.freeze()
    gc.disable()
    report_at = time.monotonic()
    while True:
        while not commands.empty():
            process.obey(json.loads(commands.get()))
        wait = process.pump()
        now = time.monotonic()
        if now >= report_at:
            report_at = now + _REPORT_S
            say({"counts": asdict(process.counts)})
        time.sleep(wait)


if __name__ == "__main__":
    _main()
