"""A melody read from sound: the chroma that melody models were trained on, or the notes of the line that leads.

Notes are found in three steps. Each pitch gets what its harmonics have in a short-time spectrum (Hermes, "Measurement of pitch by
subharmonic summation", 1988). The path through the pitches that gathers most, at a price for every change, is the line (Viterbi).
Where it does not explain nearly everything, others play along, and it is looked for again where melodies are (as in Goto, "A
real-time music-scene-description system", 2004). A note begins where the path changes or its level rises suddenly. Everything runs
in single precision on the CPU whatever the model's device is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from engine.conditioning.melody import PITCH_CLASSES, SILENCE, MelodyFacts, chroma
from engine.conditioning.separation import separate
from protocols.errors import ErrorCode, RequestError
from protocols.melody import MIN_SECONDS, AnyMelody, ChromaRow, MelodyLine, MelodyNote
from protocols.message_parts import SeparationName

QUIETEST_DBFS = -60.0
"""A region without a sample above it is silence: there is nothing to follow."""

_FRAMES_PER_SECOND = 50
_WINDOW_SECONDS = 0.128
_PITCHES = range(40, 96)
_HARMONICS, _DECAY = 5, 0.7
_COMB_HARMONICS, _NEAR = 12, 0.035
_ONE_VOICE = 0.8
_COMPRESSION = 0.75
_TOP_HZ = 8000.0
_REGISTER = (58.0, 4.0, 88.0, 3.0)
"""Lowest and highest pitch of melodies, each with how softly they end there, in semitones."""
_CHANGE_PRICE = 1.0  # in frames of what the strongest pitch usually has
_USUAL = 0.9
_REST_DB = 25.0
_LOUD = 0.95
_ATTACK_SECONDS = 0.064
_RISE_DB = 5.0
_SHORTEST_FRAMES = 3
_FRAMES_AT_ONCE = 1024
_TINY = 1e-9


@dataclass(frozen=True)
class Reading:
    """What was read.

    Attributes:
        melody: notes, or a row of chroma.
        sounding: for how many seconds a melody sounds.
        note: how it was read, for people.
    """

    melody: AnyMelody
    sounding: float
    note: str


def read_melody(sound: Tensor, sample_rate: int, facts: MelodyFacts | None, separation: SeparationName) -> Reading:
    """The melody of a recording, in the form that a model hears best; as long as the recording, exactly.

    Args:
        sound: float32 ``[samples]``, finite.
        sample_rate: in Hz; ``facts.sample_rate`` where there are facts.
        facts: of a melody model, which gets its chroma; None for one that hears scores, which gets notes.
        separation: what is taken away before; see `separate`.

    Raises:
        RequestError: about ``melody``: EMPTY (silence, or no note in it), OUT_OF_RANGE (under 0.1 s), TOO_LONG (more notes than a
            melody may have); about ``separation``, see `separate`.
    """
    if len(sound) < MIN_SECONDS * sample_rate:
        found = f"{len(sound)} samples"
        raise RequestError(ErrorCode.OUT_OF_RANGE, "melody", found, f"a region of at least {float(MIN_SECONDS):g} s")
    if float(sound.abs().max()) < 10 ** (QUIETEST_DBFS / 20):
        allowed = f"something to follow: a region that is not below {QUIETEST_DBFS:g} dBFS throughout"
        raise RequestError(ErrorCode.EMPTY, "melody", "silence", allowed)
    if separation == "auto" and is_one_voice(sound, sample_rate):
        left, how = sound, "read as one voice"
    else:
        left, how = separate(sound, sample_rate, separation)
    if facts is not None:
        row = read_chroma(left, facts)
        heard = min(row.seconds, sum(pitch != SILENCE for pitch in row.pitches) / row.frame_rate)
        return Reading(row, float(heard), f"{how}: {len(row.chroma)} frames of chroma")
    line = read_notes(left, sample_rate)
    samples = sum(note.end - note.start for note in line.notes)
    return Reading(line, samples / sample_rate, f"{how}: {len(line.notes)} notes")


def read_chroma(sound: Tensor, facts: MelodyFacts) -> ChromaRow:
    """AudioCraft's chroma of a recording, as a row; see `engine.conditioning.melody.chroma`.

    A recording that is shorter than the window of a frame is repeated, as it is heard, and not padded.

    Args:
        sound: float32 ``[samples]`` at ``facts.sample_rate``.
        facts: of the model.

    Raises:
        RequestError: about ``melody``; see `ChromaRow`.
    """
    strengths = chroma(sound.repeat(-(-facts.fft_size // len(sound))), facts)
    pitches = torch.where(strengths.amax(dim=1) > 0, strengths.argmax(dim=1), SILENCE)
    begun = -(-len(sound) // facts.hop_length)
    return ChromaRow.of_pitches(pitches[:begun].tolist(), facts.rate, Fraction(len(sound), facts.sample_rate))


@torch.inference_mode()
def read_notes(sound: Tensor, sample_rate: int) -> MelodyLine:
    """The line that leads a recording, note by note; its ticks are samples.

    Args:
        sound: float32 ``[samples]``.
        sample_rate: in Hz.

    Raises:
        RequestError: about ``melody``: EMPTY where no note is found; TOO_LONG; see `MelodyLine`.
    """
    hop = _hop(sample_rate)
    frames = _look(sound, sample_rate, hop, _WINDOW_SECONDS, _COMPRESSION, shift=hop)
    path = _best_path(frames.strengths)
    if not frames.are_one_voice(path):
        path = _best_path(frames.strengths * _register())
    attacks = _rises(_look(sound, sample_rate, hop, _ATTACK_SECONDS, 1.0).strengths[np.arange(len(path)), path])
    notes = []
    for first, end, pitch in _runs(path, ~frames.loud, attacks):
        notes.append(MelodyNote(first * hop, min(end * hop, len(sound)), pitch))
    return MelodyLine(sample_rate, len(sound), tuple(notes))


@torch.inference_mode()
def is_one_voice(sound: Tensor, sample_rate: int) -> bool:
    """Whether a recording ``[samples]`` is of a single voice or instrument, one note at a time: then nothing need be taken away."""
    hop = _hop(sample_rate)
    frames = _look(sound, sample_rate, hop, _WINDOW_SECONDS, _COMPRESSION, shift=hop)
    return frames.are_one_voice(_best_path(frames.strengths))


@dataclass(frozen=True)
class _Frames:
    """What a recording has in each frame.

    Attributes:
        strengths: how much each pitch gathers from its harmonics ``[frames, pitches]``.
        shares: how much of the power is near the harmonics of each pitch ``[frames, pitches]``.
        loud: the frames that are no rests ``[frames]``.
    """

    strengths: NDArray[np.float32]
    shares: NDArray[np.float32]
    loud: NDArray[np.bool_]

    def are_one_voice(self, path: NDArray[np.int64]) -> bool:
        """Whether a line of pitches, without regard to register, explains nearly all that is heard."""
        shares = self.shares[np.arange(len(path)), path]
        return float(shares[self.loud].mean()) > _ONE_VOICE


def _look(sound: Tensor, sample_rate: int, hop: int, seconds: float, compression: float, shift: int = 0) -> _Frames:
    """Look at a recording through windows of so many seconds around each frame's beginning or, with a ``shift``, samples later.

    Later is better where pitches are looked for: an attack takes its time, and most of the window has to be the new note.
    """
    size = 2 * round(seconds * sample_rate / 2)
    count = -(-len(sound) // hop)
    padded = F.pad(sound, (size // 2 - shift, size // 2 + shift + hop))
    window, (weights, combs) = torch.hann_window(size), _harmonics(sample_rate, size)
    strengths, shares, powers = torch.empty(count, len(weights)), torch.empty(count, len(weights)), torch.empty(count)
    for first in range(0, count, _FRAMES_AT_ONCE):
        end = min(first + _FRAMES_AT_ONCE, count)
        heard = padded[first * hop : (end - 1) * hop + size]
        spectrum = torch.stft(heard, size, hop, window=window, center=False, return_complex=True).abs()
        spectrum = spectrum[: weights.shape[1]]
        power = spectrum.square()
        strengths[first:end] = (weights @ spectrum.pow(compression)).T
        powers[first:end] = power.sum(dim=0) + _TINY
        shares[first:end] = (combs @ power).T / powers[first:end, None]
    levels = 10 * powers.log10().numpy()
    return _Frames(strengths.numpy(), shares.numpy(), levels >= np.quantile(levels, _LOUD) - _REST_DB)


def _best_path(strengths: NDArray[np.float32]) -> NDArray[np.int64]:
    """The pitch of each frame, as an index, for which strengths less prices of changes are most in all."""
    usual = max(float(np.quantile(strengths.max(axis=1), _USUAL)), _TINY)
    scores = strengths / usual
    came = np.empty(scores.shape, dtype=np.int16)
    same = np.arange(scores.shape[1], dtype=np.int16)
    best = scores[0].copy()
    for frame in range(1, len(scores)):
        leader = int(best.argmax())
        changed = best[leader] - _CHANGE_PRICE
        came[frame] = np.where(best >= changed, same, leader)
        np.maximum(best, changed, out=best)
        best += scores[frame] - best.max()  # relative, or an hour of it would use up single precision
    path = np.empty(len(scores), dtype=np.int64)
    path[-1] = best.argmax()
    for frame in range(len(scores) - 1, 0, -1):
        path[frame - 1] = came[frame, path[frame]]
    return path


def _rises(strengths: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where what a pitch has becomes much more from one frame to the next, but not where it goes on becoming more."""
    rises: NDArray[np.bool_] = np.diff(20 * np.log10(strengths + _TINY), prepend=np.inf) > _RISE_DB
    rises[1:] &= ~rises[:-1]
    return rises


def _runs(path: NDArray[np.int64], rests: NDArray[np.bool_], attacks: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """First frame, end and MIDI pitch of each note; what is too short for a note belongs to the one that it follows."""
    notes: list[tuple[int, int, int]] = []
    for frame in range(len(path)):
        if rests[frame]:
            continue
        pitch = _PITCHES[int(path[frame])]
        if notes and notes[-1][1] == frame:
            first, _, current = notes[-1]
            again = attacks[frame] and frame - first > _SHORTEST_FRAMES
            if (pitch - current) % PITCH_CLASSES == 0 and not again:
                notes[-1] = (first, frame + 1, current)
                continue
        if notes and notes[-1][1] - notes[-1][0] < _SHORTEST_FRAMES:
            first, _, _ = notes.pop()
            if notes and notes[-1][1] == first:
                notes[-1] = (notes[-1][0], frame, notes[-1][2])
        notes.append((frame, frame + 1, pitch))
    return notes


@cache
def _harmonics(sample_rate: int, size: int) -> tuple[Tensor, Tensor]:
    """What each bin of a spectrum gives to each pitch, and whether it is near one of its harmonics, both ``[pitches, bins]``."""
    spacing = sample_rate / size
    top = min(_TOP_HZ, sample_rate / 2)
    hertz = torch.arange(int(top / spacing) + 1, dtype=torch.float64) * spacing
    bins = 69 + 12 * torch.log2(hertz / 440)
    weights = torch.zeros(len(_PITCHES), len(bins), dtype=torch.float64)
    combs = torch.zeros(len(_PITCHES), len(bins))
    for weight, comb, pitch in zip(weights, combs, _PITCHES, strict=True):
        fundamental = 440 * 2 ** ((pitch - 69) / 12)
        for number in range(1, 1 + min(_COMB_HARMONICS, int(top / fundamental))):
            centre = number * fundamental
            comb[(hertz - centre).abs() < max(1.5 * spacing, _NEAR * centre)] = 1
            if number <= _HARMONICS:
                width = max(0.35, 5.0 * spacing / centre)
                around = torch.exp(-0.5 * ((bins - pitch - 12 * math.log2(number)) / width).square())
                weight += _DECAY ** (number - 1) * around / around.sum()
    return weights.float(), combs


@cache
def _register() -> NDArray[np.float32]:
    """How likely a melody has each pitch ``[pitches]``, where others play along."""
    low, soft_low, high, soft_high = _REGISTER
    pitches = np.array(_PITCHES)
    ends = (1 + np.exp((low - pitches) / soft_low)) * (1 + np.exp((pitches - high) / soft_high))
    return np.asarray(1 / ends, dtype=np.float32)


def _hop(sample_rate: int) -> int:
    return round(sample_rate / _FRAMES_PER_SECOND)
