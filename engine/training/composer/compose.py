"""From a seed to a piece."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction

from engine.training.composer.captions import Facts, feeling, write_captions
from engine.training.composer.catalogue import STYLES
from engine.training.composer.instruments import INSTRUMENTS, KITS, Instrument
from engine.training.composer.melody import play_lead
from engine.training.composer.patterns import swung
from engine.training.composer.piece import Note, Piece, Section, Track
from engine.training.composer.plan import Plan, make_plan
from engine.training.composer.players import play_bass, play_chords, play_drums, play_pad
from protocols.errors import ErrorCode, RequestError

REVISION = 1
"""Raised when seeds give other pieces than before."""
MAX_SEED = (1 << 63) - 1

_CAPTIONS = 6
_ROLES = ("lead", "chords", "bass", "pad", "drums")
_INTROS = (
    ("chords", "pad", "bass"),
    ("bass", "drums"),
    ("chords", "drums"),
    ("pad", "chords", "drums"),
    ("chords", "bass"),
)


def compose(seed: int, style: str | None = None) -> Piece:
    """Compose a piece of 20 to 40 seconds. Equal arguments give equal pieces on every machine.

    Args:
        seed: 0 or more.
        style: a name in `STYLES`; drawn from the seed by default.

    Raises:
        RequestError: ``out_of_range`` for a seed or a style that does not exist.
    """
    if not 0 <= seed <= MAX_SEED:
        raise RequestError(ErrorCode.OUT_OF_RANGE, "seed", seed, f"0 to {MAX_SEED}")
    if style is not None and style not in STYLES:
        raise RequestError(ErrorCode.OUT_OF_RANGE, "style", style, ", ".join(STYLES))
    # Python's own generator, and seeds as text: both give the same on every platform and release since 3.2.
    chosen = STYLES[style or random.Random(seed).choice(list(STYLES))]
    rng = random.Random(f"{seed} {chosen.name}")
    plan = make_plan(rng, chosen)
    players = _draw_players(rng, plan)
    tracks = []
    intro = rng.choice(_INTROS)
    for role in _ROLES:
        # A generator for each player: a change of one player's habits leaves the others' notes as they were.
        own = random.Random(rng.getrandbits(64))
        if role in players:
            tracks.append(_play(own, plan, role, players[role], _entries(role, intro, tuple(players))))
    moods = tuple(dict.fromkeys((*rng.sample(chosen.moods, 3), feeling(rng, plan.mode, plan.bpm))))
    instruments = {track.role: track.instrument for track in tracks if track.notes}
    others = tuple(name for role, name in instruments.items() if role != "lead")
    lead = instruments.get("lead")
    facts = Facts(chosen, moods, plan.bpm, plan.tonic, plan.mode, plan.metre, lead, others, "drums" in instruments)
    return Piece(
        seed=seed,
        style=chosen.name,
        bpm=plan.bpm,
        tonic=plan.tonic,
        mode=plan.mode,
        metre=plan.metre,
        swing=plan.swing,
        bars=plan.bars,
        sections=plan.sections,
        chords=plan.chords,
        tracks=tuple(track for track in tracks if track.notes),
        captions=write_captions(rng, facts, _CAPTIONS),
        tags=(chosen.name, *moods),
    )


def _draw_players(rng: random.Random, plan: Plan) -> dict[str, Instrument]:
    style, metre = plan.style, plan.metre.name
    names = {
        "lead": style.leads,
        "chords": style.chords if metre in style.figures else (),
        "bass": style.basses if metre in style.bass_lines else (),
        "pad": style.pads,
        "drums": style.kits if metre in style.grooves else (),
    }
    players = {}
    for role in _ROLES:
        # Drawn whether they are needed or not, so that one part's presence does not change what the next one draws.
        chance, place = rng.random(), rng.random()
        if names[role] and chance < style.presence.get(role, 1.0):
            name = names[role][int(place * len(names[role]))]
            players[role] = (KITS if role == "drums" else INSTRUMENTS)[name]
    return players


def _entries(role: str, intro: tuple[str, ...], present: tuple[str, ...]) -> Callable[[Section], bool]:
    """In which sections a player plays: all but the intro, which belongs to a few."""
    opening = [one for one in intro if one in present]
    if len(opening) < 2:
        opening = [one for one in present if one != "lead"][:2] or ["lead"]

    def playing(section: Section) -> bool:
        return section.label != "intro" or role in opening

    return playing


def _play(
    rng: random.Random, plan: Plan, role: str, instrument: Instrument, playing: Callable[[Section], bool]
) -> Track:
    if role == "lead":
        notes = play_lead(rng, plan, instrument, playing)
    else:
        players = {"chords": play_chords, "bass": play_bass, "pad": play_pad, "drums": play_drums}
        notes = players[role](rng, plan, playing)
    unit = plan.style.swing_unit
    end = Fraction(plan.bars * plan.metre.beats)
    moved = (
        Note(
            swung(note.start, plan.swing, unit), min(end, swung(note.end, plan.swing, unit)), note.pitch, note.velocity
        )
        for note in notes
    )
    ordered = sorted(moved, key=lambda note: (note.start, note.pitch))
    return Track(role, instrument.name, instrument.program, tuple(ordered))
