"""Pieces played by FluidSynth, faster than real time and without a sound card.

Notes are sent to the synthesiser one by one through pyfluidsynth, in time that is counted in samples. There is neither reverb nor
chorus: a small codec should spend its bits on the instruments. Every track goes to an output of its own, so that one pass gives
what is mixed afterwards: each part at the level that its role has, whatever the level of its instrument in the soundfont.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import io
import itertools
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio_files.soundfonts import find_soundfont
from engine.training.composer import Piece, compose
from protocols.errors import ErrorCode, RequestError

SAMPLE_RATE = 32_000
LEVEL_DBFS = -20.0
"""Root mean square of the parts of a mix that are not quiet."""
PEAK = 0.98
"""No sample of a mix is above it."""
MAX_WORKERS = 61 if sys.platform == "win32" else 256
"""Processes that render at once; Windows cannot wait for more."""

_BLOCK = 64
"""FluidSynth computes blocks of this many samples, and a note begins with one: 2 ms, and every beat of a whole number of frames
is a whole number of blocks."""
_KNEE = 0.8
_GATE_WINDOW = 0.1
_GATE_DB = -26.0
_BALANCE_DB = {"lead": 0.0, "drums": -1.5, "bass": -2.5, "chords": -5.5, "pad": -9.0}
_OUTPUTS = len(_BALANCE_DB)
_CHANNELS = 16 * _OUTPUTS  # whole groups of 16, as MIDI has them
_DRUM_BANK = 128
_NOTE_OFF, _NOTE_ON = 0, 1
_ATTENUATION = 0.3


@dataclass(frozen=True)
class Rendered:
    """A piece as sound; float32 ``[samples]``, mono, at the same level in both.

    Attributes:
        mix: all players.
        lead: the melody alone.
    """

    mix: NDArray[np.float32]
    lead: NDArray[np.float32]


class Renderer:
    """Plays pieces with a soundfont. Equal pieces give equal samples, whatever was played before. One thread at a time.

    Args:
        soundfont: a General MIDI soundfont; by default, the first that `find_soundfont` finds.
        sample_rate: in Hz.

    Raises:
        RequestError: ``unsupported`` without pyfluidsynth or FluidSynth's library, ``not_found`` without the soundfont,
            ``malformed`` when it cannot be read.
    """

    def __init__(self, soundfont: Path | str | None = None, sample_rate: int = SAMPLE_RATE) -> None:
        self.soundfont = find_soundfont(soundfont)
        self.sample_rate = sample_rate
        self._library = _load_library()
        # Samples stay in FluidSynth's cache for as long as one synthesiser holds them; this one makes the later ones cheap.
        self._keeper, self._keeper_font = self._new_synth()
        self._loaded: set[tuple[int, int]] = set()

    def render(self, piece: Piece, tail_seconds: float = 0.0) -> Rendered:
        """Play a piece, from its first beat to its last, and ``tail_seconds`` on, while the last notes fade."""
        rate = self.sample_rate
        samples = round(piece.seconds * rate) + round(tail_seconds * rate)
        synth, font = self._new_synth()
        try:
            outputs = self._play(synth, font, piece, samples)
        finally:
            synth.delete()
        lead = np.zeros(samples, dtype=np.float32)
        mix = np.zeros(samples, dtype=np.float32)
        for track, part in zip(piece.tracks, outputs, strict=False):
            part *= _level_gain(part, rate, _BALANCE_DB[track.role])
            mix += part
            if track.role == "lead":
                lead = part
        gain = _level_gain(mix, rate, LEVEL_DBFS)
        return Rendered(mix=_soften(mix * gain), lead=_soften(lead * gain))

    def close(self) -> None:
        """Free the synthesiser and its samples; nothing can be rendered afterwards."""
        self._keeper.delete()

    def _new_synth(self) -> tuple[Any, int]:
        # A synthesiser for each piece: a reset one does not begin from the very state of a new one.
        synth = self._library.Synth(
            gain=_ATTENUATION,
            samplerate=float(self.sample_rate),
            channels=_CHANNELS,
            **{
                "synth.audio-channels": _OUTPUTS,
                "synth.audio-groups": _OUTPUTS,
                "synth.reverb.active": 0,
                "synth.chorus.active": 0,
                "synth.dynamic-sample-loading": 1,
                "synth.polyphony": 192,
                "synth.cpu-cores": 1,
                "synth.threadsafe-api": 0,
            },
        )
        font = synth.sfload(str(self.soundfont))
        if font < 0:
            synth.delete()
            raise RequestError(ErrorCode.MALFORMED, "soundfont", str(self.soundfont), "a soundfont that can be read")
        return synth, font

    def _play(self, synth: Any, font: int, piece: Piece, samples: int) -> NDArray[np.float32]:
        """The tracks ``[outputs, samples]`` in the piece's order, each the mean of its left and right."""
        events: list[tuple[int, int, int, int, int]] = []
        for channel, track in enumerate(piece.tracks):  # a channel's output is its number, as long as there are enough
            bank = _DRUM_BANK if track.is_drums else 0
            self._keep(bank, track.program)
            if synth.program_select(channel, font, bank, track.program) < 0:
                held = f"bank {bank}, program {track.program}"
                raise RequestError(
                    ErrorCode.MALFORMED, "soundfont", held, "a soundfont that has all General MIDI presets"
                )
            for note in track.notes:
                start, end = (self._block(piece.seconds_at(beat)) for beat in (note.start, note.end))
                events.append((start, _NOTE_ON, channel, note.pitch, note.velocity))
                events.append((max(end, start + 1), _NOTE_OFF, channel, note.pitch, 0))
        events.sort()
        blocks = -(-samples // _BLOCK)
        buffer = np.zeros((2 * _OUTPUTS, blocks * _BLOCK), dtype=np.float32)
        at = 0
        for block, kind, channel, pitch, velocity in events:
            if block >= blocks:
                break
            at = self._advance(synth, buffer, at, block)
            if kind == _NOTE_ON:
                synth.noteon(channel, pitch, velocity)
            else:
                synth.noteoff(channel, pitch)
        self._advance(synth, buffer, at, blocks)
        return np.asarray(0.5 * (buffer[:_OUTPUTS] + buffer[_OUTPUTS:]))[:, :samples]

    def _advance(self, synth: Any, buffer: NDArray[np.float32], at: int, block: int) -> int:
        if block > at:
            places = [row.ctypes.data + at * _BLOCK * row.itemsize for row in buffer]
            pointers = ctypes.c_void_p * _OUTPUTS
            left, right = pointers(*places[:_OUTPUTS]), pointers(*places[_OUTPUTS:])
            _write_floats(self._library)(synth.synth, (block - at) * _BLOCK, left, right, None, None)
        return max(at, block)

    def _keep(self, bank: int, program: int) -> None:
        if (bank, program) not in self._loaded and len(self._loaded) < _CHANNELS:
            self._keeper.program_select(len(self._loaded), self._keeper_font, bank, program)
            self._loaded.add((bank, program))

    def _block(self, seconds: Fraction) -> int:
        return round(seconds * self.sample_rate / _BLOCK)


def render_many(
    seeds: Iterable[int], workers: int = 1, *, soundfont: Path | str | None = None, sample_rate: int = SAMPLE_RATE
) -> Iterator[tuple[Piece, Rendered]]:
    """Compose and render, in the order of the seeds, in ``workers`` processes of one thread each.

    Raises:
        RequestError: as `Renderer`, `compose` and `worker_pool`; for workers and the soundfont at once, for the rest while
            the results are read.
    """
    check_workers(workers)
    return _render_all(iter(seeds), workers, find_soundfont(soundfont), sample_rate)


def _render_all(
    seeds: Iterator[int], workers: int, soundfont: Path, sample_rate: int
) -> Iterator[tuple[Piece, Rendered]]:
    with worker_pool(workers) as pool:
        # Two pieces ahead of each worker: all are busy, and memory stays bounded when the reader is slow.
        ahead = itertools.islice(seeds, 2 * workers)
        waiting = deque(pool.submit(_render_seed, seed, soundfont, sample_rate) for seed in ahead)
        while waiting:
            result = waiting.popleft().result()
            following = itertools.islice(seeds, 1)
            waiting.extend(pool.submit(_render_seed, seed, soundfont, sample_rate) for seed in following)
            yield result


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that render. They end with this one, however it ends; what they have not begun by then is not done.

    Raises:
        RequestError: ``out_of_range`` for fewer than one worker or more than `MAX_WORKERS`, ``internal`` when the system ends
            one of them.
    """
    check_workers(workers)
    # Spawned: a forked copy of a process in which threads run may hold a lock for ever.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin_worker)
    try:
        yield pool
    except BrokenProcessPool as error:
        allowed = "fewer: a process that renders was ended, perhaps for lack of memory"
        raise RequestError(ErrorCode.INTERNAL, "workers", workers, allowed) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def check_workers(workers: int) -> None:
    """Refuse a number of workers that `worker_pool` does not take.

    Raises:
        RequestError: ``out_of_range``.
    """
    if not 1 <= workers <= MAX_WORKERS:
        raise RequestError(ErrorCode.OUT_OF_RANGE, "workers", workers, f"1 to {MAX_WORKERS}")


@cache
def worker_renderer(soundfont: Path, sample_rate: int) -> Renderer:
    """The renderer of a worker, made for its first piece: what goes wrong then reaches the caller as an error of that piece."""
    return Renderer(soundfont, sample_rate)


def _begin_worker() -> None:
    # On Ctrl-C a worker has nothing to save and nothing to say.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = parent_process()
    if parent is not None:
        # A worker waits for tasks on a pipe whose other end it holds too: of a parent that is killed it would never hear.
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _render_seed(seed: int, soundfont: Path, sample_rate: int) -> tuple[Piece, Rendered]:
    piece = compose(seed)
    return piece, worker_renderer(soundfont, sample_rate).render(piece)


def import_fluidsynth() -> Any:
    """pyfluidsynth, imported without a word: under ``CI`` it prints where it found the library, on the caller's standard output.

    Raises:
        ImportError, OSError: FluidSynth's library is not found or does not load.
    """
    with redirect_stdout(io.StringIO()):
        return importlib.import_module("fluidsynth")


def _load_library() -> Any:
    if importlib.util.find_spec("fluidsynth") is None:
        raise RequestError(ErrorCode.UNSUPPORTED, "renderer", "pyfluidsynth", "pip install 'daw-bridge[train]'")
    try:
        return import_fluidsynth()
    except (ImportError, OSError) as error:
        allowed = "the system's library of FluidSynth 2 or 3, such as the package libfluidsynth3 brings"
        raise RequestError(ErrorCode.UNSUPPORTED, "renderer", str(error), allowed) from error


def _write_floats(library: Any) -> Any:
    """FluidSynth's ``fluid_synth_nwrite_float``, which pyfluidsynth does not declare."""
    function = getattr(library, "fluid_synth_nwrite_float", None)
    if function is None:
        pointer = ctypes.c_void_p
        parameters = (("synth", pointer, 1), ("len", ctypes.c_int, 1))
        outputs = tuple((name, pointer, 1) for name in ("left", "right", "fx_left", "fx_right"))
        function = library.cfunc("fluid_synth_nwrite_float", ctypes.c_int, *parameters, *outputs)
        library.fluid_synth_nwrite_float = function
    return function


def _level_gain(mix: NDArray[np.float32], sample_rate: int, level: float) -> float:
    """The gain that brings what is not quiet in a mix or a part to a level in dBFS RMS.

    The gate follows the idea of ITU-R BS.1770: windows far below the mean do not count, so that an intro of single notes
    does not make the rest louder.
    """
    width = max(1, round(_GATE_WINDOW * sample_rate))
    windows = mix[: len(mix) // width * width] if len(mix) >= width else mix
    power = np.square(windows, dtype=np.float64).reshape(-1, min(width, len(windows))).mean(axis=1)
    heard = power[power > power.mean() * 10.0 ** (_GATE_DB / 10.0)]
    if not len(heard):
        return 1.0
    return float(10.0 ** (level / 20.0) / np.sqrt(heard.mean()))


def _soften(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bend what is above the knee towards `PEAK`, which it never reaches; below, samples stay as they are."""
    result = samples.astype(np.float32)
    loud = np.abs(result) > _KNEE
    room = PEAK - _KNEE
    over = np.abs(result[loud]) - _KNEE
    result[loud] = np.sign(result[loud]) * (_KNEE + room * np.tanh(over / room))
    return result
