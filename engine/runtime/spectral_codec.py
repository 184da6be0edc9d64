"""The spectral codec behind the interface of `engine.runtime.audio_codec.AudioCodec`, and its files.

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
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from engine.runtime.audio_codec import Encoded, EncoderStream
from engine.runtime.codec import StreamedCodec
from engine.runtime.encodec_weights import fingerprint_of
from engine.runtime.encoding import refuse_ended
from engine.runtime.seanet import StreamingNetwork
from engine.runtime.spectral_layers import build_network
from engine.runtime.spectral_network import Codebook, SpectralConfig, SpectralNetwork
from protocols.errors import ErrorCode, RequestError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


# What is encoded at once: half a minute, which is more than any audio prompt has.
_BLOCK_FRAMES = 1500


class SpectralCodec(StreamedCodec):
    """A codec whose decoder makes spectra; everything that it can do is documented at `engine.runtime.audio_codec.AudioCodec`.

    The encoder sees `SpectralConfig.encoder_lookahead` frames and half a window beyond a frame; the decoder's audio
    stays behind its codes by `lookahead_samples`, 1120 samples (35 ms) in the shipped configuration.

    Args:
        network: holds the weights; it is copied.
        channels: 1, or 2 for interleaved stereo, as in `engine.runtime.codec.StreamedCodec`.
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
        config = network.config
        with torch.no_grad():
            copied = copy.deepcopy(network).requires_grad_(False).eval()
            books = [book.float() for book in copied.codebooks if isinstance(book, Codebook)]
            super().__init__(
                sample_rate=config.sample_rate,
                hop_length=config.hop_length,
                native=1,
                channels=channels,
                tables=[book.embed for book in books],
                device=device,
                dtype=dtype,
                fingerprint=fingerprint_of((config,), network.state_dict(), books[0].embed),
            )
            self._codebooks = [book.to(self.device) for book in books]
            self._encoder_network = copied.encoder.to(self.device, torch.float32)
            self._network = build_network(copied.decoder, self.device, dtype)

    @property
    def network(self) -> StreamingNetwork:
        return self._network

    def encode_rows(self, audio: Tensor, books: int) -> Tensor:
        """Encode ``[channels, samples]`` with the first codebooks: codes ``[books * runs, frames]``."""
        residual = self._encoder_network(audio.view(self.runs, -1, audio.shape[1]))
        rows = []
        for book in self._codebooks[:books]:
            rows.append(book.encode(residual))
            residual = residual - book.decode(rows[-1])
        return torch.stack(rows).view(books * self.runs, -1)

    def _encoder(self, num_codebooks: int | None, scales: Tensor | None) -> EncoderStream:
        self._checked_scales(scales)
        return SpectralEncoderStream(self, self._encoder_network.config, self._books(num_codebooks))


class SpectralEncoderStream:
    """Encodes a signal in windows of half a minute that see what lies before and behind them as far as the encoder does.

    An `engine.runtime.audio_codec.EncoderStream`.

    Args:
        codec: whose audio it is.
        config: of its network.
        books: codebooks per run of the codec.
    """

    def __init__(self, codec: SpectralCodec, config: SpectralConfig, books: int) -> None:
        self.codec = codec
        self.samples_done, self.frames_done, self.ended = 0, 0, False
        around = -(-config.margin // 2 // config.hop_length)
        self._ahead = config.encoder_lookahead + around
        past = config.kernel_size - 1
        self._behind = around + past - config.encoder_lookahead + config.encoder_layers * past
        self._books = books
        self._pieces: list[Tensor] = []
        self._first = 0
        self._waiting = 0

    @property
    def state_bytes(self) -> int:
        """Memory that the stream holds between two calls: half a minute of audio at most."""
        return sum(piece.untyped_storage().nbytes() for piece in self._pieces)

    @torch.inference_mode()
    def encode(self, audio: Tensor) -> Encoded:
        """Take the next samples, give the codes that became final. See `engine.runtime.audio_codec.EncoderStream`."""
        refuse_ended(self.ended)
        audio = self.codec.checked(audio, empty=True)
        self.samples_done += audio.shape[1]
        codes = [torch.zeros(self._books * self.codec.runs, 0, dtype=torch.long, device=self.codec.device)]
        # By pieces, so that what waits is a window however much comes at once.
        for piece in torch.split(audio, _BLOCK_FRAMES * self.codec.hop_length, 1):
            if piece.shape[1]:
                self._pieces.append(piece.clone())
                self._waiting += piece.shape[1]
            while self._waiting >= self._needed():
                codes.append(self._window())
        return Encoded(torch.cat(codes, 1), audio.shape[1])

    @torch.inference_mode()
    def flush(self) -> Encoded:
        """End the stream: the codes that waited for more audio."""
        refuse_ended(self.ended)
        self.ended = True
        codes = torch.zeros(self._books * self.codec.runs, 0, dtype=torch.long, device=self.codec.device)
        if self.samples_done > self.frames_done * self.codec.hop_length:
            made = self.codec.encode_rows(torch.cat(self._pieces, 1), self._books)
            codes = made[:, self.frames_done - self._first :]
            self.frames_done += codes.shape[1]
        self._pieces = []
        return Encoded(codes, 0)

    def _needed(self) -> int:
        return (self.frames_done - self._first + _BLOCK_FRAMES + self._ahead) * self.codec.hop_length

    def _window(self) -> Tensor:
        audio, needed = torch.cat(self._pieces, 1), self._needed()
        made = self.codec.encode_rows(audio[:, :needed], self._books)
        start = self.frames_done - self._first
        self.frames_done += _BLOCK_FRAMES
        first = max(0, self.frames_done - self._behind)
        self._pieces = [audio[:, (first - self._first) * self.codec.hop_length :].clone()]
        self._waiting = self._pieces[0].shape[1]
        self._first = first
        return made[:, start : start + _BLOCK_FRAMES]


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
