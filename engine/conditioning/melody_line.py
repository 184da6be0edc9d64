"""A written melody in the forms that models hear: a pitch class per frame of chroma, or per codec frame with its onsets.

**Chroma.** Frame ``k`` of a recording's chroma is centred on sample ``k · hop``: it stands for the moment ``k · hop / rate``, but
what it names is the pitch class that is strongest within the whole window around that moment, half a second at 32 kHz. So that is
worked out here: how much of each note lies under the window. A note that is short against the window is overruled by its
neighbours, as it would be in a recording, and a rest is only seen where the window holds nothing else.

**Codec frames.** A frame takes what sounds when it begins, and has an onset when a note begins in it, which is how our models are
trained.

Both are repeated after the line's exact length, whole frames or not: an hour later the line still begins with its first note.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.conditioning.melody import MAX_FRAMES, PITCH_CLASSES, SILENCE, MelodyCondition, MelodyFacts
from engine.conditioning.score import Melody
from protocols.melody import AnyMelody, MelodyLine

FADE_SECONDS = Fraction(1, 4)
"""How long a note goes on being heard where nothing follows it. Chroma names what sounds, however soft it is."""

_FADE_WEIGHT = 1e-3
_NOTHING = 1e-6
_EVEN = 1e-9
_CELLS_PER_FRAME = 12  # at 7.8 frames of chroma per second, a cell is at most 11 ms


def melody_condition(line: MelodyLine, facts: MelodyFacts, *, origin: int = 0) -> MelodyCondition:
    """What a melody model hears of a line.

    Args:
        line: the melody; it is repeated, or cut, to whatever length the stream has.
        facts: of the model.
        origin: at which codec frame of the stream the line begins, an audio prompt's frames counted.
    """
    return ChromaLine.of_line(line, facts).beginning(Fraction(origin))


def leading_pitches(line: MelodyLine, facts: MelodyFacts) -> NDArray[np.int64]:
    """The pitch class that leads a window of chroma around each moment of one turn of a line, `SILENCE` where the window is empty.

    Each note weighs as much as the integral of the window (Hann, as AudioCraft's) over it. The weights of all moments are one
    circular convolution, so that the window sees the line's end before its beginning, as it does in a loop that is played.

    Returns:
        ``[cells]``: a number of equal cells over the line's exact length, each standing for its middle.
    """
    cells = _cells(line, facts)
    starts = np.array([note.start for note in line.notes], dtype=np.float64) * (cells / line.length)
    ends = np.array([note.end for note in line.notes], dtype=np.float64) * (cells / line.length)
    classes = np.array([note.pitch for note in line.notes]) % PITCH_CLASSES
    fade = float(FADE_SECONDS / line.seconds) * cells
    faded = np.minimum(ends + fade, np.append(starts[1:], cells + starts[0]))
    window = np.fft.rfft(_window(cells, float(Fraction(facts.fft_size, facts.sample_rate) / line.seconds) * cells))
    best = np.full(cells, _NOTHING)
    pitches = np.full(cells, SILENCE, dtype=np.int64)
    for pitch in np.unique(classes):
        its = classes == pitch
        covered = _covered(starts[its], ends[its], cells) + _FADE_WEIGHT * _covered(ends[its], faded[its], cells)
        # Of two that weigh the same, the one that sounds at the moment leads.
        weight = np.fft.irfft(np.fft.rfft(covered) * window, cells) + _EVEN * covered
        stronger = weight > best
        best[stronger] = weight[stronger]
        pitches[stronger] = pitch
    return pitches


@dataclass(frozen=True, eq=False)
class LoopedLine:
    """A line, codec frame by codec frame, repeated after its exact length. Never changes; any thread.

    A note that is over before another frame begins has the frame in which it begins, so that it is heard however short it is. Where
    several share a frame in this way, the last one has it; where it is the only frame of the note before, the longer one of both.

    Attributes:
        line: the melody.
        frame_rate: codec frames per second, exactly.
        begins: the moment at which the line begins, in frames, exactly; what is before it belongs to an earlier turn.
    """

    line: MelodyLine
    frame_rate: Fraction
    begins: Fraction = Fraction(0)

    @classmethod
    def of_melody(cls, melody: AnyMelody, frame_rate: Fraction) -> LoopedLine:
        """A melody in whichever form it is written.

        Raises:
            RequestError: as `ChromaRow.line`.
        """
        return cls(melody if isinstance(melody, MelodyLine) else melody.line(), frame_rate)

    def beginning(self, moment: Fraction) -> LoopedLine:
        """The same, beginning at another moment, in frames."""
        return replace(self, begins=moment)

    def at(self, frame: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Pitch classes (`SILENCE` where the line rests) and onsets, ``[count]`` each, from a frame on."""
        starts, ends = self._two_turns
        step = self.line.rate / self.frame_rate
        first = (frame - self.begins) * step
        # Moments are counted in a unit of which all of them are whole multiples. Notes begin and end at whole ticks: to find one,
        # the tick before or after the moment will do.
        unit = math.lcm(first.denominator, step.denominator)
        period, width, moment = self.line.length * unit, int(step * unit), int(first * unit)
        pitches = np.full(count, SILENCE, dtype=np.int64)
        onsets = np.zeros(count, dtype=np.bool_)
        for index in range(count):
            now = (moment + index * width) % period
            following = now + width
            heard = bisect_right(starts, now // unit) - 1
            latest = bisect_left(starts, -(-following // unit)) - 1
            onsets[index] = latest >= 0 and starts[latest] * unit >= now
            if heard >= 0 and ends[heard] * unit <= now:
                heard = -1
            over = latest if ends[latest] * unit <= following else latest - 1
            if over >= 0 and starts[over] * unit > now:
                only_frame = heard >= 0 and starts[heard] * unit > now - width
                if not (only_frame and ends[heard] - starts[heard] >= ends[over] - starts[over]):
                    heard = over
            if heard >= 0:
                pitches[index] = self.line.notes[heard % len(self.line.notes)].pitch % PITCH_CLASSES
        return pitches, onsets

    def written(self, frames: int) -> Melody:
        """The line's first ``frames`` frames, repeated or cut to that."""
        return Melody(*self.at(0, frames))

    @cached_property
    def _two_turns(self) -> tuple[list[int], list[int]]:
        """Where the notes of two turns start and end, in ticks."""
        starts, ends = [note.start for note in self.line.notes], [note.end for note in self.line.notes]
        length = self.line.length
        return starts + [start + length for start in starts], ends + [end + length for end in ends]


@dataclass(frozen=True, eq=False)
class ChromaLine:
    """A melody for a melody model, wherever it begins. Never changes; any thread.

    Attributes:
        pitches: pitch classes ``[cells]`` of one turn, `SILENCE` where it rests.
        facts: of the model.
        rate: cells per second.
        period: after how many cells it begins again; None for after all of them.
    """

    pitches: NDArray[np.int64]
    facts: MelodyFacts
    rate: Fraction
    period: Fraction | None = None

    @classmethod
    def of_melody(cls, melody: AnyMelody, facts: MelodyFacts) -> ChromaLine:
        """A melody in whichever form it is written. A row of chroma is taken as it is, if its frames are the model's, or as notes.

        Raises:
            RequestError: as `ChromaRow.line`.
        """
        if isinstance(melody, MelodyLine):
            return cls.of_line(melody, facts)
        if melody.frame_rate != facts.rate:
            return cls.of_line(melody.line(), facts)
        return cls(np.array(melody.pitches), facts, facts.rate, melody.seconds * facts.rate)

    @classmethod
    def of_line(cls, line: MelodyLine, facts: MelodyFacts) -> ChromaLine:
        """Work the chroma of one turn out: milliseconds for a clip, a fraction of a second for an hour."""
        pitches = leading_pitches(line, facts)
        return cls(pitches, facts, len(pitches) / line.seconds)

    def beginning(self, moment: Fraction) -> MelodyCondition:
        """What the model hears of the line where it begins at this moment of the stream, in codec frames; to the nearest frame."""
        return MelodyCondition(self.pitches, self.facts, rate=self.rate, period=self.period, origin=round(moment))


def _cells(line: MelodyLine, facts: MelodyFacts) -> int:
    """Enough for the line, and a number that a Fourier transform takes quickly."""
    wanted = max(16, math.ceil(line.seconds * facts.rate * _CELLS_PER_FRAME))
    power = 1 << (wanted - 1).bit_length()
    return min(3 * power // 4 if 3 * power // 4 >= wanted else power, MAX_FRAMES)


def _window(cells: int, width: float) -> NDArray[np.float64]:
    """A Hann window of sum 1 around cell 0, wrapped as often as a line shorter than the window needs it; ``width`` in cells."""
    half = math.ceil(width / 2)
    offsets = np.arange(-half, half + 1)
    hann = np.square(np.cos(np.pi * np.clip(offsets / width, -0.5, 0.5)))
    wrapped = np.bincount(offsets % cells, weights=hann, minlength=cells)
    return np.asarray(wrapped / hann.sum())


def _covered(starts: NDArray[np.float64], ends: NDArray[np.float64], cells: int) -> NDArray[np.float64]:
    """The share of each cell that spans cover, ``[cells]``; what is beyond the last cell goes on in the first."""
    edges = np.concatenate((starts, ends))
    whole = np.floor(edges).astype(np.int64)
    part = edges - whole
    signs = np.repeat((1.0, -1.0), len(starts))
    room = 2 * cells + 2
    slopes = np.bincount(whole, signs * (1 - part), room) + np.bincount(whole + 1, signs * part, room)
    covered = np.cumsum(slopes)
    return np.asarray(covered[:cells] + covered[cells : 2 * cells])
