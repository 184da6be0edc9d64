"""Beats and seconds on one line, in fractions: tempo changes, stops and jumps, with no drift however long it goes on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from protocols.units import as_fraction, seconds_to_samples

Unit = Literal["beat", "bar"]
MAX_PIECES = 64
"""Pieces of the past that are kept."""


@dataclass(frozen=True)
class Piece:
    """From a moment on: which beat it is there, and how it goes on.

    Args:
        seconds: the moment.
        beat: position there, in beats from the start of bar 1.
        bpm: beats per minute.
        playing: False while the transport stands.
    """

    seconds: Fraction
    beat: Fraction
    bpm: Fraction
    playing: bool

    def beat_at(self, seconds: Fraction) -> Fraction:
        """Position at a moment that is not before this piece."""
        return self.beat + (seconds - self.seconds) * self.bpm / 60 if self.playing else self.beat

    def seconds_at(self, beat: Fraction) -> Fraction:
        """When a beat comes, while this piece plays."""
        return self.seconds + (beat - self.beat) * 60 / self.bpm


@dataclass(frozen=True)
class Position:
    """A place in bars as people count it, both from 1; ``beat`` is the beat that has begun."""

    bar: int
    beat: int

    def __str__(self) -> str:
        return f"{self.bar}.{self.beat}"


class Timeline:
    """Which beat it is at every moment, exactly. For one thread.

    Seconds count from anywhere, but always forwards: a change may not lie before the last one. A start may lie ahead.

    Args:
        bpm: the tempo, beats per minute.
        beats_per_bar: at least 1.

    Attributes:
        changes: counts what was changed, so that who plans ahead notices.
    """

    def __init__(self, bpm: float | Fraction = 120, beats_per_bar: int = 4) -> None:
        self.beats_per_bar = beats_per_bar
        self.changes = 0
        self._pieces = [Piece(Fraction(0), Fraction(0), as_fraction(bpm), False)]

    @property
    def latest(self) -> Piece:
        """The piece that nothing follows yet; it may lie ahead."""
        return self._pieces[-1]

    def at(self, seconds: Fraction) -> Piece:
        """The piece in which a moment lies."""
        return next((piece for piece in reversed(self._pieces) if piece.seconds <= seconds), self._pieces[0])

    def playing(self, seconds: Fraction) -> bool:
        """Whether beats pass at that moment, or a start lies ahead."""
        return self.at(seconds).playing or self._pieces[-1].playing

    def going_on(self, seconds: Fraction) -> Piece | None:
        """The piece that plays at a moment, or else the start that lies ahead; None while neither is there."""
        piece = self.at(seconds)
        return next((one for one in (piece, self._pieces[-1]) if one.playing), None)

    def beat_at(self, seconds: Fraction) -> Fraction:
        """Position in beats at a moment."""
        return self.at(seconds).beat_at(seconds)

    def seconds_at(self, beat: Fraction, after: Fraction) -> Fraction | None:
        """The first moment from ``after`` on at which ``beat`` is reached; None if that never comes as things stand."""
        for index, piece in enumerate(self._pieces):
            until = self._pieces[index + 1].seconds if index + 1 < len(self._pieces) else None
            if not piece.playing or (until is not None and until <= after) or beat < piece.beat:
                continue
            moment = piece.seconds_at(beat)
            if moment >= after and (until is None or moment < until):
                return moment
        return None

    def sample_at(self, beat: Fraction, sample_rate: int, after: Fraction = Fraction(0)) -> int | None:
        """The sample nearest to a beat, counted from second 0; a half rounds up. None as `seconds_at`."""
        moment = self.seconds_at(beat, after)
        return None if moment is None else seconds_to_samples(moment, sample_rate)

    def next_beat(self, unit: Unit, after: Fraction) -> Fraction | None:
        """The first beat or bar line from the moment ``after`` on; None while nothing plays nor will."""
        piece = self.at(after)
        if not piece.playing:
            piece = self._pieces[-1]
            if not piece.playing:
                return None
        step = self.beats_per_bar if unit == "bar" else 1
        return Fraction(-(-piece.beat_at(max(after, piece.seconds)) // step) * step)

    def position(self, beat: Fraction) -> Position:
        """A place in beats as bar and beat; before bar 1 bars count 0, -1 and so on."""
        bar, within = divmod(beat // 1, self.beats_per_bar)
        return Position(int(bar) + 1, int(within) + 1)

    def start(self, at: Fraction) -> None:
        """Go on from where it stands, at a moment that may lie ahead."""
        self._change(replace(self.at(at), beat=self.beat_at(at), seconds=at, playing=True))

    def stop(self, at: Fraction) -> None:
        """Stand still."""
        self._change(replace(self.at(at), beat=self.beat_at(at), seconds=at, playing=False))

    def set_tempo(self, bpm: float | Fraction, at: Fraction) -> None:
        """Go on at another tempo; a start that lies ahead stays where it is."""
        last = self._pieces[-1]
        seconds = max(at, last.seconds)
        self._change(Piece(seconds, last.beat_at(seconds), as_fraction(bpm), last.playing))

    def locate(self, beat: float | Fraction, at: Fraction) -> None:
        """Be at another beat, at once; a start that lies ahead begins there."""
        last = self._pieces[-1]
        self._change(replace(last, seconds=max(at, last.seconds), beat=as_fraction(beat)))

    def _change(self, piece: Piece) -> None:
        self.changes += 1
        kept = [other for other in self._pieces if other.seconds < piece.seconds]
        self._pieces = [*kept[1 - MAX_PIECES :], piece]
