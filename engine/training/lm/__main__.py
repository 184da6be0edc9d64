"""``python -m engine.training.lm``: train an LM, or go on with one."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch

from engine.training.checkpoint import load_checkpoint
from engine.training.data import HELD_OUT, TRAIN, Split
from engine.training.lm.config import LMTraining
from engine.training.lm.trainer import CHECKPOINT_FILE, LMTrainer
from engine.training.options import add_options, given_options
from protocols.errors import RequestError

_LOG = logging.getLogger(__name__)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engine.training.lm", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of code shards")
    parser.add_argument("--out", type=Path, required=True, help="folder of the training; it goes on when there is one")
    parser.add_argument("--from", type=Path, dest="start", help="folder of a model to begin with")
    add_options(parser, LMTraining)
    return parser


def open_training(arguments: argparse.Namespace) -> LMTrainer:
    """The training of the folder, with what was given on top of its settings; a new one where there is none.

    Raises:
        RequestError: settings, data, or a checkpoint that do not fit.
    """
    path = arguments.out / CHECKPOINT_FILE
    given = given_options(arguments, LMTraining)
    held = load_checkpoint(path) if path.exists() else None
    config = LMTraining(**given) if held is None else replace(LMTraining(**held["config"]), **given)
    torch.set_num_threads(config.threads)
    train, heldout = (Split(arguments.data / part) for part in (TRAIN, HELD_OUT))
    if held is None:
        return LMTrainer(config, arguments.out, train, heldout, start=arguments.start)
    trainer = LMTrainer(config, arguments.out, train, heldout, words=held["words"])
    trainer.resume()
    return trainer


def main(argv: list[str] | None = None) -> int:
    """Run; 0 when the training is complete or was stopped by a signal with its state saved, 2 for bad input."""
    arguments = make_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    stops: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: stops.append(received))
    try:
        trainer = open_training(arguments)
    except RequestError as error:
        _LOG.error("%s", error.text)
        return 2
    complete = trainer.run(lambda: bool(stops))
    _LOG.info(
        "complete" if complete else "stopped at step %d; run it again to go on", *([] if complete else [trainer.step])
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
