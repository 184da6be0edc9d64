"""What the LM is shown at a step: crops of codes in the delay pattern, and each time another part of what is known about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.conditioning.score import FEATURES, PITCH_CLASSES, BeatGrid, Melody, Score
from engine.runtime.patterns import DelayPattern
from engine.training.composer import TICKS_PER_BEAT
from engine.training.composer.theory import MODES
from engine.training.data import Clip, CodeBatch
from engine.training.lm.config import LMTraining


@dataclass(frozen=True)
class LMBatch:
    """Tensors of one step; see `engine.training.lm.network.TrainableLM.forward`.

    Attributes:
        columns: ``[batch, codebooks, n]``: the delay pattern but for its last column.
        targets: ``[batch, n, codebooks]``: what follows each column; -1 where nothing is to be learned.
        score: ``[batch, n, FEATURES]``.
        tokens: ``[batch, length]``.
        mask: boolean ``[batch, length]``.
    """

    columns: Tensor
    targets: Tensor
    score: Tensor
    tokens: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> LMBatch:
        return LMBatch(*(part.to(device) for part in (self.columns, self.targets, self.score, self.tokens, self.mask)))


class Batches:
    """Makes tensors of crops.

    Args:
        tokenizer: of the captions.
        config: how much of what is known is shown.
        codebooks: of the codes.
        card: entries of a codebook.
    """

    def __init__(self, tokenizer: Any, config: LMTraining, codebooks: int, card: int) -> None:
        self._tokenizer = tokenizer
        self._config = config
        self._pattern = DelayPattern.musicgen(codebooks, 1)
        self._card = card

    def make(self, crops: CodeBatch, rng: np.random.Generator | None) -> LMBatch:
        """Tensors of ``crops``; ``rng`` decides what each of them hears, None lets all hear their words, beat and scale."""
        codes = torch.from_numpy(crops.codes)
        frames = codes.shape[2]
        sequence = self._pattern.sequence(codes, frames, self._card)
        following = sequence[..., 1:]
        targets = following.masked_fill(following == self._card, -1)
        heard = [self._heard(clip, frames, rng) for clip in crops.clips]
        rows = np.zeros((len(heard), following.shape[2], FEATURES), dtype=np.float32)
        for row, (score, _) in zip(rows, heard, strict=True):
            if score is not None:
                row[:] = score.rows(0, len(row))
        tokens, mask = self._read([caption for _, caption in heard])
        return LMBatch(sequence[..., :-1], targets.transpose(1, 2), torch.from_numpy(rows), tokens, mask)

    def _heard(self, clip: Clip, frames: int, rng: np.random.Generator | None) -> tuple[Score | None, str]:
        config = self._config
        if rng is None:
            return score_of_clip(clip, frames, melody=False, chords=False), clip.caption
        null, text, grid, melody, chords, scale = rng.random(6)
        if null < config.null_share:
            return None, ""
        score = score_of_clip(
            clip,
            frames,
            grid=grid >= config.grid_dropout,
            melody=melody < config.melody_share,
            chords=chords < config.chord_share,
            scale=scale < config.scale_share,
        )
        return score, "" if text < config.text_dropout else clip.caption

    def _read(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        read = [self._tokenizer(caption)["input_ids"] if caption else [] for caption in captions]
        length = max(1, *(len(ids) for ids in read))
        tokens = torch.zeros(len(read), length, dtype=torch.long)
        mask = torch.zeros(len(read), length, dtype=torch.bool)
        for row, ids in enumerate(read):
            tokens[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
            mask[row, : len(ids)] = True
        return tokens, mask


def score_of_clip(
    clip: Clip,
    frames: int,
    *,
    frame_rate: Fraction | int = 50,
    grid: bool = True,
    melody: bool = True,
    chords: bool = True,
    scale: bool = True,
) -> Score:
    """What is known about a crop, as far as it is asked for and its piece has it.

    Args:
        clip: the crop.
        frames: its length in codec frames.
        frame_rate: codec frames per second.
        grid: whether its beats and bars are told.
        melody: whether its lead is told.
        chords: whether its harmony is told.
        scale: whether its key is told.
    """
    record, rate = clip.record, Fraction(frame_rate)
    metre = record.metre if record.metre_name else None
    known = metre is not None and record.bpm > 0
    beat = clip.start * record.bpm / 60 if known else Fraction(0)
    grids = (
        BeatGrid(record.bpm, metre.beats, metre.division, beat % metre.beats)
        if grid and known and metre is not None
        else None
    )
    tones = (
        frozenset((record.tonic + step) % PITCH_CLASSES for step in MODES[record.mode].steps) if record.mode else None
    )
    return Score(
        rate,
        grid=grids,
        melody=_melody(clip, frames, rate) if melody and record.lead else None,
        chords=_chords(clip, frames, rate) if chords and record.chords else None,
        scale=tones if scale else None,
    )


def _melody(clip: Clip, frames: int, rate: Fraction) -> Melody:
    pitches = clip.chroma(rate, frames)
    onsets = np.zeros(frames, dtype=np.bool_)
    starts = np.array([note.start for note in clip.record.lead], dtype=np.int64)
    at = _frames_of(clip, starts, rate)
    onsets[at[(at >= 0) & (at < frames)]] = True
    return Melody(pitches, onsets)


def _chords(clip: Clip, frames: int, rate: Fraction) -> NDArray[np.float32]:
    rows = np.zeros((frames, PITCH_CLASSES), dtype=np.float32)
    starts = _frames_of(clip, np.array([chord.start for chord in clip.record.chords], dtype=np.int64), rate)
    ends = _frames_of(clip, np.array([chord.end for chord in clip.record.chords], dtype=np.int64), rate)
    for chord, start, end in zip(clip.record.chords, starts.tolist(), ends.tolist(), strict=True):
        if end > 0 and start < frames:
            rows[max(start, 0) : end, list(chord.pitch_classes)] = 1
    return rows


def _frames_of(clip: Clip, ticks: NDArray[np.int64], rate: Fraction) -> NDArray[np.int64]:
    """The frames in which moments of a piece, in ticks, are first heard; of the crop, and outside it too."""
    per_tick = float(60 * rate / (clip.record.bpm * TICKS_PER_BEAT))
    frames: NDArray[np.int64] = np.floor(ticks * per_tick - float(clip.start * rate) + 1e-6).astype(np.int64)
    return frames
