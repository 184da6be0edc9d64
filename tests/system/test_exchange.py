"""Audio handed over to the real processes: by path, by file, and in chunks over the network."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from daw_bridge.exchange.engine_files import EngineFiles
from protocols.errors import ErrorCode, RequestError
from protocols.exchange_messages import MAX_CHUNK
from tests.support.clients import OscPeer, ZmqPeer
from tests.support.processes import Process, bridge_settings, engine_settings, running, wait_until


def write_region(path: Path, seconds: float = 3.0) -> Path:
    """A chord that a model can go on from."""
    time = np.arange(int(44100 * seconds)) / 44100
    sound = sum(0.1 * np.sin(2 * np.pi * pitch * time) for pitch in (220.0, 277.2, 329.6))
    soundfile.write(path, np.stack([sound, sound], 1), 44100, subtype="FLOAT")
    return path


def endpoint(engine: Process) -> str:
    return f"tcp://127.0.0.1:{engine.ports['port']}"


def begin(peer: ZmqPeer, path: Path, **other: Any) -> dict[str, Any]:
    content = path.read_bytes()
    fields = {"name": path.name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **other}
    return peer.ask("upload", **fields)


def test_a_host_writes_where_it_is_told_and_goes_on_from_there(host: OscPeer, studio: Path) -> None:
    outcome, (path,) = host.ask("/bridge/exchange", 1, "wav")
    _, (other,) = host.ask("/bridge/exchange", 2, "FLAC")
    assert outcome == "/done"
    assert Path(path).parent == Path(other).parent == studio / "exchange"
    assert (Path(path).suffix, Path(other).suffix) == (".wav", ".flac")
    assert not Path(path).exists()
    part = Path(f"{path}.part")
    soundfile.write(part, np.zeros((44100, 2)), 44100, format="WAV")
    part.rename(path)
    outcome, answer = host.ask("/bridge/continue", 3, path, "start", 0.2, "length", 0.5, "duration", 0.5)
    assert (outcome, answer[1]) == ("/done", "done")
    assert Path(path).exists()


def test_a_suffix_that_is_none_is_one_clear_error(host: OscPeer) -> None:
    outcome, answer = host.ask("/bridge/exchange", 4, "../../x")
    assert (outcome, answer[0]) == ("/fail", "out_of_range")
    assert "suffix = ../../x" in answer[1]


def test_what_an_earlier_run_left_is_cleaned_and_nothing_else(engine: Process, tmp_path: Path) -> None:
    swap, takes = tmp_path / "swap", tmp_path / "takes"
    for folder in (swap / "uploads", takes):
        folder.mkdir(parents=True)
    old = swap / "handed-20200101-000000-0123456789ab.wav"
    kept = [swap / "song.wav", takes / old.name, swap / "uploads" / "song.wav"]
    for path in (old, *kept):
        path.write_bytes(b"sound")
        os.utime(path, (0, 0))
    young = swap / "handed-20200101-000001-0123456789ab.wav"
    young.write_bytes(b"sound")
    with running("daw_bridge", bridge_settings(tmp_path, engine, f"files.exchange={swap}"), tmp_path / "log"):
        wait_until(lambda: not old.exists())
    assert all(path.exists() for path in (*kept, young))


def test_an_uploaded_region_can_be_gone_on_from_and_heard(engine: Process, studio: Path, tmp_path: Path) -> None:
    region = write_region(tmp_path / "my region.wav", 8.0)
    seen: list[tuple[int, int]] = []
    with EngineFiles(endpoint(engine)) as files:
        path = files.upload(region, lambda done, size: seen.append((done, size)))
    size = region.stat().st_size
    assert size > 2 * MAX_CHUNK
    assert seen[0] == (0, size)
    assert seen[-1] == (size, size)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert Path(path).parent == studio / "exchange" / "uploads"
    assert Path(path).read_bytes() == region.read_bytes()
    with ZmqPeer(engine.ports["port"]) as peer:
        ended, audio = peer.stream("continue", path=path, start=1.0, length=1.0, duration=0.5)
        assert (ended["reason"], len(audio)) == ("done", 16000)
        assert peer.ask("melody", path=path, length=2.0)["type"] == "melody_read"


def test_a_take_is_fetched_as_it_lies_there(engine: Process, tmp_path: Path) -> None:
    with OscPeer(engine.ports["osc_port"]) as peer:
        _, answer = peer.ask("/engine/generate", 5, "warm strings", "duration", 1.0)
    take = Path(answer[4])
    target = tmp_path / "take.wav"
    with EngineFiles(endpoint(engine)) as files:
        files.download(str(take), target)
        files.download(str(take.with_suffix(".json")), tmp_path / "take.json")
    assert target.read_bytes() == take.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["take.json", "take.wav"]


def test_a_client_that_dies_in_the_middle_can_be_followed_by_one_that_goes_on(engine: Process, tmp_path: Path) -> None:
    region = write_region(tmp_path / "long.wav", 8.0)
    with ZmqPeer(engine.ports["port"]) as peer:
        opened = begin(peer, region)
        assert (opened["type"], opened["position"]) == ("transfer", 0)
        content = region.read_bytes()[:MAX_CHUNK]
        taken = peer.ask("upload/chunk", content, transfer=opened["transfer"], position=0)
        assert taken == {"type": "chunk_taken", "position": MAX_CHUNK}
    seen: list[int] = []
    with EngineFiles(endpoint(engine)) as files:
        path = files.upload(region, lambda done, size: seen.append(done))
    assert seen[0] == MAX_CHUNK
    assert Path(path).read_bytes() == region.read_bytes()


def test_wrong_things_over_the_network_are_refused_and_leave_nothing(
    engine: Process, studio: Path, tmp_path: Path
) -> None:
    region = write_region(tmp_path / "short.wav", 0.1)
    uploads = studio / "exchange" / "uploads"
    with ZmqPeer(engine.ports["port"]) as peer:
        before = sorted(uploads.iterdir())
        opened = begin(peer, region, sha256="f" * 64)
        content = region.read_bytes()
        assert peer.ask("upload/chunk", content, transfer=opened["transfer"], position=9)["code"] == "too_large"
        assert peer.ask("upload/chunk", content[:9], transfer=opened["transfer"], position=9)["code"] == "out_of_range"
        assert peer.ask("upload/chunk", content, transfer=opened["transfer"], position=0)["position"] == len(content)
        assert peer.ask("upload/end", transfer=opened["transfer"])["field"] == "sha256"
        assert peer.ask("upload/end", transfer=opened["transfer"])["code"] == "not_found"
        assert sorted(uploads.iterdir()) == before
        assert begin(peer, region, name="noname")["field"] == "name"
        assert begin(peer, region, size=2**39)["code"] == "too_large"
        assert peer.ask("upload", name="a.wav", size=0, sha256="")["code"] == "out_of_range"
        for path in ("/etc/passwd", f"{studio}/takes/../engine.log", str(studio / "engine.log")):
            assert peer.ask("download", path=path)["code"] == "not_allowed"
        assert peer.ask("download/chunk", transfer="none", position=0)["code"] == "not_found"
        assert peer.ask("ping")["type"] == "done"


def test_chunks_are_no_business_of_osc(engine: Process) -> None:
    with OscPeer(engine.ports["osc_port"]) as peer:
        peer.send("/engine/upload", 1)
        assert peer.wait("/fail", "/engine/upload")[2] == "unknown_address"


def test_an_engine_that_dies_in_the_middle_is_waited_for_and_the_upload_begins_again(tmp_path: Path) -> None:
    region = write_region(tmp_path / "long.wav", 8.0)
    with running("engine", engine_settings(tmp_path), tmp_path / "first.log") as first:
        address = endpoint(first)
        again = engine_settings(tmp_path, f"engine.port={first.ports['port']}")
        second: list[Any] = []

        def progress(done: int, size: int) -> None:
            if done and not second:
                first.kill()
                second.append(running("engine", again, tmp_path / "second.log"))
                second[0].__enter__()

        with EngineFiles(address, patience=2.0) as files:
            path = files.upload(region, progress)
        second[0].__exit__(None, None, None)
    assert Path(path).read_bytes() == region.read_bytes()


def command(*words: str, engine: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from daw_bridge.cli import main; main()", *words, "--set", f"bridge.engine={engine}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_line_sends_and_fetches(engine: Process, tmp_path: Path) -> None:
    region = write_region(tmp_path / "riff.wav")
    sent = command("upload", str(region), engine=endpoint(engine))
    assert sent.returncode == 0, sent.stderr
    there = sent.stdout.strip()
    assert there.endswith("_riff.wav")
    back = tmp_path / "back.wav"
    fetched = command("download", there, "-o", str(back), engine=endpoint(engine))
    assert (fetched.returncode, fetched.stdout.strip()) == (0, str(back)), fetched.stderr
    assert back.read_bytes() == region.read_bytes()
    assert "--force" in command("download", there, "-o", str(back), engine=endpoint(engine)).stderr
    assert command("download", there, "-o", str(back), "--force", engine=endpoint(engine)).returncode == 0
    refused = command("download", "/etc/passwd", "-o", str(tmp_path / "x"), engine=endpoint(engine))
    assert (refused.returncode, refused.stderr.startswith("daw-bridge: not_allowed: path = /etc/passwd")) == (1, True)
    missing = command("upload", str(tmp_path / "none.wav"), engine=endpoint(engine))
    assert (missing.returncode, "not_found: file" in missing.stderr) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.wav", "riff.wav"]


def test_without_an_engine_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        EngineFiles("tcp://127.0.0.1:9", patience=0.2)
    assert caught.value.code is ErrorCode.ENGINE_LOST
    with pytest.raises(RequestError, match=r"malformed: bridge\.engine"):
        EngineFiles("nowhere", patience=0.2)


def test_a_download_that_cannot_be_kept_leaves_nothing(engine: Process, studio: Path, tmp_path: Path) -> None:
    take = studio / "takes" / "kept.bin"
    take.parent.mkdir(exist_ok=True)
    take.write_bytes(os.urandom(3 * MAX_CHUNK))
    target = tmp_path / "kept.bin"
    stale = tmp_path / f".kept.bin.{'0' * 16}.part"
    stale.write_bytes(b"of another content")

    def full(done: int, size: int) -> None:
        if done > MAX_CHUNK:
            raise OSError(28, "No space left on device")

    with EngineFiles(endpoint(engine)) as files:
        with pytest.raises(RequestError, match="No space left") as caught:
            files.download(str(take), target, full)
        assert caught.value.code is ErrorCode.TOO_LARGE
        assert list(tmp_path.iterdir()) == []
        digest = hashlib.sha256(take.read_bytes()).hexdigest()
        half = tmp_path / f".kept.bin.{digest[:16]}.part"
        half.write_bytes(take.read_bytes()[: MAX_CHUNK + 5])
        seen: list[int] = []
        files.download(str(take), target, lambda done, size: seen.append(done))
        assert seen[0] == MAX_CHUNK + 5  # what a run that was killed had fetched
        assert target.read_bytes() == take.read_bytes()
        half.write_bytes(bytes(MAX_CHUNK))  # damaged meanwhile
        with pytest.raises(RequestError, match="malformed: sha256"):
            files.download(str(take), tmp_path / "kept.bin")
    assert list(tmp_path.iterdir()) == [target]
