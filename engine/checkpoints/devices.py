"""Where a model runs and in which precision, chosen by name."""

from __future__ import annotations

import torch

from protocols.errors import ErrorCode, RequestError

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


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


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Turn ``auto``, ``float32``, ``float16`` or ``bfloat16`` into the precision the LM runs in.

    ``auto`` is single precision on a CPU and half precision elsewhere, which is what MusicGen was trained in.

    Raises:
        RequestError: an unknown name.
    """
    wanted = name.strip().lower()
    if wanted == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    if wanted not in _DTYPES:
        raise RequestError(ErrorCode.NOT_ALLOWED, "dtype", name, ", ".join(["auto", *_DTYPES]))
    return _DTYPES[wanted]
