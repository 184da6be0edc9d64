"""Text prompts: each encoded as if it were alone, and remembered."""

from __future__ import annotations

import pytest
import torch

from engine.checkpoints import load_model
from engine.conditioning.text import MAX_TOKENS, TextConditioner
from protocols.errors import ErrorCode, RequestError
from tests.support.tiny_checkpoints import TEXTS, write_tiny_checkpoint


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> TextConditioner:
    return load_model(str(write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))), device="cpu").text


@pytest.fixture
def text(loaded: TextConditioner) -> TextConditioner:
    return TextConditioner(loaded._tokenizer, loaded._encoder, torch.device("cpu"), remembered=2)


def test_a_text_is_encoded_as_if_alone(text: TextConditioner) -> None:
    batch = text._tokenizer(list(TEXTS), return_tensors="pt", padding=True)
    with torch.no_grad():
        hidden = text._encoder(**batch).last_hidden_state
    for row, sentence in enumerate(TEXTS):
        condition = text.encode(sentence)
        length = int(batch["attention_mask"][row].sum())
        assert condition.hidden.shape == (length, text.dim)
        assert condition.mask.all()
        assert not condition.is_null
        torch.testing.assert_close(condition.hidden, hidden[row, :length], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("nothing", [None, "", "  \n"])
def test_nothing_is_the_null_condition(text: TextConditioner, nothing: str | None) -> None:
    condition = text.encode(nothing)
    assert condition.is_null
    assert not condition.hidden.any()


def test_the_latest_texts_are_remembered(text: TextConditioner) -> None:
    first = text.encode("rock")
    assert text.encode("rock") is first
    text.encode("sad")
    text.encode("rock")
    text.encode("techno")  # a third one: "sad" was not asked for the longest
    assert text.encode("rock") is first
    assert [word for word in ("rock", "sad", "techno") if word in text._encoded] == ["rock", "techno"]


def test_a_text_beyond_the_encoder(text: TextConditioner) -> None:
    assert text.encode("rock " * (MAX_TOKENS - 1)).hidden.shape[0] == MAX_TOKENS
    with pytest.raises(RequestError) as error:
        text.encode("rock " * MAX_TOKENS)
    assert error.value.code == ErrorCode.TOO_LONG
