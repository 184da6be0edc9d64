"""Gains that bring a file's channels to mono or stereo."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

MAX_SOURCE_CHANNELS = 32

# One letter per channel: L and R front, C centre, l and r surround, b back centre, W low-frequency effects.
_LAYOUTS = {3: "LRC", 4: "LRlr", 5: "LRClr", 6: "LRCWlr", 7: "LRCWblr", 8: "LRCWlrlr"}
# Vorbis I, section 4.3.9, puts the centre second and the low-frequency channel last.
_VORBIS_LAYOUTS = {3: "LCR", 4: "LRlr", 5: "LCRlr", 6: "LCRlrW", 7: "LCRlrbW", 8: "LCRlrlrW"}

_HALF_POWER = math.sqrt(0.5)
_LEFT_GAINS = {"L": 1.0, "C": _HALF_POWER, "l": _HALF_POWER, "b": 0.5}
_RIGHT_GAINS = {"R": 1.0, "C": _HALF_POWER, "r": _HALF_POWER, "b": 0.5}


def mixing_note(source: int, target: int) -> str:
    """That sound of more channels than two is mixed, in words; empty for mono and stereo, where it goes without saying."""
    return f"the region's {source} channels are mixed to {'mono' if target == 1 else 'stereo'}" if source > 2 else ""


def mix_gains(source_channels: int, channels: int, *, vorbis_order: bool = False) -> npt.NDArray[np.float32]:
    """Gains ``[source_channels, channels]`` with which ``block @ gains`` has the wanted channels.

    To mono: the mean of all channels. Mono to stereo: the same signal twice. Three to eight channels to stereo: the
    downmix of ITU-R BS.775 (centre and surrounds at -3 dB, low-frequency channel left out) in the channel order of
    WAVEFORMATEXTENSIBLE and FLAC, or of Vorbis. More than eight: a stack of stereo pairs, odd channels to the left,
    even ones to the right, the last of an odd count to both. The gains of an output add up to one, so a mix never
    clips where its sources did not.

    Args:
        source_channels: 1 to 32.
        channels: 1 or 2.
        vorbis_order: the channels come in the order of an Ogg file.
    """
    if channels == source_channels:
        return np.eye(channels, dtype=np.float32)
    if channels == 1:
        return np.full((source_channels, 1), 1.0 / source_channels, dtype=np.float32)
    if source_channels == 1:
        return np.ones((1, 2), dtype=np.float32)
    layouts = _VORBIS_LAYOUTS if vorbis_order else _LAYOUTS
    layout = layouts.get(source_channels) or ("LR" * source_channels)[:source_channels]
    gains = np.array([[_LEFT_GAINS.get(name, 0.0), _RIGHT_GAINS.get(name, 0.0)] for name in layout])
    if source_channels not in layouts and source_channels % 2:
        gains[-1] = 1.0
    return np.asarray(gains / gains.sum(axis=0), dtype=np.float32)
