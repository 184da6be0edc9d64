"""Trains a codec, stage by stage, from nothing or from where it was stopped."""

from __future__ import annotations

import copy
import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.checkpoints.devices import pick_device
from engine.training.checkpoint import load_checkpoint, save_checkpoint
from engine.training.codec.adversary import Adversary
from engine.training.codec.clips import Clips
from engine.training.codec.config import JOINT_STEPS, CodecTraining, Stage
from engine.training.codec.losses import Balancer, LogMel, MultiScaleMel
from engine.training.codec.metrics import CodecQuality, QualityMeter
from engine.training.codec.models import TrainableCodec
from engine.training.codec.quantizer import Quantised, QuantizerTraining
from engine.training.codec.schedule import learning_rate, loss_shares, rate_setting
from engine.training.curves import plot_curves
from engine.training.data.folders import write_whole, written
from engine.training.journal import MetricsFile, finite
from protocols.errors import ErrorCode, RequestError

_LOG = logging.getLogger(__name__)

CHECKPOINT_FILE = "checkpoint.pt"
METRICS_FILE = "metrics.jsonl"
CURVES_FILE = "curves.png"
FROZEN_MARK = "FROZEN"
FROZEN_FOLDER = "frozen"

# The shortest ones see when within a codec frame something sounds: without them, a decoder that cannot know the phases sets
# them all alike, and what should be a burst of noise becomes a click far above full scale.
_MEL_WINDOWS = (64, 256, 1024, 2048)
_MEL_BANDS = (8, 32, 80, 128)
_DISCRIMINATOR_WINDOWS = (2048, 512, 128)
_EVALUATION_SEED = 0x5EED
_PATIENCE = 50
"""Steps in a row without a finite gradient after which a training is given up."""


class CodecTrainer:
    """One training in one folder.

    Stages, in the order that was found to work: reconstruction without quantiser, the waveform first and the mel loss
    ramped in; codebooks from k-means, trained together with everything; optionally the discriminator for all parts; then,
    with encoder and codebooks frozen, the decoder alone: for the log mel spectra first, which are blurred then, and last a
    little against the discriminator, which wants them sharp.

    Every random choice of a step comes from a generator that is seeded with the step, so that a training that was
    stopped and resumed does what it would have done. Where encoder and codebooks freeze, they become the averaged weights,
    rounded to float16 when that is how they are stored: codes made with the export in ``frozen/`` stay valid for every later
    decoder in ``export/``. The file ``FROZEN`` says so.

    Args:
        config: the settings.
        folder: of the checkpoint, the metrics, the curves and the exports; made when it is not there.
        make: the model; it is called with torch's global generator seeded.
        clips: what is trained on.
        heldout: what is measured on.
        data: names what is trained on; a training that is resumed with something else says so in the log.
        keep_codes: ``make`` gives a codec that has been trained, and encoder and codebooks stay as they are from the start.

    Raises:
        RequestError: ``unknown_device``; ``out_of_range`` for crops that are longer than the recordings or shorter than
            the discriminator's spectra; ``not_allowed`` when the folder cannot be made, or for steps that would train what
            ``keep_codes`` keeps.
    """

    def __init__(
        self,
        config: CodecTraining,
        folder: Path,
        make: Callable[[], TrainableCodec],
        clips: Clips,
        heldout: Clips,
        data: str = "",
        keep_codes: bool = False,
    ) -> None:
        if keep_codes:
            _refuse_joint_steps(config)
        self.config = config
        self.folder = folder
        self.step = 0
        self.seconds = 0.0
        self._clips = clips
        self._data = data
        self._keep_codes = keep_codes
        self._device = pick_device(config.device)
        self._calibrated = self._frozen = False
        self._bad_steps = 0
        self._metrics = MetricsFile(folder / METRICS_FILE)
        with written(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = make().to(self._device)
            self.adversary = Adversary(
                _DISCRIMINATOR_WINDOWS,
                config.discriminator_filters,
                config.discriminator_rate,
                config.discriminator_crops,
                config.discriminator_frames * self.model.hop_length,
                config.bf16,
            ).to(self._device)
        self.samples = config.crop_frames * self.model.hop_length
        self._check_lengths()
        self.quantizer = QuantizerTraining(self.model.codebooks, config.codebook_decay)
        self._mel = MultiScaleMel(self.model.sample_rate, _MEL_WINDOWS, _MEL_BANDS).to(self._device)
        self._log_mel = LogMel(self.model.sample_rate).to(self._device)
        self._meter = QualityMeter(self.model.sample_rate)
        self._balancer = Balancer()
        generator = torch.Generator().manual_seed(_EVALUATION_SEED)
        self._heldout = self._draw(heldout, config.evaluation_crops, generator)
        self._draw(clips, 1, generator)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False).eval()
        self._optimiser = self._make_optimiser()

    def run(
        self,
        stopped: Callable[[], bool] = lambda: False,
        progress: Callable[[int, int, dict[str, float]], None] | None = None,
    ) -> bool:
        """Train to the end, or until ``stopped`` says so between two steps; the state is on disk afterwards.

        A checkpoint on the way that cannot be written is logged and tried again later.

        Args:
            stopped: asked before every step.
            progress: called after every step with the number of steps done, of all steps, and the step's losses.

        Returns:
            Whether the training is complete.

        Raises:
            RequestError: ``too_large`` or ``not_allowed`` when the last state, or the one that freezes encoder and codebooks,
                cannot be written; ``out_of_range`` when it diverges. The checkpoint of before is still there.
        """
        if not self._calibrated:
            self._begin()
        saved = time.monotonic()
        sums: dict[str, list[float]] = {}
        first, logged = self.step, self.seconds
        while self.step < self.config.total_steps and not stopped():
            started = time.monotonic()
            self._begin_stage()
            report = self._train_step()
            for name, value in report.items():
                sums.setdefault(name, []).append(value)
            self.step += 1
            now = time.monotonic()
            self.seconds += now - started
            if self.step % self.config.log_every == 0:
                self._log(sums, self.seconds - logged)
                sums, logged = {}, self.seconds
            if self.step % self.config.evaluate_every == 0:
                self._evaluate()
            if now - saved > self.config.checkpoint_seconds:
                try:
                    self.save()
                except RequestError as error:
                    _LOG.error("the state is not saved, which will be tried again: %s", error.text)
                saved = time.monotonic()
            if progress is not None:
                progress(self.step, self.config.total_steps, report)
        complete = self.step >= self.config.total_steps
        if complete:
            self._begin_stage()
            if self.step > first and self.step % self.config.evaluate_every:
                self._evaluate()
        self.save()
        return complete

    def save(self) -> None:
        """Write the checkpoint, the averaged weights as a codec in ``export/``, and the curves.

        Raises:
            RequestError: ``too_large`` when there is no room, ``not_allowed`` when it cannot be written for another reason;
                the checkpoint of before is still there.
        """
        state = {
            "config": asdict(self.config),
            "codec": self.model.describe(),
            "data": self._data,
            "step": self.step,
            "seconds": self.seconds,
            "calibrated": self._calibrated,
            "frozen": self._frozen,
            **{name: part.state_dict() for name, part in self._parts().items()},
        }
        with written(self.folder):
            save_checkpoint(self.folder / CHECKPOINT_FILE, state)
            self.export(self.folder / "export")
            if self._metrics.path.is_file():
                plot_curves(self._metrics.path, self.folder / CURVES_FILE)

    def resume(self) -> None:
        """Go on from the checkpoint in the folder.

        Raises:
            RequestError: there is none, or it is damaged or of another format; ``not_allowed`` for a setting that a training
                cannot change any more.
        """
        state = load_checkpoint(self.folder / CHECKPOINT_FILE)
        held = CodecTraining.from_dict(state.get("config"))
        try:
            step, seconds = int(state["step"]), float(state["seconds"])
            calibrated, frozen = bool(state["calibrated"]), bool(state["frozen"])
            self.config.check_changes(held, step, frozen)
            if frozen:
                self._freeze_parts()
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            # Optimisers bring their settings along; those of now are meant.
            self.adversary.set_rate(self.config.discriminator_rate)
            self._optimiser.param_groups[0]["weight_decay"] = self.config.weight_decay
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[-1].strip()
            allowed = f"a state that fits the settings: {type(error).__name__}: {reason}"
            raise RequestError(ErrorCode.MALFORMED, "checkpoint", str(self.folder), allowed) from error
        self.step, self.seconds, self._calibrated = step, seconds, calibrated
        if state.get("data", "") not in ("", self._data):
            _LOG.warning("the data is not what the training began with: it goes on, but not as it would have")
        with written(self.folder):
            self._metrics.forget_after(self.step)

    def export(self, folder: Path) -> None:
        """Write the codec with the averaged weights, as the runtime loads it; each file is replaced whole.

        Raises:
            OSError: as the operating system has it.
        """
        self._copy_codebooks()
        unfinished = self.folder / ".unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            self.averaged.export(unfinished, self.quantizer, torch.float16 if self.config.half else torch.float32)
            folder.mkdir(parents=True, exist_ok=True)
            for path in unfinished.iterdir():
                path.replace(folder / path.name)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    @torch.no_grad()
    def evaluate(self) -> CodecQuality:
        """Measure the averaged weights on the held-out crops; from the second stage on through the codebooks."""
        self._copy_codebooks()
        self.quantizer.eval()
        quantised = self._has_codebooks

        def through(audio: Tensor) -> Tensor:
            latents = self.averaged.encode(audio)
            return self.averaged.decode(self.quantizer(latents).latents if quantised else latents)

        return self._meter.measure(through, self._heldout)

    def _begin(self) -> None:
        """Prepare the first step of a new training; what an older one has left in the folder is not its own."""
        if not self._keep_codes and self.config.frozen_from == 0:
            allowed = "1 or more: there is no trained codec to begin with"
            raise RequestError(ErrorCode.OUT_OF_RANGE, "quantised_steps", 0, allowed)
        with written(self.folder):
            self._metrics.path.unlink(missing_ok=True)
            (self.folder / FROZEN_MARK).unlink(missing_ok=True)
        if self._keep_codes:
            self._freeze()
        else:
            self.model.calibrate(self._crops(self._generator(-1)))
            self._copy_to_average(1.0)
        self._calibrated = True

    def _begin_stage(self) -> None:
        """What is done once between two stages, if this is the step for it."""
        if not self._frozen:
            if self.step == self.config.reconstruction_steps:
                self._start_codebooks()
            if self.step == self.config.frozen_from:
                self._freeze()
                # Before others learn of the codes: a training that went back behind this step might not find the same ones.
                self.save()
        if self._frozen and not (self.folder / FROZEN_MARK).is_file():
            self._publish()

    @property
    def _has_codebooks(self) -> bool:
        return self._frozen or self.step > self.config.reconstruction_steps

    def _parts(self) -> dict[str, Any]:
        """What has a state, by its name in the checkpoint."""
        return {
            "model": self.model,
            "averaged": self.averaged,
            "quantizer": self.quantizer,
            "optimiser": self._optimiser,
            "discriminator": self.adversary.discriminator,
            "adversary": self.adversary.optimiser,
            "balancer": self._balancer,
        }

    def _check_lengths(self) -> None:
        config, longest = self.config, max(_DISCRIMINATOR_WINDOWS)
        needed = -(-longest // self.model.hop_length)
        if config.adversarial_steps + config.refinement_steps:
            for name in ("crop_frames", "discriminator_frames"):
                if getattr(config, name) < needed:
                    raise RequestError(ErrorCode.OUT_OF_RANGE, name, getattr(config, name), f"{needed} or more")

    def _skip_step(self) -> None:
        self._bad_steps += 1
        if self._bad_steps >= _PATIENCE:
            name = rate_setting(self.config.stage(self.step))
            allowed = f"a lower rate: {_PATIENCE} steps in a row had no finite gradient"
            raise RequestError(ErrorCode.OUT_OF_RANGE, name, getattr(self.config, name), allowed)

    def _train_step(self) -> dict[str, float]:
        config, stage, frozen = self.config, self.config.stage(self.step), self._frozen
        generator = self._generator(self.step)
        audio = self._crops(generator)
        rate = learning_rate(config, self.step)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        with torch.set_grad_enabled(not frozen), self._autocast():
            latents = self.model.encode(audio)
        quantised: Quantised | None = None
        if stage is not Stage.RECONSTRUCTION:
            self.quantizer.train(not frozen)
            quantised = self.quantizer(latents, generator, 0.0 if frozen else config.codebook_dropout)
            latents = quantised.latents
        with self._autocast():
            made = self.model.decode(latents)

        # The losses' gradients end at this leaf, where they are balanced; from there one gradient goes on.
        output = made.detach().requires_grad_()
        losses = {
            "waveform": F.l1_loss(output, audio),
            "mel": self._mel(output, audio),
            "log_mel": self._log_mel(output, audio),
        }
        report: dict[str, float] = {}
        if stage.has_adversary:
            said, report = self.adversary.play(output, audio, generator)
            losses |= said
        gradient = self._balancer.gradient(losses, output, loss_shares(config, self.step))
        roots: list[Tensor] = [made]
        gradients: list[Tensor | None] = [gradient]
        if quantised is not None and not frozen:
            roots.append(config.commitment_weight * quantised.commitment)
            gradients.append(None)
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(roots, gradients)
        parameters = [parameter for group in self._optimiser.param_groups for parameter in group["params"]]
        report["gradient"] = float(torch.nn.utils.clip_grad_norm_(parameters, config.gradient_clip))
        if math.isfinite(report["gradient"]):
            self._bad_steps = 0
            self._optimiser.step()
            self._copy_to_average(1 - min(config.ema_decay, (1 + self.step) / (10 + self.step)))
        else:
            self._skip_step()
        report |= {name: float(loss.detach()) for name, loss in losses.items()}
        if quantised is not None:
            report["commitment"] = float(quantised.commitment.detach())
        return report

    @torch.no_grad()
    def _start_codebooks(self) -> None:
        """Begin the second stage: k-means of the latents of many crops."""
        generator = self._generator(-2)
        latents: list[Tensor] = []
        for _ in range(-(-self.config.kmeans_crops // self.config.batch)):
            with self._autocast():
                latents.append(self.model.encode(self._crops(generator)).transpose(1, 2).flatten(0, 1))
        self.quantizer.initialise(torch.cat(latents), generator)
        _LOG.info("codebooks set by k-means of %d frames", sum(len(one) for one in latents))

    @torch.no_grad()
    def _freeze(self) -> None:
        """End the training of encoder and codebooks: they become what is exported.

        Raises:
            RequestError: ``not_allowed`` when those of a trained codec would have to be rounded, which changes its codes.
        """
        with written(self.folder):
            (self.folder / FROZEN_MARK).unlink(missing_ok=True)
        self._copy_codebooks()
        self.model.load_state_dict(self.averaged.state_dict())
        if self.config.half:
            tensors = list(self.model.frozen_tensors())
            if self._keep_codes and not all(torch.equal(one, one.half().float()) for one in tensors):
                allowed = "false, to keep the codes of a codec that is stored in float32"
                raise RequestError(ErrorCode.NOT_ALLOWED, "half", True, allowed)
            for tensor in tensors:
                tensor.copy_(tensor.half())
        self._freeze_parts()
        self._copy_to_average(1.0)

    def _publish(self) -> None:
        """Write the codec whose codes stay valid, and last the mark, which names it and what makes its codes."""
        quality = self.evaluate()
        codes = self.averaged.fingerprint()
        mark = {"step": self.step, "codec": FROZEN_FOLDER, "codes": codes, **finite(quality.to_dict())}
        with written(self.folder):
            self.export(self.folder / FROZEN_FOLDER)
            write_whole(self.folder / FROZEN_MARK, [(json.dumps(mark, indent=2) + "\n").encode()])
        _LOG.info("encoder and codebooks are frozen: %s", json.dumps(mark))

    def _freeze_parts(self) -> None:
        self._frozen = True
        self.model.requires_grad_(False)
        self.model.decoder.requires_grad_(True)
        self._optimiser = self._make_optimiser()

    def _make_optimiser(self) -> torch.optim.AdamW:
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        groups = [
            # Norms, biases and gains are no matrices: pulling them to zero does not make anything simpler.
            {"params": [one for one in parameters if one.dim() > 1], "weight_decay": self.config.weight_decay},
            {"params": [one for one in parameters if one.dim() <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.config.learning_rate, betas=(0.8, 0.99))

    @torch.no_grad()
    def _copy_to_average(self, share: float) -> None:
        ours: list[Tensor] = list(self.averaged.parameters())
        theirs: list[Tensor] = list(self.model.parameters())
        torch._foreach_lerp_(ours, theirs, share)

    @torch.no_grad()
    def _copy_codebooks(self) -> None:
        for ours, theirs in zip(self.averaged.codebooks, self.model.codebooks, strict=True):
            ours.embed.copy_(theirs.embed)

    def _generator(self, step: int) -> torch.Generator:
        return torch.Generator().manual_seed((self.config.seed << 32) + step + 2)

    def _crops(self, generator: torch.Generator) -> Tensor:
        return self._draw(self._clips, self.config.batch, generator)

    def _draw(self, clips: Clips, count: int, generator: torch.Generator) -> Tensor:
        try:
            return clips.crops(count, self.samples, generator)[:, None].to(self._device)
        except RequestError as error:
            if error.code is not ErrorCode.OUT_OF_RANGE:
                raise
            allowed = f"crops of {self.samples} samples must fit: {error.allowed}"
            raise RequestError(error.code, "crop_frames", self.config.crop_frames, allowed) from error

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.config.bf16):
            yield

    def _log(self, sums: dict[str, list[float]], seconds: float) -> None:
        means = {name: sum(values) / len(values) for name, values in sums.items()}
        line: dict[str, Any] = {name: round(value, 5) for name, value in means.items()}
        steps = len(sums["gradient"])
        speed = steps * self.config.batch * self.samples / self.model.sample_rate / max(seconds, 1e-9)
        line |= {"learning_rate": round(self._optimiser.param_groups[0]["lr"], 8), "audio_per_second": round(speed, 1)}
        self._write(line)

    def _evaluate(self) -> None:
        line: dict[str, Any] = {name: round(value, 4) for name, value in self.evaluate().to_dict().items()}
        if self._has_codebooks and not self._frozen:
            used = self.quantizer.perplexities()
            line |= {f"perplexity_{index}": round(value, 1) for index, value in enumerate(used)}
        self._write(line)

    def _write(self, numbers: dict[str, Any]) -> None:
        stage = self.config.stage(self.step - 1)
        line = {"step": self.step, "stage": str(stage), "seconds": round(self.seconds, 1), **numbers}
        try:
            self._metrics.write(line)
        except OSError as error:
            _LOG.error("%s: %s", self._metrics.path, error)
        words = "  ".join(f"{name} {value:g}" for name, value in numbers.items())
        _LOG.info("%s %d/%d  %s", stage, self.step, self.config.total_steps, words)


def _refuse_joint_steps(config: CodecTraining) -> None:
    for name in JOINT_STEPS:
        if getattr(config, name):
            allowed = "0: encoder and codebooks of the codec to begin with stay as they are"
            raise RequestError(ErrorCode.NOT_ALLOWED, name, getattr(config, name), allowed)
