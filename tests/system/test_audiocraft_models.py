"""An engine on a folder of AudioCraft's: sounds streamed, continued, and levelled as sounds are when they become files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.audiocraft_checkpoints import write_audiocraft_checkpoint
from tests.support.clients import ZmqPeer
from tests.support.processes import engine_settings, running

RATE = 16_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AudioGen's kind of model, whose window is passed within a second."""
    return write_audiocraft_checkpoint(tmp_path_factory.mktemp("models") / "my-sounds", "audiogen", seconds=1)


@pytest.fixture(scope="module")
def peer(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZmqPeer]:
    home = tmp_path_factory.mktemp("engine")
    settings = engine_settings(home, f"engine.model={folder}", f"files.allowed={folder.parent}")
    with running("engine", settings, home / "log") as engine, ZmqPeer(engine.ports["port"]) as peer:
        yield peer


def test_it_says_what_it_is(peer: ZmqPeer) -> None:
    welcome = peer.welcome
    assert (welcome["model"], welcome["kind"], welcome["status"]) == ("my-sounds", "sound", "trained")
    assert (welcome["sample_rate"], welcome["channels"], welcome["frame_samples"]) == (RATE, 1, 320)
    assert len(welcome["fingerprint"]) == 64


def test_sounds_are_streamed_beyond_the_window_and_made_again(peer: ZmqPeer) -> None:
    ended, first = peer.stream("generate", prompt="happy drums", duration=2.5, seed=3)
    assert (ended["reason"], len(first)) == ("done", int(2.5 * RATE))
    assert first.std() > 1e-3
    _, again = peer.stream("generate", prompt="happy drums", duration=2.5, seed=3)
    assert np.array_equal(again, first)


def test_a_sound_is_gone_on_with(peer: ZmqPeer) -> None:
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(RATE // 2) / RATE).astype(np.float32)
    ended, samples = peer.stream(
        "continue", tone.tobytes(), prompt="slow", duration=1.0, seed=3, sample_rate=RATE, channels=1
    )
    assert (ended["reason"], len(samples)) == ("done", RATE)


def test_its_status(peer: ZmqPeer) -> None:
    status = peer.ask("status")
    assert (status["state"], status["model"]) == ("ready", "my-sounds")


def test_a_damaged_checkpoint_is_refused_and_the_model_stays(peer: ZmqPeer, folder: Path) -> None:
    broken = write_audiocraft_checkpoint(folder.parent / "broken", "audiogen")
    path = broken / "state_dict.bin"
    path.write_bytes(path.read_bytes()[:5000])
    refused = peer.ask("load", model=str(broken))
    assert (refused["type"], refused["code"]) == ("fail", "malformed")
    assert "whole" in refused["allowed"]
    ended, _ = peer.stream("generate", prompt="x", duration=0.2, seed=1)
    assert ended["reason"] == "done"
