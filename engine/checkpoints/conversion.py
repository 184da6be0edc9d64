"""Checkpoints of AudioCraft's written again in transformers' layout, and compared with what they were made from.

What transformers cannot express is refused with its name. What is written is whole or not there: it is made in a folder beside its
place, loaded there by transformers itself, compared number by number with the original, and only then moved.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.checkpoints.audiocraft.codec import codec_weights
from engine.checkpoints.audiocraft.layout import AudiocraftModel, read_folder
from engine.checkpoints.audiocraft.lm import build_lm
from engine.checkpoints.audiocraft.magnet import is_magnet
from engine.checkpoints.audiocraft.variants import layer_scaled
from engine.checkpoints.bundle import STRIDE_SECONDS, WINDOW_SECONDS
from engine.checkpoints.devices import Precision
from engine.checkpoints.melody_layout import SETTINGS_FILE
from engine.checkpoints.parts import first_line, quiet_transformers, weight_sources
from engine.checkpoints.section import CONFIG_FILE, SECTION
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.runtime.encodec_weights import EncodecWeights
from engine.runtime.lm import LMConfig, MusicgenLM
from engine.runtime.patterns import DelayPattern
from engine.runtime.transformer import Variant
from protocols.errors import ErrorCode, RequestError

WEIGHTS_FILE = "model.safetensors"
TOLERANCE = 1e-3
"""How far logits may lie apart, of the largest of them: what the order of additions makes of single precision."""

_PRECISIONS = ("auto", "float32", "float16", "bfloat16")
_STEPS = 24
_ROOM = 64 << 20
_OVERHEAD = 1.02
_TEXT = "an example text, to compare the two with"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Converted:
    """What was written.

    Attributes:
        folder: where it is.
        bytes: that it takes.
        logits: how far its logits lie from the original's, of the largest of them.
        audio: how far its codec's samples do, at the most.
    """

    folder: Path
    bytes: int
    logits: float
    audio: float


def convert(
    source: Path,
    target: Path,
    *,
    dtype: str = "auto",
    text_encoder: str = "",
    overwrite: bool = False,
    tell: Tell = lambda _: None,
) -> Converted:
    """Write a checkpoint of AudioCraft's in transformers' layout.

    Args:
        source: its folder, see `engine.checkpoints.audiocraft.layout`.
        target: the folder to make.
        dtype: how the LM's numbers are stored: ``auto`` as they are, or in this precision. Codec and text encoder stay in single
            precision, and so does what transformers makes of all of it, unless it is told otherwise.
        text_encoder: as `engine.checkpoints.load_model` takes it.
        overwrite: replace what is in ``target``.
        tell: hears what is done, in a few words.

    Raises:
        RequestError: a checkpoint that does not load, that transformers cannot express or that does not fit the disk, a target
            that is there, or a result that differs from its source.
    """
    if dtype not in _PRECISIONS:
        raise RequestError(ErrorCode.NOT_ALLOWED, "dtype", dtype, ", ".join(_PRECISIONS))
    target = target.expanduser().absolute()
    _check_target(source, target, overwrite)
    ensure_torchaudio()
    tell(f"reading {source}")
    model = read_folder(source, text_encoder=text_encoder)
    _check_expressible(model)
    codec = _expressible_codec(model)
    exact = Precision("float32", torch.float32)
    lm = build_lm(model.shape, model.package, model.lm_weights, torch.device("cpu"), exact, packed=False)
    stored = next(iter(model.lm_weights.values())).dtype if dtype == "auto" else getattr(torch, dtype)
    state = _state(model, lm, codec, stored)
    size = sum(tensor.nbytes for tensor in state.values())
    _check_room(target.parent, size)

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise RequestError(
            ErrorCode.NOT_ALLOWED, "target", str(target), f"a folder that can be made: {error}"
        ) from error
    try:
        tell(f"writing {size / 1e9:.2f} GB")
        _write(folder, model, codec, state)
        del state
        tell("comparing what transformers loads with the original")
        with quiet_transformers():
            report = _compare(folder, model, lm)
        folder.chmod(0o755)
        _publish(folder, target)
    except OSError as error:
        raise RequestError(
            ErrorCode.NOT_ALLOWED, "target", str(target), f"a folder that can be written: {error}"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    written = sum(path.stat().st_size for path in target.iterdir())
    return Converted(target, written, *report)


def _check_target(source: Path, target: Path, overwrite: bool) -> None:
    if target.exists():
        if not target.is_dir():
            raise RequestError(ErrorCode.NOT_ALLOWED, "target", str(target), "a folder, not a file")
        if any(target.iterdir()) and not overwrite:
            raise RequestError(
                ErrorCode.NOT_ALLOWED, "target", str(target), "a folder that is empty or not there yet; or --overwrite"
            )
    resolved, original = target.resolve(), source.resolve()
    if resolved == original or original.is_relative_to(resolved):
        raise RequestError(ErrorCode.NOT_ALLOWED, "target", str(target), "another folder than the original's")


def _check_room(folder: Path, size: int) -> None:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free, needed = shutil.disk_usage(there).free, int(size * _OVERHEAD) + _ROOM
    if free < needed:
        allowed = f"a disk with {needed / 1e9:.1f} GB free, where {free / 1e9:.1f} GB are"
        raise RequestError(ErrorCode.TOO_LARGE, "target", str(folder), allowed)


# --- What transformers has words for


def _check_expressible(model: AudiocraftModel) -> None:
    """Refuse what a MusicGen of transformers' has no place for."""
    shape, facts = model.shape, model.facts
    if facts.style:
        raise _lacks("conditioners.self_wav", "style", "a model that hears styles")
    if shape.text_first:
        raise _lacks("fuser.prepend", "description", "a text that stands before the codes by itself")
    if is_magnet(model.package.config):
        raise _lacks("lm_model", "transformer_lm_magnet", "MAGNeT")
    if shape.variant != Variant() or _scaled(model):
        raise _lacks("transformer_lm", _variants(model), "such a transformer")
    channels = 2 if facts.interleaved else 1
    if shape.pattern != DelayPattern.musicgen(shape.num_codebooks, channels):
        raise _lacks("codebooks_pattern", type(shape.pattern).__name__, "another pattern than MusicGen's own delays")
    if shape.text_projection and shape.text_dim == shape.dim:
        raise _lacks(
            "conditioners.description.output_proj", shape.dim, "a projection of texts that are as wide as the LM"
        )
    if shape.chroma_frames and shape.dim == shape.chroma_bins:
        raise _lacks("conditioners.self_wav.output_proj", shape.dim, "a projection of chroma that is as wide as the LM")


def _scaled(model: AudiocraftModel) -> bool:
    return layer_scaled(model.package.config.section("transformer_lm"))


def _variants(model: AudiocraftModel) -> str:
    usual, found = vars(Variant()), vars(model.shape.variant)
    names = [name for name in usual if usual[name] != found[name]] + (["layer_scale"] if _scaled(model) else [])
    return ", ".join(names)


def _expressible_codec(model: AudiocraftModel) -> EncodecWeights:
    weights = codec_weights(model.folder, model.codec_source, model.facts.codebooks)
    if not isinstance(weights, EncodecWeights) or weights.decoder.channels != 1:
        raise _lacks(
            "compression_model",
            type(weights).__name__.removesuffix("Weights"),
            "another codec in a MusicGen than a mono EnCodec",
        )
    read = EncodecWeights.of_config(_codec_config(weights), weights.state)
    for part in ("encoder", "decoder"):
        ours, theirs = vars(getattr(weights, part)), vars(getattr(read, part))
        for key, value in ours.items():
            if theirs[key] != value and not (key == "activation_params" and value == {"alpha": 1.0}):
                raise _lacks(f"seanet.{key}", value, "such a codec")
    if (read.codebooks, read.card, read.scaled, read.chunks) != (
        weights.codebooks,
        weights.card,
        weights.scaled,
        weights.chunks,
    ):
        raise _lacks("rvq", f"{weights.codebooks} codebooks of {weights.card}", "such a codec")
    return weights


def _lacks(key: str, value: object, what: str) -> RequestError:
    return RequestError(ErrorCode.UNSUPPORTED, key, value, f"what transformers can express; it has not {what}")


# --- What is written


def _codec_config(weights: EncodecWeights) -> Any:
    from transformers import EncodecConfig

    shape, decoder = weights.encoder, weights.decoder
    make: Any = EncodecConfig
    rate = math.ceil(weights.sample_rate / shape.hop_length)
    bits = math.ceil(math.log2(weights.card))
    return make(
        sampling_rate=weights.sample_rate,
        audio_channels=shape.channels,
        normalize=weights.scaled,
        # Codebooks are counted back from a bandwidth: half of one more, so that none is lost in rounding.
        target_bandwidths=[(weights.codebooks + 0.5) * rate * bits / 1000],
        hidden_size=shape.dimension,
        num_filters=shape.filters,
        num_residual_layers=shape.residual_layers,
        upsampling_ratios=list(shape.ratios),
        norm_type=shape.norm,
        kernel_size=shape.kernel_size,
        last_kernel_size=shape.last_kernel_size,
        residual_kernel_size=shape.residual_kernel_size,
        dilation_growth_rate=shape.dilation_growth,
        use_causal_conv=shape.causal,
        pad_mode=shape.pad_mode,
        compress=shape.compress,
        num_lstm_layers=shape.lstm_layers,
        trim_right_ratio=decoder.trim_right_ratio,
        codebook_size=weights.card,
        codebook_dim=shape.dimension,
        use_conv_shortcut=shape.shortcut,
    )


def _config(model: AudiocraftModel, codec: EncodecWeights) -> Any:
    """Transformers' config of the whole model."""
    from transformers import MusicgenConfig, MusicgenDecoderConfig, MusicgenMelodyConfig, MusicgenMelodyDecoderConfig

    shape = model.shape
    decoder_kind: Any = MusicgenMelodyDecoderConfig if shape.chroma_frames else MusicgenDecoderConfig
    longest = shape.pattern.positions(model.window_frames) + shape.chroma_frames + 1
    decoder = decoder_kind(
        vocab_size=shape.card,
        hidden_size=shape.dim,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        ffn_dim=shape.ff_dim,
        num_codebooks=shape.num_codebooks,
        audio_channels=2 if model.facts.interleaved else 1,
        pad_token_id=shape.card,
        bos_token_id=shape.card,
        max_position_embeddings=max(2048, longest),
    )
    parts = {"text_encoder": model.text_encoder.config, "audio_encoder": _codec_config(codec), "decoder": decoder}
    if not shape.chroma_frames:
        return MusicgenConfig(**parts)
    return MusicgenMelodyConfig(**parts, chroma_length=shape.chroma_frames)


def _state(model: AudiocraftModel, lm: MusicgenLM, codec: EncodecWeights, stored: torch.dtype) -> dict[str, Tensor]:
    """Every tensor by transformers' names, each with memory of its own."""
    state: dict[str, Tensor] = {}
    for target, names in weight_sources(model.shape).items():
        for name, part in zip(names, lm.get_parameter(target).chunk(len(names)), strict=True):
            state[name] = part.detach().to(stored).clone()
            if not bool(state[name].isfinite().all()):
                allowed = f"another precision: {name} does not fit {str(stored).removeprefix('torch.')}"
                raise RequestError(ErrorCode.NOT_ALLOWED, "dtype", str(stored).removeprefix("torch."), allowed)
    for name, tensor in model.text_encoder.state_dict().items():
        if name != "encoder.embed_tokens.weight":  # the same as shared.weight
            state[f"text_encoder.{name}"] = tensor.detach().float().clone()
    for name in codec.state:
        renamed = name.replace(".weight_g", ".parametrizations.weight.original0")
        renamed = renamed.replace(".weight_v", ".parametrizations.weight.original1")
        state[f"audio_encoder.{renamed}"] = codec.state[name].detach().float().clone()
    for book in range(codec.codebooks):
        prefix = f"audio_encoder.quantizer.layers.{book}.codebook."
        embed = state[f"{prefix}embed"]
        state |= {
            f"{prefix}inited": torch.ones(1),
            f"{prefix}cluster_size": torch.zeros(len(embed)),
            f"{prefix}embed_avg": embed.clone(),
        }
    books = tuple(f"audio_encoder.quantizer.layers.{book}." for book in range(codec.codebooks))
    return {
        name: tensor
        for name, tensor in state.items()
        if not name.startswith("audio_encoder.quantizer.") or name.startswith(books)
    }


def _write(folder: Path, model: AudiocraftModel, codec: EncodecWeights, state: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file
    from transformers import EncodecFeatureExtractor, GenerationConfig, MusicgenMelodyFeatureExtractor

    with quiet_transformers():
        config = _config(model, codec)
        config.architectures = [_kind(model).__name__]
        config.dtype = "float32"
        config.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
        channels = 2 if model.facts.interleaved else 1
        if model.shape.chroma_frames:
            size = 1 << model.facts.chroma_exponent
            melody: Any = MusicgenMelodyFeatureExtractor
            extractor = melody(sampling_rate=codec.sample_rate, n_fft=size, hop_length=size // 4)
        else:
            plain: Any = EncodecFeatureExtractor
            extractor = plain(feature_size=channels, sampling_rate=codec.sample_rate, padding_side="left")
        extractor.save_pretrained(folder)
        card = model.shape.card
        tokens = dict.fromkeys(("decoder_start_token_id", "pad_token_id", "bos_token_id"), card)
        longest = model.shape.pattern.positions(model.window_frames) + 1
        usual: Any = GenerationConfig
        usual(**tokens, do_sample=True, guidance_scale=3.0, max_length=longest, top_k=250).save_pretrained(folder)
    assert (folder / SETTINGS_FILE).is_file()
    if section := _own_section(model):
        path = folder / CONFIG_FILE
        raw = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps(raw | {SECTION: section}, indent=2) + "\n", encoding="utf-8")
    save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    (folder / WEIGHTS_FILE).chmod((folder / CONFIG_FILE).stat().st_mode)  # it is written for its owner alone


def _own_section(model: AudiocraftModel) -> dict[str, Any]:
    """What transformers has no words for, where it is not what this engine takes for granted."""
    section: dict[str, Any] = {}
    window = Fraction(model.window_frames) / model.codec.frame_rate
    stride = Fraction(model.stride_frames) / model.codec.frame_rate
    if window != WINDOW_SECONDS or stride != STRIDE_SECONDS:
        section |= {"window_seconds": float(window), "stride_seconds": float(stride)}
    if model.facts.sound:
        section["kind"] = "sound"
    return section


def _publish(folder: Path, target: Path) -> None:
    """Put the finished folder in its place; what was there is gone once the new one stands."""
    old = None
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
        target.replace(old / target.name)
    try:
        folder.replace(target)
    except OSError:
        if old is not None:
            (old / target.name).replace(target)
        raise
    finally:
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)


# --- Whether it is the same


def _kind(model: AudiocraftModel) -> Any:
    from transformers import MusicgenForConditionalGeneration, MusicgenMelodyForConditionalGeneration

    return MusicgenMelodyForConditionalGeneration if model.shape.chroma_frames else MusicgenForConditionalGeneration


@torch.inference_mode()
def _compare(folder: Path, model: AudiocraftModel, lm: MusicgenLM) -> tuple[float, float]:
    """Load what was written as transformers does, and compare it with the original; how far logits and samples lie apart."""
    shape = model.shape
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, shape.card, (shape.num_codebooks, _STEPS), generator=generator)
    ids = model.tokenizer(_TEXT, return_tensors="pt")
    hidden = model.text_encoder(**ids).last_hidden_state[0]
    bins = torch.arange(shape.chroma_frames) % shape.chroma_bins
    expected = _our_logits(lm, shape, codes, hidden, bins)
    sound = model.codec.decode(codes)

    try:
        theirs, report = _kind(model).from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except Exception as error:  # whatever transformers says of a folder that it cannot load
        raise _differs(f"transformers cannot load it: {first_line(error)}") from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if named := sorted(str(name) for name in report[kind]):
            raise _differs(f"{kind.replace('_', ' ')}: {named[0]}")
    theirs = theirs.float().eval()
    arguments: dict[str, Any] = {"decoder_input_ids": codes.clone(), **ids}
    if shape.chroma_frames:
        arguments["input_features"] = torch.nn.functional.one_hot(bins, shape.chroma_bins).float()[None]
    logits = theirs(**arguments).logits[:, -_STEPS:]
    scale = float(expected.abs().max())
    apart = float((logits - expected).abs().max()) / max(scale, 1e-9)
    if not apart <= TOLERANCE:
        raise _differs(f"its logits lie {apart:.2g} of the largest from the original's")
    runs = 2 if model.facts.interleaved else 1
    rows = [theirs.audio_encoder.decode(codes[run::runs][None, None], [None]).audio_values[0, 0] for run in range(runs)]
    audio = float((torch.stack(rows) - sound).abs().max())
    if not audio <= TOLERANCE * max(float(sound.abs().max()), 1e-9):
        raise _differs(f"its sound lies {audio:.2g} from the original's")
    return apart, audio


@dataclass(frozen=True)
class _Bins:
    """A melody that is the same in every window."""

    bins: Tensor

    def window(self, frame: int) -> Tensor:
        return self.bins


def _our_logits(lm: MusicgenLM, shape: LMConfig, codes: Tensor, hidden: Tensor, bins: Tensor) -> Tensor:
    """``[codebooks, steps, card]`` of a sequence of codes as it stands."""
    heard = lm.condition(hidden, melody=_Bins(bins) if shape.chroma_frames else None)
    session = lm.session([heard], codes.shape[1], guided=False)
    logits: Tensor = lm(codes[None], session)[0]
    return logits


def _differs(reason: str) -> RequestError:
    return RequestError(
        ErrorCode.INTERNAL, "target", None, f"a result that equals its source; {reason}. Nothing was kept"
    )
