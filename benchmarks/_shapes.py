"""Models by their shape alone: random weights in our runtime and in transformers, so that speed needs no download."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.checkpoints.devices import Precision
from engine.checkpoints.parts import find_tokenizer, quiet_transformers
from engine.checkpoints.pocket import pocket_folder
from engine.checkpoints.running import check_names
from engine.checkpoints.section import CONFIG_FILE, SECTION
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.runtime.audio_codec import AudioCodec
from engine.runtime.codec import Codec, StreamedCodec
from engine.runtime.lm import LMConfig, MusicgenLM
from engine.runtime.patterns import DelayPattern
from protocols.errors import ErrorCode, RequestError

_CODEBOOKS = 4
_MAX_POSITIONS = 2048
_STD = 0.02


@dataclass(frozen=True)
class ModelShape:
    """What the speed of a model depends on.

    Attributes:
        dim, layers, heads: of the LM; its feed-forward layers are four times as wide.
        card: entries per codebook, of which there are four.
        text_dim, text_layers, text_heads: of the text encoder (T5), whose feed-forward layers are four times as wide.
        codec_filters, codec_dim, codec_lstm_layers: of EnCodec, mono, 32 kHz, 50 frames per second.
    """

    dim: int
    layers: int
    heads: int
    card: int = 2048
    text_dim: int = 768
    text_layers: int = 12
    text_heads: int = 12
    codec_filters: int = 64
    codec_dim: int = 128
    codec_lstm_layers: int = 2

    def lm_config(self) -> LMConfig:
        """As our runtime wants it."""
        return LMConfig(
            dim=self.dim,
            layers=self.layers,
            heads=self.heads,
            ff_dim=4 * self.dim,
            pattern=DelayPattern.musicgen(_CODEBOOKS, 1),
            card=self.card,
            text_dim=self.text_dim,
            text_projection=self.text_dim != self.dim,
            max_positions=_MAX_POSITIONS,
        )

    def codec_config(self) -> Any:
        """As transformers wants it (``EncodecConfig``)."""
        ensure_torchaudio()
        from transformers import EncodecConfig

        return EncodecConfig(
            sampling_rate=32_000,
            audio_channels=1,
            upsampling_ratios=[8, 5, 4, 4],
            target_bandwidths=[_CODEBOOKS * math.log2(self.card) * 50 / 1000],
            codebook_size=self.card,
            codebook_dim=self.codec_dim,
            hidden_size=self.codec_dim,
            num_filters=self.codec_filters,
            num_lstm_layers=self.codec_lstm_layers,
            use_causal_conv=False,
            normalize=False,
            chunk_length_s=None,
            overlap=None,
        )


SHAPES = {
    "pocket": ModelShape(
        dim=256,
        layers=6,
        heads=4,
        card=1024,
        text_dim=128,
        text_layers=2,
        text_heads=4,
        codec_filters=8,
        codec_dim=64,
        codec_lstm_layers=1,
    ),
    "musicgen-small": ModelShape(dim=1024, layers=24, heads=16),
    "musicgen-medium": ModelShape(dim=1536, layers=48, heads=24),
    "musicgen-large": ModelShape(dim=2048, layers=48, heads=32),
}


def step_weights(config: LMConfig) -> int:
    """How many weights one step of the LM must read: all but the embeddings, of which it reads a row for each codebook, and what
    turns a text into keys and values, which is done once."""
    dim, ff_dim = config.dim, config.ff_dim
    attention = 4 * dim * dim + 2 * dim * dim
    layer = attention + 2 * dim * ff_dim + 6 * dim
    return config.layers * layer + config.num_codebooks * config.card * dim + 2 * dim


def all_weights(config: LMConfig) -> int:
    """How many weights the LM has."""
    text = config.text_dim * config.dim + config.dim if config.text_projection else 0
    embeddings = config.num_codebooks * (config.card + 1) * config.dim
    score = config.score_features * config.dim
    return step_weights(config) + config.layers * 2 * config.dim * config.dim + embeddings + text + score


def build_lm(shape: ModelShape, device: torch.device, precision: Precision) -> MusicgenLM:
    """Our LM, laid out for the machine as a loaded one is; the same weights whatever the precision, as near as it comes to them.

    Each matrix is rounded as soon as it is drawn, so that a model never stands in full beside its packed form.

    Args:
        shape: of it.
        device: where it runs.
        precision: of its matrices and activations.
    """
    lm = MusicgenLM(shape.lm_config(), device=device, dtype=precision.dtype)
    noise = _Noise(lm.device)
    with torch.no_grad():
        for name in [name for name, _ in lm.named_parameters()]:
            parameter = lm.get_parameter(name)
            if "norm" in name:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            else:
                noise.fill(parameter)
            del parameter
            if name.endswith(".weight"):
                lm.pack_matrix(name, precision.form)
    lm.pack(precision.form)
    return lm


def run_by(lm: MusicgenLM, runner: str, precision: Precision, kv_cache: str = "auto") -> str:
    """Let something run a model as the engine would, but so that its modules still can: what it is called.

    Args:
        lm: packed.
        runner: as the engine's setting; ``auto`` takes what there is.
        precision: of the LM.
        kv_cache: as the engine's setting.

    Raises:
        RequestError: that runner cannot run this model here.
    """
    from engine.runtime import graphs, onnx

    check_names(runner, kv_cache)
    if runner == "plain" or (runner == "auto" and precision.form is None and lm.device.type == "cpu"):
        return "plain"
    wanted = runner if runner != "auto" else "onnx" if lm.device.type == "cpu" else "graphs"
    try:
        if wanted == "onnx":
            onnx.attach(lm, kv_cache=kv_cache, keep=True)  # type: ignore[arg-type]
        else:
            graphs.attach(lm)
    except (ValueError, RuntimeError) as error:
        if runner == "auto":
            return "plain"
        raise RequestError(ErrorCode.UNSUPPORTED, "runner", runner, f"auto or plain: {error}") from error
    return wanted


def build_codec(shape: ModelShape, device: torch.device) -> Codec:
    """Our codec; in single precision, as a loaded one is."""
    return Codec(build_peer_codec(shape), 1, device, torch.float32)


def decode_faster(codec: AudioCodec) -> None:
    """Let the codec decode as an engine has it do, where it can."""
    if isinstance(codec, StreamedCodec):
        codec.accelerate(torch.get_num_threads())


def build_peer_codec(shape: ModelShape) -> Any:
    """transformers' ``EncodecModel`` of this shape, on the CPU, in single precision."""
    config = shape.codec_config()
    from transformers import EncodecModel

    model: Any = EncodecModel(config)
    return model.eval().requires_grad_(False)


def build_peer(
    shape: ModelShape, device: torch.device, dtype: torch.dtype, *, text_layers: int = 1, vocabulary: int = 1000
) -> Any:
    """transformers' ``MusicgenForConditionalGeneration`` of the same shape.

    Args:
        shape: of it.
        device: where it runs.
        dtype: of the LM and the text encoder; the codec has single precision on both sides.
        text_layers: of the text encoder, which runs once per text and not per step.
        vocabulary: of the text encoder.
    """
    codec = shape.codec_config()
    from transformers import MusicgenConfig, MusicgenDecoderConfig, MusicgenForConditionalGeneration, T5Config
    from transformers.initialization import no_init_weights

    text = T5Config(
        vocab_size=vocabulary,
        d_model=shape.text_dim,
        d_kv=shape.text_dim // shape.text_heads,
        d_ff=4 * shape.text_dim,
        num_layers=text_layers,
        num_heads=shape.text_heads,
        is_encoder_decoder=False,
        use_cache=False,
        pad_token_id=0,
        eos_token_id=1,
    )
    decoder = MusicgenDecoderConfig(
        vocab_size=shape.card,
        hidden_size=shape.dim,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        ffn_dim=4 * shape.dim,
        num_codebooks=_CODEBOOKS,
        pad_token_id=shape.card,
        bos_token_id=shape.card,
        max_position_embeddings=_MAX_POSITIONS,
    )
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device), no_init_weights():
            model: Any = MusicgenForConditionalGeneration(
                MusicgenConfig(text_encoder=text, audio_encoder=codec, decoder=decoder)
            )
    finally:
        torch.set_default_dtype(usual)
    model.audio_encoder = build_peer_codec(shape).to(device)
    noise = _Noise(torch.device(device))
    with torch.no_grad():
        for part in (model.decoder, model.text_encoder, getattr(model, "enc_to_dec_proj", None)):
            for name, parameter in part.named_parameters() if part is not None else ():
                if "norm" in name:
                    parameter.fill_(1.0 if name.endswith("weight") else 0.0)
                else:
                    noise.fill(parameter)
    for name in ("pad_token_id", "bos_token_id", "decoder_start_token_id"):
        setattr(model.generation_config, name, shape.card)
    return model.eval()


@contextmanager
def checkpoint(name: str) -> Iterator[str]:
    """A folder with random weights of a shape in transformers' layout, in bfloat16, for processes that load models.

    It is gone in the end. Its tokenizer is that of the untrained pocket model. The text encoder is as deep as that of the shape's
    models.

    Raises:
        RequestError: no such shape.
    """
    shape = find_shape(name)
    source = pocket_folder()
    words = json.loads((source / CONFIG_FILE).read_text(encoding="utf-8"))["text_encoder"]["vocab_size"]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as parent:
        folder = Path(parent) / name
        folder.mkdir()
        with quiet_transformers():
            model = build_peer(
                shape, torch.device("cpu"), torch.bfloat16, text_layers=shape.text_layers, vocabulary=words
            )
            model.save_pretrained(folder)
        del model
        for path in find_tokenizer(source):
            shutil.copy(path, folder)
        path = folder / CONFIG_FILE
        config = json.loads(path.read_text(encoding="utf-8")) | {SECTION: {"trained": False}}
        path.write_text(json.dumps(config), encoding="utf-8")
        yield str(folder)


def find_shape(name: str) -> ModelShape:
    """One of `SHAPES`.

    Raises:
        RequestError: no such shape.
    """
    if name not in SHAPES:
        raise RequestError(ErrorCode.UNKNOWN_MODEL, "model-shape", name, ", ".join(SHAPES))
    return SHAPES[name]


class _Noise:
    """Random numbers by the million: a stretch of them, drawn once from torch's own generator, is laid out again and again.

    Its length shares no factor with any matrix's, so that no two rows are alike; drawing each number would take minutes.
    """

    _LENGTH = 4_194_301  # a prime

    def __init__(self, device: torch.device) -> None:
        self._stretch = torch.randn(self._LENGTH, device=device) * _STD
        self._at = 0

    def fill(self, target: Tensor) -> None:
        """Fill a tensor."""
        flat = target.view(-1)
        done = 0
        while done < flat.numel():
            count = min(flat.numel() - done, self._LENGTH - self._at)
            flat[done : done + count].copy_(self._stretch[self._at : self._at + count])
            done += count
            self._at = (self._at + count) % self._LENGTH
