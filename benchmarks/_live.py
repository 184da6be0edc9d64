"""What live playing asks of the engine: how soon a change of the words is heard, and whether any frame comes late.

A real engine runs as a process; a client takes its audio at the pace at which it sounds.
"""

from __future__ import annotations

import itertools
import time
from contextlib import closing
from typing import Any

from benchmarks._engine_line import EngineLine, PlayedStream
from benchmarks._figures import summarise, table
from benchmarks._rig import rig
from protocols.messages import Open, Update, Updated

LEAD_S = 0.5
"""As `/bridge/open` asks for where the host does not say."""
PREBUFFER_S = 0.06
"""As the bridge's setting."""
_PROMPTS = ("warm strings", "distorted guitar", "slow jazz piano trio in A minor", "techno, 120 bpm", "solo flute")
_WARM_UP_S = 2.0
_PAUSE_S = 0.37  # of no rhythm with frames or blocks
_PATIENCE_S = 10.0
_AT_FIRST = 100
"""Blocks in which the lead is filled. Whether they come late is counted; how close they come is the prebuffer's choice."""


def measure_live(model: str, changes: int, minutes: float, *, threads: int = 0) -> dict[str, Any]:
    """Both figures, of an engine of its own.

    Args:
        model: what the engine loads.
        changes: how many changes of the prompt.
        minutes: how long a stream is played without a pause.
        threads: CPU threads of the model; 0 for the engine's own choice.

    Raises:
        RequestError, RuntimeError: as `rig`.
    """
    with rig(model, threads=threads, output="paced") as running:
        changed = measure_changes(running.engine_port, changes)
        endless = measure_endless(running.engine_port, minutes)
    return {"model": model, "status": running.report.status, "changes": changed, "endless": endless}


def describe_live(live: dict[str, Any]) -> str:
    """The figures in words."""
    changed, endless = live["changes"], live["endless"]
    header = ["ms", "p50", "p95", "max"]
    spent = [changed["change_to_frame"][key] for key in ("p50_ms", "p95_ms", "max_ms")]
    return table(header, [["change of the prompt → first frame under it", *spent]]) + (
        f"\n{live['model']}: {changed['changes']} changes, each at most {changed['change_to_frame_frames']:g} frames after the "
        f"last one that had arrived; then {endless['minutes']:g} minutes at the pace of the sound, {endless['frames']} frames, of "
        f"which {endless['late_frames']} came late; the closest by {endless['margin']['min_ms']:.0f} ms "
        f"(lead {1000 * endless['lead_s']:.0f} ms)\n"
    )


def measure_changes(port: int, changes: int) -> dict[str, Any]:
    """From a change of the prompt to the first frame that is sampled under it, in a stream that plays.

    Half of the changes are at once, half are morphs, which take their first step at once. No prompt was heard before, so that
    none is remembered.

    Args:
        port: of the engine.
        changes: how many.
    """
    spent, frames = [], []
    with closing(EngineLine(port)) as line:
        stream = PlayedStream(line, Open(prompt="ambient pads", bpm=100, seed=1, lead=LEAD_S), PREBUFFER_S)
        _let(stream, _WARM_UP_S)
        for number, prompt in zip(range(changes), itertools.cycle(_PROMPTS), strict=False):
            _let(stream, _PAUSE_S)
            known = stream.received / line.welcome.frame_samples
            sent = time.monotonic()
            line.send(Update(stream=stream.number, prompt=f"{prompt}, take {number}", morph=4.0 * (number % 2)))
            updated = next(event for event in stream.play(_PATIENCE_S) if isinstance(event, Updated))
            spent.append(1000 * (time.monotonic() - sent))
            frames.append(updated.frame - known)
        stream.stop()
    return {
        "changes": changes,
        "change_to_frame": summarise(spent),
        "change_to_frame_frames": round(max(frames), 1),
        "lead_s": LEAD_S,
        "late_frames": _late(stream),
    }


def measure_endless(port: int, minutes: float) -> dict[str, Any]:
    """Frames that come too late in a stream that plays on and on, window after window.

    Args:
        port: of the engine.
        minutes: how long.
    """
    with closing(EngineLine(port)) as line:
        request = Open(prompt="happy disco in C major, 120 bpm", seed=1, lead=LEAD_S)
        stream = PlayedStream(line, request, PREBUFFER_S)
        _let(stream, 60 * minutes)
        stream.stop()
        frame = line.welcome.frame_samples
    return {
        "minutes": minutes,
        "frames": stream.received // frame,
        "late_frames": _late(stream),
        "margin": summarise([1000 * margin for margin, _ in stream.margins[_AT_FIRST:] or stream.margins]),
        "lead_s": LEAD_S,
        "prebuffer_s": PREBUFFER_S,
    }


def _late(stream: PlayedStream) -> int:
    return sum(frames for margin, frames in stream.margins if margin < 0)


def _let(stream: PlayedStream, seconds: float) -> None:
    for _ in stream.play(seconds):
        pass
