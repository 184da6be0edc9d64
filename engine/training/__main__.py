"""``python -m engine.training``, which ``daw-bridge train`` starts: makes a model of our kind, stage by stage."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import platformdirs

from engine.checkpoints.catalogue import POCKET
from engine.training.codec.config import CodecTraining
from engine.training.display import Display
from engine.training.lm.config import LMTraining
from engine.training.options import add_options, given_options
from engine.training.recipes import MACHINE, RECIPES, Recipe, folder_recipe, keep_recipe, read_recipe
from engine.training.stopping import Stop, Stopped
from protocols.errors import ErrorCode, RequestError

_LOG = logging.getLogger(__name__)

_SETTINGS: dict[str, type[Any]] = {"codec": CodecTraining, "lm": LMTraining}
_FACTS = ("hours", "held_out_hours", "seed")
_ALL = ("data", "codec", "tokens", "lm", "export")
_HELP = {
    "data": "compose and render music, or prepare recordings of your own",
    "codec": "train the codec on it",
    "tokens": "encode it with the codec",
    "lm": "train the language model on the codes",
    "export": "put the model together, with its card",
    "all": "all of these, one after the other",
    "recipe": "print a recipe as JSON, to change it and give it as --recipe FILE",
}
_EPILOG = """Everything is in one folder, and every stage goes on where it was stopped: Ctrl-C, a kill or a power cut cost a few
minutes at the most. Run the same command again. How long it takes and what it needs: docs/training.md."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="daw-bridge train", description="Make a model of your own, or train one further.", epilog=_EPILOG
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="STAGE")
    for name, text in _HELP.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", epilog=_EPILOG)
        if name == "recipe":
            command.add_argument("name", nargs="?", default="pocket", help=f"{', '.join(RECIPES)}, or a file")
            continue
        _add_common(command)
        for add in {
            "data": (_add_data, _add_workers),
            "codec": (_add_machine, _add_codec),
            "tokens": (_add_machine, _add_workers, _add_start),
            "lm": (_add_machine, _add_start, _add_gpus, _add_lm),
            "export": (_add_export,),
            "all": (_add_data, _add_workers, _add_machine, _add_start, _add_gpus, _add_export, _add_changes),
        }[name]:
            add(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a stage, or all.

    Returns:
        The exit status: 0 when it is complete, 2 for bad input or a training that cannot go on, 128 and the signal's number when a
        signal stopped it (130 for Ctrl-C): what was done is saved, and the same command goes on.
    """
    arguments = make_parser().parse_args(argv)
    with Stop() as stop:
        try:
            if arguments.command == "recipe":
                sys.stdout.write(json.dumps(read_recipe(arguments.name).to_dict(), indent=2) + "\n")
                return 0
            _run(arguments, stop)
        except RequestError as error:
            sys.stderr.write(f"daw-bridge train: {error.text}\n")
            return 2
        except (Stopped, KeyboardInterrupt):
            sys.stderr.write("Stopped; everything so far is saved. The same command goes on.\n")
            return 128 + (stop.number or 2)
    return 0


def _run(arguments: argparse.Namespace, stop: Stop) -> None:
    folder = arguments.folder.expanduser().absolute()
    given = {name: _given(arguments, kind) for name, kind in _SETTINGS.items() if name == arguments.command}
    recipe = _recipe_of(arguments, folder)
    changes = getattr(arguments, "set", [])
    given |= {name: recipe.settings_in(name, changes) for name in _SETTINGS if changes}
    display = Display()
    display.open_log()
    # torch is loaded here: what is wrong with the command line is told before that.
    from engine.training.pipeline import Run, run_stages

    stages = list(_ALL) if arguments.command == "all" else [arguments.command]
    run = Run(
        folder=folder,
        recipe=recipe,
        stop=stop,
        display=display,
        workers=getattr(arguments, "workers", 1),
        threads=getattr(arguments, "threads", None),
        device=getattr(arguments, "device", None),
        gpus=getattr(arguments, "gpus", 1),
        soundfont=getattr(arguments, "soundfont", None),
        evaluation=getattr(arguments, "evaluation", None),
        out=getattr(arguments, "out", None),
        given=given,
    )
    run_stages(stages, run)


def _recipe_of(arguments: argparse.Namespace, folder: Path) -> Recipe:
    """The folder's recipe, or that of a new folder, with what the command line says about data and start; it is kept.

    Raises:
        RequestError: it cannot be, or the folder was begun with another.
    """
    held = folder_recipe(folder)
    start = getattr(arguments, "start", None)
    if held is None:
        recipe = read_recipe(arguments.recipe or ("tuning" if start else "pocket"))
    else:
        recipe = held
        if arguments.recipe and read_recipe(arguments.recipe).name != held.name:
            allowed = f"{held.name}, which {folder} was begun with, or another --folder"
            raise RequestError(ErrorCode.NOT_ALLOWED, "recipe", arguments.recipe, allowed)
    changes: dict[str, Any] = {}
    if arguments.command in ("data", "all"):
        changes = {name: getattr(arguments, name) for name in _FACTS if hasattr(arguments, name)}
        if arguments.audio:
            changes["audio"] = str(arguments.audio.expanduser().absolute())
    if start:
        changes["start"] = start if start == POCKET else str(Path(start).expanduser().absolute())
        if held is not None and held.start != changes["start"] and (folder / "tokens").exists():
            allowed = f"{held.start or 'none'}, which {folder} was begun with, or another --folder"
            raise RequestError(ErrorCode.NOT_ALLOWED, "from", start, allowed)
    recipe = Recipe.from_dict(recipe.to_dict() | changes).changed(getattr(arguments, "set", []))
    recipe.check_folders()
    # A folder's name that was mistyped is no new folder.
    if recipe != held and (arguments.command in ("data", "all") or folder.is_dir()):
        keep_recipe(folder, recipe)
    return recipe


def _add_common(parser: argparse.ArgumentParser) -> None:
    default = Path(platformdirs.user_data_dir("daw-bridge", appauthor=False)) / "training"
    parser.add_argument("--folder", type=Path, default=default, help="that everything is in (default: %(default)s)")
    parser.add_argument(
        "--recipe", metavar="NAME", help=f"{', '.join(RECIPES)}, or a JSON file (default: the folder's)"
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    absent = argparse.SUPPRESS
    parser.add_argument("--audio", type=Path, metavar="DIR", help="recordings to use in place of composed music")
    parser.add_argument("--hours", type=float, default=absent, help="of composed music (default: the recipe's)")
    parser.add_argument("--held-out-hours", type=float, default=absent, help="of it, to measure on")
    parser.add_argument("--seed", type=int, default=absent, help="the first seed of the pieces")
    parser.add_argument("--soundfont", type=Path, metavar="FILE", help="to render with (default: the system's)")


def _add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers", type=int, default=_cores(), help="processes that render and encode (default: %(default)s)"
    )


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=_count, help=f"of the CPU (default: {_cores()})")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: the fastest)")


def _add_start(parser: argparse.ArgumentParser) -> None:
    text = "pocket, or a model's folder: keep its codec and train its language model further"
    parser.add_argument("--from", dest="start", metavar="MODEL", help=text)


def _add_gpus(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gpus", type=_count, default=1, help="processes that train the language model together")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help="for the model (default: model in the folder)")
    parser.add_argument(
        "--evaluation",
        type=Path,
        metavar="FILE",
        help="what `python -m engine.evaluation --json` printed, for the card",
    )


def _add_changes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of the recipe: hours=2, codec.batch=8, lm.steps=900",
    )


def _add_codec(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser, CodecTraining)


def _add_lm(parser: argparse.ArgumentParser) -> None:
    _add_settings(parser, LMTraining)


def _add_settings(parser: argparse.ArgumentParser, kind: type[Any]) -> None:
    group = parser.add_argument_group("settings of the training", "defaults: those of the recipe")
    add_options(group, kind, without=MACHINE, defaults=False)


def _given(arguments: argparse.Namespace, kind: type[Any]) -> dict[str, Any]:
    """The settings of a training that the command line gives."""
    given = given_options(arguments, kind, without=MACHINE)
    replace(kind(), **given)  # what cannot be is told at once
    return given


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: 1 or more")
    return value


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())
