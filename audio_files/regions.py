"""Intake of a selected audio region: a stretch of a file that a host points at, brought to the model's rate."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Rational, Real
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from audio_files.channel_mixing import MAX_SOURCE_CHANNELS, mix_gains, mixing_note
from audio_files.exchange import note_use
from audio_files.locations import locate_file
from audio_files.resampling import SincResampler, sinc_fits
from protocols.errors import ErrorCode, RequestError
from protocols.message_parts import Resampling

MAX_REGION_SECONDS = 600.0
MIN_SAMPLE_RATE = 1_000
MAX_SAMPLE_RATE = 768_000

_BLOCK_FRAMES = 65_536
_EDGE_SAMPLES = 128
"""What a resampler's filter reaches, of the lower of the two rates."""
# libsndfile lands at a wrong sample when it seeks into the last page of an Ogg Vorbis file. A page holds at most
# 65 kB, which at Vorbis' usual rates is well under this.
_VORBIS_TAIL_SECONDS = 30


@dataclass(frozen=True, eq=False, slots=True)
class Region:
    """A stretch of an audio file, mixed and resampled.

    Attributes:
        audio: ``[channels, samples]``, float32, full scale at 1.0.
        sample_rate: of ``audio``, in Hz.
        path: the file, absolute and free of links.
        source_rate: of the file, in Hz.
        source_channels: of the file.
        start_samples: first sample of the region, counted in the file.
        length_samples: samples read from the file.
        missing_samples: samples asked for beyond the end of the file, which are not in ``audio``.
        sha256: of the samples read, as interleaved little-endian float32 before mixing; two regions with the same
            digest hold the same sound, whatever their files are called.
    """

    audio: npt.NDArray[np.float32]
    sample_rate: int
    path: Path
    source_rate: int
    source_channels: int
    start_samples: int
    length_samples: int
    missing_samples: int
    sha256: str

    @property
    def seconds(self) -> Fraction:
        """Exact length of the region in the file, in seconds."""
        return Fraction(self.length_samples, self.source_rate)

    @property
    def note(self) -> str:
        """What became of the region where that is not plain, in words; empty when all of it is there."""
        missing = self.missing_samples / self.source_rate
        cut = f"the file ends {missing:.4g} s before the region does" if missing else ""
        return "; ".join(filter(None, (cut, mixing_note(self.source_channels, len(self.audio)))))


def read_region(
    path: str | os.PathLike[str],
    *,
    start_seconds: float | Fraction = 0.0,
    length_seconds: float | Fraction | None = None,
    start_samples: int | None = None,
    length_samples: int | None = None,
    sample_rate: int,
    channels: int,
    allowed_folders: Sequence[str | os.PathLike[str]] | None,
    max_seconds: float = MAX_REGION_SECONDS,
    resampling: Resampling = "soxr",
) -> Region:
    """Read a region of an audio file as mono or stereo at a given rate.

    Only the region is decoded, block by block, so a file of hours costs no more than its region. Every format that
    libsndfile reads is taken, except headerless RAW, which does not say its own rate. A region that passes the end of
    the file is shortened to it, and says so in ``missing_samples``. At equal rates and channels the samples are
    untouched. How channels are mixed is written at ``mix_gains``.

    Args:
        path: the file.
        start_seconds: where the region starts; rounded to the nearest sample of the file.
        length_seconds: how long it is; None reads to the end of the file.
        start_samples: the exact start in samples of the file, instead of ``start_seconds``.
        length_samples: the exact length in samples of the file, instead of ``length_seconds``.
        sample_rate: rate of the result, 1000 to 768000 Hz.
        channels: 1 or 2.
        allowed_folders: where the file may lie; empty allows nothing, None everything (see ``locate_file``).
        max_seconds: the longest region that is accepted.
        resampling: how: "soxr" is its HQ, "sinc" `audio_files.resampling`, which is what the AudioCraft models were trained with.
            "sinc" gives the whole samples that fit, "soxr" the nearest number of them, and takes the place of "sinc" between rates
            without a common factor.

    Raises:
        RequestError: what is wrong with ``path`` (see ``locate_file``; NOT_AUDIO; UNSUPPORTED rate, channel count or
            RAW; EMPTY; MALFORMED when the sound is cut short, cannot be decoded, or holds NaN or infinite samples),
            with ``start`` or ``length`` (BAD_TYPE, OUT_OF_RANGE, EMPTY, TOO_LONG), or with ``sample_rate``,
            ``channels`` or ``max_seconds`` (OUT_OF_RANGE).
    """
    _check_target(sample_rate, channels)
    if not (math.isfinite(max_seconds) and max_seconds > 0):
        raise RequestError(ErrorCode.OUT_OF_RANGE, "max_seconds", max_seconds, "a finite time over 0 s")
    _check_place("start", start_seconds if start_seconds != 0.0 else None, start_samples)
    _check_place("length", length_seconds, length_samples)
    location = locate_file(path, allowed_folders)
    with open_sound(location) as source:
        total, rate = source.frames, source.samplerate
        start = _place_in_samples(start_seconds, start_samples, rate)
        if start >= total:
            here = f"0 to less than {total / rate:.3f} s, {total} samples at {rate} Hz"
            raise RequestError(ErrorCode.OUT_OF_RANGE, "start", _given(start_seconds, start_samples), here)
        wanted = total - start
        if length_seconds is not None or length_samples is not None:
            wanted = _place_in_samples(length_seconds or 0.0, length_samples, rate)
        length = min(wanted, total - start)
        _check_length(length, rate, _given(length_seconds, length_samples), max_seconds)
        gains = mix_gains(source.channels, channels, vorbis_order=source.format == "OGG")
        intake = _Intake(length, rate, sample_rate, gains, resampling)
        for block in sound_blocks(source, location, start, length):
            intake.push(block)
        note_use(location)
        return Region(
            audio=intake.finish("path", "length", location.name),
            sample_rate=sample_rate,
            path=location,
            source_rate=rate,
            source_channels=source.channels,
            start_samples=start,
            length_samples=length,
            missing_samples=wanted - length,
            sha256=intake.sha256,
        )


def mix_and_resample(
    audio: npt.NDArray[np.floating],
    source_rate: int,
    *,
    sample_rate: int,
    channels: int,
    resampling: Resampling = "soxr",
) -> npt.NDArray[np.float32]:
    """Bring audio in memory to mono or stereo at a given rate, exactly as ``read_region`` does with a file's.

    Args:
        audio: ``[source channels, samples]`` of finite samples, 1 to 32 channels.
        source_rate: its rate, 1000 to 768000 Hz.
        sample_rate: rate of the result, 1000 to 768000 Hz.
        channels: 1 or 2.
        resampling: as for ``read_region``.

    Returns:
        ``[channels, samples]``.

    Raises:
        RequestError: about ``audio`` (BAD_TYPE, EMPTY, UNSUPPORTED channel count, MALFORMED for NaN or infinite
            samples), ``source_rate``, ``sample_rate`` or ``channels`` (OUT_OF_RANGE).
    """
    _check_rate("source_rate", source_rate)
    _check_target(sample_rate, channels)
    if not isinstance(audio, np.ndarray) or audio.dtype.kind != "f" or audio.ndim != 2:
        held = f"{audio.dtype} {audio.shape}" if isinstance(audio, np.ndarray) else type(audio).__name__
        raise RequestError(ErrorCode.BAD_TYPE, "audio", held, "floats [channels, samples]")
    source_channels, length = audio.shape
    if not 1 <= source_channels <= MAX_SOURCE_CHANNELS:
        raise RequestError(ErrorCode.UNSUPPORTED, "audio", f"{source_channels} channels", f"1 to {MAX_SOURCE_CHANNELS}")
    if length == 0:
        raise RequestError(ErrorCode.EMPTY, "audio", "0 samples", "at least one sample")
    intake = _Intake(length, source_rate, sample_rate, mix_gains(source_channels, channels), resampling)
    for start in range(0, length, _BLOCK_FRAMES):
        with np.errstate(over="ignore"):  # what overflows is counted as infinite
            intake.push(np.ascontiguousarray(audio[:, start : start + _BLOCK_FRAMES].T, dtype=np.float32))
    return intake.finish("audio", "audio")


class _Intake:
    """Takes the blocks of a region ``[frames, source channels]``; holds only what comes of them."""

    def __init__(
        self, length: int, source_rate: int, sample_rate: int, gains: npt.NDArray[np.float32], resampling: Resampling
    ) -> None:
        self._length, self._source_rate, self._sample_rate = length, source_rate, sample_rate
        self._gains = gains if not np.array_equal(gains, np.eye(*gains.shape)) else None
        self._digest = hashlib.sha256()
        self._resampler: SincResampler | soxr.ResampleStream | None = None
        # As many as soxr makes: it rounds to the nearest sample.
        samples = (2 * length * sample_rate + source_rate) // (2 * source_rate)
        if source_rate != sample_rate and resampling == "sinc" and sinc_fits(source_rate, sample_rate):
            self._resampler = SincResampler(source_rate, sample_rate, gains.shape[1])
            samples = length * sample_rate // source_rate
        elif source_rate != sample_rate:
            self._resampler = soxr.ResampleStream(
                source_rate, sample_rate, gains.shape[1], dtype="float32", quality="HQ"
            )
        self._audio = np.empty((gains.shape[1], samples), dtype=np.float32)
        self._end = np.empty((0, gains.shape[1]), dtype=np.float32)
        self._edge = math.ceil(_EDGE_SAMPLES * max(1.0, source_rate / sample_rate))
        self._filled = 0
        self._not_finite = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def push(self, block: npt.NDArray[np.float32]) -> None:
        self._digest.update(np.ascontiguousarray(block, dtype="<f4").data)
        self._not_finite += block.size - int(np.count_nonzero(np.isfinite(block)))
        if self._not_finite:
            return  # the region is refused in the end; what is left is only counted
        self._resample(block if self._gains is None else block @ self._gains, last=False)

    def finish(self, source_field: str, length_field: str, name: str = "") -> npt.NDArray[np.float32]:
        """The result; errors name the field that the samples or their number came from."""
        if self._not_finite:
            held = f"{name}: " * bool(name) + f"{self._not_finite} NaN or infinite samples"
            raise RequestError(ErrorCode.MALFORMED, source_field, held, "finite samples only")
        if not self._audio.size:
            held = f"{self._length} sample{'s' * (self._length != 1)} of {self._source_rate} Hz"
            allowed = f"sound enough for one sample of {self._sample_rate} Hz"
            raise RequestError(ErrorCode.EMPTY, length_field, held, allowed)
        if self._resampler is not None:
            # The other resampler repeats the last sample by itself.
            beyond = self._end[:0] if isinstance(self._resampler, SincResampler) else self._beyond_the_end()
            self._resample(beyond, last=True)
        assert self._filled == self._audio.shape[1], (self._filled, self._audio.shape)
        return self._audio

    def _beyond_the_end(self) -> npt.NDArray[np.float32]:
        """What the resampler hears after the region's last sample: the sound turned about that point, so that its slope goes on.

        Silence there would ring back into the last samples, which are those that new material follows.
        """
        last = self._end[-1:]
        turned = np.concatenate((last, 2 * last - self._end[-2::-1]))
        return np.pad(turned, ((0, self._edge + 1 - len(turned)), (0, 0)), mode="edge")[1:]

    def _resample(self, block: npt.NDArray[np.float32], *, last: bool) -> None:
        if self._resampler is None:
            done = block
        else:
            self._end = np.concatenate((self._end, block[-self._edge - 1 :]))[-self._edge - 1 :]
            done = self._resampler.resample_chunk(block, last=last)
        done = done[: self._audio.shape[1] - self._filled]
        self._audio[:, self._filled : self._filled + len(done)] = done.T
        self._filled += len(done)


def open_sound(location: Path) -> soundfile.SoundFile:
    """Open an audio file that can be read: `sound_blocks` reads it.

    Raises:
        RequestError: about ``path``: EMPTY, NOT_AUDIO, or UNSUPPORTED.
    """
    if location.stat().st_size == 0:
        raise RequestError(ErrorCode.EMPTY, "path", location.name, "a file with sound in it; this one has 0 bytes")
    if location.suffix.lower() == ".raw":
        raise RequestError(ErrorCode.UNSUPPORTED, "path", location.name, "a file with a header; RAW has none")
    try:
        source = soundfile.SoundFile(location)
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        raise RequestError(
            ErrorCode.NOT_AUDIO, "path", location.name, "WAV, AIFF, FLAC, Ogg, MP3 or another format of libsndfile"
        ) from error
    try:
        _check_source(source, location)
    except RequestError:
        source.close()
        raise
    return source


def _check_source(source: soundfile.SoundFile, location: Path) -> None:
    if source.frames <= 0:
        raise RequestError(ErrorCode.EMPTY, "path", location.name, "a file with sound in it")
    if not 1 <= source.channels <= MAX_SOURCE_CHANNELS:
        held = f"{location.name}: {source.channels} channels"
        raise RequestError(ErrorCode.UNSUPPORTED, "path", held, f"1 to {MAX_SOURCE_CHANNELS} channels")
    if not MIN_SAMPLE_RATE <= source.samplerate <= MAX_SAMPLE_RATE:
        held = f"{location.name}: {source.samplerate} Hz"
        raise RequestError(ErrorCode.UNSUPPORTED, "path", held, f"{MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz")


def sound_blocks(
    source: soundfile.SoundFile, location: Path, start: int, length: int
) -> Iterator[npt.NDArray[np.float32]]:
    """A region's blocks ``[frames, channels]``, exactly ``length`` frames in all.

    Raises:
        RequestError: MALFORMED about ``path`` for a file that is cut short or cannot be decoded.
    """
    first = 0
    try:
        if source.seekable():
            first = start
            if source.subtype == "VORBIS":
                first = min(start, max(0, source.frames - _VORBIS_TAIL_SECONDS * source.samplerate))
            source.seek(first)
        position, end = first, start + length
        while position < end:
            edge = start if position < start else end
            block = source.read(min(_BLOCK_FRAMES, edge - position), dtype="float32", always_2d=True)
            if len(block) == 0:
                held = f"{location.name}: ends after {position} of {source.frames} samples"
                raise RequestError(ErrorCode.MALFORMED, "path", held, "a whole file; this one is cut short")
            if position >= start:
                yield block
            position += len(block)
    except soundfile.SoundFileError as error:
        held = f"{location.name}: {error}"
        raise RequestError(ErrorCode.MALFORMED, "path", held, "a whole file that libsndfile can decode") from error


def _check_rate(field: str, rate: int) -> None:
    if not isinstance(rate, Integral) or not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise RequestError(ErrorCode.OUT_OF_RANGE, field, rate, f"{MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz")


def _check_target(sample_rate: int, channels: int) -> None:
    _check_rate("sample_rate", sample_rate)
    if channels not in (1, 2):
        raise RequestError(ErrorCode.OUT_OF_RANGE, "channels", channels, "1 or 2")


def _check_place(field: str, seconds: float | Fraction | None, samples: int | None) -> None:
    if seconds is not None and samples is not None:
        both = f"{seconds} s and {samples} samples"
        raise RequestError(ErrorCode.MALFORMED, field, both, "seconds or samples, not both")
    value = seconds if samples is None else samples
    if value is None:
        return
    kind, unit = (Real, "seconds") if samples is None else (Integral, "whole samples")
    if not isinstance(value, kind) or isinstance(value, bool):
        raise RequestError(ErrorCode.BAD_TYPE, field, value, unit)
    # Written so that NaN fails too.
    if not 0 <= value < 2**53:
        raise RequestError(ErrorCode.OUT_OF_RANGE, field, value, f"0 or more {unit}")


def _place_in_samples(seconds: float | Fraction, samples: int | None, rate: int) -> int:
    if samples is not None:
        return int(samples)
    exact = Fraction(seconds) if isinstance(seconds, Rational) else Fraction(float(seconds))
    return math.floor(exact * rate + Fraction(1, 2))


def _given(seconds: float | Fraction | None, samples: int | None) -> str | None:
    if samples is not None:
        return f"{samples} samples"
    return None if seconds is None else f"{float(seconds):g} s"


def _check_length(length: int, rate: int, given: str | None, max_seconds: float) -> None:
    if length == 0:
        raise RequestError(ErrorCode.EMPTY, "length", given, f"at least one sample, {1 / rate:.6f} s")
    if Fraction(length, rate) > Fraction(max_seconds):
        found = f"{length / rate:.3f} s"
        raise RequestError(ErrorCode.TOO_LONG, "length", found, f"over 0 s, at most {max_seconds:g} s")
