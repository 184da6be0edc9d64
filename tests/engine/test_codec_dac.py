"""The Descript Audio Codec: codes and sound are those of transformers' DacModel, and streams those of the whole file."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.runtime.audio_codec import Encoded
from engine.runtime.dac import DacCodec, DacWeights
from protocols.errors import ErrorCode
from tests.engine.test_codec import difference, random_codes, refusal, stream_all

CONFIGS: dict[str, dict[str, Any]] = {
    "dac_44khz": {"sampling_rate": 44_100, "downsampling_ratios": [2, 4, 8, 8]},
    "dac_24khz": {"sampling_rate": 24_000, "downsampling_ratios": [2, 4, 5, 8]},
    "odd": {"sampling_rate": 8000, "downsampling_ratios": [3, 5], "n_codebooks": 2},
    "small": {"sampling_rate": 16_000, "downsampling_ratios": [2, 2], "codebook_dim": 3},
}


def make_model(**changes: Any) -> Any:
    """A small DacModel with random weights that are loud enough to be told apart."""
    ensure_torchaudio()
    from transformers import DacConfig, DacModel

    options: dict[str, Any] = {
        "encoder_hidden_size": 4,
        "decoder_hidden_size": 64,
        "n_codebooks": 3,
        "codebook_size": 64,
        "codebook_dim": 4,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model: Any = DacModel(DacConfig(**(options | changes))).eval()
        for name, parameter in model.named_parameters():
            if name.endswith("alpha"):
                parameter.data.uniform_(0.5, 2)
            elif "codebook" in name:
                parameter.data.normal_()
            elif parameter.dim() == 3:
                fan_in = parameter[0].numel() if "conv_t" not in name else 2 * parameter.shape[0]
                parameter.data.normal_(std=(0.2 if "res_unit" in name else 0.6) * fan_in**-0.5)
            else:
                parameter.data.normal_(std=0.05)
    return model


@cache
def pair(name: str) -> tuple[Any, DacCodec]:
    model = make_model(**CONFIGS[name])
    return model, DacCodec(DacWeights.of_model(model))


def sound(samples: int, seed: int = 0, channels: int = 1) -> Tensor:
    return torch.randn(channels, samples, generator=torch.Generator().manual_seed(seed)) * 0.3


@torch.no_grad()
def reference_decode(model: Any, codes: Tensor) -> Tensor:
    """The whole file, and the zeros that stand for the samples that it lacks."""
    audio: Tensor = model.decode(audio_codes=codes[None]).audio_values
    return torch.nn.functional.pad(audio, (0, codes.shape[1] * model.config.hop_length - audio.shape[1]))


@pytest.mark.parametrize("name", CONFIGS)
def test_codes_are_the_reference_s(name: str) -> None:
    model, codec = pair(name)
    hop = codec.hop_length
    for samples in (1, hop, 3 * hop + hop // 2, 9 * hop):
        audio = sound(samples, seed=samples)
        padded = torch.nn.functional.pad(audio, (0, -samples % hop))
        with torch.no_grad():
            expected = model.encode(padded[None]).audio_codes[0]
        codes = codec.encode(audio)
        assert codes.shape == (codec.num_codebooks, math.ceil(samples / hop))
        assert torch.equal(codes, expected)
        assert torch.equal(codec.encode(audio, num_codebooks=1), codes[:1])


@pytest.mark.parametrize("name", CONFIGS)
def test_sound_is_the_reference_s(name: str) -> None:
    model, codec = pair(name)
    for frames in (1, 2, 5, 30):
        codes = random_codes(codec, frames, seed=frames)
        expected = reference_decode(model, codes)
        assert expected.abs().max() > 0.02
        assert difference(codec.decode(codes), expected) < 1e-5
        for chunk in (1, 3, frames):
            sizes = [min(chunk, frames - first) for first in range(0, frames, chunk)]
            assert difference(stream_all(codec.stream(), codes, sizes), expected) < 1e-5
    assert difference(codec.decode(codes[:1]), reference_decode(model, codes[:1])) < 1e-5


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(sorted(CONFIGS)),
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=6),
    blocks=st.lists(st.integers(0, 30_000), min_size=1, max_size=4),
)
def test_streams_equal_the_whole(name: str, sizes: list[int], blocks: list[int]) -> None:
    model, codec = pair(name)
    codes = random_codes(codec, sum(sizes))
    audio = stream_all(codec.stream(), codes, sizes)
    assert audio.shape == (1, sum(sizes) * codec.hop_length)
    if sum(sizes):
        assert difference(audio, reference_decode(model, codes)) < 1e-5
    if not sum(blocks):
        return
    signal = sound(sum(blocks))
    encoder = codec.encoder_stream()
    encoded = Encoded.join([*(encoder.encode(block) for block in torch.split(signal, blocks, 1)), encoder.flush()])
    assert torch.equal(encoded.codes, codec.encode(signal))
    decoder = codec.decoder_stream()
    heard = torch.cat((decoder.decode(encoded), decoder.flush()), 1)
    assert heard.shape == signal.shape
    assert difference(heard, codec.decode_whole(encoded)) < 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_lookahead_is_that_of_the_network(name: str) -> None:
    """What is held back is what a later frame can still change, and not a sample more."""
    model, codec = pair(name)
    stream, codes = codec.stream(), random_codes(codec, 60)
    final = 0
    for frame in range(50):
        final += stream.decode(codes[:, frame : frame + 1]).shape[-1]
        assert final == max(0, (frame + 1) * codec.hop_length - codec.lookahead_samples)
    # By gradients, since a change at the very edge of every window is rounded away in the sound itself.
    exact = copy.deepcopy(model).double()
    latents = exact.quantizer.from_codes(codes[None])[0].detach().requires_grad_()
    audio = exact.decoder(latents)[0, 0]
    for sample, heard in ((final - 1, False), (final, True)):
        (slope,) = torch.autograd.grad(audio[sample], latents, retain_graph=True)
        assert bool(slope[:, :, 50:].any()) is heard


def test_released_shapes() -> None:
    """What the sizes of the released models amount to; none of it depends on the widths."""
    _, music = pair("dac_44khz")
    assert music.frame_rate == Fraction(44_100, 512)
    assert music.lookahead_samples == 4757
    assert music.missing_samples == 0
    _, speech = pair("dac_24khz")
    assert (speech.frame_rate, speech.missing_samples) == (75, 8)


def test_state_does_not_grow() -> None:
    _, codec = pair("dac_44khz")
    stream, encoder = codec.stream(), codec.encoder_stream()
    sizes, outputs = [], []
    for frame in range(60):
        outputs.append(stream.decode(random_codes(codec, 1, frame)).shape[-1])
        encoder.encode(sound(5000, frame))
        sizes.append((stream.state_bytes, encoder.state_bytes))
    assert set(outputs[20:]) == {codec.hop_length}
    assert len({first for first, _ in sizes[20:]}) == 1
    assert max(second for _, second in sizes) < 2_000_000


def test_interleaved_stereo() -> None:
    model, mono = pair("small")
    stereo = DacCodec(DacWeights.of_model(model), channels=2)
    audio = sound(700, channels=2)
    codes = stereo.encode(audio)
    assert torch.equal(codes[::2], mono.encode(audio[:1]))
    assert torch.equal(codes[1::2], mono.encode(audio[1:]))
    assert difference(stereo.decode(codes), torch.cat([mono.decode(codes[side::2]) for side in (0, 1)])) < 1e-5


def test_half_precision() -> None:
    model, exact = pair("small")
    codec = DacCodec(DacWeights.of_model(model), dtype=torch.bfloat16)
    codes = random_codes(exact, 40)
    expected = exact.decode(codes)
    audio = codec.decode(codes)
    assert audio.dtype == torch.float32
    assert difference(audio, expected) < 0.1 * float(expected.abs().max())
    assert torch.equal(codec.encode(expected), exact.encode(expected))


def test_weights_that_do_not_fit_are_named() -> None:
    model, _ = pair("small")
    weights = DacWeights.of_model(model)
    state = dict(weights.state)
    name = "decoder.block.1.res_unit2.snake1.alpha"
    state[name] = torch.ones(1, 3, 1)
    assert refusal(lambda: DacCodec(replace(weights, state=state))) == (ErrorCode.MALFORMED, name)
    del state[name]
    assert refusal(lambda: DacCodec(replace(weights, state=state))) == (ErrorCode.MALFORMED, name)
    assert refusal(lambda: DacCodec(weights, channels=3)) == (ErrorCode.UNSUPPORTED, "channels")
