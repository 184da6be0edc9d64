"""Where a command finds its bridge: the one that runs, or one that is started for this command only."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from daw_bridge.cli.failures import CannotStart, before_asking
from protocols.bridge_messages import BridgeReport, BridgeStatus
from protocols.errors import ErrorCode, RequestError
from protocols.messages import ModelInfo, ModelList, Models
from protocols.settings import Settings, load_settings

if TYPE_CHECKING:
    from daw_bridge.osc_client import OscClient
    from daw_bridge.supervisor import Program, Supervisor

# What talks to processes and starts them is loaded where that is done: help and wrong usage need none of it.

Note = Callable[[str], None]

_ENGINE_FOUND_S = 20.0
_LOG_TAIL = 16384
_MODEL = "engine.model="
_ALONE = ("engine.port=0", "engine.osc_port=0", "bridge.osc_port=0", "files.state=none", "engine.replicas=1")


@dataclass(frozen=True)
class Session:
    """A bridge to talk to.

    Attributes:
        client: connected to it.
        report: how it was when the session began.
        own: it was started for this command and leaves with it.
    """

    client: OscClient
    report: BridgeReport
    own: bool


def read_settings(flags: Sequence[str]) -> Settings:
    """The settings under these flags.

    Raises:
        CannotStart: they are wrong.
    """
    with before_asking():
        return load_settings(flags)


def bridge_address(settings: Settings) -> tuple[int, str]:
    """Port and host at which a bridge with these settings answers this machine."""
    return settings.bridge.osc_port, _reachable(settings.bridge.host)


def engine_address(settings: Settings) -> tuple[int, str]:
    """Port and host at which an engine with these settings answers OSC of this machine."""
    return settings.engine.osc_port, _reachable(settings.engine.host)


@contextmanager
def running_bridge(flags: Sequence[str]) -> Iterator[OscClient]:
    """A client of the bridge that runs.

    Raises:
        NoBridgeError: none does.
    """
    from daw_bridge.osc_client import OscClient, probe

    port, host = bridge_address(read_settings(flags))
    if not port or probe(port, host) is None:
        raise NoBridgeError(host, port)
    with OscClient(port, host) as client:
        yield client


@contextmanager
def any_bridge(flags: Sequence[str], *, fresh: bool, readable: Sequence[Path] = (), note: Note) -> Iterator[Session]:
    """The bridge that runs; or else an engine and a bridge that live as long as the ``with``.

    Args:
        flags: settings.
        fresh: start both in any case.
        readable: files that the user named; a bridge started here may read them, wherever they are.
        note: hears what takes a while.

    Raises:
        CannotStart: an own engine or bridge did not start; the text is its reason.
    """
    from daw_bridge.osc_client import OscClient, probe
    from daw_bridge.supervisor import bridge_program, engine_program

    settings = read_settings(flags)
    port, host = bridge_address(settings)
    if not fresh and port and probe(port, host) is not None:
        with OscClient(port, host) as client:
            report = _report(client)
            asked = settings.engine.model if any(flag.startswith(_MODEL) for flag in flags) else ""
            if asked and report.model and not _may_be(report.model, asked):
                note(
                    f"the engine that runs plays on with {report.model}: to change it, daw-bridge load {asked}, or --fresh"
                )
            yield Session(client, report, own=False)
        return
    note(f"starting the engine with {settings.engine.model} …")
    folders = [*settings.files.allowed_folders, *(file.resolve().parent for file in readable)]
    own_flags = [*flags, *_ALONE, f"files.allowed={os.pathsep.join(map(str, folders))}"]
    own_settings = read_settings(own_flags)
    programs = [engine_program(own_flags), bridge_program(own_settings, own_flags)]
    with _own(programs, own_settings) as supervisor:
        port = supervisor.announced["bridge"]["osc_port"]
        with OscClient(port, _reachable(own_settings.bridge.host)) as client:
            yield Session(client, _wait_for_engine(client), own=True)


def catalogue(flags: Sequence[str], note: Note) -> list[ModelInfo]:
    """The models that can be loaded by name: as a running engine says, or one that is started just to be asked.

    Raises:
        CannotStart: no engine runs and none can be started.
    """
    from daw_bridge.osc_client import probe
    from daw_bridge.supervisor import engine_program

    settings = read_settings(flags)
    port, host = engine_address(settings)
    if port and probe(port, host, root="engine") is not None:
        return _models(port, host)
    note("starting an engine to ask it …")
    own_flags = [*flags, *_ALONE, "engine.model=pocket"]
    own_settings = read_settings(own_flags)
    with _own([engine_program(own_flags)], own_settings) as supervisor:
        return _models(supervisor.announced["engine"]["osc_port"], _reachable(own_settings.engine.host))


class NoBridgeError(RequestError):
    """No bridge runs where the settings say."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(ErrorCode.NOT_FOUND, "osc port", f"{host}:{port}", "a port that a running bridge answers on")

    @property
    def text(self) -> str:
        """What to do about it."""
        return f"no bridge answers at {self.value}; start one with: daw-bridge up"


@contextmanager
def _own(programs: Sequence[Program], settings: Settings) -> Iterator[Supervisor]:
    """Programs for the length of a ``with``, their logs kept aside unless one of them does not start."""
    import tempfile

    from daw_bridge.supervisor import Program, Supervisor

    with tempfile.TemporaryFile() as log:
        quiet = "--set", f"log.level={'warning' if settings.log.level == 'info' else settings.log.level}"
        programs = [Program(p.name, (*p.command, *quiet), p.start_s, p.wiring, p.leads) for p in programs]
        with Supervisor(programs, log=log) as supervisor:
            try:
                supervisor.start()
            except RequestError as error:
                raise CannotStart(_reason(log) or error.text) from error
            yield supervisor
        if settings.log.level == "debug":
            sys.stderr.write(_tail(log))


def _reason(log: IO[bytes]) -> str:
    """What a process said last before it gave up: ``engine: unknown_model: …``."""
    lines = [line for line in _tail(log).splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _tail(log: IO[bytes]) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _LOG_TAIL))
    return log.read().decode("utf-8", "replace")


def _wait_for_engine(client: OscClient) -> BridgeReport:
    deadline = time.monotonic() + _ENGINE_FOUND_S
    while (report := _report(client)).engine != "ready":
        if time.monotonic() > deadline:
            raise CannotStart(f"the bridge did not find its engine within {_ENGINE_FOUND_S:g} s")
        time.sleep(0.02)
    return report


def _may_be(model: str, asked: str) -> bool:
    """Whether the name of a loaded model may be that of what was asked for: a name with or without options, a folder or a file."""
    path = Path(asked).expanduser().absolute()
    return model in (asked.strip(), asked.split(maxsplit=1)[0], path.name, path.parent.name)


def _report(client: OscClient) -> BridgeReport:
    report = client.call(BridgeStatus())
    assert isinstance(report, BridgeReport)
    return report


def _models(port: int, host: str) -> list[ModelInfo]:
    from daw_bridge.osc_client import OscClient

    with OscClient(port, host) as client:
        reply = client.call(Models())
    assert isinstance(reply, ModelList)
    return reply.items


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("", "0.0.0.0") else host
