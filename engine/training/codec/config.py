"""The settings of a codec training, each with its default, unit and meaning; the command line is made from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from engine.training.options import TYPES, option
from protocols.errors import ErrorCode, RequestError


class Stage(StrEnum):
    """What a step trains: a codec as a whole in the first three, then its decoder alone."""

    RECONSTRUCTION = "reconstruction"
    QUANTISED = "quantised"
    ADVERSARIAL = "adversarial"
    DECODER = "decoder"
    REFINEMENT = "refinement"

    @property
    def has_adversary(self) -> bool:
        return self in (Stage.ADVERSARIAL, Stage.REFINEMENT)


_AT_LEAST_ONE = (
    "threads",
    "batch",
    "crop_frames",
    "kmeans_crops",
    "discriminator_filters",
    "discriminator_crops",
    "discriminator_frames",
    "log_every",
    "evaluate_every",
    "evaluation_crops",
)
JOINT_STEPS = ("reconstruction_steps", "quantised_steps", "adversarial_steps")
"""Settings of the stages that train encoder and codebooks."""

_SHARES = ("last_rate", "ema_decay", "codebook_decay", "codebook_dropout")


@dataclass(frozen=True)
class CodecTraining:
    """How a codec is trained. Steps of the five stages follow one another; after them the training is done."""

    model: str = option("spectral", "spectral, or encodec: the SEANet of EnCodec's format, for a GPU")
    seed: int = option(1, "of first weights, crops and every other random choice")
    device: str = option("cpu", "as torch names it")
    threads: int = option(2, "CPU threads")
    bf16: bool = option(True, "compute matrices and convolutions in bfloat16")

    reconstruction_steps: int = option(1000, "first stage: without quantiser, waveform first")
    quantised_steps: int = option(6000, "second stage: with codebooks, which start from k-means")
    adversarial_steps: int = option(0, "third stage: encoder, codebooks and decoder against the discriminator")
    decoder_steps: int = option(1000, "fourth stage: encoder and codebooks frozen, the decoder without discriminator")
    refinement_steps: int = option(2000, "last stage: encoder and codebooks frozen, decoder against the discriminator")

    batch: int = option(16, "crops per step")
    crop_frames: int = option(64, "frames per crop")
    learning_rate: float = option(5e-4, "peak, of the first three stages; SEANet wants 3e-4")
    decoder_rate: float = option(3e-4, "peak, of the fourth stage")
    refinement_rate: float = option(1e-4, "peak, of the last stage")
    discriminator_rate: float = option(1e-3, "of the discriminator")
    last_rate: float = option(
        0.05, "share of the peak that a cosine ends at: of the first three stages, or of a later one"
    )
    warmup_steps: int = option(100, "steps until the learning rate is at such a peak")
    weight_decay: float = option(0.01, "AdamW's")
    gradient_clip: float = option(2.0, "largest norm of a step's gradient")
    ema_decay: float = option(0.998, "of the averaged weights that are exported")

    waveform_weight: float = option(1.0, "share of the waveform loss, until encoder and codebooks are frozen")
    mel_weight: float = option(2.0, "share of the multi-scale mel loss, until then")
    log_mel_weight: float = option(0.0, "share of the log mel distance that is also measured, until then")
    mel_ramp: int = option(600, "steps until the two mel losses have their whole shares")
    decoder_waveform_weight: float = option(0.5, "share of the waveform loss afterwards")
    decoder_mel_weight: float = option(1.0, "share of the multi-scale mel loss afterwards")
    decoder_log_mel_weight: float = option(2.0, "share of the log mel distance afterwards")
    adversarial_weight: float = option(0.4, "share of the adversarial loss")
    feature_weight: float = option(0.3, "share of the feature matching loss")
    adversarial_ramp: int = option(300, "steps of a stage until the two have their whole shares")
    commitment_weight: float = option(0.05, "of the latents' distance to their codebook entries")

    codebook_decay: float = option(0.99, "of the codebooks' running averages")
    codebook_dropout: float = option(0.1, "share of crops that are decoded from fewer codebooks")
    kmeans_crops: int = option(256, "crops whose latents the codebooks start from")

    discriminator_filters: int = option(16, "channels of the discriminator")
    discriminator_crops: int = option(8, "crops per step that the discriminator hears")
    discriminator_frames: int = option(32, "frames of each of them")

    half: bool = option(True, "store exported weights in float16; they are computed in float32")
    log_every: int = option(50, "steps between two lines of metrics")
    evaluate_every: int = option(500, "steps between two evaluations on held-out crops")
    evaluation_crops: int = option(48, "held-out crops")
    checkpoint_seconds: float = option(120.0, "seconds between two checkpoints")

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            kind = TYPES[str(one.type)]
            accepted = (int, float) if kind is float else kind
            if not isinstance(value, accepted) or isinstance(value, bool) != (kind is bool):
                raise RequestError(ErrorCode.BAD_TYPE, one.name, value, f"a value of type {one.type}")
            if isinstance(value, int | float) and not 0 <= value < math.inf:
                raise RequestError(ErrorCode.OUT_OF_RANGE, one.name, value, "0 or more")
        if self.model not in ("spectral", "encodec"):
            raise RequestError(ErrorCode.OUT_OF_RANGE, "model", self.model, "spectral or encodec")
        if self.seed >= 1 << 31:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "seed", self.seed, f"0 to {(1 << 31) - 1}")
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise RequestError(ErrorCode.OUT_OF_RANGE, name, getattr(self, name), "1 or more")
        for name in _SHARES:
            if getattr(self, name) > 1:
                raise RequestError(ErrorCode.OUT_OF_RANGE, name, getattr(self, name), "0 to 1")
        if self.gradient_clip == 0:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "gradient_clip", 0, "more than 0")
        for part in ("", "decoder_"):
            if not any(getattr(self, f"{part}{loss}_weight") for loss in ("waveform", "mel", "log_mel")):
                allowed = f"more than 0 when {part}waveform_weight and {part}log_mel_weight are 0"
                raise RequestError(ErrorCode.OUT_OF_RANGE, f"{part}mel_weight", 0, allowed)
        if self.total_steps == 0:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE, "reconstruction_steps", 0, "1 or more when no other stage has steps"
            )

    @classmethod
    def from_dict(cls, config: Any) -> CodecTraining:
        """The settings that a checkpoint holds.

        Raises:
            RequestError: ``malformed`` for something else or a setting that there is not; what is raised for a bad value.
        """
        if not isinstance(config, Mapping):
            raise RequestError(ErrorCode.MALFORMED, "config", config, "settings of a codec training")
        unknown = sorted(config.keys() - {one.name for one in fields(cls)})
        if unknown:
            raise RequestError(ErrorCode.MALFORMED, unknown[0], config[unknown[0]], "settings of a codec training")
        return cls(**config)

    def check_changes(self, held: CodecTraining, step: int, frozen: bool) -> None:
        """Refuse settings that contradict what a training with the settings ``held`` has done so far.

        Args:
            held: the settings of before.
            step: steps done.
            frozen: whether encoder and codebooks are.

        Raises:
            RequestError: ``not_allowed``, with the first setting that cannot change any more.
        """
        fits = {name: getattr(self, name) == getattr(held, name) for name in ("model", "discriminator_filters")}
        # Weights that were not rounded when they froze would have other codes once they are.
        fits["half"] = not frozen or held.half or not self.half
        begun, would_have = (frozen or step > one.reconstruction_steps for one in (held, self))
        fits["reconstruction_steps"] = begun == would_have
        fits["quantised_steps"] = self.frozen_from <= step if frozen else self.frozen_from >= step
        for name, fit in fits.items():
            if not fit:
                value, before = getattr(self, name), getattr(held, name)
                raise RequestError(ErrorCode.NOT_ALLOWED, name, value, f"{before}, as it was before step {step}")

    @property
    def frozen_from(self) -> int:
        """The step from which encoder and codebooks do not change any more."""
        return self.reconstruction_steps + self.quantised_steps + self.adversarial_steps

    @property
    def total_steps(self) -> int:
        return self.frozen_from + self.decoder_steps + self.refinement_steps

    def stage(self, step: int) -> Stage:
        """The stage of a step, counted from 0; the last one for all steps from its first on."""
        for stage in Stage:
            if step < self.span(stage)[1]:
                return stage
        return Stage.REFINEMENT

    def span(self, stage: Stage) -> tuple[int, int]:
        """A stage's first step and the one after its last."""
        begin = 0
        for one in Stage:
            end = begin + int(getattr(self, f"{one}_steps"))
            if one is stage:
                break
            begin = end
        return begin, end
