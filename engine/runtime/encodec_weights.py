"""An EnCodec model as plain shapes and tensors, whatever file they come from; `engine.runtime.codec` and
`engine.runtime.chunked_codec` run it.

Tensors go by transformers' names: ``encoder.layers.0.conv.weight``, ``decoder.layers.1.lstm.weight_ih_l0``,
``encoder.layers.1.block.3.norm.bias``, ``quantizer.layers.0.codebook.embed``; a layer's number counts activations, too. A
convolution's weight may be there as it is, or as weight norm or spectral norm leave it, in the old and the new form of torch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from engine.runtime.audio_codec import Chunks
from protocols.errors import ErrorCode, RequestError

if TYPE_CHECKING:
    from transformers import EncodecModel

GROUP_NORM: Final = "time_group_norm"
NORMS: Final = ("none", "weight_norm", "spectral_norm", GROUP_NORM)


@dataclass(frozen=True, kw_only=True)
class SeanetShape:
    """A SEANet encoder or decoder (Tagliasacchi et al. 2020; Défossez et al. 2022).

    Attributes:
        channels: of the audio.
        dimension: of the latents.
        filters: channels of the layer at the audio's rate; each ratio doubles them.
        ratios: of the decoder, in its order; the encoder takes them backwards.
        residual_layers: residual blocks per ratio.
        kernel_size: of the first convolution.
        last_kernel_size: of the last one.
        residual_kernel_size: of those in residual blocks.
        dilation_growth: factor from one residual block's dilation to the next.
        causal: whether no output depends on a later input.
        pad_mode: ``constant``, ``reflect`` or ``replicate``.
        compress: by how much narrower a residual block is inside.
        lstm_layers: 0: there is none.
        shortcut: whether a residual block's shortcut is a convolution.
        norm: one of `NORMS`. Weight norm and spectral norm are folded in.
        norm_eps: of group norm.
        plain_blocks: how many blocks at the audio's end have no group norm, counted as AudioCraft does.
        activation: torch.nn's name.
        activation_params: its parameters.
        trim_right_ratio: of a causal transposed convolution: how much of what is trimmed is trimmed at the right.
        final_activation: after the decoder's last layer.
        final_activation_params: its parameters.
    """

    channels: int
    dimension: int
    filters: int
    ratios: tuple[int, ...]
    residual_layers: int = 1
    kernel_size: int = 7
    last_kernel_size: int = 7
    residual_kernel_size: int = 3
    dilation_growth: int = 2
    causal: bool = False
    pad_mode: str = "constant"
    compress: int = 2
    lstm_layers: int = 2
    shortcut: bool = False
    norm: str = "weight_norm"
    norm_eps: float = 1e-5
    plain_blocks: int = 0
    activation: str = "ELU"
    activation_params: Mapping[str, Any] = field(default_factory=dict)
    trim_right_ratio: float = 1.0
    final_activation: str | None = None
    final_activation_params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least, most in (
            *(("channels", 1, 2), ("dimension", 1, 1 << 16), ("filters", 1, 1 << 14), ("residual_layers", 0, 16)),
            *(("kernel_size", 1, 1024), ("last_kernel_size", 1, 1024), ("residual_kernel_size", 1, 1024)),
            *(("dilation_growth", 1, 64), ("compress", 1, self.filters), ("lstm_layers", 0, 16)),
            *(("trim_right_ratio", 0, 1), ("plain_blocks", 0, len(self.ratios) + 2)),
        ):
            if not least <= getattr(self, name) <= most:
                raise RequestError(ErrorCode.OUT_OF_RANGE, name, getattr(self, name), f"{least} to {most}")
        if not 1 <= len(self.ratios) <= 16 or not all(1 <= ratio <= 1024 for ratio in self.ratios):
            raise RequestError(ErrorCode.OUT_OF_RANGE, "ratios", list(self.ratios), "1 to 16 whole numbers, 1 to 1024")
        if self.norm not in NORMS:
            raise RequestError(ErrorCode.UNSUPPORTED, "norm", self.norm, ", ".join(NORMS))

    @property
    def hop_length(self) -> int:
        return math.prod(self.ratios)

    @property
    def settles(self) -> bool:
        """Whether a norm averages over the whole signal somewhere."""
        return self.norm == GROUP_NORM and self.plain_blocks < self.blocks

    @property
    def blocks(self) -> int:
        """What `plain_blocks` counts: both outer convolutions, and one for each ratio."""
        return len(self.ratios) + 2


@dataclass(frozen=True, kw_only=True)
class EncodecWeights:
    """An EnCodec model.

    Attributes:
        sample_rate: in Hz.
        encoder: its shape.
        decoder: its shape; ratios, channels and dimension are the encoder's.
        codebooks: how many there are.
        card: codes per codebook.
        scaled: whether audio is divided by its level before it is encoded: the signal's, or each chunk's.
        chunks: how a signal is cut; None: it is not.
        state: every tensor by transformers' name.
    """

    sample_rate: int
    encoder: SeanetShape
    decoder: SeanetShape
    codebooks: int
    card: int
    scaled: bool = False
    chunks: Chunks | None = None
    state: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("sample_rate", self.sample_rate, 1, 1 << 20),
            ("codebooks", self.codebooks, 1, 1024),
            ("card", self.card, 2, 1 << 20),
        ):
            if not least <= value <= most:
                raise RequestError(ErrorCode.OUT_OF_RANGE, name, value, f"{least} to {most}")
        if self.chunks is not None and not 0 < self.chunks.stride <= self.chunks.length <= 3600 * self.sample_rate:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE, "chunks", str(self.chunks), "chunks of up to an hour, without gaps"
            )

    @classmethod
    def of_model(cls, model: EncodecModel) -> EncodecWeights:
        """Those of a transformers ``EncodecModel``; its tensors are shared, not copied."""
        return cls.of_config(model.config, model.state_dict())

    @classmethod
    def of_config(cls, config: Any, state: Mapping[str, Tensor]) -> EncodecWeights:
        """Those of transformers' ``EncodecConfig`` and the tensors of such a model."""
        hop_length = int(config.hop_length)
        shape = SeanetShape(
            channels=int(config.audio_channels),
            dimension=int(config.hidden_size),
            filters=int(config.num_filters),
            ratios=tuple(int(ratio) for ratio in config.upsampling_ratios),
            residual_layers=int(config.num_residual_layers),
            kernel_size=int(config.kernel_size),
            last_kernel_size=int(config.last_kernel_size),
            residual_kernel_size=int(config.residual_kernel_size),
            dilation_growth=int(config.dilation_growth_rate),
            causal=bool(config.use_causal_conv),
            pad_mode=str(config.pad_mode),
            compress=int(config.compress),
            lstm_layers=int(config.num_lstm_layers),
            shortcut=bool(config.use_conv_shortcut),
            norm=str(config.norm_type),
            trim_right_ratio=float(config.trim_right_ratio),
        )
        chunks = None
        if config.chunk_length_s is not None:
            if not 0 <= (config.overlap or 0) < 1:
                raise RequestError(ErrorCode.OUT_OF_RANGE, "overlap", config.overlap, "0 to less than 1")
            # Without an overlap transformers moves on by a sample at a time, which nobody can mean.
            stride = config.chunk_stride if config.overlap is not None else config.chunk_length
            chunks = Chunks(int(config.chunk_length), int(stride), hop_length)
        return cls(
            sample_rate=int(config.sampling_rate),
            encoder=shape,
            decoder=shape,
            codebooks=int(config.num_quantizers),
            card=int(config.codebook_size),
            scaled=bool(config.normalize),
            chunks=chunks,
            state=state,
        )

    @property
    def fingerprint(self) -> str:
        """See `fingerprint_of`."""
        facts = (self.sample_rate, self.encoder.hop_length, self.encoder.channels, self.card, self.chunks, self.scaled)
        return fingerprint_of(facts, self.state, self.codebook(0))

    def codebook(self, index: int) -> Tensor:
        """``[card, dimension]``, float32, a copy.

        Raises:
            RequestError: ``malformed`` where it is missing or of another shape.
        """
        name = f"quantizer.layers.{index}.codebook.embed"
        return fitting(self.state, name, (self.card, self.encoder.dimension)).to(torch.float32, copy=True)


def fingerprint_of(facts: tuple[object, ...], state: Mapping[str, Tensor], codebook: Tensor) -> str:
    """Names a codec by what its codes mean: hexadecimal, equal whatever files it comes from and however many codebooks are used.

    Of the weights only the biases are looked at: every training changes them, and every layout stores them as they are.

    Args:
        facts: that belong to it.
        state: its tensors.
        codebook: its first.
    """
    digest = hashlib.sha256(repr(facts).encode())
    names = [name for name in state if "bias" in name.rpartition(".")[2] and not name.startswith("quantizer.")]
    for tensor in (codebook, *(state[name] for name in sorted(names))):
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def fitting(state: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor of this name and shape.

    Raises:
        RequestError: ``malformed`` where there is none.
    """
    found = state.get(name)
    if found is None:
        raise RequestError(ErrorCode.MALFORMED, name, "none", f"a tensor {list(shape)}, as the codec's config has it")
    if tuple(found.shape) != shape or not found.is_floating_point():
        value = f"{list(found.shape)} of {found.dtype}"
        raise RequestError(ErrorCode.MALFORMED, name, value, f"{list(shape)} of floats, as the codec's config has it")
    return found.detach()


def folded(state: Mapping[str, Tensor], name: str, shape: tuple[int, ...], *, outputs: int = 0) -> Tensor:
    """A convolution's weight, its weight norm (Salimans and Kingma 2016) or spectral norm (Miyato et al. 2018) folded in.

    Args:
        state: with ``<name>``, or ``<name>_g`` and ``_v``, or the same as parametrizations, or ``<name>_orig``, ``_u`` and ``_v``.
        name: of the weight.
        shape: of the weight.
        outputs: the axis of output channels that spectral norm counts by.

    Raises:
        RequestError: ``malformed`` where it is missing or of another shape.
    """
    if f"{name}_orig" in state:
        weight = fitting(state, f"{name}_orig", shape).float()
        rows = weight.movedim(outputs, 0).flatten(1)
        left = fitting(state, f"{name}_u", (rows.shape[0],)).float()
        right = fitting(state, f"{name}_v", (rows.shape[1],)).float()
        return weight / torch.dot(left, rows @ right)
    module, _, leaf = name.rpartition(".")
    for gain, direction in (
        (f"{module}.parametrizations.{leaf}.original0", f"{module}.parametrizations.{leaf}.original1"),
        (f"{name}_g", f"{name}_v"),
    ):
        if gain in state:
            # Weight norm counts by the first axis, in transposed convolutions as well.
            gains = fitting(state, gain, (shape[0], *(1 for _ in shape[1:])))
            return torch._weight_norm(fitting(state, direction, shape), gains, 0)
    return fitting(state, name, shape)
