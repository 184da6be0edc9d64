"""The tokenizer of our own models: words of music whole, everything else byte by byte, so that no text is unknown."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from engine.checkpoints.torchaudio_guard import ensure_torchaudio

NUMBERS = range(20, 301)
"""Tempos, which are words of their own."""

WORD_MARK = "▁"
"""Begins every word in the tokenizer's vocabulary."""

_WORD = re.compile(r"[^\W_]+(?:['/][^\W_]+)*")
_SPECIAL = {"<pad>": 0, "</s>": 1, "<unk>": 2}


def words_of(captions: Iterable[str], most: int) -> list[str]:
    """The words that captions are made of, the most frequent ones first, and after them all tempos."""
    counts: Counter[str] = Counter()
    for caption in captions:
        counts.update(_WORD.findall(caption.lower()))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))[:most]
    return list(dict.fromkeys([*ranked, *map(str, NUMBERS)]))


def make_tokenizer(words: Iterable[str]) -> Any:
    """A fast tokenizer of transformers that knows ``words``; ids are in their order."""
    ensure_torchaudio()
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    known = list(dict.fromkeys(words))
    vocabulary = [(token, 0.0) for token in _SPECIAL]
    vocabulary += [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    vocabulary += [(f"{WORD_MARK}{word}", -math.log(len(known))) for word in known]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=_SPECIAL["<unk>"], byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[^\w'/]+"), "removed"),
            pre_tokenizers.Metaspace(replacement=WORD_MARK, prepend_scheme="always"),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _SPECIAL])
    fast: Any = PreTrainedTokenizerFast
    return fast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )
