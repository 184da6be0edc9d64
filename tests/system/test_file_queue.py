"""A host without sockets, beside the real bridge and engine: all it has is files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from tests.support.clients import OscPeer
from tests.support.file_client import FileClient
from tests.support.processes import Process, bridge_settings, running, wait_until


def files_host(exchange: Path) -> FileClient:
    """A host that has found the bridge, and the bridge its engine."""
    wait_until(lambda: (exchange / "queue" / "bridge").exists())
    client = FileClient(exchange)

    def ready() -> bool:
        client.heard.clear()
        client.send("/status")
        return "ready" in client.wait("/status.reply")

    wait_until(ready)
    return client


@pytest.fixture
def files(bridge: Process, studio: Path) -> Iterator[FileClient]:
    client = files_host(studio / "exchange")
    yield client
    assert not any(client.name in path.name for path in (client.folder / "in").iterdir())


def test_a_take_is_made_and_answered_through_files(files: FileClient) -> None:
    outcome, answer = files.ask("/bridge/play", 41, "happy rock", "duration", 1.0, "seed", 3)
    assert outcome == "/done"
    stream, reason, seconds, seed, path, *_ = answer
    assert (reason, seconds, seed) == ("done", 1.0, 3)
    assert soundfile.info(path).frames == 32000
    told = [address for address, arguments in files.heard if stream in arguments[:2]]
    for event in ("/bridge/queued", "/bridge/started", "/bridge/sounding", "/bridge/saved"):
        assert event in told


def test_each_host_gets_its_own_answers_whichever_way_it_speaks(files: FileClient, host: OscPeer) -> None:
    other = files_host(files.folder.parent)
    with other:
        for client, prompt in ((files, "one"), (other, "two"), (host, "three")):
            client.send("/bridge/play", 7, prompt, "duration", 0.5, "name", prompt)
        for client, prompt in ((files, "one"), (other, "two"), (host, "three")):
            answer = client.wait("/done", "/bridge/play", 7)
            assert Path(answer[6]).name.startswith(f"{prompt}_")
            assert sum(address == "/done" for address, _ in client.heard) == 1


def test_events_and_settings_are_told_to_a_listener_without_a_socket(files: FileClient, host: OscPeer) -> None:
    files.send("/notify", 1)
    assert files.wait("/done", "/notify")
    files.wait("/bridge/param/temperature")
    files.heard.clear()
    host.send("/bridge/param/temperature", 0.5)
    assert files.wait("/bridge/param/temperature") == [0.5]
    host.send("/bridge/param/temperature", 1.0)
    files.wait("/bridge/param/temperature", 1.0)
    files.send("/notify", 0)
    assert files.wait("/done", "/notify")


def test_wrong_things_are_answered_with_what_is_wrong(files: FileClient) -> None:
    outcome, answer = files.ask("/bridge/play", 5, "x", "temperature", 9.0)
    assert (outcome, answer[0]) == ("/fail", "out_of_range")
    files.heard.clear()
    files.write(b"this is not OSC")
    assert files.wait("/fail")[2] == "malformed"
    files.send("/bridge/ping", 6)
    assert files.wait("/done", "/bridge/ping", 6)


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is another thing there")
def test_a_bridge_that_was_killed_leaves_a_queue_that_the_next_one_serves(engine: Process, tmp_path: Path) -> None:
    settings = bridge_settings(tmp_path, engine, f"files.exchange={tmp_path / 'swap'}")
    with running("daw_bridge", settings, tmp_path / "first.log") as first:
        client = files_host(tmp_path / "swap")
        marker = (client.folder / "bridge").read_text()
        first.kill()
        client.send("/bridge/quit", 1)  # for the dead one, not for the next
    with running("daw_bridge", settings, tmp_path / "second.log") as second:
        fresh = files_host(tmp_path / "swap")
        assert (fresh.folder / "bridge").read_text() != marker
        assert list((client.folder / "in").glob(f"{client.name}-*")) == []
        fresh.send("/bridge/quit", 2)
        assert fresh.wait("/done", "/bridge/quit", 2)  # also the last answer arrives
        assert second.popen.wait(20) == 0
    assert not (fresh.folder / "bridge").exists()


def test_two_bridges_with_one_folder_the_first_serves_it(engine: Process, tmp_path: Path) -> None:
    settings = bridge_settings(tmp_path, engine, f"files.exchange={tmp_path / 'swap'}")
    with running("daw_bridge", settings, tmp_path / "first.log"):
        client = files_host(tmp_path / "swap")
        with running("daw_bridge", settings, tmp_path / "second.log"):
            log = tmp_path / "second.log"
            wait_until(lambda: "no file queue" in log.read_text())
            assert "one bridge for each exchange folder" in log.read_text()
            client.send("/bridge/ping", 3)
            assert client.wait("/done", "/bridge/ping", 3)
