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
from engine.training.codec.checkpoint import load_checkpoint, save_checkpoint
from engine.training.codec.clips import Clips
from engine.training.codec.config import CodecTraining, Stage
from engine.training.codec.discriminator import Discriminator
from engine.training.codec.journal import MetricsFile, finite
from engine.training.codec.losses import (
    Balancer,
    MultiScaleMel,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
)
from engine.training.codec.metrics import CodecQuality, QualityMeter, plot_curves
from engine.training.codec.models import TrainableCodec
from engine.training.codec.quantizer import Quantised, QuantizerTraining
from engine.training.data.folders import write_whole, written
from protocols.errors import ErrorCode, RequestError

_LOG = logging.getLogger(__name__)

CHECKPOINT_FILE = "checkpoint.pt"
METRICS_FILE = "metrics.jsonl"
CURVES_FILE = "curves.png"
FROZEN_MARK = "FROZEN"
FROZEN_FOLDER = "frozen"

_MEL_WINDOWS = (256, 1024, 2048)
_MEL_BANDS = (32, 80, 128)
_DISCRIMINATOR_WINDOWS = (2048, 1024, 512)
_EVALUATION_SEED = 0x5EED
_PATIENCE = 50
"""Steps in a row without a finite gradient after which a training is given up."""


class CodecTrainer:
    """One training in one folder.

    Stages, in the order that was found to work: reconstruction without quantiser, the waveform first and the mel loss
    ramped in; codebooks from k-means, trained together with everything; optionally the discriminator for all parts;
    last, with encoder and codebooks frozen, the decoder against the discriminator.

    Every random choice of a step comes from a generator that is seeded with the step, so that a training that was
    stopped and resumed does what it would have done. Where encoder and codebooks freeze, they become the averaged weights, rounded
    to float16 when that is how they are stored: codes made with the export in ``frozen/`` stay valid for every later
    decoder in ``export/``. The file ``FROZEN`` says so.

    Args:
        config: the settings.
        folder: of the checkpoint, the metrics, the curves and the exports; made when it is not there.
        make: a new model; it is called with torch's global generator seeded.
        clips: what is trained on.
        heldout: what is measured on.
        data: names what is trained on; a training that is resumed with something else says so in the log.

    Raises:
        RequestError: ``unknown_device``; ``out_of_range`` for crops that are longer than the recordings or shorter than
            the discriminator's spectra; ``not_allowed`` when the folder cannot be made.
    """

    def __init__(
        self,
        config: CodecTraining,
        folder: Path,
        make: Callable[[], TrainableCodec],
        clips: Clips,
        heldout: Clips,
        data: str = "",
    ) -> None:
        self.config = config
        self.folder = folder
        self.step = 0
        self.seconds = 0.0
        self._clips = clips
        self._data = data
        self._device = pick_device(config.device)
        self._calibrated = self._frozen = False
        self._bad_steps = 0
        self._metrics = MetricsFile(folder / METRICS_FILE)
        with written(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = make().to(self._device)
            self.discriminator = Discriminator(_DISCRIMINATOR_WINDOWS, config.discriminator_filters).to(self._device)
        self.samples = config.crop_frames * self.model.hop_length
        self._check_lengths()
        self.quantizer = QuantizerTraining(self.model.codebooks, config.codebook_decay)
        self._mel = MultiScaleMel(self.model.sample_rate, _MEL_WINDOWS, _MEL_BANDS).to(self._device)
        self._meter = QualityMeter(self.model.sample_rate)
        self._balancer = Balancer(
            {
                "waveform": config.waveform_weight,
                "mel": config.mel_weight,
                "adversarial": config.adversarial_weight,
                "feature": config.feature_weight,
            }
        )
        generator = torch.Generator().manual_seed(_EVALUATION_SEED)
        self._heldout = self._draw(heldout, config.evaluation_crops, generator)
        self._draw(clips, 1, generator)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False).eval()
        self._optimiser = self._make_optimiser()
        self._adversary = torch.optim.AdamW(
            self.discriminator.parameters(), lr=config.discriminator_rate, betas=(0.5, 0.9), weight_decay=0.0
        )

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
        saved = logged = time.monotonic()
        sums: dict[str, list[float]] = {}
        first = self.step
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
                self._log(sums, now - logged)
                sums, logged = {}, now
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
        held = CodecTraining.from_dict(state["config"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        # Checkpoints of the first trainings hold neither: they were written after steps only, and froze with the next step.
        frozen = bool(state.get("frozen", self.step > held.frozen_from))
        self._calibrated = bool(state.get("calibrated", True))
        self.config.check_changes(held, self.step, frozen)
        if frozen:
            self._freeze_parts()
        try:
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[-1].strip()
            allowed = f"a state that fits the settings: {reason}"
            raise RequestError(ErrorCode.MALFORMED, "checkpoint", str(self.folder), allowed) from error
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
        with written(self.folder):
            self._metrics.path.unlink(missing_ok=True)
            (self.folder / FROZEN_MARK).unlink(missing_ok=True)
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
            "discriminator": self.discriminator,
            "adversary": self._adversary,
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
            rate = self._optimiser.param_groups[0]["lr"]
            allowed = f"a lower rate: {_PATIENCE} steps in a row had no finite gradient"
            raise RequestError(ErrorCode.OUT_OF_RANGE, "learning_rate", rate, allowed)

    def _train_step(self) -> dict[str, float]:
        config, stage = self.config, self.config.stage(self.step)
        generator = self._generator(self.step)
        audio = self._crops(generator)
        self._set_rates()
        frozen = stage is Stage.REFINEMENT
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
        losses = {"waveform": F.l1_loss(output, audio), "mel": self._mel(output, audio)}
        weights = {"mel": min(1.0, 0.1 + 0.9 * self.step / max(1, config.mel_ramp))}
        report: dict[str, float] = {}
        if stage in (Stage.ADVERSARIAL, Stage.REFINEMENT):
            adversarial, report["discriminator"] = self._play(output, audio, generator)
            losses |= adversarial
            begun = self.step - config.reconstruction_steps - config.quantised_steps
            ramp = min(1.0, begun / max(1, config.adversarial_ramp))
            weights |= {"adversarial": ramp, "feature": ramp}
        gradient = self._balancer.gradient(losses, output, weights)
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

    def _play(self, output: Tensor, audio: Tensor, generator: torch.Generator) -> tuple[dict[str, Tensor], float]:
        """One step of the discriminator, then what it says to the codec; both on shorter crops, which cost most."""
        config = self.config
        count = min(config.discriminator_crops, len(audio))
        length = min(config.discriminator_frames * self.model.hop_length, audio.shape[2])
        chosen = torch.randperm(len(audio), generator=generator)[:count].to(self._device)
        start = int(torch.randint(audio.shape[2] - length + 1, (), generator=generator))
        real = audio[chosen, :, start : start + length]
        made = output[chosen, :, start : start + length]
        with self._autocast():
            loss = discriminator_loss(self.discriminator(real), self.discriminator(made.detach()))
        self._adversary.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [parameter.grad for parameter in self.discriminator.parameters() if parameter.grad is not None]
        if bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients))):
            self._adversary.step()
        self.discriminator.requires_grad_(False)
        with self._autocast():
            with torch.no_grad():
                real_maps = self.discriminator(real)
            made_maps = self.discriminator(made)
            losses = {"adversarial": adversarial_loss(made_maps), "feature": feature_loss(real_maps, made_maps)}
        self.discriminator.requires_grad_(True)
        return losses, float(loss.detach())

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
        """End the training of encoder and codebooks: they become what is exported."""
        (self.folder / FROZEN_MARK).unlink(missing_ok=True)
        self._copy_codebooks()
        self.model.load_state_dict(self.averaged.state_dict())
        if self.config.half:
            for tensor in self.model.frozen_tensors():
                tensor.copy_(tensor.half())
        self._freeze_parts()
        self._copy_to_average(1.0)

    def _publish(self) -> None:
        """Write the codec whose codes stay valid, and the mark last."""
        quality = self.evaluate()
        mark = {"step": self.step, "codec": str(self.folder / FROZEN_FOLDER), **finite(quality.to_dict())}
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

    def _set_rates(self) -> None:
        config, step = self.config, self.step
        frozen = step >= config.frozen_from
        begin, end = (config.frozen_from, config.total_steps) if frozen else (0, config.frozen_from)
        peak = config.refinement_rate if frozen else config.learning_rate
        done = (step - begin) / max(1, end - begin)
        rate = peak * (config.last_rate + (1 - config.last_rate) * 0.5 * (1 + math.cos(math.pi * done)))
        rate *= min(1.0, (step - begin + 1) / max(1, config.warmup_steps))
        for group in self._optimiser.param_groups:
            group["lr"] = rate

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
        if self._has_codebooks:
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
