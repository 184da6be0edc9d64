"""The decoders of one loaded model: loaded when they are first asked for, timed, and kept for the streams that come."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch

from audio_files.locations import is_inside
from engine.checkpoints.bundle import ModelBundle
from engine.checkpoints.decoders import CODEC, FINGERPRINT, DecoderName, FoundDecoder, find_decoder, usable
from engine.runtime.audio_codec import AudioCodec, DecoderStream
from engine.runtime.decoders import PiecewiseStream
from protocols.errors import ErrorCode, RequestError
from protocols.settings import FileSettings, Settings

log = structlog.get_logger()

_MOST_KEPT = 4
_TIMED_S = 0.5
"""How long a decoder is timed at most, or for one piece of its work if that takes longer."""
_TIMED_CHUNK = 4
_FINGERPRINT = 16


@dataclass(frozen=True)
class ReadyDecoder:
    """A decoder that streams can be decoded with.

    Attributes:
        name: with its options and, where it has weights, their fingerprint: names exactly this one.
        found: the decoder.
        realtime: seconds of sound that it makes per second of work; 0 where that could not be told.
    """

    name: DecoderName
    found: FoundDecoder
    realtime: float = 0.0

    @property
    def is_codec(self) -> bool:
        """Whether it is the codec's own."""
        return self.name.name == CODEC

    @property
    def note(self) -> str:
        """What whoever plays it should know, in words."""
        if not 0 < self.realtime < 1:
            return ""
        return (
            f"{self.name.name} makes {self.realtime:.2g} s of sound a second here: slower than it plays, so that a stream is "
            "there to be written rather than heard"
        )


class Decoders:
    """Decoders for a model's codes. Any thread; loading takes place on the thread that asks for what is not there yet.

    Args:
        codec: the model's.
        check_path: raises where a request names files that it must not.
        default: of streams that name none.
        only_codec: whether the model makes latents rather than codes, which its codec alone can decode.
        memory_limit_mb: the most that the process may come to by loading one; 0 for all that is free.

    Raises:
        RequestError: as `load`, for the default.
    """

    def __init__(
        self,
        codec: AudioCodec,
        check_path: Callable[[str], None] = lambda path: None,
        default: str = CODEC,
        *,
        only_codec: bool = False,
        memory_limit_mb: int = 0,
    ) -> None:
        self._codec = codec
        self._memory_limit_mb = memory_limit_mb
        self._check_path = check_path
        self._lock = threading.Lock()
        self._kept: OrderedDict[DecoderName, ReadyDecoder] = OrderedDict()
        self._usable = [CODEC] if only_codec else usable(codec)
        self._only_codec = only_codec
        own = DecoderName(CODEC)
        self._own = ReadyDecoder(own, find_decoder(own, codec))
        self._default = self._own
        if default and default != CODEC:
            # Whoever runs the engine may name any file.
            self._default = self._loaded(DecoderName.read(default), lambda path: None)

    @classmethod
    def of(cls, bundle: ModelBundle, settings: Settings, wanted: str = "") -> Decoders:
        """Those of a model.

        Args:
            bundle: the model.
            settings: which decoder is used where a request names none, and where files may lie.
            wanted: the decoder in place of that of the settings. That one is a wish: a model that it does not fit has its codec's.

        Raises:
            RequestError: as `load`.
        """

        def make(default: str) -> Decoders:
            return cls(
                bundle.codec,
                path_check(settings.files),
                default,
                only_codec=bundle.flow is not None,
                memory_limit_mb=settings.engine.memory_limit_mb,
            )

        if wanted:
            return make(wanted)
        try:
            return make(settings.engine.decoder)
        except RequestError as error:
            if error.code is not ErrorCode.UNSUPPORTED:
                raise
            log.warning("the decoder of the settings does not fit the model", model=bundle.name, error=error.text)
            return make(CODEC)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that can be asked for; that of the default comes first."""
        first = self._default.name.name
        return (first, *(name for name in self._usable if name != first))

    @property
    def weight_bytes(self) -> int:
        """What the weights of all that is kept take; those that several share count once."""
        decoders = [self._default, *list(self._kept.values())]
        return sum({ready.found.fingerprint: ready.found.weight_bytes for ready in decoders}.values())

    def is_ready(self, text: str) -> bool:
        """Whether `load` returns at once.

        Raises:
            RequestError: ``malformed``.
        """
        return not text or self._ready(DecoderName.read(text)) is not None

    def load(self, text: str) -> ReadyDecoder:
        """The decoder that a request names; loaded, which takes a while, where it is not there yet.

        Raises:
            RequestError: as `find_decoder`.
        """
        if not text.strip():
            return self._default
        name = DecoderName.read(text)
        with self._lock:
            ready = self._ready(name)
            if ready is None:
                ready = self._loaded(name, self._check_path)
            if ready not in (self._own, self._default):
                self._kept[name] = ready
                self._kept.move_to_end(name)
                while len(self._kept) > _MOST_KEPT:
                    self._kept.popitem(last=False)
            return ready

    def _ready(self, name: DecoderName) -> ReadyDecoder | None:
        if name == self._own.name:
            return self._own
        if name in (self._default.name, self._default.name.without(FINGERPRINT)):
            return self._default
        kept = list(self._kept.items())
        return next((ready for key, ready in kept if name in (key, ready.name)), None)

    def _loaded(self, name: DecoderName, check_path: Callable[[str], None]) -> ReadyDecoder:
        if self._only_codec:
            raise RequestError(
                ErrorCode.UNSUPPORTED, "decoder", name.name, f"{CODEC}: the model makes latents, not codes"
            )
        began = time.monotonic()
        found = find_decoder(name, self._codec, check_path, memory_limit_mb=self._memory_limit_mb)
        if found.fingerprint:
            name = name.with_option(FINGERPRINT, found.fingerprint[:_FINGERPRINT])
        realtime = _realtime(found, self._codec, name.name)
        seconds = round(time.monotonic() - began, 2)
        log.info("decoder loaded", decoder=str(name), seconds=seconds, realtime=round(realtime, 2))
        return ReadyDecoder(name, found, realtime)


def path_check(files: FileSettings) -> Callable[[str], None]:
    """What refuses files that no client may name: those outside the allowed folders."""

    def check(name: str) -> None:
        try:
            path = Path(name).expanduser().resolve()
            allowed = any(is_inside(path, parent) for parent in files.allowed_folders)
        except (OSError, RuntimeError, ValueError):  # a name that no file system takes, or the home of nobody
            allowed = False
        if not allowed:
            folders = ", ".join(map(str, files.allowed_folders))
            raise RequestError(ErrorCode.NOT_ALLOWED, "decoder.source", name, f"a file inside: {folders}")

    return check


@torch.inference_mode()
def _realtime(found: FoundDecoder, codec: AudioCodec, name: str) -> float:
    """Try a decoder out: how many seconds of sound it makes per second of work.

    Raises:
        RequestError: ``unsupported`` when it fails.
    """
    try:
        stream = found.decoder.stream()
        if isinstance(stream, PiecewiseStream):
            return _time_pieces(stream, codec)
        return _time_stream(stream, codec)
    except RequestError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise RequestError(
            ErrorCode.UNSUPPORTED, "decoder", name, f"a decoder that runs; it failed with {reason}"
        ) from error


def _codes(codec: AudioCodec, frames: int) -> torch.Tensor:
    return torch.zeros(codec.num_codebooks, frames, dtype=torch.long, device=codec.device)


def _time_pieces(stream: PiecewiseStream, codec: AudioCodec) -> float:
    """Time some pieces of a window."""
    window = stream.window_frames
    stream.take(_codes(codec, 2 * window))
    spent, timed = 0.0, 0
    for piece in range(stream.pieces_per_window):
        began = time.perf_counter()
        stream.work()
        if piece:  # the first one pays for kernels and allocations
            spent, timed = spent + time.perf_counter() - began, timed + 1
        if spent >= _TIMED_S:
            break
    work = spent / max(timed, 1) * stream.pieces_per_window
    return stream.reserve_samples / codec.sample_rate / work if work else 0.0


def _time_stream(stream: DecoderStream, codec: AudioCodec) -> float:
    """Time a stream that takes all that it is given; one that gives the wrong amount of sound is refused."""
    spent, frames = 0.0, 0
    while frames < 4 * _TIMED_CHUNK or (spent < _TIMED_S and frames < codec.frame_rate):
        began = time.perf_counter()
        stream.decode(_codes(codec, _TIMED_CHUNK))
        spent, frames = spent + time.perf_counter() - began, frames + _TIMED_CHUNK
    began = time.perf_counter()
    stream.flush()
    spent += time.perf_counter() - began
    if stream.samples_done != frames * codec.hop_length:
        raise ValueError(f"{stream.samples_done} samples came of {frames} frames, not {frames * codec.hop_length}")
    return frames / float(codec.frame_rate) / spent if spent else 0.0
