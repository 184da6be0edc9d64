"""An audio prompt that comes as a file of codes: those of the model's own codec are heard as they are, nothing is encoded again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from audio_files.coded_files import read_codes_from
from protocols.errors import ErrorCode, RequestError

if TYPE_CHECKING:
    from engine.checkpoints.bundle import ModelBundle


def read_code_prompt(
    file: BinaryIO, name: str, *, start: float, length: float, longest: float, bundle: ModelBundle
) -> tuple[NDArray[np.int64], str]:
    """The codes of a region ``[codebooks, frames]``, and what became of it, in words.

    Args:
        file: of codes, open at its beginning.
        name: of it, for errors.
        start: where the region begins in seconds; rounded to the nearest frame.
        length: how long it is in seconds; 0 up to the file's end.
        longest: seconds that a region may have.
        bundle: the model that is to go on.

    Raises:
        RequestError: as `read_codes_from`; UNSUPPORTED for codes of another codec than the model's, or with fewer codebooks;
            OUT_OF_RANGE for a start behind the end; TOO_LONG.
    """
    source = read_codes_from(file, name)
    header, codec = source.header, bundle.codec
    here = f"those of {bundle.name}; decode it to sound first (daw-bridge codec decode)"
    if header.fingerprint not in ("", codec.fingerprint):
        made = f"codes of {header.codec} ({header.fingerprint[:12]})"
        raise RequestError(ErrorCode.UNSUPPORTED, "path", made, here)
    facts = (header.sample_rate, header.channels, header.frames_per_second, header.card, header.chunk_stride)
    if facts != (bundle.sample_rate, bundle.channels, bundle.frame_rate, bundle.card, 0):
        made = f"codes of {header.codec}: {header.sample_rate} Hz, {header.channels} channels, {header.card} codes"
        raise RequestError(ErrorCode.UNSUPPORTED, "path", made, here)
    if header.codebooks != bundle.num_codebooks:
        allowed = f"all {bundle.num_codebooks} codebooks that the model hears"
        raise RequestError(ErrorCode.UNSUPPORTED, "codebooks", header.codebooks, allowed)
    rate = float(bundle.frame_rate)
    first = round(start * rate)
    end = first + max(1, round(length * rate)) if length else None
    most = math.floor(longest * rate)
    parts: list[NDArray[np.uint16]] = []
    held = 0
    for block in source.blocks():
        inside = block.codes[:, max(0, first - block.first) : None if end is None else max(0, end - block.first)]
        if inside.shape[1]:
            parts.append(inside)
            held += inside.shape[1]
        if held > most:
            raise RequestError(ErrorCode.TOO_LONG, "length", f"over {held / rate:.1f} s", f"at most {longest:g} s")
        if end is not None and source.frames >= end:
            break
    if not held:
        seconds = source.frames / rate
        if not source.frames:
            raise RequestError(ErrorCode.EMPTY, "path", name, source.damage or "a file with a frame in it")
        raise RequestError(ErrorCode.OUT_OF_RANGE, "start", f"{start:g} s", f"0 to less than {seconds:.3f} s")
    missing = (end - first - held) / rate if end is not None else 0.0
    notes = [
        "the audio prompt's codes are taken as they are",
        f"the file ends {missing:.4g} s before the region does" if missing else "",
        f"it is damaged: {source.damage}" if source.damage else "",
    ]
    return np.concatenate(parts, axis=1).astype(np.int64), "; ".join(filter(None, notes))
