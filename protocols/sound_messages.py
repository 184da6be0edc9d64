"""What becomes of a stream's sound: parameters of every request that opens one through the bridge."""

from __future__ import annotations

from typing import Annotated, Literal

from protocols.fields import INT32_MAX, about

Level = Annotated[float, about("Level of the playback.", unit="dB", ge=-120, le=12)]
Sound = Annotated[bool, about("Play it through the sound card.")]
Save = Annotated[bool, about("Write it to the takes folder, with a sidecar.")]
Format = Annotated[Literal["wav", "flac"], about("Format of the file.")]
Loudness = Annotated[
    Literal["auto", "none", "lufs", "peak", "loud", "rms", "clip"],
    about(
        "How the file is levelled: none; lufs to -14 LUFS, its peaks kept; peak to a peak of -1 dBFS; loud to -14 LUFS, with peaks "
        "rounded off; rms to -18 dBFS RMS; clip at -1 dBFS; auto is loud for models of sounds and none for models of music."
    ),
]
TakeName = Annotated[str, about("Start of the file's name; empty takes the prompt's words.", max_length=80)]
Replaces = Annotated[
    int,
    about("Stream whose place it takes: that one fades out where this one begins; 0 for none.", ge=0, le=INT32_MAX),
]


def levelling_of(loudness: str, kind: str) -> str:
    """How a file is levelled, for what was asked for and for what the model makes: music or sound."""
    if loudness != "auto":
        return loudness
    return "loud" if kind == "sound" else "none"
