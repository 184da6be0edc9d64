"""The neural audio codec: whole-file encode and decode, and decoding as a stream that equals the whole file."""

from __future__ import annotations

import copy
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from engine.runtime.seanet import StreamingNetwork, build_network
from engine.runtime.streaming_layers import Recurrence, Window
from protocols.errors import ErrorCode, RequestError

if TYPE_CHECKING:
    from transformers import EncodecModel


class Codec:
    """An EnCodec model: audio to codes, codes to audio, and codes to audio while they are being made.

    The model that it is built from stays untouched and is not needed afterwards. Encoding runs in float32 whatever
    ``dtype`` says: the residual quantiser turns rounding errors into other codes, and a prompt is encoded once.

    Immutable after construction: any thread may call any method. A `StreamingDecoder` belongs to one thread.

    Args:
        encodec: holds the weights.
        channels: of the audio. With a mono codec, 2 is interleaved stereo: the codec runs once per channel and the
            codebook streams alternate, 1L, 1R, 2L, 2R… (MusicGen's stereo models). A two-channel codec takes 2.
        device: where encoding and decoding run.
        dtype: of the decoder: float32, bfloat16 or float16. Audio is float32 always.

    Attributes:
        sample_rate: in Hz.
        channels: of the audio.
        hop_length: samples per frame and channel.
        frame_rate: frames per second, exact.
        num_codebooks: rows of ``codes``, as the language model counts them: doubled for interleaved stereo.
        card: codes per codebook; a code is 0 to ``card - 1``.

    Raises:
        RequestError: ``unsupported`` when the codec has no way to carry that many channels.
    """

    def __init__(self, encodec: EncodecModel, channels: int, device: torch.device | str, dtype: torch.dtype) -> None:
        config = encodec.config
        native = int(config.audio_channels)
        if channels not in (native, 2) or native > 2:
            raise RequestError(ErrorCode.UNSUPPORTED, "channels", channels, f"{native}, or 2 with a mono codec")
        self.device = torch.device(device)
        self.dtype = dtype
        self.channels = channels
        self.interleaved = channels != native
        self.sample_rate = int(config.sampling_rate)
        self.hop_length = int(config.hop_length)
        self.frame_rate = Fraction(self.sample_rate, self.hop_length)
        self.card = int(config.codebook_size)
        # Rows of codes per frame of one run of the codec, and runs of the codec per stream.
        self._runs = channels if self.interleaved else 1
        self.num_codebooks = int(config.num_quantizers) * self._runs

        self._obstacle = _obstacle(config)
        self._network: StreamingNetwork | None = None
        with torch.no_grad():
            self._encoder = _copy_encoder(encodec.encoder).to(self.device, torch.float32)
            self._books: list[Any] = list(copy.deepcopy(encodec.quantizer).to(self.device, torch.float32).eval().layers)
            books: list[Tensor] = [book.codebook.embed for book in self._books]
            self._embeddings = torch.cat(books).to(dtype)
            self._offsets = torch.arange(len(books), device=self.device) * self.card
            if not self._obstacle:
                self._network = build_network(encodec.decoder, self.device, dtype)

    @property
    def lookahead_samples(self) -> int:
        """How far a running stream's audio stays behind its codes, in samples: the right context of the decoder."""
        return self._streamable().delay

    @torch.inference_mode()
    def encode(self, audio: Tensor, num_codebooks: int | None = None) -> Tensor:
        """Encode a whole file: ``[channels, samples]`` in -1…1 to codes ``[num_codebooks, frames]`` (int64).

        Equals ``EncodecModel.encode``; the last frame may be partly filled, ``frames = ceil(samples / hop_length)``.

        Args:
            audio: at the codec's sample rate, on any device.
            num_codebooks: how many rows of codes to make, the coarsest first; all by default.

        Raises:
            RequestError: ``empty`` without a sample, ``bad_type`` when it is not ``[channels, samples]`` of floats,
                ``out_of_range`` for the wrong number of channels or codebooks, ``not_audio`` for NaN or infinity,
                ``unsupported`` for codecs that need more than codes to decode.
        """
        self._streamable()
        books = self._count_books(self.num_codebooks if num_codebooks is None else num_codebooks, "num_codebooks")
        if audio.dim() != 2 or not audio.is_floating_point():
            shape = f"{tuple(audio.shape)} of {audio.dtype}"
            raise RequestError(ErrorCode.BAD_TYPE, "audio", shape, "[channels, samples] of floats")
        if audio.shape[0] != self.channels:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "channels", audio.shape[0], str(self.channels))
        if not audio.shape[1]:
            raise RequestError(ErrorCode.EMPTY, "audio", allowed="at least one sample")
        audio = audio.to(self.device, torch.float32)
        if not torch.isfinite(audio).all():
            raise RequestError(ErrorCode.NOT_AUDIO, "audio", "NaN or infinite samples", "finite samples")
        residual = self._encoder(audio.view(self._runs, -1, audio.shape[1]))
        rows = []
        for book in self._books[:books]:
            rows.append(book.encode(residual))
            residual = residual - book.decode(rows[-1])
        return torch.stack(rows).view(books * self._runs, -1)

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """Decode a whole file: codes ``[codebooks, frames]`` to float32 ``[channels, frames * hop_length]``.

        Equals ``EncodecModel.decode`` but for rounding, and so does what `stream` gives. Working memory does not grow
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
            RequestError: ``unsupported`` for codecs that look at the whole file (EnCodec 48 kHz).
        """
        return StreamingDecoder(self, self._streamable(), batch, frame)

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
        books = self._count_books(codes.shape[1], "codes")
        if codes.device.type == "cpu" and codes.numel():
            low, high = (int(bound) for bound in torch.aminmax(codes))
            if low < 0 or high >= self.card:
                wrong = low if low < 0 else high
                raise RequestError(ErrorCode.OUT_OF_RANGE, "codes", wrong, f"0 to {self.card - 1}")
        batch, _, count = codes.shape
        codes = codes.to(self.device, torch.long).view(batch, books, self._runs, count).permute(0, 2, 3, 1)
        rows = F.embedding(codes + self._offsets[:books], self._embeddings).sum(3)
        return rows.flatten(0, 1)

    def _count_books(self, rows: int, field: str) -> int:
        """The codebooks that each run of the codec reads when there are ``rows`` rows of codes."""
        if not 1 <= rows <= self.num_codebooks or rows % self._runs:
            step = f" in steps of {self._runs}" if self._runs > 1 else ""
            raise RequestError(
                ErrorCode.OUT_OF_RANGE, field, rows, f"{self._runs} to {self.num_codebooks} codebooks{step}"
            )
        return rows // self._runs

    def _streamable(self) -> StreamingNetwork:
        if self._network is None:
            allowed = "codecs whose codes alone make the audio, as the 16, 24 and 32 kHz EnCodec do"
            raise RequestError(ErrorCode.UNSUPPORTED, "codec", self._obstacle, allowed)
        return self._network


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

    def __init__(self, codec: Codec, network: StreamingNetwork, batch: int = 1, frame: int = 0) -> None:
        if batch < 1:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "batch", batch, "1 or more")
        self.codec = codec
        self.batch = batch
        self.frames_done = 0
        self.samples_done = 0
        self.ended = False
        self._network = network
        with torch.inference_mode():
            self._states: list[Any] = network.new_states(batch * codec._runs, frame)

    @property
    def lookahead_samples(self) -> int:
        """How far the audio stays behind the codes, in samples, once the stream runs.

        A stream begins when it can be padded: with reflections in a causal codec that takes more frames than this.
        """
        return self._network.delay

    @property
    def state_bytes(self) -> int:
        """Memory that the stream holds between two calls; bounded, whatever the stream's length."""
        tensors: list[Tensor | None] = []
        for state in self._states:
            if isinstance(state, Window):
                tensors.append(state.rows)
            elif isinstance(state, Recurrence):
                tensors += (state.hidden, state.cell)
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors if tensor is not None)

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
        self._refuse_ended()
        if codes.dim() != (2 if self.batch == 1 else 3) or (self.batch > 1 and codes.shape[0] != self.batch):
            allowed = "[codebooks, frames]" if self.batch == 1 else f"[{self.batch}, codebooks, frames]"
            raise RequestError(ErrorCode.BAD_TYPE, "codes", f"shape {tuple(codes.shape)}", allowed)
        rows = self.codec.embed(codes.unsqueeze(0) if self.batch == 1 else codes)
        self.frames_done += rows.shape[1]
        return self._audio(self._network.step(rows, self._states) if rows.shape[1] else None)

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """End the stream: the audio that was held back, ``[channels, m]``, ``[batch, channels, m]`` for ``batch > 1``.

        All outputs together are ``frames * hop_length`` samples then. The stream's memory is released.

        Raises:
            RuntimeError: when the stream has ended already.
        """
        self._refuse_ended()
        audio = self._audio(self._network.step(None, self._states, last=True) if self.frames_done else None)
        assert self.samples_done == self.frames_done * self.codec.hop_length, (self.samples_done, self.frames_done)
        self.ended = True
        self._states = []
        return audio

    def _refuse_ended(self) -> None:
        if self.ended:
            raise RuntimeError("the stream has ended: begin a new one with Codec.stream()")

    def _audio(self, rows: Tensor | None) -> Tensor:
        """Turn the decoder's output ``[batch * runs, m, 1 or 2]`` into ``[channels, m]``, with a batch if it is > 1."""
        if rows is None:
            rows = torch.zeros(self.batch, 0, self.codec.channels, device=self.codec.device)
        self.samples_done += rows.shape[1]
        audio = rows.transpose(1, 2).reshape(self.batch, self.codec.channels, rows.shape[1])
        return audio if self.batch > 1 else audio[0]


def _copy_encoder(encoder: nn.Module) -> nn.Module:
    """Copy an encoder, its weight norm folded into plain convolutions."""
    copied = copy.deepcopy(encoder)
    for layer in list(copied.modules()):
        conv = getattr(layer, "conv", None)
        # Not remove_parametrizations: a copy shares the class that it would take the weight from with the original.
        if isinstance(conv, nn.Conv1d) and parametrize.is_parametrized(conv):
            sizes = (conv.in_channels, conv.out_channels, conv.kernel_size[0], conv.stride[0])
            # From nowhere, since random first weights would move the global generator.
            plain = nn.Conv1d(*sizes, dilation=conv.dilation[0], device="meta").to_empty(device=conv.weight.device)
            plain.load_state_dict({"weight": conv.weight, "bias": conv.bias})
            layer.conv = plain
    return copied.requires_grad_(False).eval()


def _obstacle(config: Any) -> str:
    """Why codes alone, taken frame by frame, do not determine the audio of such a codec; empty when they do."""
    if config.chunk_length_s is not None:
        return "one that overlaps chunks of audio"
    if config.normalize:
        return "one that scales by the loudness of the audio"
    if config.norm_type != "weight_norm":
        return f"one with {config.norm_type}, which averages over the whole file"
    return ""
