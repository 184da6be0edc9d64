"""The excerpt of a recording whose style the music is to have: read on the bridge's machine, and sent along with the request."""

from __future__ import annotations

from typing import Any

from audio_files.regions import read_region
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Sampling, Update, Welcome
from protocols.settings import FileSettings

EXCERPT = ("style_path", "style_start", "style_length")
"""Parameters that say where an excerpt lies."""

_FIELDS = dict(zip(("path", "start", "length"), EXCERPT, strict=True))


def style_sound(request: Sampling | Update, welcome: Welcome, files: FileSettings) -> bytes:
    """The samples of the excerpt that a request names: float32, one channel, at the model's rate (any thread).

    Raises:
        RequestError: as `read_region`, about the style's parameters; UNSUPPORTED for a model that hears no styles.
    """
    if not request.style_path:
        return b""
    if not welcome.style_seconds:
        allowed = f"a model that hears styles, such as musicgen-style; {welcome.model} does not"
        raise RequestError(ErrorCode.UNSUPPORTED, "style_path", request.style_path, allowed)
    try:
        region = read_region(
            request.style_path,
            start_seconds=request.style_start or 0.0,
            length_seconds=request.style_length or welcome.style_seconds,
            sample_rate=welcome.sample_rate,
            channels=1,
            allowed_folders=files.allowed_folders,
            resampling=welcome.resampling,
        )
    except RequestError as error:
        raise RequestError(error.code, _FIELDS.get(error.field, error.field), error.value, error.allowed) from None
    samples: bytes = region.audio[0].astype("<f4").tobytes()
    return samples


def sent_along(samples: bytes) -> dict[str, Any]:
    """What a request says of an excerpt that was read, in place of its file."""
    return {"style_path": "", "style_start": 0.0, "style_samples": len(samples) // 4}
