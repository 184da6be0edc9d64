"""What every source of weights hands over: one model, ready to run, with everything a stream needs to know about it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from protocols.messages import ModelStatus

if TYPE_CHECKING:
    import torch

    from engine.conditioning.melody import MelodyFacts
    from engine.conditioning.text import TextConditioner
    from engine.runtime.codec import Codec
    from engine.runtime.lm import MusicgenLM

WINDOW_SECONDS = 30
"""What the MusicGen models were trained on, where a checkpoint does not say otherwise."""
STRIDE_SECONDS = 18
"""AudioCraft's ``extend_stride`` for a window of 30 s."""

_SAMPLES_PER_FILE = 64
_SAMPLE_BYTES = 1 << 16


@dataclass(frozen=True)
class ModelBundle:
    """A model and its facts. Made by `engine.checkpoints.load_model`.

    Attributes:
        name: as the user asked for it; for a folder, the folder's name.
        status: "trained"; "preview": makes music, but below the marks set for it; "untrained": random weights.
        fingerprint: hexadecimal; equal for equal checkpoints, whatever folder they are in. See `fingerprint_of`.
        lm: packed for its device, in ``dtype``.
        codec: its codec, ready to encode and to stream.
        text: the text encoder, in single precision.
        score: whether the LM hears a score; see `engine.conditioning.score`.
        melody: what the LM expects of a melody that it hears before the codes; None: it hears none.
        sample_rate: Hz.
        channels: 1 or 2.
        num_codebooks: per frame; for stereo left and right interleaved.
        card: entries per codebook.
        delays: per codebook, in frames.
        frame_rate: codec frames per second, exactly.
        hop_length: samples per frame.
        window_frames: the most frames the LM hears at once.
        stride_frames: by how much the window moves when a stream is longer.
        device: where it all runs.
        dtype: the LM's precision.
        parameters: of the LM, the codec and the text encoder together.
    """

    name: str
    status: ModelStatus
    fingerprint: str
    lm: MusicgenLM
    codec: Codec
    text: TextConditioner
    score: bool
    melody: MelodyFacts | None
    sample_rate: int
    channels: int
    num_codebooks: int
    card: int
    delays: tuple[int, ...]
    frame_rate: Fraction
    hop_length: int
    window_frames: int
    stride_frames: int
    device: torch.device
    dtype: torch.dtype
    parameters: int


def fingerprint_of(files: list[Path]) -> str:
    """Name a checkpoint by its content: SHA-256 over every file's name, size and evenly spread samples of its bytes.

    Files up to 4 MiB are read whole. Of a larger one 64 pieces of 64 KiB are read, so that gigabytes cost milliseconds; any
    training step changes nearly every weight, hence these too.
    """
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.name):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _SAMPLES_PER_FILE * _SAMPLE_BYTES:
                digest.update(file.read())
                continue
            for piece in range(_SAMPLES_PER_FILE):
                file.seek((size - _SAMPLE_BYTES) * piece // (_SAMPLES_PER_FILE - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def window_in_frames(
    frame_rate: Fraction, longest: int, window_seconds: Fraction, stride_seconds: Fraction
) -> tuple[int, int]:
    """The window and its stride in frames, no longer than the ``longest`` window the LM has positions for.

    A window that had to be shortened keeps the ratio of its stride.
    """
    window = int(window_seconds * frame_rate)
    stride = int(stride_seconds * frame_rate)
    if window > longest:
        window, stride = longest, longest * stride // window
    return window, min(max(stride, 1), window - 1)
