"""AudioCraft's EnCodec models as the runtime's plain shapes and tensors, with every option of their SEANet and quantiser."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from engine.checkpoints.audiocraft.config import Config
from engine.checkpoints.audiocraft.package import Package
from engine.runtime.encodec_weights import GROUP_NORM, NORMS, EncodecWeights, SeanetShape
from engine.runtime.streaming_layers import PAD_MODES
from protocols.errors import ErrorCode, RequestError

_NAMES = (
    (re.compile(r"^(encoder|decoder)\.model\."), r"\1.layers."),
    (re.compile(r"\.(conv|convtr)\.\1\."), ".conv."),
    (re.compile(r"\.(conv|convtr)\.norm\."), ".norm."),
    (re.compile(r"^quantizer\.vq\.layers\.(\d+)\._codebook\."), r"quantizer.layers.\1.codebook."),
)
_PARTS = frozenset(("encoder", "decoder"))
_SHARED = frozenset(
    (
        *("channels", "dimension", "n_filters", "n_residual_layers", "ratios", "kernel_size", "last_kernel_size"),
        *("residual_kernel_size", "dilation_base", "compress", "true_skip", "lstm", "causal", "pad_mode"),
        *("activation", "activation_params", "norm", "norm_params", "disable_norm_outer_blocks"),
    )
)
_OF_DECODER = frozenset(("final_activation", "final_activation_params", "trim_right_ratio"))


def encodec_weights(package: Package) -> EncodecWeights:
    """The codec of a file of AudioCraft's; tensors are shared with it.

    Raises:
        RequestError: ``unsupported`` or ``malformed``, naming AudioCraft's key, for a codec of another kind or with an option
            that is not known. Weights that do not fit are refused when a codec is built of them.
    """
    config = package.config
    config.choice("compression_model", ["encodec"])
    config.choice("encodec.autoencoder", ["seanet"])
    config.choice("encodec.quantizer", ["rvq"])
    seanet, quantizer = config.section("seanet"), config.section("rvq")
    sample_rate = config.whole("encodec.sample_rate", least=1000, most=768_000)
    channels = config.whole("encodec.channels", least=1, most=2)
    causal = config.flag("encodec.causal", False)
    scaled = config.flag("encodec.renormalize", False)
    if causal and scaled:
        raise RequestError(ErrorCode.UNSUPPORTED, config.key("encodec.renormalize"), "true", "false in a causal codec")
    for key in seanet:
        if key not in _PARTS | _SHARED:
            raise RequestError(ErrorCode.UNSUPPORTED, seanet.key(key), seanet.get(key), "keys of a SEANet")
    encoder, decoder = (_shape(seanet, name, sample_rate) for name in ("encoder", "decoder"))
    for key, first, second, wanted in (
        ("channels", encoder.channels, decoder.channels, channels),
        ("dimension", encoder.dimension, decoder.dimension, encoder.dimension),
        ("ratios", encoder.hop_length, decoder.hop_length, encoder.hop_length),
    ):
        if not first == second == wanted:
            raise RequestError(ErrorCode.UNSUPPORTED, seanet.key(key), f"{first} and {second}", f"{wanted} for both")
    return EncodecWeights(
        sample_rate=sample_rate,
        encoder=encoder,
        decoder=decoder,
        codebooks=quantizer.whole("n_q", least=1, most=256),
        card=quantizer.whole("bins", least=2, most=1 << 20),
        scaled=scaled,
        state=renamed(package.weights),
    )


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of AudioCraft's, or of the ``encodec`` package, by transformers' names."""
    made = {}
    for name, tensor in weights.items():
        for theirs, ours in _NAMES:
            name = theirs.sub(ours, name)
        made[name] = tensor
    return made


def _shape(seanet: Config, name: str, sample_rate: int) -> SeanetShape:
    part = seanet.section(name, optional=True)
    allowed = _SHARED | _OF_DECODER if name == "decoder" else _SHARED
    for key in part:
        if key not in allowed:
            raise RequestError(ErrorCode.UNSUPPORTED, part.key(key), part.get(key), f"keys of a SEANet {name}")

    def of(key: str) -> Config:
        """What a part says of itself comes first."""
        return part if key in part else seanet

    def whole(key: str, default: int, least: int, most: int) -> int:
        return of(key).whole(key, default, least=least, most=most)

    ratios = of("ratios").wholes("ratios", least=1, most=1024)
    if not ratios or len(ratios) > 16 or math.prod(ratios) > sample_rate:
        raise RequestError(
            ErrorCode.OUT_OF_RANGE, of("ratios").key("ratios"), ratios, "whole numbers, together below the sample rate"
        )
    norm = of("norm").choice("norm", NORMS, "none")
    causal = of("causal").flag("causal", False)
    if norm == GROUP_NORM and causal:
        raise RequestError(ErrorCode.UNSUPPORTED, of("norm").key("norm"), norm, "another norm in a causal codec")
    eps = 1e-5
    norms = of("norm_params").section("norm_params", optional=True)
    for key in norms:
        if norm != GROUP_NORM or key != "eps":
            raise RequestError(ErrorCode.UNSUPPORTED, norms.key(key), norms.get(key), f"no such parameter of {norm}")
        eps = norms.number("eps", least=0, most=1)
    final = part.text("final_activation", "") if name == "decoder" else ""
    trim = part.number("trim_right_ratio", 1.0, least=0, most=1) if name == "decoder" else 1.0
    if trim != 1.0 and not causal:
        raise RequestError(ErrorCode.UNSUPPORTED, part.key("trim_right_ratio"), trim, "1 in a codec that is not causal")
    return SeanetShape(
        channels=whole("channels", 1, 1, 2),
        dimension=whole("dimension", 128, 1, 1 << 14),
        filters=whole("n_filters", 32, 1, 1 << 12),
        ratios=tuple(ratios),
        residual_layers=whole("n_residual_layers", 3, 0, 16),
        kernel_size=whole("kernel_size", 7, 1, 255),
        last_kernel_size=whole("last_kernel_size", 7, 1, 255),
        residual_kernel_size=whole("residual_kernel_size", 3, 1, 255),
        dilation_growth=whole("dilation_base", 2, 1, 16),
        causal=causal,
        pad_mode=of("pad_mode").choice("pad_mode", PAD_MODES, "reflect"),
        compress=whole("compress", 2, 1, 64),
        lstm_layers=whole("lstm", 0, 0, 8),
        shortcut=not of("true_skip").flag("true_skip", True),
        norm=norm,
        norm_eps=eps,
        plain_blocks=whole("disable_norm_outer_blocks", 0, 0, len(ratios) + 2),
        activation=of("activation").text("activation", "ELU"),
        activation_params=_plain(of("activation_params"), "activation_params"),
        trim_right_ratio=trim,
        final_activation=final or None,
        final_activation_params=_plain(part, "final_activation_params") if final else {},
    )


def _plain(config: Config, name: str) -> dict[str, Any]:
    section = config.section(name, optional=True)
    return {key: section.get(key) for key in section}
