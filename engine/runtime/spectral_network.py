"""The spectral codec's network: log and complex spectra in, ConvNeXt blocks at the frame rate, an inverse Fourier transform out.

Where a SEANet upsamples step by step to the sample rate, everything here runs once per frame and an inverse short-time
Fourier transform makes the samples. That is cheap enough to be trained, and to be played, on a CPU.

The idea of a decoder that stays at the frame rate and predicts magnitude and phase is Vocos (Siuzdak 2023,
arXiv:2306.00814), its blocks are ConvNeXt (Liu et al. 2022, arXiv:2201.03545), the residual quantiser is EnCodec's
(Défossez et al. 2022, arXiv:2210.13438). New here: several spectra per codec frame, so that an attack is not smeared
over a frame; causal convolutions with a fixed look-ahead at the entry; power-compressed complex spectra as the encoder's input, so
that it sees phase, without which no decoder can place the cycles of a steady tone; and drawn phases where codes say nothing
about them. A network that cannot know the phases of a bin settles for the same one always, and when all the bins of a cymbal do
that, each spectrum becomes a click. So every bin has a pointer of a length that is learnt and a direction that is drawn, and the
network's own pointer, never longer than 1, is added to it: where the drawn one is short, the network's direction counts, where it
is long, the sound is noise.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protocols.errors import ErrorCode, RequestError

MODEL_TYPE = "daw_bridge_spectral"
"""``model_type`` in the codec's config.json."""

_LOG_RANGE = (-12.0, 7.0)
"""Bounds of a predicted log magnitude. Below them is silence; above them an untrained network would overflow."""
_COMPRESSION = 0.3
_MEL_FLOOR = 1e-5
_NOISE_SEED = 20261121
_TONAL_HZ, _NOISY_HZ = 1500.0, 3000.0
_TONAL_LEVEL, _NOISY_LEVEL = 0.05, 4.0
"""How long the drawn pointers are before training, below and above these frequencies."""


@dataclass(frozen=True)
class SpectralConfig:
    """Everything that determines a spectral codec's shape; ``config.json`` holds exactly these keys and ``model_type``.

    Attributes:
        sample_rate: in Hz.
        hop_length: samples per codec frame.
        subframes: spectra per codec frame; divides ``hop_length``.
        window: samples per spectrum; a multiple of four spectra's distance, so that the windows add up to a constant.
        mel_bands: of the log mel spectrum that the encoder sees beside the complex one.
        num_codebooks: residual codebooks.
        codebook_size: codes per codebook.
        codebook_dim: values per latent frame.
        kernel_size: frames that a block's convolution sees.
        encoder_dim: channels of the encoder.
        encoder_layers: its blocks.
        encoder_expansion: inner channels of a block over its channels.
        encoder_lookahead: frames that the encoder sees beyond the one it encodes.
        decoder_dim: channels of the decoder.
        decoder_layers: its blocks.
        decoder_expansion: as in the encoder.
        decoder_lookahead: frames that the decoder waits for before it makes a frame's spectra.
        noise_period: spectra after which the drawn phases repeat; 0: none are drawn.
    """

    sample_rate: int = 32_000
    hop_length: int = 640
    subframes: int = 2
    window: int = 1280
    mel_bands: int = 100
    num_codebooks: int = 4
    codebook_size: int = 1024
    codebook_dim: int = 64
    kernel_size: int = 7
    encoder_dim: int = 256
    encoder_layers: int = 4
    encoder_expansion: int = 3
    encoder_lookahead: int = 2
    decoder_dim: int = 256
    decoder_layers: int = 6
    decoder_expansion: int = 4
    decoder_lookahead: int = 1
    noise_period: int = 512

    def __post_init__(self) -> None:
        zero_allowed = {"encoder_lookahead", "decoder_lookahead", "encoder_layers", "decoder_layers", "noise_period"}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < (field.name not in zero_allowed):
                raise RequestError(ErrorCode.MALFORMED, field.name, value, "a whole number above 0")
        if self.hop_length % self.subframes:
            raise RequestError(ErrorCode.MALFORMED, "subframes", self.subframes, "a divisor of hop_length")
        if self.window % (4 * self.distance) or self.margin % 2:
            allowed = f"a multiple of {4 * self.distance}, four times the distance of two spectra"
            raise RequestError(ErrorCode.MALFORMED, "window", self.window, allowed)
        if max(self.encoder_lookahead, self.decoder_lookahead) >= self.kernel_size:
            raise RequestError(ErrorCode.MALFORMED, "lookahead", allowed="fewer frames than kernel_size")

    @property
    def distance(self) -> int:
        """Samples from one spectrum to the next."""
        return self.hop_length // self.subframes

    @property
    def margin(self) -> int:
        """Samples of a window outside its own ``distance`` samples, half of them on each side."""
        return self.window - self.distance

    @property
    def bins(self) -> int:
        return self.window // 2 + 1

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> SpectralConfig:
        """Read a config.json.

        Raises:
            RequestError: ``unsupported`` for another ``model_type``, ``malformed`` for an unknown key or a bad value.
        """
        config = dict(config)
        kind = config.pop("model_type", None)
        if kind != MODEL_TYPE:
            raise RequestError(ErrorCode.UNSUPPORTED, "model_type", kind or "none", MODEL_TYPE)
        unknown = sorted(config.keys() - {field.name for field in fields(cls)})
        if unknown:
            raise RequestError(ErrorCode.MALFORMED, unknown[0], config[unknown[0]], "keys of a spectral codec")
        return cls(**config)

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads."""
        return {"model_type": MODEL_TYPE, **asdict(self)}


class Block(nn.Module):
    """A causal ConvNeXt block on ``[batch, frames, dim]``."""

    def __init__(self, dim: int, expansion: int, kernel_size: int, scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, (1, kernel_size), groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, expansion * dim)
        self.contract = nn.Linear(expansion * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), scale))

    def forward(self, rows: Tensor) -> Tensor:
        columns = F.pad(rows.transpose(1, 2), (self.depthwise.kernel_size[1] - 1, 0)).unsqueeze(2)
        # Channels last is the layout in which a CPU's depthwise kernel is five times as fast.
        hidden = self.depthwise(columns.contiguous(memory_format=torch.channels_last)).squeeze(2).transpose(1, 2)
        hidden = self.contract(F.gelu(self.expand(self.norm(hidden))))
        result: Tensor = rows + self.scale * hidden
        return result


class Entry(nn.Module):
    """A convolution to ``dim`` channels that sees ``lookahead`` frames ahead, then a norm; ``[batch, frames, dim]``."""

    def __init__(self, inputs: int, dim: int, kernel_size: int, lookahead: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, dim, kernel_size)
        self.norm = nn.LayerNorm(dim)
        self.pad = (kernel_size - 1 - lookahead, lookahead)

    def forward(self, rows: Tensor) -> Tensor:
        columns = self.conv(F.pad(rows.transpose(1, 2), self.pad))
        normed: Tensor = self.norm(columns.transpose(1, 2))
        return normed


class SpectralEncoder(nn.Module):
    """Audio ``[batch, 1, samples]`` to latents ``[batch, codebook_dim, ceil(samples / hop_length)]``."""

    taper: Tensor
    filters: Tensor

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.encoder_dim
        self.register_buffer("taper", torch.hann_window(config.window), persistent=False)
        self.register_buffer(
            "filters", mel_filters(config.bins, config.mel_bands, config.sample_rate), persistent=False
        )
        self.project = nn.Linear(config.subframes * (2 * config.bins + config.mel_bands), dim)
        self.entry = Entry(dim, dim, config.kernel_size, config.encoder_lookahead)
        self.blocks = _blocks(dim, config.encoder_expansion, config.encoder_layers, config.kernel_size)
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, config.codebook_dim)
        self.apply(_initialise)

    def forward(self, audio: Tensor) -> Tensor:
        rows = self.entry(self.project(self.features(audio)))
        for block in self.blocks:
            rows = block(rows)
        latents: Tensor = self.output(self.norm(rows))
        return latents.float().transpose(1, 2)

    @torch.no_grad()
    def features(self, audio: Tensor) -> Tensor:
        """Compressed complex spectra and log mel spectra of each frame, in float32: ``[batch, frames, features]``."""
        with torch.autocast(audio.device.type, enabled=False):
            return self._features(audio)

    def _features(self, audio: Tensor) -> Tensor:
        config = self.config
        spectra = spectra_of(audio[:, 0].float(), config, self.taper)
        power = spectra.real.square() + spectra.imag.square()
        compressed = spectra * (power + 1e-12).pow((_COMPRESSION - 1) / 2)
        mel = (power.sqrt() @ self.filters + _MEL_FLOOR).log10() * 0.5 + 1
        parts = torch.cat((compressed.real, compressed.imag, mel), -1)
        return parts.view(parts.shape[0], -1, config.subframes * parts.shape[-1])


class SpectralDecoder(nn.Module):
    """Latents ``[batch, codebook_dim, frames]`` to audio ``[batch, 1, frames * hop_length]``, a whole clip at once.

    `engine.runtime.spectral_layers` runs the same weights on a stream.
    """

    taper: Tensor
    directions: Tensor

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.decoder_dim
        self.register_buffer("taper", torch.hann_window(config.window), persistent=False)
        self.entry = Entry(config.codebook_dim, dim, config.kernel_size, config.decoder_lookahead)
        self.blocks = _blocks(dim, config.decoder_expansion, config.decoder_layers, config.kernel_size)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, config.subframes * 3 * config.bins)
        self.apply(_initialise)
        if config.noise_period:
            self.register_buffer("directions", drawn_directions(config), persistent=False)
            self.noise_level = nn.Parameter(first_noise_level(config))

    def forward(self, latents: Tensor) -> Tensor:
        rows = self.entry(latents.transpose(1, 2))
        for block in self.blocks:
            rows = block(rows)
        values = self.head(self.norm(rows)).float()
        pieces = synthesis(values, self.config, self.taper, self.noise(values.shape[1] * self.config.subframes))
        return overlap_add(pieces, self.config, self.taper)[:, None]

    def noise(self, count: int) -> Tensor | None:
        """The drawn pointers ``[count, 2, bins]`` of a stream's first spectra; None when there are none."""
        if not self.config.noise_period:
            return None
        places = torch.arange(count, device=self.directions.device) % self.config.noise_period
        return self.directions[places] * self.noise_level


class Codebook(nn.Module):
    """One codebook: ``embed`` is ``[size, dim]``, a buffer, since it is trained by averaging and not by gradients."""

    embed: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("embed", torch.zeros(size, dim))

    def nearest(self, rows: Tensor) -> Tensor:
        """The nearest entry of each of ``[n, dim]``: codes ``[n]``."""
        return (rows @ self.embed.t() - 0.5 * self.embed.square().sum(1)).argmax(1)

    def encode(self, latents: Tensor) -> Tensor:
        """``[batch, dim, frames]`` to codes ``[batch, frames]``."""
        rows = latents.transpose(1, 2)
        return self.nearest(rows.flatten(0, 1)).view(rows.shape[:2])

    def decode(self, codes: Tensor) -> Tensor:
        """Codes ``[batch, frames]`` to ``[batch, dim, frames]``."""
        return F.embedding(codes, self.embed).transpose(1, 2)


class SpectralNetwork(nn.Module):
    """Encoder, codebooks and decoder; its state dict is the codec's ``model.safetensors``."""

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SpectralEncoder(config)
        self.codebooks = nn.ModuleList(
            Codebook(config.codebook_size, config.codebook_dim) for _ in range(config.num_codebooks)
        )
        self.decoder = SpectralDecoder(config)


def spectra_of(audio: Tensor, config: SpectralConfig, taper: Tensor) -> Tensor:
    """The spectra of ``[batch, samples]``, zeros after its end: complex ``[batch, frames * subframes, bins]``.

    A sine of amplitude 1 has magnitude 1. The windows stand where the decoder puts its own.
    """
    missing = -audio.shape[1] % config.hop_length
    padded = F.pad(audio, (config.margin // 2, config.margin // 2 + missing))
    spectra: Tensor = torch.fft.rfft(padded.unfold(1, config.window, config.distance) * taper)
    return spectra * (4 / config.window)


def spectra_made(values: Tensor, config: SpectralConfig, noise: Tensor | None = None) -> Tensor:
    """Predicted values ``[batch, frames, subframes * 3 * bins]`` to spectra, complex ``[batch, frames * subframes, bins]``.

    Per bin: log magnitude, and a vector whose direction is the phase. A direction has no seam at ±π, an angle has. With ``noise``
    ``[spectra, 2, bins]``, the vectors are brought to lengths below 1, and these are added.
    """
    values = values.view(values.shape[0], -1, 3, config.bins)
    magnitude = values[:, :, 0].clamp(*_LOG_RANGE).exp()
    pointers = values[:, :, 1:]
    if noise is not None:
        pointers = pointers * (1 + pointers.square().sum(2, keepdim=True)).rsqrt() + noise
    real, imaginary = pointers[:, :, 0], pointers[:, :, 1]
    scaled = magnitude * (real.square() + imaginary.square() + 1e-6).rsqrt()
    return torch.complex(scaled * real, scaled * imaginary)


def synthesis(values: Tensor, config: SpectralConfig, taper: Tensor, noise: Tensor | None = None) -> Tensor:
    """Predicted values, as `spectra_made` takes them, to windowed pieces ``[batch, spectra, window]``."""
    pieces: Tensor = torch.fft.irfft(spectra_made(values, config, noise), n=config.window)
    return pieces * taper


def drawn_directions(config: SpectralConfig) -> Tensor:
    """Unit vectors ``[noise_period, 2, bins]``, one for each spectrum and bin: the same on every machine."""
    # The raw numbers of a bit generator are the ones that numpy promises never to change.
    raw = np.random.PCG64(_NOISE_SEED).random_raw(config.noise_period * config.bins)
    turns = torch.from_numpy((raw >> np.uint64(40)).astype(np.float64) / (1 << 24)).view(
        config.noise_period, config.bins
    )
    angles = 2 * math.pi * turns
    return torch.stack((angles.cos(), angles.sin()), 1).float()


def first_noise_level(config: SpectralConfig) -> Tensor:
    """Lengths ``[bins]`` of the drawn vectors before training: short where there are tones, longer above."""
    hertz = torch.arange(config.bins) * (config.sample_rate / config.window)
    way = ((hertz - _TONAL_HZ) / (_NOISY_HZ - _TONAL_HZ)).clamp(0, 1)
    return _TONAL_LEVEL + (_NOISY_LEVEL - _TONAL_LEVEL) * way


def overlap_add(pieces: Tensor, config: SpectralConfig, taper: Tensor) -> Tensor:
    """Add up windowed pieces ``[batch, spectra, window]`` of a whole clip: ``[batch, spectra * distance]``."""
    summed = add_up(pieces, config)
    weight = add_up(taper.square().expand(1, pieces.shape[1], -1), config)
    start = config.margin // 2
    stop = start + pieces.shape[1] * config.distance
    return summed[:, start:stop] / weight[:, start:stop]


def add_up(pieces: Tensor, config: SpectralConfig) -> Tensor:
    """Sum overlapping pieces ``[batch, n, window]``: ``[batch, n * distance + margin]``."""
    batch, count, _ = pieces.shape
    segments = pieces.view(batch, count, -1, config.distance)
    overlap = segments.shape[2]
    padded = [F.pad(segments[:, :, shift], (0, 0, shift, overlap - 1 - shift)) for shift in range(overlap)]
    return torch.stack(padded).sum(0).flatten(1)


def mel_filters(bins: int, bands: int, sample_rate: int) -> Tensor:
    """Triangular mel filters that each sum to one: ``[bins, bands]``; HTK's scale, 0 Hz to half the sample rate.

    A filter narrower than a bin is widened to it, so that no band is empty.
    """

    def to_mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    edges = torch.linspace(to_mel(0), to_mel(sample_rate / 2), bands + 2, dtype=torch.float64)
    edges = 700 * (10 ** (edges / 2595) - 1)
    spacing = sample_rate / 2 / (bins - 1)
    hertz = torch.arange(bins, dtype=torch.float64)[:, None] * spacing
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rise = (hertz - left) / (centre - left).clamp(min=spacing)
    fall = (right - hertz) / (right - centre).clamp(min=spacing)
    # Measured from the centre, so that a widened side still ends where the triangle's top is.
    rise = torch.where(centre - left < spacing, 1 - (centre - hertz) / spacing, rise)
    fall = torch.where(right - centre < spacing, 1 - (hertz - centre) / spacing, fall)
    filters = torch.minimum(rise, fall).clamp(min=0)
    return (filters / filters.sum(0)).float()


def _blocks(dim: int, expansion: int, layers: int, kernel_size: int) -> nn.ModuleList:
    return nn.ModuleList(Block(dim, expansion, kernel_size, 1 / max(layers, 1)) for _ in range(layers))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
        fan_in = module.weight[0].numel()
        nn.init.trunc_normal_(module.weight, std=fan_in**-0.5)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
