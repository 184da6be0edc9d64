"""A bridge whose model hears melodies: a tiny one of our own making, for tests of hosts that send notes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from tests.support.hosts import host_of
from tests.support.own_models import write_own_model
from tests.support.processes import Process, bridge_settings, engine_settings, running


@contextmanager
def hearing_bridge(folder: Path) -> Iterator[Process]:
    """Engine and bridge for the length of a ``with``; the bridge has found its engine."""
    write_own_model(folder / "tiny", window_seconds=Fraction(4, 5))
    settings = engine_settings(folder, f"engine.model={folder / 'tiny'}")
    with (
        running("engine", settings, folder / "engine.log") as engine,
        running("daw_bridge", bridge_settings(folder, engine), folder / "bridge.log") as bridge,
        host_of(bridge),
    ):
        yield bridge
