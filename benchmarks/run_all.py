"""``python -m benchmarks.run_all``: every benchmark in a process of its own, its result to ``results/``, the tables to README.md.

Run it on a machine that does nothing else; the load before and after is kept with every figure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks._figures import table

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
PAGE = FOLDER / "README.md"
_BEGIN, _END = "<!-- figures: written by python -m benchmarks.run_all -->", "<!-- end of figures -->"

JOBS: dict[str, Sequence[str]] = {
    "first_sound-pocket": ("first_sound", "--model", "pocket"),
    "conditioning-pocket": ("conditioning", "--model", "pocket"),
    "live-pocket": ("live", "--model", "pocket"),
    "endless-pocket": ("live", "--model", "pocket", "--endless", "60"),
    "decode-pocket-float32": ("decode", "--model", "pocket", "--dtype", "float32"),
    "decode-musicgen-small-float32": ("decode", "--model-shape", "musicgen-small", "--dtype", "float32"),
    "decode-musicgen-small-bfloat16": ("decode", "--model-shape", "musicgen-small", "--dtype", "bfloat16"),
    "decode-musicgen-medium-float32": ("decode", "--model-shape", "musicgen-medium", "--dtype", "float32"),
    "decode-musicgen-medium-bfloat16": ("decode", "--model-shape", "musicgen-medium", "--dtype", "bfloat16"),
    "decode-musicgen-large-bfloat16": ("decode", "--model-shape", "musicgen-large", "--dtype", "bfloat16"),
}
"""A result's name, and what makes it."""


def run(names: Iterable[str], more: Sequence[str], folder: Path = RESULTS) -> list[str]:
    """Run jobs one after the other and write their results; returns the names of those that failed.

    Args:
        names: of `JOBS`.
        more: arguments for each of them.
        folder: where ``<name>.json`` goes.
    """
    failed = []
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        sys.stderr.write(f"{name} …\n")
        module, *arguments = JOBS[name]
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments, *more, "--json"]
        done = subprocess.run(command, cwd=FOLDER.parent, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            failed.append(name)
            continue
        (folder / f"{name}.json").write_text(done.stdout, encoding="utf-8")
    return failed


def read_results(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Every result in a folder, in the order of `JOBS`, others after them."""
    order = {name: number for number, name in enumerate(JOBS)}
    paths = sorted(folder.glob("*.json"), key=lambda path: (order.get(path.stem, len(order)), path.stem))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def figures(results: Iterable[Mapping[str, Any]]) -> str:
    """The tables of the page."""
    results = list(results)
    sounds = [result for result in results if result["benchmark"] == "first_sound"]
    steps = [result for result in results if result["benchmark"] == "decode"]
    parts = []
    if sounds:
        header = ["first sound, ms", "p50", "p95", "p99", "engine alone p50", "prebuffer", "underruns", "load", "date"]
        rows = [
            [
                f"{result['model']}, {result['output']}",
                *(result[key] for key in ("p50_ms", "p95_ms", "p99_ms")),
                result["engine_only"]["prebuffer_full"]["p50_ms"],
                result["prebuffer_ms"],
                result["underruns"],
                *_when(result),
            ]
            for result in sounds
        ]
        parts.append(table(header, rows))
        parts += [_stages(result) for result in sounds]
    if steps:
        header = [
            "one step, ms",
            "this project",
            "transformers",
            "floor",
            "codec",
            "realtime",
            "transformers' realtime",
            "GB/s",
            "threads",
            "load",
            "date",
        ]
        keys = (
            "step_ms",
            "peer_step_ms",
            "floor_step_ms",
            "codec_ms_per_frame",
            "realtime",
            "peer_realtime",
            "bandwidth_gb_s",
            "threads",
        )
        rows = [
            [
                f"{result['model']}, {result['dtype']}, {result['device']}",
                *(result[key] for key in keys),
                *_when(result),
            ]
            for result in steps
        ]
        parts.append(table(header, rows))
    parts += [_conditioning(result) for result in results if result["benchmark"] == "conditioning"]
    parts += [_live(result) for result in results if result["benchmark"] == "live"]
    parts += [_endless(result) for result in results if result["benchmark"] == "endless"]
    machines = {_machine(result["machine"]) for result in results}
    return "\n".join([*parts, *sorted(machines)]) + "\n"


def write_page(results: Iterable[Mapping[str, Any]], page: Path = PAGE) -> None:
    """Put the tables between the marks of the page.

    Raises:
        ValueError: the page has no marks.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{page.name} lacks the marks between which the figures go")
    page.write_text(f"{before}{begin}\n\n{figures(results)}\n{end}{after}", encoding="utf-8")


def _stages(result: Mapping[str, Any]) -> str:
    from benchmarks.first_sound import STAGES

    rows = [
        [text, *(result["split"][name][key] for key in ("p50_ms", "p95_ms", "max_ms"))] for name, text in STAGES.items()
    ]
    return table([f"where the time goes ({result['model']}), ms", "p50", "p95", "max"], rows)


def _conditioning(result: Mapping[str, Any]) -> str:
    clip, live = result["clip_to_condition_ms"], result["live"]
    rows: list[list[object]] = [
        [f"frames of chroma that agree with the sound of {result['clips']} clips", f"{result['agreement']:.1%}"],
        [
            f"from a clip of {result['bars']} bars to the condition, ms (p50, p95)",
            f"{clip['p50_ms']:g}, {clip['p95_ms']:g}",
        ],
    ]
    if live is not None:
        change, endless = live["changes"]["change_to_frame"], live["endless"]
        rows += [
            [
                "from a change of the words to a frame under it, ms (p50, p95)",
                f"{change['p50_ms']:g}, {change['p95_ms']:g}",
            ],
            [f"frames that come late in {endless['minutes']:g} minutes ({live['model']})", endless["late_frames"]],
            ["the closest that any of them comes, ms", f"{endless['margin']['min_ms']:.0f}"],
        ]
    rows.append(["load, date", ", ".join(_when(result))])
    return table(["conditioning", ""], rows)


def _live(result: Mapping[str, Any]) -> str:
    from benchmarks.live import describe

    return describe(result)


def _endless(result: Mapping[str, Any]) -> str:
    from benchmarks._endless import describe_endless

    return describe_endless(result)


def _when(result: Mapping[str, Any]) -> tuple[str, str]:
    return f"{result['machine']['load']} → {result['load_after']}", result["machine"]["date"]


def _machine(machine: Mapping[str, Any]) -> str:
    return (
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']:g} GB, {machine['system']}; "
        f"Python {machine['python']}, torch {machine['torch']}, transformers {machine['transformers']}."
    )


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run_all", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--only", action="append", metavar="TEXT", help="only jobs whose name contains this; repeatable"
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of the model")
    parser.add_argument("--list", action="store_true", help="name the jobs and leave")
    options = parser.parse_args(arguments)
    names = [name for name in JOBS if not options.only or any(text in name for text in options.only)]
    if options.list or not names:
        sys.stdout.write("\n".join(JOBS) + "\n")
        return 0 if options.list else 2
    failed = run(names, ["--threads", str(options.threads)])
    write_page(read_results())
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
