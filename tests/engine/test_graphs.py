"""The step that graphs capture, uncaptured and on a CPU: the same numbers and tokens as the modules, whatever shares a step."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from engine.runtime.conditions import Condition, Mix
from engine.runtime.graphs import attach, selfcheck, unsupported
from engine.runtime.graphs.capture import Replay
from engine.runtime.graphs.check import compare
from engine.runtime.graphs.ops import Matrix, Norm, TorchOps
from engine.runtime.graphs.runner import GraphRunner
from engine.runtime.graphs.step import StaticStep, unsupported_shape
from engine.runtime.graphs.tables import SPLIT, TEXT, WRITE, Block, Tables
from engine.runtime.language_model import Step
from engine.runtime.linear import Linear
from engine.runtime.lm import MusicgenLM
from engine.runtime.quantised import Int8Weight
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings
from tests.support import lm_variants
from tests.support.random_lms import KINDS, Kind, Scale, Waves, codes, random_lm, text

WINDOW, STRIDE = 24, 15


def condition(lm: MusicgenLM, seed: int, kind: Kind = "cross", length: int = 5) -> Condition:
    melody = Scale(seed) if kind == "prefix" else None
    return lm.condition(text(seed, length), melody=melody, score=Waves(0.1 * seed) if kind == "score" else None)


def with_runner(kind: Kind, most: int = 16) -> MusicgenLM:
    lm = random_lm(kind)
    lm.runner = runner = GraphRunner(lm, TorchOps(), most)
    runner.grain = 8  # so that caches grow within a window
    return lm


def sampler(lm: MusicgenLM, heard: Condition | Mix, seed: int, frames: int = 45, **settings: float) -> FrameSampler:
    return FrameSampler(
        lm,
        [heard],
        SamplingSettings(**{"top_k": 8} | settings),  # type: ignore[arg-type]
        total_frames=frames,
        window_frames=WINDOW,
        stride_frames=STRIDE,
        seed=seed,
    )


def rest(stream: FrameSampler) -> Tensor:
    made = []
    while not stream.done:
        if (frames := stream.advance()) is not None:
            made.append(frames)
    return torch.cat(made, dim=2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_the_same_tokens_by_the_runner(kind: Kind) -> None:
    plain, fast = random_lm(kind), with_runner(kind)
    streams = [sampler(lm, condition(lm, 3, kind), seed=11) for lm in (plain, fast)]
    expected, made = (rest(stream) for stream in streams)
    assert expected.shape[2] == 45
    assert torch.equal(made, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_that_change_and_mixes_are_heard(kind: Kind) -> None:
    made = []
    for lm in (random_lm(kind), with_runner(kind)):
        first, second = condition(lm, 1, kind), condition(lm, 2, kind, length=9)
        stream = sampler(lm, first, seed=5)
        changes = {
            9: second,
            17: Mix(((first, 0.4), (second, 0.6))),
            30: Mix(((first, 0.7), (second, 0.3))),
            36: condition(lm, 6, kind),
        }
        frames: list[Tensor] = []
        while not stream.done:
            if (change := changes.pop(len(frames), None)) is not None:
                stream.set_condition(0, change)
            if (done := stream.advance()) is not None:
                frames.append(done)
        made.append(torch.cat(frames, dim=2))
    assert torch.equal(*made)


@pytest.mark.parametrize(("kind", "most"), [("cross", 6), ("score", 16), ("prefix", 16)])
def test_who_shares_a_step_changes_no_bit(kind: Kind, most: int) -> None:
    """Streams join, leave and change at random; each goes on as it does alone. Six rows split larger batches."""
    lm, draws = with_runner(kind, most), random.Random(3)
    heard = [condition(lm, seed, kind, length=2 + 3 * seed) for seed in range(4)]
    heard.append(Mix(((heard[0], 0.5), (heard[1], 0.5))))
    alone = [rest(sampler(lm, one, seed=seed)) for seed, one in enumerate(heard)]
    streams = {seed: sampler(lm, one, seed=seed) for seed, one in enumerate(heard)}
    made: dict[int, list[Tensor]] = {seed: [] for seed in streams}
    shared = 0
    while streams:
        chosen = draws.sample(sorted(streams), draws.randint(1, len(streams)))
        steps = {seed: step for seed in chosen if (step := streams[seed].next_step()) is not None}
        shared += len(steps) > 1
        logits = dict(zip(steps, lm.step(list(steps.values())), strict=True)) if steps else {}
        for seed in chosen:
            if (done := streams[seed].advance(logits.get(seed))) is not None:
                made[seed].append(done)
            if streams[seed].done:
                del streams[seed]
    assert shared > 20
    for seed, frames in made.items():
        assert torch.equal(torch.cat(frames, dim=2), alone[seed]), seed


def test_what_is_heard_again_column_by_column_is_heard_as_it_was() -> None:
    lm = with_runner("cross")
    known = codes(10)
    stepped, heard = (lm.session([condition(lm, 2)], 12) for _ in range(2))
    for column in range(10):
        last = lm.step([Step(known[..., column : column + 1], stepped)])[0].clone()
        if column < 9:
            lm.hear(known[..., column : column + 1], heard)
    assert torch.equal(lm(known[..., 9:], heard), last)


class MeasuringOps(TorchOps):
    """Notes how many splits it is told of, and finds no row beyond them."""

    def __init__(self) -> None:
        self.told: set[int] = set()

    def attend(self, tables: Tables, rows: int, layer: int, heads: int, splits: int) -> None:
        assert int(tables.numbers[WRITE, :rows].max()) < splits * SPLIT
        self.told.add(splits)
        super().attend(tables, rows, layer, heads, splits)


def test_contexts_of_several_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.runtime.graphs.runner.CONTEXTS", (SPLIT, 2 * SPLIT))
    plain, fast, ops = random_lm("cross"), random_lm("cross"), MeasuringOps()
    fast.runner = GraphRunner(fast, ops, 4)
    known = codes(2 * SPLIT + 3)
    expected, made = [], []
    for lm, logits in ((plain, expected), (fast, made)):
        session = lm.session([condition(lm, 2)], known.shape[2])
        for skipped, end in ((SPLIT - 4, SPLIT + 2), (2 * SPLIT - 4, known.shape[2])):
            lm.hear(known[..., session.position : skipped], session)
            logits += [lm(known[..., column : column + 1], session) for column in range(skipped, end)]
    torch.testing.assert_close(torch.cat(made, 2), torch.cat(expected, 2), rtol=0, atol=1e-5)
    assert ops.told == {1, 2, 4}


def test_a_session_of_more_rows_than_a_step_has_is_run_by_the_modules() -> None:
    plain, fast = random_lm("cross"), with_runner("cross", most=4)
    known = codes(6, streams=3)
    for column in range(6):
        if column == 0:
            sessions = [lm.session([condition(lm, seed) for seed in range(3)], 8) for lm in (plain, fast)]
        expected, made = (
            lm(known[..., column : column + 1], one) for lm, one in zip((plain, fast), sessions, strict=True)
        )
        torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)


def test_rows_that_nobody_has_disturb_none() -> None:
    lm, ops = random_lm("cross"), TorchOps()
    tables = Tables(lm, 8)
    run, known = StaticStep(lm, ops, tables), codes(5)
    sessions = [lm.session([condition(lm, 1)], 6) for _ in range(2)]
    for column in range(5):
        made = []
        for session, rows in zip(sessions, (2, 8), strict=True):
            tables.fill([Block.of(session)], [known[..., column : column + 1]], [session])
            made.append(run(rows, 1)[:2].clone())
            session.position += 1
        assert torch.equal(*made)


def test_a_column_too_many_is_refused() -> None:
    lm = with_runner("cross")
    session = lm.session([condition(lm, 1)], 2)
    lm.hear(codes(2), session)
    for wrong in (codes(1), codes(1, streams=2)):
        with pytest.raises(ValueError, match="do not fit"):
            lm.step([Step(wrong, session)])


SUPPORTED = ("relu", "layer_scale", "text_positions", "text_first", "late_delays")


@pytest.mark.parametrize("name", SUPPORTED)
def test_variants_that_the_step_covers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Linear, "pack", lambda self, form=None: None)  # a CPU's layout is none that a GPU has
    lm = lm_variants.CASES[name].lm()
    assert unsupported_shape(lm.config) is None
    assert compare(lm, GraphRunner(lm, TorchOps(), 16)).wrong is None


@pytest.mark.parametrize(
    "name", ["biases", "norms_last", "rope", "xpos", "qk_norm", "kv_repeat", "past_context", "text_positions_biases"]
)
def test_variants_that_it_does_not_cover_are_named(name: str) -> None:
    assert unsupported_shape(lm_variants.CASES[name].lm().config)


def test_weights_of_eight_bits() -> None:
    lm = random_lm("cross")
    for module in lm.modules():
        if isinstance(module, Linear):
            module.rounded = Int8Weight(module.weight)
            module.weight = torch.nn.Parameter(module.weight.new_empty(0), requires_grad=False)
    for column, step in enumerate(_steps(lm)):
        assert step < 2e-2, column  # the modules' product goes through bfloat16 on a CPU


def _steps(lm: MusicgenLM) -> Sequence[float]:
    runner = GraphRunner(lm, TorchOps(), 16)
    plain, known = lm.session([condition(lm, 1)], 12), codes(12)
    expected = [lm(known[..., column : column + 1], plain) for column in range(12)]
    lm.runner = runner
    fast = lm.session([condition(lm, 1)], 12)
    made = [lm(known[..., column : column + 1], fast) for column in range(12)]
    return [float((one - other).abs().max() / other.abs().max()) for one, other in zip(made, expected, strict=True)]


class DeafOps(TorchOps):
    """Hears no text."""

    def look(self, tables: Tables, rows: int, layer: int, heads: int) -> None:
        tables.heard[:rows] = 0


class CrowdedOps(TorchOps):
    """A product that depends on how many rows there are, as a library's may."""

    def linear(
        self, x: Tensor, matrix: Matrix, out: Tensor, rows: int, *, norm: Norm | None = None, add: bool = False
    ) -> None:
        super().linear(x, matrix, out, rows, norm=norm, add=add)
        if rows > 4 and not add:
            out[:rows] *= 1 + 2**-12


class LateOps(TorchOps):
    """Reads one row's text length for all."""

    def look(self, tables: Tables, rows: int, layer: int, heads: int) -> None:
        tables.numbers[TEXT, 0] = tables.numbers[TEXT, 0].clamp(max=1)
        super().look(tables, rows, layer, heads)


@pytest.mark.parametrize(
    ("ops", "says"), [(DeafOps(), "logits differ"), (LateOps(), "logits differ"), (CrowdedOps(), "share a step")]
)
def test_the_comparison_finds_what_is_wrong(ops: TorchOps, says: str) -> None:
    lm = random_lm("cross")
    wrong = compare(lm, GraphRunner(lm, ops, 16)).wrong
    assert wrong is not None
    assert says in wrong


def test_without_a_gpu_a_model_is_refused_and_stays_as_it_was() -> None:
    lm = random_lm("cross")
    assert unsupported(lm) == "graphs are captured on CUDA devices"
    with pytest.raises(RuntimeError, match="CUDA"):
        attach(lm)
    assert lm.runner is None


def test_memory_follows_what_is_heard() -> None:
    """Caches grow with the codes, by the runner's grain, and a window that begins anew has short ones again."""
    lm = with_runner("cross")
    session = lm.session([condition(lm, 1)], 40)
    slots = []
    for column in range(20):
        lm.hear(codes(1), session)
        slots.append(session.layers[0].keys_values.shape[3])
        assert slots[-1] >= column + 1
    assert slots == [8] * 8 + [16] * 8 + [24] * 4
    session.begin(30)
    assert session.layers[0].keys_values.shape[3] == 8
    lm.hear(codes(39), session)
    lm.hear(codes(1), session)
    assert session.layers[0].keys_values.shape[3] == 40, "no more than the session was made for"


def test_the_check_for_people_with_a_gpu_runs_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    for precision in ("float32", "int8"):
        assert selfcheck.main(["--device", "cpu", "--model-shape", "tiny", "--dtype", precision]) == 0
        figures = json.loads(capsys.readouterr().out)
        assert figures["comparison"]["rows_equal"]
        assert figures["frames_equal_modules"] == 1
        assert "graph_ms" not in figures, "there is nothing to be measured"


@pytest.mark.parametrize(
    ("shape", "precision", "most"), [("musicgen-medium", "float16", 5.4), ("musicgen-medium", "int8", 3.6)]
)
def test_memory_of_a_large_model(shape: str, precision: str, most: float) -> None:
    """The LM, the tables of 128 rows and a stream that hears its next window ahead, in GB: without codec and text encoder."""
    needed = selfcheck.footprint(shape, precision)
    assert 0.8 * most < needed["total"] / 1e9 < most
    assert needed["total"] == sum(size for part, size in needed.items() if part != "total")


class NoCapture:
    """In place of graphs: the same work on the same memory, operation by operation."""

    def __call__(self, work: Replay) -> Replay:
        work()
        return work


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let capturing go its way without a GPU."""
    monkeypatch.setattr("engine.runtime.graphs.runner.Capture", NoCapture)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())


@pytest.mark.usefixtures("captures")
def test_a_step_takes_the_next_larger_graph() -> None:
    lm = with_runner("cross", most=6)
    heard = [condition(lm, seed) for seed in range(3)]
    runs = []
    for captured in (False, True):
        if captured:
            runner = lm.runner
            assert isinstance(runner, GraphRunner)
            runner.capture()
            assert runner.captured
        sessions = [lm.session([one], 8) for one in heard]
        for column in range(4):
            known = codes(4)[..., column : column + 1]
            logits = torch.cat(lm.step([Step(known, session) for session in sessions[: 1 + column % 3]]))
        runs.append((logits.clone(), lm.step([Step(codes(1), session) for session in sessions])[1].clone()))
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1], runs[1][1])


@pytest.mark.usefixtures("captures")
@pytest.mark.parametrize(
    ("wide", "narrow", "reason"),
    [
        (TorchOps, DeafOps, ""),
        (CrowdedOps, TorchOps, ""),
        (CrowdedOps, CrowdedOps, "share a step"),
        (DeafOps, TorchOps, "logits differ"),
        (None, TorchOps, "no compiler"),
    ],
)
def test_what_is_loaded_was_compared(
    wide: type[TorchOps] | None, narrow: type[TorchOps], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ops(*, wide_tiles: bool) -> TorchOps:
        if wide is None:
            raise OSError("no compiler")
        return wide() if wide_tiles else narrow()

    kernels = SimpleNamespace(TritonOps=lambda *, wide: ops(wide_tiles=wide))
    monkeypatch.setitem(sys.modules, "engine.runtime.graphs.kernels", kernels)  # type: ignore[arg-type]
    monkeypatch.setattr("engine.runtime.graphs.unsupported", lambda lm: None)
    lm = random_lm("cross")
    if reason:
        with pytest.raises(RuntimeError, match=reason):
            attach(lm, 8)
        assert lm.runner is None
    else:
        assert attach(lm, 8) is lm.runner
        assert lm.runner.name == "graphs"
