"""A codec's training: its losses fall, it resumes as if it had never stopped, its codes stay valid, and the runtime plays it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.runtime.spectral_codec import load_spectral_codec
from engine.training.checkpoint import FORMAT, load_checkpoint, save_checkpoint
from engine.training.codec.__main__ import main
from engine.training.codec.clips import MemoryClips
from engine.training.codec.config import CodecTraining, Stage
from engine.training.codec.models import (
    TrainableCodec,
    load_codec,
    make_codec,
    make_encodec,
    make_spectral,
)
from engine.training.codec.trainer import (
    CHECKPOINT_FILE,
    CURVES_FILE,
    FROZEN_FOLDER,
    FROZEN_MARK,
    METRICS_FILE,
    CodecTrainer,
)
from engine.training.composer import compose
from engine.training.data.records import record_of
from engine.training.data.shards import AUDIO, to_pcm, write_shard
from engine.training.journal import MetricsFile
from protocols.errors import ErrorCode, RequestError

RATE = 8000
SHAPE = {
    "sample_rate": RATE,
    "hop_length": 160,
    "window": 640,
    "mel_bands": 40,
    "num_codebooks": 2,
    "codebook_size": 16,
    "codebook_dim": 8,
    "encoder_dim": 16,
    "encoder_layers": 1,
    "decoder_dim": 32,
    "decoder_layers": 1,
}
TINY = CodecTraining(
    threads=2,
    bf16=False,
    reconstruction_steps=4,
    quantised_steps=4,
    adversarial_steps=2,
    decoder_steps=3,
    refinement_steps=4,
    batch=4,
    crop_frames=16,
    learning_rate=5e-3,
    decoder_rate=3e-3,
    refinement_rate=1e-3,
    warmup_steps=2,
    mel_ramp=4,
    adversarial_ramp=2,
    codebook_decay=0.9,
    ema_decay=0.8,
    kmeans_crops=8,
    discriminator_filters=2,
    discriminator_crops=2,
    discriminator_frames=16,
    half=False,
    log_every=1,
    evaluate_every=6,
    evaluation_crops=4,
    checkpoint_seconds=1e9,
)
LAST_OF = {stage: TINY.span(stage)[1] for stage in Stage}


def tiny_spectral() -> TrainableCodec:
    return make_spectral(**SHAPE)


def tiny_encodec() -> TrainableCodec:
    return make_encodec(
        sampling_rate=RATE,
        upsampling_ratios=[5, 4, 4],
        target_bandwidths=[0.8],
        codebook_size=16,
        codebook_dim=8,
        hidden_size=8,
        num_filters=2,
    )


def sound(seed: int, seconds: float = 2.0) -> Tensor:
    """Three tones that swell, and a little noise."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(int(seconds * RATE)) / RATE
    audio = 0.01 * torch.randn(len(time), generator=generator)
    for _ in range(3):
        hertz, rate, phase = torch.rand(3, generator=generator).tolist()
        swell = 0.5 + 0.5 * torch.sin(6.28 * (1 + 3 * rate) * time)
        audio += 0.2 * swell * torch.sin(6.28 * (200 + 1500 * hertz) * time + 6.28 * phase)
    return audio


CLIPS = MemoryClips([sound(seed) for seed in range(6)])
HELD_OUT = MemoryClips([sound(seed) for seed in (90, 91)])


def training(
    folder: Path, config: CodecTraining = TINY, make: Callable[[], TrainableCodec] = tiny_spectral, **more: Any
) -> CodecTrainer:
    return CodecTrainer(config, folder, make, CLIPS, HELD_OUT, **more)


def frozen_state(codec: TrainableCodec) -> list[Tensor]:
    return [tensor.clone() for tensor in codec.frozen_tensors()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> CodecTrainer:
    # As many threads as the tests have that compare bit for bit with this one: more or fewer are other sums.
    torch.set_num_threads(2)
    trainer = training(tmp_path_factory.mktemp("codec"))
    assert trainer.run()
    return trainer


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the training that all tests share draws its curves, which takes longer than its steps."""
    monkeypatch.setattr("engine.training.codec.trainer.plot_curves", lambda *_: False)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for split, seeds in (("train", range(4)), ("held_out", range(90, 92))):
        parts, records, offset = [], [], 0
        for seed in seeds:
            part = to_pcm(sound(seed).numpy().astype(np.float32))
            records.append(record_of(compose(seed), offset, len(part)))
            parts.append(part)
            offset += len(part)
        write_shard(folder / split, 0, AUDIO, Fraction(RATE), parts, records)
    return folder


class TestLearning:
    def test_losses_fall_in_every_stage(self, tmp_path: Path) -> None:
        config = replace(
            TINY,
            reconstruction_steps=40,
            quantised_steps=40,
            adversarial_steps=0,
            decoder_steps=25,
            refinement_steps=25,
            learning_rate=1e-2,
            decoder_rate=5e-3,
            discriminator_rate=1e-2,
            mel_ramp=20,
            commitment_weight=1.0,
            ema_decay=0.9,
            log_every=1000,
            evaluate_every=1000,
        )
        reports: dict[Stage, list[dict[str, float]]] = {stage: [] for stage in Stage}
        measured: list[float] = []
        trainer = training(tmp_path, config)

        def note(step: int, _: int, report: dict[str, float]) -> None:
            reports[config.stage(step - 1)].append(report)
            if step in (1, config.reconstruction_steps):
                measured.append(trainer.evaluate().log_mel)

        assert trainer.run(progress=note)

        def change(stage: Stage, name: str) -> float:
            values = [report[name] for report in reports[stage]]
            return sum(values[-8:]) / sum(values[:8])

        for name in ("mel", "log_mel"):
            assert change(Stage.RECONSTRUCTION, name) < 0.8, name
            assert change(Stage.QUANTISED, name) < 0.97, name
            assert change(Stage.DECODER, name) < 0.99, name
        assert change(Stage.QUANTISED, "commitment") < 0.8
        assert measured[1] < 0.6 * measured[0], "on recordings that were not trained on"
        assert change(Stage.REFINEMENT, "log_mel") < 1.02, "against the discriminator it does not get worse"
        assert change(Stage.REFINEMENT, "discriminator") < 0.998
        assert change(Stage.REFINEMENT, "feature") > 1, "the discriminator finds what tells them apart"

    def test_waveform_of_one_recording_is_learnt(self, tmp_path: Path) -> None:
        config = replace(TINY, reconstruction_steps=30, adversarial_steps=0, decoder_steps=0, refinement_steps=0)
        one = MemoryClips([sound(3)[: 16 * 160]])
        trainer = CodecTrainer(replace(config, mel_weight=0.0, log_every=100), tmp_path, tiny_spectral, one, one)
        seen: list[float] = []
        assert not trainer.run(lambda: trainer.step == 30, lambda _, __, report: seen.append(report["waveform"]))
        assert seen[-1] < 0.2 * seen[0]

    def test_metrics_tell_every_stage(self, trained: CodecTrainer) -> None:
        lines = MetricsFile(trained.folder / METRICS_FILE).read()
        assert {line["stage"] for line in lines} == {str(stage) for stage in Stage}
        steps = [line["step"] for line in lines if "gradient" in line]
        assert steps == list(range(1, TINY.total_steps + 1))
        measured = [line for line in lines if "si_sdr" in line]
        assert [line["step"] for line in measured] == [6, 12, TINY.total_steps]
        assert (trained.folder / CURVES_FILE).is_file() == (find_spec("matplotlib") is not None)
        assert "perplexity_1" in measured[0]
        assert "perplexity_1" not in measured[-1], "codebooks that are frozen are not counted"

    def test_a_training_that_diverges_says_which_rate_is_too_high(self, tmp_path: Path) -> None:
        trainer = training(tmp_path, replace(TINY, reconstruction_steps=100))
        for parameter in trainer.model.decoder.parameters():
            parameter.data.fill_(float("nan"))
        with pytest.raises(RequestError) as caught:
            trainer.run()
        assert (caught.value.code, caught.value.field) == (ErrorCode.OUT_OF_RANGE, "learning_rate")
        assert trainer.step < 60


class TestResuming:
    @pytest.mark.parametrize(
        "cut",
        [0, LAST_OF[Stage.RECONSTRUCTION], 6, 9, LAST_OF[Stage.ADVERSARIAL], 11, 15],
    )
    def test_resumed_training_equals_one_that_never_stopped(
        self, cut: int, tmp_path: Path, trained: CodecTrainer
    ) -> None:
        first = training(tmp_path)
        assert not first.run(lambda: first.step == cut)
        second = training(tmp_path)
        second.resume()
        assert second.step == cut
        assert second.run()
        for name, part in second._parts().items():
            _assert_equal(part.state_dict(), trained._parts()[name].state_dict(), name)
        kept = [line["step"] for line in MetricsFile(tmp_path / METRICS_FILE).read() if "gradient" in line]
        assert kept == list(range(1, TINY.total_steps + 1))

    def test_more_steps_and_other_rates_may_be_asked_for(self, tmp_path: Path, trained: CodecTrainer) -> None:
        save_checkpoint(tmp_path / CHECKPOINT_FILE, _state(trained))
        longer = training(tmp_path, replace(TINY, refinement_steps=6, discriminator_rate=0.5, weight_decay=0.25))
        longer.resume()
        assert longer.run()
        assert longer.step == TINY.total_steps + 2
        assert [group["lr"] for group in longer.adversary.optimiser.param_groups] == [0.5]
        assert [group["weight_decay"] for group in longer._optimiser.param_groups] == [0.25, 0]
        _assert_equal(frozen_state(longer.averaged), frozen_state(trained.averaged))

    @pytest.mark.parametrize(
        ("damage", "code", "field"),
        [
            (lambda state: state.pop("balancer"), ErrorCode.MALFORMED, "checkpoint"),
            (lambda state: state.pop("step"), ErrorCode.MALFORMED, "checkpoint"),
            (lambda state: state.update(step="many"), ErrorCode.MALFORMED, "checkpoint"),
            (lambda state: state.update(model={}), ErrorCode.MALFORMED, "checkpoint"),
            (lambda state: state.pop("config"), ErrorCode.MALFORMED, "config"),
            (lambda state: state["config"].update(width=3), ErrorCode.MALFORMED, "width"),
            (lambda state: state["config"].update(batch=0), ErrorCode.OUT_OF_RANGE, "batch"),
            (lambda state: state["config"].update(model="encodec"), ErrorCode.NOT_ALLOWED, "model"),
        ],
    )
    def test_checkpoints_that_do_not_fit_are_refused(
        self,
        damage: Callable[[dict[str, Any]], Any],
        code: ErrorCode,
        field: str,
        tmp_path: Path,
        trained: CodecTrainer,
    ) -> None:
        state = _state(trained)
        damage(state)
        save_checkpoint(tmp_path / CHECKPOINT_FILE, state)
        with pytest.raises(RequestError) as caught:
            training(tmp_path).resume()
        assert (caught.value.code, caught.value.field) == (code, field)

    def test_damaged_files_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / CHECKPOINT_FILE
        with pytest.raises(RequestError) as caught:
            load_checkpoint(path)
        assert caught.value.code is ErrorCode.NOT_FOUND
        save_checkpoint(path, {"weights": torch.arange(1000.0)})
        whole = path.read_bytes()
        middle = len(whole) // 2
        for content in (b"", whole[:middle], whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]):
            path.write_bytes(content)
            with pytest.raises(RequestError) as caught:
                load_checkpoint(path)
            assert (caught.value.code, caught.value.field) == (ErrorCode.MALFORMED, "checkpoint")
        torch.save({"format": FORMAT + 1}, path)
        with pytest.raises(RequestError) as caught:
            load_checkpoint(path)
        assert caught.value.code is ErrorCode.VERSION

    def test_lengths_that_do_not_fit_are_named(self, tmp_path: Path) -> None:
        for name, value in (("crop_frames", 12), ("discriminator_frames", 12), ("crop_frames", 1000)):
            with pytest.raises(RequestError) as caught:
                training(tmp_path, replace(TINY, **{name: value}))  # type: ignore[arg-type]
            assert (caught.value.code, caught.value.field) == (ErrorCode.OUT_OF_RANGE, name)


class TestFreezing:
    def test_codes_stay_valid_and_the_frozen_codec_is_written_once(self, tmp_path: Path) -> None:
        config = replace(TINY, half=True)
        trainer = training(tmp_path, config)
        assert not trainer.run(lambda: trainer.step == config.frozen_from + 1)
        assert json.loads((tmp_path / FROZEN_MARK).read_text())["step"] == config.frozen_from
        state = frozen_state(trainer.model)
        written = {path: path.read_bytes() for path in (tmp_path / FROZEN_FOLDER).iterdir()}
        decoder = [parameter.detach().clone() for parameter in trainer.averaged.decoder.parameters()]
        assert trainer.run()
        _assert_equal(frozen_state(trainer.model), state)
        _assert_equal(frozen_state(trainer.averaged), state)
        assert not any(map(torch.equal, decoder, trainer.averaged.decoder.parameters()))
        assert {path: path.read_bytes() for path in (tmp_path / FROZEN_FOLDER).iterdir()} == written
        frozen, exported = load_codec(tmp_path / FROZEN_FOLDER), load_codec(tmp_path / "export")
        _assert_equal(frozen_state(exported), state)
        mark = json.loads((tmp_path / FROZEN_MARK).read_text())
        assert mark["codec"] == FROZEN_FOLDER
        assert mark["codes"] == frozen.fingerprint() == exported.fingerprint() == trainer.model.fingerprint()
        assert 0 < mark["log_mel"] < 2

    def test_fingerprint_names_what_makes_the_codes(self, trained: CodecTrainer) -> None:
        codec = load_codec(trained.folder / "export")
        before = codec.fingerprint()
        next(codec.decoder.parameters()).data += 1
        assert codec.fingerprint() == before
        codec.codebooks[-1].embed[0, 0] += 1
        assert codec.fingerprint() != before

    def test_decoder_of_an_exported_codec_is_trained_alone(self, tmp_path: Path, trained: CodecTrainer) -> None:
        start = trained.folder / FROZEN_FOLDER
        config = replace(TINY, reconstruction_steps=0, quantised_steps=0, adversarial_steps=0, decoder_steps=3)
        trainer = training(tmp_path, config, lambda: load_codec(start), keep_codes=True)
        assert not trainer.run(lambda: trainer.step == 0)
        again = training(tmp_path, config, lambda: make_codec(load_checkpoint(tmp_path / CHECKPOINT_FILE)["codec"]))
        again.resume()
        assert again.run()
        _assert_equal(frozen_state(load_codec(tmp_path / "export")), frozen_state(load_codec(start)))
        assert json.loads((tmp_path / FROZEN_MARK).read_text())["step"] == 0
        _assert_equal(load_file(tmp_path / FROZEN_FOLDER / "model.safetensors"), load_file(start / "model.safetensors"))

    def test_what_would_change_the_codes_is_refused(self, tmp_path: Path, trained: CodecTrainer) -> None:
        start = trained.folder / FROZEN_FOLDER
        alone = replace(TINY, reconstruction_steps=0, quantised_steps=0, adversarial_steps=0)
        with pytest.raises(RequestError) as caught:
            training(tmp_path, TINY, lambda: load_codec(start), keep_codes=True)
        assert (caught.value.code, caught.value.field) == (ErrorCode.NOT_ALLOWED, "reconstruction_steps")
        rounding = training(tmp_path, replace(alone, half=True), lambda: load_codec(start), keep_codes=True)
        with pytest.raises(RequestError) as caught:
            rounding.run()
        assert (caught.value.code, caught.value.field) == (ErrorCode.NOT_ALLOWED, "half")
        with pytest.raises(RequestError) as caught:
            training(tmp_path, alone).run()
        assert (caught.value.code, caught.value.field) == (ErrorCode.OUT_OF_RANGE, "quantised_steps")


class TestExport:
    @pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-5), (True, 5e-3)])
    def test_runtime_makes_the_same_codes_and_audio(self, half: bool, tolerance: float, tmp_path: Path) -> None:
        trainer = training(tmp_path, replace(TINY, half=half, refinement_steps=0))
        assert trainer.run()
        trainer.quantizer.eval()
        codec = load_spectral_codec(tmp_path / "export")
        stored = load_file(tmp_path / "export" / "model.safetensors")
        assert {tensor.dtype for tensor in stored.values()} == {torch.float16 if half else torch.float32}
        audio = sound(7)[: 40 * 160]
        with torch.no_grad():
            quantised = trainer.quantizer(trainer.averaged.encode(audio[None, None]))
            expected = trainer.averaged.decode(quantised.latents)
        codes = codec.encode(audio[None])
        # The encoder is rounded where it freezes, so that codes are the same in either format; only the decoder is rounded here.
        assert torch.equal(codes, quantised.codes[0])
        made = codec.decode(codes)
        assert made.shape == expected[0].shape
        assert float((made - expected[0]).abs().max()) < tolerance * float(expected.abs().max())

    def test_encodec_loads_in_plain_transformers(self, tmp_path: Path) -> None:
        config = replace(TINY, model="encodec", crop_frames=32, discriminator_frames=32, decoder_steps=1)
        trainer = training(tmp_path, config, tiny_encodec)
        assert trainer.run()
        trainer.quantizer.eval()
        ensure_torchaudio()
        from transformers import EncodecModel

        plain: Any = EncodecModel.from_pretrained(tmp_path / "export")
        plain.eval()
        audio = sound(7)[None, None, : 40 * 80]
        with torch.no_grad():
            quantised = trainer.quantizer(trainer.averaged.encode(audio))
            expected = trainer.averaged.decode(quantised.latents)
            codes = plain.encode(audio).audio_codes
            made = plain.decode(codes, [None]).audio_values
        assert torch.equal(codes[0], quantised.codes)
        assert torch.allclose(made, expected, atol=1e-6)
        loaded = load_codec(tmp_path / "export")
        assert loaded.fingerprint() == trainer.model.fingerprint()
        assert make_codec(trainer.model.describe()).state_dict().keys() == loaded.state_dict().keys()

    @pytest.mark.parametrize(
        "config", [None, {}, {"model_type": "opus"}, {"model_type": "daw_bridge_spectral", "hop": 3}]
    )
    def test_other_configs_are_refused(self, config: Any, tmp_path: Path) -> None:
        with pytest.raises(RequestError) as caught:
            make_codec(config)
        assert caught.value.code in (ErrorCode.MALFORMED, ErrorCode.UNSUPPORTED)
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "model.safetensors").write_bytes(b"")
        with pytest.raises(RequestError):
            load_codec(tmp_path)


class TestCommandLine:
    OPTIONS = ("--batch=2", "--crop-frames=16", "--discriminator-frames=16", "--evaluation-crops=2", "--threads=1")

    def test_decoder_is_refined_and_goes_on(self, tmp_path: Path, shards: Path, trained: CodecTrainer) -> None:
        start = trained.folder / FROZEN_FOLDER
        out = tmp_path / "out"
        wanted = [f"--data={shards}", f"--out={out}", "--no-half", "--decoder-steps=1", *self.OPTIONS]
        assert main([*wanted, f"--from={start}", "--refinement-steps=1"]) == 0
        assert main([*wanted, f"--from={start}"]) == 2, "there is one already"
        assert main([*wanted, "--resume", "--refinement-steps=2"]) == 0
        state = load_checkpoint(out / CHECKPOINT_FILE)
        assert (state["step"], state["config"]["quantised_steps"]) == (3, 0)
        assert load_codec(out / "export").fingerprint() == load_codec(start).fingerprint()

    def test_bad_input_ends_with_status_2(self, tmp_path: Path, shards: Path, trained: CodecTrainer) -> None:
        start = f"--from={trained.folder / FROZEN_FOLDER}"
        data, out = f"--data={shards}", f"--out={tmp_path / 'new'}"
        assert main([f"--data={tmp_path / 'none'}", out, start]) == 2, "no data"
        assert main([data, out, "--resume"]) == 2, "nothing to resume"
        assert main([data, out, f"--from={tmp_path}"]) == 2, "no codec"
        assert main([data, out, start, "--quantised-steps=5"]) == 2, "codes would change"
        assert main([data, out, start, "--model=encodec"]) == 2, "another model"
        assert main([data, out, *self.OPTIONS]) == 2, "the default codec has another sample rate"

    @pytest.mark.skipif(os.name == "nt", reason="there is no SIGTERM to catch")
    def test_a_signal_leaves_a_training_to_resume(self, tmp_path: Path, shards: Path, trained: CodecTrainer) -> None:
        start = trained.folder / FROZEN_FOLDER
        wanted = [f"--data={shards}", f"--out={tmp_path}", "--no-half", "--decoder-steps=100000", *self.OPTIONS]
        command = [sys.executable, "-m", "engine.training.codec", *wanted, f"--from={start}", "--log-every=1"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as child:
            assert child.stderr is not None
            said = []
            for line in child.stderr:
                said.append(line)
                if " decoder 2/" in line:
                    child.send_signal(signal.SIGTERM)
            assert child.wait() == 0, "".join(said)
        assert "stopped" in said[-1]
        state = load_checkpoint(tmp_path / CHECKPOINT_FILE)
        done = state["step"]
        assert 2 <= done < 100_000
        assert main([*wanted, "--resume", f"--decoder-steps={done + 1}", "--refinement-steps=0"]) == 0
        assert load_checkpoint(tmp_path / CHECKPOINT_FILE)["step"] == done + 1


def _state(trainer: CodecTrainer) -> dict[str, Any]:
    return load_checkpoint(trainer.folder / CHECKPOINT_FILE)


def _assert_equal(one: Any, two: Any, where: str = "") -> None:
    """Equal to the bit, through folders of tensors and numbers."""
    if isinstance(one, Tensor):
        assert torch.equal(one, two), where
    elif isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for name in one:
            _assert_equal(one[name], two[name], f"{where}.{name}")
    elif isinstance(one, list):
        assert len(one) == len(two), where
        for index, (first, second) in enumerate(zip(one, two, strict=True)):
            _assert_equal(first, second, f"{where}.{index}")
    else:
        assert one == two, where
