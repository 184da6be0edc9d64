"""JASCO: latents and sound as AudioCraft makes them, from words, chords, drums and written melodies, as a stream of the engine."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from msgspec import structs
from torch import Tensor

from engine.checkpoints import load_model
from engine.checkpoints.audiocraft.chords import read_chord_numbers
from engine.conditioning.jasco import LOWEST_NOTE, ChordNumbers, blurred, melody_matrix
from engine.journal.log import Header, Journal
from engine.journal.resuming import resumed_plan
from engine.models import LoadedModel
from engine.preparation import PreparedStream
from engine.runtime.ode import Pieces, dormand_prince, euler
from engine.stream import AudioBlock, EngineEvent, FramesMade
from protocols.chords import ChordChange, read_chords
from protocols.errors import RequestError
from protocols.melody import MelodyLine, MelodyNote
from protocols.messages import Continue, Generate, Open, Recipe, Resume, StreamRequest, Update
from protocols.release import VERSION
from protocols.settings import FileSettings, Settings
from tests.support.jasco_checkpoint import CHORDS, TEXT, write_jasco_checkpoint

FIGURES = json.loads((Path(__file__).parent / "figures" / "jasco.json").read_text())
MELODY = '{"rate": 50, "length": 50, "notes": [[0, 20, 60], [25, 40, 64]]}'


def loaded(folder: Path, dtype: str = "float32", **settings: Any) -> LoadedModel:
    write_jasco_checkpoint(folder, **settings)
    files = FileSettings(allowed=[str(folder.parent.parent)])
    return LoadedModel(load_model(str(folder), device="cpu", dtype=dtype), Settings(files=files))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, LoadedModel]:
    return {skips: loaded(tmp_path_factory.mktemp("jasco") / "tiny", skips=skips) for skips in (True, False)}


@pytest.fixture
def model(models: dict[bool, LoadedModel]) -> LoadedModel:
    return models[True]


@pytest.fixture(scope="module")
def drums(models: dict[bool, LoadedModel]) -> Path:
    folder = models[True].bundle.folder
    assert folder is not None
    sound = np.random.RandomState(2).standard_normal(32_000).astype(np.float32) * np.float32(0.1)
    soundfile.write(folder / "drums.wav", sound, 32_000, subtype="FLOAT")
    return folder / "drums.wav"


def prepared(model: LoadedModel, request: StreamRequest) -> PreparedStream:
    return model.preparation.prepare(1, model.admission.plan(request, b""))


def played(model: LoadedModel, request: StreamRequest) -> tuple[Tensor, np.ndarray]:
    """The latents and the sound."""
    stream = prepared(model, request).stream
    stream.journaled = True
    latents, blocks = [], []
    advance = stream.sampler.advance

    def watched(*shared: Tensor | None) -> Tensor | None:
        made = advance(*shared)
        if made is not None:
            latents.append(made[0].T)
        return made

    stream.sampler.advance = watched  # type: ignore[method-assign]
    while not stream.sampler.done:
        for event in stream.advance():
            assert not isinstance(event, FramesMade), "no journal holds latents"
            if isinstance(event, AudioBlock):
                blocks.append(event.samples)
    return torch.cat(latents), np.concatenate(blocks)[:, 0]


@pytest.mark.parametrize("case", FIGURES["cases"], ids=lambda case: f"seed{case['seed']}skips{case['skips']}")
def test_latents_and_sound_are_those_of_audiocraft(
    models: dict[bool, LoadedModel], drums: Path, case: dict[str, Any]
) -> None:
    request = Generate(
        prompt=TEXT,
        duration=case.get("dur", 1.0),
        seed=case["seed"],
        chords="C 0, F/C 0.4, G7 0.7" if case.get("chords") else "",
        drums=str(drums) if case.get("drums") else "",
        melody=MELODY if case.get("melody") else "",
        guidance=case.get("all", 5.0),
        text_guidance=case.get("txt", 0.0),
        steps=str(case.get("steps", "")),
    )
    latents, sound = played(models[case["skips"]], request)
    torch.testing.assert_close(latents[::7], torch.tensor(case["latents"]), atol=2e-4, rtol=0)
    np.testing.assert_allclose(sound[1000:16000:3000], case["wav"], atol=5e-3)


def test_with_matrices_of_few_bits_it_is_smaller_and_sounds_nearly_the_same(model: LoadedModel, tmp_path: Path) -> None:
    rounded = loaded(tmp_path / "tiny", "int8")
    assert (rounded.bundle.precision, model.bundle.precision) == ("int8", "float32")
    assert rounded.weights_mb < model.weights_mb
    request = Generate(prompt=TEXT, duration=1.0, seed=1)
    exact, near = (played(one, request)[0].flatten() for one in (model, rounded))
    assert not torch.equal(exact, near)
    assert float(torch.corrcoef(torch.stack((exact, near)))[0, 1]) > 0.99


def test_a_take_is_made_again_from_its_request_without_the_file_of_drums(model: LoadedModel, drums: Path) -> None:
    asked = Generate(prompt=TEXT, duration=0.4, seed=8, drums=str(drums), drums_start=0.1, steps="3")
    request = model.admission.plan(asked, b"").request
    assert (request.drums, len(request.drums_codes)) == ("", 136)
    first, again = played(model, asked), played(model, structs.replace(request, script="[]"))
    assert torch.equal(first[0], again[0])
    late = played(model, structs.replace(request, from_frame=12))
    assert len(late[1]) == 8 * 640
    np.testing.assert_allclose(late[1], first[1][12 * 640 :], atol=1e-3)


def test_a_stream_that_broke_off_goes_on_from_any_frame(model: LoadedModel) -> None:
    request = Generate(prompt=TEXT, duration=0.4, seed=8, steps="3")
    bundle = model.bundle
    kept = {name: value for name, value in structs.asdict(request).items() if name not in ("script", "fingerprint")}
    recipe = Recipe(
        stream=1,
        request={"type": "generate", **kept},
        seed=8,
        model=bundle.name,
        fingerprint=bundle.fingerprint,
        status=bundle.status,
        device="cpu",
        dtype="float32",
        engine_version=VERSION,
        torch_version=str(torch.__version__),
        codebooks=4,
        prompt_codes=b"",
        changes=[],
    )
    header = Header(recipe=recipe, began=0, sample_rate=32_000, frame_samples=640)
    codes = np.empty((0, 4), np.uint16)
    journal = Journal(header=header, frames=0, codes=codes, states=[], changes=[], levels=[], end=None)
    plan = resumed_plan(journal, Resume(journal="x", frame=12), model.admission)
    sound = np.concatenate(
        [event.samples for event in run(model.preparation.prepare(1, plan)) if isinstance(event, AudioBlock)]
    )[:, 0]
    np.testing.assert_allclose(sound, played(model, request)[1][12 * 640 :], atol=1e-3)


def run(prepared: PreparedStream) -> Iterator[EngineEvent]:
    while not prepared.stream.sampler.done:
        yield from prepared.stream.advance()


def test_notes_say_what_is_heard(model: LoadedModel, drums: Path) -> None:
    request = Generate(prompt=TEXT, duration=0.4, chords="C 0", drums=str(drums), text_guidance=1, steps="3")
    note = prepared(model, request).note
    assert "in 3 Euler steps, from chords, drums, at guidance 5, 1 by the words" in note
    assert "taken as they are" in note
    assert "from words alone" in prepared(model, Generate(prompt=TEXT, duration=0.4)).note


def test_a_piece_of_work_is_a_few_layers(model: LoadedModel) -> None:
    stream = prepared(model, Generate(prompt=TEXT, duration=1.0, steps="3")).stream
    pieces = 0
    while not stream.frames:
        stream.advance()
        pieces += 1
    assert pieces >= 3
    other = loaded_piece(model, 10)
    assert other > pieces


def loaded_piece(model: LoadedModel, piece: int) -> int:
    network: Any = model.bundle.lm
    before, network._piece = network._piece, piece
    try:
        stream = prepared(model, Generate(prompt=TEXT, duration=1.0, steps="3")).stream
        pieces = 0
        while not stream.frames:
            stream.advance()
            pieces += 1
        return pieces
    finally:
        network._piece = before


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (Generate(duration=1.1), "duration"),
        (Open(), "request"),
        (Continue(path="/x.wav"), "request"),
        (Generate(duration=0.5, sections="0.2 loud"), "sections"),
        (Generate(duration=0.5, script='[{"frame": 1, "seed": 2}]'), "script"),
        (Generate(duration=0.5, chords="H 0"), "chords"),
        (Generate(duration=0.5, chords="C"), "chords"),
        (Generate(duration=0.5, chords="C 2b"), "chords"),
        (Generate(duration=0.5, steps="20 10"), "steps"),
        (Generate(duration=0.5, drums="/nowhere.wav"), "drums"),
        (Generate(duration=0.5, drums_codes="!"), "drums_codes"),
    ],
)
def test_what_it_cannot_make_is_refused(model: LoadedModel, request_: StreamRequest, field: str) -> None:
    with pytest.raises(RequestError) as refusal:
        model.admission.plan(request_, b"")
    assert refusal.value.field == field


def test_nothing_changes_while_a_segment_is_made(model: LoadedModel) -> None:
    directions = model.admission.plan(Generate(duration=0.5), b"").directions
    with pytest.raises(RequestError, match="one piece"):
        model.admission.change(Update(stream=1, prompt="x"), directions)


def test_a_model_without_its_list_of_chords_makes_music_but_no_chords(tmp_path: Path) -> None:
    model = loaded(tmp_path / "tiny")
    (tmp_path / "tiny" / "chord_to_index_mapping.json").unlink()
    prepared(model, Generate(duration=0.5))
    with pytest.raises(RequestError, match="AudioCraft's assets"):
        model.admission.plan(Generate(duration=0.5, chords="C 0"), b"")
    (tmp_path / "chords.pkl").write_bytes(pickle.dumps(CHORDS))
    settings = Settings()
    settings = structs.replace(
        settings, engine=structs.replace(settings.engine, chord_list=str(tmp_path / "chords.pkl"))
    )
    plan = LoadedModel(model.bundle, settings).admission.plan(Generate(duration=0.5, chords="C 0"), b"")
    assert plan.request.chords == "C 0"


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b'{"N": 0, "C": 500}', b'{"C": 1}', b'{"N": true}', pickle.dumps({"N": print}), pickle.dumps([1])],
)
@pytest.mark.parametrize("suffix", [".json", ".pkl"])
def test_a_damaged_list_of_chords_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"list{suffix}"
    path.write_bytes(content)
    with pytest.raises(RequestError) as refusal:
        read_chord_numbers(path, 194)
    assert refusal.value.field == "chords"


def test_chords_are_known_however_they_are_spelt() -> None:
    numbers = ChordNumbers(CHORDS)
    for name, spelt in (("C#m7", "Dbmin7"), ("Abmaj7", "G#M7"), ("Bb", "A#maj"), ("F/C", "F/C"), ("N", "N.C.")):
        assert numbers.number(spelt) == CHORDS[name]
    with pytest.raises(RequestError, match="a chord that the model knows"):
        numbers.number("F/D")
    changes = (ChordChange("G7", Fraction(2), beats=True), ChordChange("C", Fraction("0.1")))
    frames = numbers.frames(changes, 120, Fraction(50), 60).tolist()
    assert frames == [CHORDS["N"]] * 5 + [CHORDS["C"]] * 45 + [CHORDS["G7"]] * 10
    assert read_chords(" C 0 , F#m7 1.5s,G 4b") == (
        ChordChange("C", Fraction(0)),
        ChordChange("F#m7", Fraction("1.5")),
        ChordChange("G", Fraction(4), beats=True),
    )


def test_a_written_melody_is_a_matrix_exactly() -> None:
    notes = (MelodyNote(0, 30, 60), MelodyNote(41, 42, 62), MelodyNote(45, 60, 20), MelodyNote(60, 80, 120))
    matrix = melody_matrix(MelodyLine(100, 100, notes), Fraction(50), 120, 53)
    heard = [int(row.argmax()) + LOWEST_NOTE if row.any() else -1 for row in matrix]
    # 20 is told as 44, two octaves above, and 120 as 84.
    turn = [60] * 15 + [-1] * 5 + [62] + [-1] * 2 + [44] * 7 + [84] * 10 + [-1] * 10
    assert heard == (turn * 3)[:120]
    assert matrix.sum(dim=1).max() == 1


def test_drums_are_blurred_in_runs() -> None:
    latents = torch.arange(7.0)[:, None]
    assert blurred(latents, 3)[:, 0].tolist() == [1, 1, 1, 4, 4, 4, pytest.approx((6 + 5 + 4) / 3)]


def test_both_solvers_follow_a_known_flow() -> None:
    def circle(moment: Tensor, state: Tensor) -> Pieces:
        yield None
        return torch.stack((-state[1], state[0])) * 2 * moment

    def solved(pieces: Pieces) -> Tensor:
        try:
            while True:
                next(pieces)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    begun = torch.tensor([1.0, 0.0])
    expected = torch.tensor([np.cos(1.0), np.sin(1.0)], dtype=torch.float32)
    torch.testing.assert_close(solved(dormand_prince(circle, begun, end=1.0)), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(solved(euler(circle, begun, 1000)), expected, atol=3e-3, rtol=0)

    def wild(moment: Tensor, state: Tensor) -> Pieces:
        yield None
        return state * float("nan")

    with pytest.raises(RuntimeError, match="no solution"):
        solved(dormand_prince(wild, begun, end=1.0))


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"compression_model_latent_std": 0}, "compression_model_latent_std"),
        ({"transformer_lm.chords_dim": 7}, "transformer_lm.chords_dim"),
        ({"transformer_lm.num_layers": 3}, "transformer_lm.num_layers"),
        ({"transformer_lm.causal": True}, "transformer_lm.causal"),
        ({"transformer_lm.flow_dim": 128}, "transformer_lm.flow_dim"),
        ({"conditioners.melody.model": "chroma_stem"}, "conditioners.melody.model"),
        ({"conditioners.melody.melody.card": 12}, "model"),
        ({"compression_model_framerate": 25}, "compression_model_framerate"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path, settings: dict[str, Any], key: str) -> None:
    with pytest.raises(RequestError) as refusal:
        loaded(tmp_path / "tiny", settings=settings)
    assert refusal.value.field == key
