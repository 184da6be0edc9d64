"""Models by their shape alone, with random weights: how fast a model would be needs no download of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from engine.checkpoints.bundle import STRIDE_SECONDS, WINDOW_SECONDS, ModelBundle
from engine.checkpoints.devices import pick_device, pick_precision
from engine.checkpoints.running import settled, with_runner
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.conditioning.text import TextCondition
from engine.runtime.codec import Codec
from engine.runtime.lm import LMConfig, MusicgenLM
from engine.runtime.patterns import DelayPattern
from protocols.errors import ErrorCode, RequestError

_CODEBOOKS, _CARD, _FRAME_RATE = 4, 2048, 50
_TEXT_DIM, _TEXT_TOKENS = 768, 16
_STD = 0.02
_SEED = 2041
_STRETCH = 4_194_301
"""Random numbers that are drawn, and laid out again and again; prime, so that no two rows of a matrix are alike."""


@dataclass(frozen=True)
class Shape:
    """Width, layers and heads of an LM of MusicGen's; its codec is the one for 32 kHz."""

    dim: int
    layers: int
    heads: int


SHAPES = {
    "musicgen-small": Shape(1024, 24, 16),
    "musicgen-medium": Shape(1536, 48, 24),
    "musicgen-large": Shape(2048, 48, 32),
}


def random_model(name: str, *, device: str, dtype: str, runner: str, kv_cache: str, threads: int) -> ModelBundle:
    """A model of this shape, as `engine.checkpoints.load_model` would hand it over; see there for what is asked for.

    Each matrix is rounded when it is drawn, so that the model never stands in full beside its rounded form.

    Raises:
        RequestError: an unknown shape, device, precision or runner.
    """
    if name not in SHAPES:
        raise RequestError(ErrorCode.UNKNOWN_MODEL, "model-shape", name, ", ".join(SHAPES))
    shape, where = SHAPES[name], pick_device(device)
    config = LMConfig(
        dim=shape.dim,
        layers=shape.layers,
        heads=shape.heads,
        ff_dim=4 * shape.dim,
        pattern=DelayPattern.musicgen(_CODEBOOKS, 1),
        card=_CARD,
        text_dim=_TEXT_DIM,
        text_projection=shape.dim != _TEXT_DIM,
        max_positions=_CARD,
    )
    precision = settled(pick_precision(dtype, where), config, where)
    lm = MusicgenLM(config, device=where, dtype=precision.dtype)
    stretch = torch.randn(_STRETCH, generator=torch.Generator().manual_seed(_SEED)) * _STD
    with torch.no_grad():
        for target in [target for target, _ in lm.named_parameters()]:
            parameter = lm.get_parameter(target)
            if "norm" in target:
                parameter.fill_(1.0 if target.endswith("weight") else 0.0)
            else:
                flat = parameter.view(-1)
                for start in range(0, len(flat), _STRETCH):
                    part = flat[start : start + _STRETCH]
                    part.copy_(stretch[: len(part)])
            del parameter
            if target.endswith(".weight"):
                lm.pack_matrix(target, precision.form)
    codec = _codec(where)
    bundle = ModelBundle(
        name=name,
        status="untrained",
        fingerprint="",
        lm=lm,
        codec=codec,
        text=_RandomText(where),
        score=False,
        melody=None,
        window_frames=WINDOW_SECONDS * _FRAME_RATE,
        stride_frames=STRIDE_SECONDS * _FRAME_RATE,
        device=where,
        dtype=precision.dtype,
        parameters=lm.size,
        form=precision.form,
    )
    return with_runner(bundle, runner, kv_cache=kv_cache, threads=threads)


def _codec(device: torch.device) -> Codec:
    ensure_torchaudio()
    from transformers import EncodecConfig, EncodecModel

    config = EncodecConfig(
        sampling_rate=32_000,
        audio_channels=1,
        upsampling_ratios=[8, 5, 4, 4],
        target_bandwidths=[2.2],
        codebook_size=_CARD,
        codebook_dim=128,
        hidden_size=128,
        num_filters=64,
        num_lstm_layers=2,
        use_causal_conv=False,
        normalize=False,
        chunk_length_s=None,
        overlap=None,
    )
    model: Any = EncodecModel(config)
    return Codec(model.eval(), 1, device, torch.float32)


class _RandomText:
    """Stands in for a text encoder: what a text is does not change how long a step takes."""

    kept_bytes = 0

    def __init__(self, device: torch.device) -> None:
        self._hidden = torch.randn(_TEXT_TOKENS, _TEXT_DIM, generator=torch.Generator().manual_seed(_SEED)).to(device)

    def encode(self, text: str | None) -> TextCondition:
        return TextCondition(self._hidden, torch.ones(_TEXT_TOKENS, dtype=torch.bool, device=self._hidden.device))
