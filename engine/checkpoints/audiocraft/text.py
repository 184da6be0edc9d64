"""The T5 that a checkpoint of AudioCraft's was trained with: AudioCraft stores its name, not its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.checkpoints.audiocraft.package import checked_name, is_name
from engine.checkpoints.parts import find_tokenizer, first_line, load_tokenizer, malformed, quiet_transformers
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from protocols.errors import ErrorCode, RequestError

_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
_FIELD = "text_encoder"


def find_text_encoder(folder: Path, name: str, given: str = "") -> Path:
    """The folder of a text encoder in transformers' layout.

    Args:
        folder: of the checkpoint. A folder in it that is called like the encoder, ``t5-base`` or ``flan-t5-base``, comes before the
            hub.
        name: what the checkpoint calls its encoder.
        given: what the user says it is: a folder, or a name on the hub; empty: as the checkpoint says.

    Raises:
        RequestError: about ``text_encoder``: it is not there and cannot be downloaded.
    """
    if given:
        path = Path(given).expanduser()
        if not path.is_dir() and not is_name(given):
            raise RequestError(ErrorCode.NOT_FOUND, _FIELD, given, "a folder that exists, or a name on the hub")
        return path if path.is_dir() else _download(given)
    checked_name(name, folder)
    for candidate in (folder / name, folder / name.split("/")[-1]):
        if (candidate / "config.json").is_file():
            return candidate
    return _download(name)


def _download(name: str) -> Path:
    from engine.checkpoints.hub import obtain

    try:
        return obtain(name)
    except RequestError as error:
        allowed = f"{error.allowed}; or a folder with this T5, in the checkpoint's folder or as text_encoder"
        raise RequestError(error.code, _FIELD, name, allowed) from error


def text_files(folder: Path) -> list[Path]:
    """The files that make a text encoder what it is."""
    weights = next((found for pattern in _WEIGHTS if (found := sorted(folder.glob(pattern)))), [])
    if not weights:
        raise RequestError(ErrorCode.NOT_FOUND, _FIELD, str(folder), f"a folder with weights: {' or '.join(_WEIGHTS)}")
    return [folder / "config.json", *weights, *find_tokenizer(folder)]


def load_text_encoder(folder: Path, tuned: Mapping[str, Tensor]) -> tuple[Any, Any]:
    """Tokenizer and ``T5EncoderModel`` in single precision, on the CPU.

    Args:
        folder: in transformers' layout; a T5 with a decoder will do.
        tuned: weights that were trained with the LM, which take the place of the folder's; often none.

    Raises:
        RequestError: it does not load, it is no T5, or the weights do not fit.
    """
    ensure_torchaudio()
    from transformers import T5EncoderModel

    tokenizer = load_tokenizer(folder)
    load: Any = T5EncoderModel.from_pretrained
    try:
        with quiet_transformers():
            encoder, report = load(folder, local_files_only=True, dtype=torch.float32, output_loading_info=True)
    except Exception as error:  # a damaged file surfaces as any of a dozen types, some of them of the libraries below
        raise malformed(folder, f"a text encoder that loads: {first_line(error)}") from error
    if encoder.config.model_type != "t5":
        raise RequestError(ErrorCode.UNSUPPORTED, f"{_FIELD}.model_type", encoder.config.model_type, "t5")
    if absent := sorted(str(key) for key in report["missing_keys"]):
        raise malformed(folder, f"a text encoder with {absent[0]}")
    for tensor in (*encoder.parameters(), *encoder.buffers()):
        tensor.data = tensor.data.clone()  # a view would keep the whole file in memory
    if tuned:
        _tune(encoder, tuned, folder)
    return tokenizer, encoder.eval().requires_grad_(False)


def _tune(encoder: Any, tuned: Mapping[str, Tensor], folder: Path) -> None:
    own = encoder.state_dict()
    for name, tensor in own.items():
        other = tuned.get(name)
        if other is None:
            if name != "encoder.embed_tokens.weight":  # the same as shared.weight, and not always stored twice
                raise malformed(folder, f"weights of a fine-tuned text encoder with {name}")
            continue
        if other.shape != tensor.shape or not other.is_floating_point():
            raise malformed(
                folder, f"a text encoder whose {name} is {list(other.shape)}, as the checkpoint's fine-tuned one"
            )
        with torch.no_grad():
            tensor.copy_(other)
