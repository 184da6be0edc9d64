"""A performance as it was read from its log: which streams were heard, where, how loud and for how long."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from daw_bridge.holdover import HeldBars
from daw_bridge.performance.log import SUFFIX, lines
from protocols.bridge_messages import PerformanceInfo
from protocols.errors import ErrorCode, RequestError

Ratio = tuple[int, int]


@dataclass
class Heard:
    """Where a stream was heard on one card.

    Attributes:
        card: its number in the log.
        start: frame of the card with which it began there.
        origin: sample of the voice with which it began there.
        frames: of the card, that were taken from it there.
    """

    card: int
    start: int
    origin: Fraction
    frames: int = 0


@dataclass
class StreamHeard:
    """One stream of a performance.

    Attributes:
        about: its line in the log: journal, words, request, rate, channels, frame_samples, began_at, fade, gain, seed, path …
        places: where it was heard.
        levels: card, frame and linear gain from there on.
        held: where its last bars were played again.
        samples: made of it.
        stopped: whether it was faded out before its end; also while it still plays.
        over: whether its end was written down.
    """

    number: int
    about: dict[str, Any]
    places: list[Heard] = field(default_factory=list)
    levels: list[tuple[int, int, float]] = field(default_factory=list)
    held: list[HeldBars] = field(default_factory=list)
    samples: int = 0
    stopped: bool = True
    over: bool = False


@dataclass
class Card:
    """A sound card: rate in Hz, channels, and the moment of the stage at its frame 0."""

    rate: int
    channels: int
    origin: Fraction


@dataclass
class Score:
    """A performance as it was written down.

    Attributes:
        zero: card and frame before which nothing belongs to it; None for its first sound.
        levels: of everything: card, frame and linear gain from there on.
    """

    id: str
    name: str
    path: Path
    zero: tuple[int, int] | None = None
    state: str = "cut_short"
    cards: dict[int, Card] = field(default_factory=dict)
    streams: dict[int, StreamHeard] = field(default_factory=dict)
    levels: list[tuple[int, int, float]] = field(default_factory=list)

    @property
    def rate(self) -> int:
        """Of the first card, Hz: everything is counted in its frames."""
        return next(iter(self.cards.values())).rate if self.cards else 48_000

    @property
    def channels(self) -> int:
        """Of the mix."""
        return min(2, next(iter(self.cards.values())).channels) if self.cards else 2

    def frame(self, card: int, frame: int) -> int:
        """A card's frame, counted in those of the first card from its opening on."""
        first = next(iter(self.cards.values()))
        there = self.cards[card]
        if there is first:
            return frame
        moment = there.origin + Fraction(frame, there.rate) - first.origin
        return round(moment * first.rate)

    @property
    def began(self) -> int:
        """The first frame that belongs to it."""
        starts = [self.frame(one.card, one.start) for stream in self.heard for one in stream.places]
        first = min(starts, default=0)
        return first if self.zero is None else max(first, self.frame(*self.zero))

    @property
    def heard(self) -> list[StreamHeard]:
        """The streams that sounded."""
        return [stream for stream in self.streams.values() if stream.places]

    @property
    def frames(self) -> int:
        """Its length in frames of the first card."""
        ends = [
            self.frame(one.card, one.start + one.frames) for stream in self.heard for one in stream.places if one.frames
        ]
        return max(0, max(ends, default=0) - self.began)

    def info(self, live: bool) -> PerformanceInfo:
        """The performance as a list shows it."""
        return PerformanceInfo(
            id=self.id,
            name=self.name,
            state="playing" if live else self.state,
            seconds=round(self.frames / self.rate, 3),
            stems=len(self.heard),
            bytes=self.path.stat().st_size,
        )


def read_score(path: Path) -> Score:
    """Read a log, as far as it is whole; what makes no sense in it is passed over."""
    score = Score(id=path.name.removesuffix(SUFFIX), name="", path=path)
    for line in lines(path):
        try:
            _take(score, line)
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            continue
    return score


def find_score(folder: Path, name: str) -> Score:
    """The latest performance of a name, or the one of an id.

    Raises:
        RequestError: NOT_FOUND.
    """
    scores = [read_score(path) for path in sorted(folder.glob(f"*{SUFFIX}"), reverse=True)]
    for score in scores:
        if name in (score.name, score.id):
            return score
    known = ", ".join(score.name for score in scores[:8]) or "a performance; there are none"
    raise RequestError(ErrorCode.NOT_FOUND, "name", name, known)


def _take(score: Score, line: dict[str, Any]) -> None:
    """Take one line in."""
    match line["e"]:
        case "begin":
            score.name = str(line["name"])
            zero = line.get("zero")
            score.zero = (int(zero[0]), int(zero[1])) if zero else None
        case "card":
            score.cards[int(line["c"])] = Card(int(line["rate"]), int(line["channels"]), Fraction(*line["origin"]))
        case "end":
            score.state = "over"
        case "level" if not line["s"]:
            score.levels.append((int(line["c"]), int(line["frame"]), float(line["gain"])))
        case "stream":
            score.streams[int(line["s"])] = StreamHeard(int(line["s"]), line)
        case _:
            _take_of(score.streams[int(line["s"])], line)


def _take_of(stream: StreamHeard, line: dict[str, Any]) -> None:
    match line["e"]:
        case "journal":
            stream.about["journal"] = str(line["journal"])
        case "governor":
            stream.about["governor"] = line["record"]
        case "place":
            place = Heard(int(line["c"]), int(line["start"]), Fraction(*line["origin"]))
            if stream.places and stream.places[-1].card == place.card:
                place = replace(place, frames=stream.places.pop().frames)
            stream.places.append(place)
        case "level":
            stream.levels.append((int(line["c"]), int(line["frame"]), float(line["gain"])))
        case "held":
            held = HeldBars(
                voice=int(line["voice"]),
                position=int(line["position"]),
                end=int(line["end"]),
                length=Fraction(*line["length"]),
                bar=Fraction(*line["bar"]),
                back=None if line["back"] is None else int(line["back"]),
            )
            if stream.held and stream.held[-1].voice == held.voice:
                stream.held.pop()
            stream.held.append(held)
        case "at" | "over" as what:
            stream.samples = int(line["samples"])
            if stream.places and line.get("c") == stream.places[-1].card:
                stream.places[-1].frames = int(line["frames"])
            if what == "over":
                stream.over, stream.stopped = True, bool(line["stopped"])
                stream.about["path"], stream.about["underruns"] = str(line["path"]), line.get("underruns", 0)
