"""A peer in an Ableton Link session, in a process of its own: Link's library stays out of the bridge, and so does its licence.

First line in: ``{"bpm": number, "quantum": beats, "sync": bool}``; one line out: ``{"joined": true}`` or ``{"error": …}``. Then in,
each by itself: ``{"bpm": number}`` proposes a tempo to the session, ``{"quantum": beats}``, ``{"sync": bool}`` takes part in its
starts and stops, ``{"playing": bool}`` starts or stops it. Out, fifty times a second: ``{"at": ns, "beat": number, "bpm": number,
"playing": bool, "peers": n}``, the session's beat at a moment of ``time.perf_counter_ns``. The process ends with its input.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import time
from typing import Any, BinaryIO, TextIO

from daw_bridge.audio.devices import error_as_dict
from protocols.errors import ErrorCode, RequestError

REPORT_S = 0.02
"""From one report to the next."""
MISSING = (
    "Ableton Link, which is under the GPL: `pip install 'daw-bridge[link]'` installs the package LinkPython-extern; or internal, "
    "host, midi"
)
"""What to do without it."""


class LinkPeer:
    """A peer that has joined. It takes the session's tempo; only `propose` ever changes that. One thread.

    Args:
        bpm: the tempo as long as there is no other peer.
        quantum: beats of a bar, on which peers agree.
        sync: whether it takes part in the session's starts and stops.

    Raises:
        RequestError: UNSUPPORTED about ``source`` where Link's library is not installed.
    """

    def __init__(self, bpm: float, quantum: int, sync: bool) -> None:
        try:
            import link
        except (ImportError, OSError) as error:
            raise RequestError(ErrorCode.UNSUPPORTED, "source", "link", MISSING) from error
        self._link = link.Link(bpm)
        self.quantum = quantum
        self.sync = sync
        self._link.enabled = True

    @property
    def sync(self) -> bool:
        """Whether it takes part in the session's starts and stops."""
        return bool(self._link.startStopSyncEnabled)

    @sync.setter
    def sync(self, sync: bool) -> None:
        self._link.startStopSyncEnabled = sync

    def report(self) -> dict[str, Any]:
        """Where the session is."""
        state, clock = self._link.captureSessionState(), self._link.clock()
        before = time.perf_counter_ns()
        micros = clock.micros()
        at = (before + time.perf_counter_ns()) // 2
        return {
            "at": at,
            "beat": state.beatAtTime(micros, self.quantum),
            "bpm": state.tempo(),
            "playing": state.isPlaying(),
            "peers": self._link.numPeers(),
        }

    def propose(self, bpm: float) -> None:
        """Ask all peers to go on at another tempo."""
        state = self._link.captureSessionState()
        state.setTempo(bpm, self._link.clock().micros())
        self._link.commitSessionState(state)

    def play(self, playing: bool) -> None:
        """Start or stop whoever takes part; a start begins bar 1 on the next line of the session."""
        state, now = self._link.captureSessionState(), self._link.clock().micros()
        if playing:
            state.setIsPlayingAndRequestBeatAtTime(True, now, 0.0, self.quantum)
        else:
            state.setIsPlaying(False, now)
        self._link.commitSessionState(state)

    def leave(self) -> None:
        """Leave the session."""
        self._link.enabled = False


def obey(peer: LinkPeer, command: dict[str, Any]) -> None:
    """Carry one line out."""
    match command:
        case {"bpm": bpm}:
            peer.propose(bpm)
        case {"quantum": quantum}:
            peer.quantum = quantum
        case {"sync": sync}:
            peer.sync = sync
        case {"playing": playing}:
            peer.play(playing)


def _reply(replies: TextIO, message: dict[str, Any]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


def _main() -> None:
    commands: BinaryIO = sys.stdin.buffer
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        peer = LinkPeer(**json.loads(commands.readline()))
    except RequestError as error:
        _reply(replies, {"error": error_as_dict(error)})
        os._exit(0)
    asked: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def listen() -> None:
        for line in commands:
            asked.put(json.loads(line))
        asked.put(None)

    threading.Thread(target=listen, daemon=True).start()
    with contextlib.suppress(OSError):  # nobody listens any more
        _reply(replies, {"joined": True})
        while True:
            try:
                command = asked.get(timeout=REPORT_S)
            except queue.Empty:
                command = {}
            if command is None:
                break
            obey(peer, command)
            _reply(replies, peer.report())
    peer.leave()
    os._exit(0)


if __name__ == "__main__":
    _main()
