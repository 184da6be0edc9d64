"""An engine and a bridge of their own, as processes on free ports, with an audio callback under them."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from benchmarks import _traced_bridge
from benchmarks._jack import jack_server, missing_for_jack
from benchmarks._traced_bridge import Marks, read_marks
from daw_bridge.osc_client import OscClient
from daw_bridge.supervisor import Supervisor, bridge_program, engine_program, module_command
from protocols.bridge_messages import BridgeReport, BridgeStatus
from protocols.settings import FILE_VARIABLE, load_settings

OutputKind = Literal["auto", "jack", "paced", "card"]
OUTPUTS: tuple[str, ...] = get_args(OutputKind)
RATE = 48_000
"""Of the JACK server, Hz."""
_READY_S = 30.0


@dataclass(frozen=True)
class Rig:
    """What runs.

    Attributes:
        client: an OSC client of the bridge.
        engine_port: ZeroMQ port of the engine.
        bridge_port: OSC port of the bridge.
        report: the bridge's own account of itself and its output.
        output: what calls back, in words.
        prebuffer_ms: how much audio must lie ready before a stream sounds, at most where the bridge finds out what will do; a block
            and a fade at least.
        folder: of its own, in which hosts may name files.
        jack: what leads JACK's clients to the server; empty without one.
    """

    client: OscClient
    engine_port: int
    bridge_port: int
    report: BridgeReport
    output: str
    prebuffer_ms: float
    folder: Path
    jack: dict[str, str]
    _trace: Path

    def marks(self) -> dict[int, Marks]:
        """When the streams so far reached which stage, by their numbers."""
        return read_marks(self._trace)


@contextmanager
def rig(
    model: str,
    *,
    threads: int = 0,
    output: OutputKind = "auto",
    period: int = 256,
    flags: Sequence[str] = (),
    restarts: bool = False,
) -> Iterator[Rig]:
    """Start everything, wait until the bridge has found its engine and its output, and stop everything in the end.

    Args:
        model: what the engine loads.
        threads: CPU threads of the model; 0 for the engine's own choice.
        output: ``jack`` is a JACK server on its dummy driver, ``paced`` the bridge's stand-in for a sound card, ``card``
            the system's default or what the flag ``bridge.output`` names; ``auto`` takes JACK where it is installed, else paced.
        period: frames in one callback of JACK.
        flags: more settings, as ``section.name=value``.
        restarts: what dies is started again, as under `daw-bridge up`.

    Raises:
        RequestError: a process did not start.
        RuntimeError: JACK was asked for and cannot be had, or the bridge did not find its engine or its output.
    """
    missing = missing_for_jack()
    if output == "jack" and missing:
        raise RuntimeError(f"no JACK server: {missing}")
    jack = output == "jack" or (output == "auto" and not missing)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        trace = folder / "marks.jsonl"
        environment = {FILE_VARIABLE: str(folder / "none.toml"), _traced_bridge.TRACE_VARIABLE: str(trace)}
        server = stack.enter_context(jack_server(RATE, period)) if jack else {}
        environment |= server
        stack.enter_context(with_environment(environment))
        own = [
            f"engine.model={model}",
            f"engine.threads={threads}",
            "engine.port=0",
            "engine.osc_port=0",
            "bridge.osc_port=0",
            f"bridge.output={'JACK' if jack else '' if output == 'card' else 'none'}",
            f"files.takes={folder / 'takes'}",
            f"files.journal={folder / 'journal'}",
            "files.state=none",
            "log.level=error",
            *flags,
        ]
        settings = load_settings(own)
        bridge = bridge_program(settings, own)
        command = [*module_command(_traced_bridge.__name__, own), "--announce", "--follow-stdin"]
        supervisor = stack.enter_context(Supervisor([engine_program(own), replace(bridge, command=command)]))
        ports = dict(supervisor.start())
        if restarts:
            keeping = threading.Thread(target=supervisor.run, name="supervisor")
            keeping.start()
            stack.callback(keeping.join)
            stack.callback(supervisor.request_stop)
        client = stack.enter_context(OscClient(ports["bridge"]["osc_port"]))
        report = _wait_until_ready(client)
        name = "JACK, dummy driver" if jack else report.device if output == "card" else "paced, no sound card"
        sound = f"{name}, {report.sample_rate} Hz, block {report.block}"
        prebuffer = max(
            settings.bridge.prebuffer_ms, 1000 * report.block / report.sample_rate + settings.bridge.fade_ms
        )
        yield Rig(
            client,
            ports["engine"]["port"],
            ports["bridge"]["osc_port"],
            report,
            sound,
            prebuffer,
            folder,
            server,
            trace,
        )


def _wait_until_ready(client: OscClient) -> BridgeReport:
    deadline = time.monotonic() + _READY_S
    while True:
        report = client.call(BridgeStatus())
        assert isinstance(report, BridgeReport)
        if report.engine == "ready" and report.state == "playing":
            return report
        if time.monotonic() > deadline:
            raise RuntimeError(f"the bridge is not ready: engine {report.engine}, sound {report.state}")
        time.sleep(0.05)


@contextmanager
def with_environment(variables: dict[str, str]) -> Iterator[None]:
    """These variables for this process and all that it starts meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
