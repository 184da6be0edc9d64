"""What the tests of hosts share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.clients import OscPeer
from tests.support.max_host import max_tap
from tests.support.osc_tap import OscTap
from tests.support.processes import Process


@pytest.fixture
def port(bridge: Process, host: OscPeer) -> int:
    """The port of a bridge that has found its engine."""
    return bridge.ports["osc_port"]


@pytest.fixture
def tap(port: int) -> Iterator[OscTap]:
    """Between Max and the bridge."""
    with max_tap(port) as relay:
        yield relay
