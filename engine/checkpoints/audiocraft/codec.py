"""The codec of an LM of AudioCraft's: in the file beside it, or where that file points to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from engine.checkpoints.audiocraft.encodec import encodec_weights, renamed
from engine.checkpoints.audiocraft.files import are_numbers, shown
from engine.checkpoints.audiocraft.package import CODEC_FILE, Package, Pointer
from engine.runtime.audio_codec import AudioCodec
from engine.runtime.dac import DacWeights
from engine.runtime.encodec_weights import EncodecWeights
from protocols.errors import ErrorCode, RequestError

_OF_TRAINING = re.compile(r"quantizer\.vq\.layers\.\d+\._codebook\.(inited|cluster_size|embed_avg)$")
_WEIGHT_FILES = ("*.json", "*.safetensors", "*.bin", "*.pth", "*.th")


@dataclass(frozen=True)
class LoadedCodec:
    """A codec, the files that it came from, and how many weights it has."""

    codec: AudioCodec
    files: tuple[Path, ...]
    parameters: int


def load_codec(
    folder: Path,
    source: Package | Pointer,
    *,
    device: torch.device | str,
    interleaved: bool = False,
    codebooks: int = 0,
) -> LoadedCodec:
    """Build a codec, in single precision on every device: it costs little beside the LM, and a prompt's codes turn on rounding.

    Args:
        folder: of the checkpoint. A folder in it that is called like the codec that is pointed to comes before the hub.
        source: as `codec_of` gives it.
        device: where it runs.
        interleaved: whether a mono codec runs once per channel.
        codebooks: how many of its codebooks count, the coarsest first; 0 for all.

    Raises:
        RequestError: a codec of another kind, one that is not there, what the runtime does not compute, or weights that do not
            fit their configuration; names AudioCraft's key.
    """
    if isinstance(source, Pointer):
        weights, files = _pointed(folder, source)
        parameters = sum(tensor.numel() for tensor in weights.state.values())
        return LoadedCodec(_built(weights, device, interleaved, codebooks), files, parameters)
    names = _Names(source.weights)
    weights = encodec_weights(source)
    try:
        codec = _built(replace(weights, state=names), device, interleaved, codebooks)
    except RequestError as error:
        raise RequestError(error.code, names.original(error.field), error.value or None, error.allowed) from error
    for name in names.further:
        if not (codebooks and name.startswith("quantizer.")):
            allowed = f"a codec as its seanet and rvq say, without {name}"
            raise RequestError(ErrorCode.MALFORMED, "model", shown(source.path), allowed)
    count = sum(tensor.numel() for name, tensor in source.weights.items() if not _OF_TRAINING.search(name))
    return LoadedCodec(codec, (source.path,), count)


def codec_weights(folder: Path, source: Package | Pointer, codebooks: int = 0) -> EncodecWeights | DacWeights:
    """The shapes and tensors of a codec that `load_codec` builds; of its codebooks the first, or all for 0."""
    weights = _pointed(folder, source)[0] if isinstance(source, Pointer) else encodec_weights(source)
    return _with_codebooks(weights, codebooks)


def _built(
    weights: EncodecWeights | DacWeights, device: torch.device | str, interleaved: bool, codebooks: int
) -> AudioCodec:
    from engine.checkpoints.codecs import build_codec

    weights = _with_codebooks(weights, codebooks)
    native = weights.encoder.channels if isinstance(weights, EncodecWeights) else 1
    if interleaved and native != 1:
        key = "interleave_stereo_codebooks.use"
        raise RequestError(ErrorCode.UNSUPPORTED, key, "true", f"false, for a codec of {native} channels")
    return build_codec(weights, channels=2 if interleaved else native, device=device, dtype=torch.float32)


def _with_codebooks(weights: EncodecWeights | DacWeights, codebooks: int) -> EncodecWeights | DacWeights:
    there = weights.codebooks
    if codebooks > there:
        raise RequestError(ErrorCode.MALFORMED, "transformer_lm.n_q", codebooks, f"up to {there}, as the codec has")
    if codebooks in (0, there):
        return weights
    if isinstance(weights, DacWeights):
        return replace(weights, codebooks=codebooks, codebook_dims=weights.codebook_dims[:codebooks])
    return replace(weights, codebooks=codebooks)


def _pointed(folder: Path, source: Pointer) -> tuple[EncodecWeights | DacWeights, tuple[Path, ...]]:
    """What a file points to: a folder in the checkpoint's that is called so, else a codec of the catalogue or the hub."""
    from engine.checkpoints.codecs import find_codec, read_codec

    places = (folder / source.name, folder / source.name.split("/")[-1])
    path = next((place for place in places if place != folder and place.is_dir()), None) or find_codec(source.name)
    weights = read_codec(path)
    if isinstance(weights, Path):
        raise RequestError(ErrorCode.UNSUPPORTED, "pretrained", source.name, "an EnCodec or a DAC")
    files = [path] if path.is_file() else [file for pattern in _WEIGHT_FILES for file in sorted(path.glob(pattern))]
    own = folder / CODEC_FILE
    return weights, (*([own] if own.is_file() else []), *files)


class _Names(Mapping[str, Tensor]):
    """A codec's weights by transformers' names, which the runtime asks for; remembers which of them it has asked for."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = {name: tensor for name, tensor in weights.items() if not _OF_TRAINING.search(name)}
        self._names = {next(iter(renamed({name: tensor}))): name for name, tensor in self._weights.items()}
        self._asked_for: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self._asked_for.add(name)
        tensor = self._weights[self._names[name]]
        if not are_numbers(tensor):
            raise RequestError(ErrorCode.MALFORMED, name, "NaN or infinity", "weights that are numbers")
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def original(self, name: str) -> str:
        """AudioCraft's name; of what it lacks, the one that it would have."""
        if name in self._names:
            return self._names[name]
        name = re.sub(r"^(encoder|decoder)\.layers\.", r"\1.model.", name)
        name = re.sub(r"^quantizer\.layers\.(\d+)\.codebook\.", r"quantizer.vq.layers.\1._codebook.", name)
        return re.sub(r"(\.model\..*?)\.(conv|norm)\.([^.]+)$", r"\1.conv.\2.\3", name)

    @property
    def further(self) -> list[str]:
        """AudioCraft's names of those that nobody has asked for."""
        return sorted(self._names[name] for name in self._names if name not in self._asked_for)
