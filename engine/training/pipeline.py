"""The stages of a training, from nothing to a model, in one folder.

``data/``
    Composed and rendered music, or recordings: `engine.training.data`.
``codec/``
    The codec's training: `engine.training.codec`. Its codes stay what they are from the moment that ``codec/frozen`` is there.
``tokens/``
    The same music as codes.
``lm/``
    The language model's training: `engine.training.lm`.
``model/``
    What is made of it all: `engine.training.package`.

Every stage goes on where it was stopped, however that was, and does nothing when it is complete.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.checkpoints.devices import pick_device
from engine.runtime.spectral_codec import WEIGHTS_FILE, SpectralCodec, load_spectral_codec
from engine.training.checkpoint import load_checkpoint
from engine.training.codec import __main__ as codec_stage
from engine.training.codec.config import CodecTraining, Stage
from engine.training.codec.models import load_codec
from engine.training.codec.trainer import CHECKPOINT_FILE, FROZEN_FOLDER, FROZEN_MARK, METRICS_FILE
from engine.training.data import HELD_OUT, TRAIN, Progress, Split, build_dataset, encode_split
from engine.training.data.folders import sole_writer
from engine.training.display import Display
from engine.training.journal import MetricsFile
from engine.training.lm import __main__ as lm_stage
from engine.training.lm.config import LMTraining
from engine.training.needs import check_rendering
from engine.training.package import package_model, read_config, status_of
from engine.training.recipes import MACHINE, Recipe
from engine.training.recordings import import_recordings
from engine.training.stopping import Stop, Stopped
from protocols.errors import ErrorCode, RequestError

_LOG = logging.getLogger(__name__)

DATA, CODEC, TOKENS, LM, MODEL = "data", "codec", "tokens", "lm", "model"
LICENCE = (
    "MIT, the weights too. The music that it was trained on was composed by this project and rendered with FluidSynth and "
    "fluid-soundfont-gm (MIT): nobody else's recordings are in it."
)
_OWN_LICENCE = "As its recordings allow: whoever trained it knows them. The code that it was trained with is MIT."
_LIMITS = (
    "Mono at 32 kHz. It knows the styles, the General MIDI instruments and the words of its training data, no singing and no "
    "sound effects; words that it has not seen mean nothing to it. It is small: what it plays is simple, and long forms are "
    "beyond it."
)


@dataclass(frozen=True)
class Run:
    """One command at work.

    Attributes:
        folder: that everything is in.
        recipe: what is made.
        stop: whether to end.
        display: shows progress.
        workers: processes for what is done in several.
        threads: of the CPU for training; None for all cores that this process may use.
        device: as torch names it, or "auto".
        gpus: processes of the LM's training, each with a device of its own; 1 for this process alone.
        soundfont: for rendering; by default, the system's.
        evaluation: JSON file of an evaluation, for the model card.
        out: folder for the model; by default, ``model`` in ``folder``.
        given: settings that the command line gave, by stage; they replace those of a training that is there already, too.
    """

    folder: Path
    recipe: Recipe
    stop: Stop
    display: Display
    workers: int = 1
    threads: int | None = None
    device: str | None = None
    gpus: int = 1
    soundfont: Path | None = None
    evaluation: Path | None = None
    out: Path | None = None
    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def start(self) -> Path | None:
        """Folder of the model to begin with."""
        return self.recipe.start_folder


@dataclass(frozen=True)
class FolderEncoder:
    """A codec that is opened at its first use in each process; an `engine.training.data.Encoder`.

    Attributes:
        folder: of the codec.
        threads: of the CPU.
    """

    folder: Path
    threads: int

    def encode(self, audio: NDArray[np.float32]) -> NDArray[np.int64]:
        """Codes ``[codebooks, frames]`` of mono samples ``[samples]``."""
        codec = _opened(self.folder, self.threads)
        return codec.encode(torch.from_numpy(audio)[None]).numpy()


def make_data(run: Run) -> None:
    """Compose and render music, or bring recordings into the same form.

    Raises:
        RequestError: what rendering or the recordings need is missing; as `build_dataset` and `import_recordings`.
        Stopped: before it was complete.
    """
    recipe, folder = run.recipe, run.folder / DATA
    if recipe.audio:
        with run.display.bar("data", 1, lines=True) as advance, run.stop.interrupting():
            import_recordings(Path(recipe.audio), folder, workers=run.workers, progress=_shards(advance))
    else:
        soundfont = check_rendering(run.soundfont)
        with run.display.bar("data", 1, lines=True) as advance, run.stop.interrupting():
            build_dataset(
                folder,
                recipe.hours,
                held_out_hours=recipe.held_out_hours,
                workers=run.workers,
                seed0=recipe.seed,
                soundfont=soundfont,
                progress=_shards(advance),
            )
    _LOG.info("data: complete, %.2f h", Split(folder / TRAIN).seconds / 3600)


def train_codec(run: Run) -> None:
    """Train the codec; nothing is done when a model to begin with brings one.

    Raises:
        RequestError: no data, settings that cannot be, a training that diverges; as `CodecTrainer`.
        Stopped: before it was complete.
    """
    if run.start is not None:
        _LOG.info("codec: that of %s is kept", run.recipe.start)
        return
    folder, given = run.folder / CODEC, dict(run.given.get(CODEC, {}))
    _need(run.folder / DATA / TRAIN, DATA)
    with sole_writer(folder):
        held = _state(folder)
        if held is not None:
            config = replace(CodecTraining.from_dict(held["config"]), **given)
            if held["step"] >= config.total_steps and (folder / FROZEN_MARK).is_file():
                _LOG.info("codec: complete, %d steps", held["step"])
                return
        settings = (given if held is not None else asdict(run.recipe.codec) | given) | _machine(run)
        command = [*_folders(run.folder / DATA, folder), *_options(settings)]
        trainer = codec_stage.open_training(
            codec_stage.make_parser().parse_args([*command, "--resume"] if held is not None else command)
        )
        with run.display.bar("codec", trainer.config.total_steps) as advance:
            complete = trainer.run(_stopped(run.stop, advance, lambda: trainer.step))
    if not complete:
        raise Stopped
    _LOG.info("codec: complete")


def make_tokens(run: Run) -> None:
    """Encode the data with the codec, whose encoder does not change any more.

    Raises:
        RequestError: no data, or no codec with frozen codes; as `encode_split`.
        Stopped: before it was complete.
    """
    codec = frozen_codec(run)
    threads = 1 if run.workers > 1 else run.threads or _cores()
    encoder = FolderEncoder(codec, threads)
    opened = load_spectral_codec(codec)
    for part in (HELD_OUT, TRAIN):
        source = _need(run.folder / DATA / part, DATA)
        with run.display.bar(f"tokens, {part}", 1, lines=True) as advance, run.stop.interrupting():
            encode_split(
                source,
                run.folder / TOKENS / part,
                encoder,
                frame_rate=opened.frame_rate,
                card=opened.card,
                encoder_name=codes_of(codec),
                workers=run.workers,
                progress=_shards(advance),
            )
    _LOG.info("tokens: complete")


def train_lm(run: Run) -> None:
    """Train the language model, from first weights or from a model's.

    Raises:
        RequestError: no tokens, or tokens of another codec; settings that cannot be; as `LMTrainer`.
        Stopped: before it was complete.
    """
    folder, given = run.folder / LM, dict(run.given.get(LM, {}))
    tokens = _need(run.folder / TOKENS / TRAIN, TOKENS).parent
    _check_codes(run)
    with sole_writer(folder):
        held = _state(folder)
        if held is not None:
            config = replace(LMTraining(**held["config"]), **given)
            if held["step"] >= config.steps:
                _LOG.info("lm: complete, %d steps", held["step"])
                return
            settings = given | _machine(run)
        else:
            config = replace(run.recipe.lm, **given)
            if run.start is not None:
                config = replace(config, **shape_of(run.start))
            settings = asdict(config) | _machine(run)
        command = [*_folders(tokens, folder), *_options(settings)]
        if run.start is not None:
            command.append(f"--from={run.start}")
        if run.gpus > 1:
            _train_together(run, command, folder, config.steps)
            return
        trainer = lm_stage.open_training(lm_stage.make_parser().parse_args(command))
        with run.display.bar("lm", trainer.config.steps) as advance:
            complete = trainer.run(_stopped(run.stop, advance, lambda: trainer.step))
    if not complete:
        raise Stopped
    _LOG.info("lm: complete")


def export_model(run: Run) -> Path:
    """Put the averaged weights of codec and LM together, with a model card; returns the folder.

    Raises:
        RequestError: no trained LM or codec; as `package_model`.
    """
    held = _state(run.folder / LM)
    if held is None:
        raise _missing(run.folder / LM, LM)
    frozen_codec(run)
    _check_codes(run)
    codec = run.folder / CODEC / "export" if run.start is None else run.start / CODEC
    config, opened = LMTraining(**held["config"]), load_spectral_codec(codec)
    window = Fraction(config.crop_frames) / opened.frame_rate
    evaluation = _read_evaluation(run.evaluation)
    folder = run.out or run.folder / MODEL
    size = package_model(
        run.folder / LM / "export",
        codec,
        folder,
        status=status_of(evaluation),
        window_seconds=window,
        stride_seconds=window / 2,
        card_facts=_card_facts(run, held, evaluation),
    )
    _LOG.info("%s: %.1f MB, %s", folder, size / 1e6, status_of(evaluation))
    return folder


STAGES: dict[str, Callable[[Run], object]] = {
    DATA: make_data,
    CODEC: train_codec,
    TOKENS: make_tokens,
    LM: train_lm,
    "export": export_model,
}
"""In their order."""


def run_stages(names: list[str], run: Run) -> None:
    """Run stages one after the other.

    Raises:
        RequestError: what a stage raises.
        Stopped: a signal came; what was done is on disk.
    """
    for name in names:
        run.stop.check()
        STAGES[name](run)


def frozen_codec(run: Run) -> Path:
    """Folder of the codec that makes the codes.

    Raises:
        RequestError: ``not_found`` while there is none.
    """
    if run.start is not None:
        if not (run.start / CODEC / WEIGHTS_FILE).is_file():
            raise RequestError(ErrorCode.NOT_FOUND, "from", str(run.start), "a model's folder with a codec in it")
        return run.start / CODEC
    if not (run.folder / CODEC / FROZEN_MARK).is_file():
        raise _missing(run.folder / CODEC / FROZEN_MARK, CODEC)
    return run.folder / CODEC / FROZEN_FOLDER


def codes_of(codec: Path) -> str:
    """Names the codes that a codec makes: equal for codecs that differ in their decoders only.

    Raises:
        RequestError: it cannot be read.
    """
    return load_codec(codec).fingerprint()[:16]


def shape_of(model: Path) -> dict[str, Any]:
    """The settings of an LM's training that a model to begin with determines.

    Raises:
        RequestError: it is none of ours.
    """
    config = read_config(model)
    try:
        decoder, text = config["decoder"], config["text_encoder"]
        return {
            "dim": int(decoder["hidden_size"]),
            "layers": int(decoder["num_hidden_layers"]),
            "heads": int(decoder["num_attention_heads"]),
            "ff_dim": int(decoder["ffn_dim"]),
            "text_dim": int(text["d_model"]),
            "text_layers": int(text["num_layers"]),
        }
    except (LookupError, TypeError, ValueError) as error:
        raise RequestError(
            ErrorCode.MALFORMED, "from", str(model), f"the config of a model of ours: {error}"
        ) from error


def _train_together(run: Run, options: list[str], folder: Path, steps: int) -> None:
    """Train the LM in several processes, one a device."""
    command = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={run.gpus}"]
    command += ["-m", "engine.training.lm", *options]
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
    try:
        with run.stop.interrupting():
            code = process.wait()
    except Stopped:
        # On a terminal Ctrl-C reaches them all; a signal to this process alone does not. They save before they end.
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise
    held = _state(folder)
    if code or held is None or held["step"] < steps:
        raise RequestError(ErrorCode.INTERNAL, "gpus", run.gpus, f"processes that end well: exit code {code}")


def _folders(data: Path, out: Path) -> list[str]:
    return [f"--data={data}", f"--out={out}"]


def _options(settings: Mapping[str, Any]) -> list[str]:
    """Settings as the trainers' command lines take them."""
    options = []
    for name, value in settings.items():
        dashed = name.replace("_", "-")
        options.append(f"--{dashed}={value}" if not isinstance(value, bool) else f"--{'' if value else 'no-'}{dashed}")
    return options


def _machine(run: Run) -> dict[str, Any]:
    """Settings that this machine decides."""
    device = pick_device(run.device or "auto")
    name = "cuda" if device.type == "cuda" and run.gpus > 1 else str(device)
    return dict(zip(MACHINE, (run.threads or _cores(), name), strict=True))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _stopped(stop: Stop, advance: Callable[[float, str], None], step: Callable[[], int]) -> Callable[[], bool]:
    """What a trainer asks before each step; it shows the step in passing."""

    def asked() -> bool:
        advance(step(), f"step {step()}")
        return bool(stop.number)

    return asked


def _shards(advance: Callable[[float, str], None]) -> Callable[[Progress], None]:
    def tell(progress: Progress) -> None:
        words = f"{progress.shards} of {progress.total} shards, {progress.hours:.2f} h"
        advance(round(progress.shards / progress.total, 3), words)

    return tell


def _need(folder: Path, stage: str) -> Path:
    if not folder.is_dir():
        raise _missing(folder, stage)
    return folder


def _missing(path: Path, stage: str) -> RequestError:
    return RequestError(ErrorCode.NOT_FOUND, stage, str(path), f"what `daw-bridge train {stage}` makes; run that first")


def _state(folder: Path) -> dict[str, Any] | None:
    path = folder / CHECKPOINT_FILE
    return load_checkpoint(path) if path.exists() else None


@cache
def _opened(folder: Path, threads: int) -> SpectralCodec:
    torch.set_num_threads(threads)
    return load_spectral_codec(folder)


def _check_codes(run: Run) -> None:
    """Codes of another codec would be noise to this one."""
    path = run.folder / TOKENS / TRAIN / "recipe.json"
    try:
        held = json.loads(path.read_text(encoding="utf-8"))["encoder"]
    except (OSError, ValueError, LookupError) as error:
        raise RequestError(ErrorCode.MALFORMED, TOKENS, str(path), "what `daw-bridge train tokens` writes") from error
    wanted = codes_of(frozen_codec(run))
    if held != wanted:
        allowed = f"codes of {wanted}, the codec of this training: another --folder, or remove {TOKENS} and {LM}"
        raise RequestError(ErrorCode.NOT_ALLOWED, TOKENS, f"codes of {held}", allowed)


def _read_evaluation(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(ErrorCode.MALFORMED, "evaluation", str(path), f"a JSON file: {error}") from error
    if not isinstance(content, dict):
        raise RequestError(ErrorCode.MALFORMED, "evaluation", str(path), "an object")
    return content


def _card_facts(run: Run, lm: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> dict[str, Any]:
    recipe, config = run.recipe, LMTraining(**lm["config"])
    hours = Split(run.folder / TOKENS / TRAIN).seconds / 3600
    source = (
        "of recordings"
        if recipe.audio
        else f"of music that `engine.training.composer` wrote (seeds from {recipe.seed} on; every 25th is held out) and FluidSynth "
        "rendered with fluid-soundfont-gm"
    )
    shown: dict[str, Any] = {"recipe": recipe.name, "begun with": recipe.start or "first weights"}
    metrics: dict[str, Any] = {}
    codec = _state(run.folder / CODEC) if run.start is None else None
    if codec is not None:
        steps = {str(stage): codec["config"].get(f"{stage}_steps", 0) for stage in Stage}
        shown["codec's steps"] = ", ".join(f"{stage} {count}" for stage, count in steps.items() if count)
        metrics["codec, time in steps"] = f"{codec['seconds'] / 60:.0f} min"
        names = {"log_mel": "codec, log-mel distance", "si_sdr": "codec, SI-SDR in dB"}
        metrics |= _latest(run.folder / CODEC, names)
    shown |= {
        "LM's width, layers, heads": f"{config.dim}, {config.layers}, {config.heads}",
        "LM's steps": f"{lm['step']} of {config.steps}, {config.batch} crops of {config.crop_frames} frames each",
        "LM's learning rate": config.learning_rate,
    }
    metrics["LM, time in steps"] = f"{lm['seconds'] / 60:.0f} min"
    names = {"heldout_entropy": "LM, cross-entropy on held-out music, in nats per code"}
    names |= {f"heldout_entropy_{index}": f"LM, the same of codebook {index + 1}" for index in range(16)}
    metrics |= _latest(run.folder / LM, names)
    own = bool(recipe.audio)
    return {
        "name": recipe.name,
        "data": f"{hours:.1f} h {source}.",
        "recipe": shown,
        "metrics": metrics,
        "licence": "other" if own else "mit",
        "licence_text": _OWN_LICENCE if own else LICENCE,
        "limits": _LIMITS,
        "evaluation": evaluation,
        "resume": "pip install 'daw-bridge[train]'\ndaw-bridge train all --from pocket --recipe pocket --folder more",
    }


def _latest(folder: Path, names: Mapping[str, str]) -> dict[str, float]:
    """The last value of each number of a training's metrics, under another name."""
    found: dict[str, float] = {}
    for line in MetricsFile(folder / METRICS_FILE).read():
        found |= {title: line[name] for name, title in names.items() if line.get(name) is not None}
    return {title: found[title] for title in names.values() if title in found}
