"""Encoding as a stream: whatever the blocks, the codes are the whole file's, which are those of transformers' EncodecModel."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.runtime.audio_codec import Encoded
from protocols.errors import ErrorCode
from tests.engine.test_codec import CONFIGS, difference, pair, reference_encode, refusal


def sound(channels: int, samples: int, seed: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(channels, samples, generator=generator) * 0.3


@pytest.mark.parametrize("name", CONFIGS)
def test_codes_are_the_reference_s(name: str) -> None:
    """Of signals that end anywhere in a frame, shorter than any padding, and longer than a block."""
    model, codec = pair(name)
    hop, second = codec.hop_length, codec.sample_rate
    for samples in (1, 2, hop // 2 + 1, 3 * hop - 1, 5 * hop + 7, second + 3 * hop // 2):
        audio = sound(codec.channels, samples, seed=samples)
        codes = codec.encode(audio)
        assert codes.shape == (codec.num_codebooks, math.ceil(samples / hop))
        assert torch.equal(codes, reference_encode(model, audio))


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(CONFIGS)),
    blocks=st.lists(st.integers(0, 40_000), min_size=1, max_size=6).filter(any),
    books=st.integers(1, 4),
)
def test_any_blocks_make_the_codes_of_the_whole(name: str, blocks: list[int], books: int) -> None:
    _, codec = pair(name)
    audio = sound(codec.channels, sum(blocks))
    whole = codec.encode_whole(audio, books * codec.runs)
    encoder = codec.encoder_stream(books * codec.runs)
    pieces = [encoder.encode(block) for block in torch.split(audio, blocks, 1)]
    pieces.append(encoder.flush())
    encoded = Encoded.join(pieces)
    assert torch.equal(encoded.codes, whole.codes)
    assert (encoded.samples, encoded.scales) == (audio.shape[1], None)
    decoder = codec.decoder_stream()
    heard = torch.cat([*(decoder.decode(piece) for piece in pieces), decoder.flush()], 1)
    assert heard.shape == audio.shape
    assert difference(heard, codec.decode_whole(whole)) < 2e-6


@pytest.mark.parametrize("name", ["musicgen", "encodec_24khz", "interleaved"])
def test_memory_is_bounded_and_what_comes_late_is_little(name: str) -> None:
    _, codec = pair(name)
    encoder = codec.encoder_stream()
    held = []
    for second in range(8):
        encoder.encode(sound(codec.channels, codec.sample_rate // 2 + 1, second))
        held.append(encoder.state_bytes)
        assert encoder.samples_done - encoder.frames_done * codec.hop_length < 1.2 * codec.sample_rate
    assert max(held) < 8 * codec.sample_rate * codec.channels * 4
    encoder.flush()
    assert encoder.state_bytes == 0


def test_a_refused_block_leaves_the_stream_as_it_was() -> None:
    _, codec = pair("musicgen")
    audio = sound(1, 50_000)
    encoder = codec.encoder_stream()
    first = encoder.encode(audio[:, :20_000])
    broken = audio.clone()
    broken[0, 7] = math.nan
    assert refusal(lambda: encoder.encode(broken)) == (ErrorCode.NOT_AUDIO, "audio")
    assert refusal(lambda: encoder.encode(audio.repeat(2, 1))) == (ErrorCode.OUT_OF_RANGE, "channels")
    assert refusal(lambda: encoder.encode(audio.int())) == (ErrorCode.BAD_TYPE, "audio")
    encoded = Encoded.join([first, encoder.encode(audio[:, 20_000:]), encoder.flush()])
    assert torch.equal(encoded.codes, codec.encode(audio))
    with pytest.raises(RuntimeError, match="ended"):
        encoder.encode(audio)
    assert refusal(lambda: codec.encoder_stream(9)) == (ErrorCode.OUT_OF_RANGE, "num_codebooks")
    assert refusal(lambda: codec.encoder_stream(scales=torch.ones(1)))[1] == "scales"


def test_a_signal_of_another_length_is_refused() -> None:
    _, codec = pair("musicgen")
    encoded = codec.encode_whole(sound(1, 2000))
    for samples in (1920, 2561, 0):
        wrong = Encoded(encoded.codes, samples)
        assert refusal(lambda wrong=wrong: codec.decode_whole(wrong))[1] == "samples"  # type: ignore[misc]
    assert codec.decode_whole(Encoded(encoded.codes[:, :0], 0)).shape == (1, 0)


def test_silence_and_nothing() -> None:
    _, codec = pair("encodec_24khz")
    assert codec.encode(torch.zeros(1, 5000)).shape[1] == 16
    empty = codec.encoder_stream()
    assert empty.encode(torch.zeros(1, 0)).codes.shape == (4, 0)
    assert empty.flush().codes.shape == (4, 0)
