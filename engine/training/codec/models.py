"""The codecs that can be trained, behind one interface: the spectral one, and the SEANet of transformers' EncodecModel."""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.runtime.spectral_codec import CONFIG_FILE, WEIGHTS_FILE, load_spectral_network, save_spectral_network
from engine.runtime.spectral_network import SpectralConfig, SpectralNetwork, spectra_of
from engine.training.codec.initialisation import rescale_to_unit_variance
from engine.training.codec.quantizer import QuantizerTraining
from protocols.errors import ErrorCode, RequestError


class TrainableCodec(nn.Module, ABC):
    """A mono codec whose parts can be trained.

    Attributes:
        family: ``spectral`` or ``encodec``, as `CodecTraining.model` has it.
        sample_rate: in Hz.
        hop_length: samples per frame.
        encoder: frozen together with the codebooks, when the codes must not change any more.
        decoder: what is trained to the end.
        codebooks: objects with the buffer ``embed``, as `QuantizerTraining` takes them.
    """

    family: str
    sample_rate: int
    hop_length: int
    encoder: nn.Module
    decoder: nn.Module
    codebooks: list[Any]

    def encode(self, audio: Tensor) -> Tensor:
        """Audio ``[batch, 1, samples]``, whole frames, to latents ``[batch, dim, frames]``, not quantised."""
        latents: Tensor = self.encoder(audio)
        return latents.float()

    def decode(self, latents: Tensor) -> Tensor:
        """Latents ``[batch, dim, frames]`` to audio ``[batch, 1, frames * hop_length]``."""
        audio: Tensor = self.decoder(latents)
        return audio.float()

    def frozen_tensors(self) -> Iterator[Tensor]:
        """Everything that determines the codes: the encoder's state and the codebooks."""
        yield from (tensor for tensor in self.encoder.state_dict().values() if tensor.is_floating_point())
        yield from (book.embed for book in self.codebooks)

    def fingerprint(self) -> str:
        """Names what determines the codes: equal for codecs that make the same ones of the same audio."""
        digest = hashlib.sha256()
        for tensor in self.frozen_tensors():
            digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
        return digest.hexdigest()

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What `make_codec` makes one of the same shape from, in plain types: the content of the export's ``config.json``."""

    @abstractmethod
    def calibrate(self, audio: Tensor) -> None:
        """Bring first weights to the scale of real audio ``[batch, 1, samples]``, before the first step."""

    @abstractmethod
    def export(self, folder: Path, quantizer: QuantizerTraining, dtype: torch.dtype) -> None:
        """Write the codec as the runtime loads it, with weights of ``dtype``; this one stays as it is.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """


class TrainableSpectral(TrainableCodec):
    """A spectral codec; exports what `engine.runtime.spectral_codec.load_spectral_codec` reads."""

    family = "spectral"

    def __init__(self, network: SpectralNetwork) -> None:
        super().__init__()
        self.network = network
        self.sample_rate, self.hop_length = network.config.sample_rate, network.config.hop_length
        # Registered once, as parts of the network.
        object.__setattr__(self, "encoder", network.encoder)
        object.__setattr__(self, "decoder", network.decoder)
        self.codebooks = list(network.codebooks)

    @torch.no_grad()
    def calibrate(self, audio: Tensor) -> None:
        """Start from the average spectrum: first magnitudes are the mean of the logarithms in ``audio``."""
        config, head = self.network.config, self.network.decoder.head
        spectra = spectra_of(audio[:, 0], config, self.network.encoder.taper) * (config.window / 4)
        average = spectra.abs().clamp(min=1e-4).log().mean((0, 1))
        head.weight.mul_(0.5)
        head.bias.view(config.subframes, 3, config.bins)[:, 0] = average

    def describe(self) -> dict[str, Any]:
        return self.network.config.to_dict()

    def export(self, folder: Path, quantizer: QuantizerTraining, dtype: torch.dtype) -> None:
        save_spectral_network(self.network, folder, dtype)


class TrainableEncodec(TrainableCodec):
    """A mono EncodecModel of which codes alone determine the audio; exports a folder that plain transformers loads."""

    family = "encodec"

    def __init__(self, model: Any) -> None:
        super().__init__()
        config = model.config
        assert config.audio_channels == 1, config.audio_channels
        assert not config.normalize, "a codec that scales by loudness"
        assert config.chunk_length_s is None, "a codec that overlaps chunks"
        self.model: Any = model
        self.sample_rate, self.hop_length = int(config.sampling_rate), int(config.hop_length)
        object.__setattr__(self, "encoder", model.encoder)
        object.__setattr__(self, "decoder", model.decoder)
        self.codebooks = [layer.codebook for layer in model.quantizer.layers]

    @torch.no_grad()
    def calibrate(self, audio: Tensor) -> None:
        """Rescale every layer to unit variance on ``audio``, the last to the audio's level."""
        rescale_to_unit_variance(self.encoder, audio)
        rescale_to_unit_variance(self.decoder, self.encode(audio), last=float(audio.std()))

    def describe(self) -> dict[str, Any]:
        described: dict[str, Any] = json.loads(self.model.config.to_json_string(use_diff=False))
        return described

    def export(self, folder: Path, quantizer: QuantizerTraining, dtype: torch.dtype) -> None:
        for index, book in enumerate(self.codebooks):
            book.cluster_size.copy_(quantizer.get_buffer(f"count_{index}"))
            book.embed_avg.copy_(quantizer.get_buffer(f"sum_{index}"))
        state = {
            name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in self.model.state_dict().items()
        }
        config = copy.deepcopy(self.model.config)
        config.architectures, config.dtype = [type(self.model).__name__], dtype
        folder.mkdir(parents=True, exist_ok=True)
        config.save_pretrained(folder)
        (folder / WEIGHTS_FILE).write_bytes(save(state, metadata={"format": "pt"}))


def make_spectral(**changes: int) -> TrainableSpectral:
    """A new spectral codec; ``changes`` are fields of `SpectralConfig`. Weights come from torch's global generator."""
    return TrainableSpectral(SpectralNetwork(SpectralConfig(**changes)))


def make_encodec(**changes: Any) -> TrainableEncodec:
    """A new 32 kHz SEANet in EnCodec's format; ``changes`` are fields of ``EncodecConfig``.

    Causal, constant padding: nothing at a frame depends on a later one, and a stream's first sound is quick. 5.6 million
    parameters unless told otherwise.
    """
    ensure_torchaudio()
    from transformers import EncodecConfig, EncodecModel

    options: dict[str, Any] = {
        "sampling_rate": 32_000,
        "audio_channels": 1,
        "upsampling_ratios": [8, 5, 4, 4],
        "target_bandwidths": [2.2],
        "codebook_size": 1024,
        "codebook_dim": 128,
        "hidden_size": 128,
        "num_filters": 24,
        "num_lstm_layers": 1,
        "use_causal_conv": True,
        "normalize": False,
        "chunk_length_s": None,
        "overlap": None,
        "pad_mode": "constant",
    }
    return TrainableEncodec(EncodecModel(EncodecConfig(**(options | changes))))


def make_codec(config: Any) -> TrainableCodec:
    """A new codec of a shape that was described by `TrainableCodec.describe`.

    Raises:
        RequestError: ``malformed`` for something else, ``unsupported`` for a codec of another kind.
    """
    if not isinstance(config, Mapping):
        raise RequestError(ErrorCode.MALFORMED, "codec", config, "the config of a codec")
    if config.get("model_type") != "encodec":
        return TrainableSpectral(SpectralNetwork(SpectralConfig.from_dict(dict(config))))
    return make_encodec(**{name: value for name, value in config.items() if name != "model_type"})


def load_codec(folder: Path) -> TrainableCodec:
    """A codec that `TrainableCodec.export` wrote, in float32 on the CPU, to go on with.

    Raises:
        RequestError: ``not_found`` or ``malformed`` for a folder without such files, ``unsupported`` for a codec of another kind.
    """
    try:
        kind = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, LookupError, TypeError):
        kind = None
    if kind != "encodec":
        return TrainableSpectral(load_spectral_network(folder))
    ensure_torchaudio()
    from transformers import EncodecModel

    try:
        return TrainableEncodec(EncodecModel.from_pretrained(folder, dtype=torch.float32))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise RequestError(ErrorCode.MALFORMED, "codec", str(folder), f"a folder that loads: {error}") from error
