"""Between sound and files of codes, block by block: what a codec makes of a stream of either, in constant memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audio_files.bit_packing import bits_of
from audio_files.coded import NO_SCALES, CodedHeader, CodedSource
from audio_files.sound_stream import SoundStream
from engine.runtime.audio_codec import AudioCodec, Encoded
from protocols.errors import ErrorCode, RequestError

Watch = Callable[[int], None]
"""Hears how many samples are done; what it raises ends the work."""

Hear = Callable[[], AbstractContextManager[SoundStream]]
"""Opens the sound at its beginning."""

_AT_ONCE_S = 600
_DECODE_FRAMES = 256
"""Frames that are decoded at once: memory, and how soon a job that is cancelled ends."""


class CodesSink(Protocol):
    """What takes codes, as the writers of both kinds of files do.

    Attributes:
        frames: that were taken.
    """

    frames: int

    def write(self, codes: NDArray[np.integer], scales: NDArray[np.float32] = NO_SCALES) -> None:
        """Take codes ``[codebooks, frames]``, and the scales of what begins in them."""

    def finish(self, samples: int) -> None:
        """All is there: so many samples."""


def header_of(codec: AudioCodec, name: str, codebooks: int) -> CodedHeader:
    """The header of a file of this codec's codes."""
    chunks = codec.chunks
    plain = codec.frame_rate == Fraction(codec.sample_rate, codec.hop_length)
    return CodedHeader(
        codec=name[:200],
        fingerprint=codec.fingerprint,
        sample_rate=codec.sample_rate,
        channels=codec.channels,
        hop_length=codec.hop_length,
        codebooks=codebooks,
        card=codec.card,
        chunk_samples=chunks.length if chunks is not None else 0,
        chunk_stride=chunks.stride if chunks is not None else 0,
        frame_rate="" if plain else str(codec.frame_rate),
    )


def codebooks_for(codec: AudioCodec, bandwidth: float, codebooks: int) -> int:
    """How many rows of codes to make.

    Args:
        codec: that makes them.
        bandwidth: kbit/s that they may take at most; 0 for no limit.
        codebooks: how many; 0 for all that the bandwidth allows.

    Raises:
        RequestError: OUT_OF_RANGE for less bandwidth than one codebook takes, or more codebooks than there are; MALFORMED for both.
    """
    if bandwidth and codebooks:
        raise RequestError(ErrorCode.MALFORMED, "bandwidth", bandwidth, "bandwidth or codebooks, not both")
    step = codec.channels if codec.interleaved else 1
    if codebooks:
        if codebooks > codec.num_codebooks or codebooks % step:
            steps = f" in steps of {step}" if step > 1 else ""
            allowed = f"{step} to {codec.num_codebooks}{steps}"
            raise RequestError(ErrorCode.OUT_OF_RANGE, "codebooks", codebooks, allowed)
        return codebooks
    if not bandwidth:
        return codec.num_codebooks
    each = float(codec.frame_rate) * bits_of(codec.card) / 1000 * step
    affordable = math.floor(bandwidth / each + 1e-6) * step
    if not affordable:
        most = each * codec.num_codebooks / step
        raise RequestError(ErrorCode.OUT_OF_RANGE, "bandwidth", bandwidth, f"{each:g} to {most:g} kbit/s")
    return min(affordable, codec.num_codebooks)


def refuse_other_codec(codec: AudioCodec, name: str, header: CodedHeader) -> None:
    """Refuse to decode what another codec has made.

    Args:
        codec: that is to decode.
        name: of it.
        header: of the file.

    Raises:
        RequestError: UNSUPPORTED, with the first fact in which they differ.
    """
    chunks = codec.chunks
    facts: tuple[tuple[str, object, object], ...] = (
        ("sample_rate", header.sample_rate, codec.sample_rate),
        ("channels", header.channels, codec.channels),
        ("frame_rate", header.frames_per_second, codec.frame_rate),
        ("card", header.card, codec.card),
        ("chunk_stride", header.chunk_stride, chunks.stride if chunks is not None else 0),
        ("chunk_samples", header.chunk_samples, chunks.length if chunks is not None else 0),
    )
    for fact, theirs, ours in facts:
        if theirs != ours:
            raise RequestError(
                ErrorCode.UNSUPPORTED, fact, theirs, f"{ours}, as {name} has; codec says which one decodes"
            )
    if header.codebooks > codec.num_codebooks:
        allowed = f"at most {codec.num_codebooks}, as {name} has"
        raise RequestError(ErrorCode.UNSUPPORTED, "codebooks", header.codebooks, allowed)
    if header.fingerprint not in ("", codec.fingerprint):
        held = f"{header.codec} ({header.fingerprint[:12]})"
        allowed = f"codes of {name} ({codec.fingerprint[:12]}); name the codec that they were made with"
        raise RequestError(ErrorCode.UNSUPPORTED, "codec", held, allowed)


@torch.inference_mode()
def encode_stream(codec: AudioCodec, codebooks: int, hear: Hear, sink: CodesSink, watch: Watch) -> None:
    """Encode sound as it is read; what comes out equals `AudioCodec.encode_whole` of all of it.

    Args:
        codec: that encodes.
        codebooks: rows of codes.
        hear: opens the sound; a codec that divides by the loudness of the whole signal hears it twice.
        sink: takes the codes.
        watch: hears how far it is.

    Raises:
        RequestError: what is wrong with the sound.
        OSError: what the sink writes to fails.
    """
    scales = None
    if codec.scaled and codec.chunks is None:
        meter = codec.level_meter()
        with hear() as sound:
            for block in sound.blocks():
                meter.add(torch.from_numpy(block))
                watch(0)
        scales = meter.scales
    try:
        stream = codec.encoder_stream(codebooks, scales)
    except RequestError as error:
        if error.code is not ErrorCode.UNSUPPORTED:
            raise
        _encode_at_once(codec, codebooks, hear, sink, watch)
        return
    done = 0
    with hear() as sound:
        for block in sound.blocks():
            _put(sink, stream.encode(torch.from_numpy(block)))
            done += block.shape[1]
            watch(done)
        _put(sink, stream.flush())
        sink.finish(sound.samples)


@torch.inference_mode()
def decode_stream(codec: AudioCodec, source: CodedSource, samples: int, watch: Watch) -> Iterator[NDArray[np.float32]]:
    """Decode codes as they are read: blocks ``[channels, n]``, ``samples`` in all.

    Args:
        codec: that made the codes.
        source: at its beginning.
        samples: that the codes stand for, as far as they are whole; see `audio_files.coded_files.facts_of`.
        watch: hears how far it is.

    Raises:
        RequestError: codes that are none of this codec's.
    """
    try:
        stream = codec.decoder_stream(samples)
    except RequestError as error:
        if error.code is not ErrorCode.UNSUPPORTED:
            raise
        yield _decode_at_once(codec, source, samples)
        return
    for piece in _pieces(source, samples):
        yield _plain(stream.decode(piece))
        watch(stream.samples_done)
    yield _plain(stream.flush())


def _pieces(source: CodedSource, samples: int) -> Iterator[Encoded]:
    """What is read, in pieces that cost little memory to decode. The first one says how many samples there are in all."""
    said = samples
    for block in source.blocks():
        for first in range(0, block.codes.shape[1], _DECODE_FRAMES):
            codes = torch.from_numpy(block.codes[:, first : first + _DECODE_FRAMES].astype(np.int64))
            scales = torch.from_numpy(block.scales) if len(block.scales) and not first else None
            yield Encoded(codes, said, scales)
            said = 0


def _encode_at_once(codec: AudioCodec, codebooks: int, hear: Hear, sink: CodesSink, watch: Watch) -> None:
    """A codec whose every code depends on the whole signal has to hear all of it first."""
    with hear() as sound:
        _refuse_long(sound.samples, codec)
        whole = torch.from_numpy(np.concatenate(list(sound.blocks()), axis=1))
        watch(0)
        _put(sink, codec.encode_whole(whole, codebooks))
        watch(sound.samples)
        sink.finish(sound.samples)


def _decode_at_once(codec: AudioCodec, source: CodedSource, samples: int) -> NDArray[np.float32]:
    _refuse_long(samples, codec)
    return _plain(codec.decode_whole(Encoded.join(list(_pieces(source, samples)))))


def _refuse_long(samples: int, codec: AudioCodec) -> None:
    if samples > _AT_ONCE_S * codec.sample_rate:
        allowed = f"at most {_AT_ONCE_S} s for this codec, in which everything depends on the whole of the sound"
        raise RequestError(ErrorCode.TOO_LONG, "length", f"{samples / codec.sample_rate:.1f} s", allowed)


def _put(sink: CodesSink, piece: Encoded) -> None:
    if piece.codes.shape[1] or piece.scales is not None:
        scales = NO_SCALES if piece.scales is None else piece.scales.float().cpu().numpy()
        sink.write(piece.codes.cpu().numpy(), scales)


def _plain(audio: Tensor) -> NDArray[np.float32]:
    return audio.float().cpu().numpy()
