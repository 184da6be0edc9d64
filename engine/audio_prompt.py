"""The audio that a stream goes on from: how much of it the model hears, as codes, and what had to be done to it, in words."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.checkpoints.bundle import ModelBundle
from engine.conditioning.score import BeatGrid
from engine.runtime.decoders import CODEC_CONTEXT_FRAMES

DECODE_CONTEXT_FRAMES = CODEC_CONTEXT_FRAMES
"""How many frames of an audio prompt the decoder hears before the first new sample (2 s): its memory is no longer than that."""
_SILENT = 1e-4
"""Peak below which audio is silence (-80 dBFS)."""


def encode_prompt(
    audio: NDArray[np.float32], most: int, grid: BeatGrid | None, bundle: ModelBundle
) -> tuple[Tensor, str]:
    """The codes of a prompt ``[codebooks, frames]``, no more than the model can hear, and a note where that is not all of it.

    Args:
        audio: ``[channels, samples]`` at the model's rate, one sample or more.
        most: frames that the model's window has before the new material.
        grid: of beats and bars, where the tempo is known; a bar line is taken to be where the audio ends.
        bundle: the model.
    """
    codes = bundle.codec.encode(torch.from_numpy(_whole_frames(audio, most, bundle.hop_length)).to(bundle.device))
    notes = []
    if float(np.max(np.abs(audio))) < _SILENT:
        notes.append("the audio prompt is silent")
    if audio.shape[-1] < bundle.hop_length:
        frame = float(1 / bundle.frame_rate)
        notes.append(f"the audio prompt is shorter than a frame ({frame:g} s): silence goes before it")
    if codes.shape[-1] > most:
        bars, frames = whole_bars(grid, most, bundle.frame_rate)
        length = f"{float(frames / bundle.frame_rate):.4g} s"
        if bars:
            length = f"{bars} bars ({length})" if bars > 1 else f"bar ({length})"
        codes = codes[:, -frames:]
        notes.append(f"the model hears the last {length} of the audio prompt")
    return codes, "; ".join(notes)


def cut_codes(codes: NDArray[np.int64], most: int, frame_rate: Fraction) -> tuple[Tensor, str]:
    """Codes that were sent, no more than the model can hear, and a note where that is not all of them.

    They are never cut at a bar line: a take's own codes have been cut already, and make the same take again.
    """
    if codes.shape[-1] <= most:
        return torch.from_numpy(codes), ""
    seconds = float(most / frame_rate)
    return torch.from_numpy(codes[:, -most:]), f"the model hears the last {seconds:g} s of the audio prompt"


def whole_bars(grid: BeatGrid | None, most: int, frame_rate: Fraction) -> tuple[int, int]:
    """The most whole bars that end where the prompt ends and fit into ``most`` frames, and the frames that hold them.

    The first of these frames is the one in which the first bar begins, so that nothing of its first note is lost. Where no bar
    fits, or no tempo is known: no bars, and ``most`` frames.
    """
    if grid is None:
        return 0, most
    bar = grid.beats_per_bar * 60 / grid.bpm * frame_rate
    bars = int(most // bar)
    return (bars, math.ceil(bars * bar)) if bars else (0, most)


def _whole_frames(audio: NDArray[np.float32], most: int, hop: int) -> NDArray[np.float32]:
    """The end of the sound, cut or padded where it begins, so that its last frame is full and the seam is not silence.

    Only as much as the model can hear is encoded, and a little more, so that it knows what came before.
    """
    if audio.shape[-1] < hop:
        return np.pad(audio, ((0, 0), (hop - audio.shape[-1], 0)))
    frames = min(audio.shape[-1] // hop, most + DECODE_CONTEXT_FRAMES)
    return np.ascontiguousarray(audio[:, -frames * hop :])
