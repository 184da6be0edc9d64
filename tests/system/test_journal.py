"""Streams that are gone on with from their journal, after the engine was killed, from an earlier moment and along another way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.clients import ZmqPeer
from tests.support.processes import Process, engine_settings, wait_until

HOP = 640


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts engines that keep their journals in the same folder."""
    begun: list[Process] = []

    def start(*more: str) -> Process:
        begun.append(Process("engine", engine_settings(tmp_path, *more), tmp_path / "engine.log"))
        return begun[-1]

    yield start
    for process in begun:
        if process.popen.poll() is None:
            process.stop()


def hear(peer: ZmqPeer, stream: int, samples: int) -> NDArray[np.float32]:
    """Take a stream up to so many samples, acknowledging them."""
    while len(heard := peer.samples(stream)) < samples:
        assert peer.receive(20), peer.events[-3:]
        peer.send("acknowledge", stream=stream, position=len(peer.samples(stream)))
    return heard


def resume(peer: ZmqPeer, journal: str, seconds: float, **fields: Any) -> dict[str, Any]:
    return peer.reply(peer.send("resume", journal=journal, seconds=seconds, **fields))


def listed(peer: ZmqPeer) -> dict[str, dict]:
    return {item["journal"]: item for item in peer.ask("journals")["items"]}


def test_a_stream_goes_on_after_kill_9_as_if_nothing_had_happened(start: Callable[..., Process]) -> None:
    asked = {"prompt": "happy rock", "seed": 6, "lead": 1.0, "bpm": 120.0}
    changes = [{"frame": 40, "prompt": "slow piano"}, {"frame": 200, "prompt": "fast drums"}]
    script = msgspec.json.encode(changes).decode()
    with ZmqPeer(start().ports["port"]) as peer:
        whole = hear(peer, peer.ask("open", **asked, script=script)["stream"], 270 * HOP)
    heard, journal, resumed_at = whole[:0], "", 0
    for length in (60, 150, 270):
        engine = start()
        with ZmqPeer(engine.ports["port"]) as peer:
            if not journal:
                opened = peer.ask("open", **asked, script=script)
            else:
                item = listed(peer)[journal]
                assert item["state"] == "cut_short"
                resumed_at = round(item["seconds"] * 50)
                assert resumed_at * HOP >= len(heard) - 3 * HOP, (
                    "what was sent had been written, but for the last chunk"
                )
                frame = min(resumed_at, len(heard) // HOP)
                opened = peer.ask("resume", journal=journal, frame=frame, changes=True)
                heard = heard[: frame * HOP]
            assert opened["type"] == "opened", opened
            journal = opened["journal"]
            more = hear(peer, opened["stream"], length * HOP - len(heard))
            heard = np.concatenate((heard, more))
            assert listed(peer)[journal]["state"] == "playing"
            engine.kill()
    assert np.abs(heard[: 270 * HOP] - whole[: 270 * HOP]).max() < 1e-4


def test_another_way_from_an_earlier_moment_and_its_recipe(start: Callable[..., Process]) -> None:
    with ZmqPeer(start().ports["port"]) as peer:
        opened = peer.ask("generate", prompt="happy rock", seed=6, duration=5.0)
        _, whole = peer.finish(opened["stream"])
        assert listed(peer)[opened["journal"]]["state"] == "done"
        same = resume(peer, opened["journal"], seconds=3.0)
        assert same["type"] == "opened", same
        _, again = peer.finish(same["stream"])
        assert len(again) == 2 * 32000
        assert np.abs(again - whole[3 * 32000 :]).max() < 1e-4
        other = resume(peer, opened["journal"], seconds=3.0, seed=9)
        note = peer.event("started", other["stream"])["note"]
        assert note == f"goes on from 3 s of journal {opened['journal']}"
        _, branch = peer.finish(other["stream"])
        assert not np.allclose(branch, again, atol=1e-3)
        recipe = peer.event("recipe", other["stream"])
        assert recipe["request"]["from_frame"] == 150
        assert recipe["changes"] == [{"frame": 150, "seed": 9}]
        values = {name: value for name, value in recipe["request"].items() if name not in ("type", "seed")}
        script = msgspec.json.encode(recipe["changes"]).decode()
        _, made = peer.stream("generate", **values, seed=recipe["seed"], script=script)
        assert np.abs(made - branch).max() < 1e-4, "made again from its recipe alone"
        over = peer.ask("resume", journal=opened["journal"])
        assert (over["code"], over["field"]) == ("out_of_range", "frame")


def test_what_is_kept_is_listed_forgotten_and_bounded(start: Callable[..., Process], tmp_path: Path) -> None:
    engine = start("files.journal_mb=1")
    with ZmqPeer(engine.ports["port"]) as peer:
        assert peer.ask("status")["journal"] == "on"
        first = peer.ask("generate", prompt="one", seed=1, duration=0.5)
        peer.finish(first["stream"])
        playing = peer.ask("open", prompt="two", seed=1)
        hear(peer, playing["stream"], 10 * HOP)
        assert list(listed(peer)) == [playing["journal"], first["journal"]] or len(listed(peer)) == 2
        assert peer.ask("forget", journal=playing["journal"])["code"] == "busy"
        assert peer.ask("forget", journal=first["journal"])["type"] == "done"
        assert list(listed(peer)) == [playing["journal"]]
        for wrong in (first["journal"], "../../etc/passwd", ""):
            assert peer.ask("forget", journal=wrong)["code"] == "not_found"
            assert peer.ask("resume", journal=wrong)["code"] == "not_found"
        ahead = resume(peer, playing["journal"], seconds=900.0)
        assert (ahead["code"], ahead["field"]) == ("out_of_range", "seconds")
        files = sorted((tmp_path / "journal").iterdir())
        files[0].with_name("20200101-000000-abcdef.journal").write_bytes(bytes(1 << 20))
        peer.stream("generate", prompt="three", seed=1, duration=0.5)
        assert sum(file.stat().st_size for file in (tmp_path / "journal").iterdir()) <= 1 << 20
        assert playing["journal"] in listed(peer)


def test_a_stream_plays_on_without_its_journal(start: Callable[..., Process], tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file where a folder should be")
    with ZmqPeer(start().ports["port"]) as peer:
        ended, samples = peer.stream("generate", prompt="one", seed=1, duration=0.5)
        assert (ended["reason"], len(samples)) == ("done", 16000)
        wait_until(lambda: "ended early" in peer.ask("status")["journal"], what="the status tells it")
    with ZmqPeer(start("files.journal=none").ports["port"]) as peer:
        opened = peer.ask("generate", prompt="one", seed=1, duration=0.5)
        assert opened["journal"] == ""
        assert peer.ask("status")["journal"] == "off"
        assert peer.ask("journals")["items"] == []
        assert peer.ask("resume", journal="20200101-000000-abcdef")["code"] == "not_found"
