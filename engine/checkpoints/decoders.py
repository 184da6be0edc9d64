"""Decoders in the place of a codec's own: what a request may name, and where each comes from.

A decoder is named by a text: its name, and options behind it, as in ``multiband-diffusion window=2 steps=10``. ``codec`` is the
codec's own; ``multiband-diffusion`` is AudioCraft's; any other name is that of an entry point in the group
``daw_bridge.decoders``, a callable ``(codec, options) -> decoder``; see `engine.runtime.decoders.Decoder`.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from engine.checkpoints import plugins
from protocols.catalogue import DECODERS
from protocols.errors import ErrorCode, RequestError

if TYPE_CHECKING:
    from engine.runtime.audio_codec import AudioCodec
    from engine.runtime.decoders import Decoder
    from engine.runtime.diffusion.multi_band import MultiBandDiffusion

CODEC = "codec"
"""The name of the codec's own decoder."""
MULTI_BAND = "multiband-diffusion"
FINGERPRINT = "fingerprint"
"""The option that only a decoder with this content meets: takes are made again by the same weights."""

_SHORT = 16


@dataclass(frozen=True)
class DecoderName:
    """A decoder as a request names it.

    Attributes:
        name: of the decoder.
        options: by name, in order of their names.
    """

    name: str
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def read(cls, text: str) -> DecoderName:
        """Read ``name option=value …``; values with spaces stand between quotes.

        Raises:
            RequestError: ``malformed``.
        """
        try:
            name, options = plugins.read_request(text)
        except RequestError as error:
            raise RequestError(error.code, "decoder", error.value, error.allowed) from None
        return cls(name, tuple(sorted(options.items())))

    def without(self, option: str) -> DecoderName:
        """The same but for one option."""
        return DecoderName(self.name, tuple(pair for pair in self.options if pair[0] != option))

    def with_option(self, option: str, value: str) -> DecoderName:
        """The same with this option."""
        return DecoderName(self.name, tuple(sorted((*self.without(option).options, (option, value)))))

    def __str__(self) -> str:
        return " ".join((self.name, *(f"{key}={shlex.quote(value)}" for key, value in self.options)))


@dataclass(frozen=True)
class FoundDecoder:
    """A decoder that can run.

    Attributes:
        decoder: to begin streams with.
        fingerprint: of its weights; empty for one that has none, or does not tell.
        weight_bytes: what they take.
    """

    decoder: Decoder
    fingerprint: str = ""
    weight_bytes: int = 0


def installed() -> dict[str, plugins.Plugin]:
    """The decoders of other distributions, by name. Nothing of theirs is imported; those of built-in names are left out."""
    found = plugins.installed(plugins.DECODERS)
    return {name: plugin for name, plugin in found.items() if name not in (CODEC, MULTI_BAND)}


def usable(codec: AudioCodec) -> list[str]:
    """The names of decoders that a codec's codes can be given to, its own first; one that is installed is not asked yet."""
    released = [MULTI_BAND] if _released(codec) else []
    return [CODEC, *released, *sorted(installed())]


def find_decoder(
    wanted: DecoderName,
    codec: AudioCodec,
    check_path: Callable[[str], None] = lambda path: None,
    *,
    memory_limit_mb: int = 0,
) -> FoundDecoder:
    """Load a decoder.

    Args:
        wanted: which, and its options.
        codec: whose codes it is to decode.
        check_path: raises where files that the options name must not be read.
        memory_limit_mb: the most that the process may come to by loading it; 0 for all that is free.

    Raises:
        RequestError: ``no_memory`` where it would not fit; ``out_of_range`` for a name that is not known; ``not_downloaded`` or
            ``not_found`` for missing files; ``unsupported`` where it does not fit the codec, or has another fingerprint than is
            wanted; ``unknown_parameter`` for an option it does not have; ``malformed`` where another distribution's is broken.
    """
    from engine.runtime.decoders import CodecDecoder

    options = dict(wanted.options)
    fingerprint = options.pop(FINGERPRINT, "")
    if wanted.name == CODEC:
        _refuse_options(wanted, options, ())
        found = FoundDecoder(CodecDecoder(codec))
    elif wanted.name == MULTI_BAND:
        found = _multi_band(wanted, options, codec, check_path, memory_limit_mb)
    else:
        found = _from_entry_point(wanted, options, codec, check_path)
    if fingerprint and not found.fingerprint.startswith(fingerprint):
        here = found.fingerprint[:_SHORT] or "one without fingerprint"
        raise RequestError(ErrorCode.UNSUPPORTED, "decoder", fingerprint, f"{wanted.name} as it is here: {here}")
    return found


_loaded: WeakValueDictionary[tuple[str, float, str], MultiBandDiffusion] = WeakValueDictionary()
"""By path, time and device: decoders that differ in options share their weights."""


def _multi_band(
    wanted: DecoderName,
    options: Mapping[str, str],
    codec: AudioCodec,
    check_path: Callable[[str], None],
    memory_limit_mb: int,
) -> FoundDecoder:
    from engine.checkpoints.audiocraft.diffusion import load_diffusion
    from engine.checkpoints.bundle import fingerprint_of
    from engine.runtime.diffusion.schedule import USUAL_STEPS
    from engine.runtime.diffusion.stream import USUAL_OVERLAP, USUAL_WINDOW, MultiBandDecoder

    _refuse_options(wanted, options, ("source", "window", "overlap", "steps"))
    window = _number(wanted, options, "window", USUAL_WINDOW)
    overlap = _number(wanted, options, "overlap", min(USUAL_OVERLAP, window / 4))
    steps = _number(wanted, options, "steps", USUAL_STEPS)
    if not steps.is_integer():
        raise RequestError(ErrorCode.BAD_TYPE, "decoder.steps", steps, "a whole number")
    if not hasattr(codec, "embed"):
        raise _no_fit(codec, "a codec with latents that can be looked up, such as EnCodec")
    path = _multi_band_file(options.get("source", ""), codec, check_path)
    key = (str(path), path.stat().st_mtime, str(codec.device))
    models = _loaded.get(key)
    if models is None:
        _check_room(path, codec, memory_limit_mb)
        models = load_diffusion(path, codec.device)
        _loaded[key] = models
    if models.codebooks not in (None, codec.num_codebooks // _latents(codec)[1]):
        raise _no_fit(codec, f"a codec with {models.codebooks} codebooks per channel, for which {path.name} was made")
    looked_up: Any = codec
    try:
        decoder = MultiBandDecoder(models, looked_up, window=window, overlap=overlap, steps=int(steps))
    except RequestError as error:
        if error.field not in options:
            raise
        raise RequestError(error.code, f"decoder.{error.field}", error.value, error.allowed) from error
    return FoundDecoder(decoder, fingerprint_of([path]), models.parameters * 4)


def _multi_band_file(source: str, codec: AudioCodec, check_path: Callable[[str], None]) -> Path:
    """The package for a codec: the file or the folder that ``source`` names, or what was downloaded."""
    from engine.checkpoints import hub

    released = _released(codec)
    if source:
        check_path(source)
        path = Path(source).expanduser()
        if path.is_dir():
            path = path / (released or "mbd_….th")
        if not path.is_file():
            raise RequestError(ErrorCode.NOT_FOUND, "decoder.source", str(path), "a package of MultiBandDiffusion")
        return path
    if released is None:
        raise _no_fit(
            codec, "a codec of MusicGen, or EnCodec 24 kHz with 2, 4 or 8 codebooks; or a `source` of your own"
        )
    entry = DECODERS[MULTI_BAND if codec.sample_rate == DECODERS[MULTI_BAND].sample_rate else f"{MULTI_BAND}-24khz"]
    assert entry.hub_id is not None
    try:
        return hub.obtain(entry.hub_id, (released,)) / released
    except RequestError as error:
        if error.code is not ErrorCode.NOT_DOWNLOADED:
            raise RequestError(error.code, "decoder", error.value, error.allowed) from error
        command = f"daw-bridge models download {entry.name}"
        licence = entry.licence or "the hub tells its licence"
        allowed = f"a decoder that is on this disk; to download it ({licence}): {command}"
        raise RequestError(ErrorCode.NOT_DOWNLOADED, "decoder", entry.name, allowed) from error


def _check_room(path: Path, codec: AudioCodec, limit_mb: int) -> None:
    """Refuse weights that do not fit into memory, before any of them is loaded; the file is as large as they are."""
    from engine.checkpoints.headroom import device_memory

    room, size = device_memory(str(codec.device), limit_mb), path.stat().st_size
    if size > room.bytes:
        allowed = f"a decoder that fits into the {room.bytes / 1e9:.1f} GB {room.bound}, or codec"
        raise RequestError(ErrorCode.NO_MEMORY, "decoder", f"{path.name}, {size / 1e9:.1f} GB", allowed)


def _released(codec: AudioCodec) -> str | None:
    """The released file for a codec's codes; None: none is."""
    from engine.checkpoints.audiocraft.diffusion import LATENT_SIZE, file_for

    size, runs = _latents(codec)
    return file_for(codec.sample_rate, codec.num_codebooks // runs) if size == LATENT_SIZE else None


def _latents(codec: AudioCodec) -> tuple[int, int]:
    """The size of a codec's latents, and how often it runs per stream; 0 and 1 for one whose latents cannot be looked up."""
    embed: Any = getattr(codec, "embed", None)
    if embed is None:
        return 0, 1
    import torch

    nothing = torch.zeros(1, codec.num_codebooks, 1, dtype=torch.long, device=codec.device)
    runs, _, size = embed(nothing).shape
    return size, runs


def _from_entry_point(
    wanted: DecoderName, options: Mapping[str, str], codec: AudioCodec, check_path: Callable[[str], None]
) -> FoundDecoder:
    """The decoder of another distribution; whatever goes wrong in it is told, by its name."""
    known = installed()
    if wanted.name not in known:
        raise RequestError(ErrorCode.OUT_OF_RANGE, "decoder", wanted.name, ", ".join(usable(codec)))
    for value in options.values():
        if "/" in value or "\\" in value:
            check_path(value)
    plugin = known[wanted.name]
    decoder = plugin.call(codec, dict(options))
    try:
        fingerprint = str(getattr(decoder, "fingerprint", ""))
        size = int(getattr(decoder, "weight_bytes", 0))
        context, lookahead = int(decoder.context_frames), int(decoder.lookahead_samples)
        if not callable(decoder.stream) or context < 0 or lookahead < 0:
            raise TypeError("no method `stream`, or numbers below 0")
    except Exception as error:  # properties of other people's code
        raise plugin.broken(f"{type(error).__name__}: {error}"[:200]) from error
    return FoundDecoder(decoder, fingerprint, max(0, size))


def _refuse_options(wanted: DecoderName, options: Iterable[str], known: tuple[str, ...]) -> None:
    for name in options:
        if name not in known:
            allowed = f"{wanted.name} has the options {', '.join(known)}" if known else f"{wanted.name} has no options"
            raise RequestError(ErrorCode.UNKNOWN_PARAMETER, f"decoder.{name}", name, allowed)


def _number(wanted: DecoderName, options: Mapping[str, str], name: str, usual: float) -> float:
    text = options.get(name)
    try:
        number = float(usual) if text is None else float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RequestError(ErrorCode.BAD_TYPE, f"decoder.{name}", text, "a number")
    return number


def _no_fit(codec: AudioCodec, allowed: str) -> RequestError:
    facts = f"codes of {codec.num_codebooks} codebooks at {codec.sample_rate} Hz"
    return RequestError(ErrorCode.UNSUPPORTED, "decoder", facts, allowed)
