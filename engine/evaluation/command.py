"""The command line of ``python -m engine.evaluation``."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields
from fractions import Fraction
from pathlib import Path

import torch
from rich.console import Console

from engine.checkpoints import load_model
from engine.evaluation.report import FULL_CLIPS, Plan, evaluate, tables
from engine.runtime.sampling import SamplingSettings
from engine.training.display import Display
from protocols.errors import RequestError

_ABOUT = "Measure a model on held-out music, beside real renders of it."
_QUICK_CLIPS, _QUICK_MELODIES = 16, 8


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engine.evaluation", description=_ABOUT)
    parser.add_argument(
        "name", nargs="?", default="pocket", help="a model: a name, a folder, a hub id (default: pocket)"
    )
    parser.add_argument("--model", metavar="FOLDER", help="the same as the name")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="shards of held-out audio; by default pieces are composed"
    )
    parser.add_argument(
        "--clips", type=int, help=f"how many prompts (default: {FULL_CLIPS}, or {_QUICK_CLIPS} with --quick)"
    )
    parser.add_argument("--melodies", type=int, help="how many of them with their melody too (default: 40 of 100)")
    parser.add_argument("--seconds", type=Fraction, default=Fraction(10), help="length of a clip (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of pieces, crops and draws (default: 0)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 for all cores")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--dtype", default="auto", help="auto, float32, float16 or bfloat16")
    for one in fields(SamplingSettings):
        option, kind = "--" + one.name.replace("_", "-"), type(one.default)
        parser.add_argument(option, type=kind, default=one.default, help=f"of sampling (default: {one.default:g})")
    parser.add_argument("--quick", action="store_true", help="few clips: for a look, not for the gates")
    parser.add_argument("--json", action="store_true", help="write the report as JSON")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON here too")
    return parser


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan that the command line asks for.

    Raises:
        RequestError: numbers out of range.
    """
    clips = options.clips if options.clips is not None else _QUICK_CLIPS if options.quick else FULL_CLIPS
    melodies = options.melodies
    if melodies is None:
        melodies = min(clips, max(_QUICK_MELODIES, round(0.4 * clips)))
    threads = options.threads or torch.get_num_threads()
    sampling = SamplingSettings(**{one.name: getattr(options, one.name) for one in fields(SamplingSettings)})
    return Plan(clips, melodies, options.seconds, options.seed, options.data, threads, sampling)


def main(argv: list[str] | None = None) -> int:
    """Run; 0 when it was measured, whatever the result, and 2 for bad input."""
    parser = make_parser()
    options = parser.parse_args(argv)
    display = Display()
    display.open_log()
    try:
        plan = plan_of(options)
        torch.set_num_threads(plan.threads)
        bundle = load_model(options.model or options.name, device=options.device, dtype=options.dtype)
        report = evaluate(bundle, plan, display)
    except RequestError as error:
        sys.stderr.write(f"evaluation: {error.text}\n")
        return 2
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    if options.out is not None:
        try:
            options.out.write_text(text, encoding="utf-8")
        except OSError as error:
            sys.stderr.write(f"evaluation: {options.out}: {error.strerror}\n")
            return 2
    if options.json:
        sys.stdout.write(text)
    else:
        console = Console()
        for table in tables(report):
            console.print(table)
    return 0
