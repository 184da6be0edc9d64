"""Streams in the style of a recording: from a file or samples to what the model hears, changed on the way, and made again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile
import torch

from engine import stream as stream_module
from engine.admission import Admission
from engine.changes import Change
from engine.checkpoints import ModelBundle, load_model
from engine.conditioning.words import Directions
from engine.preparation import Preparation
from engine.runtime.conditions import Mix
from engine.stream import AudioBlock, EngineStream
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Continue, Generate, Open, StreamRequest, Update
from protocols.settings import Settings
from protocols.style import StyleCodes
from tests.support import journals
from tests.support.streams import codes_of, frames_of, play, prepare
from tests.support.style_models import recording, write_style_checkpoint
from tests.support.tiny_checkpoints import write_tiny_checkpoint

WINDOW, STRIDE = 40, 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("recordings")
    soundfile.write(path / "a.wav", recording(4.0), 32_000, subtype="FLOAT")
    soundfile.write(path / "b.wav", recording(4.0, pitch=330.0), 32_000, subtype="FLOAT")
    soundfile.write(path / "short.wav", recording(0.7), 32_000, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def styled(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """A model that hears styles, with a short window."""
    folder = write_style_checkpoint(tmp_path_factory.mktemp("models") / "quantised", seconds=WINDOW / 50)
    return dataclasses.replace(load_model(str(folder), device="cpu"), stride_frames=STRIDE)


@pytest.fixture(scope="module")
def deaf(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return load_model(str(write_tiny_checkpoint(tmp_path_factory.mktemp("deaf"))), device="cpu")


def asked(folder: Path, name: str = "a.wav", **values: Any) -> Generate:
    return Generate(prompt="a happy song", duration=0.6, seed=4, style_path=str(folder / name), **values)


def codes_in(bundle: ModelBundle, request: StreamRequest) -> StyleCodes:
    text = Admission(bundle, Settings()).plan(request, b"").request.style_codes
    return StyleCodes.decode(text)


def changed(bundle: ModelBundle, update: Update, before: Directions | None = None) -> Change:
    admission = Admission(bundle, Settings())
    update = admission.styled(update, b"")
    return Preparation(bundle).condition(admission.change(update, before or Directions("a happy song")))


def heard(stream: EngineStream) -> torch.Tensor:
    """What stands before the text."""
    condition = stream.hearing.condition
    condition = condition.parts[0][0] if isinstance(condition, Mix) else condition
    assert condition.prefix is not None
    return condition.prefix.prelude.rows(0)[0]


def test_a_file_a_region_of_it_and_samples_are_the_same_style(styled: ModelBundle, folder: Path) -> None:
    assert styled.style is not None
    expected = styled.style.read(recording(4.0)[:96_000])
    assert codes_in(styled, asked(folder)) == expected
    later = styled.style.read(recording(4.0)[32_000 : 32_000 + 64_000])
    assert codes_in(styled, asked(folder, style_start=1.0, style_length=2.0)) == later
    sent = recording(4.0)[:96_000].astype("<f4").tobytes()
    plan = Admission(styled, Settings()).plan(Generate(style_samples=96_000, duration=1), sent)
    assert plan.style == expected
    assert (plan.request.style_path, plan.request.style_samples) == ("", 0)


def test_what_is_shorter_than_the_excerpt_is_repeated(styled: ModelBundle, folder: Path) -> None:
    assert styled.style is not None
    turns = np.resize(recording(0.7), 96_000)
    assert codes_in(styled, asked(folder, "short.wav")) == styled.style.read(turns)
    note = "the style's 0.7 s are repeated up to 3 s; the model hears a style of 10 tokens, 3 codebooks of it"
    assert prepare(styled, asked(folder, "short.wav")).note == note


def test_the_style_is_heard(styled: ModelBundle, folder: Path) -> None:
    with_style = codes_of(play(styled, asked(folder)))
    assert np.array_equal(with_style, codes_of(play(styled, asked(folder)))), "the same request, the same music"
    others = (
        asked(folder, "b.wav"),
        asked(folder, style_start=0.5),
        asked(folder, style_detail=1),
        asked(folder, double_guidance=4.0),
        asked(folder, double_guidance=0.0),
        msgspec.structs.replace(asked(folder), style_path=""),
    )
    made = [with_style, *(codes_of(play(styled, other)) for other in others)]
    assert all(not np.array_equal(one, other) for i, one in enumerate(made) for other in made[:i])


def test_a_take_is_made_again_without_the_file(styled: ModelBundle, folder: Path) -> None:
    plan = Admission(styled, Settings()).plan(asked(folder, double_guidance=3.0), b"")
    kept = json.loads(json.dumps(msgspec.structs.asdict(plan.request)))
    assert str(folder) not in json.dumps(kept)
    again = codes_of(play(styled, Generate(**kept)))
    assert np.array_equal(again, codes_of(play(styled, asked(folder, double_guidance=3.0))))


def test_a_long_stream_keeps_its_style_in_every_window(styled: ModelBundle, folder: Path) -> None:
    long = asked(folder, double_guidance=3.0)
    long = msgspec.structs.replace(long, duration=2.4, temperature=0.0)
    stream = play(styled, long)
    made = codes_of(stream)
    assert made.shape[1] == 120 > 2 * WINDOW
    # A window that begins from codes alone hears the same: made anew from where the last window began, it goes on alike.
    first = 2 * STRIDE
    prompt = made[:, first : first + WINDOW - STRIDE].astype("<u2").tobytes()
    went_on = Continue(
        prompt=long.prompt,
        duration=STRIDE / 50,
        temperature=0.0,
        seed=1,
        style_codes=Admission(styled, Settings()).plan(long, b"").request.style_codes,
        double_guidance=3.0,
        codebooks=styled.num_codebooks,
    )
    again = codes_of(prepare(styled, went_on, prompt).stream)
    assert np.array_equal(again, made[:, first + WINDOW - STRIDE : first + WINDOW])


def test_a_continuation_has_a_style_too(styled: ModelBundle, folder: Path) -> None:
    sent = recording(0.4, pitch=500.0)
    both = Continue(
        prompt="a happy song",
        duration=0.4,
        seed=2,
        sample_rate=32_000,
        style_samples=64_000,
        style_length=2.0,
    )
    style = recording(2.0)
    prepared = prepare(styled, both, sent.tobytes() + style.tobytes())
    assert styled.style is not None
    assert torch.equal(heard(prepared.stream), styled.style.style(styled.style.read(style)).prelude(3).embeddings)
    alone = prepare(styled, msgspec.structs.replace(both, style_samples=0, style_length=0.0), sent.tobytes())
    assert prepared.prompt_codes == alone.prompt_codes
    assert not np.array_equal(codes_of(prepared.stream), codes_of(alone.stream))


def test_styles_change_on_the_way(styled: ModelBundle, folder: Path) -> None:
    assert styled.style is not None
    first = styled.style.style(styled.style.read(recording(4.0)[:96_000]))
    second = styled.style.style(styled.style.read(recording(4.0, pitch=330.0)[:96_000]))
    stream = play(styled, Open(prompt="a happy song", seed=3, style_path=str(folder / "a.wav")))
    list(frames_of(stream, 5))
    assert torch.equal(heard(stream), first.prelude(3).embeddings)
    steps = [
        (Update(stream=1, style_path=str(folder / "b.wav")), second.prelude(3).embeddings),
        (Update(stream=1, style_detail=1), second.prelude(1).embeddings),
        (Update(stream=1, double_guidance=4.0), second.prelude(1).embeddings),
        (Update(stream=1, prompt="sad piano"), second.prelude(1).embeddings),
        (Update(stream=1, style_path=""), torch.zeros(1, 48)),
    ]
    records = []
    for number, (update, expected) in enumerate(steps):
        stream.add_change(changed(styled, update))
        for _, changes in frames_of(stream, 10 + 5 * number):
            records += [change.record() for change in changes]
        assert torch.equal(heard(stream), expected), update
    assert [sorted(record) for record in records[:3]] == [
        ["frame", "style_codes"],
        ["frame", "style_detail"],
        ["double_guidance", "frame"],
    ]
    assert str(folder) not in json.dumps(records)
    # All of it is in the sidecar's script: the same changes at the same frames make the same stream again.
    whole = codes_of(
        play(
            styled,
            again := Open(seed=3, prompt="a happy song", style_path=str(folder / "a.wav"), script=json.dumps(records)),
        ),
        40,
    )
    assert np.array_equal(whole, codes_of(play(styled, again), 40))


def test_beta_is_two_weights_and_no_new_hearing(styled: ModelBundle, folder: Path) -> None:
    stream = play(styled, Open(prompt="a happy song", seed=3, style_path=str(folder / "a.wav"), double_guidance=3.0))
    list(frames_of(stream, 8))
    session: Any = stream.sampler._session  # type: ignore[attr-defined]
    position, prefix = session.position, session.prefix
    assert session.rows == 3
    stream.add_change(changed(styled, Update(stream=1, double_guidance=5.0)))
    stream.advance()
    assert torch.equal(session.prefix, prefix)
    assert session.prefix_pending == 0
    assert session.position == position + 1
    assert session.blend.weights.flatten().tolist() == [5.0, -4.0]


def test_double_guidance_turns_bit_by_bit(styled: ModelBundle, folder: Path) -> None:
    stream = play(styled, Open(prompt="a happy song", seed=3, bpm=120.0, style_path=str(folder / "a.wav")))
    list(frames_of(stream, 5))
    stream.add_change(changed(styled, Update(stream=1, double_guidance=5.0, morph=0.4)))
    values = []
    for frame in range(6, 20):
        list(frames_of(stream, frame))
        values.append(round(stream.hearing.double_guidance, 6))
    steps = [1 + 0.4 * step for step in range(1, 11)]  # 0.4 beats at 120 bpm are ten frames
    assert values == [round(min(value, 5.0), 6) for value in (*steps, 5, 5, 5, 5)]


def test_words_alone_without_a_style_hear_no_double_guidance(styled: ModelBundle) -> None:
    plain = Generate(prompt="a happy song", duration=0.4, seed=4)
    weighed = msgspec.structs.replace(plain, double_guidance=5.0)
    assert np.array_equal(codes_of(play(styled, plain)), codes_of(play(styled, weighed)))


def test_streamed_sound_is_the_whole_files(styled: ModelBundle, folder: Path) -> None:
    stream = play(styled, asked(folder, double_guidance=2.0))
    codes: list[np.ndarray[Any, Any]] = []
    sound: list[np.ndarray[Any, Any]] = []

    def events() -> Iterator[object]:
        while not stream.sampler.done:
            yield from stream.advance()

    stream.journaled = True
    for event in events():
        if isinstance(event, AudioBlock):
            sound.append(event.samples)
        elif isinstance(event, stream_module.FramesMade):
            codes.append(event.codes)
    whole = styled.codec.decode(torch.from_numpy(np.concatenate(codes).T.astype(np.int64)))
    np.testing.assert_allclose(np.concatenate(sound).T, whole.numpy(), atol=1e-5)


def test_a_stream_with_a_style_goes_on_from_its_journal(
    styled: ModelBundle, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "_FRAMES_PER_STATE", 16)
    preparation, admission = journals.kit(styled)
    request = Open(prompt="a happy song", seed=5, style_path=str(folder / "a.wav"), double_guidance=2.0)
    request = admission.plan(request, b"").request
    update = admission.styled(Update(stream=1, style_path=str(folder / "b.wav")), b"")
    updates = [(12, update), (50, Update(stream=1, double_guidance=1.0)), (55, Update(stream=1, style_detail=4))]
    whole = journals.play(preparation, admission, request, 80, updates=updates)
    assert len(whole.changes) == 3
    for first in (9, 30, 52, 60):
        again = journals.go_on(preparation, admission, styled, request, whole, first, first + 18)
        length = min(len(again.codes), len(whole.codes) - first)
        assert length > 8
        assert np.array_equal(again.codes[:length], whole.codes[first : first + length]), f"from frame {first}"


@pytest.mark.parametrize("values", [{"style_path": "a.wav"}, {"style_samples": 4}, {"style_codes": "{}"}])
def test_a_model_that_hears_no_styles_says_so(deaf: ModelBundle, folder: Path, values: dict[str, Any]) -> None:
    admission = Admission(deaf, Settings())
    with pytest.raises(RequestError, match="hears styles") as refused:
        admission.plan(Generate(duration=1.0, **values), bytes(16))
    assert refused.value.code is ErrorCode.UNSUPPORTED
    with pytest.raises(RequestError, match="hears styles"):
        admission.styled(Update(stream=1, **values), bytes(16))
    # What belongs to a style and names none changes nothing: a scene may hold it.
    assert admission.change(Update(stream=1, style_path="", style_detail=2, double_guidance=4.0), Directions())


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"style_path": "/nowhere/at/all.wav"}, "style_path"),
        ({"style_start": 100.0}, "style_start"),
        ({"style_length": 1.0}, r"style_length.*1.5 to 4.5"),
        ({"style_length": 20.0}, r"style_length.*1.5 to 4.5"),
        ({"style_detail": 5}, r"style_detail.*to 4"),
        ({"style_path": "", "style_samples": 5}, "style_samples"),
        ({"style_path": "", "style_codes": "{}"}, "style_codes"),
    ],
)
def test_what_is_wrong_is_named(styled: ModelBundle, folder: Path, values: dict[str, Any], match: str) -> None:
    with pytest.raises(RequestError, match=match):
        Admission(styled, Settings()).plan(msgspec.structs.replace(asked(folder), **values), bytes(16))
