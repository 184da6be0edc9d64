"""``daw-bridge up``, ``engine`` and ``bridge``: the processes."""

from __future__ import annotations

import signal
from types import FrameType

from daw_bridge.cli.becoming import become
from daw_bridge.cli.failures import before_asking
from daw_bridge.cli.options import from_schema
from daw_bridge.cli.session import read_settings


@from_schema()
def up(flags: list[str]) -> None:
    """Start engine and bridge; keep them running until Ctrl-C."""
    from daw_bridge.cli.consoles import stderr_console
    from daw_bridge.supervisor import Supervisor, bridge_program, engine_program

    settings = read_settings(flags)
    console = stderr_console()
    supervisor = Supervisor(
        [engine_program(flags), bridge_program(settings, flags)],
        tell=lambda line: console.print(line, highlight=False, markup=False),
    )

    def leave(number: int, frame: FrameType | None) -> None:
        supervisor.request_stop()

    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), leave)
    with before_asking():
        ports = supervisor.start().get("bridge", {})
    if ports:
        console.print(
            f"Ready: hosts send OSC to port {ports['osc_port']}. Try in another terminal: daw-bridge play 'warm strings'",
            highlight=False,
        )
    supervisor.run()


@from_schema()
def engine(flags: list[str]) -> None:
    """Run the engine alone."""
    read_settings(flags)
    become("engine", flags=flags)


@from_schema()
def bridge(flags: list[str]) -> None:
    """Run the bridge alone; it looks for an engine."""
    read_settings(flags)
    become("daw_bridge", flags=flags)
