"""The seam between an audio region and its continuation, in figures: how far the sound jumps, and how much its level changes.

The regions are the composer's pieces, played by FluidSynth and cut at a bar line in the middle; the model goes on from there, once
with the seam led over and once without. Beside both stands how the piece itself goes on, which is what no seam at all sounds like.

How loud the music goes on is the composer's and the model's choice. What the seam itself does to the level is told by the codec's
version of the piece: it goes on with the very same music.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._figures import table
from engine.admission import Admission
from engine.audio_prompt import DECODE_CONTEXT_FRAMES
from engine.checkpoints.bundle import ModelBundle
from engine.preparation import Preparation
from engine.seam import Seam
from engine.stream import AudioBlock
from engine.training.composer import Piece, compose
from engine.training.rendering import Renderer
from protocols.messages import Continue
from protocols.settings import Settings

PIECES = 12
SECONDS = 1.0
"""Of new material."""
AROUND_SECONDS = 0.5
"""How much of either side the level is taken over."""
STEPS_SECONDS = 0.02
"""How much of either side tells how far this sound goes from one sample to the next."""
WAYS = {"raw": "the model's own sound", "led": "led over", "piece": "the piece itself"}

Figures = dict[str, float]


def seam_figures(region: NDArray[np.float32], new: NDArray[np.float32], sample_rate: int) -> Figures:
    """How one sound follows another.

    Args:
        region: ``[samples]``.
        new: ``[samples]``, from the very next one on.
        sample_rate: of both, in Hz.

    Returns:
        ``jump``: from the last sample to the first, in steps of the usual size (RMS of the differences around the seam), so that
        1 is what any two samples do; ``level_db``: the level after the seam less the level before it.
    """
    near, far = round(STEPS_SECONDS * sample_rate), round(AROUND_SECONDS * sample_rate)
    before, after = region.astype(np.float64), new.astype(np.float64)
    steps = np.concatenate((np.diff(before[-near:]), np.diff(after[:near])))
    usual = max(float(np.sqrt(np.mean(steps**2))), 1e-9)
    return {
        "jump": abs(float(after[0] - before[-1])) / usual,
        "level_db": _level(after[:far]) - _level(before[-far:]),
    }


def measure_seams(bundle: ModelBundle, pieces: int = PIECES) -> dict[str, Any]:
    """The seams of so many pieces.

    Raises:
        RequestError: FluidSynth or its soundfont is missing; see `Renderer`.
    """
    renderer = Renderer(sample_rate=bundle.sample_rate)
    each: dict[str, list[Figures]] = {way: [] for way in WAYS}
    off: dict[str, list[float]] = {"raw": [], "led": []}
    for seed in range(pieces):
        piece = compose(seed)
        sound = renderer.render(piece, tail_seconds=SECONDS).mix
        bar = piece.seconds / piece.bars
        end = round(bar * max(1, piece.bars // 2) * bundle.sample_rate)
        region = sound[:end]
        for way, new in {**_continued(bundle, piece, region), "piece": sound[end:]}.items():
            each[way].append(seam_figures(region, new, bundle.sample_rate))
        for way, decibels in _level_off(bundle, region, sound[end:]).items():
            off[way].append(abs(decibels))
    renderer.close()
    return {
        "pieces": pieces,
        "around_s": AROUND_SECONDS,
        **{way: _summary(figures) for way, figures in each.items()},
        "codec_level_off_db": {way: round(float(np.mean(figures)), 3) for way, figures in off.items()},
        "each": each,
    }


def describe_seams(result: Mapping[str, Any]) -> str:
    """The seams in words."""
    names = ("jump_p50", "jump_max", "level_change_db", "level_change_max_db")
    rows = [[text, *(result[way][name] for name in names)] for way, text in WAYS.items()]
    header = ["at the seam", "jump p50", "jump max", f"level ±{result['around_s']:g} s, dB", "at most, dB"]
    off = result["codec_level_off_db"]
    facts = (
        f"\n{result['pieces']} pieces; a jump of 1 is the usual step from sample to sample; the same music through the codec is "
        f"{off['raw']:.2f} dB off in level after the seam, {off['led']:.2f} dB when led over\n"
    )
    return table(header, rows) + facts


def _continued(bundle: ModelBundle, piece: Piece, region: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """What the model plays after a region ``[samples]``, without the seam and with it: the same codes both times."""
    made = {}
    for way in ("raw", "led"):
        request = Continue(
            prompt=piece.caption,
            bpm=float(piece.bpm),
            duration=SECONDS,
            seed=piece.seed,
            sample_rate=bundle.sample_rate,
            channels=bundle.channels,
            seam=way == "led",
        )
        payload = np.repeat(region[:, None], bundle.channels, axis=1).astype("<f4").tobytes()
        stream = Preparation(bundle).prepare(1, Admission(bundle, Settings()).plan(request, payload)).stream
        blocks: list[NDArray[np.float32]] = []
        while not stream.sampler.done:
            blocks += [event.samples for event in stream.advance() if isinstance(event, AudioBlock)]
        made[way] = np.concatenate(blocks).mean(axis=1)
    return made


def _level_off(bundle: ModelBundle, region: NDArray[np.float32], new: NDArray[np.float32]) -> dict[str, float]:
    """How far the codec's version of what follows a region is from it in level, in dB, without the seam and with it."""
    context = min(DECODE_CONTEXT_FRAMES, len(region) // bundle.hop_length) * bundle.hop_length
    sound = torch.from_numpy(np.concatenate((region[-context:], new))).expand(bundle.channels, -1)
    coded = bundle.codec.decode(bundle.codec.encode(sound)).float().cpu().numpy()[:, : sound.shape[1]]
    held = bundle.codec.lookahead_samples
    same = np.repeat(region[None, -context:], bundle.channels, axis=0)
    seam = Seam.between(same, coded[:, : context - held], held, bundle.sample_rate)
    far = round(AROUND_SECONDS * bundle.sample_rate)
    raw = coded[:, context:].T
    true = _level(new[:far].astype(np.float64))
    made = {"raw": raw, "led": seam.applied(raw, 0)}
    return {way: _level(after[:far].astype(np.float64)) - true for way, after in made.items()}


def _level(sound: NDArray[np.float64]) -> float:
    """In dBFS; silence is -120."""
    return 10 * float(np.log10(max(float(np.mean(sound**2)), 1e-12)))


def _summary(figures: list[Figures]) -> Figures:
    jumps = [each["jump"] for each in figures]
    changes = [abs(each["level_db"]) for each in figures]
    named: dict[str, Any] = {
        "jump_p50": np.median(jumps),
        "jump_max": max(jumps),
        "level_change_db": np.mean(changes),
        "level_change_max_db": max(changes),
        "level_db": np.mean([each["level_db"] for each in figures]),
    }
    return {name: round(float(value), 3) for name, value in named.items()}
