"""MERT's weights as transformers' ``HubertModel``, whose network it is.

The code that lies beside the weights on the hub is never run; settings for which HuBERT would compute anything else are refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from engine.checkpoints.audiocraft.files import safe_load
from engine.checkpoints.parts import first_line
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.conditioning.mert import MERT_RATE, MERT_WIDTH
from protocols.errors import ErrorCode, RequestError

MERT_HUB_ID = "m-a-p/MERT-v1-95M"

_CONFIG, _SAFE, _PICKLED = "config.json", "model.safetensors", "pytorch_model.bin"
_FIELD = "style_encoder"
_WANTED: dict[str, tuple[Any, ...]] = {
    "feature_extractor_cqt": (False, None),
    "deepnorm": (False, None),
    "attention_relax": (-1, -1.0, None),
    "do_stable_layer_norm": (False, None),
    "hidden_size": (MERT_WIDTH, None),
    "sample_rate": (MERT_RATE, None),
}
"""With these HuBERT's network is MERT's, and what the style conditioner was trained with."""


def load_mert(beside: Path, given: str = "") -> Any:
    """MERT as transformers' ``HubertModel``.

    Args:
        beside: a folder in which it may lie, as ``MERT-v1-95M``; that comes before the hub.
        given: what the user says it is: a folder, or a name on the hub; empty: as above.

    Raises:
        RequestError: about ``style_encoder``: it is not there, cannot be downloaded, is damaged, or computes otherwise than HuBERT.
    """
    folder = _find(beside, given)
    config, state = _config(folder), _weights(folder)
    ensure_torchaudio()
    from transformers import HubertConfig, HubertModel

    try:
        model = HubertModel(HubertConfig.from_dict(config))
        model.load_state_dict(state)
    except Exception as error:  # settings that make no sense surface as any of a dozen types
        raise _refusal(folder, f"weights that fit its config.json: {first_line(error)}") from error
    return model


def _find(beside: Path, given: str) -> Path:
    folder = Path(given).expanduser() if given else beside / MERT_HUB_ID.split("/")[-1]
    if (folder / _CONFIG).is_file():
        return folder
    from engine.checkpoints.hub import obtain

    name = given or MERT_HUB_ID
    try:
        return obtain(name)
    except RequestError as error:
        allowed = f"{error.allowed}; or a folder with MERT, as MERT-v1-95M in the model's folder"
        raise RequestError(error.code, _FIELD, name, allowed) from error


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _refusal(folder, f"a {_CONFIG} that is readable JSON: {error}") from error
    if not isinstance(config, dict):
        raise _refusal(folder, f"a {_CONFIG} with settings")
    for key, wanted in _WANTED.items():
        if config.get(key) not in wanted:
            raise RequestError(ErrorCode.UNSUPPORTED, f"MERT's {key}", config[key], str(wanted[0]))
    return {key: value for key, value in config.items() if key not in ("auto_map", "architectures", "model_type")}


def _weights(folder: Path) -> dict[str, Tensor]:
    if not (folder / _SAFE).is_file():
        if not (folder / _PICKLED).is_file():
            raise _refusal(folder, f"weights: {_SAFE} or {_PICKLED}")
        return safe_load(folder / _PICKLED, _FIELD)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(folder / _SAFE)
    except (SafetensorError, OSError) as error:
        raise _refusal(folder, f"weights that load: {error}") from error


def _refusal(folder: Path, allowed: str) -> RequestError:
    return RequestError(ErrorCode.MALFORMED, _FIELD, folder.name, allowed)
