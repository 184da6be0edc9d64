"""The page to listen to, made by a tiny model."""

from __future__ import annotations

import importlib.util
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.checkpoints import ModelBundle
from engine.conditioning.words import key_in, tempo_in
from engine.evaluation import page
from engine.evaluation.material import read_held_out
from engine.evaluation.ogg import with_serial, write_ogg
from engine.evaluation.pictures import check_matplotlib
from engine.training.display import Display
from protocols.errors import RequestError


def test_the_same_sound_is_the_same_file_and_can_be_read(tmp_path: Path) -> None:
    sound = (0.3 * np.sin(2 * np.pi * 440 * np.arange(64_000) / 32_000)).astype(np.float32)
    for name in ("one", "two"):
        write_ogg(tmp_path / f"{name}.ogg", sound, 32_000)
    assert (tmp_path / "one.ogg").read_bytes() == (tmp_path / "two.ogg").read_bytes()
    read, rate = soundfile.read(tmp_path / "one.ogg", dtype="float32")
    assert (len(read), rate) == (64_000, 32_000)
    assert np.sqrt(np.mean((read - sound) ** 2)) < 0.03


def test_what_is_no_ogg_file_gets_no_serial() -> None:
    with pytest.raises(ValueError, match="byte 0"):
        with_serial(b"RIFF" + bytes(60), 1)


def test_every_prompt_of_the_page_says_tempo_and_key() -> None:
    assert len(set(page.PROMPTS)) == 12
    for prompt in page.PROMPTS:
        assert tempo_in(prompt) is not None, prompt
        assert key_in(prompt) is not None, prompt


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"daw-bridge\[train\]"):
        check_matplotlib()


def test_a_page_has_its_files_and_comes_out_the_same_again(
    bundle: ModelBundle, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    pieces = read_held_out(shards, 5, Fraction(3))
    monkeypatch.setattr(page, "render_held_out", lambda *_, **__: pieces)
    monkeypatch.setattr(page, "PROMPTS", page.PROMPTS[:1])
    monkeypatch.setattr(page, "MELODIES", 1)
    monkeypatch.setattr(page, "CONTINUATIONS", 1)
    for name in ("first", "again"):
        size = page.write_page(bundle, tmp_path / name, Fraction(3), 0, Display(), command="the command")
    files = {path.name: path.read_bytes() for path in (tmp_path / "first").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == files
    assert size == sum(map(len, files.values()))

    text = files["index.md"].decode()
    linked = set(re.findall(r"\]\(([^)]+)\)", text))
    assert linked == set(files) - {"index.md"}
    assert {"prompt-01.ogg", "melody-1-real.ogg", "continuation-1.png"} <= linked
    assert "a preview" in text
    assert "`the command`" in text
    seam = float(re.findall(r"seam at ([\d.]+) s", text)[0])
    made, rate = soundfile.read(tmp_path / "first" / "continuation-1.ogg")
    assert len(made) / rate == pytest.approx(seam + 3, abs=0.02)
