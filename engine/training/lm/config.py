"""The settings of an LM training, each with its default, unit and meaning; the command line is made from them."""

from __future__ import annotations

from dataclasses import dataclass, fields

from engine.training.options import option
from protocols.errors import ErrorCode, RequestError


@dataclass(frozen=True)
class LMTraining:
    """How an LM is trained. The shape of the network cannot change when a training is resumed."""

    seed: int = option(1, "of first weights, crops and every other random choice")
    device: str = option("cpu", "as torch names it")
    threads: int = option(2, "CPU threads")
    bf16: bool = option(True, "compute matrices in bfloat16")

    dim: int = option(320, "width of the LM")
    layers: int = option(6, "layers of the LM")
    heads: int = option(5, "attention heads of the LM; a divisor of its width")
    ff_dim: int = option(1024, "width of the LM's feed-forward layers")
    text_dim: int = option(128, "width of the text encoder")
    text_layers: int = option(2, "layers of the text encoder")
    vocabulary: int = option(1200, "words that the tokenizer knows whole; all others are read byte by byte")

    steps: int = option(3000, "of the training")
    batch: int = option(6, "crops per step and process")
    crop_frames: int = option(640, "frames per crop; the longest window that the model will know")
    learning_rate: float = option(1.5e-3, "peak")
    last_rate: float = option(0.05, "share of the peak that the cosine ends at")
    warmup_steps: int = option(150, "steps until the learning rate is at its peak")
    weight_decay: float = option(0.05, "AdamW's, of matrices")
    gradient_clip: float = option(1.0, "largest norm of a step's gradient")
    ema_decay: float = option(0.998, "of the averaged weights that are exported")

    null_share: float = option(0.1, "share of crops that are heard without any condition, for guidance")
    text_dropout: float = option(0.1, "share of the others that are heard without words")
    grid_dropout: float = option(0.1, "share of the others that are heard without the beat")
    melody_share: float = option(0.5, "share of the others that are heard with their melody")
    chord_share: float = option(0.35, "share of the others that are heard with their chords")
    scale_share: float = option(0.7, "share of the others that are heard with the scale of their key")
    unaligned_share: float = option(0.5, "share of steps whose crops begin anywhere, and not with a bar")

    half: bool = option(True, "store exported weights in float16; they are computed in float32")
    log_every: int = option(25, "steps between two lines of metrics")
    evaluate_every: int = option(250, "steps between two evaluations on held-out crops")
    evaluation_crops: int = option(48, "held-out crops")
    checkpoint_seconds: float = option(180.0, "seconds between two checkpoints")

    def __post_init__(self) -> None:
        for one in fields(self):
            value, least = getattr(self, one.name), 0
            if one.name in ("threads", "dim", "layers", "heads", "ff_dim", "text_dim", "steps", "batch", "log_every"):
                least = 1
            if one.type in ("int", "float") and not value >= least:
                raise RequestError(ErrorCode.OUT_OF_RANGE, one.name, value, f"{least} or more")
            if one.name.endswith(("_share", "_dropout")) and value > 1:
                raise RequestError(ErrorCode.OUT_OF_RANGE, one.name, value, "0 to 1")
        if self.dim % self.heads or self.dim % 2:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "heads", self.heads, f"a divisor of the even width {self.dim}")

    @property
    def shape(self) -> dict[str, int]:
        """What a resumed training must agree on."""
        names = ("dim", "layers", "heads", "ff_dim", "text_dim", "text_layers", "vocabulary")
        return {name: getattr(self, name) for name in names}
