"""The MIDI inputs of this machine, each played through a process of its own.

RtMidi lives in the processes that it is loaded into: a JACK server that dies can hang or abort them, a system library that is
missing must not keep the bridge from starting, and a busy interpreter would stamp what is played late. So every look at the inputs
is taken by a fresh process (`scan_inputs`), and every input that is open has one (`MidiInput`), which does nothing but wait for
messages and stamp them.

First line in: ``{"input": name, "transport": bool}``; one line out: ``{"opened": name}`` or ``{"error": …}``. Then out:
``{"at": ns, "message": hex}`` for what is played, or for the MIDI clock where ``transport`` is wanted, and ``{"alive": n}`` now and
then, n messages having been lost so far. The process ends when its input does.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, NoReturn, TextIO

import mido

from daw_bridge.audio.devices import child_environment, error_as_dict, error_from_dict
from protocols.errors import ErrorCode, RequestError

SCAN_SECONDS = 10.0
"""How long a look at the inputs, and the opening of one, may take."""
WATCH_SECONDS = 0.25
"""How often it is looked whether the input is still there."""
SILENCE_SECONDS = 3.0
"""After this long without a sign of life an input counts as lost."""
MAX_WAITING = 4096
"""Messages that wait to be read; more are lost, and counted."""

_GOODBYE_SECONDS = 0.5
_PLAYED = frozenset(
    ("note_on", "note_off", "control_change", "pitchwheel", "program_change", "aftertouch", "polytouch")
)
_TRANSPORT = frozenset((0xF2, 0xF8, 0xFA, 0xFB, 0xFC))  # song position, tick, start, continue, stop
_THROUGH = "midi through"  # ALSA's own loop, which nobody plays on
_MISSING = (
    "MIDI inputs need python-rtmidi (`pip install 'daw-bridge[midi]'`) and, on Linux, ALSA's library, `apt install libasound2` "
    "on Debian and Ubuntu"
)


@dataclass(frozen=True)
class InputPort:
    """One MIDI input.

    Attributes:
        name: as the system spells it.
        api: the system's way to it: LINUX_ALSA, UNIX_JACK, MACOSX_CORE, WINDOWS_MM.
    """

    name: str
    api: str


def scan_inputs() -> list[InputPort]:
    """Look at what is connected now, in a fresh process. Any thread.

    Raises:
        RequestError: about ``input``: UNSUPPORTED without python-rtmidi or what it needs; INTERNAL when the MIDI system crashes or
            takes over `SCAN_SECONDS`.
    """
    return [InputPort(**entry) for entry in scan(__name__, "input")]


def scan(module: str, field: str) -> list[dict[str, Any]]:
    """The ports that a module lists when it is run with ``--list``; errors are about ``field``, as in `scan_inputs`."""
    command = [sys.executable, "-m", module, "--list"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SCAN_SECONDS, env=child_environment())
        answer = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError) as error:
        raise RequestError(ErrorCode.INTERNAL, field, str(error), "a MIDI system that answers") from error
    if "error" in answer:
        raise error_from_dict(answer["error"])
    ports: list[dict[str, Any]] = answer["ports"]
    return ports


def choose_input(inputs: Sequence[InputPort], wanted: str = "", field: str = "input") -> InputPort:
    """The input of this name, or else the first with that in its name, capitals aside; without a name the first that can be played.

    Raises:
        RequestError: UNKNOWN_DEVICE about ``field``, naming the inputs there are.
    """
    name = wanted.strip().lower()
    real = [port for port in inputs if _THROUGH not in port.name.lower()]
    found = [port for port in inputs if port.name.lower() == name] or [
        port for port in real if name in port.name.lower()
    ]
    if not found and name:
        found = [port for port in inputs if name in port.name.lower()]
    if not found:
        known = ", ".join(port.name for port in inputs) or f"a MIDI {field} that is connected; there is none"
        raise RequestError(ErrorCode.UNKNOWN_DEVICE, field, wanted, known)
    return found[0]


class MidiInput:
    """An input that is open, or about to be.

    An input that is unplugged is noticed within half a second. A JACK server that dies leaves its list of ports behind: then
    nothing comes, and nothing is said.

    Threads: everything is for the loop's thread. None of it blocks; a thread of its own reads the process's pipe.

    Args:
        wanted: see `choose_input`.
        transport: pass the messages of a MIDI clock on, and nothing else.
        wake: called on a thread of its own when there is something to read.
    """

    def __init__(self, wanted: str, transport: bool = False, wake: Callable[[], None] = lambda: None) -> None:
        self.name = ""
        self.error: RequestError | None = None
        self._wanted = wanted
        self._transport = transport
        self._wake = wake
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue(MAX_WAITING)
        self._lost = 0
        self._closed = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = time.monotonic()
        threading.Thread(target=self._listen, name="midi-input", daemon=True).start()

    @property
    def lost(self) -> int:
        """Messages that came too fast and were lost."""
        return self._lost

    def read(self) -> list[tuple[int, mido.Message]]:
        """What was played since the last call, in order, each with its moment (``time.perf_counter_ns``).

        Once the input is open, ``name`` says which one it is; when it cannot be opened or is gone, ``error`` says why.
        """
        return [(at, mido.Message.from_bytes(message)) for at, message in self.read_raw()]

    def read_raw(self) -> list[tuple[int, bytes]]:
        """As `read`, but each message as its bytes."""
        played: list[tuple[int, bytes]] = []
        with contextlib.suppress(queue.Empty):
            while True:
                line = self._lines.get_nowait()
                self._heard = time.monotonic()
                match line:
                    case {"at": at, "message": data}:
                        played.append((at, bytes.fromhex(data)))
                    case {"alive": lost}:
                        self._lost = lost
                    case {"opened": name}:
                        self.name = name
                    case {"error": error}:
                        self.error = error_from_dict(error)
                    case None if self.error is None:
                        self.error = self._gone()
        quiet = time.monotonic() - self._heard
        if self.error is None and quiet > (SILENCE_SECONDS if self.name else SCAN_SECONDS):
            self.error = self._gone()
        return played

    def close(self) -> None:
        """Give the input back."""
        self._closed.set()
        process = self._process
        if process is not None:
            _end(process)

    def _gone(self) -> RequestError:
        if self.name:
            return RequestError(ErrorCode.UNKNOWN_DEVICE, "input", self.name, "an input that stays connected")
        return RequestError(ErrorCode.INTERNAL, "input", self._wanted, "a MIDI system that answers")

    def _listen(self) -> None:
        """The reading thread."""
        command = [sys.executable, "-m", __name__]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=child_environment(),
            )
            assert process.stdin is not None
            assert process.stdout is not None
            self._process = process
            with contextlib.suppress(OSError, ValueError):
                wanted = {"input": self._wanted, "transport": self._transport}
                process.stdin.write(json.dumps(wanted).encode() + b"\n")
                process.stdin.flush()
                for line in process.stdout:
                    if not self._put(json.loads(line)):
                        break
            _end(process)
            process.wait()
        except OSError as error:  # no process can be started
            refusal = RequestError(ErrorCode.INTERNAL, "input", str(error), "a machine that can start processes")
            self._put({"error": error_as_dict(refusal)})
        self._put(None)

    def _put(self, line: dict[str, Any] | None) -> bool:
        """Hand a line over. While the loop is held up the pipe fills, and the process counts what is lost."""
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._lines.put(line, timeout=WATCH_SECONDS)
                self._wake()
                return True
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close a process's input: it says goodbye to the MIDI system and leaves by itself."""
    if process.stdin is not None:
        with contextlib.suppress(OSError, ValueError):
            process.stdin.close()


# --- in the process ---------------------------------------------------------------------------------------------------


def systems(field: str = "input") -> dict[str, Any]:
    """A client for inputs, or for outputs, of every MIDI system that works here, by RtMidi's name for it.

    For processes like this one alone.

    Raises:
        RequestError: UNSUPPORTED about ``field``.
    """
    try:
        import rtmidi
    except (ImportError, OSError) as error:
        raise RequestError(ErrorCode.UNSUPPORTED, field, str(error), _MISSING) from error
    kind = rtmidi.MidiIn if field == "input" else rtmidi.MidiOut
    names = {getattr(rtmidi, name): name.removeprefix("API_") for name in dir(rtmidi) if name.startswith("API_")}
    found = {}
    for api in rtmidi.get_compiled_api():
        with contextlib.suppress(Exception):  # no sequencer, no server: RtMidi has errors of its own for each
            found[names[api]] = kind(api, "daw-bridge")
    return found


def ports_of(clients: dict[str, Any]) -> list[InputPort]:
    """What each of the `systems` has."""
    return [InputPort(name, api) for api, client in clients.items() for name in dict.fromkeys(client.get_ports())]


class _Source:
    """An open port, and what was played on it. The callback runs on RtMidi's thread."""

    def __init__(self, wanted: str, transport: bool) -> None:
        clients = systems()
        port = choose_input(ports_of(clients), wanted)
        self.transport = transport
        self.name = port.name
        self.played: queue.Queue[tuple[int, bytes]] = queue.Queue(MAX_WAITING)
        self.lost = 0
        self._client = clients.pop(port.api)
        for other in clients.values():
            other.delete()
        try:
            self._client.ignore_types(sysex=True, timing=not transport, active_sense=True)
            self._client.set_callback(self._receive)
            self._client.open_port(self._client.get_ports().index(port.name))
        except Exception as error:  # RtMidi's own, or a port that has just gone
            allowed = f"an input that opens: {error}"
            raise RequestError(ErrorCode.UNSUPPORTED, "input", port.name, allowed) from error

    @property
    def there(self) -> bool:
        """Whether the system still has the port. One client asks all the time: each new one is an interruption to JACK."""
        return self.name in self._client.get_ports()

    def close(self) -> None:
        self._client.close_port()
        self._client.delete()

    def _receive(self, event: tuple[list[int], float], _data: object) -> None:
        at = time.perf_counter_ns()
        try:
            self.played.put_nowait((at, bytes(event[0])))
        except queue.Full:
            self.lost += 1


def _serve(source: _Source, replies: TextIO) -> None:
    """Write down what is played until the input is gone."""
    watched = time.monotonic()
    while True:
        with contextlib.suppress(queue.Empty):
            at, data = source.played.get(timeout=WATCH_SECONDS)
            if _is_wanted(data, source.transport):
                say(replies, {"at": at, "message": data.hex()})
        if time.monotonic() - watched > WATCH_SECONDS:
            if not source.there:
                return
            say(replies, {"alive": source.lost})
            watched = time.monotonic()


def _is_wanted(data: bytes, transport: bool) -> bool:
    if transport:
        return data[:1] != b"" and data[0] in _TRANSPORT
    with contextlib.suppress(ValueError):  # no whole message
        return mido.Message.from_bytes(data).type in _PLAYED
    return False


def say(replies: TextIO, message: dict[str, Any]) -> None:
    """Tell the bridge, one JSON object a line."""
    replies.write(json.dumps(message) + "\n")
    replies.flush()


def leave(close: Callable[[], None]) -> NoReturn:
    """Say goodbye to the MIDI system, which may hang, and end this process whatever comes of it."""
    goodbye = threading.Thread(target=close, daemon=True)
    goodbye.start()
    goodbye.join(_GOODBYE_SECONDS)
    os._exit(0)


def _main() -> None:
    commands: BinaryIO = sys.stdin.buffer
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # MIDI libraries print to stdout; the pipe is for replies alone
    try:
        if "--list" in sys.argv:
            say(replies, {"ports": [asdict(port) for port in ports_of(systems())]})
            os._exit(0)
        wanted = json.loads(commands.readline())
        source = _Source(wanted["input"], wanted["transport"])
    except RequestError as error:
        say(replies, {"error": error_as_dict(error)})
        os._exit(0)

    def await_goodbye() -> None:
        commands.read()
        leave(source.close)

    say(replies, {"opened": source.name})
    threading.Thread(target=await_goodbye, daemon=True).start()
    with contextlib.suppress(OSError):  # nobody listens any more
        _serve(source, replies)
    leave(source.close)


if __name__ == "__main__":
    _main()
