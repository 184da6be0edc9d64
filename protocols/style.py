"""The style of a recording as it travels and as it stands in a take's sidecar: a few numbers in place of the sound.

Style models (Rouard et al., "Audio Conditioning for Music Generation via Discrete Bottleneck Features", 2024) hear ten tokens or so
of a recording, each a code of a residual quantiser; those of the first codebooks alone are a vaguer style. Three seconds are sixty
small numbers, so that a take can be made again when the recording is gone.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct

import msgspec

from protocols.errors import ErrorCode, RequestError

MAX_TEXT = 2**18
"""Characters of a style that is written down."""
MAX_TOKENS = 1024
MAX_BOOKS = 64
_LARGEST_CODE = 2**16 - 1
_FIELD = "style_codes"
_FORM = '{"model": "0123456789abcdef", "codes": [[17, 4, ...], ...]}'


class StyleCodes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A style, as one kind of style model hears it. Never changes; any thread.

    Attributes:
        model: which conditioner's codes they are; no other one may read them.
        codes: of each codebook, the coarsest first, one for each token.
        values: in place of codes, of a model that has no quantiser: base64 of float32, little-endian, token by token.

    Raises:
        RequestError: about ``style_codes``, when it is made: EMPTY, TOO_LONG, OUT_OF_RANGE or MALFORMED.
    """

    model: str
    codes: tuple[tuple[int, ...], ...] = ()
    values: str = ""

    def __post_init__(self) -> None:
        if bool(self.codes) == bool(self.values):
            raise _refusal(ErrorCode.MALFORMED, f"{len(self.codes)} codebooks", "either codes or values")
        if self.values:
            self.floats()
            return
        lengths = {len(book) for book in self.codes}
        if len(lengths) != 1 or 0 in lengths:
            raise _refusal(
                ErrorCode.MALFORMED, "codebooks of different lengths", "as many codes in each codebook, at least 1"
            )
        if len(self.codes) > MAX_BOOKS or max(lengths) > MAX_TOKENS:
            found, most = f"{len(self.codes)} codebooks of {max(lengths)} tokens", f"{MAX_BOOKS} of {MAX_TOKENS}"
            raise _refusal(ErrorCode.TOO_LONG, found, f"at most {most}")
        low, high = min(map(min, self.codes)), max(map(max, self.codes))
        if low < 0 or high > _LARGEST_CODE:
            raise _refusal(ErrorCode.OUT_OF_RANGE, f"code {low if low < 0 else high}", f"0 to {_LARGEST_CODE}")

    @classmethod
    def of_floats(cls, model: str, floats: list[float]) -> StyleCodes:
        """A style that is not quantised."""
        return cls(model, values=base64.b64encode(struct.pack(f"<{len(floats)}f", *floats)).decode())

    @classmethod
    def decode(cls, text: str | bytes) -> StyleCodes:
        """Read what `encode` has written.

        Raises:
            RequestError: about ``style_codes``: TOO_LARGE, MALFORMED; see the class.
        """
        if len(text) > MAX_TEXT:
            raise _refusal(ErrorCode.TOO_LARGE, f"{len(text)} characters", f"at most {MAX_TEXT} characters")
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise _refusal(ErrorCode.MALFORMED, str(error), _FORM) from error

    def encode(self) -> str:
        """The style as JSON on one line."""
        return msgspec.json.encode(self).decode()

    def floats(self) -> list[float]:
        """What ``values`` holds."""
        try:
            data = base64.b64decode(self.values, validate=True)
        except (binascii.Error, ValueError) as error:
            raise _refusal(ErrorCode.MALFORMED, str(error), "values as base64") from None
        if not data or len(data) % 4:
            raise _refusal(ErrorCode.MALFORMED, f"values of {len(data)} bytes", "float32 values, at least one")
        floats = list(struct.unpack(f"<{len(data) // 4}f", data))
        if not all(map(math.isfinite, floats)):
            raise _refusal(ErrorCode.OUT_OF_RANGE, "values that are no numbers", "finite values")
        return floats


def _refusal(code: ErrorCode, found: str, allowed: str) -> RequestError:
    return RequestError(code, _FIELD, found, allowed)
