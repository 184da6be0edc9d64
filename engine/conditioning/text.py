"""A text prompt as hidden states of a T5 encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from engine.conditioning.cache import Cache
from protocols.errors import ErrorCode, RequestError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, T5EncoderModel

    from engine.conditioning.t5 import T5Encoder, WordsFile

MAX_TOKENS = 512
"""The longest text T5 was trained on. Longer ones would be heard badly, and cost every step of every stream."""


@dataclass(frozen=True)
class TextCondition:
    """One encoded text.

    Attributes:
        hidden: ``[length, dim]`` hidden states, not projected; one row of zeros for the null text.
        mask: boolean ``[length]``; all false for the null text.
    """

    hidden: Tensor
    mask: Tensor

    @property
    def is_null(self) -> bool:
        return not bool(self.mask.any())


class TextEncoder(Protocol):
    """What turns words into hidden states. One thread at a time."""

    @property
    def kept_bytes(self) -> int:
        """What the texts that are remembered take (any thread)."""

    def encode(self, text: str | None) -> TextCondition:
        """Encode a text; None and blank text give the null condition.

        Raises:
            RequestError: a text that is too long.
        """


class TextConditioner:
    """Encodes one text at a time, so that none depends on another's length, and remembers the latest. One thread at a time.

    Args:
        tokenizer: turns text to token ids, the end token included.
        encoder: T5 encoder in eval mode.
        device: where the encoder is, and where the results will be.
        remembered: how many texts to keep.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | WordsFile,
        encoder: T5EncoderModel | T5Encoder,
        device: torch.device,
        *,
        remembered: int = 64,
    ) -> None:
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._device = device
        self._encoded: Cache[str, TextCondition] = Cache(remembered, size=lambda text: text.hidden.nbytes)
        self.dim = int(encoder.config.d_model)
        self.null = TextCondition(
            torch.zeros(1, self.dim, device=device), torch.zeros(1, dtype=torch.bool, device=device)
        )

    @property
    def kept_bytes(self) -> int:
        """What the texts that are remembered take (any thread)."""
        return self._encoded.bytes

    @torch.inference_mode()
    def encode(self, text: str | None) -> TextCondition:
        """Encode ``text``; None and blank text give the null condition.

        Raises:
            RequestError: more than `MAX_TOKENS` tokens.
        """
        if text is None or not text.strip():
            return self.null
        return self._encoded.get(text, lambda: self._encode(text))

    def _encode(self, text: str) -> TextCondition:
        tokens = self._tokenizer(text, return_tensors="pt")["input_ids"].to(self._device)
        if tokens.shape[1] > MAX_TOKENS:
            raise RequestError(ErrorCode.TOO_LONG, "text", text, f"up to {MAX_TOKENS} tokens, not {tokens.shape[1]}")
        mask = torch.ones_like(tokens)
        hidden = self._encoder(input_ids=tokens, attention_mask=mask).last_hidden_state[0]
        return TextCondition(hidden, mask[0].bool())
