"""How well the LM, as the engine runs it, predicts held-out codes: teacher-forced cross-entropy beside the codes' own entropy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.checkpoints import ModelBundle
from engine.runtime.lm import Condition

_BATCH = 8


@torch.inference_mode()
def cross_entropy(bundle: ModelBundle, codes: Tensor, conditions: Sequence[Condition]) -> list[float]:
    """The mean cross-entropy of each codebook in nats, not guided.

    Args:
        bundle: the model.
        codes: ``[clips, codebooks, frames]``; what is longer than the model's window is left out.
        conditions: what each clip is heard with.
    """
    lm, pattern = bundle.lm, bundle.pattern
    codes = codes[..., : bundle.window_frames].to(bundle.device)
    frames = codes.shape[2]
    totals, counts = torch.zeros(bundle.num_codebooks), torch.zeros(bundle.num_codebooks)
    for start in range(0, len(codes), _BATCH):
        part = codes[start : start + _BATCH]
        sequence = pattern.sequence(part, frames, bundle.card)
        columns, targets = sequence[..., :-1], sequence[..., 1:]
        session = lm.session(conditions[start : start + _BATCH], columns.shape[2], guided=False)
        logits = lm(columns, session).float()
        targets = targets.masked_fill(targets == bundle.card, -1)
        for book in range(bundle.num_codebooks):
            wanted = targets[:, book].flatten()
            totals[book] += F.cross_entropy(
                logits[:, book].flatten(0, 1), wanted, ignore_index=-1, reduction="sum"
            ).cpu()
            counts[book] += (wanted >= 0).sum().cpu()
    return [float(value) for value in totals / counts.clamp(min=1)]


def unigram_entropy(codes: Tensor, card: int) -> list[float]:
    """The entropy in nats of each codebook's frequencies in these very codes ``[clips, codebooks, frames]``.

    What few codes make too small is corrected (Miller, "Note on the Bias of Information Estimates", 1955). A model without any
    memory would reach it at best.
    """
    entropies = []
    for book in codes.cpu().unbind(1):
        counts = torch.bincount(book.flatten(), minlength=card).double()
        shares = counts[counts > 0] / book.numel()
        entropies.append(float(-(shares * shares.log()).sum()) + (len(shares) - 1) / (2 * book.numel()))
    return entropies
