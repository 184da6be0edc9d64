"""Models in memory, without sockets: loaded beside what plays, kept while they are needed, and really gone afterwards."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.admission import Admission
from engine.checkpoints import ModelBundle, load_model
from engine.memory import MB, weights_of
from engine.models import LoadedModel, LoadedModels
from engine.preparation import Preparation, bytes_of
from engine.scheduler import End, Pass, Scheduler, Start, Stop
from engine.stream import AudioBlock, EngineStream
from protocols.errors import ErrorCode, RequestError
from protocols.melody import MelodyLine
from protocols.messages import Continue, Done, Generate, Load, Loaded, ModelChanged
from protocols.settings import EngineSettings, FileSettings, Settings
from tests.support.own_models import write_own_model
from tests.support.streams import prepare
from tests.support.tiny_checkpoints import write_tiny_checkpoint

SECONDS = 30.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_own_model(folder / "one")
    write_own_model(folder / "two", seed=2, sample_rate=24_000)
    write_tiny_checkpoint(folder / "melodious", chroma_length=10)
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text("{")
    return folder


class Rack:
    """Models with the threads around them that an engine has; the I/O loop is a queue that a test empties."""

    def __init__(self, folder: Path) -> None:
        self.calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.told: list[ModelChanged] = []
        self.answers: list[Any] = []
        self.settings = Settings(engine=EngineSettings(device="cpu"), files=FileSettings(allowed=[str(folder)]))
        self.scheduler = Scheduler(lambda event: None, max_running=2)
        self.scheduler.start()
        first = LoadedModel(load_model(str(folder / "one"), device="cpu"), self.settings)
        self.models = LoadedModels(first, self.settings, self.calls.put, self.when_forgotten, self.told.append)

    def when_forgotten(self, call: Callable[[], None]) -> None:
        self.scheduler.post(Pass(call))

    def load(self, name: Path | str) -> None:
        self.models.load(Load(model=str(name)), self.answers.append)

    def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self.calls.get(timeout=SECONDS)()

    def close(self) -> None:
        self.scheduler.post(Stop())
        assert self.scheduler.join(SECONDS)
        assert self.models.stop(SECONDS)


@pytest.fixture
def rack(folder: Path) -> Iterator[Rack]:
    rack = Rack(folder)
    yield rack
    rack.close()


def watched(model: LoadedModel) -> tuple[list[weakref.ref[Any]], list[int]]:
    """References to the parts of a model that are large, and on which threads they went."""
    bundle, threads = model.bundle, []
    parts = [bundle, bundle.lm, bundle.lm.embeddings, bundle.codec, bundle.text._encoder, model.preparation]
    return [weakref.ref(part, lambda ref: threads.append(threading.get_ident())) for part in parts], threads


def holders(parts: list[Any]) -> str:
    """What still refers to parts of a model, two steps back; a frame tells the line that a thread is at."""
    lines = []
    gc.unfreeze()  # what is frozen is not searched
    for part in parts:
        near = [holder for holder in gc.get_referrers(part) if holder is not parts]
        lines.append(f"{type(part).__name__} is held by {', '.join(f'{str(holder)[:200]}' for holder in near)}")
        lines += [f"  {str(far)[:200]}" for holder in near for far in gc.get_referrers(holder) if far is not near]
    return "\n".join(lines[:60])


def test_a_model_is_gone_once_its_last_stream_is_over(rack: Rack, folder: Path) -> None:
    one = rack.models.ready
    parts, threads = watched(one)
    gc.collect()
    gc.freeze()  # as an engine that serves: nothing that is here now would be collected
    gc.disable()
    try:
        # Two streams, as the service would start them; one is in the middle when the other model comes.
        for number in (1, 2):
            plan = one.admission.plan(Generate(prompt="a song", lead=0.1, duration=60.0), b"")
            rack.models.use(one)
            rack.scheduler.post(Start(one.preparation.prepare(number, plan).stream))
        rack.load(folder / "two")
        rack.until(lambda: rack.answers)
        assert isinstance(rack.answers[0], Loaded)
        assert (rack.answers[0].model, rack.told[0].sample_rate, len(rack.told)) == ("two", 24_000, 1)
        assert rack.models.ready.bundle.name == "two"
        assert {model.bundle.name for model in rack.models} == {"one", "two"}
        rack.models.leave(one)
        assert all(part() is not None for part in parts), "the other stream still needs it"
        rack.scheduler.post(Stop())
        assert rack.scheduler.join(SECONDS)
        rack.scheduler = Scheduler(lambda event: None, max_running=2)
        rack.scheduler.start()
        rack.models.leave(one)
        rack.until(lambda: rack.models.weights_mb == rack.models.ready.weights_mb)
        assert not (held := [part() for part in parts if part() is not None]), holders(held)  # by counting alone
        assert len(set(threads)) == 1
        assert threads[0] not in (threading.get_ident(), rack.scheduler._thread.ident)
    finally:
        gc.enable()
        gc.unfreeze()


def test_a_stream_that_is_ended_is_forgotten_before_anybody_is_called_back(folder: Path) -> None:
    bundle = load_model(str(folder / "one"), device="cpu")
    scheduler = Scheduler(lambda event: None, max_running=1)
    scheduler.post(Start(prepare(bundle, Generate(prompt="x", duration=60.0)).stream))
    scheduler.step()
    stream = weakref.ref(scheduler._running[1])
    seen: list[EngineStream | None] = []
    scheduler.post(End(1, "cancelled"))
    scheduler.post(Pass(lambda: seen.append(stream())))
    scheduler.step(0.01)
    assert seen == [None]


def test_unloading_answers_when_the_memory_is_back_or_at_once_while_a_stream_plays(rack: Rack, folder: Path) -> None:
    one = rack.models.ready
    parts, _ = watched(one)
    rack.models.unload(rack.answers.append)
    assert (rack.answers, rack.models.current, rack.told[-1].model) == ([], None, "")
    for refused in (lambda: rack.models.ready, lambda: rack.models.unload(rack.answers.append)):
        with pytest.raises(RequestError) as error:
            refused()
        assert error.value.code == ErrorCode.NO_MODEL
    rack.until(lambda: rack.answers)
    assert (rack.answers, list(rack.models)) == ([Done()], [])
    assert all(part() is None for part in parts)

    rack.load(folder / "two")
    rack.until(lambda: len(rack.answers) == 2)
    two = rack.models.ready
    rack.models.use(two)
    rack.models.unload(rack.answers.append)
    assert (len(rack.answers), list(rack.models)) == (3, [two]), "at once"
    rack.models.leave(two)
    rack.until(lambda: not rack.models.weights_mb)
    assert list(rack.models) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("no such model", ErrorCode.UNKNOWN_MODEL),
        ("{folder}/broken", ErrorCode.MALFORMED),
        ("{folder}/absent", ErrorCode.UNKNOWN_MODEL),
        ("{folder}/../..", ErrorCode.NOT_ALLOWED),
        ("/", ErrorCode.NOT_ALLOWED),
        ("~nobody-has-this-name/x", ErrorCode.NOT_ALLOWED),
        ("./" + "x" * 4000, ErrorCode.NOT_ALLOWED),
    ],
)
def test_a_model_that_cannot_be_loaded_leaves_everything_as_it_is(
    rack: Rack, folder: Path, name: str, code: ErrorCode
) -> None:
    one = rack.models.ready
    rack.load(name.format(folder=folder))
    with pytest.raises(RequestError) as busy:
        rack.load(folder / "two")
    assert busy.value.code == ErrorCode.BUSY
    rack.until(lambda: rack.answers)
    assert (rack.answers[0].code, rack.told, list(rack.models), rack.models.loading) == (code, [], [one], "")
    assert rack.models.ready is one


def test_a_load_without_a_name(rack: Rack) -> None:
    with pytest.raises(RequestError) as error:
        rack.load(" ")
    assert (error.value.code, error.value.field, rack.models.loading) == (ErrorCode.MISSING, "model", "")


def test_a_device_or_precision_that_is_not_there(rack: Rack, folder: Path) -> None:
    for field, value in (("device", "toaster"), ("dtype", "float8")):
        rack.models.load(Load(model=str(folder / "two"), **{field: value}), rack.answers.append)
        rack.until(lambda: rack.answers)
        assert rack.answers.pop().field == field


def test_what_is_kept_of_texts_and_melodies_is_used_again_and_counted(folder: Path) -> None:
    bundle = load_model(str(folder / "melodious"), device="cpu")
    preparation = Preparation(bundle)
    line = MelodyLine.of_seconds([(0, 1, 60), (1, 2, 64)], 2)
    plan = Admission(bundle, Settings()).plan(Generate(prompt="rock", duration=1.0, melody=line.encode()), b"")
    first = preparation.prepare(1, plan).stream.hearing
    again = preparation.prepare(2, plan).stream.hearing
    assert (preparation.kept_texts, preparation.kept_melodies) == (1, 1)
    conditions = [preparation._text("rock") for _ in range(2)]
    assert conditions[0] is conditions[1]
    assert preparation._line(line) is preparation._line(MelodyLine.decode(line.encode())), "known by its content"
    assert first.melody is not None
    assert again.melody is not None
    assert torch.equal(first.melody.window(0), again.melody.window(0))
    assert preparation.kept_bytes >= bytes_of(conditions[0]) > bundle.lm.config.dim
    Preparation(bundle)._text("rock")
    assert Preparation(bundle).kept_texts == 0, "each model keeps its own"


def test_weights_are_counted_as_they_lie_in_memory(folder: Path) -> None:
    single = load_model(str(folder / "one"), device="cpu")
    assert weights_of(single) == pytest.approx(4 * single.parameters, rel=0.1), "and the table of positions"
    half = load_model(str(folder / "one"), device="cpu", dtype="bfloat16")
    lm = sum(module.packed_numbers for module in single.lm.modules() if hasattr(module, "packed_numbers"))
    lm += sum(parameter.numel() for parameter in single.lm.parameters())
    assert weights_of(single) - weights_of(half) == pytest.approx(2 * lm, rel=0.1)
    assert LoadedModel(single, Settings()).weights_mb == round(weights_of(single) / MB, 1)


@pytest.mark.parametrize("name", ["one", "melodious"])
def test_what_a_checkpoint_sets_while_it_is_loaded_reaches_no_stream(folder: Path, name: str) -> None:
    """Transformers makes a half-precision checkpoint under a default precision that is the whole process's."""
    bundle = load_model(str(folder / name), device="cpu")
    line = MelodyLine.of_seconds([(0, 1, 60), (1, 2, 64)], 2)
    audio = 0.3 * np.sin(np.arange(32_000, dtype=np.float32) / 20)
    request = Continue(prompt="rock", top_p=0.9, seed=1, duration=1.5, melody=line.encode(), sample_rate=32_000)
    undisturbed = samples_of(bundle, request, audio)
    torch.set_default_dtype(torch.float16)
    try:
        assert np.array_equal(samples_of(bundle, request, audio), undisturbed)
    finally:
        torch.set_default_dtype(torch.float32)


def samples_of(bundle: ModelBundle, request: Continue, audio: NDArray[np.float32]) -> NDArray[np.float32]:
    stream = prepare(bundle, request, audio.tobytes()).stream
    blocks = []
    while not stream.sampler.done:
        blocks += [event.samples for event in stream.advance() if isinstance(event, AudioBlock)]
    return np.concatenate(blocks)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="mapped files are listed on Linux only")
def test_nothing_of_a_checkpoints_file_stays_mapped_beside_its_weights(folder: Path) -> None:
    for name in ("one", "melodious"):
        bundle = load_model(str(folder / name), device="cpu")
        assert str(folder) not in Path("/proc/self/maps").read_text(), bundle.name
