"""Melodies read from sound: equal to the reference for melody models, note by note for those that hear scores."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.conditioning.melody import MelodyCondition, MelodyFacts, chroma
from engine.conditioning.melody_line import ChromaLine, LoopedLine
from engine.conditioning.melody_reading import is_one_voice, read_chroma, read_melody, read_notes
from engine.conditioning.score import SILENCE
from engine.training.composer import compose
from engine.training.rendering import Renderer
from protocols.errors import ErrorCode, RequestError
from protocols.melody import ChromaRow, MelodyLine, decode_melody
from tests.parity.recorded import arrays

RATE = 32_000
FACTS = MelodyFacts(sample_rate=RATE, frame_rate=Fraction(50), window_frames=1500, frames=235)


def sung(notes: Sequence[tuple[float, float, int]], seconds: float, rate: int = RATE) -> Tensor:
    """Struck notes (start, end, pitch) with harmonics, and silence between them."""
    sound = np.zeros(round(seconds * rate))
    for start, end, pitch in notes:
        first, last = round(start * rate), round(end * rate)
        time = np.arange(last - first) / rate
        hertz = 440 * 2 ** ((pitch - 69) / 12)
        tone = sum(0.6**number * np.sin(2 * np.pi * number * hertz * time) for number in range(1, 6))
        sound[first:last] += 0.2 * tone * np.exp(-2 * time) * np.minimum(1, np.minimum(time, time[-1] - time) / 0.01)
    return torch.from_numpy(sound.astype(np.float32))


def times(line: MelodyLine) -> list[tuple[float, float, int]]:
    return [(note.start / line.rate, note.end / line.rate, note.pitch) for note in line.notes]


def test_the_row_is_the_references(golden_dir: Path) -> None:
    utils = arrays(golden_dir / "utils.npz")
    sound = utils["chroma_wav"][0]
    row = read_chroma(sound, FACTS)
    expected = utils["chroma_argmax1"][0].argmax(dim=1).tolist()
    assert row.pitches == expected[: len(row.pitches)]
    assert len(expected) - len(row.pitches) <= 1
    assert row.frame_rate == Fraction(125, 16)
    assert row.seconds == Fraction(len(sound), RATE)


def test_a_melody_model_hears_of_a_row_what_it_heard_of_the_sound() -> None:
    sound = sung([(0, 1, 60), (1, 2, 64), (2, 3, 67)], 3)
    row = decode_melody(read_chroma(sound, FACTS).encode())
    heard = ChromaLine.of_melody(row, FACTS).beginning(Fraction(50))
    frames = 3 * RATE // FACTS.hop_length
    assert heard.window(50)[:frames].tolist() == chroma(sound, FACTS).argmax(dim=1)[:frames].tolist()
    turns = [heard.window(50 + 150 * turn).tolist() for turn in (0, 1, 1000)]
    assert turns[0] == turns[1] == turns[2], "a loop of 3 s does not drift, though it is no whole number of frames"
    assert Fraction(3) * FACTS.rate % 1


def test_a_row_of_another_rate_is_heard_as_notes() -> None:
    row = ChromaRow((50, 1), (2, 1), "0" * 50 + "7" * 50)
    assert torch.equal(
        ChromaLine.of_melody(row, FACTS).beginning(Fraction(0)).window(0),
        ChromaLine.of_line(MelodyLine.of_seconds([(0, 1, 60), (1, 2, 67)], 2), FACTS).beginning(Fraction(0)).window(0),
    )


def test_a_model_that_hears_scores_hears_a_row_too() -> None:
    pitches, onsets = LoopedLine.of_melody(ChromaRow((2, 1), (2, 1), "07-7"), Fraction(4)).at(0, 9)
    assert pitches.tolist() == [0, 0, 7, 7, SILENCE, SILENCE, 7, 7, 0]
    assert np.flatnonzero(onsets).tolist() == [0, 2, 6, 8]


def test_a_period_that_is_no_whole_number_of_frames() -> None:
    heard = MelodyCondition([0, 4, 7], FACTS, rate=Fraction(1), period=Fraction(5, 2)).window(0).tolist()
    moments = [Fraction(index) / FACTS.rate % Fraction(5, 2) for index in range(FACTS.frames)]
    assert heard == [(0, 4, 7)[int(moment)] for moment in moments]


@pytest.mark.parametrize("rate", [16_000, 32_000, 44_100, 48_000])
def test_notes_are_found_where_they_are(rate: int) -> None:
    notes = [(0.0, 0.5, 60), (0.5, 0.75, 64), (0.75, 1.0, 67), (1.5, 2.25, 72), (2.25, 3.0, 72)]
    line = read_notes(sung(notes, 3.2, rate), rate)
    assert line.seconds == Fraction(round(3.2 * rate), rate)
    found = times(line)
    assert [pitch for _, _, pitch in found] == [60, 64, 67, 72, 72], "a note that is struck again is two"
    for (start, end, _), (expected_start, expected_end, _) in zip(found, notes, strict=True):
        assert abs(start - expected_start) < 0.05
        assert abs(end - expected_end) < 0.1


def test_notes_are_read_in_every_octave() -> None:
    for pitch in (43, 55, 67, 79, 91):
        assert {note.pitch % 12 for note in read_notes(sung([(0, 1, pitch)], 1), RATE).notes} == {pitch % 12}


def test_one_voice_is_known_in_any_register_and_left_as_it_is() -> None:
    tune = sung([(0, 0.5, 45), (0.5, 1, 48), (1, 2, 52)], 2)
    chords = sum((sung([(0, 1, pitch), (1, 2, pitch + 5)], 2) for pitch in (55, 60, 64, 69)), torch.zeros(2 * RATE))
    assert is_one_voice(tune, RATE)
    assert not is_one_voice(tune + chords, RATE)
    assert read_melody(tune, RATE, None, "auto").note == "read as one voice: 3 notes"
    assert read_melody(tune, RATE, FACTS, "auto").melody == read_melody(tune, RATE, FACTS, "none").melody
    assert "harmonic filter" in read_melody(tune + chords, RATE, None, "auto").note


def test_the_lead_of_a_mix_is_read() -> None:
    """A few pieces; `benchmarks.conditioning` measures more of them."""
    try:
        renderer = Renderer()
    except RequestError as error:
        pytest.skip(str(error))
    shares: dict[str, list[float]] = {}
    for seed in (5000, 5001, 5003):
        piece = compose(seed)
        rendered = renderer.render(piece)
        frames = 600
        true = piece.chroma(50, frames)
        for name, sound in (("lead", rendered.lead), ("mix", rendered.mix)):
            melody = read_melody(torch.from_numpy(sound[: 12 * RATE]), RATE, None, "harmonic").melody
            read, _ = LoopedLine.of_melody(melody, Fraction(50)).at(0, frames)
            shares.setdefault(name, []).append(float((read == true)[true >= 0].mean()))
    renderer.close()
    assert np.nanmean(shares["lead"]) > 0.9, shares
    assert np.nanmean(shares["mix"]) > 0.8, shares


def test_what_is_read_is_the_same_every_time_and_as_long_as_the_region() -> None:
    sound = torch.cat((sung([(0, 1, 60), (1, 2, 65)], 2), torch.zeros(1234)))
    for facts in (None, FACTS):
        one, two = (read_melody(sound, RATE, facts, "auto") for _ in range(2))
        assert one.melody == two.melody
        assert one.melody.seconds == Fraction(len(sound), RATE)
        assert 0 < one.sounding <= float(one.melody.seconds)
        assert decode_melody(one.melody.encode()) == one.melody


def test_a_short_region_is_heard_as_the_loop_that_it_is() -> None:
    sound = sung([(0, 0.1, 67)], 0.1)
    assert set(read_chroma(sound, FACTS).pitches) == {7}
    with pytest.raises(RequestError) as caught:
        read_melody(sound[:-1], RATE, FACTS, "none")
    assert (caught.value.code, caught.value.field) == (ErrorCode.OUT_OF_RANGE, "melody")


@pytest.mark.parametrize("facts", [None, FACTS])
@pytest.mark.parametrize("level", [0.0, 0.9e-3])
def test_silence_is_nothing_to_follow(facts: MelodyFacts | None, level: float) -> None:
    with pytest.raises(RequestError) as caught:
        read_melody(torch.full((RATE,), level), RATE, facts, "auto")
    assert (caught.value.code, caught.value.field, caught.value.value) == (ErrorCode.EMPTY, "melody", "silence")


def test_sound_without_pitch_is_read_or_refused() -> None:
    noise = torch.randn(RATE, generator=torch.Generator().manual_seed(1)) * 0.1
    click = torch.zeros(RATE)
    click[RATE // 2] = 1.0
    constant = torch.full((RATE,), 0.5)
    for sound in (noise, click, constant):
        for facts in (None, FACTS):
            for separation in ("none", "harmonic"):
                assert read_melody(sound, RATE, facts, separation).melody.seconds == 1


def test_the_model_is_told_of_rests() -> None:
    line = read_notes(sung([(0, 1, 60), (2, 3, 62)], 4), RATE)
    pitches, _ = LoopedLine.of_melody(line, Fraction(50)).at(0, 200)
    assert (pitches[60:95] == SILENCE).all()
    assert (pitches[160:] == SILENCE).all()
