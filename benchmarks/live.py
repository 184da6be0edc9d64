"""``python -m benchmarks.live``: playing on stage, measured: from a note to its sound, from a change of the words to its sound, how
exactly loops start, what a killed engine sounds like, and whether an endless stream stays as it began.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from typing import Any

from benchmarks._endless import describe_endless, measure_endless
from benchmarks._figures import show, summarise, table
from benchmarks._jack import missing_for_jack
from benchmarks._machine import describe_machine, load
from benchmarks._notes import measure_notes
from benchmarks._performance import measure_performance
from benchmarks._rig import rig
from protocols.errors import RequestError
from tests.support.clients import OscPeer

_WORDS = ("warm strings", "distorted guitar", "slow jazz piano trio", "techno", "solo flute")
_PAUSE_S = 0.73  # of no rhythm with blocks and frames
_LATENCY_S = 0.5


def measure(
    model: str, *, notes: int = 100, changes: int = 50, minutes: float = 3.0, kills: int = 6, threads: int = 0
) -> dict[str, Any]:
    """Run the benchmark, without the endless stream.

    Args:
        model: what the engine loads.
        notes: how many notes are played, on pads that are kept ready and on others.
        changes: how often the words are changed.
        minutes: length of the performance.
        kills: how often the engine is killed in it.
        threads: CPU threads of the model; 0 for the engine's own choice.

    Raises:
        RequestError, RuntimeError: as `rig`, `measure_notes` and `measure_performance`.
    """
    if missing := missing_for_jack():
        raise RuntimeError(f"no JACK server: {missing}")
    machine = describe_machine()
    return {
        "benchmark": "live",
        "model": model,
        "note_to_sound": measure_notes(model, notes, threads=threads),
        "change_to_sound": measure_changes(model, changes, threads=threads),
        "performance": measure_performance(model, minutes=minutes, kills=kills, threads=threads),
        "machine": machine,
        "load_after": load(),
    }


def measure_changes(model: str, changes: int, *, threads: int = 0) -> dict[str, Any]:
    """From a change of the words, as it is sent over OSC, to the first sound under it in the audio callback.

    The bridge tells from which second of the stream on the words count, and how far the stream has been played.

    Args:
        model: what the engine loads.
        changes: how many.
        threads: CPU threads of the model; 0 for the engine's own choice.
    """
    spent = []
    with rig(model, threads=threads) as running, OscPeer(running.bridge_port) as host:
        host.send("/bridge/open", 1, _WORDS[-1], "seed", 1, "latency", _LATENCY_S, "bpm", 120.0)
        stream = host.wait("/bridge/queued", 1)[1]
        host.wait("/bridge/sounding", stream)
        for number in range(changes):
            _listen(host, _PAUSE_S)
            host.heard.clear()
            played = host.wait("/bridge/progress", stream)[3]
            known = time.monotonic()
            sent = time.monotonic()
            host.send("/bridge/update", 2 + number, stream, "prompt", f"{_WORDS[number % len(_WORDS)]}, take {number}")
            counts_from = host.wait("/bridge/updated", stream)[2]
            spent.append(1000 * (counts_from - (played + sent - known)))
        host.send("/bridge/stop", 1000)
    return {"changes": changes, "latency_s": _LATENCY_S, "change_to_sound": summarise(spent)}


def _listen(host: OscPeer, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        host.receive(left)


def describe(result: Mapping[str, Any]) -> str:
    """A result in words."""
    notes, changed, performed = result["note_to_sound"], result["change_to_sound"], result["performance"]
    header = ["ms", "p50", "p95", "p99", "max"]
    keys = ("p50_ms", "p95_ms", "p99_ms", "max_ms")
    rows = [
        ["note → sound, pads kept ready", *(notes["ready"][key] for key in keys)],
        ["note → sound, pads not kept ready", *(notes["not_ready"][key] for key in keys)],
        [f"words → sound, latency {changed['latency_s']:g} s", *(changed["change_to_sound"][key] for key in keys)],
    ]
    starts, killed = performed["loop_starts"], performed["killed"]
    said = (
        f"\nA performance of {performed['seconds']:.0f} s: {starts['marks']} loop bars over {starts.get('bars', 0)} bars, at most "
        f"{starts['largest_error_samples']} samples from the clock's; {performed['underruns']} underruns, "
        f"{performed['xruns_of_the_server']} periods missed by the JACK server itself.\n"
        f"The engine was killed {performed['kills']} times: the largest step from sample to sample was "
        f"{killed['largest_step']:.3f} (the music's own {killed['largest_step_of_the_music']:.3f}), the quietest tenth of a second "
        f"{killed['quietest_rms']:.4f} (the music's own {killed['quietest_rms_of_the_music']:.4f}); the take, made again from its "
        f"sidecar, differs by at most {performed['take_made_again_difference']:.1g}.\n"
    )
    return table(header, rows) + said


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="pocket", help="what the engine loads: a name, a folder, a hub id")
    parser.add_argument("--notes", type=int, default=100, help="notes on pads of each kind (%(default)s)")
    parser.add_argument("--changes", type=int, default=50, help="changes of the words (%(default)s)")
    parser.add_argument("--minutes", type=float, default=3.0, help="length of the performance (%(default)s)")
    parser.add_argument("--kills", type=int, default=6, help="times the engine is killed in it (%(default)s)")
    parser.add_argument(
        "--endless", type=float, metavar="MINUTES", help="an endless stream, faster than real time, and nothing else"
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the model; 0 for the engine's choice")
    parser.add_argument("--json", action="store_true", help="write the result as JSON")
    options = parser.parse_args(arguments)
    try:
        if options.endless:
            result = measure_endless(options.model, round(options.endless), threads=options.threads)
            show(result, describe_endless(result), as_json=options.json)
            return 0
        result = measure(
            options.model,
            notes=options.notes,
            changes=options.changes,
            minutes=options.minutes,
            kills=options.kills,
            threads=options.threads,
        )
    except (RequestError, RuntimeError) as error:
        sys.stderr.write(f"live: {getattr(error, 'text', error)}\n")
        return 2
    show(result, describe(result), as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
