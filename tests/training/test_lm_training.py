"""The LM's training: it learns, it resumes as if it had never stopped, and what it exports is a MusicGen to transformers too."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.conditioning.score import CHORD, FEATURES, GRID, MELODY, PITCH_CLASSES, SCALE, SILENCE
from engine.training.composer import compose
from engine.training.data import CodeBatch, CodeSampler, Split
from engine.training.data.records import record_of
from engine.training.data.sampler import Clip, step_generator
from engine.training.data.shards import CODES, write_shard
from engine.training.lm.__main__ import main
from engine.training.lm.batches import Batches, score_of_clip
from engine.training.lm.config import LMTraining
from engine.training.lm.export import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE, load_exported
from engine.training.lm.network import attend, attend_causally
from engine.training.lm.trainer import CHECKPOINT_FILE, METRICS_FILE, LMTrainer
from engine.training.lm.words import make_tokenizer, words_of
from protocols.errors import ErrorCode, RequestError

CODEBOOKS, CARD, RATE = 2, 24, 50
TINY = LMTraining(
    threads=1,
    bf16=False,
    dim=16,
    layers=2,
    heads=2,
    ff_dim=32,
    text_dim=32,
    text_layers=1,
    vocabulary=60,
    steps=30,
    batch=4,
    crop_frames=48,
    learning_rate=0.02,
    warmup_steps=3,
    half=False,
    log_every=5,
    evaluate_every=10,
    evaluation_crops=6,
    checkpoint_seconds=1e9,
)


def _codes_of(record: Any, frames: int) -> np.ndarray[Any, Any]:
    """Codes that a score tells: the melody's pitch, and where in its beat a frame is."""
    pitches = record.chroma(Fraction(RATE), frames) + 1
    beats = np.arange(frames) * float(record.bpm / 60 / RATE)
    return np.stack([pitches, (beats % 1 * 8).astype(np.int64) + 13], axis=1)


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Split, Split]:
    folder = tmp_path_factory.mktemp("codes")
    for split, seeds in (("train", range(1, 7)), ("held_out", (0, 25))):
        parts, records, offset = [], [], 0
        for seed in seeds:
            record = record_of(compose(seed), offset, 400)
            parts.append(_codes_of(record, 400))
            records.append(record)
            offset += 400
        write_shard(folder / split, 0, CODES, Fraction(RATE), parts, records, CARD)
    return folder, Split(folder / "train"), Split(folder / "held_out")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, splits: tuple[Path, Split, Split]) -> LMTrainer:
    # As many threads as the tests have that compare bit for bit with this one: more or fewer are other sums.
    torch.set_num_threads(2)
    trainer = LMTrainer(TINY, tmp_path_factory.mktemp("lm"), splits[1], splits[2])
    assert trainer.run()
    return trainer


def test_every_loss_falls(trained: LMTrainer) -> None:
    lines = [json.loads(line) for line in (trained.folder / METRICS_FILE).read_text().splitlines()]
    measured = [line for line in lines if "heldout_entropy" in line]
    for name in ("heldout_entropy", "heldout_entropy_0", "heldout_entropy_1"):
        assert measured[-1][name] < measured[0][name] - 0.1, name
    trained_on = [line["entropy"] for line in lines if "entropy" in line]
    assert trained_on[-1] < trained_on[0] - 0.3


@pytest.mark.parametrize("cut", [1, 17])
def test_resumed_training_equals_one_that_never_stopped(
    cut: int, tmp_path: Path, splits: tuple[Path, Split, Split], trained: LMTrainer
) -> None:
    first = LMTrainer(TINY, tmp_path, splits[1], splits[2])
    assert not first.run(lambda: first.step == cut)
    words = first._words
    second = LMTrainer(TINY, tmp_path, splits[1], splits[2], words=words)
    second.resume()
    assert second.run()
    for mine, theirs in ((second.model, trained.model), (second.averaged, trained.averaged)):
        for (name, one), two in zip(mine.state_dict().items(), theirs.state_dict().values(), strict=True):
            assert torch.equal(one, two), name
    kept = [json.loads(line)["step"] for line in (tmp_path / METRICS_FILE).read_text().splitlines()]
    assert kept == sorted(kept)


def test_command_line_goes_on_where_it_was(tmp_path: Path, splits: tuple[Path, Split, Split]) -> None:
    shape = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.shape.items()]
    options = [*shape, "--batch=2", "--crop-frames=32", "--evaluation-crops=2", "--threads=1", "--no-bf16"]
    wanted = [f"--data={splits[0]}", f"--out={tmp_path}", *options]
    assert main([*wanted, "--steps=3"]) == 0
    assert main([*wanted, "--steps=5"]) == 0
    assert torch.load(tmp_path / CHECKPOINT_FILE, weights_only=True)["step"] == 5
    assert main([f"--data={splits[0]}", f"--out={tmp_path}", "--dim=32"]) == 2, "another shape"
    assert main([f"--data={tmp_path / 'none'}", f"--out={tmp_path / 'new'}"]) == 2, "no data"


def test_export_is_a_musicgen_to_transformers(trained: LMTrainer) -> None:
    """Logits of transformers' own classes, from the exported files, equal those of the trained network without a score."""
    ensure_torchaudio()
    from transformers import MusicgenDecoderConfig, MusicgenForCausalLM, T5Config, T5EncoderModel

    folder = trained.folder / "export"
    config = json.loads((folder / CONFIG_FILE).read_text())
    state = load_file(folder / WEIGHTS_FILE)
    decoder: Any = MusicgenForCausalLM(MusicgenDecoderConfig(**config["decoder"])).eval()
    text: Any = T5EncoderModel(T5Config(**config["text_encoder"])).eval()
    for part, prefix in ((decoder, "decoder."), (text, "text_encoder.")):
        held = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        report = part.load_state_dict(held, strict=False)
        assert not report.unexpected_keys
        assert not [
            name for name in report.missing_keys if "embed_positions" not in name and "embed_tokens" not in name
        ]
    from transformers import AutoTokenizer

    load: Any = AutoTokenizer.from_pretrained
    tokens = load(folder)("slow piano in A minor, 92 bpm", return_tensors="pt")["input_ids"]
    assert (
        tokens.tolist() == trained.tokenizer("slow piano in A minor, 92 bpm", return_tensors="pt")["input_ids"].tolist()
    )
    columns = torch.randint(0, CARD + 1, (1, CODEBOOKS, 20), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(tokens, dtype=torch.bool)
    with torch.no_grad():
        hidden = text(input_ids=tokens).last_hidden_state
        hidden = torch.nn.functional.linear(hidden, state["enc_to_dec_proj.weight"], state["enc_to_dec_proj.bias"])
        theirs = decoder(input_ids=columns.flatten(0, 1), encoder_hidden_states=hidden).logits
        ours = trained.averaged(columns, torch.zeros(1, 20, FEATURES), tokens, mask)[0]
    torch.testing.assert_close(theirs.view(CODEBOOKS, 20, CARD).transpose(0, 1), ours, rtol=1e-4, atol=1e-4)


def test_training_begins_with_the_weights_of_a_model(
    tmp_path: Path, splits: tuple[Path, Split, Split], trained: LMTrainer
) -> None:
    start = trained.folder / "export"
    trainer = LMTrainer(replace(TINY, steps=1), tmp_path / "tuned", splits[1], splits[2], start=start)
    for (name, one), two in zip(
        trainer.model.state_dict().items(), trained.averaged.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two), name
    assert trainer.tokenizer.get_vocab() == trained.tokenizer.get_vocab()
    assert trainer.run()

    with pytest.raises(RequestError) as refused:
        load_exported(start, {**TINY.shape, "dim": 32})
    assert (refused.value.field, refused.value.code) == ("dim", ErrorCode.NOT_ALLOWED)
    with pytest.raises(RequestError) as refused:
        load_exported(tmp_path, TINY.shape)
    assert refused.value.code is ErrorCode.NOT_FOUND
    for name in (CONFIG_FILE, TOKENIZER_FILE):
        (tmp_path / name).write_bytes((start / name).read_bytes())
    state = load_file(start / WEIGHTS_FILE)
    del state["score.weight"]
    save_file(state, tmp_path / WEIGHTS_FILE)
    with pytest.raises(RequestError, match=r"score\.weight"):
        load_exported(tmp_path, TINY.shape)


def test_settings_are_checked() -> None:
    for change in ({"steps": 0}, {"null_share": 1.5}, {"heads": 3}, {"learning_rate": -1.0}):
        with pytest.raises(RequestError) as refused:
            replace(TINY, **change)  # type: ignore[arg-type]
        assert refused.value.field in change


def test_attention_by_blocks_equals_the_whole() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 3, 403, 8).unbind()
    whole = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(attend_causally(q, k, v), whole)
    seen = torch.rand(2, 1, 1, 403) < 0.5
    masked = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    torch.testing.assert_close(attend(q, k, v, seen), masked)


def test_no_position_hears_what_follows(trained: LMTrainer) -> None:
    """A score's row belongs to the frame that its column's successor begins: a change there is heard there, and not before."""
    columns = torch.randint(0, CARD, (1, CODEBOOKS, 12), generator=torch.Generator().manual_seed(1))
    score = torch.zeros(1, 12, FEATURES)
    tokens, mask = torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1, dtype=torch.bool)
    with torch.no_grad():
        plain = trained.averaged(columns, score, tokens, mask)
        score[0, 7, MELODY + 3] = 1
        told = trained.averaged(columns, score, tokens, mask)
    assert torch.equal(plain[:, :7], told[:, :7])
    assert not torch.allclose(plain[:, 7], told[:, 7])


def test_score_of_a_crop_tells_what_its_piece_knows(splits: tuple[Path, Split, Split]) -> None:
    record = next(one for one in splits[1].records if one.lead)
    beat = record.seconds_at(1)
    start = Fraction(round(2 * beat * RATE), RATE)
    clip = Clip(record, record.captions[0], start, Fraction(100, RATE))
    score = score_of_clip(clip, 100)
    rows = score.rows(0, 100)
    pitches = clip.chroma(Fraction(RATE), 100)
    heard = rows[:, MELODY : MELODY + PITCH_CLASSES + 1].argmax(axis=1)
    assert np.array_equal(np.where(heard == PITCH_CLASSES, SILENCE, heard), pitches)
    for index in range(100):
        tick = (start + Fraction(index, RATE)) / beat * 960
        chord = next(chord for chord in record.chords if chord.start <= tick + Fraction(1, 100) < chord.end)
        assert set(np.flatnonzero(rows[index, CHORD : CHORD + PITCH_CLASSES])) == set(chord.pitch_classes), index
    grid = score.grid
    assert grid is not None
    assert abs(float(grid.origin) - 2 % record.metre.beats) < 0.1
    assert rows[:, GRID].all()
    assert rows[:, SCALE : SCALE + PITCH_CLASSES].sum(axis=1).tolist() == [7.0] * 100
    silent = score_of_clip(clip, 100, grid=False, melody=False, chords=False, scale=False)
    assert not silent.rows(0, 100).any()


def test_each_crop_hears_its_share(splits: tuple[Path, Split, Split]) -> None:
    config = replace(TINY, null_share=0.2, melody_share=0.5, text_dropout=0.1)
    tokenizer = make_tokenizer(words_of(splits[1].records[0].captions, 60))
    batches = Batches(tokenizer, config, CODEBOOKS, CARD)
    crops: CodeBatch = CodeSampler(splits[1], 48, 100, seed=1).batch(0)
    null = words = 0
    for step in range(10):
        batch = batches.make(crops, step_generator(1, step))
        silent = ~batch.mask.any(1) & ~batch.score.flatten(1).any(1)
        null += int(silent.sum())
        words += int(batch.mask.any(1).sum())
    assert 150 < null < 250
    assert abs(words - 1000 * 0.8 * 0.9) < 50
    targets = batches.make(crops, None).targets
    assert (targets[:, 0, 1] == -1).all(), "nothing is to be learned where the delay leaves a slot empty"
    assert (targets[:, :48, 0] == torch.from_numpy(crops.codes[:, 0])).all()


def test_words_and_tempos_are_tokens_and_all_else_is_bytes() -> None:
    words = words_of(["Slow jazz in 3/4 time, 92 bpm", "slow blues"], 10)
    assert words[0] == "slow"
    assert {"jazz", "3/4", "92", "300"} <= set(words)
    tokenizer = make_tokenizer(words)
    count = len(tokenizer("SLOW jazz, 137")["input_ids"])
    assert count == 4, "three words and the end"
    assert tokenizer.decode(tokenizer("Żubr ♫")["input_ids"], skip_special_tokens=True).strip().startswith("żubr")
