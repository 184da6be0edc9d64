"""What AudioCraft does beside its models: loudness, levelling, resampling, chroma, positions and draws."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audio_files.loudness import LoudnessMeter, LoudnessMode, level
from audio_files.regions import mix_and_resample
from audio_files.takes import TakeWriter
from engine.conditioning.melody import MelodyFacts, chroma, chroma_filters, chroma_window
from engine.runtime.lm import sinusoids
from engine.runtime.sampling import SamplingSettings, sample
from tests.parity.figures import Figures, difference
from tests.parity.recorded import NPZ, arrays

MODES = {"peak": "peak", "clip": "clip", "rms": "rms", "loudness": "lufs", "loudness_comp": "loud"}
"""AudioCraft's strategies, and our modes."""
RATE = 32_000
FACTS = MelodyFacts(sample_rate=RATE, frame_rate=Fraction(50), window_frames=1500, frames=235)
DRAW_SEED = 11


class ClippingMeter(LoudnessMeter):
    """The meter of torchaudio, which AudioCraft measures with: each of its filters clips at full scale, so that what is loud is
    measured too quiet. Ours do not; this one shows that nothing else differs."""

    def _weigh(self, index: int, signal: np.ndarray) -> np.ndarray:
        return super()._weigh(index, signal).clip(-1.0, 1.0)


def compare_utilities(path: Path, folder: Path) -> Figures:
    """Everything in ``utils.npz``.

    Args:
        path: the file.
        folder: an empty one, where a take is written.
    """
    recorded = arrays(path)
    return {
        "loudness": compare_loudness(recorded),
        "normalisation_max_difference": compare_levelling(recorded),
        "int16_max_difference": compare_written(recorded, folder),
        "resampling_max_difference": compare_resampling(recorded),
        "chroma": compare_chroma(recorded),
        "positions_max_difference": difference(sinusoids(*recorded["sin_emb"].shape[1:])[None], recorded["sin_emb"]),
        "draws_equal": compare_draws(recorded),
    }


def loudness(audio: Tensor, meter: type[LoudnessMeter] = LoudnessMeter) -> float:
    """In LUFS, of ``[channels, samples]``."""
    measured = meter(RATE, len(audio))
    measured.push(audio.numpy().T)
    return measured.integrated() or -math.inf


def hot_sound(recorded: NPZ) -> Tensor:
    """What the arrays call hot: the stereo sound, so many times louder as it is where it was not clipped."""
    stereo, clipped = recorded["loud_wav_stereo"], recorded["norm_hot_clip"]
    kept = (clipped.abs() < clipped.abs().max()) & (stereo.abs() > stereo.abs().max() / 100)
    return stereo * (clipped[kept] / stereo[kept]).median()


def compare_loudness(recorded: NPZ) -> Figures:
    """Differences in LU. What is hot is measured as the reference does, whose filters clip; ours beside it is the standard's."""
    stereo, hot = recorded["loud_wav_stereo"], hot_sound(recorded)
    return {
        "mono": abs(loudness(recorded["loud_wav_mono"]) - float(recorded["lufs_mono"])),
        "stereo": abs(loudness(stereo) - float(recorded["lufs_stereo"])),
        "hot": abs(loudness(hot, ClippingMeter) - float(recorded["lufs_hot"])),
        "hot_as_standard": loudness(hot),
        "hot_as_recorded": float(recorded["lufs_hot"]),
    }


def compare_levelling(recorded: NPZ) -> Figures:
    """By array. The hot sound's loudness is taken as the reference measures it."""
    mono, stereo = recorded["loud_wav_mono"], recorded["loud_wav_stereo"]
    figures = {}
    for name, audio in (("mono", mono), ("stereo", stereo), ("hot", hot_sound(recorded))):
        for strategy, mode in MODES.items():
            if (key := f"norm_{name}_{strategy}") in recorded:
                lufs = loudness(audio, ClippingMeter) if name == "hot" else None
                ours = level(audio.numpy(), RATE, LoudnessMode(mode), integrated_lufs=lufs)
                figures[key] = difference(torch.from_numpy(ours), recorded[key])
    quiet = recorded["norm_quiet_loudness"]
    figures["norm_quiet_loudness"] = difference(torch.from_numpy(level(quiet.numpy(), RATE, LoudnessMode.LUFS)), quiet)
    return figures


def compare_written(recorded: NPZ, folder: Path) -> int:
    """In steps of 16 bits, of a take that is written to disk."""
    import soundfile

    with TakeWriter(folder, "parity", sample_rate=RATE, channels=2, subtype="PCM_16", loudness="loud") as writer:
        writer.write(recorded["loud_wav_stereo"].numpy().T)
        take = writer.finish({})
    written, _ = soundfile.read(take.path, dtype="int16")
    return int(np.abs(written.astype(int) - recorded["written_int16"].numpy()).max())


def compare_resampling(recorded: NPZ) -> float:
    ours = mix_and_resample(recorded["resample_in"].numpy(), 44_100, sample_rate=RATE, channels=1, resampling="sinc")
    return difference(torch.from_numpy(ours), recorded["resample_44100_to_32000"])


def compare_chroma(recorded: NPZ) -> Figures:
    sound = recorded["chroma_wav"][0]
    strengths = chroma(sound, FACTS)
    named = torch.nn.functional.one_hot(strengths.argmax(dim=1), 12).float()
    short = chroma(sound[:4000], FACTS).argmax(dim=1)
    silence = chroma(torch.zeros(1), FACTS).argmax(dim=1)
    return {
        "strengths_max_difference": difference(strengths, recorded["chroma_argmax0"][0]),
        "equal": torch.equal(named, recorded["chroma_argmax1"][0]),
        "short_equal": torch.equal(short, recorded["chroma_short"][0].argmax(dim=1)),
        "null_equal": torch.equal(silence, recorded["chroma_null"][0].argmax(dim=1)),
        "filters_max_difference": difference(chroma_filters(RATE, FACTS.fft_size), recorded["chroma_fbanks"]),
        "window_max_difference": difference(chroma_window(FACTS.fft_size), recorded["chroma_window"]),
    }


def compare_draws(recorded: NPZ) -> bool:
    scores = recorded["sample_probs"].log()
    equal = True
    for name, settings in (
        ("sample_topk5", SamplingSettings(top_k=5)),
        ("sample_topp08", SamplingSettings(top_p=0.8, top_k=0)),
    ):
        ours = sample(scores, settings, torch.Generator().manual_seed(DRAW_SEED))
        equal &= torch.equal(ours, recorded[name][..., 0])
    return equal
