"""Codecs in memory for jobs: loaded when a job needs one, a few at a time, given back when none was needed for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from audio_files.bit_packing import bits_of
from engine.coding.weighing import bytes_held
from engine.memory import MB, hand_back
from engine.runtime.audio_codec import AudioCodec
from protocols.codec_messages import CodecInfo
from protocols.errors import ErrorCode, RequestError

MOST_CODECS = 3
IDLE_SECONDS = 300.0

Load = Callable[[str, torch.device, int], AudioCodec]
"""Loads a codec by name, folder or hub id, for so many channels; 0 for as many as it has. Raises RequestError."""


@dataclass(frozen=True)
class KeptCodec:
    """A codec that jobs can use.

    Attributes:
        name: what it was asked for as; a name, a folder or a hub id.
        codec: itself.
        weights_mb: what its weights take; 0 for the loaded model's own.
    """

    name: str
    codec: AudioCodec
    weights_mb: float = 0.0

    @property
    def info(self) -> CodecInfo:
        """What clients are told about it."""
        codec = self.codec
        rate = float(codec.frame_rate)
        return CodecInfo(
            name=self.name,
            fingerprint=codec.fingerprint,
            sample_rate=codec.sample_rate,
            channels=codec.channels,
            frame_rate=round(rate, 4),
            codebooks=codec.num_codebooks,
            card=codec.card,
            kbps=round(rate * bits_of(codec.card) * codec.num_codebooks / 1000, 3),
            memory_mb=self.weights_mb,
        )


class Shelf:
    """Keeps a few codecs. For one thread, but for `infos`, which any may ask.

    Args:
        load: loads a codec.
        device: where those that are loaded compute.
        known: a name that codes have in their header to a name that `load` takes; "" for one that must not be loaded unasked.
        most: codecs that are kept.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        load: Load,
        device: torch.device,
        known: Callable[[str], str] = lambda name: name,
        most: int = MOST_CODECS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._device = device
        self._known = known
        self._most = most
        self._clock = clock
        self._kept: dict[tuple[str, int], tuple[KeptCodec, float]] = {}
        self.infos: tuple[CodecInfo, ...] = ()

    @property
    def weights_mb(self) -> float:
        """What the weights of those take that were loaded for jobs (any thread)."""
        return sum((info.memory_mb for info in self.infos), 0.0)

    def find(self, name: str, own: KeptCodec | None, channels: int = 0) -> KeptCodec:
        """The codec of this name, loaded if need be; empty for ``own``, the loaded model's, which is shared and costs nothing.

        Raises:
            RequestError: MISSING for an empty name while there is no model; as the loader does.
        """
        wanted = name.strip()
        fits = own is not None and channels in (0, own.codec.channels)
        if own is not None and fits and wanted in ("", own.name):
            return own
        if own is not None and not wanted:
            allowed = f"{own.codec.channels}, as {own.name} has; name another codec"
            raise RequestError(ErrorCode.UNSUPPORTED, "channels", channels, allowed)
        if not wanted:
            raise RequestError(ErrorCode.MISSING, "codec", None, "a codec's name, a folder or owner/name on the hub")
        return self._find(wanted, channels)

    def find_made(self, header_name: str, fingerprint: str, own: KeptCodec | None, channels: int) -> KeptCodec:
        """The codec that made codes: one that is in memory, or else the one of that name, where it may be loaded unasked.

        Raises:
            RequestError: MISSING for a name that says nothing here; as the loader does.
        """
        there = [kept for kept, _ in self._kept.values()]
        for kept in (*there, own) if own is not None else there:
            if fingerprint and (kept.codec.fingerprint, kept.codec.channels) == (fingerprint, channels):
                return kept
        name = self._known(header_name)
        if not name:
            allowed = "the codec that these codes were made with, as the request's codec"
            raise RequestError(ErrorCode.MISSING, "codec", header_name, allowed)
        return self._find(name, channels)

    def drop_idle(self) -> None:
        """Give back those that no job needed for a while."""
        oldest = self._clock() - IDLE_SECONDS
        idle = [key for key, (_, used) in self._kept.items() if used < oldest]
        for key in idle:
            del self._kept[key]
        self._tell()
        if idle:
            hand_back()

    def _find(self, name: str, channels: int) -> KeptCodec:
        same = (
            key for key, (kept, _) in self._kept.items() if key[0] == name and channels in (key[1], kept.codec.channels)
        )
        key = next(same, (name, channels))
        kept = self._kept[key][0] if key in self._kept else None
        if kept is None:
            while len(self._kept) >= self._most:
                stalest = min(self._kept, key=lambda other: self._kept[other][1])
                del self._kept[stalest]
            codec = self._load(name, self._device, channels)
            kept = KeptCodec(name, codec, round(bytes_held(codec) / MB, 1))
        self._kept[key] = kept, self._clock()
        self._tell()
        return kept

    def _tell(self) -> None:
        self.infos = tuple(kept.info for kept, _ in self._kept.values())
