"""Fixtures for all tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# Two threads are what the small models of the tests can use; more only get into each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "2")
# No bridge of a test finds the user's clock as it was, or changes it.
os.environ["DAW_BRIDGE_FILES_STATE"] = "none"

pytest_plugins = ["tests.support.studio"]

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT.parent / "shared" / "golden" / "audiocraft"


@pytest.fixture(scope="session", autouse=True)
def _own_exchange(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No bridge of a test serves the user's file queue, or cleans the user's exchange folder."""
    os.environ["DAW_BRIDGE_FILES_EXCHANGE"] = str(tmp_path_factory.mktemp("exchange"))


@pytest.fixture(autouse=True)
def _few_torch_threads() -> None:
    """Tests that use torch use as many threads of it as their processes do; the others do not import it for this."""
    torch, threads = sys.modules.get("torch"), int(os.environ["OMP_NUM_THREADS"])
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """The folder of AudioCraft reference data; tests that need it are skipped where it is absent."""
    if not GOLDEN.is_dir():
        pytest.skip(f"no AudioCraft reference data at {GOLDEN}")
    return GOLDEN
