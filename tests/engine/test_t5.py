"""Our T5 beside transformers': the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import engine
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.conditioning.t5 import ACTIVATIONS, T5Encoder, T5Shape, WordsFile

POCKET = Path(engine.__file__).parent / "pocket"
TEXTS = ("slow jazz piano trio in A minor, 92 bpm", "ζ 🎻", "a", "  two   words  ", "x" * 300)


@pytest.fixture(scope="module", params=ACTIVATIONS)
def pair(request: pytest.FixtureRequest) -> tuple[Any, T5Encoder]:
    """transformers' encoder and ours, of the same weights."""
    ensure_torchaudio()
    from transformers import T5Config, T5EncoderModel

    sizes = {"vocab_size": 40, "d_model": 24, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 3}
    reference: Any = T5EncoderModel(T5Config(**sizes, feed_forward_proj=request.param)).eval()
    generator = torch.Generator().manual_seed(5)
    state = {name: torch.randn(part.shape, generator=generator) * 0.3 for name, part in reference.state_dict().items()}
    state["encoder.embed_tokens.weight"] = state["shared.weight"]
    reference.load_state_dict(state)
    del state["shared.weight"]
    ours = T5Encoder(T5Shape(**sizes, feed_forward_proj=request.param))
    ours.load_state_dict({name.removeprefix("encoder."): part for name, part in state.items()}, assign=True)
    return reference, ours.eval()


@torch.inference_mode()
@pytest.mark.parametrize("length", [1, 2, 17, 200])  # beyond the 128 tokens that have buckets of their own
def test_hidden_states_are_the_references_to_the_bit(pair: tuple[Any, T5Encoder], length: int) -> None:
    reference, ours = pair
    tokens = torch.randint(0, 40, (2, length), generator=torch.Generator().manual_seed(length))
    mask = torch.ones_like(tokens)
    expected = reference(input_ids=tokens, attention_mask=mask).last_hidden_state
    assert torch.equal(ours(tokens, mask).last_hidden_state, expected)

    mask[1, (length + 1) // 2 :] = 0
    expected = reference(input_ids=tokens, attention_mask=mask).last_hidden_state
    assert torch.equal(ours(tokens, mask).last_hidden_state[mask.bool()], expected[mask.bool()])


@pytest.mark.skipif(not (POCKET / "tokenizer.json").is_file(), reason="no trained pocket model comes with this copy")
def test_words_are_the_references_tokens() -> None:
    ensure_torchaudio()
    from transformers import AutoTokenizer

    reference, ours = AutoTokenizer.from_pretrained(POCKET, local_files_only=True), WordsFile(POCKET / "tokenizer.json")
    assert len(ours) == len(reference)
    for text in TEXTS:
        assert torch.equal(ours(text)["input_ids"], reference(text, return_tensors="pt")["input_ids"])
