"""What is taken away from a mix before a melody is read from it: drums and bass.

Either by Demucs, as AudioCraft does it for MusicGen-melody, where that and its weights are installed; or by a filter that needs
nothing: what lasts is kept and what is sudden is not, by median filters along time and frequency (Fitzgerald, "Harmonic/percussive
separation using median filtering", 2010), and the bass is cut.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from torch import Tensor

from protocols.errors import ErrorCode, RequestError
from protocols.message_parts import SeparationName

DEMUCS = "htdemucs"
DEMUCS_REPOSITORY = "adefossez/HTDemucs"
"""Where its weights are on the Hugging Face hub; only what is in the hub's cache already is used."""

_LEFT_OUT = ("drums", "bass")
_BUT_DRUMS = ("bass", "other", "vocals")
_WINDOW_SECONDS = 0.128
_OVERLAP = 4  # hops in a window
_LASTING_SECONDS = 0.2
_SUDDEN_HZ = 80.0
_BASS_HZ = 220.0
_BLOCK_FRAMES = 1024
_MARGIN_FRAMES = 16
_TINY = 1e-12


def separate(sound: Tensor, sample_rate: int, method: SeparationName) -> tuple[Tensor, str]:
    """Take drums and bass away.

    Args:
        sound: float32 ``[samples]``, finite.
        sample_rate: in Hz.
        method: "auto" is "demucs" where that is installed with its weights, else "harmonic"; "none" leaves all as it is.

    Returns:
        What is left ``[samples]``, and how that was done, in words.

    Raises:
        RequestError: about ``separation``, UNSUPPORTED: "demucs" without Demucs or without its weights.
    """
    if method == "none":
        return sound, "read from the mix as it is"
    if method == "demucs" or (method == "auto" and _demucs_weights() is not None):
        return keep_stems(sound, sample_rate, load_demucs()), "read without drums and bass, separated by Demucs"
    return keep_harmonic(sound, sample_rate), "read without drums and bass, by a harmonic filter"


@torch.inference_mode()
def keep_harmonic(sound: Tensor, sample_rate: int) -> Tensor:
    """What lasts in a sound ``[samples]`` and is no bass.

    It is done block by block, so that an hour needs no more memory than half a minute.
    """
    hop = max(1, round(_WINDOW_SECONDS * sample_rate / _OVERLAP))
    block, margin = _BLOCK_FRAMES * hop, _MARGIN_FRAMES * hop
    parts = []
    for start in range(0, len(sound), block):
        first = max(0, start - margin)
        part = _filtered(sound[first : start + block + margin], hop, sample_rate)
        parts.append(part[start - first : start - first + block])
    return torch.cat(parts)


def _filtered(sound: Tensor, hop: int, sample_rate: int) -> Tensor:
    from scipy.ndimage import median_filter  # a quarter of a second that no start should wait for

    size = _OVERLAP * hop
    window = torch.hann_window(size, dtype=torch.float32)
    padded = torch.nn.functional.pad(sound, (size, size))
    spectrum = torch.stft(padded, size, hop, window=window, center=True, pad_mode="constant", return_complex=True)
    magnitude = spectrum.abs().numpy()
    lasting = np.square(median_filter(magnitude, (1, round(_LASTING_SECONDS * sample_rate / hop) | 1)))
    sudden = np.square(median_filter(magnitude, (round(_SUDDEN_HZ * size / sample_rate) | 1, 1)))
    hertz = np.arange(len(magnitude)) * (sample_rate / size)
    treble = np.square(hertz) / np.sqrt(np.power(hertz, 4) + _BASS_HZ**4)  # Butterworth's, 12 dB per octave
    gains = treble[:, None] * lasting / (lasting + sudden + _TINY)
    left = torch.istft(spectrum * torch.from_numpy(gains).float(), size, hop, window=window, length=len(padded))
    return left[size : size + len(sound)]


def keep_drums(sound: Tensor, sample_rate: int) -> tuple[Tensor, str]:
    """The drums of a sound, where Demucs is installed with its weights; else all of it.

    Args:
        sound: float32 ``[channels, samples]``, finite.
        sample_rate: in Hz.

    Returns:
        What is left, of the same shape, and how that was done, in words.
    """
    if _demucs_weights() is None:
        return sound, "the drums are taken as they are, for want of Demucs"
    model = load_demucs()
    kept = [keep_stems(channel, sample_rate, model, left_out=_BUT_DRUMS) for channel in sound]
    return torch.stack(kept), "the drums are separated by Demucs"


@torch.inference_mode()
def keep_stems(sound: Tensor, sample_rate: int, model: Any, left_out: tuple[str, ...] = _LEFT_OUT) -> Tensor:
    """What Demucs hears of a sound ``[samples]`` besides drums and bass.

    Args:
        sound: float32, mono.
        sample_rate: in Hz.
        model: a model, or a bag of them, of the package ``demucs``.
        left_out: the stems that are not wanted.
    """
    apply = importlib.import_module("demucs.apply")
    rate, channels = int(model.samplerate), int(model.audio_channels)
    there = torch.from_numpy(soxr.resample(sound.numpy(), sample_rate, rate, quality="HQ"))
    level = there.std() + 1e-8  # Demucs was trained on mixes of one level
    mix = ((there - there.mean()) / level).expand(1, channels, -1)
    # A shift would be drawn at random, and the same region read differently.
    stems = apply.apply_model(model, mix, shifts=0, split=True, device="cpu", progress=False)[0]
    kept = [index for index, name in enumerate(model.sources) if name not in left_out]
    left = (stems[kept].sum(dim=0).mean(dim=0) * level).numpy()
    back = torch.from_numpy(soxr.resample(left, rate, sample_rate, quality="HQ"))
    return torch.nn.functional.pad(back, (0, max(0, len(sound) - len(back))))[: len(sound)]


@cache
def load_demucs() -> Any:
    """The model that AudioCraft separates with, from the Hugging Face hub's cache.

    Raises:
        RequestError: about ``separation``, UNSUPPORTED.
    """
    if importlib.util.find_spec("demucs") is None:
        raise RequestError(ErrorCode.UNSUPPORTED, "separation", "demucs", "pip install 'daw-bridge[demucs]'")
    weights = _demucs_weights()
    if weights is None:
        allowed = f"its weights, fetched once: hf download {DEMUCS_REPOSITORY}"
        raise RequestError(ErrorCode.UNSUPPORTED, "separation", "demucs", allowed)
    bag, models = weights
    read = importlib.import_module("demucs.hf").load_safetensors_model
    made = importlib.import_module("demucs.apply").BagOfModels(
        [read(path) for path in models], bag.get("weights"), bag.get("segment")
    )
    return made.eval()


def _demucs_weights() -> tuple[dict[str, Any], list[Path]] | None:
    """What the bag of models is, and where its weights lie; None when not all of it is on this machine."""
    if importlib.util.find_spec("demucs") is None:
        return None
    description = _cached_file(f"{DEMUCS}.yaml")
    if description is None:
        return None
    bag = importlib.import_module("yaml").safe_load(description.read_text(encoding="utf-8"))
    models = [_cached_file(f"{name}.safetensors") for name in bag["models"]]
    found = [path for path in models if path is not None]
    return (bag, found) if len(found) == len(models) else None


def _cached_file(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(DEMUCS_REPOSITORY, name)
    return Path(found) if isinstance(found, str) else None
