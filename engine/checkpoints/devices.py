"""Where a model runs and in which precision, chosen by name."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from engine.runtime.quantised import Form
from protocols.errors import ErrorCode, RequestError

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_FORMS: dict[str, Form] = {"int8": "int8", "int4": "int4"}

FORMS = tuple(_FORMS)
"""Those of them that are fewer bits than any number has."""
PRECISIONS = (*_DTYPES, *_FORMS)
"""The names that `pick_precision` accepts beside ``auto``."""


@dataclass(frozen=True)
class Precision:
    """How an LM computes and how its matrices are kept.

    Attributes:
        name: one of `PRECISIONS`.
        dtype: of activations, embeddings and norms, and of the matrices where ``form`` is None.
        form: of the matrices, if they are rounded further; see `engine.runtime.quantised`.
        chosen: whether it was asked for by its name; else a model for which there is a better one may have that.
    """

    name: str
    dtype: torch.dtype
    form: Form | None = None
    chosen: bool = True

    @property
    def asked(self) -> str:
        """``auto`` where nothing was asked for, else its name."""
        return self.name if self.chosen else "auto"


def available_devices() -> list[str]:
    """The names that `pick_device` accepts on this machine, fastest first."""
    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        names.append("mps")
    return [*names, "cpu"]


def pick_device(name: str = "auto") -> torch.device:
    """Turn ``auto``, ``cuda``, ``cuda:1``, ``mps`` or ``cpu`` into a device of this machine; ``auto`` is the fastest.

    Raises:
        RequestError: no such device here; the text names those there are.
    """
    names = available_devices()
    wanted = name.strip().lower()
    if wanted == "auto":
        return torch.device(names[0])
    if wanted == "cuda":
        wanted = "cuda:0"
    if wanted not in names:
        raise RequestError(ErrorCode.UNKNOWN_DEVICE, "device", name, ", ".join(["auto", *names]))
    return torch.device(wanted)


def pick_precision(name: str, device: torch.device) -> Precision:
    """Turn ``auto`` or one of `PRECISIONS` into how the LM runs.

    ``auto`` is single precision on a CPU, unless the model turns out to run in ``int8`` (see `engine.checkpoints.running`), and
    half precision elsewhere, which is what MusicGen was trained in. Between matrices of few bits a model computes in the same.

    Raises:
        RequestError: an unknown name.
    """
    wanted = name.strip().lower()
    usual = "float32" if device.type == "cpu" else "float16"
    if wanted == "auto":
        return Precision(usual, _DTYPES[usual], chosen=False)
    if wanted in _FORMS:
        return Precision(wanted, _DTYPES[usual], _FORMS[wanted])
    if wanted not in _DTYPES:
        raise RequestError(ErrorCode.NOT_ALLOWED, "dtype", name, ", ".join(["auto", *PRECISIONS]))
    return Precision(wanted, _DTYPES[wanted])


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of `pick_precision`, for what has no use for a form.

    Raises:
        RequestError: an unknown name, or one of a form.
    """
    precision = pick_precision(name, device)
    if precision.form is not None:
        raise RequestError(ErrorCode.NOT_ALLOWED, "dtype", name, ", ".join(["auto", *_DTYPES]))
    return precision.dtype
