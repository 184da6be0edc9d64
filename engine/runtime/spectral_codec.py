"""The spectral codec behind the interface of `engine.runtime.codec.Codec`, and its files.

A folder of two files holds one:

``config.json``
    The keys of `engine.runtime.spectral_network.SpectralConfig` and ``"model_type": "daw_bridge_spectral"``.
``model.safetensors``
    The state dict of `engine.runtime.spectral_network.SpectralNetwork`, in float32 or float16 (computed in float32):
    ``encoder.*``, ``codebooks.0.embed`` … ``[codebook_size, codebook_dim]``, ``decoder.*``. Windows and mel filters
    follow from the config and are not stored.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from engine.runtime.codec import Codec
from engine.runtime.spectral_layers import build_network
from engine.runtime.spectral_network import Codebook, SpectralConfig, SpectralNetwork
from protocols.errors import ErrorCode, RequestError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


class SpectralCodec(Codec):
    """A codec whose decoder makes spectra; everything that it can do is documented at `engine.runtime.codec.Codec`.

    The encoder sees `SpectralConfig.encoder_lookahead` frames and half a window beyond a frame; the decoder's audio
    stays behind its codes by `lookahead_samples`, 1120 samples (35 ms) in the shipped configuration.

    Args:
        network: holds the weights; it is copied.
        channels: 1, or 2 for interleaved stereo, as in `Codec`.
        device: where encoding and decoding run.
        dtype: of the decoder's matrices; encoding and the samples are float32 always.

    Raises:
        RequestError: ``unsupported`` for another number of channels.
    """

    def __init__(
        self,
        network: SpectralNetwork,
        channels: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        # Not the base class's: that one takes an EncodecModel apart. What it sets is set here from other sources.
        config = network.config
        if channels not in (1, 2):
            raise RequestError(ErrorCode.UNSUPPORTED, "channels", channels, "1 or 2")
        self.device = torch.device(device)
        self.dtype = dtype
        self.channels = channels
        self.interleaved = channels == 2
        self.sample_rate = config.sample_rate
        self.hop_length = config.hop_length
        self.frame_rate = Fraction(config.sample_rate, config.hop_length)
        self.card = config.codebook_size
        self._runs = channels
        self.num_codebooks = config.num_codebooks * channels
        self._obstacle = ""
        with torch.no_grad():
            copied = copy.deepcopy(network).requires_grad_(False).eval()
            self._encoder = copied.encoder.to(self.device, torch.float32)
            books = [book.to(self.device, torch.float32) for book in copied.codebooks if isinstance(book, Codebook)]
            self._books: list[Any] = list(books)
            self._embeddings = torch.cat([book.embed for book in books]).to(dtype)
            self._offsets = torch.arange(len(books), device=self.device) * self.card
            self._network = build_network(copied.decoder, self.device, dtype)


def load_spectral_codec(
    folder: Path | str,
    channels: int = 1,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> SpectralCodec:
    """Load a codec that `save_spectral_network` wrote.

    Raises:
        RequestError: ``not_found`` for a missing file, ``malformed`` for one that cannot be read or does not fit
            the config, ``unsupported`` for a codec of another kind or a number of channels it does not have.
    """
    return SpectralCodec(load_spectral_network(folder), channels, device, dtype)


def load_spectral_network(folder: Path | str) -> SpectralNetwork:
    """The network of a codec folder, in float32 on the CPU, as its training needs it.

    Raises:
        RequestError: as `load_spectral_codec` does.
    """
    folder = Path(folder)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise RequestError(
                ErrorCode.NOT_FOUND, "codec", str(folder), f"a folder with {CONFIG_FILE} and {WEIGHTS_FILE}"
            )
    try:
        raw = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        state = load_file(folder / WEIGHTS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise RequestError(ErrorCode.MALFORMED, "codec", str(folder), f"files that load: {error}") from error
    if not isinstance(raw, dict):
        raise RequestError(ErrorCode.MALFORMED, CONFIG_FILE, raw, "an object")
    return spectral_network(raw, state)


def spectral_network(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> SpectralNetwork:
    """Build a network from the content of a ``config.json`` and the tensors of its state dict, of any float type.

    Raises:
        RequestError: ``unsupported`` for a codec of another kind, ``malformed`` for weights that do not fit.
    """
    with torch.random.fork_rng(devices=[]):  # first weights, drawn and then replaced, move no one's generator
        network = SpectralNetwork(SpectralConfig.from_dict(dict(config)))
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise RequestError(ErrorCode.MALFORMED, "codec", allowed=f"weights that fit the config: {reason}") from error
    return network


def save_spectral_network(network: SpectralNetwork, folder: Path | str, dtype: torch.dtype = torch.float32) -> None:
    """Write the two files into ``folder``, which is made when it is not there; ``dtype`` is float32 or float16.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in network.state_dict().items()}
    (folder / WEIGHTS_FILE).write_bytes(save(state, metadata={"format": "pt"}))
    text = json.dumps(network.config.to_dict(), indent=2) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
