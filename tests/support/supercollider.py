"""A real sclang without a screen: what it needs to start, a run of a script, and the lines that the script reports with."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from protocols.osc.codec import OscMessage, decode
from tests.support.jack import JackServer

EXAMPLES = Path(__file__).resolve().parents[2] / "host_examples" / "supercollider"
QUARK = EXAMPLES / "DawBridge"


def require_supercollider() -> None:
    """Skip, saying why, where SuperCollider is not installed."""
    for program in ("sclang", "scsynth"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: supercollider-language, supercollider-server)")


def free_udp_port() -> int:
    """A port for a scsynth of one's own, so that another one on this machine does not answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def host_environment(folder: Path, jack: JackServer | None = None) -> dict[str, str]:
    """What sclang and scsynth need where there is no screen, and a home of their own."""
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    return {
        **os.environ,
        **(jack.environment if jack is not None else {}),
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(runtime),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_DATA_HOME": str(folder / "data"),
        "QT_QPA_PLATFORM": "offscreen",
        "QTWEBENGINE_DISABLE_SANDBOX": "1",
        "SC_JACK_DEFAULT_INPUTS": "",
        "SCSYNTH_PORT": str(free_udp_port()),
    }


def language_settings(folder: Path, *included: Path) -> Path:
    """A settings file by which sclang compiles these folders beside its own classes."""
    path = folder / "sclang_conf.yaml"
    paths = "".join(f"    - {each}\n" for each in included)
    path.write_text(f"includePaths:\n{paths}excludePaths: []\npostInlineWarnings: false\nexcludeDefaultPaths: false\n")
    return path


@dataclass
class Sitting:
    """What a session in SuperCollider left behind."""

    folder: Path
    reports: dict[str, list[list[str]]] = field(default_factory=dict)
    output: list[str] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    xruns: int = 0
    code: int | None = None

    def one(self, name: str) -> list[str]:
        """The values of the one line with this name."""
        assert len(self.reports.get(name, [])) == 1, f"no {name}:\n" + "".join(self.output[-60:])
        return self.reports[name][0]

    def messages(self, address: str) -> list[OscMessage]:
        """What sclang really sent to an address."""
        return [message for packet in self.sent for message in decode(packet) if message.address == address]

    def samples(self, name: str) -> NDArray[np.float32]:
        audio: NDArray[np.float32] = soundfile.read(self.folder / name, dtype="float32", always_2d=True)[0]
        return audio


def sit(
    sitting: Sitting,
    script: Path,
    environment: Mapping[str, str],
    seconds: float,
    options: Sequence[str] = (),
    on: Mapping[str, Callable[[], None]] | None = None,
) -> Sitting:
    """Run a script to its end, and read what it posts.

    Lines that begin with ``@`` are reports: a name and values, with tabs between them. sclang may hang after an error of its
    own; ``timeout`` ends it.

    Args:
        sitting: where what it leaves behind is put.
        script: run with `options`.
        environment: as of `host_environment`.
        seconds: how long it may take.
        options: of sclang.
        on: what is done, in a thread, when a report of this name comes.
    """
    process = subprocess.Popen(
        ["timeout", "-k", "5", str(seconds), "sclang", "-D", *options, str(script)],
        env=dict(environment),
        cwd=sitting.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            sitting.output.append(line)
            if line.startswith("@"):
                name, *values = line[1:].rstrip("\n").split("\t")
                sitting.reports.setdefault(name, []).append(values)
                if on is not None and name in on:
                    threading.Thread(target=on[name], daemon=True).start()
    sitting.code = process.wait(10)
    (sitting.folder / f"{script.stem}.log").write_text("".join(sitting.output))
    return sitting
