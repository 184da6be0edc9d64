"""One engine and one bridge for all tests that do not harm them: a plugin, so that every folder of tests shares the same two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clients import OscPeer
from tests.support.hosts import host_of
from tests.support.processes import Process, bridge_settings, engine_settings, running


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that hosts may name files in; takes are below it."""
    return tmp_path_factory.mktemp("studio")


@pytest.fixture(scope="session")
def engine(studio: Path) -> Iterator[Process]:
    settings = engine_settings(studio, "engine.max_running=2", "engine.max_waiting=4", "files.max_region_s=20")
    with running("engine", settings, studio / "engine.log") as process:
        yield process


@pytest.fixture(scope="session")
def bridge(studio: Path, engine: Process) -> Iterator[Process]:
    # Enough in store that no other load on the machine is heard: these tests are about what the bridge does, not how fast.
    settings = bridge_settings(studio, engine, "files.max_region_s=20", "bridge.prebuffer_ms=400")
    with running("daw_bridge", settings, studio / "bridge.log") as process:
        yield process


@pytest.fixture
def host(bridge: Process) -> Iterator[OscPeer]:
    """A host beside the bridge, whose clock is as it is at first, whatever other tests did with it."""
    with host_of(bridge) as peer:
        peer.ask("/bridge/clock", 1, "source", "internal", "bpm", 120.0, "beats_per_bar", 4)
        peer.ask("/bridge/clock/stop", 2)
        peer.heard.clear()
        yield peer
