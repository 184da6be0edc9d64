"""The codebook patterns of ``patterns.json``, whose parameters are in their names or are found from their layout."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import torch

from engine.runtime.patterns import CoarseFirstPattern, CodebookPattern, DelayPattern, GroupedPattern, UnrollPattern

_SPECIAL = 999
_MOST_DELAY = 6
_FIRST_STEP_OF = 3
"""The frame of which ``first_step_t3`` tells the first step."""


def compare_patterns(path: Path) -> dict[str, bool]:
    """Each recorded pattern by name: whether ours has its layout, sequences, mask, delay and way back."""
    recorded: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return {name: any(_is_equal(ours, about) for ours in candidates(name, about)) for name, about in recorded.items()}


def candidates(name: str, about: dict[str, Any]) -> Iterator[CodebookPattern]:
    """The patterns that such a name may mean; the layout decides between them."""
    books, frames = about["n_q"], about["T"]
    steps = {(frame, book): step for step, held in enumerate(about["layout"]) for frame, book in held}
    if name.startswith("delay"):
        flat, empty = _number(name, "flatten_first"), _number(name, "empty_initial")
        soonest = frames + empty + min(flat, frames) * (books - 1)
        last = [steps[frames - 1, book] for book in range(books)]
        delays = tuple(step - min(last) for step in last)
        yield DelayPattern(delays, flatten_first=flat, empty_initial=empty)
        if min(last) > soonest:  # every codebook waits
            delays = tuple(step - soonest for step in last)
            yield DelayPattern(delays, flatten_first=flat, empty_initial=empty)
    elif name.startswith("parallel"):
        yield DelayPattern.parallel(books, _number(name, "empty_initial"))
    elif name.startswith("coarse_first"):
        first = [steps[0, book] for book in range(1, books)]
        yield CoarseFirstPattern(tuple(step - min(first) for step in first))
    elif name.startswith(("musiclm", "music_lm")):
        yield GroupedPattern(books, _number(name, "_g(?:roup_by)?", 2))
    elif name.startswith("unroll"):
        together = [tuple(sorted(book for _, book in held)) for held in about["layout"] if held]
        groups = list(dict.fromkeys(together))
        turn = {book: min(i for i, group in enumerate(groups) if book in group) for book in range(books)}
        order = {old: new for new, old in enumerate(sorted(set(turn.values())))}
        flattening = tuple(order[turn[book]] for book in range(books))
        for by_turn in combinations_with_replacement(range(_MOST_DELAY), len(order)):
            yield UnrollPattern(flattening, tuple(by_turn[place] for place in flattening))


def _number(name: str, word: str, otherwise: int = 0) -> int:
    found = re.search(rf"{word}(\d+)", name)
    return int(found[1]) if found else otherwise


def _is_equal(pattern: CodebookPattern, about: dict[str, Any]) -> bool:
    books, frames = about["n_q"], about["T"]
    layout = pattern.layout(frames)
    if [[list(place) for place in held] for held in layout.coordinates] != about["layout"]:
        return False
    codes = torch.arange(books * frames).view(1, books, frames)
    sequence = layout.sequence(codes, _SPECIAL)
    return (
        sequence[0].tolist() == about["sequence"]
        and sequence[0, :, : layout.valid_steps].tolist() == about["valid_sequence"]
        and layout.mask.int().tolist() == about["mask"]
        and layout.max_delay == about["max_delay"]
        and layout.first_step(_FIRST_STEP_OF) == about["first_step_t3"]
        and torch.equal(layout.codes(sequence, 0, frames), codes) == about["roundtrip"]
    )
