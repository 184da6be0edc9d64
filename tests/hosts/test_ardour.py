"""The scripted action in Ardour itself: a region goes out, what follows comes back, on the beat and on the sample."""

from __future__ import annotations

import base64
import itertools
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from tests.support.ardour import RATE, SCRIPTS, Ardour
from tests.support.processes import Process, wait_until

SCRIPT = Path(__file__).resolve().parents[2] / "host_examples" / "ardour" / "daw_bridge.lua"
BPM, UPPER = 96, 3
BAR = UPPER * 60 * RATE // BPM
SUPERCLOCK = 282_240_000 // RATE  # of Ardour's own ticks, a sample has so many
CODEBOOKS = 4
SESSIONS = itertools.count(1)
IMPORT, TRIM, CONTINUE, GENERATE = 1, 2, 3, 4


@dataclass(frozen=True)
class Placed:
    """A region on a track, in samples."""

    name: str
    track: str
    position: int
    start: int
    length: int
    source: Path


def placed(session: Path, state: ElementTree.Element) -> list[Placed]:
    """The regions on all tracks, in the order of their positions."""
    sources = {source.get("id"): source for source in state.iter("Source")}
    found = []
    for playlist in state.find("Playlists") or []:
        for region in playlist.iter("Region"):
            length, _, position = str(region.get("length")).partition("@")
            source = sources[region.get("source-0")]
            folder = session / "interchange" / session.name / "audiofiles"
            found.append(
                Placed(
                    str(region.get("name")),
                    str(playlist.get("name")),
                    _samples(position),
                    _samples(str(region.get("start"))),
                    _samples(length),
                    folder / str(source.get("name")),
                )
            )
    return sorted(found, key=lambda each: each.position)


def _samples(superclocks: str) -> int:
    value, rest = divmod(int(superclocks.removeprefix("a")), SUPERCLOCK)
    assert rest == 0, "between two samples"
    return value


@pytest.fixture
def ardour(studio: Path, bridge: Process) -> Iterator[Ardour]:
    folder = studio / f"ardour-{next(SESSIONS)}"
    folder.mkdir()
    noise = 0.2 * np.random.default_rng(6).standard_normal(12 * RATE)
    soundfile.write(folder / "recorded.wav", noise.astype(np.float32), RATE, subtype="FLOAT")
    given = {"ask": "no", "exchange": str(studio / "exchange"), "markers": "yes"}
    actions = [
        (
            "import",
            SCRIPTS / "import.lua",
            {"file": str(folder / "recorded.wav"), "bpm": str(BPM), "upper": str(UPPER)},
        ),
        ("trim", SCRIPTS / "trim.lua", {"from": "3", "to": "5"}),
        ("continue", SCRIPT, {**given, "words": "warm strings", "bars": "2"}),
        ("generate", SCRIPT, {**given, "words": "brass"}),
    ]
    with Ardour(folder, actions) as ardour:
        ardour.act(IMPORT, "test: imported")
        ardour.act(TRIM, "test: trimmed")
        yield ardour


def regions(ardour: Ardour, count: int) -> list[Placed]:
    """Wait until so many regions are on the tracks of the saved session."""

    def there() -> list[Placed] | None:
        found = placed(ardour.session, ardour.saved())
        return found if len(found) == count else None

    found: list[Placed] = wait_until(there, 30, f"{count} regions; {ardour.tail()}")
    return found


def take_of(line: str) -> Path:
    """The take that the action names when it is through."""
    assert ", seed " in line, line
    return Path(line.split(": ", 1)[1].rsplit(", seed ", 1)[0])


def recipe_of(take: Path) -> dict[str, Any]:
    """What the engine was asked for, as the take's sidecar tells it."""
    recipe: dict[str, Any] = json.loads(take.with_suffix(".json").read_text())
    return recipe


def below(samples: NDArray[np.float32], limit: float) -> NDArray[np.complex128]:
    """The spectrum up to a frequency in Hz: two resamplers differ near the highest that the model makes."""
    spectrum = np.fft.rfft(samples.astype(np.float64))
    return spectrum[: int(limit * len(samples) / RATE)]


def assert_lies_there(region: Placed, take: Path) -> None:
    """The region's file in the session is the take, at the session's rate."""
    heard, rate = soundfile.read(region.source, dtype="float32")
    assert rate == RATE
    made = soxr.resample(soundfile.read(take, dtype="float32")[0], 32_000, RATE, quality="VHQ")
    assert abs(len(heard) - len(made)) <= 2
    length = min(len(heard), len(made))
    one, other = below(heard[:length], 12_000), below(made[:length], 12_000)
    assert np.linalg.norm(one - other) < 0.01 * np.linalg.norm(other)


def test_a_range_is_filled_and_markers_are_words(ardour: Ardour) -> None:
    ardour.send("/loop_location", 6 * BAR, 8 * BAR)
    ardour.send("/locate", 7 * BAR, 0)
    wait_until(lambda: ardour.playhead() == 7 * BAR, what="the playhead is there")
    ardour.send("/add_marker", "full orchestra")
    take = take_of(ardour.act(GENERATE, "daw-bridge: "))
    *others, new = regions(ardour, 2)
    assert (new.position, new.length) == (6 * BAR, 2 * BAR)
    assert new.track not in {other.track for other in others}, "a track of its own"
    assert_lies_there(new, take)
    request = recipe_of(take)["host_request"]
    assert (request["prompt"], request["metre"]) == ("brass", "3/4")
    assert request["sections"] == f"{BAR / RATE:g} full orchestra"


def test_what_follows_a_region_begins_on_the_sample_on_which_it_ends(ardour: Ardour) -> None:
    (region,) = regions(ardour, 1)
    assert (region.position, region.length) == (2 * BAR, 2 * BAR)
    ardour.menu("Editor/select-all-objects")
    take = take_of(ardour.act(CONTINUE, "daw-bridge: "))
    first, new = regions(ardour, 2)
    assert first == region
    assert new.track == region.track
    assert new.position == region.position + region.length == 4 * BAR, "on the bar line, to the sample"
    assert new.length == 2 * BAR
    assert_lies_there(new, take)
    recipe = recipe_of(take)
    request = recipe["host_request"]
    assert (request["prompt"], request["bpm"], request["metre"]) == ("warm strings", BPM, "3/4")
    assert request["path"] == str(region.source), "the session's own file: nothing was copied"
    assert (request["start"], request["length"]) == (region.start / RATE, region.length / RATE)
    frames = len(base64.b64decode(recipe["prompt_codes"])) // (2 * CODEBOOKS)
    assert frames == region.length * 50 // RATE, "the region, and nothing else of its file, was heard"
    ardour.menu("Editor/undo")
    assert regions(ardour, 1) == [first], "one step to undo"
    ardour.menu("Editor/redo")
    assert regions(ardour, 2) == [first, new]
