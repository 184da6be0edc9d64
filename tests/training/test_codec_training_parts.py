"""What a codec's training is made of: losses, the quantiser, measures and settings, on numbers that are known."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.training.codec.adversary import Adversary
from engine.training.codec.config import CodecTraining, Stage
from engine.training.codec.initialisation import rescale_to_unit_variance
from engine.training.codec.losses import (
    Balancer,
    LogMel,
    MultiScaleMel,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
)
from engine.training.codec.metrics import QualityMeter, si_sdr
from engine.training.codec.quantizer import QuantizerTraining, kmeans, nearest
from engine.training.codec.schedule import learning_rate, loss_shares
from protocols.errors import ErrorCode, RequestError

RATE = 8000
ALL_STAGES = CodecTraining(
    reconstruction_steps=10, quantised_steps=20, adversarial_steps=5, decoder_steps=30, refinement_steps=40
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


def sine(cycles: int, samples: int = RATE) -> Tensor:
    return torch.sin(torch.arange(samples) * (2 * math.pi * cycles / samples))


class TestMeasures:
    def test_si_sdr_ignores_scale_and_knows_noise(self) -> None:
        real = sine(440)[None]
        assert float(si_sdr(0.3 * real, real)) > 100
        # Sines of whole cycles are orthogonal: a tenth of the amplitude is 20 dB below.
        assert float(si_sdr(2 * (real + 0.1 * sine(1000)), real)) == pytest.approx(20, abs=1e-3)

    def test_log_mel_of_equals_and_of_ten_times_the_amplitude(self) -> None:
        audio = 0.05 * noise(2, 1, RATE)
        distance = LogMel(RATE)
        assert float(distance(audio, audio)) == 0
        assert float(distance(10 * audio, audio)) == pytest.approx(1, abs=1e-3)
        assert float(distance(1e-7 * audio, 1e-8 * audio)) == 0, "both below -80 dB"

    def test_quality_of_a_louder_copy_of_silence_and_of_a_blur(self) -> None:
        audio = torch.cat((0.05 * noise(3, 1, RATE), torch.zeros(1, 1, RATE)))
        meter = QualityMeter(RATE)
        louder = meter.measure(lambda real: 10 * real, audio, batch=3)
        assert louder.level == pytest.approx(20, abs=1e-3)
        assert louder.log_mel == pytest.approx(0.75, abs=1e-3), "one clip in four is silent, in both"
        assert louder.detail == pytest.approx(1, abs=1e-3)
        assert louder.si_sdr > 60
        steady = 0.1 * sine(8000, 8 * RATE).expand(1, 1, -1)
        assert meter.measure(lambda _: steady, 0.05 * noise(1, 1, 8 * RATE)).detail < 0.3

    def test_silence_alone_has_no_ratio(self) -> None:
        quality = QualityMeter(RATE).measure(lambda real: real, torch.zeros(2, 1, RATE))
        assert quality.log_mel == 0
        assert math.isnan(quality.si_sdr)
        assert math.isnan(quality.level)
        assert math.isnan(quality.detail)


class TestLosses:
    def test_multi_scale_mel_is_the_mean_logarithm_and_a_tenth_of_the_magnitude(self) -> None:
        audio = 0.05 * noise(2, 1, RATE)
        loss = MultiScaleMel(RATE, (256, 1024), (16, 40))
        assert float(loss(audio, audio)) == 0
        assert float(loss(2 * audio, audio)) == pytest.approx(math.log(2) + 0.1, abs=1e-2)

    def test_mel_magnitude_of_a_full_scale_sine_is_near_one_where_a_band_is_a_bin(self) -> None:
        magnitudes = MultiScaleMel(RATE, (512,), (100,)).mel(sine(125)[None, None], 512)[0, 4:-4]
        assert float(magnitudes.max()) == pytest.approx(1, abs=0.2)
        assert float(magnitudes.min()) == pytest.approx(1e-5), "the floor"

    def test_hinge_losses_of_known_verdicts(self) -> None:
        real, made = [[torch.zeros(1), torch.tensor([2.0, 0.0])]], [[torch.ones(1), torch.tensor([-3.0, 0.5])]]
        assert float(discriminator_loss(real, made)) == pytest.approx(0.5 + 0.75)
        assert float(adversarial_loss(made)) == pytest.approx((4 + 0.5) / 2)

    def test_feature_loss_is_relative_to_the_original_maps(self) -> None:
        real, made = [[torch.full((4,), 2.0), torch.zeros(1)]], [[torch.full((4,), 3.0), torch.ones(1)]]
        assert float(feature_loss(real, made)) == pytest.approx(0.5), "the verdict is no feature"


class TestBalancer:
    def test_shares_count_and_scales_do_not(self) -> None:
        output = torch.zeros(2, 1, 2).requires_grad_()
        losses = {"one": 1e-4 * output[..., 0].sum(), "two": 1e3 * output[..., 1].sum(), "none": output.sum()}
        gradient = Balancer().gradient(losses, output, {"one": 3.0, "two": 1.0})
        assert torch.allclose(gradient, torch.tensor([0.75, 0.25]).expand(2, 1, 2) / 2)

    def test_a_loss_that_is_not_finite_is_left_out(self) -> None:
        output = torch.ones(1, 1, 1).requires_grad_()
        balancer = Balancer()
        gradient = balancer.gradient(
            {"good": output.sum(), "bad": (output - 2).sqrt().sum()}, output, {"good": 1.0, "bad": 1.0}
        )
        assert float(gradient.detach()) == 0.5
        assert set(balancer.norms) == {"good"}

    def test_averages_survive_a_state(self) -> None:
        output = torch.ones(1, 1, 1).requires_grad_()
        first, second = Balancer(0.9), Balancer(0.9)
        for scale in (1.0, 5.0):
            first.gradient({"one": scale * output.sum()}, output, {"one": 1.0})
        second.load_state_dict(first.state_dict())
        assert first.norms["one"] == pytest.approx(3), "the plain mean, until there are enough for the decay"
        results = [one.gradient({"one": output.sum()}, output, {"one": 1.0}) for one in (first, second)]
        assert torch.equal(*results)


class TestAdversary:
    def make(self, rate: float) -> Adversary:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            return Adversary((256, 128), 4, rate, crops=3, samples=512, bf16=False)

    def test_learns_to_tell(self) -> None:
        adversary, real, made = self.make(1e-2), noise(4, 1, 1024), sine(100, 1024).expand(4, 1, 1024)
        reports = [adversary.play(made, real, generator(step))[1] for step in range(20)]
        assert reports[0]["discriminator"] == pytest.approx(2, abs=0.2)
        assert reports[-1]["discriminator"] < 1
        assert reports[-1]["verdict_gap"] > 1 > reports[0]["verdict_gap"]

    def test_its_losses_fall_for_audio_that_follows_them(self) -> None:
        adversary, real = self.make(1e-2), noise(3, 1, 512)
        output = (0.1 * sine(40, 512)).expand(3, 1, 512).clone().requires_grad_()
        for step in range(15):
            adversary.play(output, real, generator(step))
        adversary.set_rate(0.0)
        optimiser = torch.optim.Adam([output], 0.05)
        seen = []
        for step in range(15):
            losses, _ = adversary.play(output, real, generator(step))
            seen.append({name: float(loss.detach()) for name, loss in losses.items()})
            optimiser.zero_grad()
            torch.autograd.backward(list(losses.values()))
            optimiser.step()
        assert seen[-1]["adversarial"] < 0.7 * seen[0]["adversarial"]
        assert seen[-1]["feature"] < 0.9 * seen[0]["feature"]

    def test_gradient_reaches_only_the_crops_that_were_heard(self) -> None:
        adversary, output = self.make(1e-3), noise(5, 1, 1024, seed=1).requires_grad_()
        losses, _ = adversary.play(output, noise(5, 1, 1024), generator())
        (gradient,) = torch.autograd.grad(losses["feature"], output)
        assert int((gradient != 0).any(2).sum()) == 3
        assert int((gradient != 0).any(0).sum()) <= 512
        assert all(parameter.requires_grad for parameter in adversary.discriminator.parameters())


class TestQuantizer:
    def books(self, *embeds: Tensor) -> list[Any]:
        return [SimpleNamespace(embed=embed.clone()) for embed in embeds]

    def test_nearest(self) -> None:
        centres = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]])
        assert nearest(torch.tensor([[1.9, 0.0], [2.1, 0.0], [0.0, 1.6]]), centres).tolist() == [0, 1, 2]

    def test_kmeans_finds_clusters(self) -> None:
        middles = torch.tensor([[-10.0, 0.0], [10.0, 0.0], [0.0, 20.0]])
        rows = middles.repeat_interleave(torch.tensor([10, 20, 70]), 0) + 0.1 * noise(100, 2)
        centres, counts = kmeans(rows, 3, generator(5), rounds=12)
        order = nearest(middles, centres)
        assert sorted(order.tolist()) == [0, 1, 2]
        assert counts[order].tolist() == [10, 20, 70]
        assert torch.allclose(centres[order[0]], rows[:10].mean(0))

    def test_initialisation_leaves_nothing_of_rows_that_are_sums_of_entries(self) -> None:
        coarse, fine = torch.tensor([[-8.0], [8.0]]), torch.tensor([[-1.0], [1.0]])
        rows = (coarse[:, None] + fine).reshape(-1, 1).repeat(50, 1)
        books = self.books(torch.zeros(2, 1), torch.zeros(2, 1))
        quantizer = QuantizerTraining(books)
        quantizer.initialise(rows, generator(1))
        assert sorted(books[0].embed.flatten().tolist()) == [-8, 8]
        assert sorted(books[1].embed.flatten().tolist()) == [-1, 1]
        quantised = quantizer.eval()(rows[:4].t()[None])
        assert torch.equal(quantised.latents, rows[:4].t()[None])
        # The first codebook leaves ±1 of latents with a variance of 260 / 3, the second nothing.
        assert float(quantised.commitment) == pytest.approx(3 / 260 / 2)
        assert quantizer.perplexities() == pytest.approx([2, 2])

    def test_running_averages(self) -> None:
        books = self.books(torch.tensor([[0.0], [10.0]]))
        quantizer = QuantizerTraining(books, decay=0.5)
        # Three of four rows choose the first entry: 1.5 times an even share. Its count and sum move half of the way there.
        result = quantizer(torch.tensor([[[1.0, 1.0, 4.0, 11.0]]]), generator())
        assert result.codes.tolist() == [[[0, 0, 0, 1]]]
        assert result.latents.tolist() == [[[0, 0, 0, 10]]], "quantised with the entries of before"
        assert quantizer.get_buffer("count_0").tolist() == [1.25, 0.75]
        assert books[0].embed.flatten().tolist() == pytest.approx([1.5 / 1.25, (5 + 2.75) / 0.75])

    def test_dead_entries_are_moved_to_latents(self) -> None:
        books = self.books(torch.tensor([[0.0], [1000.0]]))
        quantizer = QuantizerTraining(books, decay=0.5, revive_below=0.2)
        rows = torch.tensor([[[-1.0, 1.0, 2.0, -2.0]]])
        for step in range(2):
            quantizer(rows, generator(step))
            assert float(books[0].embed[1]) == pytest.approx(1000), "not yet"
        quantizer(rows, generator(2))
        assert float(books[0].embed[1]) in (-1, 1, 2, -2)
        assert quantizer.get_buffer("count_0")[1] == 0.5

    def test_learns_nothing_in_evaluation_or_from_what_is_not_finite(self) -> None:
        books = self.books(noise(4, 2))
        before = books[0].embed.clone()
        quantizer = QuantizerTraining(books, decay=0.5)
        quantizer(torch.full((1, 2, 3), math.nan), generator())
        quantizer.eval()(noise(1, 2, 3))
        assert torch.equal(books[0].embed, before)
        quantizer.train()(noise(1, 2, 3), generator())
        assert not torch.equal(books[0].embed, before)

    def test_gradient_passes_straight_through(self) -> None:
        quantizer = QuantizerTraining(self.books(noise(5, 3), noise(5, 3, seed=1))).eval()
        latents, weights = noise(2, 3, 7, seed=2).requires_grad_(), noise(2, 3, 7, seed=3)
        quantised = quantizer(latents)
        assert not torch.allclose(quantised.latents, latents)
        (gradient,) = torch.autograd.grad((quantised.latents * weights).sum(), latents, retain_graph=True)
        assert torch.equal(gradient, weights)
        (pull,) = torch.autograd.grad(quantised.commitment, latents)
        closer = quantizer((latents - 0.01 * pull).detach()).commitment
        assert bool(closer < quantised.commitment)

    def test_dropout_decodes_clips_from_their_first_codebooks(self) -> None:
        books = self.books(noise(5, 3), noise(5, 3, seed=1))
        latents = noise(64, 3, 4, seed=2)
        whole = QuantizerTraining(self.books(books[0].embed, books[1].embed)).eval()(latents)
        dropped = QuantizerTraining(books, decay=1.0)(latents, generator(), dropout=1.0)
        first = torch.nn.functional.embedding(whole.codes[:, 0], books[0].embed).transpose(1, 2)
        of_first = (dropped.latents - first).abs().amax((1, 2)) < 1e-5
        of_both = (dropped.latents - whole.latents).abs().amax((1, 2)) < 1e-5
        assert bool((of_first | of_both).all())
        assert 10 < int(of_first.sum()) < 54
        assert torch.equal(dropped.codes, whole.codes)


def test_rescaling_gives_every_layer_a_deviation_of_one() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = nn.Sequential(nn.Conv1d(2, 8, 3), nn.ELU(), nn.Conv1d(8, 8, 3), nn.ELU(), nn.ConvTranspose1d(8, 1, 4))
    for parameter in network.parameters():
        parameter.data *= 0.01
    inputs = noise(4, 2, 200)
    rescale_to_unit_variance(network, inputs, last=0.25)
    assert float(network(inputs).std().detach()) == pytest.approx(0.25, rel=1e-3)
    assert float(network[:3](inputs).std().detach()) == pytest.approx(1, rel=1e-3)


class TestSchedule:
    def test_stages_follow_one_another(self) -> None:
        stages = [ALL_STAGES.stage(step) for step in range(ALL_STAGES.total_steps)]
        assert [stages.count(stage) for stage in Stage] == [10, 20, 5, 30, 40]
        assert stages == sorted(stages, key=list(Stage).index)
        assert ALL_STAGES.frozen_from == 35
        assert ALL_STAGES.stage(1000) is Stage.REFINEMENT
        assert replace(ALL_STAGES, refinement_steps=0).stage(64) is Stage.DECODER

    def test_a_cosine_for_all_and_one_for_each_stage_of_the_decoder(self) -> None:
        config = replace(
            ALL_STAGES, warmup_steps=4, learning_rate=1.0, decoder_rate=0.5, refinement_rate=0.1, last_rate=0.25
        )
        for begin, end, peak in ((0, 35, 1.0), (35, 65, 0.5), (65, 105, 0.1)):
            assert learning_rate(config, begin) == pytest.approx(peak / 4)
            rates = [learning_rate(config, step) for step in range(begin + 3, end)]
            assert rates == sorted(rates, reverse=True)
            assert 0.25 * peak < rates[-1] < 0.26 * peak
            done = (end - begin) // 2 / (end - begin)
            expected = peak * (0.25 + 0.75 * 0.5 * (1 + math.cos(math.pi * done)))
            assert learning_rate(config, begin + (end - begin) // 2) == pytest.approx(expected)

    def test_shares(self) -> None:
        config = replace(ALL_STAGES, mel_ramp=10, mel_weight=2.0, adversarial_ramp=4, adversarial_weight=0.4)
        assert loss_shares(config, 0)["mel"] == pytest.approx(0.2)
        assert loss_shares(config, 20)["mel"] == 2
        assert "adversarial" not in loss_shares(config, 29)
        assert loss_shares(config, 30)["adversarial"] == 0
        assert loss_shares(config, 32)["adversarial"] == pytest.approx(0.2)
        decoder = loss_shares(config, 40)
        assert decoder == {"waveform": 0.5, "mel": 1.0, "log_mel": 2.0}
        assert loss_shares(config, 65) == decoder | {"adversarial": 0, "feature": 0}
        assert loss_shares(config, 69)["adversarial"] == 0.4


class TestSettings:
    @pytest.mark.parametrize(
        ("name", "value", "code"),
        [
            ("batch", 0, ErrorCode.OUT_OF_RANGE),
            ("batch", 2.5, ErrorCode.BAD_TYPE),
            ("batch", True, ErrorCode.BAD_TYPE),
            ("bf16", 1, ErrorCode.BAD_TYPE),
            ("learning_rate", -1e-3, ErrorCode.OUT_OF_RANGE),
            ("learning_rate", math.nan, ErrorCode.OUT_OF_RANGE),
            ("decoder_rate", math.inf, ErrorCode.OUT_OF_RANGE),
            ("ema_decay", 1.5, ErrorCode.OUT_OF_RANGE),
            ("model", "opus", ErrorCode.OUT_OF_RANGE),
            ("seed", 1 << 31, ErrorCode.OUT_OF_RANGE),
            ("gradient_clip", 0, ErrorCode.OUT_OF_RANGE),
        ],
    )
    def test_bad_ones_are_named(self, name: str, value: Any, code: ErrorCode) -> None:
        with pytest.raises(RequestError) as caught:
            CodecTraining(**{name: value})
        assert (caught.value.code, caught.value.field) == (code, name)

    @pytest.mark.parametrize("part", ["", "decoder_"])
    def test_something_must_be_reconstructed(self, part: str) -> None:
        with pytest.raises(RequestError) as caught:
            CodecTraining(**{f"{part}{name}_weight": 0.0 for name in ("waveform", "mel", "log_mel")})  # type: ignore[arg-type]
        assert caught.value.field == f"{part}mel_weight"

    def test_some_stage_must_have_steps(self) -> None:
        with pytest.raises(RequestError) as caught:
            CodecTraining(**{f"{stage}_steps": 0 for stage in Stage})  # type: ignore[arg-type]
        assert caught.value.field == "reconstruction_steps"

    @pytest.mark.parametrize(
        ("held", "field"), [({"width": 3}, "width"), ({"batch": 0}, "batch"), (None, "config"), ([], "config")]
    )
    def test_those_of_a_checkpoint_are_checked(self, held: Any, field: str) -> None:
        with pytest.raises(RequestError) as caught:
            CodecTraining.from_dict(held)
        assert caught.value.field == field

    @pytest.mark.parametrize(
        ("step", "changes", "field"),
        [
            (5, {"discriminator_filters": 3}, "discriminator_filters"),
            (12, {"reconstruction_steps": 20}, "reconstruction_steps"),
            (12, {"quantised_steps": 0, "adversarial_steps": 0}, "quantised_steps"),
            (40, {"quantised_steps": 100}, "quantised_steps"),
            (5, {"reconstruction_steps": 20, "learning_rate": 0.1}, ""),
            (40, {"refinement_steps": 500, "decoder_rate": 0.1}, ""),
        ],
    )
    def test_what_cannot_change_any_more(self, step: int, changes: dict[str, Any], field: str) -> None:
        wanted = replace(ALL_STAGES, **changes)
        if not field:
            wanted.check_changes(ALL_STAGES, step, step >= ALL_STAGES.frozen_from)
            return
        with pytest.raises(RequestError) as caught:
            wanted.check_changes(ALL_STAGES, step, step >= ALL_STAGES.frozen_from)
        assert (caught.value.code, caught.value.field) == (ErrorCode.NOT_ALLOWED, field)

    def test_rounding_cannot_begin_after_the_freeze(self) -> None:
        with pytest.raises(RequestError) as caught:
            replace(ALL_STAGES, half=True).check_changes(replace(ALL_STAGES, half=False), 40, True)
        assert caught.value.field == "half"
