"""The metrics: each for what the model made, beside the same for real renders (its ceiling), for real renders that went through the
codec (the best that an LM over this codec can do), and for a control that shows what chance is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.checkpoints import ModelBundle
from engine.conditioning.words import Directions
from engine.evaluation.chroma import MELODY_RATE, melody_agreement, melody_chroma, melody_cosine, share_in_key
from engine.evaluation.frechet import frechet_distance
from engine.evaluation.generation import Request
from engine.evaluation.language import cross_entropy, unigram_entropy
from engine.evaluation.material import HeldOut
from engine.evaluation.profile import Profile, mean, profile
from engine.evaluation.spectra import multi_resolution_distance
from engine.evaluation.tempo import beat_alignment, is_right
from engine.training.codec.metrics import QualityMeter
from engine.training.composer import NO_PITCH
from engine.training.lm.batches import score_of_clip

Samples = NDArray[np.float32]
Metric = dict[str, Any]

_CODEC_BATCH = 16
_NOISE_RMS = 0.1


def codec_metrics(real: Sequence[Samples], decoded: Sequence[Samples], sample_rate: int) -> dict[str, Metric]:
    """How far decoded clips are from the originals; equal sound is the ceiling."""
    originals, made = (torch.from_numpy(np.stack(clips)) for clips in (real, decoded))
    parts = iter(torch.split(made.unsqueeze(1), _CODEC_BATCH))
    quality = QualityMeter(sample_rate).measure(lambda _: next(parts), originals.unsqueeze(1), _CODEC_BATCH)
    pairs = zip(torch.split(made, _CODEC_BATCH), torch.split(originals, _CODEC_BATCH), strict=True)
    distances = [(multi_resolution_distance(one, two), len(one)) for one, two in pairs]
    spectra = sum(distance * count for distance, count in distances) / len(real)
    return {
        "log_mel_distance": {"value": quality.log_mel, "ceiling": 0.0},
        "si_sdr_db": {"value": quality.si_sdr, "ceiling": None},
        "multi_resolution_stft_distance": {"value": spectra, "ceiling": 0.0},
        "level_db": {"value": quality.level, "ceiling": 0.0},
    }


def language_metrics(bundle: ModelBundle, clips: Sequence[HeldOut], codes: torch.Tensor) -> dict[str, Metric]:
    """Cross-entropy and perplexity on held-out codes ``[clips, codebooks, frames]``, with different parts of what is known.

    ``value`` is with caption, beat and scale, as the training measures itself. What the least possible is nobody knows: there is no
    ceiling.
    """
    frames = codes.shape[2]

    def entropies(melody: bool) -> list[float]:
        conditions = []
        for one in clips:
            text = bundle.text.encode(one.clip.caption)
            score = None
            if bundle.score:
                score = score_of_clip(one.clip, frames, frame_rate=bundle.frame_rate, melody=melody, chords=melody)
            conditions.append(bundle.lm.condition(None if text.is_null else text.hidden, score=score))
        return cross_entropy(bundle, codes, conditions)

    told = entropies(melody=False)
    unigram = unigram_entropy(codes, bundle.card)
    metric: Metric = {
        "value": mean(told),
        "ceiling": None,
        "unigram": mean(unigram),
        "with_melody_and_chords": mean(entropies(melody=True)) if bundle.score else None,
        "without_conditions": mean(cross_entropy(bundle, codes, [bundle.lm.condition(None)] * len(clips))),
        "by_codebook": told,
        "unigram_by_codebook": unigram,
    }
    perplexity: Metric = {
        "value": math.exp(mean(told)),
        "ceiling": None,
        "unigram": math.exp(mean(unigram)),
        "by_codebook": [math.exp(value) for value in told],
    }
    return {"cross_entropy_nats": metric, "perplexity": perplexity}


def tempo_metrics(
    clips: Sequence[HeldOut], made: Sequence[Profile], real: Sequence[Profile], coded: Sequence[Profile]
) -> dict[str, Metric]:
    """Whether the tempo is the one that was asked for, and whether onsets are on the beat that was asked for.

    The control asks for the next clip's tempo, or lays the next clip's grid.
    """
    asked = [float(Directions(one.prompt).tempo or one.clip.record.bpm) for one in clips]
    played = [one.clip.bpm for one in clips]

    def right(heard: Sequence[Profile], tempos: Sequence[float]) -> float:
        return mean([float(is_right(one.tempo, bpm)) for one, bpm in zip(heard, tempos, strict=True)])

    def aligned(heard: Sequence[Profile], tempos: Sequence[float]) -> float:
        return mean([beat_alignment(one.strength, bpm) for one, bpm in zip(heard, tempos, strict=True)])

    return {
        name: {
            "value": measure(made, asked),
            "ceiling": measure(real, played),
            "through_codec": measure(coded, played),
            "control": measure(made, _next(asked)),
        }
        for name, measure in (("tempo_right", right), ("beat_alignment", aligned))
    }


def key_metrics(
    clips: Sequence[HeldOut], made: Sequence[Profile], real: Sequence[Profile], coded: Sequence[Profile]
) -> dict[str, Metric]:
    """The share of the chroma in the scale that was asked for; the control takes the next clip's scale.

    A clip without chroma, as silence is, has a share of 0.
    """
    asked = [Directions(one.prompt).scale or one.scale for one in clips]
    played = [one.scale for one in clips]

    def share(heard: Sequence[Profile], scales: Sequence[frozenset[int]]) -> float:
        return mean([np.nan_to_num(share_in_key(one.chroma, scale)) for one, scale in zip(heard, scales, strict=True)])

    metric = {"value": share(made, asked), "ceiling": share(real, played), "through_codec": share(coded, played)}
    return {"in_key": metric | {"control": share(made, _next(asked))}}


def melody_metrics(
    bundle: ModelBundle,
    clips: Sequence[HeldOut],
    made: Sequence[Samples],
    unasked: Sequence[Samples],
    coded: Sequence[Samples],
) -> dict[str, Metric]:
    """How well clips follow the melody that was given, as cosine (which the gate is about) and as agreement.

    A real mix is the ceiling: other players sound beside the melody in it, and the model is asked for a mix too. Its lead alone is
    given beside it. The control compares with the next clip's melody; ``not_asked`` is what the model makes of the same prompts
    without a melody, which is in the same key.

    Args:
        bundle: the model.
        clips: whose melodies were given.
        made: with the melody.
        unasked: without it.
        coded: the real mixes through the codec.
    """
    rate = bundle.sample_rate
    frames = len(melody_chroma(clips[0].mix, rate))
    melodies = [one.clip.chroma(Fraction(MELODY_RATE), frames) for one in clips]
    leads = [one.lead for one in clips if one.lead is not None]
    chromas = {
        name: [melody_chroma(np.nan_to_num(samples), rate) for samples in sounds]
        for name, sounds in (
            ("value", made),
            ("ceiling", [one.mix for one in clips]),
            ("ceiling_lead_alone", leads if len(leads) == len(clips) else []),
            ("through_codec", coded),
            ("not_asked", unasked),
        )
    }
    result: dict[str, Metric] = {}
    for metric, measure in (("melody_cosine", melody_cosine), ("melody_agreement", melody_agreement)):
        result[metric] = {
            name: mean([measure(one, melody) for one, melody in zip(heard, melodies, strict=True)]) if heard else None
            for name, heard in chromas.items()
        }
        shuffled = zip(chromas["value"], _next(melodies), strict=True)
        result[metric]["control"] = mean([measure(one, melody) for one, melody in shuffled])
    return result


def has_melody(one: HeldOut, least: float = 0.3) -> bool:
    """Whether a melody sounds in a clip for at least that share of it."""
    pitches = one.clip.chroma(Fraction(MELODY_RATE))
    return bool((pitches != NO_PITCH).mean() >= least)


def melody_request(bundle: ModelBundle, one: HeldOut) -> Request:
    """The clip's prompt with its melody."""
    frames = math.ceil(one.clip.seconds * bundle.frame_rate)
    score = score_of_clip(one.clip, frames, frame_rate=bundle.frame_rate, grid=False, chords=False, scale=False)
    return Request(one.prompt, score.melody)


def resemblance_metrics(
    clips: Sequence[HeldOut],
    made: Sequence[Profile],
    real: Sequence[Profile],
    coded: Sequence[Profile],
    others: Sequence[Profile],
) -> dict[str, Metric]:
    """How far onset rate and spectral centroid are from those of the real render of the same prompt, averaged over prompts.

    The ceiling is how far another crop of the same piece is, the control how far the next clip is.
    """
    rates = [[one.onset_rate for one in heard] for heard in (made, real, coded, others)]
    centroids = [
        [math.log2(one.centroid) if one.centroid > 0 else math.nan for one in heard]
        for heard in (made, real, coded, others)
    ]
    result: dict[str, Metric] = {}
    for name, (ours, theirs, through, other) in (
        ("onset_rate_difference", rates),
        ("spectral_centroid_difference_octaves", centroids),
    ):
        result[name] = {
            "value": _difference(ours, theirs),
            "ceiling": _difference(other, theirs),
            "through_codec": _difference(through, theirs),
            "control": _difference(ours, _next(theirs)),
        }
    result["onset_rate_difference"] |= {"made_per_second": mean(rates[0]), "real_per_second": mean(rates[1])}
    leads = [one.clip.record.instruments.get("lead", "no lead") for one in clips]
    result["spectral_centroid_difference_octaves"]["by_lead_hz"] = {
        lead: {
            "clips": leads.count(lead),
            "made": _mean_of(made, leads, lead),
            "real": _mean_of(real, leads, lead),
        }
        for lead in sorted(set(leads))
    }
    return result


def frechet_metrics(
    made: Sequence[Profile], real: Sequence[Profile], coded: Sequence[Profile], sample_rate: int, seed: int
) -> dict[str, Metric]:
    """The Fréchet distance of log-mel statistics of seconds, between halves of the prompts that have no piece in common.

    All distances are between sets of half the clips, so that they compare: the ceiling is real against real. White noise of
    the same size is the reference of what is far. It is no FAD: that is defined with VGGish, whose weights are not at hand.
    """
    halves = [[_embeddings(heard[start::2]) for start in (0, 1)] for heard in (made, real, coded)]
    ours, theirs, through = halves
    rng = np.random.default_rng(seed)
    seconds = len(real[0].embedding)
    white = [
        profile((_NOISE_RMS * rng.standard_normal(seconds * sample_rate)).astype(np.float32), sample_rate)
        for _ in theirs[0][::seconds]
    ]
    noise = _embeddings(white)

    def crossed(heard: list[NDArray[np.float64]]) -> float:
        return (frechet_distance(heard[0], theirs[1]) + frechet_distance(heard[1], theirs[0])) / 2

    metric: Metric = {
        "value": crossed(ours),
        "ceiling": frechet_distance(*theirs),
        "through_codec": crossed(through),
        "control": frechet_distance(noise, theirs[1]),
    }
    return {"frechet_logmel": metric}


def fault_metrics(made: Sequence[Profile], real: Sequence[Profile]) -> dict[str, Metric]:
    """How many clips are silent, and how many clip."""
    return {
        "silent_clips": {"value": sum(one.silent for one in made), "ceiling": sum(one.silent for one in real)},
        "clipping_clips": {"value": sum(one.clipping for one in made), "ceiling": sum(one.clipping for one in real)},
    }


def _next(values: Sequence[Any]) -> list[Any]:
    return [*values[1:], *values[:1]]


def _difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return mean([abs(one - two) for one, two in zip(ours, theirs, strict=True)])


def _mean_of(heard: Sequence[Profile], leads: Sequence[str], lead: str) -> float:
    return mean([one.centroid for one, name in zip(heard, leads, strict=True) if name == lead])


def _embeddings(heard: Sequence[Profile]) -> NDArray[np.float64]:
    return np.concatenate([one.embedding for one in heard])
