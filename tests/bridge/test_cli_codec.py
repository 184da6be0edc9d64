"""``daw-bridge codec``, run as it is typed: by an engine that runs, and by a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_files.coded_files import facts_of
from daw_bridge.cli.codec import CODED, _jobs
from daw_bridge.cli.failures import CannotStart
from daw_bridge.exchange.codec_lines import EngineLine, is_away
from protocols.codec_messages import Decode, Encode
from protocols.errors import RequestError
from tests.support.models import untrained_pocket
from tests.support.processes import Process

MAIN = "from daw_bridge.cli import main; main()"
LIMIT_S = 120.0


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, "codec", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "DAW_BRIDGE_SETTINGS": "/nonexistent"},
        check=False,
    )


def write_noise(path: Path, seconds: float = 0.6, rate: int = 44_100) -> Path:
    noise = np.random.RandomState(len(path.name)).randn(int(seconds * rate), 2) * 0.1
    soundfile.write(path, noise, rate)
    return path


def test_files_become_codes_without_an_engine_and_sound_again_with_one(studio: Path, engine: Process) -> None:
    folder = studio / "cli-codec"
    (folder / "out").mkdir(parents=True)
    write_noise(folder / "one.wav")
    write_noise(folder / "two.flac", 0.3)
    (folder / "broken.wav").write_bytes(b"RIFF")
    model = ("--model", str(untrained_pocket()), "--own")
    done = run("encode", folder / "*.wav", folder / "two.flac", "-o", folder / "out", "--json", *model)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1, "one of the files is none"
    assert [line.get("error", line.get("reason")) for line in told] == ["not_audio", "done", "done"]
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["one.codes", "two.codes"]
    running = ("--set", f"bridge.engine=tcp://127.0.0.1:{engine.ports['port']}")
    back = run("decode", folder / "out" / "one.codes", folder / "again.flac", *running)
    assert (back.returncode, back.stderr) == (0, "")
    assert back.stdout.startswith(f"{folder / 'again.flac'}: 0.6 s, {untrained_pocket().name}, ")
    assert soundfile.info(folder / "again.flac").frames == round(int(0.6 * 44_100) * 32_000 / 44_100)


def test_what_files_hold_is_told_without_torch(tmp_path: Path, engine: Process) -> None:
    with EngineLine(f"tcp://127.0.0.1:{engine.ports['port']}", away=True) as line:
        write_noise(tmp_path / "a.wav")
        line.do(Encode(path=str(tmp_path / "a.wav"), out=str(tmp_path / "a.codes")), lambda done, total: None)
    (tmp_path / "cut.codes").write_bytes((tmp_path / "a.codes").read_bytes()[:-20])
    code = (
        "import sys\nfrom daw_bridge.cli.codec import codec\n"
        f"sys.argv = ['codec', 'info', {str(tmp_path / 'a.codes')!r}]\n"
        "try:\n    codec()\nfinally:\n    assert 'torch' not in sys.modules"
    )
    without = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (without.returncode, without.stderr) == (0, "")
    assert without.stdout.startswith(f"{tmp_path / 'a.codes'}: 0.6 s of 32000 Hz, 1 channel(s)")
    cut = run("info", tmp_path / "cut.codes", "--json")
    assert (cut.returncode, "ends too early" in json.loads(cut.stdout)["damage"]) == (1, True)


def test_files_of_an_engine_elsewhere_go_there_and_come_back(tmp_path: Path, engine: Process) -> None:
    """The engine may not read this folder: what it codes was sent to it."""
    write_noise(tmp_path / "mine.wav")
    heard = []
    with EngineLine(f"tcp://127.0.0.1:{engine.ports['port']}", away=True) as line:
        request = Encode(path=str(tmp_path / "mine.wav"), out=str(tmp_path / "mine.codes"))
        done = line.do(request, lambda done, total: heard.append(total))
        assert (done.path, facts_of(tmp_path / "mine.codes").damage) == (str(tmp_path / "mine.codes"), "")
        assert heard
        with pytest.raises(RequestError, match="not_allowed: out"):
            line.do(request, lambda done, total: None)
        back = Decode(path=str(tmp_path / "mine.codes"), out=str(tmp_path / "back.wav"))
        assert line.do(back, lambda done, total: None).seconds == done.seconds
        assert soundfile.info(tmp_path / "back.wav").samplerate == 32_000
    endpoint = f"tcp://127.0.0.1:{engine.ports['port']}"
    with EngineLine(endpoint, away=False) as line, pytest.raises(RequestError, match="a file inside"):
        line.do(request, lambda done, total: None)


def test_an_engine_is_away_by_its_address() -> None:
    assert [
        is_away(f"tcp://{host}:7770") for host in ("127.0.0.1", "localhost", "[::1]", "studio.local", "10.0.0.7")
    ] == [
        False,
        False,
        False,
        True,
        True,
    ]


def test_what_is_written_follows_from_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("a.wav", "b.wav", "a.flac"):
        (tmp_path / name).write_bytes(b"")

    def jobs(*files: str, out: str | None = None) -> list[tuple[str, str]]:
        made = _jobs(files, None if out is None else Path(out), CODED, ".codes")
        return [(read.name, str(target.relative_to(tmp_path))) for read, target in made]

    assert jobs("a.wav") == [("a.wav", "a.codes")]
    assert jobs("a.wav", "x.ecdc") == [("a.wav", "x.ecdc")]
    assert jobs("?.wav") == [("a.wav", "a.codes"), ("b.wav", "b.codes")]
    assert jobs("*.wav", out="folder") == [("a.wav", "folder/a.codes"), ("b.wav", "folder/b.codes")]
    for files, out, message in (
        (("a.wav", "b.wav", "x.codes"), None, "existing folder"),
        (("a.wav", "a.flac"), None, "under one name"),
        (("nothing*.wav",), None, "nothing is called"),
        (("x.codes",), None, "read and written"),
    ):
        with pytest.raises(CannotStart, match=message):
            jobs(*files, out=out)
