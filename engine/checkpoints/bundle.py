"""What every source of weights hands over: one model, ready to run, with everything a stream needs to know about it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from protocols.message_parts import ModelKind, Resampling
from protocols.messages import ModelStatus

if TYPE_CHECKING:
    import torch

    from engine.conditioning.melody import MelodyFacts
    from engine.conditioning.style import StyleConditioner
    from engine.conditioning.text import TextEncoder
    from engine.runtime.audio_codec import AudioCodec
    from engine.runtime.lm import MusicgenLM
    from engine.runtime.magnet import MagnetConfig
    from engine.runtime.patterns import CodebookPattern
    from engine.runtime.quantised import Form

WINDOW_SECONDS = 30
"""What the MusicGen models were trained on, where a checkpoint does not say otherwise."""
STRIDE_SECONDS = 18
"""AudioCraft's ``extend_stride`` for a window of 30 s."""

_SAMPLES_PER_FILE = 64
_SAMPLE_BYTES = 1 << 16


@dataclass(frozen=True)
class UsualSampling:
    """How a model is sampled by those who made it, where nothing is asked for. MusicGen's, unless said otherwise.

    Attributes:
        seconds: of sound.
        guidance: see `engine.runtime.sampling.SamplingSettings`, as of all that follow.
        temperature: as above.
        top_k: as above.
        top_p: as above.
    """

    seconds: float = 15.0
    guidance: float = 3.0
    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 0.0


@dataclass(frozen=True)
class FlowFacts:
    """What the streams of a model that makes latents out of noise (JASCO) need to know of it.

    Attributes:
        latent_mean: of the codec's latents; the model's have a mean of 0.
        latent_std: their standard deviation; the model's is 1.
        blur: how many frames of drums are heard as one.
        chords: how many chords it knows; 0: it hears none.
        drums: whether it hears drums.
        melody_bins: semitones of the melodies that it hears; 0: it hears none.
        text_drops_chords: whether guidance by the words alone leaves out the chords, as training did.
        text_drops_drums: the same of drums.
        text_drops_melody: the same of melodies.
    """

    latent_mean: float
    latent_std: float
    blur: int = 1
    chords: int = 0
    drums: bool = False
    melody_bins: int = 0
    text_drops_chords: bool = True
    text_drops_drums: bool = True
    text_drops_melody: bool = True


@dataclass(frozen=True)
class ModelBundle:
    """A model and its facts. Made by `engine.checkpoints.load_model`.

    Attributes:
        name: as the user asked for it; for a folder, the folder's name.
        status: "trained"; "preview": makes music, but below the marks set for it; "untrained": random weights.
        fingerprint: hexadecimal; equal for equal checkpoints in equal precision, whatever folder they are in. See `fingerprint_of`.
        lm: packed for its device, in ``dtype``. Of another distribution it may be a `CustomLM`, which is sampled in the same way.
        codec: its codec, ready to encode and to stream; its facts are the bundle's.
        text: the text encoder, in single precision.
        score: whether the LM hears a score; see `engine.conditioning.score`.
        melody: what the LM expects of a melody that it hears before the codes; None: it hears none.
        window_frames: the most frames the LM hears at once.
        stride_frames: by how much the window moves when a stream is longer.
        device: where it all runs.
        dtype: the LM's precision.
        parameters: of the LM, the codec and the text encoder together.
        resampling: how sound at other rates is brought to ``sample_rate``: as the model's training material was.
        magnet: how the LM decodes whole segments at once; None: it samples frame by frame.
        style: reads the styles of recordings, which the LM hears before the codes; None: it hears none.
        kind: what it makes: "music" or "sound".
        usual: how AudioCraft samples it where nothing is asked for.
        flow: what it is as a model that makes latents out of noise; its ``lm`` is an `engine.runtime.flow.FlowNetwork`. None: it
            makes codes.
        folder: where its checkpoint lies, if anybody needs to know.
        form: to which the LM's matrices are rounded; None: not at all. See `engine.runtime.quantised`.
        runner: what runs the LM: "plain" for its own modules; else see `engine.checkpoints.running`.
        narrow_caches: whether what streams have heard is kept in eight bits; see `engine.runtime.caches`.
    """

    name: str
    status: ModelStatus
    fingerprint: str
    lm: MusicgenLM
    codec: AudioCodec
    text: TextEncoder
    score: bool
    melody: MelodyFacts | None
    window_frames: int
    stride_frames: int
    device: torch.device
    dtype: torch.dtype
    parameters: int
    resampling: Resampling = "soxr"
    magnet: MagnetConfig | None = None
    style: StyleConditioner | None = None
    kind: ModelKind = "music"
    usual: UsualSampling = field(default_factory=UsualSampling)
    flow: FlowFacts | None = None
    folder: Path | None = None
    form: Form | None = None
    runner: str = "plain"
    narrow_caches: bool = False

    @property
    def sample_rate(self) -> int:
        """The codec's, in Hz."""
        return self.codec.sample_rate

    @property
    def channels(self) -> int:
        """1 or 2."""
        return self.codec.channels

    @property
    def num_codebooks(self) -> int:
        """Codebooks per frame; for stereo left and right interleaved."""
        return self.codec.num_codebooks

    @property
    def card(self) -> int:
        """Entries per codebook."""
        return self.codec.card

    @property
    def frame_rate(self) -> Fraction:
        """Codec frames per second, exactly."""
        return self.codec.frame_rate

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return self.codec.hop_length

    @property
    def precision(self) -> str:
        """What the LM's matrices are kept in: the name of their form or dtype."""
        return self.form or str(self.dtype).removeprefix("torch.")

    @property
    def pattern(self) -> CodebookPattern:
        """How frames are laid out in the LM's steps."""
        return self.lm.pattern

    @property
    def delays(self) -> tuple[int, ...]:
        """Of each codebook, in frames, where the pattern is one of delays; else empty."""
        from engine.runtime.patterns import DelayPattern

        return self.pattern.delays if isinstance(self.pattern, DelayPattern) else ()


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
