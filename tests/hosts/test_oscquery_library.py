"""A library that others wrote for controllers (npm: oscquery) finds the bridge by mDNS and reads everything that it tells."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from protocols.bridge_messages import BRIDGE_REQUESTS
from protocols.live_parameters import LIVE
from protocols.osc import form
from tests.support.processes import Process, bridge_settings, running

FOLDER = Path(__file__).parent / "oscquery"


def test_it_is_discovered_and_understood(studio: Path, engine: Process, tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (FOLDER / "node_modules" / "oscquery").is_dir():
        pytest.skip("npm ci has not been run in tests/hosts/oscquery")
    settings = bridge_settings(studio, engine, "bridge.zeroconf=1")
    with running("daw_bridge", settings, tmp_path / "bridge.log") as bridge:
        command = ["node", "discover.js", str(bridge.ports["oscquery_port"])]
        found = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=30, check=True).stdout
        told = json.loads(found)
        assert (told["oscPort"], told["oscTransport"]) == (bridge.ports["osc_port"], "UDP")
        assert told["extensions"]["LISTEN"] is True
        methods = {method["path"]: method for method in told["methods"]}
        assert form.address_space(BRIDGE_REQUESTS).keys() <= methods.keys()
        spec = LIVE["guidance"]
        (guidance,) = methods["/bridge/live/guidance"]["arguments"]
        assert (guidance["type"], guidance["range"], guidance["value"]) == (
            "f",
            {"min": spec.minimum, "max": spec.maximum},
            3,
        )
        assert methods["/bridge/play"]["access"] == 2
