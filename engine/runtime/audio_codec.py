"""What an audio codec is to everyone who uses one: its facts, its streams, and what it makes of a whole signal.

`engine.runtime.codec` has the implementations' common part and EnCodec, `engine.runtime.chunked_codec` EnCodec in chunks of a
second (48 kHz), `engine.runtime.dac` the Descript Audio Codec, `engine.runtime.spectral_codec` our own. A decoder of another
kind than the codec's own (a diffusion model, say) is something with a method ``stream`` that gives a `DecoderStream`.

Two ways lead from codes to audio. A language model's codes go through `AudioCodec.stream`: every frame is ``hop_length``
samples, and codes are all there is. A signal that was encoded goes through `AudioCodec.decoder_stream`, or in one piece
through `AudioCodec.decode_whole`: it may carry scales beside its codes, its chunks may overlap, and what comes out has as many
samples as went in.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Encoded:
    """A signal as a codec holds it, or a piece of one.

    Pieces of one signal are joined by joining codes and scales and adding up the samples; see `join`.

    Attributes:
        codes: ``[codebooks, frames]``, int64. Of a codec with `Chunks`, one chunk's frames after the other's.
        samples: how many samples of audio they stand for, per channel. Of a piece: how many were taken in for it.
        scales: float32 ``[n]``, what the decoder's output is multiplied by: one number (with interleaved stereo two: left, right)
            for each chunk that begins in these codes, or for the whole signal in its first piece. None: the codec does not scale.
    """

    codes: Tensor
    samples: int
    scales: Tensor | None = None

    @staticmethod
    def join(pieces: list[Encoded]) -> Encoded:
        """One after the other as a whole; at least one piece."""
        scales = [piece.scales for piece in pieces if piece.scales is not None]
        codes = torch.cat([piece.codes for piece in pieces], 1)
        return Encoded(codes, sum(piece.samples for piece in pieces), torch.cat(scales) if scales else None)


@dataclass(frozen=True, slots=True)
class Chunks:
    """How a codec cuts a signal that it codes in overlapping chunks, each as if it were alone.

    Attributes:
        length: samples of a chunk; the last ones of a signal may be shorter.
        stride: samples from the beginning of one to that of the next.
        hop_length: samples per frame; a chunk's last frame may be partly filled.
    """

    length: int
    stride: int
    hop_length: int

    @property
    def frames(self) -> int:
        """Frames of a full chunk."""
        return -(-self.length // self.hop_length)

    def sizes(self, samples: int) -> list[int]:
        """Samples of each chunk of a signal of so many samples."""
        return [min(self.length, samples - first) for first in range(0, samples, self.stride)]

    def frames_of(self, samples: int) -> list[int]:
        """Frames of each chunk of a signal of so many samples."""
        return [-(-size // self.hop_length) for size in self.sizes(samples)]


class LevelMeter:
    """The level of a signal that comes in blocks of any size: the root of the mean square, with stereo of both channels' mean.

    Args:
        runs: 2 for interleaved stereo, whose channels are coded each for itself, else 1.
    """

    def __init__(self, runs: int = 1) -> None:
        self._sums = torch.zeros(runs, dtype=torch.float64)
        self._samples = 0

    def add(self, audio: Tensor) -> None:
        """Hear ``[channels, n]``."""
        mono = audio.view(len(self._sums), -1, audio.shape[1]).mean(1)
        self._sums += mono.double().square().sum(1).cpu()
        self._samples += audio.shape[1]

    @property
    def scales(self) -> Tensor:
        """float32 ``[runs]``, above zero for silence, too."""
        return (self._sums / max(1, self._samples)).sqrt().float() + 1e-8


class DecoderStream(Protocol):
    """Codes in as they are made, audio out as it is final. Belongs to one thread.

    All outputs together equal the whole-file decode, whatever the chunks were; cost and memory per frame are constant.

    Attributes:
        batch: how many streams run in step.
        frames_done: frames taken so far.
        samples_done: samples given so far, per channel.
        ended: whether `flush` was called.
    """

    batch: int
    frames_done: int
    samples_done: int
    ended: bool

    @property
    def lookahead_samples(self) -> int:
        """How far the audio stays behind the codes once the stream runs, in samples."""

    @property
    def state_bytes(self) -> int:
        """Memory held between two calls."""

    def decode(self, codes: Tensor) -> Tensor:
        """Take ``[codebooks, n]`` (``[batch, codebooks, n]`` for ``batch > 1``), ``n >= 0``; give float32 ``[channels, m]``.

        Raises:
            RequestError: for what are no codes of this codec; the stream stays as it was.
            RuntimeError: after `flush`.
        """

    def flush(self) -> Tensor:
        """End the stream: the audio that was held back, so that all together is ``frames_done * hop_length`` samples."""


class EncoderStream(Protocol):
    """Audio in by any number of samples, codes out as they are final. Belongs to one thread.

    All pieces joined equal `AudioCodec.encode_whole` of the whole signal, bit by bit, whatever the blocks were; cost and
    memory per second are constant.

    Attributes:
        samples_done: samples taken so far, per channel.
        frames_done: frames given so far.
        ended: whether `flush` was called.
    """

    samples_done: int
    frames_done: int
    ended: bool

    @property
    def state_bytes(self) -> int:
        """Memory held between two calls."""

    def encode(self, audio: Tensor) -> Encoded:
        """Take ``[channels, n]`` in -1…1, ``n >= 0``, at the codec's sample rate; give what became final.

        Raises:
            RequestError: as `AudioCodec.encode` does; the stream stays as it was.
            RuntimeError: after `flush`.
        """

    def flush(self) -> Encoded:
        """End the stream: what was held back."""


class EncodedStream(Protocol):
    """An encoded signal in by pieces of any size, its audio out: float32 ``[channels, m]``. Belongs to one thread.

    Attributes:
        samples_done: samples given so far, per channel.
        ended: whether `flush` was called.
    """

    samples_done: int
    ended: bool

    @property
    def state_bytes(self) -> int:
        """Memory held between two calls."""

    def decode(self, piece: Encoded) -> Tensor:
        """Take a piece. A scale comes no later than the last frame of its chunk, or with the signal's first frame.

        Raises:
            RequestError: as `DecoderStream.decode`, and ``out_of_range`` for scales that are missing or too many.
            RuntimeError: after `flush`.
        """

    def flush(self) -> Tensor:
        """End the stream: the rest, cut to the samples that the signal had."""


class StreamSource(Protocol):
    """What makes streams that decode: a codec, or another decoder for its codes."""

    def stream(self, batch: int = 1, frame: int = 0) -> DecoderStream:
        """Begin ``batch`` streams in step with this frame, after which all equals the whole once the memory is over.

        Raises:
            RequestError: ``unsupported`` for a codec whose codes alone do not make the audio frame by frame.
        """


class AudioCodec(StreamSource, Protocol):
    """Audio to codes and back. Immutable after construction: any thread may call any method.

    Attributes:
        sample_rate: in Hz.
        channels: of the audio.
        hop_length: samples per frame and channel.
        frame_rate: frames per second, exact. A codec with `chunks` has a few more of them, because chunks overlap.
        num_codebooks: rows of codes, as a language model counts them: doubled for interleaved stereo.
        card: codes per codebook; a code is 0 to ``card - 1``.
        chunks: how a signal is cut; None: it is not.
        scaled: whether an encoded signal carries scales.
        interleaved: whether it is a mono codec that codes both sides of stereo, whose codebooks alternate: 1L, 1R, 2L, 2R…
        fingerprint: hexadecimal; names what its codes mean, equal for equal codecs whatever files they come from.
        device: where encoding and decoding run.
        dtype: of the decoder's matrices; audio is float32.
    """

    sample_rate: int
    channels: int
    hop_length: int
    frame_rate: Fraction
    num_codebooks: int
    card: int
    chunks: Chunks | None
    scaled: bool
    interleaved: bool
    fingerprint: str
    device: torch.device
    dtype: torch.dtype

    @property
    def lookahead_samples(self) -> int:
        """How far a running stream's audio stays behind its codes, in samples.

        Raises:
            RequestError: ``unsupported`` where there can be no such stream, as `stream` does.
        """

    @property
    def latent_dimension(self) -> int:
        """Values per frame of the decoder's input."""

    def embed(self, codes: Tensor) -> Tensor:
        """Look up codes ``[batch, codebooks, n]``: the decoder's input ``[batch * runs, n, latent_dimension]``.

        ``runs`` is 2 for interleaved stereo, else 1.

        Raises:
            RequestError: for what are no codes of this codec.
        """

    def encode(self, audio: Tensor, num_codebooks: int | None = None) -> Tensor:
        """A whole signal ``[channels, samples]`` to codes ``[num_codebooks, ceil(samples / hop_length)]``, for a language model.

        Raises:
            RequestError: what is no audio for this codec; ``unsupported`` where the codes alone do not make the audio.
        """

    def decode(self, codes: Tensor) -> Tensor:
        """Codes ``[codebooks, frames]`` to float32 ``[channels, frames * hop_length]``: what `stream` gives, in one piece."""

    def encode_whole(self, audio: Tensor, num_codebooks: int | None = None) -> Encoded:
        """A whole signal ``[channels, samples]`` with all that its decoder needs; works for every codec."""

    def decode_whole(self, encoded: Encoded) -> Tensor:
        """The audio of an encoded signal: float32 ``[channels, encoded.samples]``."""

    def encoder_stream(self, num_codebooks: int | None = None, scales: Tensor | None = None) -> EncoderStream:
        """Begin to encode a signal of unknown length.

        Args:
            num_codebooks: how many rows of codes to make, the coarsest first; all by default.
            scales: what the signal is divided by, for a codec that scales whole signals (`scaled` without `chunks`): that must be
                known before the first frame. A `LevelMeter` that has heard the signal has them.

        Raises:
            RequestError: ``out_of_range`` for the number of codebooks or scales; ``unsupported`` for a codec whose every code
                depends on the whole signal.
        """

    def level_meter(self) -> LevelMeter:
        """Measures the ``scales`` that `encoder_stream` needs, by hearing the signal a first time."""

    def decoder_stream(self, samples: int | None = None) -> EncodedStream:
        """Begin to decode an encoded signal.

        Args:
            samples: of the whole signal, where it is known before its end: the audio comes a frame (with `chunks`, a chunk) earlier
                then. Without it, what the pieces add up to counts, and a codec with `chunks` takes all chunks but the last for
                full ones: true but for a signal that ends within ``length - stride`` samples after the beginning of a chunk.
        """
