"""From a take's sidecar back to the request that makes the same samples."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocols.errors import ErrorCode, RequestError
from protocols.fields import build, fields_of
from protocols.messages import Continue, Generate, Open, StreamRequest, Welcome

_KINDS: dict[str, type[StreamRequest]] = {"generate": Generate, "continue": Continue, "open": Open}


@dataclass(frozen=True)
class Remake:
    """What to ask of the engine to get a take again.

    Attributes:
        message: the request.
        payload: codes of the audio prompt, or nothing.
        samples: where to stop, for a take that did not end by itself; None for one that did.
        skipped: samples that come before the first of the take.
    """

    message: StreamRequest
    payload: bytes
    samples: int | None
    skipped: int = 0


def remake(sidecar: Mapping[str, Any], welcome: Welcome) -> Remake:
    """Read a sidecar and check that this engine can make its take again.

    Raises:
        RequestError: the sidecar lacks what is needed, or another model made the take.
    """
    fingerprint = _entry(sidecar, "fingerprint", str)
    if fingerprint != welcome.fingerprint:
        made_by = f"{sidecar.get('model')} in {sidecar.get('dtype')} ({fingerprint[:12]})"
        here = f"{welcome.model} in {welcome.dtype or 'its precision'} ({welcome.fingerprint[:12]})"
        raise RequestError(ErrorCode.UNSUPPORTED, "model", made_by, f"the model that the engine runs: {here}")
    request = _entry(sidecar, "request", dict)
    kind = _KINDS.get(str(request.get("type")))
    if kind is None:
        raise RequestError(ErrorCode.MALFORMED, "request.type", request.get("type"), ", ".join(_KINDS))
    try:
        codes = base64.b64decode(_entry(sidecar, "prompt_codes", str), validate=True)
    except binascii.Error as error:
        raise RequestError(ErrorCode.MALFORMED, "prompt_codes", str(error), "base64") from None
    known = fields_of(kind).keys() - {"patient", "background"}
    values = {name: value for name, value in request.items() if name in known}
    # Takes of earlier releases were all decoded by the codec.
    values.setdefault("decoder", "codec")
    values |= {"seed": _entry(sidecar, "seed", int), "script": json.dumps(_entry(sidecar, "changes", list))}
    if codes:
        # The codes stand for the audio that was given, whether or not that file still exists.
        values |= {"path": "", "start": 0.0, "length": 0.0, "sample_rate": 0, "codebooks": sidecar.get("codebooks")}
        # Takes of earlier releases have no seam.
        values |= {"seam_record": sidecar.get("seam_record", "")}
    ended_by_itself = sidecar.get("reason") == "done"
    frames = _entry(_entry(sidecar, "audio", dict), "frames", int)
    skipped = sidecar.get("skipped", 0)
    if not isinstance(skipped, int) or not 0 <= skipped < welcome.frame_samples:
        raise RequestError(ErrorCode.OUT_OF_RANGE, "skipped", skipped, f"0 to {welcome.frame_samples - 1}")
    return Remake(build(kind, values), codes, None if ended_by_itself else frames, skipped)


def _entry(content: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    value = content.get(name)
    if not isinstance(value, kind):
        raise RequestError(ErrorCode.MISSING, name, value, "the sidecar of a take whose stream came to its end")
    return value
