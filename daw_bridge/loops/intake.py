"""Loops from files and into files: both beside the bridge's thread."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from audio_files.regions import read_region
from audio_files.takes import TakeWriter
from daw_bridge.loops.take import CHANNELS, TAIL_S, Take, TakeFile
from protocols.errors import ErrorCode, RequestError
from protocols.loop_messages import MAX_LOOP_SECONDS
from protocols.settings import FileSettings
from protocols.units import seconds_to_samples


def read_loop(
    files: FileSettings,
    path: str,
    start: float,
    length: float,
    bars: int,
    *,
    rate: int,
    beats_per_bar: int,
    bpm: Fraction,
) -> Take:
    """A region of a file as a loop, with what the file holds beyond it as its tail (any thread).

    Args:
        files: where it may lie.
        path: the file.
        start: of the region, seconds.
        length: of the region, seconds; 0 for the rest of the file.
        bars: how many these are; 0 for as many as they are at the tempo, to the nearest.
        rate: wanted, Hz.
        beats_per_bar: of the clock.
        bpm: of the clock.

    Raises:
        RequestError: as `read_region`; TOO_LONG beyond `MAX_LOOP_SECONDS`.
    """
    tail = TAIL_S if length else 0.0
    region = read_region(
        path,
        start_seconds=start,
        length_seconds=length + tail if length else None,
        sample_rate=rate,
        channels=CHANNELS,
        allowed_folders=files.allowed_folders,
        max_seconds=MAX_LOOP_SECONDS + tail,
    )
    sound = np.ascontiguousarray(region.audio.T)
    frames = min(seconds_to_samples(length, rate), len(sound)) if length else len(sound)
    if not frames:
        raise RequestError(ErrorCode.EMPTY, "length", length, "a region with sound in it")
    seconds = Fraction(frames, rate)
    whole = round(seconds * bpm / 60 / beats_per_bar)
    take = Take(region.path.stem, sound, frames, (bars or max(1, whole)) * beats_per_bar, rate)
    take.file = TakeFile(region.path, start, float(seconds))
    return take


def write_take(take: Take, folder: Path, made: dict[str, object]) -> TakeFile:
    """Write a recorded take, its tail too, as floats that nothing clips, with a sidecar (any thread).

    Raises:
        RequestError: as `TakeWriter`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    samples = take.samples
    with TakeWriter(folder, take.name, sample_rate=take.rate, channels=samples.shape[1], subtype="FLOAT") as writer:
        writer.write(samples)
        written = writer.finish({"loop": {**made, "beats": take.beats, "samples": take.length}})
    return TakeFile(written.path, 0.0, take.length / take.rate)
