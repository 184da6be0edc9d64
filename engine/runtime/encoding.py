"""Encoding as a stream, and decoding of what was encoded, for codecs that see a signal as one piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.runtime.audio_codec import DecoderStream, Encoded
from engine.runtime.seanet import StreamingNetwork
from engine.runtime.streaming_layers import tensor_bytes
from protocols.errors import ErrorCode, RequestError

if TYPE_CHECKING:
    from engine.runtime.codec import StreamedCodec
    from engine.runtime.quantizers import Quantizer


class Blocks:
    """Cuts audio that comes in pieces of any size into blocks of one size: what is computed does not depend on the pieces.

    Args:
        channels: of the audio.
        size: of a block in samples.
    """

    def __init__(self, channels: int, size: int) -> None:
        self.channels, self.size = channels, size
        self.waiting = 0
        self._pieces: list[Tensor] = []

    @property
    def nbytes(self) -> int:
        return sum(piece.untyped_storage().nbytes() for piece in self._pieces)

    def add(self, audio: Tensor) -> list[Tensor]:
        """Take ``[channels, n]``, give the blocks that are full now."""
        if not audio.shape[1]:
            return []
        self._pieces.append(audio)
        self.waiting += audio.shape[1]
        if self.waiting < self.size:
            return []
        joined = torch.cat(self._pieces, 1)
        full = self.waiting // self.size * self.size
        self.waiting -= full
        # A copy, so that a long piece is let go.
        self._pieces = [joined[:, full:].clone()] if self.waiting else []
        return list(torch.split(joined[:, :full], self.size, 1))

    def rest(self) -> Tensor | None:
        """What is left at the end: less than a block, or None."""
        rest = torch.cat(self._pieces, 1) if self.waiting else None
        self.waiting, self._pieces = 0, []
        return rest


class StreamingEncoder:
    """The state of one signal that is being encoded; an `engine.runtime.audio_codec.EncoderStream`.

    Args:
        codec: whose audio it is.
        network: its encoder.
        quantizer: makes codes of what the encoder gives.
        books: codebooks per run of the codec.
        scales: what each run's audio is divided by, ``[runs]``; None: nothing.
        block: samples that are encoded at once, a multiple of the hop.
    """

    def __init__(
        self,
        codec: StreamedCodec,
        network: StreamingNetwork,
        quantizer: Quantizer,
        books: int,
        scales: Tensor | None,
        block: int,
    ) -> None:
        self.codec = codec
        self.samples_done, self.frames_done, self.ended = 0, 0, False
        self._network, self._quantizer, self._books = network, quantizer, books
        self._scales, self._told = scales, False
        self._blocks = Blocks(codec.channels, block)
        with torch.inference_mode():
            self._states: list[Any] = network.new_states(codec.runs)

    @property
    def state_bytes(self) -> int:
        """Memory that the stream holds between two calls; bounded by a block and the network's memory."""
        return self._blocks.nbytes + tensor_bytes(self._states)

    @torch.inference_mode()
    def encode(self, audio: Tensor) -> Encoded:
        """Take the next samples, give the codes that became final. See `engine.runtime.audio_codec.EncoderStream`."""
        refuse_ended(self.ended)
        audio = self.codec.checked(audio, empty=True)
        self.samples_done += audio.shape[1]
        return self._piece([self._run(block, False) for block in self._blocks.add(audio)], audio.shape[1])

    @torch.inference_mode()
    def flush(self) -> Encoded:
        """End the stream: the codes that waited for more audio."""
        refuse_ended(self.ended)
        self.ended = True
        rest = self._blocks.rest()
        latents = []
        if self.samples_done:
            if rest is not None and self.codec.fills_frames:
                rest = torch.nn.functional.pad(rest, (0, -rest.shape[1] % self.codec.hop_length))
            latents.append(self._run(rest, True))
        piece = self._piece(latents, 0)
        assert self.frames_done == -(-self.samples_done // self.codec.hop_length), (self.frames_done, self.samples_done)
        self._states = []
        return piece

    def _run(self, audio: Tensor | None, last: bool) -> Tensor | None:
        if audio is None:
            return self._network.step(None, self._states, last)
        rows = audio.reshape(self.codec.runs, -1, audio.shape[1]).transpose(1, 2)
        rows = rows.clone() if self._scales is None else rows / self._scales.view(-1, 1, 1)
        return self._network.step(rows, self._states, last)

    def _piece(self, latents: list[Tensor | None], samples: int) -> Encoded:
        made = [rows for rows in latents if rows is not None]
        rows = self._books * self.codec.runs
        if made:
            # Block by block, so that the products do not depend on how many blocks came at once.
            codes = torch.cat([self._quantizer.encode(rows, self._books) for rows in made], 2).view(rows, -1)
        else:
            codes = torch.zeros(rows, 0, dtype=torch.long, device=self.codec.device)
        self.frames_done += codes.shape[1]
        scales = None if self._scales is None else self._scales.cpu() if not self._told else torch.zeros(0)
        self._told = True
        return Encoded(codes, samples, scales)


class SignalDecoder:
    """The audio of an encoded signal; an `engine.runtime.audio_codec.EncodedStream`.

    Args:
        codec: whose codes they are.
        stream: that decodes them.
        samples: of the signal, where that is known.
    """

    def __init__(self, codec: StreamedCodec, stream: DecoderStream, samples: int | None) -> None:
        self.codec, self.stream, self.samples = codec, stream, samples
        self.samples_done, self.ended = 0, False
        self._announced = 0
        self._scales: Tensor | None = None
        self._held: Tensor | None = None

    @property
    def state_bytes(self) -> int:
        """Memory that the stream holds between two calls."""
        return self.stream.state_bytes + (0 if self._held is None else self._held.untyped_storage().nbytes())

    @torch.inference_mode()
    def decode(self, piece: Encoded) -> Tensor:
        """Take a piece, give the audio that became final. See `engine.runtime.audio_codec.EncodedStream`."""
        refuse_ended(self.ended)
        scales = self._checked(piece)
        audio = self.stream.decode(piece.codes)
        self._scales = scales
        self._announced += piece.samples
        return self._given(audio, last=False)

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """End the stream: what was held back."""
        refuse_ended(self.ended)
        self.ended = True
        return self._given(self.stream.flush(), last=True)

    def _checked(self, piece: Encoded) -> Tensor | None:
        """The scales as they are with this piece."""
        given = None if piece.scales is None or not piece.scales.numel() else piece.scales
        if given is None:
            if self.codec.scaled and self._scales is None and piece.codes.shape[-1]:
                raise RequestError(ErrorCode.OUT_OF_RANGE, "scales", 0, f"{self.codec.runs} with the first frame")
            return self._scales
        allowed = self.codec.runs if self.codec.scaled and self._scales is None else 0
        return checked_scales(given, allowed, self.codec.device)

    def _given(self, audio: Tensor, last: bool) -> Tensor:
        if self._scales is not None:
            audio = audio * self._scales.view(-1, 1)
        if self._held is not None:
            audio, self._held = torch.cat((self._held, audio), 1), None
        total = self.samples
        if total is None and last:
            total = self._announced
        if total is not None:
            audio = audio[:, : max(0, total - self.samples_done)]
        elif (certain := max(0, audio.shape[1] - self.codec.hop_length)) < audio.shape[1]:
            # The signal may end within its last frame, which is known at its end.
            audio, self._held = audio[:, :certain], audio[:, certain:].clone()
        self.samples_done += audio.shape[1]
        return audio


def checked_scales(scales: Tensor, count: int, device: torch.device) -> Tensor:
    """Scales as float32 on ``device``.

    Raises:
        RequestError: ``out_of_range`` for another number of them than ``count``, or one that is no number above 0.
    """
    if scales.dim() != 1 or len(scales) != count:
        raise RequestError(ErrorCode.OUT_OF_RANGE, "scales", list(scales.shape), f"{count} of them")
    if not (torch.isfinite(scales).all() and (scales > 0).all()):
        raise RequestError(ErrorCode.OUT_OF_RANGE, "scales", "one that is none", "numbers above 0")
    return scales.to(device, torch.float32)


def refuse_ended(ended: bool) -> None:
    """Raises a RuntimeError when a stream has ended."""
    if ended:
        raise RuntimeError("the stream has ended: begin a new one")
