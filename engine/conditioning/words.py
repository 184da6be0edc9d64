"""What words say about tempo, metre and key, and the score that follows from it.

A model that hears a score is told these facts frame by frame; any other model is told them in words.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Generic, NamedTuple, TypeVar

from engine.conditioning.score import PITCH_CLASSES, BeatGrid, Score
from protocols.errors import ErrorCode, RequestError
from protocols.messages import FASTEST_BPM, PROMPT_SEPARATOR, SLOWEST_BPM, BlendName
from protocols.metre import Metre, read_metre

_NUMBER = r"\d{2,3}(?:\.\d+)?(?!\.?\d)"
_TEMPO = re.compile(
    r"(?<![\w.])(?<!\d,)" + rf"(?P<before>{_NUMBER})" + r"[\s-]*(?:bpm|beats?\s+per\s+minute|beats?/min)\b"
    r"|(?:\b(?:tempo|bpm)\b(?:\s+of)?|♩)\s*(?:[:=]\s*)?" + rf"(?P<after>{_NUMBER})" + r"\b(?:\s*bpm\b)?",
    re.IGNORECASE,
)


FOUR_FOUR = Metre(4, 2)
_DANCES = {"waltz": read_metre("3/4"), "jig": read_metre("6/8")}
_METRE = re.compile(r"(?<![\d/.])((?:[2-9]|1[0-5])/[48]|[23]/2)(?![\d/])")
_DANCE = re.compile(r"\b(waltz|jig)(?:e?s)?\b", re.IGNORECASE)

_STEPS = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "melodic minor": (0, 2, 3, 5, 7, 9, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "locrian": (0, 1, 3, 5, 6, 8, 10),
}
_OTHER_NAMES = {
    "m": "minor",
    "min": "minor",
    "natural minor": "minor",
    "aeolian": "minor",
    "maj": "major",
    "ionian": "major",
    "": "major",
}
_LETTERS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_TONIC = r"(?P<letter>[A-G])(?:(?P<sharp>[\s-]?sharp\b|[#♯])|(?P<flat>[\s-]?flat\b|[b♭]))?"
_MODE = "|".join(sorted((*_STEPS, *filter(None, _OTHER_NAMES)), key=len, reverse=True)).replace(" ", r"\s+")
_SPELLED = re.compile(r"(?<![\w#♯♭'’-])" + _TONIC + rf"[\s-]+(?P<mode>(?!m\b)(?:{_MODE}))\b", re.IGNORECASE)
_SHORT_KEY = r"(?P<key>[A-G][#♯b♭]?(?:m|min|maj))(?![\w#♯♭'’-])"
_SHORT = re.compile(r"\b[Ii]n\s+" + _SHORT_KEY)
_ALONE = re.compile(r"(?:^|[,;:(|/])\s*" + _SHORT_KEY + r"(?=\s*(?:$|[,;)|/]))")
_KEY_OF = re.compile(
    r"\bkey(?:\s+of\b|\s*:)\s*(?P<key>[A-G](?:[\s-]?(?:sharp|flat)|[#♯b♭])?)(?![\w#♯♭'’])", re.IGNORECASE
)
_GIVEN = re.compile(_TONIC + rf"[\s-]*(?P<mode>{_MODE}|)", re.IGNORECASE)

MAX_PROMPTS = 8
"""At once, in one stream."""
_HEAVIEST = 1000.0
_WEIGHTS = re.compile(r"[\s,]+")

_ASKING = re.compile(r"(?:\b(?:in|key\s+of|scale\s+of)|[,;:(|/])$", re.IGNORECASE)
_LONGEST_ASKING = 20
_NO_NOUN = re.compile(
    r"\s*(?:$|[^\w\s]|\d|(?:and|at|but|by|featuring|for|on|over|then|using|with|without)\b)", re.IGNORECASE
)

T = TypeVar("T")


class Found(NamedTuple, Generic[T]):
    """A fact and where in the words it stands."""

    start: int
    end: int
    value: T


@dataclass(frozen=True, slots=True)
class Key:
    """A tonic, and the scale that is built on it.

    Attributes:
        tonic: pitch class, C is 0.
        mode: "major", "minor", "dorian" …
        name: such as "B flat minor"; C sharp and D flat are the same key.
    """

    tonic: int
    mode: str
    name: str = field(compare=False)

    @property
    def scale(self) -> frozenset[int]:
        """Its pitch classes."""
        return frozenset((self.tonic + step) % PITCH_CLASSES for step in _STEPS[self.mode])


@dataclass(frozen=True)
class Directions:
    """What a stream is asked to play: words, and facts that are given beside them.

    Attributes:
        prompt: words; several prompts stand between ``||``.
        bpm: beats per minute, `SLOWEST_BPM` to `FASTEST_BPM`; 0 leaves it to the words.
        key: such as "A minor"; empty leaves it to the words.
        key_hint: what the key seems to be; it counts where nothing else tells it, now or earlier.
        weights: of the prompts, in order, such as "0.7 0.3"; empty makes them equal.
        blend: how several prompts are joined.
        metre: such as "3/4"; empty leaves it to the words.

    Raises:
        RequestError: ``bpm`` outside its range, a ``key`` or a ``metre`` that is none, too many prompts, ``weights`` that are not
            one number from 0 to 1000 for each of them, or all 0.
    """

    prompt: str = ""
    bpm: float = 0.0
    key: str = ""
    key_hint: str = ""
    weights: str = ""
    blend: BlendName = "embedding"
    metre: str = ""

    def __post_init__(self) -> None:
        if self.bpm and not SLOWEST_BPM <= self.bpm <= FASTEST_BPM:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "bpm", self.bpm, f"0, or {SLOWEST_BPM} to {FASTEST_BPM}")
        for field_name, key in (("key", self.key), ("key_hint", self.key_hint)):
            if key.strip() and _given_key(key) is None:
                allowed = "a key such as A minor, Bb major, F# dorian or Em; empty for none"
                raise RequestError(ErrorCode.OUT_OF_RANGE, field_name, key, allowed)
        if self.metre.strip():
            read_metre(self.metre)
        count = len(self._prompts)
        if count > MAX_PROMPTS:
            raise RequestError(ErrorCode.TOO_LONG, "prompt", f"{count} prompts", f"at most {MAX_PROMPTS} prompts")
        _shares(self.weights, count)

    def changed(
        self,
        prompt: str | None = None,
        bpm: float | None = None,
        key: str | None = None,
        weights: str | None = None,
        blend: BlendName | None = None,
        metre: str | None = None,
    ) -> Directions:
        """With what is given; None stays as it is, but other prompts have equal weights where none are given.

        Raises:
            RequestError: as the class itself.
        """
        kept = self.weights if prompt is None else ""
        return Directions(
            self.prompt if prompt is None else prompt,
            self.bpm if bpm is None else bpm,
            self.key if key is None else key,
            self.key_hint,
            kept if weights is None else weights,
            self.blend if blend is None else blend,
            self.metre if metre is None else metre,
        )

    def same_prompts(self, other: Directions) -> bool:
        """Whether both ask for the same prompts, with the same weights, joined in the same way."""
        return (self.prompt, self.weights, self.blend) == (other.prompt, other.weights, other.blend)

    @property
    def tempo(self) -> Fraction | None:
        """Beats per minute, as given or as the words say, to a thousandth."""
        return _to_a_thousandth(self.bpm) if self.bpm else tempo_in(self.prompt)

    @property
    def scale(self) -> frozenset[int] | None:
        """Pitch classes of the key, as given or as the words say."""
        given = _given_key(self.key)
        return given.scale if given is not None else key_in(self.prompt)

    @property
    def bars(self) -> Metre | None:
        """The metre, as given or as the words say."""
        return read_metre(self.metre) if self.metre.strip() else metre_in(self.prompt)

    def prompts(self, *, scored: bool) -> tuple[tuple[str, float], ...]:
        """Each prompt as the model hears it, with its share of all; those of weight 0 are left out.

        A prompt that names another tempo, key or metre than those that are given is corrected.

        Args:
            scored: whether the model is told tempo, key and metre frame by frame; else they are put into the words.
        """
        shares: dict[str, float] = {}
        for prompt, share in zip(self._prompts, _shares(self.weights, len(self._prompts)), strict=True):
            if share:
                text = self._told(prompt, add=not scored)
                shares[text] = shares.get(text, 0.0) + share
        return tuple(shares.items())

    @property
    def _prompts(self) -> list[str]:
        return [prompt.strip() for prompt in self.prompt.split(PROMPT_SEPARATOR)]

    def _told(self, text: str, *, add: bool) -> str:
        key = _given_key(self.key)
        if self.bpm:
            tempo = _to_a_thousandth(self.bpm)
            words = f"{float(tempo):g} bpm"
            text = _say(text, _find_tempo(text), tempo, words, words if add else "")
        found = _find_key(text)
        if key is not None:
            text = _say(text, found, key, key.name, f"in {key.name}" if add else "")
        elif add and found is None and (hint := _given_key(self.key_hint)) is not None:
            text = _say(text, None, hint, hint.name, f"in {hint.name}")
        if self.metre.strip():
            metre, words = read_metre(self.metre), "".join(self.metre.split())
            text = _say(text, _find_metre(text), metre, words, f"in {words} time" if add else "")
        return text

    def score(self, frame_rate: Fraction, *, first: int = 0) -> Score:
        """What the directions say about a stream whose first bar begins at frame ``first``; it may be nothing.

        Args:
            frame_rate: codec frames per second, exactly.
            first: frames that come before the music that is asked for, of an audio prompt.
        """
        return self.score_after(Score(frame_rate), first)

    def score_after(self, before: Score, frame: int) -> Score:
        """What the directions say about a stream from ``frame`` on; where they say nothing, it stays as it was before.

        The beat goes on where it is, at the new tempo; where there was none, a bar begins.
        """
        tempo, metre, scale = self.tempo, self.bars, self.scale
        grid, rate = before.grid, before.frame_rate
        if grid is None and tempo is not None:
            beats, division = metre or FOUR_FOUR
            grid = BeatGrid(tempo, beats, division, -Fraction(frame) / rate * tempo / 60 % beats)
        elif grid is not None:
            beats, division = metre or (grid.beats_per_bar, grid.division)
            grid = grid.continued(frame, rate, tempo or grid.bpm, beats, division)
        hint = _given_key(self.key_hint)
        scale = scale or before.scale or (None if hint is None else hint.scale)
        return dataclasses.replace(before, grid=grid, scale=scale)


def _shares(weights: str, count: int) -> list[float]:
    """The share of each of ``count`` prompts, 1 in all."""
    words = [word for word in _WEIGHTS.split(weights) if word]
    allowed = f"{count} number{'s' * (count != 1)} from 0 to {_HEAVIEST:g}, one for each prompt, not all 0; empty for equal ones"
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise RequestError(ErrorCode.MALFORMED, "weights", weights, allowed) from None
    if not words:
        return [1 / count] * count
    total = math.fsum(numbers)
    inside = all(0 <= number <= _HEAVIEST for number in numbers)  # false for NaN
    if len(numbers) != count or not inside or not total:
        raise RequestError(ErrorCode.OUT_OF_RANGE, "weights", weights, allowed)
    return [number / total for number in numbers]


def tempo_in(prompt: str) -> Fraction | None:
    """The tempo that words name, in beats per minute: "92 bpm", "tempo 92.5"; None without one in range."""
    found = _find_tempo(prompt)
    return None if found is None else found.value


def key_in(prompt: str) -> frozenset[int] | None:
    """The pitch classes of the key that words name: "in A minor", "key of B flat", "F# mixolydian"; None without one.

    The word "a" before "minor" or "major" is a tonic where nothing follows that it could belong to, as in "slow, in a minor".
    """
    found = _find_key(prompt)
    return None if found is None else found.value.scale


def metre_in(prompt: str) -> Metre | None:
    """The metre that words name, such as 3/4, 6/8 or 7/8, or the dance that is in it."""
    if (written := _find_metre(prompt)) is not None:
        return written.value
    dance = _DANCE.search(prompt)
    return None if dance is None else _DANCES[dance[1].lower()]


def _find_metre(text: str) -> Found[Metre] | None:
    match = _METRE.search(text)
    return None if match is None else Found(match.start(), match.end(), read_metre(match[1]))


def _find_tempo(text: str) -> Found[Fraction] | None:
    for match in _TEMPO.finditer(text):
        bpm = _to_a_thousandth(Fraction(match["before"] or match["after"]))
        if SLOWEST_BPM <= bpm <= FASTEST_BPM:
            return Found(match.start(), match.end(), bpm)
    return None


def _find_key(text: str) -> Found[Key] | None:
    for match in _SPELLED.finditer(text):
        if not _is_article(match):
            return Found(match.start(), match.end(), _key_of(match))
    for pattern in (_SHORT, _ALONE, _KEY_OF):
        found = pattern.search(text)
        if found is None or (found["key"] == "a" and _NO_NOUN.match(text, found.end()) is None):
            continue
        if (key := _given_key(found["key"])) is not None:
            return Found(found.start("key"), found.end("key"), key)
    return None


def _is_article(match: re.Match[str]) -> bool:
    """Whether what looks like the tonic is the word "a", as in "a minor issue"."""
    if match["letter"] not in "aA" or match["sharp"] or match["flat"]:
        return False
    before = match.string[: match.start()].rstrip()
    if match["letter"] == "A" and before and before[-1] not in ".!?":
        return False
    asked = not before or _ASKING.search(before[-_LONGEST_ASKING:]) is not None
    return not asked or _NO_NOUN.match(match.string, match.end()) is None


def _given_key(text: str) -> Key | None:
    match = _GIVEN.fullmatch(text.strip())
    return None if match is None else _key_of(match)


def _key_of(match: re.Match[str]) -> Key:
    mode = " ".join(match["mode"].lower().split())
    mode = "major" if match["mode"] == "M" else _OTHER_NAMES.get(mode, mode)
    letter, sharp, flat = match["letter"], bool(match["sharp"]), bool(match["flat"])
    accidental = " sharp" if sharp else " flat" if flat else ""
    return Key((_LETTERS[letter.lower()] + sharp - flat) % PITCH_CLASSES, mode, f"{letter.upper()}{accidental} {mode}")


def _to_a_thousandth(bpm: float | Fraction) -> Fraction:
    """A tempo in whole thousandths of a beat per minute, so that places in the bar stay small exact fractions."""
    return Fraction(round(bpm * 1000), 1000)


def _say(text: str, found: Found[T] | None, value: T, words: str, addition: str) -> str:
    """The text with a fact: as it is where it says so, corrected where it says otherwise, added where it says nothing."""
    if found is None:
        return ", ".join(part for part in (text, addition) if part.strip())
    return text if found.value == value else text[: found.start] + words + text[found.end :]
