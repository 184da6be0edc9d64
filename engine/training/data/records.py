"""What a data set knows about its pieces, and how that is written beside the sound."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.training.composer import METRES, Metre, Piece, chroma_of_notes
from engine.training.composer.piece import to_ticks
from protocols.errors import ErrorCode, RequestError

INDEX_VERSION = 1


class LeadNote(msgspec.Struct, frozen=True, array_like=True):
    """A note of the melody, in ticks of `composer.TICKS_PER_BEAT`."""

    start: int
    end: int
    pitch: int
    velocity: int


class ChordSpan(msgspec.Struct, frozen=True, array_like=True):
    """A harmony, in ticks; pitch classes from the root upwards."""

    start: int
    end: int
    pitch_classes: tuple[int, ...]
    name: str


class PieceRecord(msgspec.Struct, frozen=True):
    """A piece in a shard; see `Piece` for what the fields mean.

    Attributes:
        offset: of the piece in its shard, in samples or frames.
        length: in samples or frames.
        bpm_numerator: of the tempo; 0 where it is not known, as of a recording.
        mode: of the scale; "" where the key is not known.
        metre_name: "" where beats and bars are not known.
        sections: label, first bar and bars of each part of the form.
        instruments: by role.
    """

    seed: int
    style: str
    captions: tuple[str, ...]
    tags: tuple[str, ...]
    bpm_numerator: int
    bpm_denominator: int
    tonic: int
    mode: str
    key: str
    metre_name: str
    bars: int
    sections: tuple[tuple[str, int, int], ...]
    chords: tuple[ChordSpan, ...]
    lead: tuple[LeadNote, ...]
    instruments: dict[str, str]
    offset: int
    length: int

    @property
    def bpm(self) -> Fraction:
        return Fraction(self.bpm_numerator, self.bpm_denominator)

    @property
    def metre(self) -> Metre:
        return METRES[self.metre_name]

    def seconds_at(self, beat: Fraction | int) -> Fraction:
        """The time of a place in the music, in seconds from the piece's beginning."""
        return beat * 60 / self.bpm

    def chroma(self, rate: Fraction, frames: int, first: Fraction = Fraction(0)) -> NDArray[np.int64]:
        """The melody's pitch class ``[frames]`` at ``first + i / rate`` seconds, `composer.NO_PITCH` where there is none."""
        notes = [(note.start, note.end, note.pitch) for note in self.lead]
        return chroma_of_notes(notes, self.bpm, first, rate, frames)


class _Version(msgspec.Struct, frozen=True):
    """What every version of an index says."""

    version: int


class ShardIndex(msgspec.Struct, frozen=True):
    """What stands beside a shard's data.

    Attributes:
        version: of this form.
        kind: "audio" or "codes".
        rate_numerator: units (samples or frames) per second.
        rate_denominator: of the same.
        width: numbers in a unit: 1 for audio, the codebooks for codes.
        card: entries of a codebook; 0 for audio.
        records: the pieces, in the order of their offsets.
    """

    version: int
    kind: str
    rate_numerator: int
    rate_denominator: int
    width: int
    card: int
    records: tuple[PieceRecord, ...]

    @property
    def rate(self) -> Fraction:
        return Fraction(self.rate_numerator, self.rate_denominator)

    @property
    def seconds(self) -> float:
        """How much music there is."""
        return float(sum(record.length for record in self.records) / self.rate)


def record_of(piece: Piece, offset: int, length: int) -> PieceRecord:
    """Everything about a piece that is kept."""
    return PieceRecord(
        seed=piece.seed,
        style=piece.style,
        captions=piece.captions,
        tags=piece.tags,
        bpm_numerator=piece.bpm.numerator,
        bpm_denominator=piece.bpm.denominator,
        tonic=piece.tonic,
        mode=piece.mode.name,
        key=piece.key,
        metre_name=piece.metre.name,
        bars=piece.bars,
        sections=tuple((section.label, section.first_bar, section.bars) for section in piece.sections),
        chords=tuple(
            ChordSpan(to_ticks(chord.start), to_ticks(chord.end), chord.pitch_classes, chord.name)
            for chord in piece.chords
        ),
        lead=tuple(LeadNote(to_ticks(n.start), to_ticks(n.end), n.pitch, n.velocity) for n in piece.lead),
        instruments={track.role: track.instrument for track in piece.tracks},
        offset=offset,
        length=length,
    )


def read_index(path: Path) -> ShardIndex:
    """Read a shard's index.

    Raises:
        RequestError: ``malformed`` for another file, ``version`` for an index of another version.
    """
    try:
        content = path.read_bytes()
        version = msgspec.msgpack.decode(content, type=_Version).version
        if version != INDEX_VERSION:
            raise RequestError(ErrorCode.VERSION, "data", f"version {version}", f"version {INDEX_VERSION}")
        return msgspec.msgpack.decode(content, type=ShardIndex)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(ErrorCode.MALFORMED, "data", str(path), "an index of a shard") from error


def fingerprint(records: Sequence[PieceRecord]) -> str:
    """Names a set of pieces in 16 hexadecimal digits: what a resumed training compares, to be sure it hears the same."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(f"{record.seed} {record.style} {record.offset} {record.length}\n".encode())
    return digest.hexdigest()[:16]
