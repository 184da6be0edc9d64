"""Models fetched through a running engine and its bridge: beside what plays, with progress, and refused before they do harm."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.clients import OscPeer, ZmqPeer
from tests.support.hub_server import HubServer, hub_server
from tests.support.own_models import write_own_model
from tests.support.processes import bridge_settings, engine_settings, running, wait_until
from tests.support.tiny_checkpoints import write_tiny_checkpoint

SMALL = "facebook/musicgen-small"


def listed(peer: ZmqPeer) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in peer.ask("models")["items"]}


def test_a_model_is_fetched_beside_what_plays_and_loaded(tmp_path: Path) -> None:
    write_own_model(tmp_path / "one")
    tiny = write_tiny_checkpoint(tmp_path / "tiny")
    log = tmp_path / "engine.log"
    settings = engine_settings(tmp_path, f"engine.model={tmp_path / 'one'}", "engine.memory_limit_mb=6000")
    with hub_server() as server:
        server.folders[SMALL], server.licences[SMALL] = tiny, "cc-by-nc-4.0"
        environment = {**server.environment(tmp_path), "HF_TOKEN": "hf_secret"}
        with running("engine", settings, log, environment) as engine, ZmqPeer(engine.ports["port"]) as peer:
            asked = {"prompt": "slow piano", "seed": 3, "duration": 2.0, "lead": 0.3}
            _, undisturbed = peer.stream("generate", **asked)
            check_refusals(peer, server)
            check_download(peer, server, asked, undisturbed)
            check_host(tmp_path, engine, peer)


def check_refusals(peer: ZmqPeer, server: HubServer) -> None:
    error = peer.ask("load", model="musicgen-small")
    assert (error["code"], server.asked) == ("not_downloaded", [])
    error = peer.ask("models/download", model="musicgen-small")
    assert (error["code"], error["field"], error["value"]) == ("not_allowed", "accept_licence", "CC-BY-NC-4.0")
    assert not server.downloads()
    error = peer.ask("load", model="musicgen-large")
    assert error["code"] == "no_memory"
    assert "engine.memory_limit_mb = 6000" in error["text"]
    assert "musicgen-small" in error["allowed"]
    assert peer.ask("models/download", model="no-such-model")["code"] == "unknown_model"


def check_download(peer: ZmqPeer, server: HubServer, asked: dict[str, Any], undisturbed: Any) -> None:
    # Stopped in the middle, it keeps what has come.
    server.hold_after = 500_000
    fetching = peer.send("models/download", model="musicgen-small", accept_licence=True)
    progress = peer.event("models/progress")
    assert (progress["model"], progress["repository"]) == ("musicgen-small", SMALL)
    assert peer.ask("models/download", model="musicgen-medium")["code"] == "busy"
    wait_until(lambda: listed(peer)["musicgen-small"]["disk_mb"], 20, "the first bytes are on the disk")
    row = listed(peer)["musicgen-small"]
    assert (row["downloaded"], row["fits"], row["kind"]) == (False, True, "music")
    assert peer.ask("models/download/stop")["type"] == "done"
    stream = peer.ask("generate", **asked)["stream"]
    server.release()
    assert peer.reply(fetching)["code"] == "not_allowed"
    fetching = peer.send("models/download", model="musicgen-small", accept_licence=True)
    _, samples = peer.finish(stream)
    np.testing.assert_array_equal(samples, undisturbed)
    done = peer.reply(fetching)
    assert done["type"] == "model_downloaded"
    assert Path(done["path"], "model.safetensors").is_file()
    first, second = (span for _, span in server.downloads())
    assert (first, second.startswith("bytes=")) == ("", True)
    assert server.tokens_at_storage == 0, "a login is for the hub alone"


def check_host(folder: Path, engine: Any, peer: ZmqPeer) -> None:
    """What hosts see, through the bridge: the answer, and the list by which they choose."""
    settings = bridge_settings(folder, engine)
    with running("daw_bridge", settings, folder / "bridge.log") as bridge, OscPeer(bridge.ports["osc_port"]) as host:
        host.send("/notify", 1)
        host.wait("/done", "/notify")
        tries = itertools.count(100)
        answer = lambda: host.ask("/bridge/models/download", next(tries), "musicgen-small")  # noqa: E731
        wait_until(lambda: answer()[0] == "/done", 20, "the bridge has found its engine")
        assert host.wait("/bridge/models/progress")[:2] == ["musicgen-small", SMALL]
        kind, values = host.ask("/bridge/load", 6, "musicgen-small")
        assert (kind, values[0]) == ("/done", "musicgen-small")
        program = "from daw_bridge.cli import main; main()"
        arguments = [
            "models",
            "remove",
            "musicgen-small",
            "--yes",
            "--set",
            f"bridge.osc_port={bridge.ports['osc_port']}",
        ]
        command = [sys.executable, "-c", program, *arguments]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert refused.returncode == 1
        assert "busy: model = musicgen-small" in refused.stderr
    rows = listed(peer)
    assert rows["musicgen-small"]["loaded"]
    assert rows["musicgen-small"]["downloaded"]
    assert rows["musicgen-large"]["memory_mb"] > rows["musicgen-small"]["memory_mb"] > 1000
    assert not rows["musicgen-large"]["fits"]
    assert (rows["audiogen-medium"]["kind"], rows["audiogen-medium"]["sample_rate"]) == ("sound", 16_000)
