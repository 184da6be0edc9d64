"""A real Ardour for tests: its program with its windows on a screen that nobody sees, its sound into nothing, led by OSC."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import build_msg

from tests.support.processes import wait_until

SCRIPTS = Path(__file__).resolve().parents[1] / "hosts" / "ardour"
LIBRARY = Path("/usr/lib/ardour7")
OSC_PORT = 3819
RATE = 48_000

_CONFIG = f"""<?xml version="1.0" encoding="UTF-8"?>
<Ardour>
  <Config>
    <Option name="hide-dummy-backend" value="0"/>
    <Option name="try-autostart-engine" value="1"/>
    <Option name="plugin-scan-on-startup" value="0"/>
    <Option name="discover-plugins-on-start" value="0"/>
  </Config>
  <Extra>
    <AudioMIDISetup>
      <EngineStates>
        <State backend="None (Dummy)" driver="Normal Speed" device="Silence" input-device="" output-device=""
          sample-rate="{RATE}" buffer-size="1024" n-periods="0" input-latency="0" output-latency="0" lm-input=""
          lm-output="" active="1" use-buffered-io="0" midi-option="1 in, 1 out, Silence" lru="1">
          <MIDIDevices/>
        </State>
      </EngineStates>
    </AudioMIDISetup>
  </Extra>
</Ardour>
"""


def program() -> Path:
    """Ardour's binary; skips the test, saying why, where Ardour or a screen cannot be had."""
    found = sorted(LIBRARY.glob("ardour-7.*"))
    if not found:
        pytest.skip("Ardour 7 is not installed (Debian: ardour)")
    if shutil.which("Xvfb") is None:
        pytest.skip("there is no screen for Ardour (Debian: xvfb)")
    return found[0]


Action = tuple[str, Path, dict[str, str]]


class Ardour:
    """Ardour with a new session, and scripted actions as its user has set them up.

    Args:
        folder: for its home and its session.
        actions: name, script and arguments of each; `act` calls them by their number, from 1. At most 8.
    """

    def __init__(self, folder: Path, actions: Sequence[Action]) -> None:
        self.program = program()
        self.home = folder / "home"
        self.session = folder / "song"
        self.log = folder / "ardour.log"
        self._told = folder / "printed.log"
        self._told.touch()
        self._environment = {
            **os.environ,
            "HOME": str(self.home),
            "LD_LIBRARY_PATH": str(LIBRARY),
            "ARDOUR_DATA_PATH": "/usr/share/ardour7",
            "ARDOUR_CONFIG_PATH": f"{self.home / '.config/ardour7'}:/etc/ardour7",
            "ARDOUR_DLL_PATH": str(LIBRARY),
            "GTK_PATH": str(LIBRARY),
            "LANG": "C",
        }
        self._environment.pop("XDG_CONFIG_HOME", None)
        self._set_up(folder, actions)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._osc = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._osc.bind(("127.0.0.1", 0))
        self._osc.settimeout(0.3)

    def __enter__(self) -> Ardour:
        read, write = os.pipe()
        screen = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write), "-screen", "0", "1400x900x24", "-nolisten", "tcp"],
            pass_fds=[write],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(write)
        self._processes.append(screen)
        with os.fdopen(read) as number:
            self.display = f":{number.readline().strip()}"
        with self.log.open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    ["timeout", "240", str(self.program), "-n", "-a", "-d", str(self.session)],
                    env={**self._environment, "DISPLAY": self.display},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
        wait_until(self._answers, 60, "Ardour's OSC answers")
        self.act(0, "test: log")
        return self

    def __exit__(self, *exc: object) -> None:
        self._osc.close()
        screen, ardour = self._processes
        with contextlib.suppress(ProcessLookupError):
            os.killpg(ardour.pid, signal.SIGTERM)
        try:
            ardour.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(ardour.pid, signal.SIGKILL)
            ardour.wait()
        screen.terminate()
        screen.wait(10)

    def send(self, address: str, *arguments: Any) -> None:
        """Send OSC to Ardour."""
        self._osc.sendto(build_msg(address, list(arguments)).dgram, ("127.0.0.1", OSC_PORT))

    def playhead(self) -> int:
        """Where the playhead is, in samples."""
        self.send("/transport_frame")
        while True:
            packet = self._osc.recv(9999)
            if packet.startswith(b"/transport_frame\0"):
                return int(OscMessage(packet).params[0])

    def menu(self, action: str) -> None:
        """Do what a menu entry does, such as ``Common/Save``."""
        self.send("/access_action", action)

    def act(self, number: int, printed: str, seconds: float = 60.0) -> str:
        """Call a scripted action, and wait until it has printed a line with this text; the line."""
        seen = self.printed(printed)
        self.menu(f"LuaAction/script-{number + 1}")
        wait_until(lambda: len(self.printed(printed)) > len(seen), seconds, f"{printed}; {self.tail()}")
        return self.printed(printed)[-1]

    def printed(self, text: str) -> list[str]:
        """The lines with this text that scripted actions have printed."""
        return [line for line in self._told.read_text(errors="replace").splitlines() if text in line]

    def tail(self) -> str:
        """The end of what was told."""
        return self._told.read_text(errors="replace")[-800:] + self.log.read_text(errors="replace")[-800:]

    def saved(self) -> ElementTree.Element:
        """Save the session, and read its file."""
        path = self.session / f"{self.session.name}.ardour"
        before = path.stat().st_mtime_ns
        self.menu("Common/Save")

        def whole() -> list[ElementTree.Element]:
            # It is written under another name and renamed; in between there may be none.
            with contextlib.suppress(OSError, ElementTree.ParseError):
                if path.stat().st_mtime_ns > before:
                    return [ElementTree.parse(path).getroot()]
            return []

        return wait_until(whole, 20, "the session is saved")[0]

    def _set_up(self, folder: Path, actions: Sequence[Action]) -> None:
        config = self.home / ".config" / "ardour7"
        config.mkdir(parents=True)
        (config / ".a7").touch()  # it has been here before: no questions for a first start
        (config / "config").write_text(_CONFIG)
        self._tool("ardour7-new_session", "-s", str(RATE), "-m", "2", str(self.session), self.session.name)
        path = self.session / f"{self.session.name}.ardour"
        osc = '<Protocol name="Open Sound Control (OSC)" active='
        text = path.read_text().replace(f'{osc}"0"', f'{osc}"1"')
        assert f'{osc}"1"' in text
        path.write_text(text)
        kept = folder / "scripts.lua"
        log = ("log", SCRIPTS / "log.lua", {"file": str(self._told)})
        listed = ", ".join(_lua([name, str(script), arguments]) for name, script, arguments in [log, *actions])
        self._tool("ardour7-lua", str(SCRIPTS / "dump.lua"), ACTIONS=f"{{ {listed} }}", OUT=str(kept))
        content = base64.b64encode(kept.read_bytes()).decode()
        scripts = f'<UIScripts><ActionScript lua="Lua 5.3">{content}</ActionScript><ActionHooks/></UIScripts>'
        (config / "ui_scripts").write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n{scripts}\n')

    def _tool(self, *command: str, **variables: str) -> None:
        environment = {**os.environ, "HOME": str(self.home), **variables}
        done = subprocess.run(
            ["timeout", "60", *command], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command[0]}: {done.stdout[-500:]}{done.stderr[-500:]}"

    def _answers(self) -> bool:
        """Its surface has been told which port we listen at, and answers there."""
        assert self._processes[1].poll() is None, self.tail()
        self.send("/set_surface", 0, 0, 0, 0, 0, 0, self._osc.getsockname()[1])
        self.send("/transport_frame")
        try:
            return bool(self._osc.recv(9999))
        except (TimeoutError, ConnectionRefusedError):
            return False


def _lua(value: object) -> str:
    """A text, list or dictionary of texts in Lua."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"[{_lua(key)}] = {_lua(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "{ " + ", ".join(map(_lua, value)) + " }"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
