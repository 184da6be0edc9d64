"""Sound from a file or from memory, block by block at a codec's rate: hours of it cost no more memory than a block."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from audio_files.channel_mixing import mix_gains, mixing_note
from audio_files.exchange import note_use
from audio_files.locations import locate_file
from audio_files.regions import open_sound, sound_blocks
from protocols.errors import ErrorCode, RequestError


class SoundStream:
    """Sound that is being read, mixed and resampled. `blocks` gives it once.

    Args:
        blocks: ``[frames, source channels]``, ``length`` frames in all.
        length: in samples of the source.
        source_rate: of the source, in Hz.
        gains: how its channels are mixed; see `mix_gains`.
        sample_rate: of the result, in Hz.
        note: what became of the source, in words.

    Attributes:
        samples: of the result, per channel.
        note: what became of the source, in words; empty where that is plain.
    """

    def __init__(
        self,
        blocks: Iterator[NDArray[np.float32]],
        length: int,
        source_rate: int,
        gains: NDArray[np.float32],
        sample_rate: int,
        note: str = "",
    ) -> None:
        self.samples = (2 * length * sample_rate + source_rate) // (2 * source_rate)
        self.note = note
        self._source = blocks
        self._gains = gains
        self._rates = source_rate, sample_rate

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """The sound in blocks ``[channels, n]`` of any length, `samples` in all.

        Raises:
            RequestError: MALFORMED for NaN or infinite samples, and as `sound_blocks`.
        """
        left = self.samples
        for block in self._resampled():
            done = block[:left]
            left -= len(done)
            if len(done):
                yield np.ascontiguousarray(done.T)
        if left:
            yield np.zeros((self._gains.shape[1], left), np.float32)

    def _resampled(self) -> Iterator[NDArray[np.float32]]:
        source_rate, sample_rate = self._rates
        channels = self._gains.shape[1]
        if source_rate == sample_rate:
            yield from self._mixed()
            return
        resampler = soxr.ResampleStream(source_rate, sample_rate, channels, dtype="float32", quality="HQ")
        for block in self._mixed():
            yield resampler.resample_chunk(block)
        yield resampler.resample_chunk(np.zeros((0, channels), np.float32), last=True)

    def _mixed(self) -> Iterator[NDArray[np.float32]]:
        plain = np.array_equal(self._gains, np.eye(*self._gains.shape))
        for block in self._source:
            if not np.isfinite(block).all():
                raise RequestError(ErrorCode.MALFORMED, "path", "NaN or infinite samples", "finite samples only")
            yield block if plain else block @ self._gains


@contextmanager
def stream_file(
    path: str | Path,
    *,
    start_seconds: float,
    length_seconds: float,
    sample_rate: int,
    channels: int,
    allowed_folders: Sequence[Path] | None,
) -> Iterator[SoundStream]:
    """A region of an audio file as a stream, open while the ``with`` lasts.

    Args:
        path: the file.
        start_seconds: where it begins.
        length_seconds: how long it is; 0 up to the file's end. A region that passes the end is shortened to it.
        sample_rate: of the result, in Hz.
        channels: of the result, 1 or 2.
        allowed_folders: where the file may lie; None for anywhere.

    Raises:
        RequestError: as `locate_file` and `open_sound`; OUT_OF_RANGE for a start behind the end; EMPTY for a region of no sample.
    """
    location = locate_file(path, allowed_folders)
    with open_sound(location) as source:
        rate, total = source.samplerate, source.frames
        start = round(start_seconds * rate)
        if start >= total:
            allowed = f"0 to less than {total / rate:.3f} s"
            raise RequestError(ErrorCode.OUT_OF_RANGE, "start", start_seconds, allowed)
        wanted = round(length_seconds * rate) if length_seconds else total - start
        length = min(wanted, total - start)
        if not length:
            raise RequestError(
                ErrorCode.EMPTY, "length", f"{length_seconds:g} s", f"at least one sample, {1 / rate:.6f} s"
            )
        missing = (wanted - length) / rate
        cut = f"the file ends {missing:.4g} s before the region does" if missing else ""
        note_use(location)
        gains = mix_gains(source.channels, channels, vorbis_order=source.format == "OGG")
        note = "; ".join(filter(None, (cut, mixing_note(source.channels, channels))))
        blocks = sound_blocks(source, location, start, length)
        yield SoundStream(blocks, length, rate, gains, sample_rate, note)


def stream_samples(
    content: bytes, *, source_rate: int, source_channels: int, sample_rate: int, channels: int
) -> SoundStream:
    """Samples that were sent along, float32 interleaved and little-endian, as a stream.

    Raises:
        RequestError: MISSING without a rate; MALFORMED for bytes that are no samples of so many channels; EMPTY without a sample.
    """
    if not source_rate:
        raise RequestError(ErrorCode.MISSING, "sample_rate", None, "the rate of the samples sent along, in Hz")
    if source_rate < 1000:
        raise RequestError(ErrorCode.OUT_OF_RANGE, "sample_rate", source_rate, "1000 to 768000 Hz")
    if len(content) % (4 * source_channels):
        allowed = f"float32 samples of {source_channels} channels"
        raise RequestError(ErrorCode.MALFORMED, "payload", f"{len(content)} bytes", allowed)
    samples = np.frombuffer(content, "<f4").astype(np.float32).reshape(-1, source_channels)
    if not math.ceil(len(samples) * sample_rate / source_rate):
        raise RequestError(ErrorCode.EMPTY, "payload", "0 samples", "at least one sample")
    gains = mix_gains(source_channels, channels)
    note = mixing_note(source_channels, channels)
    return SoundStream(iter([samples]), len(samples), source_rate, gains, sample_rate, note)
