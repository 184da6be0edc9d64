"""The Quark as it is installed, its own UnitTests, and every block of its examples, in a real sclang."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.jack import JackServer
from tests.support.osc_tap import OscTap
from tests.support.processes import Process, bridge_settings, running
from tests.support.supercollider import QUARK, Sitting, host_environment, require_supercollider, sit

pytestmark = pytest.mark.timeout(300)
SCRIPTS = Path(__file__).parent / "supercollider"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's home in which the Quark has been installed."""
    require_supercollider()
    folder = tmp_path_factory.mktemp("home")
    sitting = sit(Sitting(folder), SCRIPTS / "install.scd", host_environment(folder) | {"QUARK": str(QUARK)}, 60)
    assert sitting.code == 0, "".join(sitting.output[-20:])
    assert sitting.one("installed") == ["DawBridge 0.1.0"]
    return folder


def test_its_unit_tests_pass(home: Path, bridge: Process) -> None:
    with OscTap(bridge.ports["osc_port"]) as tap:
        environment = host_environment(home) | {"DAW_BRIDGE_PORT": str(tap.port)}
        sitting = sit(Sitting(home), QUARK / "Tests" / "run_tests.scd", environment, 120)
    assert sitting.code == 0, "".join(line for line in sitting.output[-200:] if line.strip())
    passed, failed = counted(sitting)
    assert passed > 50
    assert failed == 0


def counted(sitting: Sitting) -> tuple[int, int]:
    """What the runner says in its last line: passed and failed."""
    found = [re.match(r"(\d+) passed, (\d+) failed", line) for line in sitting.output]
    last = [match for match in found if match is not None][-1]
    return int(last[1]), int(last[2])


@pytest.fixture
def card(tmp_path: Path, engine: Process) -> Iterator[tuple[Process, JackServer]]:
    """A bridge that plays through a JACK server."""
    with JackServer() as jack:
        settings = bridge_settings(tmp_path, engine, "bridge.output=JACK", "bridge.prebuffer_ms=400")
        with running("daw_bridge", settings, tmp_path / "bridge.log", jack.environment) as process:
            yield process, jack


def test_every_block_of_its_examples_runs(home: Path, card: tuple[Process, JackServer]) -> None:
    process, jack = card
    environment = host_environment(home, jack) | {"BRIDGE_PORT": str(process.ports["osc_port"]), "LIMIT": "200"}
    sitting = sit(Sitting(home), SCRIPTS / "examples.scd", environment, 210)
    assert sitting.code == 0, "".join(sitting.output[-40:])
    files, blocks = map(int, sitting.one("examples"))
    written = [path.read_text("utf-8").split("\n").count("(") for path in sorted((QUARK / "Examples").glob("*.scd"))]
    assert (files, blocks) == (len(written), sum(written))
    assert "failed" not in sitting.reports, sitting.reports["failed"]
    wrong = [line for line in sitting.output if line.startswith(("ERROR", "WARNING: DawBridge"))]
    assert wrong == []
