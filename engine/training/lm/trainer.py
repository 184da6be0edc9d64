"""Trains an LM on codes: AdamW, a cosine with warm-up, averaged weights; stopped and resumed at any step with the same result."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as distributed
import torch.nn.functional as F
from torch import Tensor, nn

from engine.conditioning.score import FEATURES
from engine.training.checkpoint import load_checkpoint, save_checkpoint
from engine.training.curves import plot_curves
from engine.training.data import Alignment, CodeSampler, Split
from engine.training.data.sampler import step_generator
from engine.training.lm.batches import Batches, LMBatch
from engine.training.lm.config import LMTraining
from engine.training.lm.export import export_lm, load_exported
from engine.training.lm.network import TrainableLM, make_text_encoder
from engine.training.lm.words import make_tokenizer, words_of
from protocols.errors import ErrorCode, RequestError

_LOG = logging.getLogger(__name__)

CHECKPOINT_FILE = "checkpoint.pt"
METRICS_FILE = "metrics.jsonl"
CURVES_FILE = "curves.png"

_EVALUATION_SEED = 1 << 40
_DROPOUT_SEED = 1 << 41
_EVALUATION_BATCH = 8


class LMTrainer:
    """One training of an LM, in a folder.

    Started by ``torchrun``, each process trains on crops of its own and they share their gradients; the first one writes.

    Args:
        config: settings.
        folder: of the training; made when it is not there.
        train: codes to train on.
        heldout: codes to measure on.
        start: folder of an exported model whose weights and tokenizer to begin with; by default first weights and the words of
            the captions in ``train``.
        words: of the tokenizer, in the order of their ids, where they are known: those of a training to resume.

    Raises:
        RequestError: data of another kind, or a start of another shape.
    """

    def __init__(
        self,
        config: LMTraining,
        folder: Path,
        train: Split,
        heldout: Split,
        *,
        start: Path | None = None,
        words: Sequence[str] | None = None,
    ) -> None:
        self.config = config
        self.folder = folder
        self.step = 0
        self.seconds = 0.0
        self._device = torch.device(config.device)
        self._rank, self._world = _join_group(self._device)
        if train.card != heldout.card or train.width != heldout.width:
            raise RequestError(ErrorCode.MALFORMED, "data", "held_out", "codes of the codec that made the others")
        folder.mkdir(parents=True, exist_ok=True)
        state = None
        if start is not None:
            words, state = load_exported(start, config.shape)
        elif words is None:
            words = words_of((caption for record in train.records for caption in record.captions), config.vocabulary)
        self._words = list(words)
        self.tokenizer = make_tokenizer(self._words)
        self.model = self._make_model(train.width, train.card).to(self._device)
        if state is not None:
            self.model.load_state_dict(state)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False).eval()
        self._optimiser = self._make_optimiser()
        self._batches = Batches(self.tokenizer, config, train.width, train.card)
        self._samplers = {
            alignment: CodeSampler(train, config.crop_frames, config.batch, config.seed, alignment)
            for alignment in (Alignment.BAR, Alignment.ANY)
        }
        count = config.evaluation_crops
        sampler = CodeSampler(heldout, config.crop_frames, count, _EVALUATION_SEED)
        self._heldout = self._batches.make(sampler.batch(0), None)
        self._forward: Callable[..., Tensor] = self.model
        if self._world > 1:
            self._forward = nn.parallel.DistributedDataParallel(self.model)

    def _make_model(self, codebooks: int, card: int) -> TrainableLM:
        config = self.config
        text_encoder = make_text_encoder(len(self.tokenizer), config.text_dim, config.text_layers, config.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            return TrainableLM(
                codebooks=codebooks,
                card=card,
                features=FEATURES,
                text_encoder=text_encoder,
                dim=config.dim,
                layers=config.layers,
                heads=config.heads,
                ff_dim=config.ff_dim,
                positions=config.crop_frames + codebooks,
            )

    def run(self, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Train to the end, or until ``stopped`` says so between two steps; the state is on disk afterwards.

        Returns:
            Whether the training is complete.
        """
        saved = logged = time.monotonic()
        sums: dict[str, Tensor] = {}
        while self.step < self.config.steps and not self._agree(stopped()):
            started = time.monotonic()
            for name, value in self._train_step().items():
                sums[name] = sums[name] + value if name in sums else value
            self.step += 1
            now = time.monotonic()
            self.seconds += now - started
            if self.step % self.config.log_every == 0:
                self._log(sums, now - logged)
                sums, logged = {}, now
            if self.step % self.config.evaluate_every == 0:
                self._write(self.evaluate())
            if now - saved > self.config.checkpoint_seconds:
                self.save()
                saved = time.monotonic()
        if self.step and self.step == self.config.steps:
            self._write(self.evaluate())
        self.save()
        return self.step >= self.config.steps

    def save(self) -> None:
        """Write the checkpoint, the averaged weights as a model in ``export/``, and the curves."""
        if self._rank:
            return
        save_checkpoint(
            self.folder / CHECKPOINT_FILE,
            {
                "config": asdict(self.config),
                "words": self._words,
                "step": self.step,
                "seconds": self.seconds,
                "model": self.model.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimiser": self._optimiser.state_dict(),
            },
        )
        self.export(self.folder / "export")
        if (self.folder / METRICS_FILE).is_file():
            plot_curves(self.folder / METRICS_FILE, self.folder / CURVES_FILE)

    def resume(self) -> None:
        """Go on from the checkpoint in the folder.

        Raises:
            RequestError: there is none, it is damaged or of another format, or its network has another shape.
        """
        state = load_checkpoint(self.folder / CHECKPOINT_FILE)
        held = LMTraining(**state["config"]).shape
        for name, value in self.config.shape.items():
            if held[name] != value:
                raise RequestError(ErrorCode.NOT_ALLOWED, name, value, f"{held[name]}, as the training began with")
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimiser.load_state_dict(state["optimiser"])
        path = self.folder / METRICS_FILE
        if path.is_file() and not self._rank:
            # A step after the checkpoint is taken again: its line is not to stand there twice.
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            path.write_text("".join(line for line in lines if json.loads(line)["step"] <= self.step), encoding="utf-8")

    def export(self, folder: Path) -> None:
        """Write the averaged weights and the tokenizer in transformers' layout; see `engine.training.lm.export`."""
        dtype = torch.float16 if self.config.half else torch.float32
        export_lm(self.averaged, self.tokenizer, folder, dtype)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Cross-entropy in nats of the averaged weights on held-out crops, in all and per codebook."""
        totals, counts = torch.zeros(self.model.codebooks), torch.zeros(self.model.codebooks)
        rows = len(self._heldout.columns)
        for start in range(0, rows, _EVALUATION_BATCH):
            part = slice(start, start + _EVALUATION_BATCH)
            held = self._heldout
            batch = LMBatch(
                held.columns[part], held.targets[part], held.score[part], held.tokens[part], held.mask[part]
            )
            loss, count = self._losses(self.averaged, batch.to(self._device))
            totals += (loss * count).cpu()
            counts += count.cpu()
        means = totals / counts.clamp(min=1)
        result = {"heldout_entropy": float(means.mean())}
        return result | {f"heldout_entropy_{index}": float(value) for index, value in enumerate(means)}

    def _train_step(self) -> dict[str, Tensor]:
        config = self.config
        place = self.step * self._world + self._rank
        rng = step_generator(config.seed + _DROPOUT_SEED, place)
        # One choice for all processes, so that all steps take as long.
        shared = step_generator(config.seed + _DROPOUT_SEED + 1, self.step)
        alignment = Alignment.ANY if shared.random() < config.unaligned_share else Alignment.BAR
        batch = self._batches.make(self._samplers[alignment].batch(place), rng).to(self._device)
        self._set_rate()
        losses, _ = self._losses(self._forward, batch)
        self._optimiser.zero_grad(set_to_none=True)
        losses.mean().backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.gradient_clip)
        if bool(torch.isfinite(norm)):
            self._optimiser.step()
            self._copy_to_average(1 - min(config.ema_decay, (1 + self.step) / (10 + self.step)))
        report = {"entropy": losses.detach().mean(), "gradient": norm.detach()}
        return report | {f"entropy_{index}": value for index, value in enumerate(losses.detach())}

    def _losses(self, model: Callable[..., Tensor], batch: LMBatch) -> tuple[Tensor, Tensor]:
        """Cross-entropy per codebook, and how many targets it is the mean of; both ``[codebooks]``."""
        with self._autocast():
            logits = model(batch.columns, batch.score, batch.tokens, batch.mask)
        card = logits.shape[-1]
        losses, counts = [], []
        for index in range(logits.shape[2]):
            targets = batch.targets[..., index].reshape(-1)
            losses.append(F.cross_entropy(logits[:, :, index].float().reshape(-1, card), targets, ignore_index=-1))
            counts.append((targets >= 0).sum())
        return torch.stack(losses), torch.stack(counts)

    def _make_optimiser(self) -> torch.optim.AdamW:
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in self.model.named_parameters():
            plain = parameter.dim() > 1 and "embed" not in name and not name.startswith("score")
            (matrices if plain else others).append(parameter)
        groups = [
            {"params": matrices, "weight_decay": self.config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.config.learning_rate, betas=(0.9, 0.98))

    def _set_rate(self) -> None:
        config = self.config
        done = self.step / max(1, config.steps)
        rate = config.last_rate + (1 - config.last_rate) * 0.5 * (1 + math.cos(math.pi * done))
        rate *= config.learning_rate * min(1.0, (self.step + 1) / max(1, config.warmup_steps))
        for group in self._optimiser.param_groups:
            group["lr"] = rate

    @torch.no_grad()
    def _copy_to_average(self, share: float) -> None:
        for ours, theirs in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
            ours.lerp_(theirs, share)

    def _agree(self, stopped: bool) -> bool:
        """Whether any process was told to stop: they end at the same step, or the others would wait for it."""
        if self._world == 1:
            return stopped
        told = torch.tensor(int(stopped), device=self._device)
        distributed.all_reduce(told)
        return bool(told)

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.config.bf16):
            yield

    def _log(self, sums: dict[str, Tensor], seconds: float) -> None:
        numbers = {name: float(value) / self.config.log_every for name, value in sums.items()}
        frames = self.config.log_every * self.config.batch * self.config.crop_frames * self._world
        numbers |= {"learning_rate": self._optimiser.param_groups[0]["lr"], "frames_per_second": frames / seconds}
        self._write(numbers)

    def _write(self, numbers: dict[str, float]) -> None:
        if self._rank:
            return
        line: dict[str, Any] = {"step": self.step, "seconds": round(self.seconds, 1)}
        line |= {name: float(f"{value:.6g}") for name, value in numbers.items()}
        with (self.folder / METRICS_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        words = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        _LOG.info("%d/%d  %s", self.step, self.config.steps, words)


def _join_group(device: torch.device) -> tuple[int, int]:
    """This process's number and how many there are, as ``torchrun`` says."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if world > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return int(os.environ.get("RANK", "0")) if world > 1 else 0, world
