"""EnCodec in chunks: each second of a signal is coded as if it were alone, and chunks overlap by a hundredth (the 48 kHz model).

Where two chunks overlap, one fades into the other with the weights of a triangle over each chunk. A chunk is divided by its own
level before it is encoded, where the codec scales. Method: Défossez et al. 2022, section 3.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engine.runtime.audio_codec import Chunks, Encoded, EncodedStream, EncoderStream
from engine.runtime.codec import StreamedCodec
from engine.runtime.encodec_weights import EncodecWeights
from engine.runtime.encoding import checked_scales, refuse_ended
from engine.runtime.quantizers import EuclideanQuantizer
from engine.runtime.seanet import StreamingNetwork, build_decoder, build_encoder
from protocols.errors import ErrorCode, RequestError

if TYPE_CHECKING:
    from transformers import EncodecModel


class ChunkedCodec(StreamedCodec):
    """An EnCodec model in chunks. Its codes are for signals, not for language models: `encode`, `decode` and `stream` refuse.

    Args:
        encodec: holds the weights, and says how long chunks are.
        channels: of the audio. With a mono codec, 2 is interleaved stereo; a two-channel codec takes 2.
        device: where encoding and decoding run.
        dtype: of the decoder: float32, bfloat16 or float16. Audio is float32 always.

    Attributes:
        cut: its `chunks`.

    Raises:
        RequestError: as `engine.runtime.codec.Codec` does.
    """

    cut: Chunks

    def __init__(
        self, encodec: EncodecModel | EncodecWeights, channels: int, device: torch.device | str, dtype: torch.dtype
    ) -> None:
        weights = encodec if isinstance(encodec, EncodecWeights) else EncodecWeights.of_model(encodec)
        if weights.chunks is None:
            raise RequestError(ErrorCode.UNSUPPORTED, "chunk_length_s", "none", "a codec with chunks: see make_codec")
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
                obstacle="one that overlaps chunks of audio",
            )
            self.chunks = self.cut = weights.chunks
            self._quantizer = EuclideanQuantizer([book.to(self.device) for book in books])
            self._encoder_network = build_encoder(weights, self.device)
            self._network = build_decoder(weights, self.device, dtype)

    @property
    def network(self) -> StreamingNetwork:
        return self._network

    def encode_chunk(self, audio: Tensor, books: int) -> Encoded:
        """Encode one chunk ``[channels, samples]``."""
        rows = audio.reshape(self.runs, -1, audio.shape[1]).transpose(1, 2)
        scales = None
        if self.scaled:
            scale = rows.mean(2).square().mean(1).sqrt() + 1e-8
            rows, scales = rows / scale.view(-1, 1, 1), scale.cpu()
        latents = self._encoder_network.step(rows.clone(), self._encoder_network.new_states(self.runs), last=True)
        assert latents is not None
        codes = self._quantizer.encode(latents, books).view(books * self.runs, -1)
        return Encoded(codes, audio.shape[1], scales)

    def decode_chunk(self, codes: Tensor, scales: Tensor | None) -> Tensor:
        """Decode one chunk ``[codebooks, frames]``: ``[channels, frames * hop_length]``."""
        states = self._network.new_states(self.runs)
        rows = self._network.step(self.embed(codes.unsqueeze(0)), states, last=True)
        assert rows is not None
        audio = rows.transpose(1, 2)
        if scales is not None:
            audio = audio * scales.view(-1, 1, 1)
        return audio.reshape(self.channels, -1)

    def _encoder(self, num_codebooks: int | None, scales: Tensor | None) -> EncoderStream:
        self._checked_scales(scales)
        return ChunkedEncoder(self, self._books(num_codebooks))

    def _signal_decoder(self, samples: int | None) -> EncodedStream:
        return ChunkedDecoder(self, samples)


class ChunkedEncoder:
    """Encodes a signal chunk by chunk; an `engine.runtime.audio_codec.EncoderStream`.

    Args:
        codec: whose audio it is.
        books: codebooks per run of the codec.
    """

    def __init__(self, codec: ChunkedCodec, books: int) -> None:
        self.codec = codec
        self.samples_done, self.frames_done, self.ended = 0, 0, False
        self._books = books
        self._pieces: list[Tensor] = []
        self._waiting = 0

    @property
    def state_bytes(self) -> int:
        """Memory that the stream holds between two calls: a chunk of audio at most."""
        return sum(piece.untyped_storage().nbytes() for piece in self._pieces)

    @torch.inference_mode()
    def encode(self, audio: Tensor) -> Encoded:
        """Take the next samples, give the chunks that are whole. See `engine.runtime.audio_codec.EncoderStream`."""
        refuse_ended(self.ended)
        audio = self.codec.checked(audio, empty=True)
        self.samples_done += audio.shape[1]
        made = []
        for piece in torch.split(audio, self.codec.cut.stride, 1):
            if piece.shape[1]:
                self._pieces.append(piece.clone())
                self._waiting += piece.shape[1]
            while self._waiting >= self.codec.cut.length:
                made.append(self._chunk())
        return self._joined(made, audio.shape[1])

    @torch.inference_mode()
    def flush(self) -> Encoded:
        """End the stream: the chunks that are shorter."""
        refuse_ended(self.ended)
        self.ended = True
        made = []
        while self._waiting > 0:
            made.append(self._chunk())
        self._pieces = []
        return self._joined(made, 0)

    def _chunk(self) -> Encoded:
        waiting, chunks = torch.cat(self._pieces, 1), self.codec.cut
        chunk = self.codec.encode_chunk(waiting[:, : chunks.length], self._books)
        self._pieces = [waiting[:, chunks.stride :].clone()]
        self._waiting = self._pieces[0].shape[1]
        self.frames_done += chunk.codes.shape[1]
        return chunk

    def _joined(self, made: list[Encoded], samples: int) -> Encoded:
        if made:
            joined = Encoded.join(made)
            return Encoded(joined.codes, samples, joined.scales)
        codes = torch.zeros(self._books * self.codec.runs, 0, dtype=torch.long, device=self.codec.device)
        return Encoded(codes, samples, torch.zeros(0) if self.codec.scaled else None)


class ChunkedDecoder:
    """Decodes a signal chunk by chunk; an `engine.runtime.audio_codec.EncodedStream`.

    Args:
        codec: whose codes they are.
        samples: of the signal, where that is known.
    """

    def __init__(self, codec: ChunkedCodec, samples: int | None) -> None:
        self.codec, self.samples = codec, samples
        self.samples_done, self.ended = 0, False
        self._announced = 0
        self._chunk = 0
        self._codes: list[Tensor] = []
        self._waiting = 0
        self._scales = torch.zeros(0, device=codec.device)
        self._weights: Tensor | None = None
        # Sums of weighted audio, and of the weights, from the sample that the next chunk begins with.
        self._sum = torch.zeros(codec.channels, 0, device=codec.device)
        self._weight = torch.zeros(0, device=codec.device)

    @property
    def state_bytes(self) -> int:
        """Memory that the stream holds between two calls: a chunk's codes, and what the next one overlaps."""
        tensors = [*self._codes, self._scales, self._sum, self._weight]
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors)

    @torch.inference_mode()
    def decode(self, piece: Encoded) -> Tensor:
        """Take a piece, give the audio that became final. See `engine.runtime.audio_codec.EncodedStream`."""
        refuse_ended(self.ended)
        self._take(piece)
        audio = []
        while self._waiting and self._waiting >= (frames := self._frames()):
            if self.samples is None and self._waiting == frames:
                break  # it may be the last one, which may be shorter: known when another begins
            audio.append(self._next(frames))
        return self._given(audio, self.samples)

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """End the stream: the last chunk, and what waited for one that never comes."""
        refuse_ended(self.ended)
        audio = [self._next(min(self._waiting, self._frames()))] if self._waiting else []
        self.ended = True
        audio.append(self._sum / self._weight)
        self._sum, self._weight = self._sum[:, :0].clone(), self._weight[:0].clone()
        return self._given(audio, self._announced if self.samples is None else self.samples)

    def _take(self, piece: Encoded) -> None:
        codec = self.codec
        codec.embed(piece.codes[None, :, :0])
        if codec.device.type == "cpu":
            codec.embed(piece.codes[None])  # a refused piece leaves the stream as it was
        given = piece.scales if piece.scales is not None else torch.zeros(0)
        if given.numel():
            given = checked_scales(given, len(given) if codec.scaled else 0, codec.device)
        scales = torch.cat((self._scales, given.to(codec.device)))
        complete, left = 0, self._waiting + piece.codes.shape[1]
        while left and left >= (frames := self._frames(complete)):
            complete, left = complete + 1, left - frames
        if codec.scaled and len(scales) < (needed := complete * codec.runs):
            raise RequestError(ErrorCode.OUT_OF_RANGE, "scales", len(scales), f"{needed}: {codec.runs} for each chunk")
        self._scales = scales
        if piece.codes.shape[1]:
            self._codes.append(piece.codes.to(codec.device, torch.long, copy=True))
            self._waiting += piece.codes.shape[1]
        self._announced += piece.samples

    def _frames(self, later: int = 0) -> int:
        """Frames of the next chunk, or one ``later``, as far as is known."""
        chunks = self.codec.cut
        if self.samples is None:
            return chunks.frames
        size = min(chunks.length, self.samples - (self._chunk + later) * chunks.stride)
        if size <= 0:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "samples", self.samples, "as many as its codes make")
        return -(-size // chunks.hop_length)

    def _next(self, frames: int) -> Tensor:
        """Decode the next chunk, add it up, and give what no later chunk changes."""
        codec, stride = self.codec, self.codec.cut.stride
        if codec.scaled and len(self._scales) < codec.runs:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "scales", 0, f"{codec.runs} for each chunk")
        codes = torch.cat(self._codes, 1)
        scales = self._scales[: codec.runs] if codec.scaled else None
        audio = codec.decode_chunk(codes[:, :frames], scales)
        self._scales = self._scales[codec.runs :] if codec.scaled else self._scales
        self._waiting -= frames
        self._codes = [codes[:, frames:].clone()] if self._waiting else []
        self._chunk += 1
        if self._weights is None:
            # The triangle is that of the first chunk, in the reference too.
            place = torch.linspace(0, 1, audio.shape[1] + 2, device=audio.device)[1:-1]
            self._weights = 0.5 - (place - 0.5).abs()
        weights = self._weights[: audio.shape[1]]
        missing = len(weights) - len(self._weight)
        if missing > 0:
            self._sum = torch.nn.functional.pad(self._sum, (0, missing))
            self._weight = torch.nn.functional.pad(self._weight, (0, missing))
        self._sum[:, : len(weights)] += weights * audio
        self._weight[: len(weights)] += weights
        final = self._sum[:, :stride] / self._weight[:stride]
        self._sum, self._weight = self._sum[:, stride:].clone(), self._weight[stride:].clone()
        return final

    def _given(self, audio: list[Tensor], total: int | None) -> Tensor:
        empty = torch.zeros(self.codec.channels, 0, device=self.codec.device)
        joined = torch.cat(audio, 1) if audio else empty
        if total is not None:
            joined = joined[:, : max(0, total - self.samples_done)]
        self.samples_done += joined.shape[1]
        return joined
