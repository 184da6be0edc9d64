"""The style that a request names: read from a file or from samples sent along, and written into the request as a few numbers."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from audio_files.regions import read_region
from engine.checkpoints.bundle import ModelBundle
from engine.conditioning.style import StyleConditioner
from protocols.errors import ErrorCode, RequestError
from protocols.messages import StreamRequest, Update
from protocols.settings import FileSettings
from protocols.style import StyleCodes

R = TypeVar("R", StreamRequest, Update)

_FIELDS = {"path": "style_path", "start": "style_start", "length": "style_length"}


def brings_style(request: StreamRequest | Update) -> bool:
    """Whether a request names a recording whose style has to be read, which takes a moment."""
    return bool(request.style_path or request.style_samples)


class StyleIntake:
    """Reads styles for one model. Any thread.

    Args:
        bundle: the model.
        files: where files may lie.
    """

    def __init__(self, bundle: ModelBundle, files: FileSettings) -> None:
        self._bundle = bundle
        self._files = files

    def with_codes(self, request: R, payload: bytes) -> tuple[R, bytes, str]:
        """The request with its style as codes, as a take's sidecar holds it; what is left of the payload; and a note.

        Raises:
            RequestError: UNSUPPORTED for a model that hears no styles; what is wrong with the recording, or with
                ``style_length`` or ``style_codes``.
        """
        style = self._bundle.style
        if style is None:
            if brings_style(request) or request.style_codes:
                raise self._deaf()
            return request, payload, ""
        if not brings_style(request):
            if request.style_codes:
                style.check(StyleCodes.decode(request.style_codes))
            elif isinstance(request, Update) and request.style_path == "":
                request = structs.replace(request, style_codes="")
            return request, payload, ""
        seconds = self._seconds(style, request.style_length or 0.0)
        sound, note = self._sound(request, payload, seconds)
        wanted = round(seconds * style.facts.sample_rate)
        if len(sound) < wanted:
            again = f"the style's {len(sound) / style.facts.sample_rate:.4g} s are repeated up to {seconds:g} s"
            note = "; ".join(filter(None, (note, again)))
            sound = np.resize(sound, wanted)
        codes = style.read(np.array(sound[:wanted], np.float32)).encode()
        rest = payload[: len(payload) - 4 * request.style_samples]
        read = {"style_codes": codes, "style_path": "", "style_start": 0.0, "style_length": 0.0, "style_samples": 0}
        if isinstance(request, Update):
            read |= {"style_path": None, "style_start": None, "style_length": None}
        return structs.replace(request, **read), rest, note

    def detail(self, detail: int) -> int:
        """How many codebooks count, for what a request asks.

        Raises:
            RequestError: OUT_OF_RANGE about ``style_detail``.
        """
        return max(1, detail) if self._bundle.style is None else self._bundle.style.checked_detail(detail)

    def _seconds(self, style: StyleConditioner, asked: float) -> float:
        facts = style.facts
        if asked and not facts.shortest <= asked <= facts.longest:
            allowed = f"0 (the model's own: {facts.seconds:g} s), or {facts.shortest:g} to {facts.longest:g} s"
            raise RequestError(ErrorCode.OUT_OF_RANGE, "style_length", asked, allowed)
        return asked or facts.seconds

    def _sound(
        self, request: StreamRequest | Update, payload: bytes, seconds: float
    ) -> tuple[NDArray[np.float32], str]:
        """The excerpt, mono at the model's rate, no longer than that; and what became of it on the way."""
        bundle = self._bundle
        if request.style_samples:
            size = 4 * request.style_samples
            if size > len(payload):
                found = f"{request.style_samples} samples in a payload of {len(payload)} bytes"
                raise RequestError(ErrorCode.MALFORMED, "style_samples", found, "float32 samples at the payload's end")
            sent = np.frombuffer(payload[len(payload) - size :], "<f4")
            if broken := int(np.count_nonzero(~np.isfinite(sent))):
                raise RequestError(ErrorCode.OUT_OF_RANGE, "style_samples", f"{broken} samples", "finite samples")
            return sent, ""
        try:
            region = read_region(
                request.style_path or "",
                start_seconds=request.style_start or 0.0,
                length_seconds=seconds,
                sample_rate=bundle.sample_rate,
                channels=1,
                allowed_folders=self._files.allowed_folders,
                resampling=bundle.resampling,
            )
        except RequestError as error:
            raise RequestError(error.code, _FIELDS.get(error.field, error.field), error.value, error.allowed) from None
        return region.audio[0], ""

    def _deaf(self) -> RequestError:
        allowed = f"a model that hears styles, such as musicgen-style; {self._bundle.name} does not"
        return RequestError(ErrorCode.UNSUPPORTED, "style_path", "a style", allowed)
