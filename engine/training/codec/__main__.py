"""``python -m engine.training.codec``: train a codec, or go on with one."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from engine.training.checkpoint import load_checkpoint
from engine.training.codec.config import JOINT_STEPS, CodecTraining
from engine.training.codec.models import TrainableCodec, load_codec, make_codec, make_encodec, make_spectral
from engine.training.codec.trainer import CHECKPOINT_FILE, CodecTrainer
from engine.training.data import HELD_OUT, TRAIN, Split
from engine.training.data.clips import SplitClips
from engine.training.data.folders import sole_writer
from engine.training.options import add_options, given_options
from protocols.errors import ErrorCode, RequestError

_LOG = logging.getLogger(__name__)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engine.training.codec", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of rendered shards")
    parser.add_argument("--out", type=Path, required=True, help="folder of the training; it may be resumed from there")
    beginning = parser.add_mutually_exclusive_group()
    beginning.add_argument(
        "--resume",
        action="store_true",
        help="go on from the folder's checkpoint with its settings; options that are given replace them",
    )
    beginning.add_argument(
        "--from",
        type=Path,
        dest="start",
        help="folder of an exported codec whose codes stay valid: only its decoder is trained",
    )
    add_options(parser, CodecTraining)
    return parser


def open_training(arguments: argparse.Namespace) -> CodecTrainer:
    """The training of the folder, ready to run: a new one, one to resume, or one of the decoder of an exported codec.

    Raises:
        RequestError: settings, data, a codec or a checkpoint that do not fit; ``not_allowed`` for a new training where there
            is one already.
    """
    config, make = _begin(arguments)
    torch.set_num_threads(config.threads)
    train, heldout = (Split(arguments.data / part) for part in (TRAIN, HELD_OUT))
    clips = SplitClips(train), SplitClips(heldout)
    keep_codes = arguments.start is not None
    trainer = CodecTrainer(config, arguments.out, make, *clips, train.fingerprint, keep_codes)
    for split in (train, heldout):
        if split.rate != trainer.model.sample_rate:
            allowed = f"{trainer.model.sample_rate} Hz, the codec's sample rate"
            raise RequestError(ErrorCode.UNSUPPORTED, "data", f"{split.folder}, {split.rate} Hz", allowed)
    if arguments.resume:
        trainer.resume()
    return trainer


def _begin(arguments: argparse.Namespace) -> tuple[CodecTraining, Callable[[], TrainableCodec]]:
    """The settings, and how the codec is made."""
    path: Path = arguments.out / CHECKPOINT_FILE
    given = given_options(arguments, CodecTraining)
    if arguments.resume:
        state = load_checkpoint(path)
        return replace(CodecTraining.from_dict(state.get("config")), **given), partial(make_codec, state.get("codec"))
    if path.exists():
        raise RequestError(ErrorCode.NOT_ALLOWED, "out", str(arguments.out), "an empty folder, or --resume to go on")
    if arguments.start is not None:
        codec = load_codec(arguments.start)
        config = CodecTraining(**dict.fromkeys(JOINT_STEPS, 0) | {"model": codec.family} | given)
        if config.model != codec.family:
            raise RequestError(ErrorCode.NOT_ALLOWED, "model", config.model, f"{codec.family}, as in {arguments.start}")
        return config, lambda: codec
    config = CodecTraining(**given)
    return config, make_spectral if config.model == "spectral" else make_encodec


def main(argv: list[str] | None = None) -> int:
    """Run; 0 when the training is complete or was stopped by a signal with its state saved.

    Returns:
        The exit status: 2 for bad input, 1 for a training that ended because it diverged or could not be written.
    """
    arguments = make_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    stops: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
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
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    _LOG.info("%s at step %d", "complete" if complete else "stopped, to go on with --resume,", trainer.step)
    return 0


if __name__ == "__main__":
    sys.exit(main())
