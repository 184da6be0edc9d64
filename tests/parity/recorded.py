"""One recorded model: its checkpoint, loaded as a user would load it, the data recorded from it, and what it hears."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.checkpoints import ModelBundle, load_model
from engine.checkpoints.audiocraft.lm import TEXT
from engine.checkpoints.audiocraft.package import Package, read_weights
from engine.runtime.conditions import Melody, Mix
from engine.runtime.lm import Condition, sinusoids
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings

LM_FILE = "state_dict.bin"
NPZ = dict[str, Tensor]
Heard = Melody | Tensor | None
"""What may stand before the text: a melody, or a style."""
_DIGITS = 5
"""Of seconds that were kept in single precision."""


def arrays(path: Path) -> NPZ:
    """The content of an npz file."""
    with np.load(path) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def models_in(folder: Path) -> list[str]:
    """The models that were recorded there, by name."""
    found = sorted(path.parent.name for path in folder.glob(f"*/{LM_FILE}"))
    return [name for name in found if (folder / f"{name}.npz").is_file() and (folder / f"{name}.json").is_file()]


def text_encoder_in(folder: Path, package: Package) -> Path:
    """The T5 that stands for whatever text encoder a checkpoint names: of several, one that fits it, and best one called so.

    Raises:
        FileNotFoundError: there is none.
    """
    found = {}
    for path in sorted([*folder.glob("*/config.json"), *folder.glob("*/*/config.json")]):
        config = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(config, dict) and config.get("model_type") == "t5":
            found[path.parent] = config.get("d_model")
    if not found:
        raise FileNotFoundError(f"no folder with a T5 encoder in {folder}")
    projection = package.weights.get(f"{TEXT}output_proj.weight")
    width = None if projection is None else projection.shape[1]
    name = Path(package.config.text("conditioners.description.t5.name", "")).name
    return min(found, key=lambda path: (found[path] != width, path.name != name))


class RecordedModel:
    """A model of the folder, in single precision on the CPU.

    Attributes:
        bundle: the model, from the AudioCraft files themselves.
        facts: what was written down of it beside the arrays.
        guidance: what the checkpoint itself says of it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        package = read_weights(folder / name / LM_FILE)
        self.bundle: ModelBundle = load_model(
            str(folder / name), device="cpu", dtype="float32", text_encoder=str(text_encoder_in(folder, package))
        )
        self.guidance = package.config.number("classifier_free_guidance.inference_coef", 1.0)
        self.facts: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        self._arrays = arrays(folder / f"{name}.npz")
        self.null = self.bundle.lm.condition(None)
        self.texts: list[str] = self.facts["texts"]

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def __getitem__(self, name: str) -> Tensor:
        return self._arrays[name]

    def names(self, beginning: str) -> list[str]:
        """The arrays whose names begin so."""
        return sorted(name for name in self._arrays if name.startswith(beginning))

    @property
    def frames(self) -> int:
        """Length of what was generated within a window."""
        return self["gen1_tokens"].shape[2]

    @property
    def stride(self) -> int:
        """Of what is longer than a window, in frames, as AudioCraft counts them."""
        seconds = self["long_params"][1]
        kept = float(seconds) if seconds.dtype == torch.float64 else round(float(seconds), _DIGITS)
        return int(kept * self.facts["frame_rate"])

    def condition(
        self, text: str | None, prefix: Melody | Tensor | None = None, *, beside: tuple[str | None, ...] = ()
    ) -> Condition:
        """What the model hears of a text and of a melody or a style.

        Args:
            text: None is the null text.
            prefix: a melody or a style.
            beside: other texts of AudioCraft's batch. Its cross-attention has no mask, so that a shorter text also looks at the
                projected padding, which is zeros; with these given, ours looks at as much of it.
        """
        lm, encode = self.bundle.lm, self.bundle.text.encode
        encoded = encode(text)
        missing = max([len(encode(other).hidden) for other in beside], default=0) - len(encoded.hidden)
        missing = max(missing, 0)
        if not lm.config.cross_attention:
            hidden, mask = F.pad(encoded.hidden, (0, 0, 0, missing)), F.pad(encoded.mask, (0, missing))
            return lm.condition(hidden, mask, **self._heard_before(prefix))
        if not missing:
            return lm.condition(encoded.hidden, encoded.mask)
        projected = lm.project_text(encoded.hidden[encoded.mask])
        text = F.pad(projected, (0, 0, 0, len(encoded.hidden) + missing - len(projected)))
        scale = lm.config.variant.text_positions
        if scale is None:
            return Condition(lm._cross_keys_values(text))
        places = (scale * sinusoids(*text.shape)).to(text)
        return Condition(lm._cross_keys_values(text + places), null_keys_values=lm._cross_keys_values(places))

    def batch(self, *texts: str | None, prefixes: tuple[Any, ...] = ()) -> list[Condition]:
        """The conditions of one of AudioCraft's batches, each padded as it is there."""
        prefixes = prefixes or (None,) * len(texts)
        return [self.condition(text, prefix, beside=texts) for text, prefix in zip(texts, prefixes, strict=True)]

    def generate(
        self,
        conditions: list[Condition | Mix] | list[Condition],
        frames: int | None = None,
        prompt: Tensor | None = None,
        *,
        seed: int = 0,
        **settings: Any,
    ) -> Tensor:
        """Codes ``[streams, codebooks, frames]``, the prompt's included; greedy, unless the settings say otherwise."""
        sampler = FrameSampler(
            self.bundle.lm,
            conditions,
            SamplingSettings(**({"temperature": 0.0} | settings)),
            total_frames=self.frames if frames is None else frames,
            prompt=prompt,
            window_frames=self.window,
            stride_frames=self.stride,
            seed=seed,
            prefill_chunk=16,
        )
        made = [] if prompt is None else [prompt]
        while not sampler.done:
            if (completed := sampler.advance()) is not None:
                made.append(completed)
        return torch.cat(made, dim=2)

    def encode(self, audio: Tensor) -> Tensor:
        """``[batch, channels, samples]`` to ``[batch, codebooks, frames]``."""
        return torch.stack([self.bundle.codec.encode(row) for row in audio])

    def decode(self, codes: Tensor) -> Tensor:
        """``[batch, codebooks, frames]`` to ``[batch, channels, samples]``, of whole files."""
        return torch.stack([self.bundle.codec.decode(row) for row in codes])

    def decode_in_pieces(self, codes: Tensor) -> Tensor:
        """The same as streams, whose pieces are of one frame, then of more and more."""
        streamed = []
        for row in codes:
            stream, parts, at, size = self.bundle.codec.stream(), [], 0, 1
            while at < row.shape[1]:
                parts.append(stream.decode(row[:, at : at + size]))
                at, size = at + size, size % 7 + 1
            streamed.append(torch.cat([*parts, stream.flush()], dim=-1))
        return torch.stack(streamed)

    @property
    def window(self) -> int:
        """The data was recorded with a shorter window than the checkpoint's own."""
        return int(self.facts["max_duration_used"] * self.facts["frame_rate"])

    def _heard_before(self, prefix: Heard) -> dict[str, Any]:
        if prefix is None:
            return {}
        return {"style": prefix} if isinstance(prefix, Tensor) else {"melody": prefix}
