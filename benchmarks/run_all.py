"""``python -m benchmarks.run_all``: every benchmark in a process of its own, its result to ``results/``, the tables to README.md.

Run it on a machine that does nothing else; the load before and after is kept with every figure.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks._limits import broken
from benchmarks._page import figures

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
PAGE = FOLDER / "README.md"
_BEGIN, _END = "<!-- figures: written by python -m benchmarks.run_all -->", "<!-- end of figures -->"


class Job(NamedTuple):
    """One command.

    Attributes:
        command: module of this package and its arguments.
        group: of jobs that are run together: ``cpu-limits`` has all that a limit has been set for on a CPU, in about ten minutes,
            ``cpu`` the rest for a CPU, ``cuda`` what needs a GPU.
    """

    command: str
    group: str


_COLUMNS = "--dtype int8 --dtype int4 --dtype float32"

JOBS: dict[str, Job] = {
    "start": Job("start", "cpu-limits"),
    "first_sound-pocket": Job("first_sound --model pocket --cores 2", "cpu-limits"),
    "decode-pocket": Job(f"decode --model pocket --threads 2 {_COLUMNS}", "cpu-limits"),
    "decode-musicgen-small": Job(f"decode --model-shape musicgen-small --threads 4 {_COLUMNS}", "cpu-limits"),
    "streams-pocket": Job("streams --model pocket --probe-seconds 5", "cpu-limits"),
    "codec-pocket": Job("codec --model pocket --threads 2", "cpu-limits"),
    "codec-musicgen-small": Job("codec --model-shape musicgen-small --threads 4", "cpu"),
    "decode-musicgen-medium": Job(
        "decode --model-shape musicgen-medium --threads 4 --steps 10 --equal-frames 10 --dtype int8 --dtype int4", "cpu"
    ),
    "decode-musicgen-large": Job(
        "decode --model-shape musicgen-large --threads 4 --steps 10 --equal-frames 10 --dtype int8 --dtype int4", "cpu"
    ),
    "streams-musicgen-small": Job("streams --model-shape musicgen-small --threads 4 --most 4", "cpu"),
    "conditioning-pocket": Job("conditioning --model pocket --threads 2", "cpu"),
    "live-pocket": Job("live --model pocket --threads 2", "cpu"),
    "endless-pocket": Job("live --model pocket --endless 60 --threads 2", "cpu"),
    **{
        f"decode-musicgen-{size}-cuda": Job(
            f"decode --model-shape musicgen-{size} --device cuda --dtype bfloat16 --dtype float16 --dtype int8", "cuda"
        )
        for size in ("small", "medium", "large")
    },
    "first_sound-musicgen-medium-cuda": Job(
        "first_sound --model-shape musicgen-medium --device cuda --set bridge.prebuffer_ms=10", "cuda"
    ),
    "streams-musicgen-medium-cuda": Job("streams --model-shape musicgen-medium --device cuda --dtype bfloat16", "cuda"),
    "codec-musicgen-medium-cuda": Job("codec --model-shape musicgen-medium --device cuda", "cuda"),
}
"""A result's name, and what makes it."""


def run(names: Iterable[str], folder: Path = RESULTS) -> list[str]:
    """Run jobs one after the other and write their results; returns the names of those that failed.

    Args:
        names: of `JOBS`.
        folder: where ``<name>.json`` goes.
    """
    failed = []
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        sys.stderr.write(f"{name} …\n")
        module, *arguments = shlex.split(JOBS[name].command)
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments, "--json"]
        done = subprocess.run(command, cwd=FOLDER.parent, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            failed.append(name)
            continue
        for missed in broken(json.loads(done.stdout)):
            sys.stderr.write(f"{name}: {missed}\n")
        (folder / f"{name}.json").write_text(done.stdout, encoding="utf-8")
    return failed


def read_results(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Every result in a folder, in the order of `JOBS`, others after them."""
    order = {name: number for number, name in enumerate(JOBS)}
    paths = sorted(folder.glob("*.json"), key=lambda path: (order.get(path.stem, len(order)), path.stem))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def unmeasured(folder: Path = RESULTS) -> dict[str, str]:
    """The jobs that have no result in a folder, and their commands."""
    return {
        name: f"python -m benchmarks.{job.command}"
        for name, job in JOBS.items()
        if not (folder / f"{name}.json").is_file()
    }


def write_page(
    results: Iterable[Mapping[str, Any]], page: Path = PAGE, missing: Mapping[str, str] | None = None
) -> None:
    """Put the tables between the marks of the page.

    Args:
        results: that are shown.
        page: which file.
        missing: what has not been measured; see `unmeasured`.

    Raises:
        ValueError: the page has no marks.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{page.name} lacks the marks between which the figures go")
    page.write_text(f"{before}{begin}\n\n{figures(results, missing)}\n{end}{after}", encoding="utf-8")


def chosen(wanted: Iterable[str] | None) -> list[str]:
    """The jobs whose group is among ``wanted``, or whose names contain one of them; None: all for a CPU."""
    wanted = list(wanted or ("cpu-limits", "cpu"))
    groups = {job.group for job in JOBS.values()}
    return [
        name
        for name, job in JOBS.items()
        if any(job.group == text if text in groups else text in name for text in wanted)
    ]


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; 1 where a job failed, 2 where nothing was to be done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run_all", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--only",
        action="append",
        metavar="TEXT",
        help="a group (cpu-limits, cpu, cuda), or jobs whose name contains this; repeatable; default: both of a CPU",
    )
    parser.add_argument("--list", action="store_true", help="name the jobs and leave")
    parser.add_argument("--page", action="store_true", help="write the page from the results there are, and leave")
    options = parser.parse_args(arguments)
    names = chosen(options.only)
    if options.list or not names:
        sys.stdout.write("".join(f"{name}: python -m benchmarks.{job.command}\n" for name, job in JOBS.items()))
        return 0 if options.list else 2
    failed = [] if options.page else run(names)
    write_page(read_results(), missing=unmeasured())
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
