"""Codecs that decode on a stream: their common part, and EnCodec, whose streams equal the whole-file decode.

`StreamedCodec` is the common part of every codec that is a chain of streaming layers between codes and audio; what such a codec
is to others is `engine.runtime.audio_codec.AudioCodec`. `Codec` is EnCodec that takes a signal in one piece (16, 24 and 32 kHz);
`make_codec` picks between it and the one in chunks (48 kHz).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.runtime.audio_codec import AudioCodec, Chunks, Encoded, EncodedStream, EncoderStream, LevelMeter
from engine.runtime.encodec_weights import GROUP_NORM, EncodecWeights
from engine.runtime.encoding import SignalDecoder, StreamingEncoder, checked_scales, refuse_ended
from engine.runtime.quantizers import EuclideanQuantizer
from engine.runtime.seanet import StreamingNetwork, build_decoder, build_encoder
from engine.runtime.streaming_layers import tensor_bytes
from protocols.errors import ErrorCode, RequestError

if TYPE_CHECKING:
    from transformers import EncodecModel

    from engine.runtime.quantizers import Quantizer


class StreamedCodec(ABC):
    """The common part of codecs; an `engine.runtime.audio_codec.AudioCodec`, where the attributes are documented.

    A mono codec with two channels is interleaved stereo: the codec runs once per channel and the codebook streams alternate, 1L,
    1R, 2L, 2R… (MusicGen's stereo models). Encoding runs in float32 whatever ``dtype`` says: the residual quantiser turns
    rounding errors into other codes, and a prompt is encoded once.

    Immutable after construction: any thread may call any method. A `StreamingDecoder` belongs to one thread.

    Args:
        sample_rate: in Hz.
        hop_length: samples per frame and channel.
        native: channels of the network's own audio.
        channels: of the audio: ``native``, or 2 with a mono codec.
        tables: for each codebook what its entries add to the decoder's input, ``[card, dimension]``.
        device: where encoding and decoding run.
        dtype: of the decoder: float32, bfloat16 or float16. Audio is float32 always.
        fingerprint: what its codes mean; see `engine.runtime.encodec_weights.fingerprint_of`.
        scaled: whether an encoded signal carries scales.
        obstacle: why codes alone, taken frame by frame, do not make the audio; empty when they do.

    Attributes:
        interleaved: whether it is interleaved stereo.
        runs: of the network per stream: 2 for interleaved stereo, else 1.
        fills_frames: whether the last frame of a signal is filled with zeros before it is encoded.
        missing_samples: how many samples the network's whole-file decode lacks at its end; zeros stand for them.

    Raises:
        RequestError: ``unsupported`` when the codec has no way to carry that many channels.
    """

    fills_frames = False
    missing_samples = 0
    chunks: Chunks | None = None

    def __init__(
        self,
        *,
        sample_rate: int,
        hop_length: int,
        native: int,
        channels: int,
        tables: list[Tensor],
        device: torch.device | str,
        dtype: torch.dtype,
        fingerprint: str,
        scaled: bool = False,
        obstacle: str = "",
    ) -> None:
        if channels not in (native, 2) or native > 2:
            raise RequestError(ErrorCode.UNSUPPORTED, "channels", channels, f"{native}, or 2 with a mono codec")
        self.device = torch.device(device)
        self.dtype = dtype
        self.channels = channels
        self.interleaved = channels != native
        self.runs = channels if self.interleaved else 1
        self.sample_rate = sample_rate
        self.hop_length = hop_length
        self.frame_rate = Fraction(sample_rate, hop_length)
        self.card = int(tables[0].shape[0])
        self.num_codebooks = len(tables) * self.runs
        self.fingerprint = fingerprint
        self.scaled = scaled
        self._obstacle = obstacle
        self._embeddings = torch.cat(tables).to(self.device, dtype)
        self._offsets = torch.arange(len(tables), device=self.device) * self.card

    @property
    @abstractmethod
    def network(self) -> StreamingNetwork:
        """The decoder, as it runs on streams."""

    def accelerate(self, threads: int = 0) -> bool:
        """Let something faster decode from now on, to the same sound but for rounding, where it can: onnxruntime in single
        precision on a CPU, captured graphs on a CUDA device.

        What it makes is compared with what the layers make first; False where it is not the same, or nothing of the decoder has a
        form as a graph. Before any stream is begun.

        Args:
            threads: of the CPU; 0 for as many as torch has.
        """
        if self._obstacle:
            return False
        if self.device.type == "cuda":
            from engine.runtime.graphs.decode import capture_network

            return capture_network(self.network, self.runs, self.device)
        return self.network.accelerate(threads or torch.get_num_threads())

    @property
    def latent_dimension(self) -> int:
        """Values per frame of the decoder's input."""
        return int(self._embeddings.shape[1])

    @property
    def lookahead_samples(self) -> int:
        """How far a running stream's audio stays behind its codes, in samples: the right context of the decoder."""
        self._refuse_obstacle()
        return self.network.delay

    @torch.inference_mode()
    def encode(self, audio: Tensor, num_codebooks: int | None = None) -> Tensor:
        """Encode a whole file: ``[channels, samples]`` in -1…1 to codes ``[num_codebooks, frames]`` (int64).

        Equals the reference's encode; the last frame may be partly filled, ``frames = ceil(samples / hop_length)``.

        Args:
            audio: at the codec's sample rate, on any device.
            num_codebooks: how many rows of codes to make, the coarsest first; all by default.

        Raises:
            RequestError: ``empty`` without a sample, ``bad_type`` when it is not ``[channels, samples]`` of floats,
                ``out_of_range`` for the wrong number of channels or codebooks, ``not_audio`` for NaN or infinity,
                ``unsupported`` for codecs that need more than codes to decode.
        """
        if self.scaled or self.chunks is not None:
            what = "one that overlaps chunks of audio" if self.chunks is not None else "one that scales by loudness"
            raise RequestError(ErrorCode.UNSUPPORTED, "codec", what, "codecs whose codes alone make the audio")
        return self.encode_whole(audio, num_codebooks).codes

    @torch.inference_mode()
    def encode_whole(self, audio: Tensor, num_codebooks: int | None = None) -> Encoded:
        """Encode a whole file with all that its decoder needs; see `engine.runtime.audio_codec.AudioCodec`."""
        audio = self.checked(audio)
        meter = self.level_meter()
        if self.scaled and self.chunks is None:
            meter.add(audio)
        stream = self._encoder(num_codebooks, meter.scales if self.scaled and self.chunks is None else None)
        return Encoded.join([stream.encode(audio), stream.flush()])

    @torch.inference_mode()
    def decode_whole(self, encoded: Encoded) -> Tensor:
        """The audio of an encoded signal: float32 ``[channels, encoded.samples]``.

        Raises:
            RequestError: for codes, scales or a number of samples that do not belong together.
        """
        frames = encoded.codes.shape[-1]
        fits = (frames - 1) * self.hop_length < encoded.samples <= frames * self.hop_length if frames else False
        if self.chunks is not None:
            fits = encoded.samples >= 0 and sum(self.chunks.frames_of(encoded.samples)) == frames
        if not fits and (frames or encoded.samples):
            allowed = f"as many as {frames} frames hold"
            raise RequestError(ErrorCode.OUT_OF_RANGE, "samples", encoded.samples, allowed)
        stream = self._signal_decoder(encoded.samples)
        return torch.cat((stream.decode(encoded), stream.flush()), -1)

    def encoder_stream(self, num_codebooks: int | None = None, scales: Tensor | None = None) -> EncoderStream:
        """Begin to encode a signal of unknown length; see `engine.runtime.audio_codec.AudioCodec`."""
        if self.chunks is None:
            self._refuse_obstacle()
        return self._encoder(num_codebooks, scales)

    def decoder_stream(self, samples: int | None = None) -> EncodedStream:
        """Begin to decode an encoded signal; see `engine.runtime.audio_codec.AudioCodec`."""
        if self.chunks is None:
            self._refuse_obstacle()
        return self._signal_decoder(samples)

    def level_meter(self) -> LevelMeter:
        """Measures the scales that `encoder_stream` needs of a codec that scales whole signals."""
        return LevelMeter(self.runs)

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """Decode a whole file: codes ``[codebooks, frames]`` to float32 ``[channels, frames * hop_length]``.

        Equals the reference's decode but for rounding, and so does what `stream` gives. Working memory does not grow
        with the length. Fewer codebooks than `num_codebooks` decode coarser.

        Raises:
            RequestError: as `StreamingDecoder.decode` and `stream` do.
        """
        stream = self.stream()
        return torch.cat((stream.decode(codes), stream.flush()), -1)

    def stream(self, batch: int = 1, frame: int = 0) -> StreamingDecoder:
        """Begin to decode a stream, or ``batch`` streams that run in step.

        Args:
            batch: how many streams.
            frame: of the stream, that comes first. What is decoded from there equals the whole, once the codec's memory is over.

        Raises:
            RequestError: ``unsupported`` for codecs that look at the whole file, or at chunks of it (EnCodec 48 kHz).
        """
        self._refuse_obstacle()
        return StreamingDecoder(self, self.network, batch, frame)

    def embed(self, codes: Tensor) -> Tensor:
        """Look up codes ``[batch, codebooks, n]``: the decoder's input ``[batch * runs, n, dimension]``.

        ``runs`` is 2 for interleaved stereo, else 1. Codes that lie in host memory are checked; codes on an
        accelerator are taken as they are, since looking would make the host wait for it.

        Raises:
            RequestError: ``bad_type`` for no integers, ``out_of_range`` for a wrong number of rows or a code that
                is none.
        """
        if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
            raise RequestError(ErrorCode.BAD_TYPE, "codes", codes.dtype, "integers")
        books = self.count_books(codes.shape[1], "codes")
        if codes.device.type == "cpu" and codes.numel():
            low, high = (int(bound) for bound in torch.aminmax(codes))
            if low < 0 or high >= self.card:
                wrong = low if low < 0 else high
                raise RequestError(ErrorCode.OUT_OF_RANGE, "codes", wrong, f"0 to {self.card - 1}")
        batch, _, count = codes.shape
        codes = codes.to(self.device, torch.long).view(batch, books, self.runs, count).permute(0, 2, 3, 1)
        rows = F.embedding(codes + self._offsets[:books], self._embeddings).sum(3)
        return rows.flatten(0, 1)

    def count_books(self, rows: int, field: str) -> int:
        """The codebooks that each run of the codec reads when there are ``rows`` rows of codes.

        Raises:
            RequestError: ``out_of_range``, naming ``field``, when there can be no so many rows.
        """
        if not 1 <= rows <= self.num_codebooks or rows % self.runs:
            step = f" in steps of {self.runs}" if self.runs > 1 else ""
            raise RequestError(
                ErrorCode.OUT_OF_RANGE, field, rows, f"{self.runs} to {self.num_codebooks} codebooks{step}"
            )
        return rows // self.runs

    def checked(self, audio: Tensor, *, empty: bool = False) -> Tensor:
        """Audio ``[channels, samples]`` as float32 on the codec's device.

        Raises:
            RequestError: as `encode` does; with ``empty``, no sample will do.
        """
        if audio.dim() != 2 or not audio.is_floating_point():
            shape = f"{tuple(audio.shape)} of {audio.dtype}"
            raise RequestError(ErrorCode.BAD_TYPE, "audio", shape, "[channels, samples] of floats")
        if audio.shape[0] != self.channels:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "channels", audio.shape[0], str(self.channels))
        if not audio.shape[1] and not empty:
            raise RequestError(ErrorCode.EMPTY, "audio", allowed="at least one sample")
        audio = audio.to(self.device, torch.float32)
        if not torch.isfinite(audio).all():
            raise RequestError(ErrorCode.NOT_AUDIO, "audio", "NaN or infinite samples", "finite samples")
        return audio

    @abstractmethod
    def _encoder(self, num_codebooks: int | None, scales: Tensor | None) -> EncoderStream:
        """What `encoder_stream` gives, whatever memory it needs."""

    def _signal_decoder(self, samples: int | None) -> EncodedStream:
        """What `decoder_stream` gives, whatever memory it needs."""
        return SignalDecoder(self, StreamingDecoder(self, self.network), samples)

    def _books(self, num_codebooks: int | None) -> int:
        return self.count_books(self.num_codebooks if num_codebooks is None else num_codebooks, "num_codebooks")

    def _checked_scales(self, scales: Tensor | None) -> Tensor | None:
        """Of `encoder_stream`."""
        needed = self.runs if self.scaled and self.chunks is None else 0
        if scales is None and needed:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "scales", "none", f"{needed}, as a LevelMeter measures them")
        return None if scales is None else checked_scales(scales, needed, self.device)

    def _refuse_obstacle(self) -> None:
        if self._obstacle:
            allowed = "codecs whose codes alone make the audio, as the 16, 24 and 32 kHz EnCodec do"
            raise RequestError(ErrorCode.UNSUPPORTED, "codec", self._obstacle, allowed)


class Codec(StreamedCodec):
    """An EnCodec model that takes a signal in one piece: audio to codes, codes to audio, and codes to audio while they are made.

    The model that it is built from stays untouched and is not needed afterwards. With group norm it knows whole files only:
    `stream` and the streams of signals refuse.

    Args:
        encodec: holds the weights.
        channels: of the audio. With a mono codec, 2 is interleaved stereo; a two-channel codec takes 2.
        device: where encoding and decoding run.
        dtype: of the decoder: float32, bfloat16 or float16. Audio is float32 always.

    Raises:
        RequestError: ``unsupported`` when the codec has no way to carry that many channels, or for a layer without a streaming
            form; ``malformed`` for weights that do not fit their shape.
    """

    def __init__(
        self, encodec: EncodecModel | EncodecWeights, channels: int, device: torch.device | str, dtype: torch.dtype
    ) -> None:
        weights = encodec if isinstance(encodec, EncodecWeights) else EncodecWeights.of_model(encodec)
        with torch.no_grad():
            books = [weights.codebook(index) for index in range(weights.codebooks)]
            super().__init__(
                sample_rate=weights.sample_rate,
                hop_length=weights.decoder.hop_length,
                native=weights.decoder.channels,
                channels=channels,
                tables=books,
                device=device,
                dtype=dtype,
                fingerprint=weights.fingerprint,
                scaled=weights.scaled,
                obstacle=self._obstacle_of(weights),
            )
            self._quantizer: Quantizer = EuclideanQuantizer([book.to(self.device) for book in books])
            self._encoder_network = build_encoder(weights, self.device)
            self._network = build_decoder(weights, self.device, dtype)

    @property
    def network(self) -> StreamingNetwork:
        return self._network

    def _encoder(self, num_codebooks: int | None, scales: Tensor | None) -> EncoderStream:
        books, scales = self._books(num_codebooks), self._checked_scales(scales)
        # A second: long enough for large products, short enough to be little memory.
        block = max(1, round(self.frame_rate)) * self.hop_length
        return StreamingEncoder(self, self._encoder_network, self._quantizer, books, scales, block)

    def _obstacle_of(self, weights: EncodecWeights) -> str:
        """Why codes alone, taken frame by frame, do not make the audio of such a codec; empty when they do."""
        if weights.chunks is not None:
            raise RequestError(
                ErrorCode.UNSUPPORTED, "codec", "chunk_length_s", "a codec without chunks: see make_codec"
            )
        if weights.encoder.settles or weights.decoder.settles:
            return f"one with {GROUP_NORM}, which averages over the whole file"
        return ""


def make_codec(
    encodec: EncodecModel | EncodecWeights, channels: int, device: torch.device | str, dtype: torch.dtype
) -> AudioCodec:
    """The EnCodec of these weights: a `Codec`, or an `engine.runtime.chunked_codec.ChunkedCodec`.

    Raises:
        RequestError: as they do.
    """
    from engine.runtime.chunked_codec import ChunkedCodec

    weights = encodec if isinstance(encodec, EncodecWeights) else EncodecWeights.of_model(encodec)
    kind = Codec if weights.chunks is None else ChunkedCodec
    return kind(weights, channels, device, dtype)


class StreamingDecoder:
    """The state of one stream that is being decoded: codes go in as they are made, audio comes out as it is final.

    What comes out, put together, equals the whole-file decode, whatever the chunks were. Cost and memory per frame
    are constant. Belongs to one thread; the codec behind it is shared.

    Args:
        codec: the codec.
        network: its decoder.
        batch: how many streams run in step.
        frame: of the streams, that comes first.
    """

    def __init__(self, codec: StreamedCodec, network: StreamingNetwork, batch: int = 1, frame: int = 0) -> None:
        if batch < 1:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "batch", batch, "1 or more")
        self.codec = codec
        self.batch = batch
        self.frames_done = 0
        self.samples_done = 0
        self.ended = False
        self._network = network
        with torch.inference_mode():
            self._states: list[Any] = network.new_states(batch * codec.runs, frame)

    @property
    def lookahead_samples(self) -> int:
        """How far the audio stays behind the codes, in samples, once the stream runs.

        A stream begins when it can be padded: with reflections in a causal codec that takes more frames than this.
        """
        return self._network.delay

    @property
    def state_bytes(self) -> int:
        """Memory that the stream holds between two calls; bounded, whatever the stream's length."""
        return tensor_bytes(self._states)

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """Take the next frames, give the audio that became final.

        Args:
            codes: ``[codebooks, n]``, or ``[batch, codebooks, n]`` for ``batch > 1``; ``n >= 0``. Fewer codebooks
                than the codec has decode coarser. A refused call leaves the stream as it was.

        Returns:
            float32 on the codec's device, ``[channels, m]``, or ``[batch, channels, m]`` for ``batch > 1``; ``m``
            may be 0, since the decoder looks ahead.

        Raises:
            RequestError: ``bad_type`` when the codes are no such tensor of integers, ``out_of_range`` for a wrong
                number of codebooks or a code beyond the codebook (seen when the codes are in host memory).
            RuntimeError: after `flush`.
        """
        refuse_ended(self.ended)
        if codes.dim() != (2 if self.batch == 1 else 3) or (self.batch > 1 and codes.shape[0] != self.batch):
            allowed = "[codebooks, frames]" if self.batch == 1 else f"[{self.batch}, codebooks, frames]"
            raise RequestError(ErrorCode.BAD_TYPE, "codes", f"shape {tuple(codes.shape)}", allowed)
        return self._taken(self.codec.embed(codes.unsqueeze(0) if self.batch == 1 else codes))

    @torch.inference_mode()
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Take the next frames as latents, which need not be the sum of any codes; otherwise as `decode`.

        Args:
            latents: ``[batch * runs, n, dimension]``, with ``runs`` of the codec.
        """
        refuse_ended(self.ended)
        wanted = (self.batch * self.codec.runs, self.codec.latent_dimension)
        if latents.dim() != 3 or (latents.shape[0], latents.shape[2]) != wanted or not latents.is_floating_point():
            allowed = f"[{wanted[0]}, frames, {wanted[1]}] of floats"
            raise RequestError(ErrorCode.BAD_TYPE, "latents", f"shape {tuple(latents.shape)}", allowed)
        return self._taken(latents.to(self.codec.device, self.codec.dtype, copy=True))

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """End the stream: the audio that was held back, ``[channels, m]``, ``[batch, channels, m]`` for ``batch > 1``.

        All outputs together are ``frames * hop_length`` samples then. The stream's memory is released.

        Raises:
            RuntimeError: when the stream has ended already.
        """
        refuse_ended(self.ended)
        audio = self._audio(self._network.step(None, self._states, last=True) if self.frames_done else None)
        if self.frames_done and self.codec.missing_samples:
            self.samples_done += self.codec.missing_samples
            audio = F.pad(audio, (0, self.codec.missing_samples))
        assert self.samples_done == self.frames_done * self.codec.hop_length, (self.samples_done, self.frames_done)
        self.ended = True
        self._states = []
        return audio

    def _taken(self, rows: Tensor) -> Tensor:
        self.frames_done += rows.shape[1]
        return self._audio(self._network.step(rows, self._states) if rows.shape[1] else None)

    def _audio(self, rows: Tensor | None) -> Tensor:
        """Turn the decoder's output ``[batch * runs, m, 1 or 2]`` into ``[channels, m]``, with a batch if it is > 1."""
        if rows is None:
            rows = torch.zeros(self.batch, 0, self.codec.channels, device=self.codec.device)
        self.samples_done += rows.shape[1]
        audio = rows.transpose(1, 2).reshape(self.batch, self.codec.channels, rows.shape[1])
        return audio if self.batch > 1 else audio[0]
