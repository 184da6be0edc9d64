"""``python -m engine.training.codec``: train a codec, or go on with one."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch

from engine.training.codec.checkpoint import load_checkpoint
from engine.training.codec.config import CodecTraining, add_options, given_options
from engine.training.codec.models import make_encodec, make_spectral
from engine.training.codec.trainer import CHECKPOINT_FILE, CodecTrainer
from engine.training.data import HELD_OUT, TRAIN, Split
from engine.training.data.clips import SplitClips
from engine.training.data.folders import sole_writer
from protocols.errors import ErrorCode, RequestError

_LOG = logging.getLogger(__name__)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engine.training.codec", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of rendered shards")
    parser.add_argument("--out", type=Path, required=True, help="folder of the training; it may be resumed from there")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the folder's checkpoint with its settings; options that are given replace them",
    )
    add_options(parser)
    return parser


def read_settings(arguments: argparse.Namespace) -> CodecTraining:
    """The settings of a new training, or those of the one to resume with what was given on top.

    Raises:
        RequestError: ``not_allowed`` for a new training where there is one already, ``not_found`` for a missing one.
    """
    path = arguments.out / CHECKPOINT_FILE
    given = given_options(arguments)
    if arguments.resume:
        return replace(CodecTraining.from_dict(load_checkpoint(path)["config"]), **given)
    if path.exists():
        raise RequestError(ErrorCode.NOT_ALLOWED, "out", str(arguments.out), "an empty folder, or --resume to go on")
    return CodecTraining(**given)


def open_training(arguments: argparse.Namespace) -> CodecTrainer:
    """The training of the folder, ready to run.

    Raises:
        RequestError: settings, data or a checkpoint that do not fit.
    """
    config = read_settings(arguments)
    torch.set_num_threads(config.threads)
    train, heldout = (Split(arguments.data / part) for part in (TRAIN, HELD_OUT))
    make = make_spectral if config.model == "spectral" else make_encodec
    trainer = CodecTrainer(config, arguments.out, make, SplitClips(train), SplitClips(heldout), train.fingerprint)
    for split in (train, heldout):
        if split.rate != trainer.model.sample_rate:
            allowed = f"{trainer.model.sample_rate} Hz, the codec's sample rate"
            raise RequestError(ErrorCode.UNSUPPORTED, "data", f"{split.folder}, {split.rate} Hz", allowed)
    if arguments.resume:
        trainer.resume()
    return trainer


def main(argv: list[str] | None = None) -> int:
    """Run; 0 when the training is complete or was stopped by a signal with its state saved.

    Returns:
        The exit status: 2 for bad input, 1 for a training that ended because it diverged or could not be written.
    """
    arguments = make_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    stops: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: stops.append(received))
    status = 2
    try:
        with sole_writer(arguments.out):
            trainer = open_training(arguments)
            status = 1
            complete = trainer.run(lambda: bool(stops))
    except RequestError as error:
        _LOG.error("%s", error.text)
        return status
    _LOG.info("%s at step %d", "complete" if complete else "stopped, to go on with --resume,", trainer.step)
    return 0


if __name__ == "__main__":
    sys.exit(main())
