"""The container of a Max for Live device, ``.amxd``."""

from __future__ import annotations

import struct
from typing import Any

_DATE = 3_880_000_000  # seconds since 1904, as Max dates; the same in every run, so that the file is
_AUDIO_EFFECT = b"aaaa"


def amxd(patch: str) -> bytes:
    """A device that is not frozen, as Live saves one: four chunk headers, then the patch with a NUL at its end."""
    content = patch.encode() + b"\0"
    header = struct.pack("<4sI4s4sII4sI", b"ampf", 4, _AUDIO_EFFECT, b"meta", 4, 0, b"ptch", len(content))
    return header + content


def project() -> dict[str, Any]:
    """The block without which Max calls a device a project without a name."""
    return {
        "version": 1,
        "creationdate": _DATE,
        "modificationdate": _DATE,
        "viewrect": [0.0, 0.0, 300.0, 500.0],
        "autoorganize": 1,
        "hideprojectwindow": 1,
        "showdependencies": 1,
        "autolocalize": 0,
        "contents": {"patchers": {}},
        "layout": {},
        "searchpath": {},
        "detailsvisible": 0,
        "amxdtype": int.from_bytes(_AUDIO_EFFECT, "big"),
        "readonly": 0,
        "devpathtype": 0,
        "devpath": ".",
        "sortmode": 0,
        "viewmode": 0,
        "includepackages": 0,
    }
