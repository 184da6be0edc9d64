"""A codec by itself, from wherever codecs come: transformers' layouts of EnCodec and DAC, AudioCraft's, the ``encodec`` package's
and Descript's own files, our own, and the codec inside a music model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from engine.checkpoints.audiocraft.encodec import encodec_weights, renamed
from engine.checkpoints.audiocraft.files import safe_load
from engine.checkpoints.audiocraft.package import CODEC_FILE, Package, Pointer, codec_of, is_audiocraft, read_package
from engine.checkpoints.catalogue import CATALOGUE
from engine.checkpoints.parts import first_line, quiet_transformers
from engine.checkpoints.section import CONFIG_FILE, MUSICGEN, MUSICGEN_MELODY, OwnSection
from engine.runtime.audio_codec import AudioCodec, Chunks
from engine.runtime.codec import make_codec
from engine.runtime.dac import DacCodec, DacWeights
from engine.runtime.encodec_weights import GROUP_NORM, EncodecWeights, SeanetShape
from engine.runtime.spectral_codec import SpectralCodec, load_spectral_network
from engine.runtime.spectral_network import MODEL_TYPE as SPECTRAL
from protocols.catalogue import CODECS
from protocols.errors import ErrorCode, RequestError

_FILES = (".pth", ".th", ".bin", ".pt")
_LARGEST_CONFIG = 1 << 20

# AudioCraft's names for codecs that are not on the hub under them.
_POINTED = {"dac_16khz": "dac-16khz", "dac_24khz": "dac-24khz", "dac_44khz": "dac-44khz"}


def load_codec(
    name: str, *, channels: int = 0, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> AudioCodec:
    """Load a codec and make it ready to run.

    Args:
        name: of a codec or a model in the catalogue, a folder, a file, or ``owner/name`` on the hub. Of a model, its codec.
        channels: of the audio; with a mono codec, 2 is interleaved stereo. 0: as many as the codec has.
        device: where encoding and decoding run.
        dtype: of the decoder's matrices.

    Raises:
        RequestError: ``not_found`` and ``not_downloaded`` for one that is not there, ``malformed`` for damaged files or weights
            that do not fit their config, ``unsupported`` for a codec of another kind, with the key that says so.
    """
    return build_codec(read_codec(find_codec(name)), channels=channels, device=device, dtype=dtype)


def find_codec(name: str) -> Path:
    """The folder or file that a name of a codec stands for; downloaded, where that was agreed to.

    Raises:
        RequestError: as `load_codec` does.
    """
    from engine.checkpoints import hub, pocket

    name = _POINTED.get(name.strip(), name.strip())
    if (known := CODECS.get(name) or CATALOGUE.get(name)) is not None:
        if known.folder is not None:
            return known.folder
        return pocket.pocket_folder() if known.hub_id is None else hub.obtain(known.hub_id, known.patterns)
    try:
        path = Path(name).expanduser()
        if name and (path.is_dir() or (path.is_file() and path.suffix in _FILES)):
            return path
    except (OSError, RuntimeError, ValueError):  # a name that no file system takes
        pass
    if hub.is_hub_id(name):
        return hub.obtain(name)
    allowed = f"{', '.join(CODECS)}, a folder, a file ({', '.join(_FILES)}), or owner/name on the hub"
    raise RequestError(ErrorCode.NOT_FOUND, "codec", name, allowed)


def read_codec(path: Path) -> EncodecWeights | DacWeights | Path:
    """What is in a codec's folder or file. A folder is handed back where it is our own spectral codec's.

    Raises:
        RequestError: as `load_codec` does.
    """
    if path.is_file():
        return _read_file(path)
    if (path / CONFIG_FILE).is_file() and not is_audiocraft(path):
        return _read_transformers(path)
    if is_audiocraft(path):
        lm = read_package(path / CODEC_FILE) if (path / CODEC_FILE).is_file() else None
        if lm is None:
            from engine.checkpoints.audiocraft.package import lm_file, read_weights

            found = lm_file(path)
            assert found is not None
            lm = codec_of(path, read_weights(found))
        return _of_audiocraft(path, lm)
    for candidate in (
        path / CODEC_FILE,
        path / "checkpoint.th",
        *sorted(path.glob("*.pth")),
        *sorted(path.glob("*.th")),
    ):
        if candidate.is_file():
            return _read_file(candidate)
    allowed = f"a folder with {CONFIG_FILE} and model.safetensors, or with {CODEC_FILE}, or a file of Descript's (.pth)"
    raise RequestError(ErrorCode.NOT_FOUND, "codec", str(path), allowed)


def build_codec(
    source: EncodecWeights | DacWeights | Path, *, channels: int, device: torch.device | str, dtype: torch.dtype
) -> AudioCodec:
    """The codec of what `read_codec` has read; 0 channels: as many as it has itself.

    Raises:
        RequestError: as `load_codec` does.
    """
    if isinstance(source, Path):
        return SpectralCodec(load_spectral_network(source), channels or 1, device, dtype)
    if isinstance(source, DacWeights):
        return DacCodec(source, channels or 1, device, dtype)
    return make_codec(source, channels or source.encoder.channels, device, dtype)


def _read_file(path: Path) -> EncodecWeights | DacWeights | Path:
    """A file of AudioCraft's, of Descript's, or of the ``encodec`` package."""
    content = safe_load(path, "codec")
    if "xp.cfg" in content or "pretrained" in content:
        return _of_audiocraft(path.parent, read_package(path))
    if isinstance(content.get("metadata"), Mapping) and isinstance(content.get("state_dict"), Mapping):
        return descript_weights(content)
    state = {name: tensor for name, tensor in content.items() if isinstance(name, str) and isinstance(tensor, Tensor)}
    if "encoder.model.0.conv.conv.bias" in state:
        return released_weights(state)
    listed = ", ".join(sorted(str(key)[:40] for key in list(content)[:8])) or "nothing"
    raise RequestError(
        ErrorCode.UNSUPPORTED, "codec", str(path), f"a file of AudioCraft's, encodec's or Descript's, not {listed}"
    )


def _of_audiocraft(folder: Path, package: Package | Pointer) -> EncodecWeights | DacWeights | Path:
    if isinstance(package, Package):
        return encodec_weights(package)
    for candidate in (folder / package.name, folder / package.name.split("/")[-1]):
        if candidate.is_dir() and candidate != folder:
            return read_codec(candidate)
    return read_codec(find_codec(package.name))


def _read_transformers(folder: Path) -> EncodecWeights | DacWeights | Path:
    """A folder with a config.json: a codec's, or a model's that has a codec."""
    config = _json(folder / CONFIG_FILE)
    kind = config.get("model_type")
    if kind == SPECTRAL:
        return folder
    if kind in ("encodec", "dac"):
        return _of_config(kind, config, _tensors(folder, ""), folder)
    if kind in (MUSICGEN, MUSICGEN_MELODY):
        section = OwnSection.read(config)
        if section.codec is not None:
            return _inner(folder, section.codec)
        inner = config.get("audio_encoder")
        if isinstance(inner, dict) and inner.get("model_type", "encodec") in ("encodec", "dac"):
            kind = str(inner.get("model_type", "encodec"))
            return _of_config(kind, inner, _tensors(folder, "audio_encoder."), folder)
        raise RequestError(ErrorCode.UNSUPPORTED, "audio_encoder.model_type", _kind(inner), "encodec or dac")
    allowed = f"encodec, dac, {SPECTRAL}, or a model that has one of them ({MUSICGEN}, {MUSICGEN_MELODY})"
    raise RequestError(ErrorCode.UNSUPPORTED, "model_type", _kind(config), allowed)


def _kind(config: Any) -> str:
    kind = config.get("model_type") if isinstance(config, dict) else None
    return str(kind)[:80] if kind else "none"


def _inner(folder: Path, name: str) -> Path:
    try:
        inner = (folder / name).resolve()
        there = inner != folder.resolve() and inner.is_relative_to(folder.resolve()) and inner.is_dir()
    except (OSError, ValueError):
        there = False
    if not there:
        raise RequestError(ErrorCode.NOT_FOUND, "codec", name, f"a folder in {folder.name}")
    return inner


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise ValueError("it is too large")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(ErrorCode.MALFORMED, "codec", str(path), f"readable JSON: {error}") from error
    if not isinstance(content, dict):
        raise RequestError(ErrorCode.MALFORMED, "codec", str(path), "an object")
    return content


def _of_config(
    kind: str, config: Mapping[str, Any], state: Mapping[str, Tensor], folder: Path
) -> EncodecWeights | DacWeights:
    from transformers import DacConfig, EncodecConfig

    make: Any = EncodecConfig if kind == "encodec" else DacConfig
    read: Any = EncodecWeights if kind == "encodec" else DacWeights
    known = {key: value for key, value in config.items() if key not in ("model_type", "transformers_version")}
    try:
        with quiet_transformers():
            weights: EncodecWeights | DacWeights = read.of_config(make(**known), state)
    except RequestError:
        raise
    except Exception as error:  # transformers checks its configs in ways of its own
        allowed = f"a config that loads: {first_line(error)}"
        raise RequestError(ErrorCode.MALFORMED, CONFIG_FILE, folder.name, allowed) from error
    return weights


def _tensors(folder: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors of a folder whose names begin with a prefix, without it."""
    state: dict[str, Tensor] = {}
    files = sorted(folder.glob("model*.safetensors"))
    try:
        for path in files:
            with safe_open(path, framework="pt") as file:
                names = file.keys()
                state |= {name.removeprefix(prefix): file.get_tensor(name) for name in names if name.startswith(prefix)}
    except (OSError, SafetensorError) as error:
        allowed = f"weights that load: {first_line(error)}"
        raise RequestError(ErrorCode.MALFORMED, "codec", str(folder), allowed) from error
    if files:
        return state
    pickles = sorted(folder.glob("pytorch_model*.bin"))
    if not pickles:
        raise RequestError(ErrorCode.NOT_FOUND, "codec", str(folder), "a folder with model.safetensors")
    for path in pickles:
        for name, tensor in safe_load(path, "codec").items():
            if isinstance(name, str) and isinstance(tensor, Tensor) and name.startswith(prefix):
                state[name.removeprefix(prefix)] = tensor
    return state


def released_weights(state: Mapping[str, Tensor]) -> EncodecWeights:
    """The models of the ``encodec`` package (Défossez et al. 2022), whose files have no config: 24 kHz mono and 48 kHz stereo.

    Raises:
        RequestError: ``unsupported`` for neither of them.
    """
    named = renamed(state)
    books = len([name for name in named if re.fullmatch(r"quantizer\.layers\.\d+\.codebook\.embed", name)])
    music = "encoder.layers.0.norm.weight" in named
    shape = SeanetShape(
        channels=2 if music else 1,
        dimension=_size(named, "quantizer.layers.0.codebook.embed", 1),
        filters=_size(named, "encoder.layers.0.conv.bias", 0),
        ratios=(8, 5, 4, 2),
        causal=not music,
        pad_mode="reflect",
        shortcut=True,
        norm=GROUP_NORM if music else "weight_norm",
    )
    return EncodecWeights(
        sample_rate=48_000 if music else 24_000,
        encoder=shape,
        decoder=shape,
        codebooks=books,
        card=_size(named, "quantizer.layers.0.codebook.embed", 0),
        scaled=music,
        chunks=Chunks(48_000, 47_520, shape.hop_length) if music else None,
        state=named,
    )


def _size(state: Mapping[str, Tensor], name: str, axis: int) -> int:
    found = state.get(name)
    if found is None or found.dim() <= axis:
        raise RequestError(ErrorCode.MALFORMED, name, "none", "a tensor, as the released EnCodec models have it")
    return int(found.shape[axis])


def descript_weights(content: Mapping[Any, Any]) -> DacWeights:
    """The content of a file of the ``descript-audio-codec`` package: ``state_dict``, and ``metadata`` with ``kwargs``.

    Raises:
        RequestError: ``malformed``, naming the key, for a value that is none.
    """
    settings = content["metadata"].get("kwargs")
    if not isinstance(settings, Mapping):
        raise RequestError(ErrorCode.MALFORMED, "metadata.kwargs", "none", "the parameters of the codec")

    def whole(key: str, default: int, most: int = 1 << 16) -> int:
        value = settings.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise RequestError(ErrorCode.MALFORMED, f"metadata.kwargs.{key}", str(value)[:80], f"1 to {most}")
        return value

    def wholes(key: str, default: list[int]) -> tuple[int, ...]:
        value = settings.get(key, default)
        right = isinstance(value, list | tuple) and 1 <= len(value) <= 64
        if not right or not all(
            isinstance(one, int) and not isinstance(one, bool) and 1 <= one <= 1024 for one in value
        ):
            raise RequestError(ErrorCode.MALFORMED, f"metadata.kwargs.{key}", str(value)[:80], "whole numbers above 0")
        return tuple(value)

    down, up = wholes("encoder_rates", [2, 4, 8, 8]), wholes("decoder_rates", [8, 8, 4, 2])
    books, width = whole("n_codebooks", 9, 256), whole("encoder_dim", 64)
    if isinstance(settings.get("codebook_dim", 8), list | tuple):
        dims = wholes("codebook_dim", [8])
    else:
        dims = (whole("codebook_dim", 8),) * books
    if len(dims) != books:
        raise RequestError(ErrorCode.MALFORMED, "metadata.kwargs.codebook_dim", len(dims), f"{books}, one per codebook")
    dimension = width * 2 ** len(down) if settings.get("latent_dim") is None else whole("latent_dim", 1)
    state = {}
    for name, tensor in content["state_dict"].items():
        if isinstance(name, str) and isinstance(tensor, Tensor):
            state[_descript_name(name, len(down), len(up))] = tensor
    return DacWeights(
        sample_rate=whole("sample_rate", 44_100, 768_000),
        encoder_width=width,
        decoder_width=whole("decoder_dim", 1536),
        down=down,
        up=up,
        dimension=dimension,
        codebooks=books,
        card=whole("codebook_size", 1024, 1 << 20),
        codebook_dims=dims,
        state=state,
    )


def _descript_name(name: str, downs: int, ups: int) -> str:
    """Descript's name of a tensor as transformers': places in a sequence become words."""
    part, _, rest = name.partition(".")
    if part not in ("encoder", "decoder"):
        return name
    _, number, *inner = rest.split(".")
    blocks = downs if part == "encoder" else ups
    place = int(number) if number.isdigit() else -1
    outer = {0: "conv1", blocks + 1: "snake1", blocks + 2: "conv2"}
    if place in outer:
        return ".".join((part, outer[place], *inner))
    words = ("res_unit1", "res_unit2", "res_unit3", "snake1", "conv1")
    if part == "decoder":
        words = ("snake1", "conv_t1", "res_unit1", "res_unit2", "res_unit3")
    found = [part, "block", str(place - 1)]
    if len(inner) > 1 and inner[1].isdigit() and int(inner[1]) < len(words):
        word = words[int(inner[1])]
        found.append(word)
        inner = inner[2:]
        if word.startswith("res_unit") and len(inner) > 1 and inner[1] in "0123":
            found.append(("snake1", "conv1", "snake2", "conv2")[int(inner[1])])
            inner = inner[2:]
    return ".".join((*found, *inner))
