"""What a job does: a file or what was sent along is read, coded, and written whole, or nothing of it is left."""

from __future__ import annotations

import io
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import soundfile

from audio_files.coded import SUFFIX, CodedWriter
from audio_files.coded_files import CodedFacts, facts_from, read_codes_from
from audio_files.ecdc import ECDC_SUFFIX, EcdcWriter
from audio_files.locations import is_inside, locate_file
from audio_files.publishing import written_whole
from audio_files.sound_stream import SoundStream, stream_file, stream_samples
from audio_files.takes import slug
from engine.checkpoints.bundle import ModelBundle
from engine.coding.loading import title_of
from engine.coding.recoding import (
    codebooks_for,
    decode_stream,
    encode_stream,
    header_of,
    refuse_other_codec,
)
from engine.coding.shelf import KeptCodec
from engine.journal.log import Journal
from protocols.codec_messages import MAX_CONTENT, CodecEnded, CodedFile, CodesWritten, Decode, Encode, ExportCodes
from protocols.errors import ErrorCode, RequestError

Tell = Callable[[float, float], None]
"""Hears seconds of sound that are done, and of how many; what it raises ends the job, and nothing of it is left."""

_WAV_BYTES = 2**32 - 2**16


class Codecs(Protocol):
    """Where codecs come from."""

    def find(self, name: str, own: KeptCodec | None, channels: int = 0) -> KeptCodec:
        """The codec of this name, for so many channels; empty for the loaded model's own. Raises RequestError."""

    def find_made(self, header_name: str, fingerprint: str, own: KeptCodec | None, channels: int) -> KeptCodec:
        """The codec that made codes: the loaded model's own if it is that one. Raises RequestError."""


class Work:
    """Carries jobs out, on the caller's thread.

    Args:
        codecs: where codecs come from.
        allowed_folders: where files may be read and written; None for anywhere, where whoever asks may do so anyway.
        new_files: folder of what no name is given for; None: each job must name what it writes.
    """

    def __init__(self, codecs: Codecs, allowed_folders: Sequence[Path] | None, new_files: Path | None) -> None:
        self._codecs = codecs
        self._allowed = allowed_folders
        self._new_files = new_files

    def encode(self, request: Encode, payload: bytes, tell: Tell, own: KeptCodec | None = None) -> CodecEnded:
        """Sound to codes; ``own`` is the loaded model's codec. What the answer lacks is the job's number.

        Raises:
            RequestError: what is wrong with the request or the sound.
        """
        _one_source(request.path, payload)
        kept = self._codecs.find(request.codec, own, 2 if request.stereo else 0)
        codec = kept.codec
        codebooks = codebooks_for(codec, request.bandwidth, request.codebooks)
        header = header_of(codec, title_of(kept.name), codebooks)

        def hear() -> AbstractContextManager[SoundStream]:
            return self._sound(request, payload, codec.sample_rate, codec.channels)

        with hear() as sound:
            samples, note = sound.samples, sound.note
        total = samples / codec.sample_rate
        tell(0.0, total)
        began = time.monotonic()
        out = self._out(request.out, request.path, payload, SUFFIX, request.replace)

        def write(file: BinaryIO) -> CodedWriter | EcdcWriter:
            plain = out is not None and out.suffix.lower() == ECDC_SUFFIX
            writer = EcdcWriter(file, header, samples) if plain else CodedWriter(file, header)
            watch = lambda done: tell(done / codec.sample_rate, total)  # noqa: E731
            encode_stream(codec, codebooks, hear, writer, watch)
            return writer

        writer, content = _written(out, request.replace, write)
        seconds = time.monotonic() - began
        return CodecEnded(
            job=1,
            reason="done",
            path="" if out is None else str(out),
            codec=title_of(kept.name),
            seconds=total,
            frames=writer.frames,
            codebooks=codebooks,
            kbps=round(writer.bytes * 8 / 1000 / total, 3),
            size=writer.bytes,
            realtime=round(total / seconds, 2) if seconds else 0.0,
            note=note,
            sample_rate=codec.sample_rate,
            channels=codec.channels,
            content=content,
        )

    def decode(self, request: Decode, payload: bytes, tell: Tell, own: KeptCodec | None = None) -> CodecEnded:
        """Codes to sound; ``own`` is the loaded model's codec. What the answer lacks is the job's number.

        Raises:
            RequestError: what is wrong with the request or the codes.
        """
        _one_source(request.path, payload)
        with self._codes(request.path, payload) as (file, name):
            facts = facts_from(file, name)
            if not facts.samples:
                allowed = f"a file with a whole frame in it{'; ' * bool(facts.damage)}{facts.damage}"
                raise RequestError(ErrorCode.EMPTY, "path", name, allowed)
            kept = self._codec_of(request, facts, own)
            refuse_other_codec(kept.codec, kept.name, facts.header)
            tell(0.0, facts.seconds)
            began = time.monotonic()
            out = self._out(request.out, request.path, payload, ".wav", request.replace)
            file.seek(0)
            source = read_codes_from(file, name)
            watch = lambda done: tell(done / facts.header.sample_rate, facts.seconds)  # noqa: E731
            blocks = decode_stream(kept.codec, source, facts.samples, watch)
            clipped, size, content = _write_sound(out, request, facts, blocks)
        seconds = time.monotonic() - began
        loud = f"{clipped} samples passed full scale and were clipped" if clipped else ""
        damage = f"the file of codes is damaged: {facts.damage}" if facts.damage else ""
        return CodecEnded(
            job=1,
            reason="done",
            path="" if out is None else str(out),
            codec=title_of(kept.name),
            seconds=facts.seconds,
            frames=facts.frames,
            codebooks=facts.header.codebooks,
            kbps=round(facts.kbps, 3),
            size=size,
            realtime=round(facts.seconds / seconds, 2) if seconds else 0.0,
            note="; ".join(filter(None, (damage, loud))),
            sample_rate=facts.header.sample_rate,
            channels=facts.header.channels,
            content=content,
        )

    def inspect(self, path: str) -> CodedFile:
        """What a file of codes holds.

        Raises:
            RequestError: a path that may not be read, or a file that cannot be.
        """
        location = locate_file(path, self._allowed)
        with location.open("rb") as file:
            return facts_from(file, location.name).told

    def export(self, request: ExportCodes, journal: Journal, bundle: ModelBundle) -> CodesWritten:
        """The codes of a stream, as its journal has them.

        Raises:
            RequestError: UNSUPPORTED where another model made them than is loaded; EMPTY; about ``out``.
        """
        recipe = journal.header.recipe
        if recipe.fingerprint != bundle.fingerprint:
            allowed = f"a stream of {bundle.name}, which is loaded; load {recipe.model} first"
            raise RequestError(ErrorCode.UNSUPPORTED, "journal", f"a stream of {recipe.model}", allowed)
        codes = journal.codes.T
        if request.prompt and recipe.prompt_codes:
            before = np.frombuffer(recipe.prompt_codes, "<u2").reshape(recipe.codebooks, -1)
            codes = np.concatenate((before, codes), axis=1)
        if not codes.shape[1]:
            raise RequestError(ErrorCode.EMPTY, "journal", request.journal, "a stream that has made a frame")
        out = self._out(request.out, str(recipe.request.get("prompt") or "stream"), b"", SUFFIX, request.replace)
        assert out is not None
        if out.suffix.lower() != SUFFIX:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "out", request.out, f"a name that ends with {SUFFIX}")
        header = header_of(bundle.codec, title_of(bundle.name), bundle.num_codebooks)
        with written_whole(out, replace=request.replace) as temporary, temporary.open("wb") as file:
            writer = CodedWriter(file, header)
            writer.write(codes)
            samples = codes.shape[1] * bundle.hop_length
            writer.finish(samples)
        return CodesWritten(
            path=str(out),
            seconds=samples / bundle.sample_rate,
            frames=writer.frames,
            codebooks=bundle.num_codebooks,
            size=writer.bytes,
        )

    def _codec_of(self, request: Decode, facts: CodedFacts, own: KeptCodec | None) -> KeptCodec:
        header = facts.header
        if request.codec:
            return self._codecs.find(request.codec, own, header.channels)
        return self._codecs.find_made(header.codec, header.fingerprint, own, header.channels)

    @contextmanager
    def _sound(self, request: Encode, payload: bytes, sample_rate: int, channels: int) -> Iterator[SoundStream]:
        if payload:
            yield stream_samples(
                payload,
                source_rate=request.sample_rate,
                source_channels=request.channels,
                sample_rate=sample_rate,
                channels=channels,
            )
            return
        with stream_file(
            request.path,
            start_seconds=request.start,
            length_seconds=request.length,
            sample_rate=sample_rate,
            channels=channels,
            allowed_folders=self._allowed,
        ) as sound:
            yield sound

    @contextmanager
    def _codes(self, path: str, payload: bytes) -> Iterator[tuple[BinaryIO, str]]:
        if payload:
            yield io.BytesIO(payload), "payload"
            return
        location = locate_file(path, self._allowed)
        with location.open("rb") as file:
            yield file, location.name

    def _out(self, out: str, path: str, payload: bytes, suffix: str, replace: bool) -> Path | None:
        """Where the result goes; None: along with the event.

        Raises:
            RequestError: about ``out``: NOT_ALLOWED outside the allowed folders or over a file, OUT_OF_RANGE for a suffix that
                nobody knows, NOT_FOUND without its folder.
        """
        if not out:
            if payload:
                return None
            if self._new_files is None:
                raise RequestError(ErrorCode.MISSING, "out", None, "the file to write")
            return _fresh(self._new_files, Path(path).stem, suffix)
        try:
            final = Path(out).expanduser().resolve()
        except (OSError, RuntimeError, ValueError):
            raise RequestError(ErrorCode.MALFORMED, "out", out, "a path of ordinary characters") from None
        if self._allowed is not None and not any(is_inside(final.parent, folder) for folder in self._allowed):
            folders = ", ".join(map(str, self._allowed))
            raise RequestError(ErrorCode.NOT_ALLOWED, "out", out, f"a file inside: {folders}")
        known = _CODED if suffix == SUFFIX else sound_suffixes()
        if final.suffix.lower() not in known:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "out", out, f"a name that ends with {', '.join(known)}")
        if not final.parent.is_dir():
            raise RequestError(ErrorCode.NOT_FOUND, "out", out, "a file in an existing folder")
        if final.is_dir() or (final.exists() and not replace):
            allowed = "a new file; replace takes the place of one that is there"
            raise RequestError(ErrorCode.NOT_ALLOWED, "out", out, allowed)
        return final


_CODED = (SUFFIX, ECDC_SUFFIX)


def sound_suffixes() -> tuple[str, ...]:
    """Suffixes of audio files that can be written."""
    there = soundfile.available_formats()
    wanted = {
        ".wav": "WAV",
        ".flac": "FLAC",
        ".aiff": "AIFF",
        ".aif": "AIFF",
        ".ogg": "OGG",
        ".mp3": "MP3",
        ".w64": "W64",
    }
    return tuple(suffix for suffix, name in wanted.items() if name in there)


def failed(job: int, error: RequestError) -> CodecEnded:
    """How the owner of a job hears that nothing came of it."""
    return CodecEnded(
        job=job,
        reason="failed",
        code=str(error.code),
        field=error.field,
        value=error.value,
        allowed=error.allowed,
        text=error.text,
    )


def _one_source(path: str, payload: bytes) -> None:
    if bool(path) is bool(payload):
        held = f"{path}, and {len(payload)} bytes sent along" if path else None
        code = ErrorCode.MALFORMED if path else ErrorCode.MISSING
        raise RequestError(code, "path", held, "a file, or what is sent along: one of them")


def _fresh(folder: Path, stem: str, suffix: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(ErrorCode.NOT_ALLOWED, "folder", str(folder), error.strerror or "a folder") from None
    return folder / f"{slug(stem)}_{time.strftime('%Y%m%d-%H%M%S')}_{secrets.token_hex(4)}{suffix}"


def _written(
    out: Path | None, replace: bool, write: Callable[[BinaryIO], CodedWriter | EcdcWriter]
) -> tuple[CodedWriter | EcdcWriter, bytes]:
    """Let codes be written into the file, or into memory, where too many of them are refused as soon as they come."""
    if out is None:
        memory = _Bounded()
        writer = write(memory)
        return writer, memory.getvalue()
    with written_whole(out, replace=replace) as temporary, temporary.open("wb") as file:
        return write(file), b""


def _write_sound(
    out: Path | None, request: Decode, facts: CodedFacts, blocks: Iterator[np.ndarray]
) -> tuple[int, int, bytes]:
    """Write sound: samples that were clipped, bytes, and the samples where there is no file."""
    header = facts.header
    if out is None:
        memory = _Bounded()
        for block in blocks:
            memory.write(np.ascontiguousarray(block.T, dtype="<f4").tobytes())
        return 0, memory.tell(), memory.getvalue()
    container, subtype = _format_of(out, request.subtype, facts)
    clipped = 0
    with written_whole(out, replace=request.replace) as temporary:
        try:
            with soundfile.SoundFile(
                temporary, "w", header.sample_rate, header.channels, subtype, format=container
            ) as file:
                for block in blocks:
                    if subtype != "FLOAT":
                        clipped += int(np.count_nonzero(np.abs(block) > 1.0))
                    file.write(block.T)
        except soundfile.SoundFileError as error:
            raise RequestError(ErrorCode.INTERNAL, "out", out.name, f"a file that can be written: {error}") from None
        size = temporary.stat().st_size
    return clipped, size, b""


def _format_of(out: Path, subtype: str, facts: CodedFacts) -> tuple[str, str]:
    """Container and subtype of an audio file, as libsndfile calls them."""
    suffix, header = out.suffix.lower(), facts.header
    container = {".aif": "AIFF", ".aiff": "AIFF"}.get(suffix, suffix[1:].upper())
    if subtype == "auto":
        subtype = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}.get(container, "PCM_24")
    if not soundfile.check_format(container, subtype):
        allowed = ", ".join(
            sorted({"PCM_16", "PCM_24", "FLOAT"} & set(soundfile.available_subtypes(container))) or ["auto"]
        )
        raise RequestError(ErrorCode.UNSUPPORTED, "subtype", subtype, f"{allowed} for {suffix}")
    width = {"PCM_16": 2, "PCM_24": 3}.get(subtype, 4)
    if container == "WAV" and facts.samples * header.channels * width > _WAV_BYTES:
        container = "RF64"
    return container, subtype


class _Bounded(io.BytesIO):
    """What goes along with an event."""

    def write(self, content: bytes, /) -> int:  # type: ignore[override]
        if self.tell() + len(content) > MAX_CONTENT:
            allowed = f"at most {MAX_CONTENT} bytes sent along; name a file (out) for more"
            raise RequestError(ErrorCode.TOO_LARGE, "out", None, allowed)
        return super().write(content)
