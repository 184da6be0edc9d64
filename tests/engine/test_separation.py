"""Drums and bass taken out of a mix: by the filter that is always there, and by Demucs where that is installed."""

from __future__ import annotations

import importlib.util
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.conditioning import separation
from engine.conditioning.separation import keep_harmonic, separate
from protocols.errors import ErrorCode, RequestError

RATE = 32_000
HAS_DEMUCS = importlib.util.find_spec("demucs") is not None
needs_demucs = pytest.mark.skipif(not HAS_DEMUCS, reason="demucs is an extra")


def tone(hertz: float, seconds: float = 2.0) -> Tensor:
    return 0.2 * torch.sin(2 * np.pi * hertz * torch.arange(round(seconds * RATE)) / RATE)


def clicks(seconds: float = 2.0) -> Tensor:
    """Short noise four times a second."""
    generator = torch.Generator().manual_seed(1)
    sound = torch.zeros(round(seconds * RATE))
    for start in range(0, len(sound), RATE // 4):
        sound[start : start + 600] = 0.3 * torch.randn(600, generator=generator)
    return sound


def kept(sound: Tensor) -> float:
    """How much of a sound is left, in dB."""
    middle = slice(RATE // 4, -RATE // 4)
    left = keep_harmonic(sound, RATE)
    assert len(left) == len(sound)
    return 20 * float(torch.log10(left[middle].norm() / sound[middle].norm()))


def test_what_lasts_is_kept_and_drums_and_bass_are_not() -> None:
    assert kept(tone(880)) > -1
    assert kept(clicks()) < -8
    assert kept(tone(55)) < -20
    mixed = keep_harmonic(tone(880) + clicks() + tone(55), RATE)
    lasting, rest = tone(880), mixed - tone(880)
    middle = slice(RATE // 4, -RATE // 4)
    assert rest[middle].norm() < 0.5 * lasting[middle].norm()


@pytest.mark.parametrize("samples", [1, 100, 3201, RATE])
def test_any_length_stays_what_it_is(samples: int) -> None:
    assert len(keep_harmonic(torch.rand(samples), RATE)) == samples


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = tone(523.25, 6) + clicks(6)
    whole = keep_harmonic(sound, RATE)
    monkeypatch.setattr(separation, "_BLOCK_FRAMES", 37)
    assert torch.allclose(keep_harmonic(sound, RATE), whole, atol=1e-5)


def test_none_leaves_the_sound_as_it_is() -> None:
    sound = clicks()
    left, how = separate(sound, RATE, "none")
    assert left is sound
    assert how == "read from the mix as it is"


def test_without_demucs_auto_is_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    separation.load_demucs.cache_clear()
    left, how = separate(clicks(), RATE, "auto")
    assert torch.equal(left, keep_harmonic(clicks(), RATE))
    assert how.endswith("by a harmonic filter")
    with pytest.raises(RequestError) as caught:
        separate(clicks(), RATE, "demucs")
    assert (caught.value.code, caught.value.field) == (ErrorCode.UNSUPPORTED, "separation")
    assert caught.value.allowed == "pip install 'daw-bridge[demucs]'"


@needs_demucs
def test_demucs_without_weights_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    separation.load_demucs.cache_clear()
    assert separate(clicks(), RATE, "auto")[1].endswith("by a harmonic filter")
    with pytest.raises(RequestError) as caught:
        separate(clicks(), RATE, "demucs")
    assert (caught.value.code, caught.value.field) == (ErrorCode.UNSUPPORTED, "separation")
    assert "hf download" in caught.value.allowed


@needs_demucs
def test_demucs_is_taken_where_its_weights_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny network of random weights in the hub's cache, in the files that the real one has."""
    from demucs.htdemucs import HTDemucs

    torch.manual_seed(1)
    asked = {"sources": ["drums", "bass", "other", "vocals"], "channels": 8, "t_layers": 1, "t_heads": 2}
    segment = Fraction(2)
    network = HTDemucs(**asked, segment=segment, bottom_channels=16, samplerate=44_100).eval()
    write_cache(tmp_path, network, {**asked, "bottom_channels": 16, "samplerate": 44_100}, segment)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    separation.load_demucs.cache_clear()
    sound = tone(880, 1.5) + clicks(1.5)
    left, how = separate(sound, RATE, "auto")
    assert how.endswith("separated by Demucs")
    assert left.shape == sound.shape
    assert torch.isfinite(left).all()
    assert torch.equal(left, separate(sound, RATE, "demucs")[0]), "the same every time"
    assert not torch.allclose(left, sound, atol=1e-3)
    separation.load_demucs.cache_clear()


def write_cache(folder: Path, network: object, asked: dict[str, object], segment: Fraction) -> None:
    snapshot = folder / "models--adefossez--HTDemucs" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("1")
    (snapshot / "htdemucs.yaml").write_text("models: ['tiny']\n")
    exact = {"_type": "fraction", "numerator": segment.numerator, "denominator": segment.denominator}
    state = {name: value.contiguous() for name, value in network.state_dict().items()}  # type: ignore[attr-defined]
    save_file(
        state,
        snapshot / "tiny.safetensors",
        metadata={
            "klass": "demucs.htdemucs.HTDemucs",
            "args": "[]",
            "kwargs": json.dumps({**asked, "segment": exact}),
        },
    )
