"""What a checkpoint's config.json says of itself, beside what transformers has words for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

from engine.checkpoints.bundle import STRIDE_SECONDS, WINDOW_SECONDS
from protocols.errors import ErrorCode, RequestError
from protocols.message_parts import ModelKind, ModelStatus

SECTION = "daw_bridge"
"""The key of config.json under which a checkpoint says what transformers has no words for; see `OwnSection`."""
CONFIG_FILE = "config.json"
MUSICGEN, MUSICGEN_MELODY = "musicgen", "musicgen_melody"
"""What transformers calls the models that this engine runs, under ``model_type``."""


@dataclass(frozen=True)
class OwnSection:
    """What a checkpoint may say in its ``daw_bridge`` section.

    Attributes:
        status: as `ModelBundle.status`; what only says ``"trained": false`` is untrained.
        window_seconds: what the LM was trained on.
        stride_seconds: by how much the window moves when a stream is longer.
        codec: the folder of the codec, inside the checkpoint's: then the checkpoint is in our own layout, see
            `engine.checkpoints.own_layout`. None: it is in transformers' layout.
        score_form: `engine.conditioning.score.FORM` of the score that the LM hears; None: it hears none.
        kind: as `ModelBundle.kind`.
    """

    status: ModelStatus = "trained"
    window_seconds: Fraction = Fraction(WINDOW_SECONDS)
    stride_seconds: Fraction = Fraction(STRIDE_SECONDS)
    codec: str | None = None
    score_form: int | None = None
    kind: ModelKind = "music"

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> OwnSection:
        """Read it from a whole config.json; everything in it is optional.

        Raises:
            RequestError: a value of the wrong kind.
        """
        section = config.get(SECTION, {})
        if not isinstance(section, dict):
            raise RequestError(ErrorCode.MALFORMED, SECTION, section, "an object")
        trained = section.get("trained", True)
        if not isinstance(trained, bool):
            raise _malformed("trained", trained, "true or false")
        status = section.get("status", "trained" if trained else "untrained")
        if status not in get_args(ModelStatus):
            raise _malformed("status", status, ", ".join(get_args(ModelStatus)))
        seconds: dict[str, Fraction] = {}
        for key in ("window_seconds", "stride_seconds"):
            if key not in section:
                continue
            value = section[key]
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise _malformed(key, value, "seconds above 0")
            seconds[key] = Fraction(str(value))
        codec, form = section.get("codec"), section.get("score_form")
        if codec is not None and (not isinstance(codec, str) or not codec):
            raise _malformed("codec", codec, "the name of a folder")
        if form is not None and (isinstance(form, bool) or not isinstance(form, int)):
            raise _malformed("score_form", form, "a whole number")
        if (kind := section.get("kind", "music")) not in get_args(ModelKind):
            raise _malformed("kind", kind, ", ".join(get_args(ModelKind)))
        return cls(status=status, codec=codec, score_form=form, kind=kind, **seconds)


def _malformed(key: str, value: object, allowed: str) -> RequestError:
    return RequestError(ErrorCode.MALFORMED, f"{SECTION}.{key}", "null" if value is None else value, allowed)


def read_config(folder: Path) -> dict[str, Any]:
    """The content of a checkpoint's config.json.

    Raises:
        RequestError: it is missing, damaged, or of a model of another kind.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        allowed = f"a folder with a model: {CONFIG_FILE} in transformers' layout, state_dict.bin or checkpoint.th in AudioCraft's"
        raise RequestError(ErrorCode.NOT_FOUND, "model", str(folder), allowed)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = f"a folder whose config.json is readable JSON: {error}"
        raise RequestError(ErrorCode.MALFORMED, "model", str(folder), reason) from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(config, dict) or kind not in (MUSICGEN, MUSICGEN_MELODY):
        allowed = f"{MUSICGEN} or {MUSICGEN_MELODY}, in the config.json of {folder.name}"
        raise RequestError(ErrorCode.UNSUPPORTED, "model_type", kind or "none", allowed)
    return config
