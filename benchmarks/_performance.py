"""A performance by script: loops, pads played over MIDI, words that turn, and an engine that is killed again and again.

A real engine, a real bridge, JACK's dummy driver, MIDI over JACK. One layer plays a loop at the card's own rate in which every bar
has a mark, a short burst of noise: where the marks are heard says where the loop starts are. Now and then only the endless stream
sounds, and its engine is killed: what is heard then must step no further from sample to sample than the music does by itself,
must not fall silent, and the take must be what it would have been.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile
import soxr
from numpy.typing import NDArray

from benchmarks._figures import summarise
from benchmarks._notes import PORT, midi_keys
from benchmarks._recorder import Recorder
from benchmarks._rig import RATE, Rig, rig
from tests.support.clients import OscPeer

BPM = 120.0
BAR_S = 2.0
_MARK_S = 0.1
"""Where in its bar a mark is: beyond the cross-fade at the loop's start."""
_MARK = np.random.default_rng(1).choice([-0.5, 0.5], 48).astype(np.float32)
_FOUND = 0.7  # correlation with the mark
_PROMPTS = ("warm strings", "distorted guitar", "slow jazz piano trio", "solo flute", "happy disco")
_QUIET_S = 0.1
_HIT_S = 1.5
_PATIENCE_S = 60.0


@dataclass
class _Stage:
    """The client's side while it performs."""

    running: Rig
    host: OscPeer
    recorder: Recorder
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def ask(self, address: str, *arguments: Any) -> list[Any]:
        """Ask, and insist on being obeyed."""
        outcome, answer = self.host.ask(address, next(self.ids), *arguments)
        if outcome != "/done":
            raise RuntimeError(f"{address}: {answer}")
        return answer

    def let(self, seconds: float) -> None:
        """Play on, and listen to what is told."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.host.receive(left)

    def kill_engine(self) -> None:
        """As a crash does, and wait until the music goes on with what is new."""
        engine = next(child for child in psutil.Process().children(recursive=True) if "engine" in child.cmdline())
        self.host.heard.clear()
        os.kill(engine.pid, signal.SIGKILL)
        self.host.wait("/bridge/engine", "lost")
        self.host.wait("/bridge/engine", "ready", seconds=_PATIENCE_S)
        held = [values for address, values in self.host.heard if address == "/bridge/held"]
        if held and held[-1][1] == "holding":
            self.host.wait("/bridge/held", held[-1][0], "back", seconds=_PATIENCE_S)


def measure_performance(model: str, *, minutes: float = 3.0, kills: int = 6, threads: int = 0) -> dict[str, Any]:
    """Perform, and read the recording.

    Args:
        model: what the engine loads.
        minutes: how long, at least.
        kills: how often the engine is killed.
        threads: CPU threads of the model; 0 for the engine's own choice.

    Raises:
        RuntimeError: JACK cannot be had; the bridge refused something; the music did not go on.
    """
    with ExitStack() as stack:
        running = stack.enter_context(rig(model, threads=threads, output="jack", period=1024, restarts=True))
        recorder = stack.enter_context(Recorder(running.jack, RATE, 60 * minutes + 60 * kills + 60))
        host = stack.enter_context(OscPeer(running.bridge_port))
        strike = stack.enter_context(midi_keys())
        stage = _Stage(running, host, recorder)
        host.send("/notify", 1)
        loop = running.folder / "marks.wav"
        soundfile.write(loop, _marked_loop(4), RATE, subtype="FLOAT")
        stage.ask("/bridge/clock", "bpm", BPM)
        stage.ask("/bridge/loop/play", 1, str(loop), "bars", 4)
        stage.ask("/bridge/trigger/input", PORT)
        stage.ask("/bridge/trigger/map", "hit", 60, f"/bridge/play 'dub chord' duration {_HIT_S} level -6")
        opened = next(stage.ids)
        host.send("/bridge/open", opened, _PROMPTS[-1], "seed", 1, "at", "bar", "save", 1, "level", -6.0)
        stream = host.wait("/bridge/queued", opened)[1]
        host.wait("/bridge/sounding", stream)
        ends = time.monotonic() + 60 * minutes
        alone: list[tuple[int, int]] = []
        words = itertools.cycle(_PROMPTS)
        latencies: list[float] = []
        for _ in range(kills):
            stage.ask("/bridge/update", stream, "prompt", next(words), "morph", 4.0)
            stage.let(2 * BAR_S)
            host.heard.clear()
            stage.ask("/bridge/loop/record", 2, 1, "stream", "stream", stream)
            host.wait("/bridge/loop", 2, "playing")
            stage.ask("/bridge/loop/continue", 2, 1)
            stage.let(BAR_S)
            strike(60, 100)
            latencies.append(host.wait("/bridge/triggered", "hit")[4])
            stage.let(3 * BAR_S)
            stage.ask("/bridge/loop/clear", 2)
            stage.ask("/bridge/loop/mute", 1, 1)
            stage.let(BAR_S)
            begin = recorder.frames
            stage.kill_engine()
            stage.let(BAR_S)
            alone.append((begin, recorder.frames))
            stage.ask("/bridge/loop/mute", 1, 0)
            stage.let(BAR_S)
        while time.monotonic() < ends:
            stage.ask("/bridge/update", stream, "prompt", next(words), "morph", 8.0)
            stage.let(min(4 * BAR_S, max(0.1, ends - time.monotonic())))
        host.send("/bridge/cancel", next(stage.ids), stream)
        finished = host.wait("/done", "/bridge/open", opened)
        report = stage.ask("/bridge/loops")
        sound, xruns = recorder.recorded(), recorder.xruns
        take, rate = soundfile.read(finished[6], dtype="float32")
        again = stage.ask("/bridge/again", str(Path(finished[6]).with_suffix(".json")), "sound", 0)
        made_again, _ = soundfile.read(again[4], dtype="float32")
    difference = float(np.abs(take - made_again[: len(take)]).max()) if len(made_again) >= len(take) else None
    return {
        "seconds": round(len(sound) / RATE, 1),
        "kills": kills,
        "layers": report,
        "note_to_sound": summarise(latencies) if latencies else None,
        "underruns": finished[7],
        "xruns_of_the_server": xruns,
        "loop_starts": _loop_starts(sound),
        "killed": _continuity(sound, alone, soxr.resample(take, rate, RATE)),
        "take_made_again_difference": difference,
    }


def _marked_loop(bars: int) -> NDArray[np.float32]:
    """A soft tone with a mark in every bar."""
    length = round(BAR_S * RATE)
    seconds = np.arange(bars * length) / RATE
    loop = (0.02 * np.sin(2 * np.pi * 110 * seconds)).astype(np.float32)
    for bar in range(bars):
        begin = bar * length + round(_MARK_S * RATE)
        loop[begin : begin + len(_MARK)] += _MARK
    return loop


def _loop_starts(sound: NDArray[np.float32]) -> dict[str, Any]:
    """How far the marks are from whole bars, in samples; the first one tells where the bars are."""
    found = np.correlate(sound, _MARK, "valid") / float(np.vdot(_MARK, _MARK))
    loud = np.flatnonzero(found > _FOUND)
    if not len(loud):
        return {"marks": 0, "largest_error_samples": None}
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > RATE // 10) + 1)
    marks = np.array([group[np.argmax(found[group])] for group in groups])
    bars = (marks - marks[0]) / (BAR_S * RATE)
    errors = (bars - np.round(bars)) * BAR_S * RATE
    return {"marks": len(marks), "bars": round(float(bars[-1])), "largest_error_samples": float(np.abs(errors).max())}


def _continuity(
    sound: NDArray[np.float32], stretches: list[tuple[int, int]], music: NDArray[np.float32]
) -> dict[str, Any]:
    """What was heard while the engine was dead, beside the stream as it is by itself at the same level."""
    level = 10 ** (-6 / 20)
    window = round(_QUIET_S * RATE)
    quietest, steps = [], []
    for begin, end in stretches:
        heard = sound[begin:end]
        parts = heard[: len(heard) // window * window].reshape(-1, window)
        quietest.append(float(np.sqrt(np.mean(parts**2, axis=1)).min()))
        steps.append(float(np.abs(np.diff(heard)).max()))
    windows = music[: len(music) // window * window].reshape(-1, window)
    return {
        "largest_step": max(steps),
        "largest_step_of_the_music": float(np.abs(np.diff(music)).max()) * level,
        "quietest_rms": min(quietest),
        "quietest_rms_of_the_music": float(np.sqrt(np.mean(windows**2, axis=1)).min()) * level,
    }
