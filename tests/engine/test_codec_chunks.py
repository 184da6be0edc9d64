"""EnCodec in chunks, with group norm and a scale for each: the 48 kHz model's way, at sizes that cost nothing."""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.runtime.audio_codec import Encoded
from engine.runtime.chunked_codec import ChunkedCodec
from engine.runtime.codec import make_codec
from protocols.errors import ErrorCode, RequestError
from tests.engine.test_codec import difference, make_model, refusal

SMALL: dict[str, Any] = {
    "sampling_rate": 1600,
    "upsampling_ratios": [4, 2],
    "use_causal_conv": False,
    "use_conv_shortcut": True,
    "audio_channels": 2,
    "chunk_length_s": 1.0,
    "overlap": 0.01,
    "normalize": True,
    "norm_type": "time_group_norm",
}
CONFIGS: dict[str, dict[str, Any]] = {
    "encodec_48khz": {},
    "weight_norm": {"norm_type": "weight_norm", "audio_channels": 1, "use_conv_shortcut": False},
    "no_scale": {"normalize": False},
    "half_overlapped": {"overlap": 0.5, "num_residual_layers": 2},
    "much_overlapped": {"overlap": 0.8, "pad_mode": "constant"},
    "causal_group_norm": {"use_causal_conv": True, "pad_mode": "replicate"},
    "short_chunks": {"chunk_length_s": 0.05, "overlap": 0.1},
    "no_lstm_twins": {"num_lstm_layers": 1, "upsampling_ratios": [5, 3]},
}


@cache
def pair(name: str) -> tuple[Any, ChunkedCodec]:
    options = SMALL | CONFIGS[name]
    model = make_model(**options)
    codec = make_codec(model, options["audio_channels"], "cpu", torch.float32)
    assert isinstance(codec, ChunkedCodec)
    return model, codec


def sound(codec: Any, samples: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    loud = torch.linspace(0.05, 0.9, max(samples, 1))[:samples]
    return torch.randn(codec.channels, samples, generator=generator) * loud


@torch.no_grad()
def reference(model: Any, audio: Tensor) -> tuple[list[Tensor], list[Tensor | None]]:
    """Codes and scales of each chunk, by transformers, one chunk at a time: it cannot stack chunks of several lengths."""
    config = model.config
    codes, scales = [], []
    for first in range(0, audio.shape[1], config.chunk_stride):
        chunk = audio[None, :, first : first + config.chunk_length]
        made, scale = model._encode_frame(chunk, config.target_bandwidths[-1])
        codes.append(made[0])
        scales.append(None if scale is None else scale[0])
    return codes, scales


@torch.no_grad()
def reference_decode(model: Any, codes: list[Tensor], scales: list[Tensor | None]) -> Tensor:
    """The mean of the chunks, weighted by a triangle. Transformers' own sum fails where a chunk ends before the one before it."""
    chunks = [model._decode_frame(made[None], scale)[0] for made, scale in zip(codes, scales, strict=True)]
    stride, length = model.config.chunk_stride, chunks[0].shape[1]
    triangle = 0.5 - (torch.arange(1, length + 1, dtype=torch.float64) / (length + 1) - 0.5).abs()
    total = max(index * stride + chunk.shape[1] for index, chunk in enumerate(chunks))
    summed, weight = (
        torch.zeros(chunks[0].shape[0], total, dtype=torch.float64),
        torch.zeros(total, dtype=torch.float64),
    )
    for index, chunk in enumerate(chunks):
        place = slice(index * stride, index * stride + chunk.shape[1])
        summed[:, place] += triangle[: chunk.shape[1]] * chunk
        weight[place] += triangle[: chunk.shape[1]]
    return (summed / weight).float()


@pytest.mark.parametrize("name", CONFIGS)
def test_codes_scales_and_sound_are_the_reference_s(name: str) -> None:
    model, codec = pair(name)
    length, stride = codec.cut.length, codec.cut.stride
    for samples in (1, 33, length - 1, length + stride // 2, 3 * stride + length // 2, 4 * stride + length):
        audio = sound(codec, samples, seed=samples)
        codes, scales = reference(model, audio)
        encoded = codec.encode_whole(audio)
        assert torch.equal(encoded.codes, torch.cat(codes, 1))
        assert encoded.samples == samples
        assert codec.cut.frames_of(samples) == [made.shape[1] for made in codes]
        if codec.scaled:
            assert encoded.scales is not None
            expected = torch.stack([scale for scale in scales if scale is not None]).flatten()
            assert torch.allclose(encoded.scales, expected, rtol=1e-5)
        else:
            assert encoded.scales is None
        heard = codec.decode_whole(encoded)
        assert heard.shape == audio.shape
        assert difference(heard, reference_decode(model, codes, scales)[:, :samples]) < 1e-5


def test_the_reference_s_own_whole() -> None:
    """Where transformers can take the signal as a whole, it is the same."""
    model, codec = pair("encodec_48khz")
    audio = sound(codec, 2 * codec.cut.stride + 1000)
    with torch.no_grad():
        out = model.encode(audio[None], bandwidth=model.config.target_bandwidths[-1])
        heard = model.decode(out.audio_codes, out.audio_scales, last_frame_pad_length=out.last_frame_pad_length)[0][0]
    encoded = codec.encode_whole(audio)
    assert difference(codec.decode_whole(encoded), heard[:, : audio.shape[1]]) < 1e-5


def pieces_of(encoded: Encoded, sizes: list[int], codec: ChunkedCodec) -> list[Encoded]:
    """An encoded signal cut anywhere, each scale with the first of its chunk's frames."""
    starts = [0, *accumulate(codec.cut.frames_of(encoded.samples))][:-1]
    made, first = [], 0
    for codes in torch.split(encoded.codes, sizes, 1):
        last = first + codes.shape[1]
        begun = [index for index, start in enumerate(starts) if first <= start < last]
        scales = None if encoded.scales is None else encoded.scales[begun]
        made.append(Encoded(codes, encoded.samples if not made else 0, scales))
        first = last
    return made


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(CONFIGS)),
    blocks=st.lists(st.integers(0, 2500), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 400), max_size=5),
    known=st.booleans(),
)
def test_streams_equal_the_whole(name: str, blocks: list[int], cuts: list[int], known: bool) -> None:
    _, codec = pair(name)
    samples = sum(blocks)
    if not samples:
        return
    audio = sound(codec, samples)
    whole = codec.encode_whole(audio)
    encoder = codec.encoder_stream()
    encoded = Encoded.join([*(encoder.encode(block) for block in torch.split(audio, blocks, 1)), encoder.flush()])
    assert torch.equal(encoded.codes, whole.codes)
    assert encoded.samples == encoder.samples_done == samples
    assert encoder.frames_done == whole.codes.shape[1]
    assert encoded.scales is None if whole.scales is None else torch.equal(encoded.scales, whole.scales)  # type: ignore[arg-type]
    if not known and any(frames < codec.cut.frames for frames in codec.cut.frames_of(samples)[:-1]):
        return  # what lies where cannot be known, as documented
    expected = codec.decode_whole(whole)
    decoder = codec.decoder_stream(samples if known else None)
    frames = whole.codes.shape[1]
    sizes: list[int] = []
    for cut in cuts:
        sizes.append(min(cut, frames - sum(sizes)))
    sizes.append(frames - sum(sizes))
    pieces = pieces_of(whole, sizes, codec)
    heard = torch.cat([*(decoder.decode(piece) for piece in pieces), decoder.flush()], 1)
    assert torch.equal(heard, expected)
    assert decoder.samples_done == samples


def test_interleaved_chunks_have_a_scale_for_each_side() -> None:
    model, mono = pair("weight_norm")
    stereo = make_codec(model, 2, "cpu", torch.float32)
    audio = torch.cat((sound(mono, 4000, 1), sound(mono, 4000, 2) * 0.1))
    encoded = stereo.encode_whole(audio)
    sides = [mono.encode_whole(side[None]) for side in audio]
    assert torch.equal(encoded.codes[::2], sides[0].codes)
    assert torch.equal(encoded.codes[1::2], sides[1].codes)
    heard = stereo.decode_whole(encoded)
    assert difference(heard, torch.cat([mono.decode_whole(side) for side in sides])) < 1e-6


def test_an_hour_needs_the_memory_of_a_second() -> None:
    _, codec = pair("encodec_48khz")
    encoder, decoder = codec.encoder_stream(), codec.decoder_stream()
    held = []
    for seed in range(12):
        piece = encoder.encode(sound(codec, 1234, seed))
        decoder.decode(piece)
        held.append((encoder.state_bytes, decoder.state_bytes))
    chunk = codec.cut.length * codec.channels * 4
    assert max(first for first, _ in held) <= 2 * chunk
    assert max(second for _, second in held) <= 4 * chunk


def test_what_is_no_encoded_signal_is_refused() -> None:
    _, codec = pair("encodec_48khz")
    whole = codec.encode_whole(sound(codec, 4000))
    assert whole.scales is not None
    for wrong, field in (
        (Encoded(whole.codes, 4000), "scales"),
        (Encoded(whole.codes, 4000, whole.scales[:1]), "scales"),
        (Encoded(whole.codes, 4000, whole.scales * 0), "scales"),
        (Encoded(whole.codes, 4000, whole.scales[None]), "scales"),
        (Encoded(whole.codes, 900, whole.scales), "samples"),
        (Encoded(whole.codes[:, :-1], 4000, whole.scales), "samples"),
        (Encoded(whole.codes + codec.card, 4000, whole.scales), "codes"),
        (Encoded(whole.codes.float(), 4000, whole.scales), "codes"),
    ):
        assert refusal(lambda wrong=wrong: codec.decode_whole(wrong))[1] == field  # type: ignore[misc]
    _, plain = pair("no_scale")
    encoded = plain.encode_whole(sound(plain, 100))
    assert refusal(lambda: plain.decode_whole(Encoded(encoded.codes, 100, torch.ones(1))))[1] == "scales"


def test_no_language_model_reads_them() -> None:
    _, codec = pair("encodec_48khz")
    audio = sound(codec, 1000)
    for call in (lambda: codec.encode(audio), lambda: codec.decode(torch.zeros(4, 3)), codec.stream):
        with pytest.raises(RequestError) as caught:
            call()
        assert caught.value.code is ErrorCode.UNSUPPORTED
