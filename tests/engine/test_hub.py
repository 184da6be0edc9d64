"""Models from a hub, as users get them: by the command line, from a real server that breaks off, lies, and asks for a login."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engine.checkpoints import fetching, hub, load_model
from engine.checkpoints.fetching import PART_SUFFIX
from engine.library.__main__ import main as library
from protocols.errors import ErrorCode, RequestError
from tests.support.hub_server import HubServer, hub_server
from tests.support.processes import wait_until
from tests.support.tiny_checkpoints import write_tiny_checkpoint

SMALL, MELODY, AUDIOGEN = "facebook/musicgen-small", "facebook/musicgen-melody", "facebook/audiogen-medium"
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def server(tiny: Path) -> Iterator[HubServer]:
    with hub_server() as server:
        server.folders[SMALL] = server.folders[MELODY] = tiny
        server.licences[SMALL] = server.licences[MELODY] = "cc-by-nc-4.0"
        yield server


class Shell:
    """What ``daw-bridge models`` runs, for a user with a home of his own."""

    def __init__(self, home: Path, server: HubServer, capture: pytest.CaptureFixture[str]) -> None:
        self.cache = home / "huggingface" / "hub"
        self._environment = {**os.environ, **server.environment(home)}
        self._environment.pop("HF_TOKEN", None)
        self._capture = capture

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """By the command line, in a process of its own."""
        program = "from daw_bridge.cli import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", program, "models", *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Here: exit code, output and errors."""
        self._capture.readouterr()
        code = library(arguments)
        return code, *self._capture.readouterr()

    def models(self, *arguments: str) -> dict[str, dict[str, object]]:
        return {row["name"]: row for row in json.loads(self.run("list", *arguments)[1])}


@pytest.fixture
def shell(
    tmp_path: Path, server: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    from huggingface_hub import constants

    for name, value in server.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    shell = Shell(tmp_path, server, capsys)
    # The hub's client has read its environment by now.
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(shell.cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(fetching, "_WAITS_S", (0.0, 0.0))
    return shell


def test_a_licence_is_accepted_once_and_the_model_is_there_for_good(
    shell: Shell, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, error = shell.run("download", "musicgen-small")
    assert (code, out) == (1, "")
    assert "CC-BY-NC-4.0" in error
    assert "--accept-licence" in error
    assert not server.downloads()

    server.cut_after = [100_000, 30_000]  # the connection breaks twice; each piece is kept
    code, out, error = shell.run("download", "musicgen-small", "--accept-licence")
    assert code == 0, error
    folder = Path(out.splitlines()[-1])
    assert (folder / WEIGHTS).read_bytes() == (server.folders[SMALL] / WEIGHTS).read_bytes()
    assert [span for _, span in server.downloads()] == ["", "bytes=100000-", "bytes=130000-"]
    assert server.tokens_at_storage == 0

    # Another model under the same licence is not asked about again, and nothing is fetched twice.
    before = len(server.downloads())
    assert shell.run("download", "musicgen-melody")[0] == 0
    assert shell.run("download", "musicgen-small")[0] == 0
    assert {path for path, _ in server.downloads()[before:]} == {f"/storage/{MELODY}/{WEIGHTS}"}
    rows = shell.models()
    assert rows["musicgen-small"]["downloaded"]
    assert not rows["musicgen-medium"]["downloaded"]
    assert rows["musicgen-small"]["disk_mb"] == pytest.approx(
        sum(f.stat().st_size for f in folder.iterdir()) / 2**20, abs=0.2
    )

    # Without the hub all of it goes on.
    server.folders.clear()
    assert shell.run("path", "musicgen-small")[:2] == (0, f"{folder}\n")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert shell.run("download", "musicgen-small")[:2] == (0, f"{folder}\n")
    code, _, error = shell.run("download", "musicgen-large")
    assert code == 1
    assert "not_downloaded" in error
    assert load_model("musicgen-small", device="cpu").name == "musicgen-small"


def test_a_download_that_was_killed_goes_on_where_it_was(shell: Shell, server: HubServer) -> None:
    server.hold_after = 150_000
    process = shell.start("download", "musicgen-small", "--accept-licence")
    parts = lambda: [p for p in shell.cache.rglob(f"*{PART_SUFFIX}") if p.stat().st_size]  # noqa: E731
    wait_until(parts, 30, "the first bytes are on the disk")
    process.kill()
    process.communicate(timeout=30)
    begun = parts()[0].stat().st_size
    server.release()
    row = shell.models()["musicgen-small"]
    assert not row["downloaded"]
    assert row["disk_mb"]
    process = shell.start("download", "musicgen-small")
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert [span for _, span in server.downloads()] == ["", f"bytes={begun}-"]
    assert (Path(out.strip()) / WEIGHTS).read_bytes() == (server.folders[SMALL] / WEIGHTS).read_bytes()
    assert not parts()


def test_damage_is_found_named_and_mended(shell: Shell, server: HubServer) -> None:
    server.damaged = {WEIGHTS}
    code, _, error = shell.run("download", "musicgen-small", "--accept-licence")
    assert code == 1
    assert f"malformed: model = {SMALL} (allowed: {WEIGHTS}" in error
    assert not list(shell.cache.rglob(f"*{PART_SUFFIX}"))
    server.damaged.clear()
    assert shell.run("download", "musicgen-small")[0] == 0
    assert shell.run("verify", "musicgen-small")[0] == 0

    folder = Path(shell.run("path", "musicgen-small")[1].strip())
    for name in (WEIGHTS, "config.json"):
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
    (folder / "tokenizer.json").unlink()
    code, out, error = shell.run("verify", "musicgen-small")
    assert code == 1
    verdicts = {name: verdict for verdict, name in (line.split(maxsplit=1) for line in out.splitlines())}
    assert verdicts[f"{SMALL}/{WEIGHTS}"] == verdicts[f"{SMALL}/config.json"] == "wrong"
    assert verdicts[f"{SMALL}/tokenizer.json"] == "missing"
    assert set(verdicts.values()) == {"ok", "wrong", "missing"}
    assert "--repair" in error
    assert shell.run("verify", "musicgen-small", "--repair")[0] == 0
    assert shell.run("verify", "musicgen-small")[0] == 0


def test_what_a_checkpoint_points_to_comes_along_and_stays_when_others_need_it(
    shell: Shell, server: HubServer, tiny: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "audiogen"
    folder.mkdir()
    config = "conditioners:\n  description:\n    model: t5\n    t5:\n      name: t5-large\n"
    torch.save({"best_state": {"w": torch.zeros(3000)}, "xp.cfg": config}, folder / "state_dict.bin")
    torch.save({"pretrained": "facebook/encodec_32khz"}, folder / "compression_state_dict.bin")
    (folder / "README.md").write_text("not needed")
    server.folders |= {
        AUDIOGEN: folder,
        "google-t5/t5-large": tiny,
        "facebook/encodec_32khz": tiny,
        "someone/tune": tiny,
    }
    server.licences["someone/tune"] = "mit"
    assert shell.run("download", "someone/tune")[0] == 0, "nobody is asked about a licence that asks for nothing"
    server.moved["t5-large"] = "google-t5/t5-large"
    code, out, error = shell.run("download", "audiogen-medium", "--accept-licence")
    assert code == 0, error
    assert len(out.splitlines()) == 3
    assert not list(shell.cache.rglob("README.md"))
    assert shell.models("--all")["encodec-32khz"]["downloaded"]
    assert shell.models()["audiogen-medium"]["downloaded"]

    code, _, error = shell.run("remove", "audiogen-medium")
    assert code == 1
    assert "--yes" in error
    code, out, error = shell.run("remove", "audiogen-medium", "--yes")
    assert code == 0
    assert out.endswith("freed\n")
    assert "daw-bridge models remove t5-large" in error
    assert not (shell.cache / f"models--{AUDIOGEN.replace('/', '--')}").exists()
    on_disk = json.loads(shell.run("disk", "--json")[1])
    assert {row["name"] for row in on_disk} == {"t5-large", "encodec-32khz", "someone/tune"}
    code, _, error = shell.run("remove", "audiogen-medium", "--yes")
    assert code == 1
    assert "not_downloaded" in error


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("facebook/gated", "hf auth login"),
        ("facebook/nowhere", "unknown_model: model = facebook/nowhere"),
        ("musicgen-tiny", "unknown_model: model = musicgen-tiny"),
        ("someone/a-dataset", "unsupported: model = someone/a-dataset"),
    ],
)
def test_what_cannot_be_had_says_why(shell: Shell, server: HubServer, tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "data.csv").write_text("1,2")
    server.folders |= {"facebook/gated": tmp_path / "other", "someone/a-dataset": tmp_path / "other"}
    server.gated = {"facebook/gated"}
    code, out, error = shell.run("download", name)
    assert (code, out) == (1, "")
    assert said in error


def test_loading_downloads_what_was_agreed_to_and_nothing_else(shell: Shell, server: HubServer) -> None:
    with pytest.raises(RequestError) as error:
        load_model("musicgen-small", device="cpu")
    assert error.value.code == ErrorCode.NOT_DOWNLOADED
    assert "daw-bridge models download musicgen-small" in error.value.text
    assert "2.4 GB, CC-BY-NC-4.0" in error.value.text
    assert not server.asked
    assert shell.run("download", "musicgen-melody", "--accept-licence")[0] == 0
    assert load_model("musicgen-small", device="cpu").name == "musicgen-small"


def make_snapshot(cache: Path, hub_id: str, source: Path, names: list[str]) -> Path:
    """A download as other programs leave it: without a list of what the repository has."""
    repository = hub.repository_folder(cache, hub_id)
    folder = repository / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    for name in names:
        shutil.copy(source / name, folder / name)
    return folder


def test_downloads_of_other_programs_count(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, other = tmp_path / "hub", tmp_path / "audiocraft"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("AUDIOCRAFT_CACHE_DIR", str(other))
    assert hub.located(SMALL) is None
    names = [path.name for path in tiny.iterdir()]
    folder = make_snapshot(cache, SMALL, tiny, names)
    assert hub.located(SMALL) == folder
    (folder / WEIGHTS).unlink()
    assert hub.located(SMALL) is None
    old = make_snapshot(other, "t5-base", tiny, names)
    assert hub.located("google-t5/t5-base") == hub.located("t5-base") == old


def test_which_files_make_a_model() -> None:
    both = [
        "config.json",
        "model.safetensors",
        "pytorch_model.bin",
        "state_dict.bin",
        "compression_state_dict.bin",
        "x.md",
    ]
    assert hub.choose_files(both) == ["config.json", "model.safetensors"]
    assert hub.choose_files(["config.json", "pytorch_model.bin"]) == ["config.json", "pytorch_model.bin"]
    assert hub.choose_files(both[3:]) == ["compression_state_dict.bin", "state_dict.bin"]
    assert hub.choose_files(["README.md", "data.csv"]) == []
