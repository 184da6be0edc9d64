"""How much memory a model will need, told from the catalogue, or from a folder's configs and the directories of its files.

No weight is read. A model is refused by this before it is loaded, so it errs on the large side: by what lies between a formula and
an allocator, not more. What the process needs anyway (Python, torch and its libraries) is not in it.
"""

from __future__ import annotations

import json
import math
import mmap
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from engine.checkpoints import hub
from engine.checkpoints.audiocraft.pickles import PickleError, PickleReader
from protocols.catalogue import EVERYTHING, CatalogueEntry, LMShape

MARGIN = 1.05
"""What an allocator takes beyond what it is asked for."""
WORK_BYTES = 64 << 20
"""What one step and the codec's stream take while they compute, beside weights and caches."""
POSITIONS = 2048
"""Rows of the table of positions, where a checkpoint does not say."""

_PLAIN = {"float32": 4, "float16": 2, "bfloat16": 2}
_ROUNDED = {"int8": 1.04, "int4": 0.75}
"""Bytes of a weight in few bits, with its share of the scales."""
_FRAME_RATE = 50
_ROWS = 2
_SESSIONS = 2
_MOST_NUMBERS = 1 << 44
_MOST_POSITIONS = 1 << 16
_MOST_HEADER = 100 << 20
_MOST_PICKLE = 64 << 20
_T5_BASE, _T5_LARGE, _ENCODEC = 109_628_544, 334_939_648, 58_633_410
_T5 = {"t5-base": _T5_BASE, "t5-large": _T5_LARGE, "google/flan-t5-base": _T5_BASE, "google/flan-t5-large": _T5_LARGE}


@dataclass(frozen=True)
class Footprint:
    """What a model is made of, counted in numbers.

    Attributes:
        weights: of the network in the chosen precision.
        others: of codec, text encoder and whatever else is kept in single precision.
        cache: what one stream keeps of what it has heard, for a guided window and for the next one, which is heard ahead.
        tables: those of ``weights`` that are no matrices, which few bits leave as they are.
    """

    weights: int
    others: int
    cache: int = 0
    tables: int = 0

    def precision(self, device: str, asked: str = "auto") -> str:
        """What ``auto`` comes to: on a CPU ``int8`` for what samples frame by frame, so keeps caches. Others are what they are."""
        if asked != "auto":
            return asked
        if device.startswith("cpu"):
            return "int8" if self.cache else "float32"
        return "float16"

    def bytes(self, device: str, precision: str) -> int:
        """Memory on a device: with one stream that plays, or while the model is loaded where that takes more.

        Args:
            device: ``cpu``, ``cuda`` or ``mps``; a CPU keeps caches in single precision in any case.
            precision: a name of `engine.checkpoints.devices.PRECISIONS`, or ``auto``.
        """
        cpu, precision = device.startswith("cpu"), self.precision(device, precision)
        usual = 4 if cpu else 2
        plain = _PLAIN.get(precision, usual)
        kept = _ROUNDED.get(precision, plain)
        playing = (self.weights - self.tables) * kept + self.tables * plain + self.cache * (4 if cpu else plain)
        # What was read is let go of matrix by matrix, as each is packed; the file may hold them in full.
        loading = self.weights * plain
        return math.ceil((max(playing, loading) + self.others * 4) * MARGIN) + WORK_BYTES


def of_entry(entry: CatalogueEntry) -> Footprint | None:
    """Of a model of the catalogue; None where its shape is not known."""
    if entry.folder is not None:
        return of_folder(entry.folder)
    if entry.shape is None:
        return Footprint(entry.lm_parameters, entry.other_parameters) if entry.lm_parameters else None
    frames = int(entry.window * _FRAME_RATE)
    return Footprint(
        entry.shape.parameters + POSITIONS * entry.shape.dim,
        entry.other_parameters,
        _cache(entry.shape, frames),
        POSITIONS * entry.shape.dim + entry.shape.codebooks * (entry.shape.card + 1) * entry.shape.dim,
    )


def of_folder(folder: Path, text_encoder: str = "") -> Footprint | None:
    """Of a checkpoint in a folder, in any layout; None where the folder does not tell: then loading says what is wrong with it.

    Args:
        folder: of the checkpoint.
        text_encoder: folder of the text encoder of a checkpoint in AudioCraft's layout, where it is not the one it names.
    """
    try:
        found = _of_config(folder) if (folder / "config.json").is_file() else _of_audiocraft(folder, text_encoder)
    except Exception:  # a damaged file surfaces as any of a dozen types; loading is what names them
        return None
    # Shapes that no machine has memory for are damage, too.
    possible = found.weights > 0 <= found.others and found.weights + found.others + found.cache < _MOST_NUMBERS
    return found if possible else None


def sizes_in(path: Path) -> dict[str, int]:
    """How many numbers each tensor of a file has, from its directory alone.

    Raises:
        ValueError, OSError, LookupError: a file that is damaged, or of another kind.
    """
    if path.suffix == ".safetensors":
        return {name: math.prod(shape) for name, shape in _safetensors_shapes(path)}
    return dict(_named_sizes(directory_of(path)))


def _cache(shape: LMShape, frames: int) -> int:
    if not shape.caches:
        return 0
    return _SESSIONS * _ROWS * 2 * shape.layers * shape.dim * frames


def _of_config(folder: Path) -> Footprint:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    decoder, own = config["decoder"], config.get("daw_bridge", {})
    weights = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    numbers = others = tables = 0
    for path in weights:
        for name, size in sizes_in(path).items():
            if name.startswith(("decoder.", "enc_to_dec_proj.", "audio_enc_to_dec_proj.", "score.")):
                numbers += size
                tables += size if ".embed_tokens." in name else 0
            else:
                others += size
    if not numbers:
        raise ValueError("no weights of a decoder")
    if isinstance(own.get("codec"), str):
        others += sum(
            size for path in (folder / own["codec"]).glob("*.safetensors") for size in sizes_in(path).values()
        )
    longest, dim = int(decoder["max_position_embeddings"]), int(decoder["hidden_size"])
    if not 0 < longest <= _MOST_POSITIONS:
        raise ValueError(f"{longest} positions")
    frames = min(int(float(own.get("window_seconds", 30)) * _FRAME_RATE), longest)
    shape = LMShape(dim, int(decoder["num_hidden_layers"]), 1)
    cache = _cache(shape, frames + int(config.get("chroma_length") or 0))
    return Footprint(numbers + longest * dim, others, cache, tables + longest * dim)


def _of_audiocraft(folder: Path, text_encoder: str) -> Footprint:
    from engine.checkpoints.audiocraft.config import Config

    path = next(path for name in ("state_dict.bin", "checkpoint.th") if (path := folder / name).is_file())
    content = directory_of(path)
    state = content["best_state"]
    state = state.get("model", state)
    # Windows and filters of a melody's spectrum are stored beside the weights, and made anew by whoever needs them.
    sizes = {name: size for name, size in _named_sizes(state) if ".chroma." not in name}
    numbers, tables = sum(sizes.values()), sum(size for name, size in sizes.items() if name.startswith("emb."))
    config = Config.read(content["xp.cfg"])
    lm = config.section("transformer_lm")
    seconds = config.section("dataset").number("segment_duration", 30.0)
    shape = LMShape(
        lm.whole("dim"), lm.whole("num_layers"), 1, caches=config.text("lm_model", "transformer_lm") == "transformer_lm"
    )
    others = _codec_numbers(folder) + _text_numbers(config, folder, text_encoder)
    positions = POSITIONS * shape.dim
    return Footprint(numbers + positions, others, _cache(shape, int(seconds * _FRAME_RATE)), tables + positions)


def _codec_numbers(folder: Path) -> int:
    path = folder / "compression_state_dict.bin"
    if not path.is_file():
        return _ENCODEC
    content = directory_of(path)
    if (pointed := content.get("pretrained")) is None:
        return sum(size for _, size in _named_sizes(content["best_state"]))
    known = next((entry.lm_parameters for entry in EVERYTHING.values() if entry.hub_id == pointed), 0)
    return known or _ENCODEC


def _text_numbers(config: Any, folder: Path, text_encoder: str) -> int:
    """Of the text encoder that a checkpoint names: from its folder where there is one, else as it is known."""
    conditioners = config.section("conditioners", optional=True)
    if "description" not in conditioners:
        return 0
    name = conditioners.section("description").section("t5", optional=True).text("name", "")
    for place in (
        Path(text_encoder) if text_encoder else None,
        folder / name,
        hub.located(name) if name else None,
    ):
        if name and place is not None and (weights := sorted(place.glob("*.safetensors"))):
            # A whole T5 has a decoder too, which is not loaded.
            sizes = (item for path in weights for item in sizes_in(path).items())
            return sum(size for key, size in sizes if not key.startswith(("decoder.", "lm_head.")))
    return _T5.get(name, 0)


def _safetensors_shapes(path: Path) -> Iterator[tuple[str, list[int]]]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_MOST_HEADER, path.stat().st_size):
            raise ValueError("a header that does not fit the file")
        header = json.loads(file.read(length))
    for name, facts in header.items():
        if name != "__metadata__":
            yield name, facts["shape"]


@dataclass(frozen=True)
class _Storage:
    numbers: int


def directory_of(path: Path) -> dict[str, Any]:
    """What torch saved in a file, with a count in place of each tensor. Nothing in it is run; see `PickleReader`.

    Raises:
        ValueError, OSError, LookupError: a file that is damaged, or of another kind.
    """
    try:
        with path.open("rb") as file:
            archived = file.read(2) == b"PK"
            content = _reader(_archived_pickle(path)).load() if archived else _old_value(file)
    except (PickleError, zipfile.BadZipFile) as error:
        raise ValueError(str(error)) from error
    if not isinstance(content, dict):
        raise ValueError("no dictionary")
    return content


def _archived_pickle(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        entry = next((entry for entry in archive.infolist() if entry.filename.split("/")[-1] == "data.pkl"), None)
        if entry is None or entry.file_size > _MOST_PICKLE or entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError("no directory of tensors")
        return archive.read(entry)


def _old_value(file: BinaryIO) -> Any:
    """Of torch before 1.6: a magic number, the protocol, facts of the system and the value, each a pickle; then the numbers."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content, memoryview(content) as view:
        reader = _reader(view)
        return [reader.load() for _ in range(4)][-1]


def _reader(data: bytes | memoryview) -> PickleReader:
    def tensor(storage: Any, offset: Any, size: tuple[int, ...], *_: Any) -> _Storage:
        return _Storage(math.prod(size))

    builders: dict[str, Callable[..., Any]] = {
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_parameter": lambda data, *_: data,
        "collections.OrderedDict": lambda *_: {},
    }
    return PickleReader(data, allowed=lambda name: True, builders=builders, persistent=lambda key: None)


def _named_sizes(state: Mapping[Any, Any]) -> Iterator[tuple[str, int]]:
    """The tensors of a state, however deep they lie in it, and each mapping once."""
    waiting: list[tuple[str, Any]] = [("", state)]
    seen: set[int] = set()
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, _Storage):
            yield name, value.numbers
        elif isinstance(value, Mapping) and id(value) not in seen:
            seen.add(id(value))
            waiting += [(f"{name}.{key}" if name else str(key), part) for key, part in value.items()]
