"""MultiBandDiffusion: what AudioCraft makes of a package is made here too, and a stream is what the whole file is."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.checkpoints.audiocraft.diffusion import file_for, load_diffusion
from engine.runtime.codec import Codec
from engine.runtime.decoders import PiecewiseStream
from engine.runtime.diffusion.multi_band import MultiBandDiffusion
from engine.runtime.diffusion.noise import PositionedNoise, SequentialNoise
from engine.runtime.diffusion.schedule import NoiseSchedule
from engine.runtime.diffusion.stream import MultiBandDecoder
from protocols.errors import ErrorCode, RequestError
from tests.engine.test_codec import CARD, CODEBOOKS, make_model
from tests.support import diffusion_packages as packages

FIGURES = json.loads((Path(__file__).parent / "figures" / "diffusion.json").read_text("utf-8"))
CPU = torch.device("cpu")
RATE = 4000
HOP = 20


class Drawn:
    """Noise in the order in which it is asked for, from numpy."""

    def __init__(self, seed: int) -> None:
        self._numbers = np.random.RandomState(seed)

    def draw(self, band: int, draw: int, first: int, shape: tuple[int, int, int]) -> Tensor:
        return torch.from_numpy(self._numbers.standard_normal(shape)).float()


def load(folder: Path, *configs: dict[str, Any], rate: int = RATE, seed: int = 5) -> MultiBandDiffusion:
    content = packages.package(rate, *configs, seed=seed)
    return load_diffusion(packages.write_package(folder / "package.th", content), CPU)


@pytest.mark.parametrize("name", FIGURES["packages"])
def test_a_package_sounds_as_in_audiocraft(name: str, tmp_path: Path) -> None:
    recorded = FIGURES["packages"][name]
    rate, frames = FIGURES["sample_rate"], FIGURES["frames"]
    models = load(tmp_path, *(packages.settings(rate, **changes) for changes in recorded["changes"]), rate=rate)
    numbers = np.random.RandomState(7)
    latents = torch.from_numpy(numbers.standard_normal((1, packages.LATENT, frames))).float()
    samples = frames * rate // FIGURES["frame_rate"]
    sound = torch.from_numpy(0.2 * numbers.standard_normal((1, models.channels, samples))).float()
    made = models.render(latents, sound, Drawn(11))
    assert made.shape == sound.shape
    np.testing.assert_allclose(made[0].flatten()[::37], recorded["samples"], atol=1e-4)
    assert float(made.pow(2).mean().sqrt()) == pytest.approx(recorded["rms"], rel=1e-4)
    assert models.codebooks == packages.CODEBOOKS


@cache
def decoder_of(kind: str, overlap: float = 0.05) -> tuple[MultiBandDecoder, Codec, MultiBandDiffusion]:
    """A decoder with windows of 0.2 s: 40 frames of 20 samples, of which 10 overlap."""
    import tempfile

    changes: dict[str, Any] = {"sampling_rate": RATE, "upsampling_ratios": [5, 4]}
    if kind == "causal":
        changes |= {"use_causal_conv": True}
    if kind == "two_channels":
        changes |= {"audio_channels": 2}
    model = make_model(**changes)
    channels = 1 if kind in ("mono", "causal") else 2
    codec = Codec(model, channels, "cpu", torch.float32)
    config = packages.settings(RATE, channels=2 if kind == "two_channels" else 1, diffusion_unet__bilstm=kind == "mono")
    with tempfile.TemporaryDirectory() as folder:
        models = load(Path(folder), config, config)
    return MultiBandDecoder(models, codec, window=0.2, overlap=overlap, steps=2), codec, models


def codes_of(codec: Codec, frames: int) -> Tensor:
    return torch.randint(0, CARD, (codec.num_codebooks, frames), generator=torch.Generator().manual_seed(3))


KINDS = ("mono", "causal", "interleaved", "two_channels")


@pytest.mark.parametrize("kind", KINDS)
def test_what_fits_a_window_is_made_as_a_whole(kind: str) -> None:
    decoder, codec, models = decoder_of(kind)
    assert (decoder.window_frames, decoder.hop_frames) == (40, 30)
    codes = codes_of(codec, 39)
    latents, sound = codec.embed(codes[None]).transpose(1, 2), codec.decode(codes)
    runs = latents.shape[0]
    whole = models.render(latents, sound.view(runs, -1, sound.shape[-1]), PositionedNoise(8, CPU), steps=2)
    torch.testing.assert_close(decoder.decode(codes, seed=8), whole.reshape(sound.shape), rtol=0, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(KINDS), st.integers(0, 130), st.lists(st.integers(0, 50), min_size=1, max_size=12), st.booleans()
)
def test_a_stream_is_the_whole_file_whatever_the_chunks(kind: str, frames: int, chunks: list[int], late: bool) -> None:
    decoder, codec, _ = decoder_of(kind)
    codes = codes_of(codec, frames)
    stream, pieces, taken = decoder.stream(seed=8), [], 0
    for chunk in [*chunks, frames]:
        piece = codes[:, taken : taken + chunk]
        taken += piece.shape[1]
        if late:
            stream.take(piece)
        else:
            pieces.append(stream.decode(piece))
            assert frames == 0 or stream.frames_done * HOP - stream.samples_done < decoder.lookahead_samples
    if late:
        stream.finish()
        pieces.append(stream.work())
        while stream.busy:
            pieces.append(stream.work())
    else:
        pieces.append(stream.flush())
    made = torch.cat(pieces, -1)
    assert made.shape == (codec.channels, frames * HOP)
    assert stream.samples_done == frames * HOP
    assert torch.equal(made, decoder.decode(codes, seed=8))


@pytest.mark.parametrize("frame", [1, 20, 45])
def test_a_stream_that_begins_in_the_middle_is_the_whole(frame: int) -> None:
    decoder, codec, _ = decoder_of("mono")
    first = frame + decoder.context_frames
    for end in (first + 1, first + 25, 260):
        codes = codes_of(codec, end)
        whole = decoder.decode(codes, seed=8)
        stream = decoder.stream(frame=frame, seed=8)
        made = torch.cat((stream.decode(codes[:, frame:]), stream.flush()), -1)
        assert made.shape[-1] == (end - frame) * HOP
        torch.testing.assert_close(made[:, (first - frame) * HOP :], whole[:, first * HOP :], rtol=0, atol=1e-5)


def test_streams_in_step_are_those_alone_and_seeds_make_a_difference() -> None:
    decoder, codec, _ = decoder_of("mono")
    codes = codes_of(codec, 50)
    together = decoder.stream(batch=2, seed=8)
    made = torch.cat((together.decode(torch.stack((codes, codes))), together.flush()), -1)
    torch.testing.assert_close(made[0], decoder.decode(codes, seed=8), rtol=0, atol=1e-5)
    assert not torch.allclose(made[0], made[1], atol=1e-3)
    assert not torch.allclose(made[0], decoder.decode(codes, seed=9), atol=1e-3)


def test_memory_and_work_stay_the_same_on_a_long_stream() -> None:
    decoder, codec, _ = decoder_of("mono")
    stream, held = decoder.stream(), []
    for _ in range(12):
        stream.decode(codes_of(codec, 30))
        held.append(stream.state_bytes)
    assert max(held[2:]) == min(held[2:])
    piecewise = decoder.stream()
    assert isinstance(piecewise, PiecewiseStream)
    piecewise.take(codes_of(codec, 45))
    pieces = 0
    while piecewise.busy:
        piecewise.work()
        pieces += 1
    assert pieces == piecewise.pieces_per_window


def test_where_windows_overlap_one_is_faded_into_the_other() -> None:
    decoder, codec, models = decoder_of("mono")
    codes = codes_of(codec, 70)
    latents, sound = codec.embed(codes[None]).transpose(1, 2), codec.decode(codes)[None]

    def window(begin: int) -> Tensor:
        piece = slice(begin * HOP, (begin + 40) * HOP)
        noise = PositionedNoise(8, CPU)
        return models.render(latents[..., begin : begin + 40], sound[..., piece], noise, first=begin * HOP, steps=2)[0]

    made, before, after = decoder.decode(codes, seed=8), window(0), window(30)
    shares = torch.sin(torch.pi / 2 * (torch.arange(10 * HOP) + 0.5) / (10 * HOP)) ** 2
    mixed = before[:, 600:] * (1 - shares) + after[:, :200] * shares
    torch.testing.assert_close(made, torch.cat((before[:, :600], mixed, after[:, 200:]), -1), rtol=0, atol=1e-5)


def test_noise_depends_on_position_alone() -> None:
    noise = PositionedNoise(5, CPU)
    whole = noise.draw(1, 2, 0, (1, 2, 40_000))
    torch.testing.assert_close(noise.draw(1, 2, 16_000, (1, 2, 1000)), whole[..., 16_000:17_000], rtol=0, atol=0)
    for other in (
        noise.draw(0, 2, 0, (1, 2, 1000)),
        noise.draw(1, 3, 0, (1, 2, 1000)),
        noise.draw(1, 2, 1, (1, 2, 1000)),
    ):
        assert abs(float(torch.corrcoef(torch.stack((other[0, 0], whole[0, 0, :1000])))[0, 1])) < 0.2
    assert abs(float(whole.std()) - 1) < 0.02
    generator = torch.Generator().manual_seed(3)
    in_order = SequentialNoise(torch.Generator().manual_seed(3)).draw(0, 0, 0, (1, 1, 8))
    assert torch.equal(in_order, torch.randn(1, 1, 8, generator=generator))


def test_the_steps_are_audiocrafts_twenty_and_any_other_number() -> None:
    schedule = NoiseSchedule(1000, 1e-5, 2.9e-2, 7.5)
    assert schedule.visited() == [*range(999, 0, -50), 0]
    assert len(schedule.steps(7)) == 7
    assert schedule.visited(999) == list(range(999, -1, -1))
    assert schedule.steps()[-1].deviation == 0.0
    for steps in (0, 1000):
        with pytest.raises(RequestError, match="steps"):
            schedule.visited(steps)


def test_which_file_is_for_which_codec() -> None:
    assert file_for(32_000, 4) == "mbd_musicgen_32khz.th"
    assert [file_for(24_000, books) for books in (2, 4, 8, 16)] == [
        "mbd_comp_2.pt",
        "mbd_comp_4.pt",
        "mbd_comp_8.pt",
        None,
    ]
    assert file_for(16_000, 4) is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"diffusion_unet__norm_groups": 3}, "norm_groups"),
        ({"diffusion_unet__kernel": 7}, "kernel"),
        ({"diffusion_unet__hidden": 1 << 20}, "hidden"),
        ({"diffusion_unet__attention": 3}, "diffusion_unet.attention"),
        ({"diffusion_unet__hidden": 16}, "model_state"),
        ({"schedule__repartition": "cosine"}, "schedule.repartition"),
        ({"schedule__beta_t0": 2.0}, "schedule.beta_t0"),
        ({"model": "dit"}, "model"),
        ({"processor__n_bands": 5}, "processor_state"),
    ],
)
def test_a_package_that_cannot_be_computed_is_refused_by_key(
    changes: dict[str, Any], field: str, tmp_path: Path
) -> None:
    content = packages.package(RATE, packages.settings(RATE))
    content[0]["cfg"] = packages.settings(RATE, **changes)
    with pytest.raises(RequestError) as refused:
        load_diffusion(packages.write_package(tmp_path / "p.th", content), CPU)
    assert field in refused.value.field
    assert refused.value.field.startswith("decoder.0.")


def test_packages_that_are_cut_or_of_another_kind_are_refused(tmp_path: Path) -> None:
    content = packages.package(RATE, packages.settings(RATE))
    path = packages.write_package(tmp_path / "p.th", content)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(RequestError):
        load_diffusion(path, CPU)
    for change in ({"n_bands": 2}, {"n_bands": "many"}, {"sample_rate": None}):
        with pytest.raises(RequestError, match="decoder"):
            load_diffusion(
                packages.write_package(tmp_path / "q.th", content | change)
                if change.get("n_bands") != "many"
                else _saved(tmp_path / "q.th", content | change),
                CPU,
            )
    content[0]["model_state"].pop("conv_codec.weight")
    with pytest.raises(RequestError, match="conv_codec"):
        load_diffusion(packages.write_package(tmp_path / "r.th", content), CPU)
    with pytest.raises(RequestError) as refused:
        load_diffusion(tmp_path / "nothing.th", CPU)
    assert refused.value.code is ErrorCode.NOT_FOUND


def _saved(path: Path, content: dict[Any, Any]) -> Path:
    torch.save({key: value for key, value in content.items() if not isinstance(key, int)}, path)
    return path


def test_a_codec_that_the_models_were_not_made_for_is_refused() -> None:
    _, codec, models = decoder_of("mono")
    other = Codec(make_model(sampling_rate=8000, upsampling_ratios=[5, 4]), 1, "cpu", torch.float32)
    with pytest.raises(RequestError, match="4000 Hz"):
        MultiBandDecoder(models, other)
    wide = Codec(make_model(sampling_rate=RATE, upsampling_ratios=[5, 4], hidden_size=8), 1, "cpu", torch.float32)
    with pytest.raises(RequestError, match="16 values"):
        MultiBandDecoder(models, wide)
    for options in ({"window": 0.0}, {"window": 1e9}, {"overlap": 2.0}, {"steps": 0}, {"window": float("nan")}):
        with pytest.raises(RequestError):
            MultiBandDecoder(models, codec, **options)  # type: ignore[arg-type]
    stream = MultiBandDecoder(models, codec, window=0.2, overlap=0.05).stream()
    for wrong in (torch.zeros(CODEBOOKS, 2), torch.full((CODEBOOKS, 2), CARD), torch.zeros(2, 3, 4, dtype=torch.long)):
        with pytest.raises(RequestError):
            stream.decode(wrong)
    assert stream.frames_done == 0
    stream.flush()
    with pytest.raises(RuntimeError):
        stream.decode(codes_of(codec, 1))
