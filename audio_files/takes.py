"""Takes on disk: audio streamed into a file that appears whole, with a sidecar that says how it was made."""

from __future__ import annotations

import hashlib
import math
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import soundfile

from audio_files.loudness import MAX_METER_CHANNELS, MIN_METER_RATE, Levelling, LoudnessMeter, LoudnessMode, choose_gain
from audio_files.publishing import create_temporary, folder_error, publish, sync_to_disk
from audio_files.regions import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from audio_files.sidecars import encode_sidecar, plain_sidecar
from protocols.errors import ErrorCode, RequestError

FLOAT = "FLOAT"
_BITS = {"PCM_16": 16, "PCM_24": 24}
_SUBTYPES = {"wav": (*_BITS, FLOAT), "flac": tuple(_BITS)}
_MAX_CHANNELS = {"wav": 32, "flac": 8}
# The sizes in a WAV header have 32 bits, the sample count in a FLAC header 36.
_MAX_WAV_BYTES = 2**32 - 2**16
_MAX_FLAC_FRAMES = 2**36 - 1
_MAX_FLAC_RATE = 655_350
_BLOCK_FRAMES = 65_536
# libsndfile does not say why a write failed; with less room than this it was the room.
_FULL_DISK_BYTES = 2**20
_NAME_ATTEMPTS = 100
_DITHER_SEED = 0x7A4E

Samples = npt.NDArray[np.float32]
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Take:
    """A finished take.

    Attributes:
        path: the audio file.
        sidecar_path: the JSON file beside it.
        frames: samples per channel.
        sample_rate: in Hz.
        channels: 1 or more.
        sha256: of the audio file's bytes.
        over_full_scale: samples written to PCM that passed full scale and were clipped; always 0 for FLOAT.
        levelling: what was measured and the gain that was applied.
    """

    path: Path
    sidecar_path: Path
    frames: int
    sample_rate: int
    channels: int
    sha256: str
    over_full_scale: int
    levelling: Levelling

    @property
    def seconds(self) -> Fraction:
        """Exact length in seconds."""
        return Fraction(self.frames, self.sample_rate)


class TakeWriter:
    """Streams one take to disk. One thread at a time may use it; it waits on the disk (see ``BackgroundTakeWriter``).

    Until ``finish`` the audio lies under a temporary name in the same folder. ``finish`` publishes the audio first and
    its sidecar second, each in one step, so whoever sees a sidecar finds its audio whole, and no take ever replaces
    another. The name is made of the hint, the local time and a random id: ``warm-pads_20250131-142501_9f3c20aa.wav``.

    Nothing is done to the samples unless it is asked for: FLOAT holds exactly what was written; PCM is rounded to the
    nearest step, without dither, and clips what passes full scale, which is counted. (libsndfile by itself would round
    down and shift the sound by half a step.) With ``loudness`` the take is first kept as float and rendered by
    ``finish`` in a second pass of bounded memory, so levels over full scale survive until the gain is known.

    Used with ``with``, a take that is not finished is abandoned.

    Args:
        folder: an existing folder; it is not created, so that a disk that is not mounted is noticed.
        name_hint: words for the file name, such as the prompt.
        format: "wav" or "flac".
        sample_rate: 1000 to 768000 Hz, 655350 for FLAC; from 8000 Hz with ``loudness="lufs"``.
        channels: 1 to 32 for WAV, 1 to 8 for FLAC, 1 to 5 with ``loudness="lufs"``.
        subtype: "PCM_24", "PCM_16", or for WAV "FLOAT".
        loudness: a `LoudnessMode`: "none"; "lufs" for -14 LUFS (ITU-R BS.1770-4); "peak" for a peak of -1 dBFS; and so on.
        dither: add triangular noise of two steps' width before rounding to PCM (Lipshitz, Wannamaker and Vanderkooy
            1992). Its seed is fixed: the same samples give the same file content.

    Raises:
        RequestError: OUT_OF_RANGE or UNSUPPORTED about a parameter; about ``folder`` NOT_FOUND, NOT_ALLOWED or
            TOO_LARGE (disk full).
    """

    def __init__(
        self,
        folder: Path,
        name_hint: str,
        *,
        sample_rate: int,
        channels: int,
        format: str = "wav",
        subtype: str = "PCM_24",
        loudness: str = "none",
        dither: bool = False,
    ) -> None:
        _check_parameters(format, subtype, loudness, sample_rate, channels)
        self.folder = Path(folder)
        self.format = format
        self.subtype = subtype
        self.sample_rate = int(sample_rate)
        self.channels = int(channels)
        self.dither = dither
        self.loudness = LoudnessMode(loudness)
        self._hint = slug(name_hint)
        self._max_frames = _most_frames(format, subtype, channels)
        self._meter = LoudnessMeter(sample_rate, channels) if self.loudness.metered else None
        self._frames = 0
        self._peak = 0.0
        self._energy = 0.0
        self._values = 0
        self._levelling: Levelling | None = None
        self._open = True
        self._fault: RequestError | None = None
        # Float until the gain is known; RF64, because the float form may be larger than a WAV file can be.
        levels_later = self.loudness is not LoudnessMode.NONE
        self._recording = _AudioFile(
            self.folder,
            "RF64" if levels_later else format.upper(),
            FLOAT if levels_later else subtype,
            self.sample_rate,
            self.channels,
            dither and not levels_later,
        )
        self._rendered: _AudioFile | None = None

    @property
    def frames(self) -> int:
        """Samples per channel written so far."""
        return self._frames

    @property
    def is_open(self) -> bool:
        """Whether the take is neither finished nor abandoned."""
        return self._open

    def checked(self, block: npt.NDArray[np.floating]) -> Samples:
        """A block as ``write`` stores it, without touching the disk; safe from any thread.

        Raises:
            RequestError: about ``audio``: BAD_TYPE when it is not ``[frames, channels]`` of floats, MALFORMED when it
                holds NaN or infinite samples.
        """
        if not isinstance(block, np.ndarray) or block.dtype.kind != "f":
            raise RequestError(ErrorCode.BAD_TYPE, "audio", getattr(block, "dtype", type(block)), "float samples")
        if block.ndim != 2 or block.shape[1] != self.channels:
            raise RequestError(ErrorCode.BAD_TYPE, "audio", block.shape, f"[frames, {self.channels}]")
        with np.errstate(over="ignore"):  # what overflows is counted below
            samples = np.ascontiguousarray(block, dtype=np.float32)
        not_finite = samples.size - int(np.count_nonzero(np.isfinite(samples)))
        if not_finite:
            held = f"{not_finite} NaN or infinite samples"
            raise RequestError(ErrorCode.MALFORMED, "audio", held, "finite samples only")
        return samples

    def write(self, block: npt.NDArray[np.floating]) -> None:
        """Append a block ``[frames, channels]``, full scale at 1.0.

        Raises:
            RequestError: see ``checked``; TOO_LONG when the file format can hold no more, after which the take can
                still be finished; about ``folder`` when the disk is full or fails, after which it can only be
                abandoned.
        """
        self._require_usable()
        samples = self.checked(block)
        if self._frames + len(samples) > self._max_frames:
            most = f"{self._max_frames / self.sample_rate:.0f} s in one {self.format} file of this kind"
            raise RequestError(ErrorCode.TOO_LONG, "audio", f"{self._frames + len(samples)} frames", most)
        try:
            for part in _parts(samples):
                self._recording.write(part)
                self._frames += len(part)
                self._measure(part)
        except RequestError as error:
            self._fault = error
            raise

    def finish(self, sidecar: object) -> Take:
        """Level the take if that was asked for, publish it with its sidecar, and close the writer.

        Args:
            sidecar: how the take was made: a mapping or a msgspec-encodable object. The writer adds an ``audio`` block
                (file, format, subtype, sample rate, channels, frames, seconds, sha256, loudness).

        Raises:
            RequestError: EMPTY when nothing was written; about ``sidecar`` (see ``plain_sidecar``); about ``folder``
                when it cannot be written to. The take is still there: correct the cause and call again, or abandon it.
        """
        self._require_usable()
        if self._frames == 0:
            raise RequestError(ErrorCode.EMPTY, "audio", "0 frames", "at least one frame before a take is finished")
        plain = plain_sidecar(sidecar)
        self._recording.close()
        if self._levelling is None:
            self._levelling = self._choose_levelling()
        if self._rendered is None:
            self._rendered = self._render(self._levelling)
        try:
            take = self._publish(plain, self._rendered, self._levelling)
        except OSError as error:
            raise folder_error(error, self.folder) from error
        self._open = False
        if self._rendered is not self._recording:
            self._recording.remove()
        return take

    def abandon(self) -> None:
        """Drop the take and its temporary files; nothing happens to a take that is finished."""
        if self._open:
            self._open = False
            for file in (self._recording, self._rendered):
                if file is not None:
                    file.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    def _require_usable(self) -> None:
        if not self._open:
            raise RequestError(ErrorCode.NOT_ALLOWED, "take", self._hint, "a take that is not finished or abandoned")
        if self._fault is not None:
            raise self._fault

    def _measure(self, samples: Samples) -> None:
        self._peak = max(self._peak, float(np.abs(samples).max(initial=0.0)))
        heard = samples.mean(axis=1) if self.loudness is LoudnessMode.RMS else samples
        self._energy += float(np.square(heard, dtype=np.float64).sum())
        self._values += heard.size
        if self._meter is not None:
            self._meter.push(samples)

    def _choose_levelling(self) -> Levelling:
        rms = math.sqrt(self._energy / max(self._values, 1))
        lufs = None if self._meter is None else self._meter.integrated()
        return choose_gain(self.loudness, rms=rms, peak=self._peak, integrated_lufs=lufs)

    def _render(self, levelling: Levelling) -> _AudioFile:
        if self.loudness is LoudnessMode.NONE:
            self._recording.verify(self._frames)
            return self._recording
        target = _AudioFile(
            self.folder, self.format.upper(), self.subtype, self.sample_rate, self.channels, self.dither
        )
        try:
            for block in self._recording.blocks():
                target.write(levelling.apply(block))
            target.close()
            target.verify(self._frames)
        except BaseException:
            target.remove()
            raise
        return target

    def _publish(self, plain: dict[str, Any], audio: _AudioFile, levelling: Levelling) -> Take:
        sync_to_disk(audio.path)
        with audio.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        for _ in range(_NAME_ATTEMPTS):
            path = self.folder / f"{self._hint}_{time.strftime('%Y%m%d-%H%M%S')}_{secrets.token_hex(4)}.{self.format}"
            sidecar_path = path.with_suffix(".json")
            block = self._audio_block(path.name, digest, audio.over_full_scale, levelling)
            sidecar = create_temporary(self.folder)
            try:
                sidecar.write_bytes(encode_sidecar(plain, block))
                sync_to_disk(sidecar)
                audio.move_to(path)
                publish(sidecar, sidecar_path)
            except FileExistsError:
                continue
            finally:
                sidecar.unlink(missing_ok=True)
            return Take(
                path,
                sidecar_path,
                self._frames,
                self.sample_rate,
                self.channels,
                digest,
                audio.over_full_scale,
                levelling,
            )
        raise RequestError(ErrorCode.BUSY, "folder", str(self.folder), "a folder in which a new name can be found")

    def _audio_block(self, name: str, digest: str, over_full_scale: int, levelling: Levelling) -> dict[str, Any]:
        return {
            "file": name,
            "format": self.format,
            "subtype": self.subtype,
            "sample_rate": self.sample_rate,
            "channels": self.channels,
            "frames": self._frames,
            "seconds": self._frames / self.sample_rate,
            "sha256": digest,
            "dither": self.dither,
            "over_full_scale": over_full_scale,
            "loudness": {
                "mode": levelling.mode.value,
                "integrated_lufs": levelling.integrated_lufs,
                "rms_dbfs": levelling.rms_dbfs,
                "peak_dbfs": levelling.peak_dbfs,
                "gain_db": levelling.gain_db,
                "limited_by_peak": levelling.limited_by_peak,
                "skipped": levelling.skipped,
            },
        }


class _AudioFile:
    """One audio file under a temporary name: written once, then closed, checked, read back, moved or removed."""

    def __init__(
        self, folder: Path, container: str, subtype: str, sample_rate: int, channels: int, dither: bool
    ) -> None:
        self.path = create_temporary(folder)
        self.over_full_scale = 0
        self._folder = folder
        self._bits = _BITS.get(subtype)
        self._noise = np.random.default_rng(_DITHER_SEED) if dither and self._bits else None
        try:
            self._file = self._on_disk(
                lambda: soundfile.SoundFile(self.path, "w", sample_rate, channels, subtype, format=container)
            )
        except BaseException:
            self.path.unlink(missing_ok=True)
            raise

    def write(self, samples: Samples) -> None:
        encoded = samples if self._bits is None else self._quantised(samples, self._bits)
        self._on_disk(lambda: self._file.write(encoded))

    def close(self) -> None:
        self._on_disk(self._file.close)

    def verify(self, frames: int) -> None:
        """Open the closed file again: libsndfile does not report a header it failed to write."""
        found = self._on_disk(lambda: soundfile.info(self.path).frames)
        if found != frames:
            raise self._write_error(f"{found} of {frames} frames arrived")

    def blocks(self) -> Iterator[Samples]:
        with self._on_disk(lambda: soundfile.SoundFile(self.path)) as source:
            while len(block := source.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
                yield block

    def move_to(self, final: Path) -> None:
        publish(self.path, final)
        self.path = final

    def remove(self) -> None:
        """Throw the file away; where the system refuses, it is left to ``clean_leftovers``."""
        with suppress(soundfile.SoundFileError, OSError):
            self._file.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _quantised(self, samples: Samples, bits: int) -> npt.NDArray[np.integer]:
        self.over_full_scale += int(np.count_nonzero(np.abs(samples) > 1.0))
        full_scale = 2.0 ** (bits - 1)
        steps = samples.astype(np.float64) * full_scale
        if self._noise is not None:
            steps += self._noise.random(steps.shape) - self._noise.random(steps.shape)
        steps = np.clip(np.rint(steps), -full_scale, full_scale - 1.0)
        if bits == 16:
            return steps.astype(np.int16)
        return np.left_shift(steps.astype(np.int32), 32 - bits)

    def _on_disk(self, action: Callable[[], _Result]) -> _Result:
        try:
            return action()
        except OSError as error:
            raise folder_error(error, self._folder) from error
        except (soundfile.SoundFileError, AssertionError) as error:  # the assertion is soundfile's for a short write
            raise self._write_error(str(error)) from error

    def _write_error(self, reason: str) -> RequestError:
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError as error:
            return folder_error(error, self._folder)
        code = ErrorCode.TOO_LARGE if free < _FULL_DISK_BYTES else ErrorCode.INTERNAL
        allowed = f"a folder that takes the whole file; {free // 2**20} MiB are free. {reason}".strip()
        return RequestError(code, "folder", str(self._folder), allowed)


def slug(text: str, limit: int = 40) -> str:
    """Words for a file name that every host and system can spell: small ASCII letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", text[: limit * 4]).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:limit].strip("-") or "take"


def _parts(samples: Samples) -> Iterator[Samples]:
    for start in range(0, len(samples), _BLOCK_FRAMES):
        yield samples[start : start + _BLOCK_FRAMES]


def _most_frames(format: str, subtype: str, channels: int) -> int:
    if format == "flac":
        return _MAX_FLAC_FRAMES
    return _MAX_WAV_BYTES // (channels * _BITS.get(subtype, 32) // 8)


def _check_parameters(format: str, subtype: str, loudness: str, sample_rate: int, channels: int) -> None:
    if format not in _SUBTYPES:
        raise RequestError(ErrorCode.UNSUPPORTED, "format", format, ", ".join(_SUBTYPES))
    if subtype not in _SUBTYPES[format]:
        raise RequestError(ErrorCode.UNSUPPORTED, "subtype", subtype, f"{', '.join(_SUBTYPES[format])} for {format}")
    if loudness not in tuple(LoudnessMode):
        raise RequestError(ErrorCode.OUT_OF_RANGE, "loudness", loudness, ", ".join(LoudnessMode))
    metered = LoudnessMode(loudness).metered
    slowest = MIN_METER_RATE if metered else MIN_SAMPLE_RATE
    fastest = _MAX_FLAC_RATE if format == "flac" else MAX_SAMPLE_RATE
    if not isinstance(sample_rate, Integral) or not slowest <= sample_rate <= fastest:
        raise RequestError(ErrorCode.OUT_OF_RANGE, "sample_rate", sample_rate, f"{slowest} to {fastest} Hz")
    most = min(_MAX_CHANNELS[format], MAX_METER_CHANNELS if metered else 32)
    if not isinstance(channels, Integral) or not 1 <= channels <= most:
        raise RequestError(ErrorCode.OUT_OF_RANGE, "channels", channels, f"1 to {most}")
