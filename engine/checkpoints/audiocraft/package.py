"""What one file of AudioCraft's is: weights with their configuration, or the name of a codec that is somewhere else.

Three forms are told apart by what they hold. An *exported* file has ``best_state`` with the weights and ``xp.cfg`` as YAML. What a
*solver* leaves has a module's weights below ``best_state.model``, ``fsdp_best_state.model`` or ``ema.state.model``, beside
optimizers and history, and ``xp.cfg`` as OmegaConf's nodes. A *pointer* has only ``pretrained``, a name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from engine.checkpoints.audiocraft.config import Config
from engine.checkpoints.audiocraft.files import safe_load, shown
from protocols.errors import ErrorCode, RequestError

LM_FILES = ("state_dict.bin", "checkpoint.th")
"""Where the LM is in a folder: as it is exported, or as its solver left it."""
CODEC_FILE = "compression_state_dict.bin"

PRETRAINED = "//pretrained/"
"""Begins the name of a released model in a configuration."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:module|_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod)\.")


@dataclass(frozen=True)
class Package:
    """A file with weights.

    Attributes:
        path: of the file.
        config: of the run that made them.
        weights: by AudioCraft's names, as stored; views of the file.
        exported: whether it is a released form; else a solver has left it.
    """

    path: Path
    config: Config
    weights: dict[str, Tensor]
    exported: bool


@dataclass(frozen=True)
class Pointer:
    """A file that names a codec: ``facebook/encodec_32khz``, ``dac_44khz``."""

    path: Path
    name: str


def lm_file(folder: Path) -> Path | None:
    """The file of a folder that holds an LM of AudioCraft's; None: there is none."""
    return next((folder / name for name in LM_FILES if (folder / name).is_file()), None)


def is_audiocraft(folder: Path) -> bool:
    """Whether a folder holds an LM in AudioCraft's layout, and none in transformers', which comes first where both are there."""
    others = (path for pattern in ("model*.safetensors", "pytorch_model*.bin") for path in folder.glob(pattern))
    return lm_file(folder) is not None and next(others, None) is None


def read_package(path: Path) -> Package | Pointer:
    """Read a file of AudioCraft's.

    Raises:
        RequestError: as `safe_load`, or it is neither of the forms.
    """
    content = safe_load(path)
    if "pretrained" in content:
        return Pointer(path, checked_name(content["pretrained"], path))
    if "xp.cfg" not in content:
        raise _malformed(path, f"a checkpoint of AudioCraft's, with xp.cfg; this one has {_listed(content)}")
    weights, exported = _find_weights(content, path)
    return Package(path, Config.read(content["xp.cfg"]), weights, exported)


def read_weights(path: Path) -> Package:
    """Read a file that must hold weights.

    Raises:
        RequestError: as `read_package`, or it is a pointer.
    """
    package = read_package(path)
    if isinstance(package, Pointer):
        raise _malformed(path, f"a checkpoint with weights, not one that points to {package.name}")
    return package


def codec_of(folder: Path, lm: Package) -> Package | Pointer:
    """The codec of an LM: the file beside it, else, for what a solver has left, the released one that its configuration names.

    Raises:
        RequestError: there is neither, or as `read_package`.
    """
    path = folder / CODEC_FILE
    if path.is_file():
        return read_package(path)
    named = lm.config.get("compression_model_checkpoint")
    if isinstance(named, str) and named.startswith(PRETRAINED):
        return Pointer(lm.path, checked_name(named.removeprefix(PRETRAINED), lm.path))
    allowed = f"a folder with {CODEC_FILE}: export the codec that the LM was trained with beside it"
    if isinstance(named, str):
        allowed += f" ({named[:80]})"
    raise RequestError(ErrorCode.NOT_FOUND, "model", str(folder), allowed)


def checked_name(name: object, path: Path) -> str:
    """A name of a codec or a text encoder that a file gives: never a path.

    Raises:
        RequestError: it is none.
    """
    if not isinstance(name, str) or not is_name(name):
        found = repr(name)[:80] if isinstance(name, str) else type(name).__name__
        raise _malformed(path, f"the name of a model, owner/name or name, not {found}")
    return name


def is_name(text: str) -> bool:
    """Whether a text is written like ``owner/name`` or ``name``."""
    return _NAME.fullmatch(text) is not None and ".." not in text


def _find_weights(content: Mapping[Any, Any], path: Path) -> tuple[dict[str, Tensor], bool]:
    """The weights, and whether they are of an exported file. A solver's best come first, as AudioCraft's own export takes them."""
    for keys in (
        ("fsdp_best_state", "model"),
        ("best_state", "model"),
        ("ema", "state", "model"),
        ("best_state",),
        ("model",),
    ):
        found: Any = content
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, Mapping) and any(isinstance(tensor, Tensor) for tensor in found.values()):
            return _named(found, path), keys == ("best_state",)
    raise _malformed(path, "a checkpoint with weights, under best_state")


def _named(found: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """The tensors by their names, without what wrappers of training put before them."""
    weights: dict[str, Tensor] = {}
    for name, tensor in found.items():
        if not isinstance(name, str):
            raise _malformed(path, f"weights with names, not {name!r:.40}")
        if not isinstance(tensor, Tensor):
            raise _malformed(path, f"weights that are tensors, unlike {name[:80]}")
        weights[_WRAPPERS.sub("", name)] = tensor
    return weights


def _listed(content: Mapping[Any, Any]) -> str:
    names = sorted(str(key)[:40] for key in list(content)[:8])
    return ", ".join(names) or "nothing"


def _malformed(path: Path, allowed: str) -> RequestError:
    return RequestError(ErrorCode.MALFORMED, "model", shown(path), allowed)
