"""MultiBandDiffusion as AudioCraft packs it: one file with a diffusion model for each band, its configuration and its levels.

``mbd_musicgen_32khz.th`` is for MusicGen's codes, ``mbd_comp_2.pt``, ``mbd_comp_4.pt`` and ``mbd_comp_8.pt`` are for those of
EnCodec at 24 kHz with as many codebooks. A file is a dictionary of ``n_bands``, ``sample_rate`` and, for each number below
``n_bands``, of ``cfg`` (the solver's configuration), ``model_state`` and ``processor_state``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from engine.checkpoints.audiocraft.config import Config
from engine.checkpoints.audiocraft.files import safe_load
from engine.runtime.diffusion.filters import MOST_BANDS, FilterBank
from engine.runtime.diffusion.multi_band import BandLevels, DiffusionBand, MultiBandDiffusion
from engine.runtime.diffusion.schedule import NoiseSchedule
from engine.runtime.diffusion.unet import DiffusionUNet, UNetConfig
from protocols.errors import ErrorCode, RequestError

FILES_OF_CODEBOOKS = {2: "mbd_comp_2.pt", 4: "mbd_comp_4.pt", 8: "mbd_comp_8.pt"}
"""For EnCodec at 24 kHz, by how many of its codebooks the codes have."""
MUSICGEN_FILE = "mbd_musicgen_32khz.th"
LATENT_SIZE = 128
"""Of the codecs that the released files are for."""

_FIELD = "decoder"
_ATTENTION = re.compile(r"\b(self_attn|cross_attention)\.(in_proj|out_proj)")
_T = TypeVar("_T")
_MOST_MODELS = 64
_FILTERS = "split_bands.lowpass.filters"
_LONGEST_FILTER = 1 << 20
_DROPPED = ("dropout",)
"""What counts while a model is trained only. AudioCraft leaves the models in that mode, so that dropout, which the released ones do
not have, would go on there."""


def file_for(sample_rate: int, codebooks: int) -> str | None:
    """Which released file is for the codes of EnCodec at this rate with so many codebooks per channel; None: none is."""
    if sample_rate == 32_000 and codebooks == 4:
        return MUSICGEN_FILE
    return FILES_OF_CODEBOOKS.get(codebooks) if sample_rate == 24_000 else None


def load_diffusion(path: Path, device: torch.device) -> MultiBandDiffusion:
    """Load a package, as AudioCraft has written it; its models run in single precision.

    Args:
        path: of the file.
        device: where they run.

    Raises:
        RequestError: a file that is missing or damaged, a configuration that is not known, or weights that do not fit it; the text
            names the key.
    """
    content = safe_load(path, _FIELD)
    count = _whole(content, "n_bands", 1, _MOST_MODELS)
    sample_rate = _whole(content, "sample_rate", 1000, 768_000)
    bands, codebooks = [], set()
    for number in range(count):
        part = content.get(number)
        if not isinstance(part, dict):
            allowed = f"a package with model {number} of {count}"
            raise RequestError(ErrorCode.MALFORMED, f"{_FIELD}.{number}", type(part).__name__, allowed)
        try:
            config = Config.read(part.get("cfg"))
            bands.append(_band(part, config, sample_rate, device))
        except RequestError as error:
            raise RequestError(error.code, f"{_FIELD}.{number}.{error.field}", error.value, error.allowed) from error
        if config.get("n_q") is not None:
            codebooks.add(config.whole("n_q", least=1, most=1024))
    known = codebooks.pop() if len(codebooks) == 1 else None
    return MultiBandDiffusion(bands, sample_rate, device, codebooks=known)


def _whole(content: Mapping[Any, Any], key: str, least: int, most: int) -> int:
    value = content.get(key)
    number = value if isinstance(value, int) and not isinstance(value, bool) else None
    if isinstance(value, float) and value.is_integer():
        number = int(value)
    if number is None or not least <= number <= most:
        allowed = f"a package of MultiBandDiffusion, with a whole number from {least} to {most} there"
        raise RequestError(ErrorCode.MALFORMED, f"{_FIELD}.{key}", value, allowed)
    return number


def _band(part: Mapping[Any, Any], config: Config, sample_rate: int, device: torch.device) -> DiffusionBand:
    config.expect(model="unet")
    schedule = _schedule(config.section("schedule"))
    network = _network(_unet_config(config, schedule.num_steps), _tensors(part, "model_state"), device)
    return DiffusionBand(network, schedule, _levels(config, _tensors(part, "processor_state"), sample_rate, device))


def _schedule(config: Config) -> NoiseSchedule:
    config.expect(repartition="power", n_bands=None)
    usual = NoiseSchedule()
    clip = config.get("clip", usual.clip)
    return _named(
        config,
        lambda: NoiseSchedule(
            num_steps=config.whole("num_steps", usual.num_steps),
            beta_t0=config.number("beta_t0", usual.beta_t0),
            beta_t1=config.number("beta_t1", usual.beta_t1),
            beta_exp=config.number("beta_exp", usual.beta_exp),
            clip=config.number("clip", usual.clip) if clip else 0.0,
            noise_scale=config.number("noise_scale", usual.noise_scale),
        ),
    )


def _unet_config(config: Config, num_steps: int) -> UNetConfig:
    unet, usual = config.section("diffusion_unet"), UNetConfig()
    known = {name for name in UNetConfig.__dataclass_fields__ if name not in ("channels", "num_steps")}
    for name in unet:
        if name not in known and name not in _DROPPED:
            raise RequestError(ErrorCode.UNSUPPORTED, unet.key(name), unet.get(name), ", ".join(sorted(known)))
    return _named(
        unet,
        lambda: UNetConfig(
            channels=config.whole("channels", least=1, most=16),
            num_steps=num_steps,
            hidden=unet.whole("hidden", usual.hidden),
            depth=unet.whole("depth", usual.depth),
            growth=unet.number("growth", usual.growth),
            max_channels=unet.whole("max_channels", usual.max_channels),
            kernel=unet.whole("kernel", usual.kernel),
            stride=unet.whole("stride", usual.stride),
            res_blocks=unet.whole("res_blocks", usual.res_blocks),
            norm_groups=unet.whole("norm_groups", usual.norm_groups),
            emb_all_layers=unet.flag("emb_all_layers", False),
            bilstm=unet.flag("bilstm", False),
            transformer=unet.flag("transformer", False),
            cross_attention=unet.flag("cross_attention", False),
            codec_dim=None if unet.get("codec_dim") is None else unet.whole("codec_dim"),
        ),
    )


def _named(config: Config, make: Callable[[], _T]) -> _T:
    """Make something of a section; a value that it refuses is named by its whole key."""
    try:
        return make()
    except RequestError as error:
        if "." in error.field or error.field not in config:
            raise
        raise RequestError(error.code, config.key(error.field), error.value, error.allowed) from error


def _tensors(part: Mapping[Any, Any], key: str) -> dict[str, Tensor]:
    state = part.get(key)
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise RequestError(ErrorCode.MALFORMED, key, type(state).__name__, "tensors by name")
    return {str(name): tensor for name, tensor in state.items()}


def _network(config: UNetConfig, state: dict[str, Tensor], device: torch.device) -> DiffusionUNet:
    with torch.device("meta"):
        network = DiffusionUNet(config)
    wanted = {name: tensor.shape for name, tensor in network.state_dict().items()}
    # Older ones have attention's weights one level higher.
    found = {_ATTENTION.sub(r"\1.mha.\2", name): tensor for name, tensor in state.items()}
    for name, shape in wanted.items():
        if name not in found:
            raise RequestError(ErrorCode.MALFORMED, f"model_state.{name}", None, f"weights of the shape {tuple(shape)}")
        tensor = found[name]
        if tensor.shape != shape or not tensor.is_floating_point():
            value = f"{tuple(tensor.shape)} of {tensor.dtype}"
            allowed = f"floats of the shape {tuple(shape)}, as the configuration says"
            raise RequestError(ErrorCode.MALFORMED, f"model_state.{name}", value, allowed)
    for name in found:
        if name not in wanted:
            allowed = "weights that the configuration tells of"
            raise RequestError(ErrorCode.MALFORMED, f"model_state.{name}", "there", allowed)
    # A copy: what comes from the file is mapped from it.
    ready = {name: found[name].to(device, torch.float32, copy=True) for name in wanted}
    network.load_state_dict(ready, assign=True)
    return network.eval().requires_grad_(False)


def _levels(config: Config, state: Mapping[str, Tensor], sample_rate: int, device: torch.device) -> BandLevels | None:
    processor = config.section("processor", optional=True)
    # Another name means none at all, as in AudioCraft.
    if not processor.flag("use", False) or processor.get("name") != "multi_band_processor":
        return None
    count = processor.whole("n_bands", 8, least=1, most=MOST_BANDS)
    sums = []
    for name in ("counts", "sum_x", "sum_x2", "sum_target_x2"):
        tensor, size = state.get(name), 1 if name == "counts" else count
        if tensor is None or tensor.numel() != size or not torch.isfinite(tensor.float()).all():
            value = None if tensor is None else tuple(tensor.shape)
            raise RequestError(ErrorCode.MALFORMED, f"processor_state.{name}", value, f"{size} finite numbers")
        sums.append(tensor.float().reshape(-1))
    counts, total, squares, targets = sums
    if float(counts) <= 0:
        raise RequestError(ErrorCode.MALFORMED, "processor_state.counts", float(counts), "more than 0")
    mean = total / counts
    own = (squares / counts - mean**2).clamp(min=0).sqrt()
    gains = (own / (targets / counts)) ** _power(processor, count)
    if not torch.isfinite(gains).all():
        raise RequestError(ErrorCode.MALFORMED, "processor_state.sum_target_x2", None, "numbers above 0")
    bank = FilterBank(count, sample_rate, device, _filters(state, count))
    return BandLevels(bank, gains.to(device), float(mean.sum()))


def _filters(state: Mapping[str, Tensor], count: int) -> Tensor | None:
    """The filters that split the bands, as they were in training; None where the package has none of them."""
    kept = state.get(_FILTERS)
    if kept is None or count == 1:
        return None
    sized = (
        kept.dim() == 3 and kept.shape[:2] == (count - 1, 1) and kept.shape[2] % 2 and kept.shape[2] <= _LONGEST_FILTER
    )
    if not sized or not kept.is_floating_point() or not torch.isfinite(kept).all():
        allowed = f"{count - 1} filters, of an odd number of finite numbers each"
        raise RequestError(ErrorCode.MALFORMED, f"processor_state.{_FILTERS}", tuple(kept.shape), allowed)
    return kept[:, 0]


def _power(processor: Config, count: int) -> Tensor:
    """How far each band's level was brought to that of noise: one number, or one for each band."""
    if isinstance(processor.get("power_std"), list):
        powers = processor.numbers("power_std")
        if len(powers) != count:
            allowed = f"one number, or {count}"
            raise RequestError(ErrorCode.MALFORMED, processor.key("power_std"), len(powers), allowed)
        return torch.tensor(powers)
    return torch.tensor(processor.number("power_std", 1.0, least=-100, most=100))
