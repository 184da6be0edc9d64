"""An endless stream for a long time, at full speed: whether it grows loud, quiet or mushy, with the governor and without, and
whether the process grows.

A stream of a real engine is taken as fast as it comes, and goes through the bridge's governor, whose steersman changes it as it
would live. (A model in this process will do, too, for trials.) What comes out is measured by others than the governor: pyloudnorm
and the evaluation's onsets. The raw sound that is measured beside it is that of the same stream, steered too, unless ``steered``
is off.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import psutil
import pyloudnorm
import torch
from numpy.typing import NDArray

from audio_files.measure import measure
from benchmarks._engine_line import EngineLine
from benchmarks._figures import table
from benchmarks._machine import describe_machine, load
from benchmarks._rig import Rig, rig
from daw_bridge.steering.character import Character, Sampling, Steer, Steersman
from daw_bridge.steering.governor import FROM_THE_START, Governor
from engine.admission import Admission
from engine.changes import Change
from engine.checkpoints.bundle import ModelBundle
from engine.conditioning.words import Directions
from engine.evaluation.onsets import onset_rate, onset_strength
from engine.preparation import Preparation
from engine.stream import AudioBlock
from protocols.messages import Acknowledge, AudioHeader, Ended, Open, Opened
from protocols.settings import Settings

PROMPT, BPM = "happy disco in C major", 120.0
WANTED_LU = 1.5
"""How far a minute may be from the reference."""
WANTED_GROWTH = 0.01
"""By how much the process may grow from the second minute to the last."""

_LEAD_S = 10.0  # room to run ahead, so that the pace is that of the model


class Source(Protocol):
    """Where the sound comes from."""

    rate: int
    channels: int

    def blocks(self, until: int) -> Iterator[NDArray[np.float32]]:
        """The stream's sound ``[samples, channels]`` as it comes, until so many samples are out."""

    def steer(self, steer: Steer) -> None:
        """Change the stream."""

    def memory(self) -> int:
        """Of what makes it, bytes."""

    def kept_bytes(self) -> int:
        """Of its journal."""


class ModelSource:
    """A model in this process.

    Args:
        bundle: the model.
        request: what is asked for.
    """

    def __init__(self, bundle: ModelBundle, request: Open) -> None:
        self.rate, self.channels = bundle.sample_rate, bundle.channels
        self._stream = Preparation(bundle).prepare(1, Admission(bundle, Settings()).plan(request, b"")).stream
        self._process = psutil.Process(os.getpid())

    def blocks(self, until: int) -> Iterator[NDArray[np.float32]]:
        while self._stream.samples_out < until:
            with torch.inference_mode():
                events = self._stream.advance()
            yield from (event.samples for event in events if isinstance(event, AudioBlock))

    def steer(self, steer: Steer) -> None:
        self._stream.add_change(Change.of(steer.update(1), Directions("")))

    def memory(self) -> int:
        return int(self._process.memory_info().rss)

    def kept_bytes(self) -> int:
        return 0


class EngineSource:
    """A real engine, whose client takes all of it at once.

    Args:
        running: with an engine that is a child of this process.
        request: what is asked for.
    """

    def __init__(self, running: Rig, request: Open) -> None:
        self._line = EngineLine(running.engine_port)
        self.rate, self.channels = self._line.welcome.sample_rate, self._line.welcome.channels
        self._journals = running.folder / "journal"
        children = psutil.Process().children(recursive=True)
        self._engine = next(child for child in children if "engine" in child.cmdline())
        self._out = 0
        self._line.send(request)
        while not isinstance(opened := self._line.receive(), Opened):
            pass
        self._number = opened.stream

    def blocks(self, until: int) -> Iterator[NDArray[np.float32]]:
        while self._out < until:
            content = self._line.receive()
            if isinstance(content, Ended):
                raise RuntimeError(f"the stream ended: {content.reason} {content.text}")
            if isinstance(content, AudioHeader):
                self._out = content.position + content.frames
                self._line.send(Acknowledge(stream=self._number, position=self._out))
                yield np.frombuffer(self._line.samples, np.float32).reshape(content.frames, content.channels)

    def steer(self, steer: Steer) -> None:
        self._line.send(steer.update(self._number))

    def memory(self) -> int:
        return int(self._engine.memory_info().rss) + int(psutil.Process().memory_info().rss)

    def kept_bytes(self) -> int:
        return sum(int(path.stat().st_size) for path in self._journals.glob("*.journal"))


def measure_endless(model: str, minutes: int, *, threads: int = 0, journal_mb: int = 16, **more: Any) -> dict[str, Any]:
    """So many minutes of an endless stream of a real engine, faster than real time.

    Args:
        model: what the engine loads.
        minutes: at least 2.
        threads: CPU threads of the model; 0 for the engine's own choice.
        journal_mb: bound of the journals.
        more: of `measure_endless_sound`.

    Raises:
        RequestError, RuntimeError: as `rig`; the stream ended.
    """
    machine, flags = describe_machine(), [f"files.journal_mb={journal_mb}"]
    with rig(model, threads=threads, output="paced", flags=flags) as running:
        result = measure_endless_sound(lambda request: EngineSource(running, request), minutes, **more)
    return {
        "benchmark": "endless",
        "model": model,
        **result,
        "journal_bound_bytes": journal_mb * 2**20,
        "machine": machine,
        "load_after": load(),
    }


def measure_endless_sound(
    source_of: Callable[[Open], Source],
    minutes: int,
    *,
    prompt: str = PROMPT,
    bpm: float = BPM,
    seed: int = 1,
    steered: bool = True,
    minute_seconds: int = 60,
) -> dict[str, Any]:
    """So many minutes of an endless stream, raw and governed.

    Args:
        source_of: opens the stream.
        minutes: at least 2.
        prompt: what is asked for.
        bpm: its tempo.
        seed: of its draws.
        steered: whether the steersman may change it.
        minute_seconds: what is measured at once; less for a trial.
    """
    request = Open(prompt=prompt, bpm=bpm, seed=seed, lead=_LEAD_S)
    source = source_of(request)
    rate = source.rate
    character = Character(rate, 240 / bpm)
    governor = Governor(rate, source.channels, FROM_THE_START, character)
    steersman = Steersman(character, Sampling(request.temperature, request.top_k, request.guidance), seed)
    rows: dict[str, list[dict[str, float]]] = {"raw": [], "governed": []}
    steers: list[dict[str, Any]] = []
    memory: list[int] = []
    spent = 0.0
    began = time.perf_counter()
    for minute in range(minutes):
        kept: dict[str, list[NDArray[np.float32]]] = {"raw": [], "governed": []}
        for block in source.blocks((minute + 1) * minute_seconds * rate):
            at = time.perf_counter()
            kept["governed"].append(governor.process(block))
            steer = steersman.look() if steered else None
            spent += time.perf_counter() - at
            kept["raw"].append(block)
            if steer is not None:
                steers.append(
                    {
                        "second": round(minute * minute_seconds + sum(map(len, kept["raw"])) / rate, 1),
                        "reason": steer.reason,
                    }
                )
                source.steer(steer)
        for name, blocks in kept.items():
            rows[name].append(_minute(np.concatenate(blocks), rate))
        del kept, blocks
        memory.append(source.memory())
    reference = governor.state.reference.lufs
    assert reference is not None  # it takes eight seconds of sound
    after_first = memory[min(1, len(memory) - 1)]
    return {
        "prompt": prompt,
        "bpm": bpm,
        "seed": seed,
        "minutes": minutes,
        "reference_lufs": reference,
        **{name: _summary(found, reference) for name, found in rows.items()},
        "steers": steers,
        "rss_mib": [round(size / 2**20, 1) for size in memory],
        "rss_growth": round(memory[-1] / after_first - 1, 4),
        "journal_bytes": source.kept_bytes(),
        "governor_share": round(spent / (minutes * minute_seconds), 5),
        "realtime": round(minutes * minute_seconds / (time.perf_counter() - began), 2),
        "kept": bool(
            max(abs(row["lufs"] - reference) for row in rows["governed"]) <= WANTED_LU
            and memory[-1] / after_first - 1 < WANTED_GROWTH
        ),
    }


def describe_endless(result: Mapping[str, Any]) -> str:
    """The figures in words."""
    names = ("worst_lu", "mean_lu", "centroid_drift", "onset_drift", "spectrum_db")
    rows = [[name, *(result[name][key] for key in names)] for name in ("raw", "governed")]
    header = ["endless", "worst minute, LU", "mean, LU", "centroid, ratio", "onsets, ratio", "bands, dB"]
    return table(header, rows) + (
        f"\n{result['minutes']} minutes of {result['prompt']!r} at {result['realtime']:g} times the pace of the sound, against "
        f"{result['reference_lufs']:.1f} LUFS; steered {len(result['steers'])} times; memory {result['rss_growth']:+.2%} since "
        f"the second minute; journal {result['journal_bytes'] / 1000:.0f} kB; the governor took "
        f"{result['governor_share']:.2%} of the sound's length\n"
    )


def _minute(sound: NDArray[np.float32], rate: int) -> dict[str, float]:
    strength = onset_strength(sound.mean(axis=1), rate)
    found = measure(sound.T, rate)
    return {
        "lufs": round(float(pyloudnorm.Meter(rate).integrated_loudness(sound.astype(np.float64))), 2),
        "peak_dbfs": round(found.peak_dbfs, 2),
        "centroid_hz": round(found.spectral_centroid_hz or 0.0, 1),
        "onsets_per_s": round(onset_rate(strength), 2),
        **{f"band_{hz:g}": round(level, 1) for hz, level in found.octave_bands_dbfs},
    }


def _summary(rows: Sequence[dict[str, float]], reference: float) -> dict[str, Any]:
    off = [row["lufs"] - reference for row in rows]
    first, last = rows[0], rows[-1]
    bands = [name for name in first if name.startswith("band_") and first[name] > first["band_1000"] - 40]
    shapes = [np.array([row[name] - row["lufs"] for name in bands]) for row in (first, last)]
    return {
        "lufs": [row["lufs"] for row in rows],
        "worst_lu": round(off[int(np.abs(off).argmax())], 2),
        "mean_lu": round(float(np.mean(np.abs(off))), 2),
        "centroid_drift": round(last["centroid_hz"] / max(1.0, first["centroid_hz"]), 3),
        "onset_drift": round(last["onsets_per_s"] / max(0.01, first["onsets_per_s"]), 3),
        "spectrum_db": round(float(np.abs(shapes[1] - shapes[0]).mean()), 2),
        "first": first,
        "last": last,
    }
