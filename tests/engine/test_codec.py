"""The codec on streams: whatever the chunks, what comes out is the whole-file decode of transformers' EncodecModel."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.checkpoints.audiocraft.encodec import encodec_weights
from engine.checkpoints.audiocraft.package import CODEC_FILE, read_weights
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.runtime.audio_codec import AudioCodec, DecoderStream
from engine.runtime.codec import Codec
from engine.runtime.codec_graph import DecoderGraph
from protocols.errors import ErrorCode, RequestError

CARD = 64
CODEBOOKS = 4
TOLERANCE = 2e-6

CONFIGS: dict[str, dict[str, Any]] = {
    "musicgen": {"pad_mode": "reflect"},
    "audiocraft": {"pad_mode": "constant"},
    "replicate": {"pad_mode": "replicate"},
    "audiogen": {"sampling_rate": 16_000, "upsampling_ratios": [8, 5, 4, 2]},
    "odd_ratios": {"upsampling_ratios": [3, 5, 2], "pad_mode": "constant"},
    "encodec_24khz": {
        "sampling_rate": 24_000,
        "upsampling_ratios": [8, 5, 4, 2],
        "use_causal_conv": True,
        "use_conv_shortcut": True,
    },
    "causal_constant": {"use_causal_conv": True, "pad_mode": "constant"},
    "causal_replicate": {"use_causal_conv": True, "pad_mode": "replicate"},
    "causal_half_trimmed": {"use_causal_conv": True, "trim_right_ratio": 0.5},
    "causal_left_trimmed": {"use_causal_conv": True, "trim_right_ratio": 0.0, "pad_mode": "constant"},
    "dilated": {"num_residual_layers": 3, "dilation_growth_rate": 3},
    "dilated_causal_shortcut": {"num_residual_layers": 2, "use_causal_conv": True, "use_conv_shortcut": True},
    "even_kernels": {"kernel_size": 6, "last_kernel_size": 4, "residual_kernel_size": 2, "pad_mode": "reflect"},
    "short_kernels": {"kernel_size": 1, "last_kernel_size": 1, "residual_kernel_size": 1},
    "one_lstm_layer": {"num_lstm_layers": 1, "compress": 1},
    "two_channels": {"audio_channels": 2},
    "two_channels_causal": {"audio_channels": 2, "use_causal_conv": True, "pad_mode": "constant"},
    "interleaved": {},
    "interleaved_causal": {"use_causal_conv": True},
}


def make_model(**changes: Any) -> Any:
    """A small EncodecModel with random weights and codebooks, non-causal 32 kHz mono unless told otherwise."""
    ensure_torchaudio()
    from transformers import EncodecConfig, EncodecModel

    options: dict[str, Any] = {
        "sampling_rate": 32_000,
        "upsampling_ratios": [8, 5, 4, 4],
        "use_causal_conv": False,
        "use_conv_shortcut": False,
        "pad_mode": "reflect",
        "num_filters": 4,
        "hidden_size": 16,
        "codebook_size": CARD,
    }
    options.update(changes)
    frame_rate = math.ceil(options["sampling_rate"] / math.prod(options["upsampling_ratios"]))
    # A little more than the codebooks need: transformers divides it by the rate again and rounds down.
    options.setdefault("target_bandwidths", [(CODEBOOKS + 0.5) * frame_rate * math.log2(CARD) / 1000])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model: Any = EncodecModel(EncodecConfig(**options))
        model.eval()
        for layer in model.quantizer.layers:
            layer.codebook.embed.normal_()
    return model


@cache
def pair(name: str) -> tuple[Any, Codec]:
    """A reference model and the codec made from it."""
    model = make_model(**CONFIGS[name])
    channels = 2 if name.startswith("interleaved") else model.config.audio_channels
    return model, Codec(model, channels, "cpu", torch.float32)


def random_codes(codec: AudioCodec, frames: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, codec.card, (codec.num_codebooks, frames), generator=generator)


@torch.no_grad()
def reference_decode(model: Any, codes: Tensor, channels: int) -> Tensor:
    """``EncodecModel.decode``, once per channel for interleaved stereo: ``[channels, samples]``."""
    runs = channels // int(model.config.audio_channels)
    parts = [model.decode(codes[run::runs][None, None], [None])[0][0] for run in range(runs)]
    return torch.cat(parts)


@torch.no_grad()
def reference_encode(model: Any, audio: Tensor) -> Tensor:
    """``EncodecModel.encode``, once per channel for interleaved stereo: ``[codebooks, frames]``."""
    native = int(model.config.audio_channels)
    parts = [model.encode(part[None])[0][0, 0] for part in torch.split(audio, native)]
    return torch.stack(parts, 1).flatten(0, 1)


def stream_all(stream: DecoderStream, codes: Tensor, sizes: list[int]) -> Tensor:
    return torch.cat([*(stream.decode(chunk) for chunk in torch.split(codes, sizes, -1)), stream.flush()], -1)


def difference(first: Tensor, second: Tensor) -> float:
    assert first.shape == second.shape
    return float((first - second).abs().max())


@pytest.mark.parametrize("name", CONFIGS)
def test_whole_file_equals_reference(name: str) -> None:
    model, codec = pair(name)
    for frames in (1, 2, 3, 4, 30):
        codes = random_codes(codec, frames, seed=frames)
        audio = codec.decode(codes)
        assert audio.shape == (codec.channels, frames * codec.hop_length)
        assert audio.dtype == torch.float32
        assert difference(audio, reference_decode(model, codes, codec.channels)) < TOLERANCE


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("frames", [1, 2, 3, 5, 29])
def test_stream_equals_reference(name: str, frames: int) -> None:
    model, codec = pair(name)
    codes = random_codes(codec, frames)
    expected = reference_decode(model, codes, codec.channels)
    assert expected.abs().max() > 0.01
    for chunk in (1, 2, 3, 17, frames):
        sizes = [min(chunk, frames - first) for first in range(0, frames, chunk)]
        assert difference(stream_all(codec.stream(), codes, sizes), expected) < TOLERANCE


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(CONFIGS)),
    sizes=st.lists(st.integers(0, 20), min_size=1, max_size=8),
    seed=st.integers(0, 99),
)
def test_any_chunking_equals_reference(name: str, sizes: list[int], seed: int) -> None:
    model, codec = pair(name)
    codes = random_codes(codec, sum(sizes), seed)
    audio = stream_all(codec.stream(), codes, sizes)
    assert audio.shape == (codec.channels, sum(sizes) * codec.hop_length)
    if sum(sizes):
        assert difference(audio, reference_decode(model, codes, codec.channels)) < TOLERANCE


@pytest.mark.parametrize("name", ["musicgen", "encodec_24khz", "interleaved"])
def test_long_chunks_are_split_without_a_seam(name: str) -> None:
    model, codec = pair(name)
    codes = random_codes(codec, 420)
    expected = reference_decode(model, codes, codec.channels)
    assert difference(codec.decode(codes), expected) < TOLERANCE
    assert difference(stream_all(codec.stream(), codes, [1, 399, 20]), expected) < TOLERANCE


@pytest.mark.parametrize(("name", "samples"), [("musicgen", 2402), ("audiocraft", 2402), ("audiogen", 1203)])
def test_lookahead_is_that_of_the_network(name: str, samples: int) -> None:
    """What is held back is what a later frame can still change, and not a sample more."""
    model, codec = pair(name)
    assert codec.lookahead_samples == samples
    stream = codec.stream()
    codes = random_codes(codec, 12)
    final = 0
    for frame in range(8):
        final += stream.decode(codes[:, frame : frame + 1]).shape[-1]
        assert final == stream.samples_done == max(0, (frame + 1) * codec.hop_length - samples)
    changed = codes.clone()
    changed[:, 8:] = (changed[:, 8:] + 1) % CARD
    moved = (reference_decode(model, codes, 1) != reference_decode(model, changed, 1))[0].nonzero()
    assert int(moved[0]) == final


def test_causal_stream_holds_nothing_back() -> None:
    _, codec = pair("causal_constant")
    stream = codec.stream()
    assert codec.lookahead_samples == stream.lookahead_samples == 0
    assert stream.decode(random_codes(codec, 1)).shape == (1, codec.hop_length)


@pytest.mark.parametrize("name", ["musicgen", "dilated", "encodec_24khz", "interleaved"])
def test_state_does_not_grow(name: str) -> None:
    _, codec = pair(name)
    stream = codec.stream()
    codes = random_codes(codec, 200)
    sizes, outputs = [], []
    for frame in range(200):
        outputs.append(stream.decode(codes[:, frame : frame + 1]).shape[-1])
        sizes.append(stream.state_bytes)
    assert set(sizes[20:]) == {sizes[20]}
    assert set(outputs[20:]) == {codec.hop_length}
    stream.decode(random_codes(codec, 2000))
    assert stream.state_bytes < 2_000_000
    stream.flush()
    assert stream.state_bytes == 0


def test_streams_share_a_codec_without_touching_each_other() -> None:
    model, codec = pair("musicgen")
    codes = [random_codes(codec, 20, seed) for seed in (1, 2)]
    streams = [codec.stream(), codec.stream()]
    heard: list[list[Tensor]] = [[], []]
    for first in range(0, 20, 5):
        for index in (0, 1):
            heard[index].append(streams[index].decode(codes[index][:, first : first + 5]))
    for index in (0, 1):
        audio = torch.cat([*heard[index], streams[index].flush()], -1)
        assert difference(audio, reference_decode(model, codes[index], 1)) < TOLERANCE


@pytest.mark.parametrize("name", ["musicgen", "encodec_24khz", "two_channels", "interleaved"])
def test_a_batch_equals_its_streams(name: str) -> None:
    _, codec = pair(name)
    codes = torch.stack([random_codes(codec, 21, seed) for seed in range(3)])
    audio = stream_all(codec.stream(batch=3), codes, [1, 1, 19])
    assert difference(audio, torch.stack([codec.decode(one) for one in codes])) < TOLERANCE


@cache
def accelerated(name: str) -> Codec:
    """The codec whose decoder is run by onnxruntime in the middle of streams."""
    model, codec = pair(name)
    fast = Codec(model, codec.channels, "cpu", torch.float32)
    assert fast.accelerate(threads=1)
    assert fast.network.graph is not None
    assert fast.network.graph.layers == len(fast.network.layers)
    return fast


@pytest.mark.parametrize("name", CONFIGS)
def test_a_graph_makes_what_the_layers_make(name: str) -> None:
    model, _ = pair(name)
    codec = accelerated(name)
    codes = random_codes(codec, 61)
    expected = reference_decode(model, codes, codec.channels)
    for sizes in ([1] * 61, [2, 1, 8, 3, 40, 7], [61]):
        assert difference(stream_all(codec.stream(), codes, sizes), expected) < TOLERANCE
    both = torch.stack([codes, random_codes(codec, 61, seed=1)])
    audio = stream_all(codec.stream(batch=2), both, [5] * 12 + [1])
    assert difference(audio[0], expected) < TOLERANCE
    assert difference(audio[1], reference_decode(model, both[1], codec.channels)) < TOLERANCE


def test_a_graph_runs_all_but_the_beginning_and_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = accelerated("musicgen")
    graph = codec.network.graph
    assert graph is not None
    ran: list[int] = []
    step = graph.step
    monkeypatch.setattr(graph, "step", lambda rows, states: ran.append(rows.shape[1]) or step(rows, states))
    stream = codec.stream()
    held = []
    for _ in range(40):
        stream.decode(random_codes(codec, 1))
        held.append(stream.state_bytes)
    stream.flush()
    assert len(ran) >= 34
    assert len(set(held[8:])) == 1, "a stream's memory stays what it is"


def test_a_stream_may_change_between_graph_and_layers() -> None:
    model, _ = pair("interleaved")
    codec = Codec(model, 2, "cpu", torch.float32)
    assert codec.accelerate(threads=1)
    graph, codes, stream, parts = codec.network.graph, random_codes(codec, 40), codec.stream(), []
    for number, piece in enumerate(torch.split(codes, 3, -1)):
        codec.network.graph = graph if number % 2 else None
        parts.append(stream.decode(piece))
    parts.append(stream.flush())
    assert difference(torch.cat(parts, -1), reference_decode(model, codes, 2)) < TOLERANCE


def test_a_graph_that_comes_out_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model, codec = pair("musicgen")
    other = Codec(model, 1, "cpu", torch.float32)
    step = DecoderGraph.step
    monkeypatch.setattr(DecoderGraph, "step", lambda self, rows, states: step(self, rows, states).mul_(1.01))
    assert not other.accelerate(threads=1)
    assert other.network.graph is None
    assert not Codec(model, 1, "cpu", torch.bfloat16).accelerate(), "half precision has no form"
    codes = random_codes(codec, 20)
    assert torch.equal(other.decode(codes), codec.decode(codes))


def test_fewer_codebooks_decode_coarser() -> None:
    model, codec = pair("musicgen")
    codes = random_codes(codec, 10)[:2]
    assert difference(codec.decode(codes), reference_decode(model, codes, 1)) < TOLERANCE


def test_chunks_of_other_integer_types_and_layouts() -> None:
    _, codec = pair("interleaved")
    codes = random_codes(codec, 6)
    transposed = codes.to(torch.int16).t().contiguous().t()
    assert difference(codec.decode(transposed), codec.decode(codes)) == 0


@pytest.mark.parametrize("name", ["musicgen", "odd_ratios", "encodec_24khz", "two_channels", "interleaved"])
def test_encode_equals_reference(name: str) -> None:
    model, codec = pair(name)
    generator = torch.Generator().manual_seed(5)
    for samples in (1, 7, codec.hop_length - 1, codec.hop_length, codec.hop_length + 1, 9999):
        audio = torch.randn(samples, codec.channels, generator=generator).t() * 0.3
        codes = codec.encode(audio)
        assert codes.shape == (codec.num_codebooks, math.ceil(samples / codec.hop_length))
        assert codes.dtype == torch.int64
        assert torch.equal(codes, reference_encode(model, audio))
        coarse = codec.encode(audio, num_codebooks=2)
        assert torch.equal(coarse, codes[:2])


def test_facts() -> None:
    _, mono = pair("musicgen")
    _, stereo = pair("interleaved")
    _, other = pair("encodec_24khz")
    assert (mono.sample_rate, mono.hop_length, mono.frame_rate, mono.card) == (32_000, 640, Fraction(50), CARD)
    assert (mono.channels, mono.num_codebooks) == (1, CODEBOOKS)
    assert (stereo.channels, stereo.num_codebooks) == (2, 2 * CODEBOOKS)
    assert other.frame_rate == 75


def test_the_model_it_came_from_is_left_alone() -> None:
    model = make_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sound = torch.randn(1, 2000, generator=torch.Generator().manual_seed(1))
    codes = reference_encode(model, sound)
    audio = reference_decode(model, codes, 1)
    random_state = torch.get_rng_state()
    codec = Codec(model, 1, "cpu", torch.bfloat16)
    codec.decode(codec.encode(sound))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(reference_encode(model, sound), codes)
    assert torch.equal(reference_decode(model, codes, 1), audio)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.decoder.layers[1].lstm.batch_first is False


def test_the_codec_outlives_changes_of_the_model() -> None:
    model = make_model()
    codec = Codec(model, 1, "cpu", torch.float32)
    codes = random_codes(codec, 5)
    before = codec.decode(codes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for layer in model.quantizer.layers:
            layer.codebook.embed.zero_()
    assert difference(codec.decode(codes), before) == 0
    assert codec.encode(before).any()


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
@pytest.mark.parametrize("name", ["musicgen", "encodec_24khz", "interleaved"])
def test_half_precision(name: str, dtype: torch.dtype, allowed: float) -> None:
    model, exact = pair(name)
    codec = Codec(model, exact.channels, "cpu", dtype)
    codes = random_codes(codec, 40)
    expected = exact.decode(codes)
    for sizes in ([1] * 40, [2, 38], [40]):
        audio = stream_all(codec.stream(), codes, sizes)
        assert audio.dtype == torch.float32
        assert difference(audio, expected) < allowed * float(expected.abs().max())
    assert torch.equal(codec.encode(expected), exact.encode(expected))


ACCELERATORS = [
    device
    for device, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()))
    if there
]


@pytest.mark.skipif(not ACCELERATORS, reason="no CUDA or MPS device")
@pytest.mark.parametrize("name", ["musicgen", "encodec_24khz", "interleaved"])
def test_accelerator_equals_cpu(name: str) -> None:
    model, exact = pair(name)
    codec = Codec(model, exact.channels, ACCELERATORS[0], torch.float32)
    codes = random_codes(codec, 40)
    audio = stream_all(codec.stream(), codes, [1, 1, 1, 20, 17]).cpu()
    assert difference(audio, exact.decode(codes)) < 1e-4


GOLDEN_MODELS = {"musicgen": 1, "stereo": 2, "audiogen": 1}


@pytest.mark.parametrize("name", GOLDEN_MODELS)
def test_audiocraft_reference(name: str, golden_dir: Path) -> None:
    model = encodec_weights(read_weights(golden_dir / name / CODEC_FILE))
    codec = Codec(model, GOLDEN_MODELS[name], "cpu", torch.float32)
    with np.load(golden_dir / f"{name}.npz") as data:
        wav, codes, decoded = (torch.from_numpy(data[f"codec_{key}"][0]) for key in ("wav", "codes", "decoded"))
        drawn, sound = (torch.from_numpy(data[f"codec_rand_{key}"]) for key in ("codes", "decoded"))
    assert torch.equal(codec.encode(wav), codes)
    assert difference(stream_all(codec.stream(), codes, [1] * codes.shape[1]), decoded) < 1e-5
    assert difference(stream_all(codec.stream(batch=2), drawn, [7, 1, 22]), sound) < 1e-5


def refusal(call: Callable[[], object]) -> tuple[ErrorCode, str]:
    with pytest.raises(RequestError) as caught:
        call()
    return caught.value.code, caught.value.field


def test_encode_refuses_what_is_not_its_audio() -> None:
    _, codec = pair("musicgen")
    sound = torch.zeros(1, 1000)
    broken = sound.clone()
    broken[0, 500] = math.nan
    assert refusal(lambda: codec.encode(broken)) == (ErrorCode.NOT_AUDIO, "audio")
    assert refusal(lambda: codec.encode(sound / 0 + math.inf)) == (ErrorCode.NOT_AUDIO, "audio")
    assert refusal(lambda: codec.encode(torch.zeros(1, 0))) == (ErrorCode.EMPTY, "audio")
    assert refusal(lambda: codec.encode(torch.zeros(2, 1000))) == (ErrorCode.OUT_OF_RANGE, "channels")
    assert refusal(lambda: codec.encode(torch.zeros(1000))) == (ErrorCode.BAD_TYPE, "audio")
    assert refusal(lambda: codec.encode(sound.short())) == (ErrorCode.BAD_TYPE, "audio")
    assert refusal(lambda: codec.encode(sound, num_codebooks=5)) == (ErrorCode.OUT_OF_RANGE, "num_codebooks")
    _, stereo = pair("interleaved")
    assert refusal(lambda: stereo.encode(sound)) == (ErrorCode.OUT_OF_RANGE, "channels")
    assert refusal(lambda: stereo.encode(sound.repeat(2, 1), num_codebooks=3))[1] == "num_codebooks"


def test_a_refused_chunk_leaves_the_stream_as_it_was() -> None:
    model, codec = pair("musicgen")
    codes = random_codes(codec, 9)
    stream = codec.stream()
    heard = [stream.decode(codes[:, :5])]
    too_high = codes.clone()
    too_high[2, 1] = CARD
    for wrong, code in (
        (too_high, ErrorCode.OUT_OF_RANGE),
        (codes - CARD, ErrorCode.OUT_OF_RANGE),
        (random_codes(codec, 9).repeat(2, 1), ErrorCode.OUT_OF_RANGE),
        (codes[:0], ErrorCode.OUT_OF_RANGE),
        (codes.float(), ErrorCode.BAD_TYPE),
        (codes[None], ErrorCode.BAD_TYPE),
        (codes[0], ErrorCode.BAD_TYPE),
    ):
        assert refusal(lambda wrong=wrong: stream.decode(wrong)) == (code, "codes")  # type: ignore[misc]
    heard += [stream.decode(codes[:, 5:]), stream.flush()]
    assert difference(torch.cat(heard, -1), reference_decode(model, codes, 1)) < TOLERANCE


def test_shapes_of_batches_and_rows_are_checked() -> None:
    _, codec = pair("interleaved")
    assert refusal(lambda: codec.stream(batch=0)) == (ErrorCode.OUT_OF_RANGE, "batch")
    codes = random_codes(codec, 4)
    assert refusal(lambda: codec.stream(batch=2).decode(codes)) == (ErrorCode.BAD_TYPE, "codes")
    assert refusal(lambda: codec.stream(batch=2).decode(codes[None])) == (ErrorCode.BAD_TYPE, "codes")
    assert refusal(lambda: codec.decode(codes[:3])) == (ErrorCode.OUT_OF_RANGE, "codes")


def test_a_stream_without_frames_is_silent_and_ends_once() -> None:
    _, codec = pair("interleaved")
    stream = codec.stream()
    assert stream.decode(random_codes(codec, 0)).shape == (2, 0)
    assert stream.flush().shape == (2, 0)
    assert codec.stream(batch=3).flush().shape == (3, 2, 0)
    with pytest.raises(RuntimeError, match="ended"):
        stream.decode(random_codes(codec, 1))
    with pytest.raises(RuntimeError, match="ended"):
        stream.flush()


def test_codes_that_are_not_all_are_refused() -> None:
    """A language model has codes and nothing beside them."""
    normed = Codec(make_model(norm_type="time_group_norm"), 1, "cpu", torch.float32)
    assert refusal(normed.stream) == (ErrorCode.UNSUPPORTED, "codec")
    assert refusal(lambda: normed.decode(random_codes(normed, 3))) == (ErrorCode.UNSUPPORTED, "codec")
    assert refusal(normed.encoder_stream) == (ErrorCode.UNSUPPORTED, "codec")
    scaled = Codec(make_model(normalize=True), 1, "cpu", torch.float32)
    assert refusal(lambda: scaled.encode(torch.zeros(1, 1000))) == (ErrorCode.UNSUPPORTED, "codec")
    chunked = make_model(chunk_length_s=1.0, overlap=0.01)
    assert refusal(lambda: Codec(chunked, 1, "cpu", torch.float32)) == (ErrorCode.UNSUPPORTED, "codec")


def test_channels_must_fit_the_codec() -> None:
    assert refusal(lambda: Codec(make_model(), 3, "cpu", torch.float32)) == (ErrorCode.UNSUPPORTED, "channels")
    two = make_model(audio_channels=2)
    assert refusal(lambda: Codec(two, 1, "cpu", torch.float32)) == (ErrorCode.UNSUPPORTED, "channels")
