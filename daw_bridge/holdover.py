"""Never silence: a stream whose engine is late or gone plays its last bars again, in time, until there is more of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from daw_bridge.audio.crossfade import crossfade
from daw_bridge.audio.ramp import fade_curve

log = structlog.get_logger()

FADE_S = 0.02
"""Length of the cross-fades into the last bars, where they close, and out of them."""

BARS_S = 2.0
"""What is played again where no tempo is known."""

_LONGEST_S = 20.0  # of sound that is kept to be played again
_SHORTEST_S = 0.25
_AHEAD_S = 0.06  # how far ahead of the card the last bars are written
_PIECE = 4096


class Voice(Protocol):
    """What plays: `Feeder`, as far as it matters here. Positions count the samples that were written to it."""

    def write(self, chunk: NDArray[np.float32]) -> int:
        """Take as much as there is room for; returns how much."""

    def finish(self) -> None:
        """No more will come."""


class History:
    """The latest part of a stream, addressed by its positions.

    Args:
        capacity: samples that can be read again, at least.
        channels: of the stream.
    """

    def __init__(self, capacity: int, channels: int) -> None:
        self._capacity = capacity
        # Room for as much again: what is kept is moved to the front only once in ``capacity`` samples.
        self._samples: NDArray[np.float32] = np.empty((2 * capacity, channels), np.float32)
        self._first = 0
        self.end = 0

    @property
    def begin(self) -> int:
        """Position of the oldest sample that is kept."""
        return max(self._first, self.end - self._capacity)

    def append(self, block: NDArray[np.float32]) -> None:
        """Keep what comes next: ``[samples, channels]``."""
        for start in range(0, len(block), self._capacity):
            piece = block[start : start + self._capacity]
            if self.end - self._first + len(piece) > len(self._samples):
                kept = self.end - self.begin
                self._samples[:kept] = self.read(self.begin, kept)
                self._first = self.end - kept
            at = self.end - self._first
            self._samples[at : at + len(piece)] = piece
            self.end += len(piece)

    def read(self, position: int, count: int) -> NDArray[np.float32]:
        """A view ``[count, channels]`` of what is there from a position on."""
        start = position - self._first
        return self._samples[start : start + count]


@dataclass(frozen=True)
class _Piece:
    """From a position of the voice on: the position of the stream that is heard there, which stands still where it is held."""

    voice: int
    stream: int
    moves: bool


@dataclass
class _Held:
    """While the last bars are played again.

    Attributes:
        end: position of the stream at which they end: all that comes later is new.
        length: of all of them, in samples; it may be a fraction.
        bar: of one of them.
        position: of the stream, of the next sample that is written.
    """

    end: int
    length: Fraction
    bar: Fraction
    position: int


@dataclass(frozen=True)
class HeldBars:
    """Where the last bars were played again, so that it can be done once more. Positions in samples.

    Attributes:
        voice: of the voice, with which it begins.
        position: of the stream, of the sample that is played there; equal to ``end`` where it began at once.
        end: of the stream, where these bars end.
        length: of all of them.
        bar: of one of them.
        back: of the voice, with which the stream goes on with sample ``end``; None while it is held.
    """

    voice: int
    position: int
    end: int
    length: Fraction
    bar: Fraction
    back: int | None = None


class Holdover:
    """The last stage of a stream's way to its voice.

    What the engine makes passes through, the last `FADE_S` of it once there is something in store. When the voice is about to run
    dry, the last bars are cross-faded in: a bar earlier it sounded as it would now, so the beat goes on. They close on themselves
    in the same way. At a bar line the stream goes on with the sample that comes next. Nothing of it is lost: it has become longer
    by whole bars.

    For one thread.

    Args:
        voice: what plays.
        sample_rate: of the stream, Hz.
        channels: of the stream.
        bars: how many are played again; 0 for none, then a stream that is late is silent.
        bar_seconds: length of a bar now; None where no tempo is known.
        margin: samples that must be in store, or the voice runs dry.
        patience: new samples that there must be before the stream goes on.
        told: hears when holding begins (True) and when the stream goes on (False).

    Attributes:
        last: where the last bars were played again most lately.
    """

    def __init__(
        self,
        voice: Voice,
        sample_rate: int,
        channels: int,
        *,
        bars: int,
        bar_seconds: Callable[[], Fraction | None],
        margin: int,
        patience: int,
        told: Callable[[bool], None] = lambda held: None,
    ) -> None:
        self._voice = voice
        self._rate = sample_rate
        self._bars = bars
        self._bar_seconds = bar_seconds
        self._margin = margin
        self._patience = patience
        self._told = told
        self._fade = round(FADE_S * sample_rate)
        self._history = History(round(_LONGEST_S * sample_rate) if bars else 1, channels)
        self._nothing: NDArray[np.float32] = np.empty((0, channels), np.float32)
        self._fresh: deque[NDArray[np.float32]] = deque()
        self._received = 0
        self._passed = 0  # position of the stream up to which it was written
        self._written = 0  # to the voice
        self._pieces: deque[_Piece] = deque([_Piece(0, 0, True)])
        self._held: _Held | None = None
        self._ending = False
        self._finished = False
        self.last: HeldBars | None = None

    @property
    def history(self) -> History:
        """What was passed on to the voice lately, by the positions of the stream."""
        return self._history

    @property
    def holding(self) -> bool:
        """Whether the last bars are played again now."""
        return self._held is not None

    def heard(self, played: int) -> int:
        """Position of the stream that is heard where so many samples of the voice were played."""
        while len(self._pieces) > 1 and self._pieces[1].voice <= played:
            self._pieces.popleft()
        piece = self._pieces[0]
        return piece.stream + (played - piece.voice if piece.moves else 0)

    def write(self, block: NDArray[np.float32], begun: bool) -> None:
        """Take what the engine has made.

        Args:
            block: ``[samples, channels]``, the next of the stream.
            begun: whether the voice sounds; until then nothing is held back.
        """
        self._fresh.append(np.array(block, np.float32))
        self._received += len(block)
        if self._held is None:
            self._pass_on(self._received - (self._fade if begun and self._bars else 0))

    def finish(self) -> None:
        """The engine has made all of it."""
        self._ending = True
        if self._held is None:
            self._pass_on(self._received)
            self._end()

    def pump(self, played: int, begun: bool) -> None:
        """Look after the voice; to be called every few milliseconds.

        Args:
            played: samples that the voice has played.
            begun: whether it sounds.
        """
        if not begun or self._finished or not self._bars:
            return
        if self._held is None:
            if self._written - played >= self._margin or self._ending:
                return
            if not self._hold():
                return
        wanted = played + self._margin + round(_AHEAD_S * self._rate) - self._written
        while self._held is not None and wanted > 0:
            wanted -= self._repeat(self._held, wanted)

    # --- straight on --------------------------------------------------------------------------------------------------

    def _pass_on(self, end: int) -> None:
        """Write the stream up to a position."""
        while self._passed < end and self._fresh:
            block = self._fresh.popleft()
            count = min(len(block), end - self._passed)
            if count < len(block):
                self._fresh.appendleft(block[count:])
            self._write(block[:count])
            self._history.append(block[:count])
            self._passed += count

    def _write(self, block: NDArray[np.float32]) -> None:
        taken = self._voice.write(block)
        if taken < len(block):  # cannot be while the engine keeps to the lead; told rather than hidden
            log.warning("sound dropped", samples=len(block) - taken)
        self._written += len(block)

    def _end(self) -> None:
        if not self._finished:
            self._finished = True
            self._voice.finish()

    # --- the last bars again ------------------------------------------------------------------------------------------

    def _hold(self) -> bool:
        """Begin to play the last bars again; False where there is too little to play."""
        ending = np.concatenate(
            [self._nothing, *self._fresh]
        )  # what was held back: of the stream, and heard in the fade
        self._fresh.clear()
        self._history.append(ending)
        self._passed = end = self._history.end
        found = self._loop(end)
        if found is None:
            self._write(ending)
            return False
        length, bar = found
        self._held = held = _Held(end, length, bar, end - len(ending))
        self.last = HeldBars(self._written, held.position, end, length, bar)
        self._pieces.append(_Piece(self._written, held.position, True))
        self._pieces.append(_Piece(self._written + len(ending), end, False))
        if not len(ending):
            self._enter_at_once(held)
        self._told(True)
        return True

    def _enter_at_once(self, held: _Held) -> None:
        """Begin where nothing was held back to be faded out: what would be a jump is made to fall slowly instead."""
        back = round(held.end - held.length)
        entering = self._past(back, self._fade)
        jump = self._past(held.end - 1, 1) - entering[:1]
        self._write(entering + jump * fade_curve(self._fade)[::-1])
        held.position = back + self._fade

    def _loop(self, end: int) -> tuple[Fraction, Fraction] | None:
        """How long the bars are that can be played again at a position, and one of them, in samples; None for too little."""
        there = end - self._history.begin - 2 * self._fade
        seconds = self._bar_seconds()
        if seconds is None:
            length = Fraction(min(there, round(BARS_S * self._rate)))
            return (length, length) if length >= _SHORTEST_S * self._rate else None
        bar = seconds * self._rate
        if bar <= there:
            return min(self._bars, there // bar) * bar, bar
        for parts in (
            2,
            4,
            8,
            16,
        ):  # the stream is younger than a bar: a part of one, so that beats still fall on beats
            if _SHORTEST_S * self._rate <= bar / parts <= there:
                return bar / parts, bar / parts
        return None

    def _repeat(self, held: _Held, wanted: int) -> int:
        """Write some of the last bars, up to the next place where something is decided; returns how many samples."""
        border = round(held.end - (held.end - held.position - 1) // held.bar * held.bar)
        before = border - self._fade - held.position
        if before > 0:
            count = min(wanted, before, _PIECE)
            self._write(self._past(held.position, count))
            held.position += count
            return count
        fade = border - held.position  # shorter only where there was too little to hold back
        if self._ending or self._received - held.end >= self._patience:
            self._go_on(held, fade)
        elif border == held.end:
            back = round(held.end - held.length)
            self._write(crossfade(self._past(held.position, fade), self._past(back - fade, fade)))
            held.position = back
        else:
            self._write(self._past(held.position, fade))
            held.position = border
        return fade

    def _go_on(self, held: _Held, fade: int) -> None:
        """Fade from the last bars into their own end, after which the stream goes on with what is new."""
        self._write(crossfade(self._past(held.position, fade), self._past(held.end - fade, fade)))
        self._pieces.append(_Piece(self._written, held.end, True))
        self._held = None
        if self.last is not None:
            self.last = replace(self.last, back=self._written)
        self._told(False)
        self._pass_on(self._received - (0 if self._ending else self._fade))
        if self._ending:
            self._end()

    def _past(self, position: int, count: int) -> NDArray[np.float32]:
        return self._history.read(position, count)


def held_sound(
    held: HeldBars, past: Callable[[int, int], NDArray[np.float32]], fade: int, count: int
) -> Iterator[NDArray[np.float32]]:
    """What `Holdover` played while it held, made once more.

    Args:
        held: where.
        past: a part of the stream, from a position on, so many samples.
        fade: `FADE_S` in samples.
        count: samples of the voice; where the stream went on, up to there.
    """
    position, written = held.position, 0
    back = round(held.end - held.length)
    if position == held.end:
        entering = past(back, fade)
        jump = past(held.end - 1, 1) - entering[:1]
        yield (entering + jump * fade_curve(fade)[::-1])[:count]
        position, written = back + fade, fade
    while written < count:
        border = round(held.end - (held.end - position - 1) // held.bar * held.bar)
        length = min(border - fade - position, count - written, _PIECE)
        if length > 0:
            yield past(position, length)
            position += length
            written += length
            continue
        length = border - position
        if held.back is not None and written + length == count:
            yield crossfade(past(position, length), past(held.end - length, length))
        elif border == held.end:
            yield crossfade(past(position, length), past(back - length, length))[: count - written]
            position = back
        else:
            yield past(position, length)[: count - written]
            position = border
        written += length
