"""Checkpoint folders of AudioCraft's, straight to a `ModelBundle`.

A folder has ``state_dict.bin`` (or ``checkpoint.th``, as a solver leaves it) with the LM and ``compression_state_dict.bin`` with
the codec, or with the name of one. The text encoder is a T5 in transformers' layout, in the folder under its name, or on the hub.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.checkpoints.audiocraft.codec import load_codec
from engine.checkpoints.audiocraft.config import Config
from engine.checkpoints.audiocraft.files import shown
from engine.checkpoints.audiocraft.jasco import is_jasco, load_jasco
from engine.checkpoints.audiocraft.lm import (
    CHROMA_WINDOW,
    LMFacts,
    build_lm,
    lm_config,
    lm_weights,
    stored_table,
    without_style,
)
from engine.checkpoints.audiocraft.magnet import in_segments, is_magnet
from engine.checkpoints.audiocraft.package import CODEC_FILE, Package, Pointer, codec_of, lm_file, read_weights
from engine.checkpoints.audiocraft.style import read_style
from engine.checkpoints.audiocraft.text import find_text_encoder, load_text_encoder, text_files
from engine.checkpoints.bundle import ModelBundle, UsualSampling, fingerprint_of, window_in_frames
from engine.checkpoints.devices import Precision
from engine.checkpoints.running import settled
from engine.conditioning.melody import MelodyFacts
from engine.conditioning.text import TextConditioner
from engine.runtime.audio_codec import AudioCodec
from engine.runtime.lm import LMConfig
from protocols.errors import ErrorCode, RequestError

_STRIDE_SECONDS = {False: Fraction(18), True: Fraction(2)}
"""AudioCraft's ``extend_stride``: of MusicGen, and of what makes sounds."""
_SHORTER_STRIDE = {False: Fraction(3, 5), True: Fraction(1, 5)}
"""The same as a part of the window, for a model whose window is no longer than that stride."""
_MOST_FRAMES = 1 << 16


@dataclass(frozen=True)
class AudiocraftModel:
    """A checkpoint that was read and whose parts fit each other; its LM is not built yet.

    Attributes:
        folder: of the checkpoint.
        package: of the LM.
        facts: of its configuration.
        shape: of the LM.
        weights: of the LM and its conditioners, by AudioCraft's names.
        codec_source: where the codec comes from.
        codec: ready to run.
        codec_files: that it was made from.
        codec_parameters: how many weights it has.
        tokenizer: of the text encoder.
        text_encoder: transformers' ``T5EncoderModel``, in single precision on the CPU.
        text_files: that it was made from.
        window_frames: as `ModelBundle.window_frames`.
        stride_frames: as `ModelBundle.stride_frames`.
    """

    folder: Path
    package: Package
    facts: LMFacts
    shape: LMConfig
    weights: dict[str, Tensor]
    codec_source: Package | Pointer
    codec: AudioCodec
    codec_files: tuple[Path, ...]
    codec_parameters: int
    tokenizer: Any
    text_encoder: Any
    text_files: tuple[Path, ...]
    window_frames: int
    stride_frames: int

    @property
    def lm_weights(self) -> dict[str, Tensor]:
        """Those of the LM alone."""
        return without_style(self.weights) if self.facts.style else self.weights

    @property
    def melody(self) -> MelodyFacts | None:
        """As `ModelBundle.melody`."""
        if not self.shape.chroma_frames:
            return None
        return MelodyFacts(
            sample_rate=self.codec.sample_rate,
            frame_rate=self.codec.frame_rate,
            window_frames=self.window_frames,
            frames=self.shape.chroma_frames,
            fft_size=1 << self.facts.chroma_exponent,
            hop_length=1 << self.facts.chroma_exponent - 2,
            stored_window=stored_table(self.package, CHROMA_WINDOW, 1 << self.facts.chroma_exponent),
        )


def load_folder(
    folder: Path, name: str, device: torch.device, precision: Precision, *, text_encoder: str = ""
) -> ModelBundle:
    """Load a checkpoint folder.

    Args:
        folder: as described above.
        name: of the bundle.
        device: for all parts.
        precision: of the LM; the codec and the text encoder run in single precision.
        text_encoder: the T5: a folder or a name on the hub; empty: as the checkpoint says, see `find_text_encoder`.

    Raises:
        RequestError: a missing or damaged file, a model that the engine does not compute, or parts that do not fit each other;
            the text names the file or the key.
    """
    package = _read_lm(folder)
    if is_jasco(package.config):
        return load_jasco(folder, package, name, device, precision, text_encoder=text_encoder)
    model = read_folder(folder, package, text_encoder=text_encoder, device=device)
    shape, codec = model.shape, model.codec
    if not is_magnet(package.config):
        precision = settled(precision, shape, device)
    lm = build_lm(shape, package, model.lm_weights, device, precision)
    style = None
    if model.facts.style:
        style = read_style(
            package.config,
            model.weights,
            codec,
            dim=shape.dim,
            device=device,
            dtype=precision.dtype,
            folder=folder,
            source=model.codec_source,
        )
    encoder = model.text_encoder.to(device)
    parameters = model.codec_parameters + lm.size + sum(p.numel() for p in encoder.parameters())
    parameters += 0 if style is None else style.parameters
    sound = model.facts.sound
    bundle = ModelBundle(
        name=name,
        status="trained",
        fingerprint=fingerprint_of([package.path, *model.codec_files, *model.text_files]),
        lm=lm,
        codec=codec,
        text=TextConditioner(model.tokenizer, encoder, device),
        score=False,
        melody=model.melody,
        window_frames=model.window_frames,
        stride_frames=model.stride_frames,
        device=device,
        dtype=precision.dtype,
        form=precision.form,
        parameters=parameters,
        resampling="sinc",
        style=style,
        kind="sound" if sound else "music",
        usual=UsualSampling(seconds=5.0 if sound else 15.0),
    )
    return in_segments(bundle, package.config)


def read_folder(
    folder: Path, package: Package | None = None, *, text_encoder: str = "", device: torch.device | str = "cpu"
) -> AudiocraftModel:
    """Read a checkpoint folder: everything but the LM is made, and the LM's weights are known to have a shape.

    Args:
        folder: as described above.
        package: of the LM, where it has been read.
        text_encoder: as `load_folder` takes it.
        device: of the codec.

    Raises:
        RequestError: as `load_folder`.
    """
    package = _read_lm(folder) if package is None else package
    config = package.config
    facts = LMFacts.read(config)
    source = codec_of(folder, package)
    loaded = load_codec(folder, source, device=device, interleaved=facts.interleaved, codebooks=facts.codebooks)
    codec = loaded.codec
    _check_codec(config, facts, codec)
    window, stride = _window(facts, codec)
    chroma_frames = 0
    if facts.chroma_exponent:
        samples = int(facts.window_seconds * codec.sample_rate)
        chroma_frames = 1 + samples // (1 << facts.chroma_exponent - 2)
    weights, tuned = lm_weights(package)
    shape = lm_config(config, facts, weights, window, chroma_frames)
    encoder_folder = find_text_encoder(folder, facts.text_encoder, text_encoder)
    encoder_files = text_files(encoder_folder)
    tokenizer, encoder = load_text_encoder(encoder_folder, tuned)
    if (width := encoder.config.d_model) != shape.text_dim:
        allowed = f"a T5 of width {shape.text_dim}, not {width}"
        raise RequestError(ErrorCode.MALFORMED, "text_encoder", shown(encoder_folder), allowed)
    return AudiocraftModel(
        folder=folder,
        package=package,
        facts=facts,
        shape=shape,
        weights=weights,
        codec_source=source,
        codec=codec,
        codec_files=loaded.files,
        codec_parameters=loaded.parameters,
        tokenizer=tokenizer,
        text_encoder=encoder,
        text_files=tuple(encoder_files),
        window_frames=window,
        stride_frames=stride,
    )


def _read_lm(folder: Path) -> Package:
    path = lm_file(folder)
    if path is None:
        raise RequestError(ErrorCode.NOT_FOUND, "model", shown(folder), "a folder with state_dict.bin or checkpoint.th")
    return read_weights(path)


def _check_codec(config: Config, facts: LMFacts, codec: AudioCodec) -> None:
    """Refuse a codec that is not the one that the LM was trained with, or that knows whole files only."""
    codec.stream()
    card = config.whole("transformer_lm.card", least=2)
    if codec.card != card:
        raise RequestError(ErrorCode.MALFORMED, "transformer_lm.card", card, f"{codec.card}, as the codec has")
    for key, found in (("sample_rate", codec.sample_rate), ("channels", codec.channels)):
        if (given := config.whole(key, found)) != found:
            raise RequestError(ErrorCode.MALFORMED, key, given, f"{found}, the codec's ({CODEC_FILE})")
    if facts.window_seconds * codec.frame_rate > _MOST_FRAMES:
        allowed = f"up to {float(_MOST_FRAMES / codec.frame_rate):g}"
        raise RequestError(ErrorCode.OUT_OF_RANGE, "dataset.segment_duration", facts.window_seconds, allowed)


def _window(facts: LMFacts, codec: AudioCodec) -> tuple[int, int]:
    seconds = Fraction(str(facts.window_seconds))
    stride = _STRIDE_SECONDS[facts.sound]
    if stride >= seconds:
        stride = seconds * _SHORTER_STRIDE[facts.sound]
    window = int(seconds * codec.frame_rate)
    if window < 2:
        raise RequestError(
            ErrorCode.OUT_OF_RANGE, "dataset.segment_duration", facts.window_seconds, "two frames or more"
        )
    return window_in_frames(codec.frame_rate, window, seconds, stride)
