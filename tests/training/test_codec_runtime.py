"""The spectral codec at work: streams equal the whole file, files give back what was written, nonsense is refused."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.runtime.codec import Codec
from engine.runtime.spectral_codec import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    SpectralCodec,
    load_spectral_codec,
    load_spectral_network,
    save_spectral_network,
)
from engine.runtime.spectral_network import (
    SpectralConfig,
    SpectralNetwork,
    drawn_directions,
    mel_filters,
    overlap_add,
    spectra_of,
)
from protocols.errors import ErrorCode, RequestError

TINY = {"encoder_dim": 16, "encoder_layers": 1, "decoder_dim": 16, "decoder_layers": 2, "codebook_dim": 8}
CONFIGS: dict[str, SpectralConfig] = {
    "shipped_layout": SpectralConfig(**TINY, codebook_size=32),
    "causal": SpectralConfig(**TINY, codebook_size=32, encoder_lookahead=0, decoder_lookahead=0),
    "one_spectrum_per_frame": SpectralConfig(
        **TINY, codebook_size=32, hop_length=320, subframes=1, window=1280, decoder_lookahead=2
    ),
    "long_overlap": SpectralConfig(**TINY, codebook_size=32, hop_length=160, subframes=2, window=640, kernel_size=3),
    "no_drawn_phases": SpectralConfig(**TINY, codebook_size=32, noise_period=0),
    "short_period": SpectralConfig(**TINY, codebook_size=32, noise_period=7),
}
DRAWN = [[-0.6515072, -0.7586424], [-0.9714345, -0.2373078], [0.9443579, -0.3289197]]
"""Of spectra 0, 1 and 511, in bins 0, 7 and 640."""


@cache
def network(name: str) -> SpectralNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        made = SpectralNetwork(CONFIGS[name])
        for book in made.codebooks:
            book.embed.normal_()
        # Far from its first weights, in which much is zero.
        for parameter in made.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return made


@cache
def codec(name: str) -> SpectralCodec:
    return SpectralCodec(network(name))


def random_codes(like: Codec, frames: int, seed: int = 0) -> Tensor:
    return torch.randint(0, like.card, (like.num_codebooks, frames), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def whole_clip(name: str, codes: Tensor) -> Tensor:
    """The decoder as it is trained, without a stream."""
    made = network(name)
    latents = sum(book.decode(row[None]) for book, row in zip(made.codebooks, codes, strict=True))
    audio: Tensor = made.decoder(latents)[0]
    return audio


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("frames", [1, 2, 3, 5, 29])
def test_stream_equals_whole_clip(name: str, frames: int) -> None:
    codes = random_codes(codec(name), frames)
    expected = whole_clip(name, codes)
    assert expected.abs().max() > 1e-3
    assert torch.allclose(codec(name).decode(codes), expected, atol=1e-5)
    for chunk in (1, 2, 7, frames):
        stream = codec(name).stream()
        parts = [stream.decode(part) for part in codes.split(chunk, 1)] + [stream.flush()]
        audio = torch.cat(parts, 1)
        assert audio.shape == (1, frames * codec(name).hop_length)
        assert stream.samples_done == audio.shape[1]
        assert (audio - expected).abs().max() < 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_a_graph_makes_what_the_layers_make(name: str) -> None:
    fast = SpectralCodec(network(name), channels=2)
    assert fast.accelerate(threads=1)
    assert fast.network.graph is not None
    assert fast.network.graph.layers == len(fast.network.layers) - 1, "all but the inverse transforms"
    codes = random_codes(fast, 60)
    expected = SpectralCodec(network(name), channels=2).decode(codes)
    for sizes in ([1] * 60, [3, 1, 40, 16]):
        stream = fast.stream()
        parts = [stream.decode(part) for part in codes.split(sizes, 1)] + [stream.flush()]
        assert (torch.cat(parts, 1) - expected).abs().max() < 1e-5


def test_drawn_phases_are_the_same_everywhere() -> None:
    """Their values are part of the format: on another machine, or with another torch, a take must not sound different."""
    directions = drawn_directions(SpectralConfig())
    assert directions.shape == (512, 2, 641)
    assert torch.allclose(directions.square().sum(1), torch.ones(512, 641), atol=1e-6)
    expected = torch.tensor(DRAWN)
    assert torch.allclose(directions[[0, 1, 511], :, [0, 7, 640]], expected, atol=1e-6)


def test_a_network_without_an_idea_of_phases_makes_noise_and_no_clicks() -> None:
    """All phases alike is what a decoder does where codes say nothing about them."""

    def crest(config: SpectralConfig) -> float:
        made = SpectralNetwork(config).decoder
        with torch.no_grad():
            made.head.weight.zero_()
            made.head.bias.view(config.subframes, 3, config.bins)[:, 1] = 0.5
            audio = made(torch.zeros(1, config.codebook_dim, 40))[0, 0]
        return float(audio.abs().max() / audio.square().mean().sqrt())

    assert crest(CONFIGS["no_drawn_phases"]) > 12
    assert crest(CONFIGS["shipped_layout"]) < 6


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_any_chunks(sizes: list[int], seed: int) -> None:
    one = codec("shipped_layout")
    codes = random_codes(one, sum(sizes), seed)
    stream = one.stream()
    parts = [stream.decode(part) for part in codes.split(sizes, 1)] + [stream.flush()]
    assert torch.equal(torch.cat(parts, 1).isfinite(), torch.ones(1, codes.shape[1] * one.hop_length, dtype=torch.bool))
    if codes.shape[1]:
        assert (torch.cat(parts, 1) - one.decode(codes)).abs().max() < 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_lookahead_is_what_it_says(name: str) -> None:
    one = codec(name)
    config = CONFIGS[name]
    assert one.lookahead_samples == config.decoder_lookahead * config.hop_length + config.margin // 2
    stream = one.stream()
    given_frames = 0
    for part in random_codes(one, 12).split(3, 1):
        stream.decode(part)
        given_frames += 3
        assert stream.samples_done == max(0, given_frames * one.hop_length - one.lookahead_samples)


def test_state_does_not_grow() -> None:
    one = codec("shipped_layout")
    stream = one.stream()
    sizes = set()
    for index, part in enumerate(random_codes(one, 60).split(1, 1)):
        stream.decode(part)
        if index > 10:
            sizes.add(stream.state_bytes)
    assert len(sizes) == 1


def test_several_streams_in_step() -> None:
    one = codec("shipped_layout")
    codes = torch.stack([random_codes(one, 9, seed) for seed in range(3)])
    stream = one.stream(batch=3)
    audio = torch.cat([*(stream.decode(part) for part in codes.split(4, 2)), stream.flush()], 2)
    for row, single in zip(audio, codes, strict=True):
        assert (row - one.decode(single)).abs().max() < 1e-5


def test_interleaved_stereo() -> None:
    mono = codec("shipped_layout")
    stereo = SpectralCodec(network("shipped_layout"), channels=2)
    audio = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0)) * 0.1
    codes = stereo.encode(audio)
    assert codes.shape == (8, 8)
    for side in range(2):
        assert torch.equal(codes[side::2], mono.encode(audio[side : side + 1]))
        assert (stereo.decode(codes)[side] - mono.decode(codes[side::2])[0]).abs().max() < 1e-5


def test_encode_shapes_and_reach() -> None:
    one, config = codec("shipped_layout"), CONFIGS["shipped_layout"]
    audio = torch.randn(1, 20 * config.hop_length + 1, generator=torch.Generator().manual_seed(1)) * 0.2
    codes = one.encode(audio)
    assert codes.shape == (4, 21)
    assert codes.dtype == torch.int64
    assert torch.equal(one.encode(audio, 2), codes[:2])
    changed = audio.clone()
    changed[:, 10 * config.hop_length :] *= -0.5
    reach = 10 - config.encoder_lookahead - 1
    assert torch.equal(one.encode(changed)[:, :reach], codes[:, :reach])


def test_spectra_are_inverted() -> None:
    config = SpectralConfig()
    made = torch.randn(2, 6400, generator=torch.Generator().manual_seed(2))
    taper = torch.hann_window(config.window)
    pieces = torch.fft.irfft(spectra_of(made, config, taper) * (config.window / 4), n=config.window) * taper
    assert torch.allclose(overlap_add(pieces, config, taper), made, atol=1e-5)


def test_mel_filters_cover_all_bands() -> None:
    for bins, bands in ((641, 100), (129, 64), (129, 32)):
        filters = mel_filters(bins, bands, 32_000)
        assert filters.shape == (bins, bands)
        assert torch.allclose(filters.sum(0), torch.ones(bands))
        assert (filters >= 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_files_give_back_the_codec(tmp_path: Path, dtype: torch.dtype) -> None:
    made = network("causal")
    rounded = SpectralNetwork(made.config)
    rounded.load_state_dict({name: tensor.to(dtype).float() for name, tensor in made.state_dict().items()})
    save_spectral_network(made, tmp_path / "codec", dtype)
    loaded = load_spectral_codec(tmp_path / "codec")
    audio = torch.randn(1, 4000, generator=torch.Generator().manual_seed(3)) * 0.1
    codes = SpectralCodec(rounded).encode(audio)
    assert torch.equal(loaded.encode(audio), codes)
    assert torch.equal(loaded.decode(codes), SpectralCodec(rounded).decode(codes))
    assert loaded.sample_rate == 32_000


def test_loading_moves_no_generator(tmp_path: Path) -> None:
    save_spectral_network(network("causal"), tmp_path)
    state = torch.random.get_rng_state()
    load_spectral_network(tmp_path)
    SpectralCodec(network("causal"))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    def code_of() -> ErrorCode:
        with pytest.raises(RequestError) as caught:
            load_spectral_codec(tmp_path)
        return caught.value.code

    assert code_of() is ErrorCode.NOT_FOUND
    save_spectral_network(network("causal"), tmp_path)
    config, weights = tmp_path / CONFIG_FILE, tmp_path / WEIGHTS_FILE
    good = json.loads(config.read_text())
    for change, code in (
        ({"model_type": "encodec"}, ErrorCode.UNSUPPORTED),
        ({"window": 1000}, ErrorCode.MALFORMED),
        ({"subframes": 3}, ErrorCode.MALFORMED),
        ({"kernel_size": True}, ErrorCode.MALFORMED),
        ({"decoder_lookahead": 7}, ErrorCode.MALFORMED),
        ({"colour": 1}, ErrorCode.MALFORMED),
        ({"decoder_dim": 17}, ErrorCode.MALFORMED),
    ):
        config.write_text(json.dumps(good | change))
        assert code_of() is code, change
    config.write_text("[]")
    assert code_of() is ErrorCode.MALFORMED
    config.write_text(json.dumps(good))
    state = load_file(weights)
    save_file({name: tensor for name, tensor in state.items() if name != "codebooks.0.embed"}, weights)
    assert code_of() is ErrorCode.MALFORMED
    weights.write_bytes(b"no weights")
    assert code_of() is ErrorCode.MALFORMED


def test_bad_requests_are_refused() -> None:
    one = codec("causal")
    with pytest.raises(RequestError):
        SpectralCodec(network("causal"), channels=3)
    with pytest.raises(RequestError):
        one.encode(torch.zeros(2, 100))
    with pytest.raises(RequestError):
        one.decode(torch.full((4, 3), 32))
    with pytest.raises(RequestError):
        one.decode(torch.zeros(5, 3, dtype=torch.long))
