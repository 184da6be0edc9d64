"""The JSON file beside a take: how it was made, and what the audio file is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from audio_files.locations import locate_file
from protocols.errors import ErrorCode, RequestError

MAX_SIDECAR_BYTES = 16 * 2**20
AUDIO_BLOCK = "audio"
_AUDIO_BLOCK_BYTES = 4096


def plain_sidecar(sidecar: object) -> dict[str, Any]:
    """Turn what a caller wants to keep beside a take into plain JSON values.

    Args:
        sidecar: a mapping with text keys, or any object msgspec can encode as one (a Struct, a dataclass). Paths and
            NumPy numbers and arrays are taken as well; NaN and infinity become null.

    Raises:
        RequestError: BAD_TYPE when it is no mapping or holds what JSON cannot; MALFORMED when it has a field ``audio``,
            which is the writer's own; TOO_LARGE over 16 MiB.
    """
    try:
        text = msgspec.json.encode(dict(sidecar) if isinstance(sidecar, Mapping) else sidecar, enc_hook=_encode_other)
        size = len(msgspec.json.format(text, indent=2))
        plain = msgspec.json.decode(text)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RequestError(ErrorCode.BAD_TYPE, "sidecar", str(error), "values that JSON can hold") from error
    if not isinstance(plain, dict):
        raise RequestError(ErrorCode.BAD_TYPE, "sidecar", sidecar, "a mapping with text keys")
    if AUDIO_BLOCK in plain:
        raise RequestError(ErrorCode.MALFORMED, "sidecar", AUDIO_BLOCK, "any field but 'audio', which the writer adds")
    most = MAX_SIDECAR_BYTES - _AUDIO_BLOCK_BYTES
    if size > most:
        raise RequestError(ErrorCode.TOO_LARGE, "sidecar", f"{size} bytes", f"at most {most} bytes of indented JSON")
    return plain


def encode_sidecar(plain: Mapping[str, Any], audio: Mapping[str, Any]) -> bytes:
    """The bytes of a sidecar: the caller's fields, then the writer's ``audio`` block, as indented UTF-8 JSON."""
    return msgspec.json.format(msgspec.json.encode({**plain, AUDIO_BLOCK: audio}), indent=2) + b"\n"


def read_sidecar(path: str | os.PathLike[str], *, allowed_folders: Sequence[Path] | None = None) -> dict[str, Any]:
    """Read the sidecar of a take.

    Its ``audio`` block holds at least ``file``, the plain name of the audio file in the same folder.

    Args:
        path: the JSON file.
        allowed_folders: where it may lie; None means everywhere (see ``locate_file``).

    Raises:
        RequestError: about ``path``: see ``locate_file``; TOO_LARGE over 16 MiB; MALFORMED when it is not JSON, no
            object, or not the sidecar of a take.
    """
    location = locate_file(path, allowed_folders)
    if location.stat().st_size > MAX_SIDECAR_BYTES:
        raise RequestError(
            ErrorCode.TOO_LARGE, "path", location.name, f"a sidecar of at most {MAX_SIDECAR_BYTES} bytes"
        )
    try:
        content = msgspec.json.decode(location.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(ErrorCode.MALFORMED, "path", f"{location.name}: {error}", "a JSON file") from error
    if not isinstance(content, dict):
        raise RequestError(ErrorCode.MALFORMED, "path", location.name, "a JSON object")
    audio = content.get(AUDIO_BLOCK)
    name = audio.get("file") if isinstance(audio, dict) else None
    if not isinstance(name, str) or not name or name in (".", "..") or any(mark in name for mark in "/\\:\0"):
        raise RequestError(ErrorCode.MALFORMED, "path", location.name, "the sidecar of a take, naming its audio file")
    return content


def _encode_other(value: object) -> object:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
