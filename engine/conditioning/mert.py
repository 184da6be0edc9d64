"""MERT, a model that was trained to understand music, as the eyes of a style conditioner.

Li et al., "MERT: Acoustic Music Understanding Model with Large-Scale Self-supervised Training" (2024). The network of MERT-v1-95M
is HuBERT's, weight by weight, at 24 kHz and 75 frames a second. So transformers' own HuBERT computes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from audio_files.resampling import SincResampler

MERT_RATE = 24_000
"""Of the sound that it was trained on, in Hz."""
MERT_FRAME_RATE = 75
MERT_WIDTH = 768


class MERT:
    """Features of a recording: MERT's last layer, brought to the conditioner's width.

    Args:
        model: transformers' ``HubertModel`` with MERT's weights; see `engine.checkpoints.audiocraft.mert`.
        weight: ``[dim, MERT_WIDTH]``.
        bias: ``[dim]``.
        sample_rate: of the sound that it is given, in Hz.
        device: where it computes, in single precision.
    """

    def __init__(self, model: Any, weight: Tensor, bias: Tensor, sample_rate: int, device: torch.device) -> None:
        self._model = model.to(device, torch.float32).eval().requires_grad_(False)
        self._weight, self._bias = weight.to(device, torch.float32), bias.to(device, torch.float32)
        self._sample_rate = sample_rate
        self._device = device

    @property
    def parameters(self) -> int:
        """MERT's own, and those of the layer after it."""
        return sum(tensor.numel() for tensor in [*self._model.parameters(), self._weight, self._bias])

    @torch.inference_mode()
    def __call__(self, sound: Tensor) -> Tensor:
        """Features ``[frames, dim]`` of ``[samples]``; see `engine.conditioning.style.StyleFeatures`."""
        if self._sample_rate != MERT_RATE:
            resampler = SincResampler(self._sample_rate, MERT_RATE, 1)
            column = np.ascontiguousarray(sound.float().cpu().numpy()[:, None])
            sound = torch.from_numpy(resampler.resample_chunk(column, last=True)[:, 0])
        heard = self._model(sound.to(self._device, torch.float32)[None]).last_hidden_state[0]
        return F.linear(heard, self._weight, self._bias)
