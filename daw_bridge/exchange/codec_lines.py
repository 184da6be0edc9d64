"""Where codec jobs of the command line are carried out: by an engine that runs, or by a process of their own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

import msgspec

from daw_bridge.audio.devices import child_environment
from daw_bridge.exchange.engine_files import EngineFiles
from daw_bridge.supervisor import module_command
from protocols.codec_messages import (
    CancelCodec,
    CodecEnded,
    CodecProgress,
    CodecQueued,
    CodesWritten,
    Decode,
    Encode,
    ExportCodes,
    Recoded,
    recoded,
)
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Event, Ping, Reply

MODULE = "engine.coding"

_PING_S = 2.0
_LISTEN_S = 0.1
_PATIENCE_S = 10.0
_LEAVE_S = 5.0

Progress = Callable[[float, float], None]
"""Hears seconds of sound that are done, and of how many."""


class CodecLine(Protocol):
    """What carries codec jobs out. For one thread."""

    def do(self, request: Encode | Decode, progress: Progress) -> Recoded:
        """Carry a job out; its paths are absolute, and on this machine. Raises RequestError."""

    def close(self) -> None:
        """No more jobs; one that is under way ends, and nothing of it is left."""


def is_away(endpoint: str) -> bool:
    """Whether an engine's endpoint is on another machine."""
    return urlsplit(endpoint).hostname not in ("127.0.0.1", "localhost", "::1")


class EngineLine(EngineFiles):
    """Jobs for an engine that runs. Of one on another machine files are sent there and fetched from there.

    Args:
        endpoint: where it listens, as ``tcp://host:port``.
        away: whether it is on another machine.
        patience: seconds to wait for an answer to a small request.
        alive: called several times a second; what it raises ends the job.

    Raises:
        RequestError: as `EngineFiles`.
    """

    def __init__(
        self, endpoint: str, *, away: bool, patience: float = 10.0, alive: Callable[[], None] = lambda: None
    ) -> None:
        self._away = away
        self._alive = alive
        self._ended: dict[int, CodecEnded] = {}
        self._progress: Progress = lambda done, total: None
        super().__init__(endpoint, patience)

    def do(self, request: Encode | Decode, progress: Progress) -> Recoded:
        """Carry a job out.

        Raises:
            RequestError: what the engine refuses; ENGINE_LOST.
        """
        if not self._away:
            return self._carried_out(request, progress)
        out = Path(request.out)
        if out.exists() and not request.replace:
            raise _taken(request.out)
        there = self.upload(Path(request.path))
        # Beside what was sent, in the exchange folder, which cleans itself.
        done = self._carried_out(msgspec.structs.replace(request, path=there, out=f"{there}{out.suffix}"), progress)
        self.download(done.path, out)
        return msgspec.structs.replace(done, path=str(out))

    def export(self, request: ExportCodes) -> CodesWritten:
        """Have the codes of a stream written.

        Raises:
            RequestError: as `do`.
        """
        if not self._away:
            return self._ask(request, CodesWritten)
        out = Path(request.out)
        if out.exists() and not request.replace:
            raise _taken(request.out)
        done = self._ask(msgspec.structs.replace(request, out=""), CodesWritten)
        self.download(done.path, out)
        return msgspec.structs.replace(done, path=str(out))

    def _carried_out(self, request: Encode | Decode, progress: Progress) -> Recoded:
        self._progress = progress
        job = self._ask(request, CodecQueued).job
        try:
            pinged = time.monotonic()
            while job not in self._ended:
                self._alive()
                self._listen(_LISTEN_S)
                if time.monotonic() - pinged > _PING_S:
                    # A silent client is taken for dead, and an engine that is gone is noticed by this.
                    self._wait(self._send(Ping()), Reply, _PATIENCE_S / self._patience)
                    pinged = time.monotonic()
        except RequestError:
            raise  # the engine is gone
        except BaseException:
            with suppress(RequestError):
                self._wait(self._send(CancelCodec(job=job)), Reply)
            raise
        answer = recoded(self._ended.pop(job))
        if isinstance(answer, RequestError):
            raise answer
        return answer

    def _heard(self, event: Event) -> None:
        if isinstance(event, CodecEnded):
            self._ended[event.job] = event
        elif isinstance(event, CodecProgress):
            self._progress(event.seconds, event.total_seconds)


class OwnLine:
    """Jobs for a process of their own, which is started with the first one and ends with `close`.

    Args:
        device: where it computes.
    """

    def __init__(self, device: str = "auto") -> None:
        self._command = [*module_command(MODULE, ()), "--device", device]
        self._process: subprocess.Popen[str] | None = None
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 -- for as long as the process

    def do(self, request: Encode | Decode, progress: Progress) -> Recoded:
        """Carry a job out.

        Raises:
            RequestError: what is wrong with it; INTERNAL when the process dies.
        """
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(request).decode() + "\n")
            process.stdin.flush()
            for line in process.stdout:
                event = _event(line)
                if isinstance(event, CodecProgress):
                    progress(event.seconds, event.total_seconds)
                elif event is not None:
                    answer = recoded(event)
                    if isinstance(answer, RequestError):
                        raise answer
                    return answer
        except BrokenPipeError:
            pass
        raise RequestError(
            ErrorCode.INTERNAL, "codec", None, f"a process that stays alive; it said: {self._last_words()}"
        )

    def close(self) -> None:
        """End the process; it has a moment to remove what is not finished."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(OSError):
                process.stdin.close()
            try:
                process.wait(_LEAVE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=child_environment(),
                text=True,
                encoding="utf-8",
            )
        return self._process

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read()[-4096:].splitlines() if line.strip()]
        return lines[-1] if lines else "nothing"


def _taken(out: str) -> RequestError:
    return RequestError(ErrorCode.NOT_ALLOWED, "out", out, "a new file; replace takes the place of one that is there")


def _event(line: str) -> CodecProgress | CodecEnded | None:
    """An event as the process writes it; None for a line of something else, such as a library's notice."""
    try:
        return msgspec.json.decode(line, type=CodecProgress | CodecEnded)
    except msgspec.MsgspecError:
        sys.stderr.write(line)
        return None
