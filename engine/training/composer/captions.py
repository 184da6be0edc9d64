"""Descriptions of pieces in varied words, as people write prompts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from engine.training.composer.piece import Metre
from engine.training.composer.style import Style
from engine.training.composer.theory import Mode, pitch_class_name

_TEMPO_WORDS = (
    (64, ("very slow", "slow", "very slow tempo")),
    (86, ("slow", "slow", "slow tempo", "unhurried")),
    (112, ("mid-tempo", "medium tempo", "moderate tempo", "walking pace")),
    (134, ("upbeat", "lively", "medium fast", "moderately fast")),
    (158, ("fast", "quick", "fast tempo", "energetic tempo")),
    (1000, ("very fast", "fast", "very fast tempo", "rapid")),
)
_FEELINGS = {
    (False, False): ("peaceful", "calm", "warm", "gentle"),
    (False, True): ("happy", "cheerful", "bright", "joyful", "uplifting"),
    (True, False): ("sad", "melancholic", "moody", "dark"),
    (True, True): ("tense", "dark", "serious", "energetic"),
}
_FAST = 108
_BPM_FORMS = ("{} bpm", "{} bpm", "{} bpm", "at {} bpm", "tempo {} bpm", "{} beats per minute", "tempo {}")
_KEY_FORMS = ("in {}", "in {}", "in the key of {}", "key of {}", "{}")
_METRE_FORMS = ("in {} time", "{} time", "{} metre", "in {}")
_COUNTABLE = (
    "beat",
    "waltz",
    "jig",
    "trio",
    "quartet",
    "quintet",
    "ballad",
    "piece",
    "soundscape",
    "dance",
    "band",
    "duo",
    "shuffle",
)
_VOWELS = "aeiou8"  # 8 begins "8-bit" and "80s"
_PROMISES = ("piano", "guitar", "accordion", "pad")
_GROUPS = ("solo", "duo", "trio", "quartet", "quintet")
_LEAD_FORMS = ("{} lead", "{} melody", "lead {}", "{} playing the melody", "featuring {}")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a caption may say.

    Attributes:
        style: of the piece.
        moods: words that were chosen for it.
        bpm: tempo.
        tonic: pitch class of the key.
        mode: of the key.
        metre: of the bars.
        lead: instrument of the melody; None without one.
        others: instruments of the other players.
        has_drums: whether a drum kit is among them.
    """

    style: Style
    moods: tuple[str, ...]
    bpm: Fraction
    tonic: int
    mode: Mode
    metre: Metre
    lead: str | None
    others: tuple[str, ...]
    has_drums: bool


def feeling(rng: random.Random, mode: Mode, bpm: Fraction) -> str:
    """How major or minor feels when it is slow or fast."""
    return rng.choice(_FEELINGS[mode.is_minor, bpm >= _FAST])


def write_captions(rng: random.Random, facts: Facts, count: int) -> tuple[str, ...]:
    """Different descriptions of one piece; each says some of the facts."""
    captions: dict[str, None] = {}
    for _ in range(8 * count):
        captions[_write(rng, facts)] = None
        if len(captions) == count:
            break
    return tuple(captions)


def _write(rng: random.Random, facts: Facts) -> str:
    noun = _noun(rng, facts)
    mood = rng.sample(facts.moods, min(len(facts.moods), rng.choice((0, 1, 1, 2))))
    tempo = next(words for limit, words in _TEMPO_WORDS if facts.bpm < limit)
    speed = [rng.choice(tempo)] if rng.random() < 0.45 else []
    bpm = [rng.choice(_BPM_FORMS).format(round(facts.bpm))] if rng.random() < 0.6 else []
    key = [rng.choice(_KEY_FORMS).format(_key(rng, facts))] if rng.random() < 0.5 else []
    odd = facts.metre.name != "4/4"
    metre = [rng.choice(_METRE_FORMS).format(facts.metre.name)] if odd and rng.random() < 0.35 else []
    players = _players(rng, facts)
    if rng.random() < 0.55:
        return _sentence(rng, noun, mood, speed, bpm, key, metre, players)
    parts = [noun, *mood, *speed, *bpm, *key, *metre, *players]
    head, tail = parts[:1], parts[1:]
    rng.shuffle(tail)
    parts = [*head, *tail] if rng.random() < 0.7 else [*tail, *head]
    return ", ".join(parts)


def _sentence(
    rng: random.Random,
    noun: str,
    mood: Sequence[str],
    speed: Sequence[str],
    bpm: Sequence[str],
    key: Sequence[str],
    metre: Sequence[str],
    players: Sequence[str],
) -> str:
    adjectives = [*mood, *(word for word in speed if "tempo" not in word and "pace" not in word)]
    rng.shuffle(adjectives)
    separator = rng.choice((" ", ", "))
    text = f"{separator.join(adjectives)} {noun}".strip()
    if noun.split()[-1] in _COUNTABLE and rng.random() < 0.3:
        text = f"a {text}" if text[0] not in _VOWELS else f"an {text}"
    if players:
        link = " " if players[0].startswith("featuring") else " with "
        text += link + _enumerate(players)
    trailing = [*key, *metre, *(word for word in speed if "tempo" in word or "pace" in word)]
    for part in trailing:
        text += f" {part}" if part.startswith("in ") else f", {part}"
    return text + "".join(f", {part}" if not part.startswith("at ") else f" {part}" for part in bpm)


def _noun(rng: random.Random, facts: Facts) -> str:
    heard = f"{facts.lead} {' '.join(facts.others)}"
    names = (facts.style.names[0], *facts.style.names)
    # A name that promises an instrument is only true of pieces that have it.
    fitting = [name for name in names if all(word in heard for word in _PROMISES if word in name)]
    noun = rng.choice(fitting)
    players = {facts.lead, *facts.others} - {None}
    return noun.format(lead=facts.lead, group=_GROUPS[len(players) - 1])


def _players(rng: random.Random, facts: Facts) -> list[str]:
    chance = rng.random()
    if chance < 0.25:
        return []
    lead = [] if facts.lead is None else [rng.choice(_LEAD_FORMS).format(facts.lead).replace("lead lead", "lead")]
    named = dict.fromkeys(_plain(rng, name) for name in facts.others if name != facts.lead)
    others = rng.sample(list(named), min(len(named), rng.choice((1, 2, 2, 3))))
    if not facts.has_drums and rng.random() < 0.15:
        others.append(rng.choice(("no drums", "without drums")))
    if chance < 0.5:
        return lead or others
    if chance < 0.65:
        return others
    return [*lead, *others]


def _plain(rng: random.Random, instrument: str) -> str:
    """Most people say "drums" or "bass" and leave it at that."""
    kind = instrument.split()[-1]
    return kind if kind in ("drums", "bass", "pad", "guitar") and rng.random() < 0.4 else instrument


def _enumerate(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _key(rng: random.Random, facts: Facts) -> str:
    mode = facts.mode.name
    if mode in ("dorian", "phrygian") and rng.random() < 0.25:
        mode = "minor"
    elif mode in ("mixolydian", "lydian") and rng.random() < 0.25:
        mode = "major"
    return f"{pitch_class_name(facts.tonic, facts.mode)} {mode}"
