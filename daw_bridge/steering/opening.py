"""How a stream is to be steered, from what a host asks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from audio_files.regions import read_region
from daw_bridge.steering.character import BAR_SECONDS, Sampling
from daw_bridge.steering.governor import FROM_THE_START, Setting
from daw_bridge.steering.reference import Reference
from daw_bridge.steering.steered import Steering, loudness_of, names_file
from protocols.bridge_messages import PlayOpen
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Welcome
from protocols.metre import read_metre
from protocols.settings import FileSettings

_LEAST_LUFS, _MOST_LUFS = -60.0, -6.0
_BEATS_PER_BAR = 4


def steering_of(request: PlayOpen, bpm: float, welcome: Welcome, files: FileSettings) -> Steering:
    """How an endless stream is to be steered (any thread).

    Args:
        request: of the host.
        bpm: its tempo; 0 where fields do not tell it.
        welcome: the engine's facts.
        files: where files may lie.

    Raises:
        RequestError: as `setting_of`.
    """
    setting = replace(FROM_THE_START, on=False)
    if request.govern:
        setting = setting_of(request.reference, 0.0, 0.0, welcome, files)
    beats = float(read_metre(request.metre).beats_per_bar) if request.metre.strip() else _BEATS_PER_BAR
    return Steering(
        setting,
        lock=request.lock and request.sound and request.at != "now",
        sampling=Sampling(request.temperature, request.top_k, request.guidance),
        seed=max(0, request.seed),
        bar_seconds=beats * 60 / bpm if bpm else BAR_SECONDS,
    )


def setting_of(
    reference: str, start: float, length: float, welcome: Welcome, files: FileSettings, on: bool | None = True
) -> Setting:
    """What a reference means (any thread).

    Args:
        reference: as the request tells it.
        start: of the region in seconds, where it is a file.
        length: of the region in seconds; 0 for all.
        welcome: the engine's facts.
        files: where files may lie.
        on: whether to govern.

    Raises:
        RequestError: OUT_OF_RANGE for a loudness; as `read_region` and `Reference.of_sound`.
    """
    lufs = loudness_of(reference)
    if lufs is None and not names_file(reference):
        return replace(FROM_THE_START, on=on)
    if lufs is not None:
        if not _LEAST_LUFS <= lufs <= _MOST_LUFS:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE, "reference", reference, f"{_LEAST_LUFS:g} to {_MOST_LUFS:g} LUFS"
            )
        return Setting(on, Reference(lufs))
    region = read_region(
        reference,
        start_seconds=start,
        length_seconds=length or None,
        sample_rate=welcome.sample_rate,
        channels=welcome.channels,
        allowed_folders=files.allowed_folders,
        max_seconds=files.max_region_s,
    )
    return Setting(on, Reference.of_sound(np.ascontiguousarray(region.audio.T), welcome.sample_rate))
