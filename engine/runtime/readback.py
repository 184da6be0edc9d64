"""What a device made, on its way into host memory, while the device goes on with other work."""

from __future__ import annotations

import torch
from torch import Tensor


class Readback:
    """Tensors that are copied into host memory behind the work that makes them, and nobody waits before they are asked for.

    On a CPU they are there at once. On CUDA they go through pinned memory, in the order of the stream that is current. Either way
    they must not be written over before they are `ready`.

    Args:
        tensors: on any device.
    """

    def __init__(self, *tensors: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._host = tuple(map(self._sent, tensors))
        device = next((tensor.device for tensor in tensors if tensor.is_cuda), None)
        if device is not None:
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(device))

    @property
    def ready(self) -> bool:
        """Whether `read` would not have to wait."""
        return self._event is None or bool(self._event.query())  # type: ignore[no-untyped-call]

    def read(self) -> tuple[Tensor, ...]:
        """The tensors in host memory, waited for if need be."""
        if self._event is not None:
            self._event.synchronize()
            self._event = None
        return self._host

    @staticmethod
    def _sent(tensor: Tensor) -> Tensor:
        if not tensor.is_cuda:
            return tensor.cpu()
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)
