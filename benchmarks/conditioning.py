"""``python -m benchmarks.conditioning``: from a MIDI clip to what a melody model hears: how right it is, and how long it takes; how
soon a stream that plays hears other words; and whether it ever comes late while it plays on and on (see `benchmarks._live`).

Right means: the pitch class that is written down for a frame of chroma is the one that AudioCraft's chroma reads from the sound of
the same clip, played by FluidSynth. The clips are eight bars of melodies that the composer makes. They are played twice: by a round
of instruments that every family gives one of, and by the instruments that they were composed for. Among these are distorted
guitars and harmonicas, whose overtones are stronger than what they play, so that chroma reads a fifth above it; no way of writing
the melody down would agree with that. No frame is left out of either figure, and what the misses are is counted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import mido
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._figures import show, summarise, table
from benchmarks._live import describe_live, measure_live
from benchmarks._machine import describe_machine, load
from benchmarks._recordings import describe_recordings, measure_recordings
from daw_bridge.lead_line import lead_line
from daw_bridge.midi_clip import DRUM_CHANNEL
from daw_bridge.midi_file import read_midi_clip
from engine.conditioning.melody import PITCH_CLASSES, MelodyFacts, chroma
from engine.conditioning.melody_line import melody_condition
from engine.runtime.conditions import NULL_BIN
from engine.training.composer import TICKS_PER_BEAT, Piece, Track, compose
from engine.training.rendering import Renderer
from protocols.errors import RequestError
from protocols.melody import MelodyLine

BARS = 8
CLIPS = 50
RECORDINGS = 20
"""Clips that are read from sound, too, with all that plays in them."""
WANTED = 0.9
"""Share of frames that agree."""
LIMIT_MS = 5.0

FACTS = MelodyFacts(sample_rate=32_000, frame_rate=Fraction(50), window_frames=1500, frames=235)
"""Of facebook/musicgen-melody."""

ROUND = {
    "piano": 0,
    "electric piano": 4,
    "vibraphone": 11,
    "drawbar organ": 16,
    "violin": 40,
    "flute": 73,
    "recorder": 74,
    "square lead": 80,
}
"""Instruments that the lines are played by in turn, and their General MIDI programs, from 0."""

STAGES = {
    "read": "file read",
    "line": "line found",
    "condition": "condition made, from the line as JSON",
    "clip_to_condition": "from clip to condition",
}
"""What is timed; with "alone_" before it, for clips of the melody alone."""

_MISSES = {
    "edge": "another note under the window",
    "overtone": "a fifth or a third above one",
    "rest": "sound where a rest is written, or the other way round",
    "other": "anything else",
}


def measure(clips: int = CLIPS, *, threads: int = 1, repeats: int = 20) -> dict[str, Any]:
    """Run the benchmark.

    Args:
        clips: how many.
        threads: CPU threads.
        repeats: how often each clip is timed; its medians count.

    Raises:
        RequestError: FluidSynth or its soundfont is missing; see `Renderer`.
    """
    torch.set_num_threads(max(1, threads))
    machine = describe_machine()
    renderer = Renderer(sample_rate=FACTS.sample_rate)
    agreed: dict[str, Counter[str]] = {name: Counter() for name in ROUND}
    composed: Counter[str] = Counter()
    spent: dict[str, list[float]] = {}
    notes = []
    names = list(ROUND)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mid"
        for number, piece in enumerate(_pieces(clips)):
            write_clip(piece, path)
            notes.append(sum(len(track.notes) for track in piece.tracks))
            for name, milliseconds in time_clip(path, repeats).items():
                spent.setdefault(name, []).append(milliseconds)
            alone = _lead_alone(piece)
            write_clip(alone, path)
            for name, milliseconds in time_clip(path, repeats).items():
                spent.setdefault(f"alone_{name}", []).append(milliseconds)
            line = lead_line(read_midi_clip(path, allowed_folders=None))
            composed += compare(line, renderer.render(alone).lead)
            name = names[number % len(names)]
            other = _lead_alone(piece, ROUND[name])
            agreed[name] += compare(line, renderer.render(other).lead)
    played = ((piece, renderer.render(piece)) for piece in _pieces(min(clips, RECORDINGS)))
    recordings = measure_recordings(played, FACTS)
    renderer.close()
    whole = sum(agreed.values(), Counter())
    return {
        "benchmark": "conditioning",
        "clips": clips,
        "bars": BARS,
        "agreement": _share(whole, "same"),
        "agreement_wanted": WANTED,
        "agreement_by_instrument": {name: _share(counts, "same") for name, counts in agreed.items() if counts},
        "agreement_as_composed": _share(composed, "same"),
        "frames": whole.total(),
        "frames_as_composed": composed.total(),
        "misses": {name: _share(whole, name) for name in _MISSES},
        "misses_as_composed": {name: _share(composed, name) for name in _MISSES},
        "recordings": recordings,
        "limit_ms": LIMIT_MS,
        **{name: summarise(milliseconds) for name, milliseconds in spent.items()},
        "notes_per_clip": round(sum(notes) / len(notes), 1),
        "repeats": repeats,
        "threads": torch.get_num_threads(),
        "load_after": load(),
        "machine": machine,
    }


def compare(line: MelodyLine, sound: NDArray[np.float32]) -> Counter[str]:
    """How many frames of chroma agree ("same"), and what the others are.

    Args:
        line: what is written.
        sound: of the same music, at `FACTS.sample_rate`.
    """
    frames = int(line.seconds * FACTS.rate)
    facts = replace(FACTS, frames=frames)
    written = melody_condition(line, facts).window(0).numpy()
    read = chroma(torch.from_numpy(sound), facts).argmax(dim=1).numpy()[:frames]
    reach = Fraction(facts.fft_size, 2 * facts.sample_rate)
    return Counter(
        "same" if ours == theirs else _miss(line, frame / facts.rate, reach, int(theirs))
        for frame, (ours, theirs) in enumerate(zip(written, read, strict=True))
    )


def time_clip(path: Path, repeats: int) -> dict[str, float]:
    """How long each stage takes for one clip, in milliseconds, as names of `STAGES` with "_ms" and, of the processor's time alone,
    "_cpu_ms". Where others take part of the machine, the first is theirs too.
    """
    clip = read_midi_clip(path, allowed_folders=None)
    text = lead_line(clip).encode()

    def condition(text: str) -> object:
        return melody_condition(MelodyLine.decode(text), FACTS).window(0)

    calls: dict[str, Callable[[], object]] = {
        "read": lambda: read_midi_clip(path, allowed_folders=None),
        "line": lambda: lead_line(clip),
        "condition": lambda: condition(text),
        "clip_to_condition": lambda: condition(lead_line(clip).encode()),
    }
    result = {}
    for name, call in calls.items():
        spent, cpu = [], []
        for _ in range(repeats):
            began, cpu_began = time.perf_counter(), time.process_time()
            call()
            cpu.append(time.process_time() - cpu_began)
            spent.append(time.perf_counter() - began)
        result[f"{name}_ms"] = 1000 * float(np.median(spent))
        result[f"{name}_cpu_ms"] = 1000 * float(np.median(cpu))
    return result


def write_clip(piece: Piece, path: Path) -> None:
    """A piece as a MIDI file, one track per player."""
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS_PER_BEAT)
    tempo = mido.MetaMessage("set_tempo", tempo=round(60_000_000 / piece.bpm))
    end = mido.MetaMessage("end_of_track", time=piece.beats * TICKS_PER_BEAT)
    file.tracks.append(mido.MidiTrack([tempo, end]))
    free = (channel for channel in range(16) if channel != DRUM_CHANNEL)
    for track in piece.tracks:
        file.tracks.append(_midi_track(track, DRUM_CHANNEL if track.is_drums else next(free)))
    file.save(path)


def _midi_track(track: Track, channel: int) -> mido.MidiTrack:
    events = [(Fraction(0), 0, mido.Message("program_change", program=track.program, channel=channel))]
    for note in track.notes:
        events.append((note.end, 1, mido.Message("note_off", note=note.pitch, channel=channel)))
        on = mido.Message("note_on", note=note.pitch, velocity=note.velocity, channel=channel)
        events.append((note.start, 2, on))
    made, now = mido.MidiTrack(), 0
    for beat, _, message in sorted(events, key=lambda event: event[:2]):
        tick = int(beat * TICKS_PER_BEAT)
        made.append(message.copy(time=tick - now))
        now = tick
    return made


def _pieces(count: int) -> Iterator[Piece]:
    """So many pieces with a lead, each cut to the bars in which it plays most."""
    seed = 0
    while count:
        piece = compose(seed)
        seed += 1
        if piece.lead:
            yield cut_to_its_lead(piece)
            count -= 1


def cut_to_its_lead(piece: Piece) -> Piece:
    """The bars of a piece in which its melody plays most, `BARS` of them."""
    beats = piece.metre.beats

    def within(first: int) -> Iterable[Any]:
        return (note for note in piece.lead if first * beats <= note.start < (first + BARS) * beats)

    first = max(range(max(1, piece.bars - BARS + 1)), key=lambda bar: len(list(within(bar))))
    start, end = Fraction(first * beats), Fraction((first + BARS) * beats)
    tracks = []
    for track in piece.tracks:
        notes = (note for note in track.notes if start <= note.start < end)
        cut = tuple(replace(note, start=note.start - start, end=min(note.end, end) - start) for note in notes)
        tracks.append(replace(track, notes=cut))
    return replace(piece, bars=BARS, tracks=tuple(tracks))


def _lead_alone(piece: Piece, program: int | None = None) -> Piece:
    lead = next(track for track in piece.tracks if track.role == "lead")
    return replace(piece, tracks=(lead if program is None else replace(lead, program=program),))


def _miss(line: MelodyLine, moment: Fraction, reach: Fraction, theirs: int) -> str:
    first, last = (moment - reach) * line.rate, (moment + reach) * line.rate
    near = {note.pitch % PITCH_CLASSES for note in line.notes if note.start < last and note.end > first}
    if theirs in near:
        return "edge"
    if any((theirs - pitch) % PITCH_CLASSES in (4, 7) for pitch in near):
        return "overtone"
    return "rest" if not near or theirs == NULL_BIN else "other"


def _share(counts: Counter[str], what: str) -> float:
    return round(counts[what] / max(1, counts.total()), 4)


def describe(result: dict[str, Any]) -> str:
    """A result in words."""
    right = [["all of these", result["agreement"]], *result["agreement_by_instrument"].items()]
    right.append(["as composed, guitars and harmonicas too", result["agreement_as_composed"]])
    missed = [[text, result["misses"][name], result["misses_as_composed"][name]] for name, text in _MISSES.items()]
    spent = [
        [
            text + more,
            *(result[f"{alone}{name}{clock}_ms"]["p50_ms"] for clock in ("", "_cpu")),
            result[f"{alone}{name}_ms"]["p95_ms"],
        ]
        for alone, more in (("", ""), ("alone_", ", melody alone"))
        for name, text in STAGES.items()
    ]
    facts = (
        f"\n{result['clips']} clips of {result['bars']} bars, {result['notes_per_clip']:g} notes each; {result['frames']} frames; "
        f"wanted: {result['agreement_wanted']:.0%} of frames, {result['limit_ms']:g} ms; {result['threads']} threads, "
        f"load {result['machine']['load']} before, {result['load_after']} after\n"
    )
    return (
        "\n".join(
            [
                table(["frames that agree", "share"], [[name, f"{share:.1%}"] for name, share in right]),
                table(
                    ["frames that do not", "share", "as composed"],
                    [[name, f"{one:.1%}", f"{other:.1%}"] for name, one, other in missed],
                ),
                table(["ms", "p50", "processor p50", "p95"], spent),
                describe_recordings(result["recordings"]),
            ]
        )
        + facts
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.conditioning", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--clips", type=int, default=CLIPS, help="how many clips")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--repeats", type=int, default=20, help="how often each clip is timed; the medians count")
    parser.add_argument("--model", default="pocket", help="what plays live: a name, a folder, a hub id")
    parser.add_argument("--changes", type=int, default=40, help="changes of the prompt while it plays")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="how long it plays on without a pause; 0: nothing live"
    )
    parser.add_argument("--json", action="store_true", help="write the result as JSON")
    options = parser.parse_args(arguments)
    if min(options.clips, options.repeats, options.changes) < 1:
        parser.error("clips, repeats and changes are 1 or more")
    try:
        result = measure(options.clips, threads=options.threads, repeats=options.repeats)
        live = measure_live(options.model, options.changes, options.minutes) if options.minutes > 0 else None
    except RequestError as error:
        sys.stderr.write(f"conditioning: {error.text}\n")
        return 2
    text = describe(result) + ("" if live is None else f"\n{describe_live(live)}")
    show(result | {"live": live}, text, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
