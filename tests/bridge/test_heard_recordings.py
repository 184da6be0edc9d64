"""Audio regions as melodies: what the engine is asked to read, and what becomes of what it read."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from daw_bridge.asking import prepare, update_of
from daw_bridge.followed_clip import FollowedClip
from daw_bridge.heard_recordings import region_of
from daw_bridge.note_lists import NoteLists
from protocols.bridge_messages import AudioNotes, BridgeUpdate, Play, PlayOpen
from protocols.errors import ErrorCode, RequestError
from protocols.melody import ChromaRow, MelodyLine
from protocols.messages import Generate, Open, ReadMelody
from protocols.settings import FileSettings
from tests.support.facts import WELCOME

LINE = MelodyLine.of_seconds([(0, 1, 60), (1, 2, 67)], Fraction(44_101, 22_050))
ROW = ChromaRow.of_pitches([0, 7, 7, -1], Fraction(2), Fraction(2))


def files(folder: Path) -> FileSettings:
    return FileSettings(allowed=[str(folder)], takes=str(folder))


@pytest.mark.parametrize("melody", [LINE, ROW])
def test_a_recorded_melody_is_followed_without_a_tempo_of_its_own(
    tmp_path: Path, melody: MelodyLine | ChromaRow
) -> None:
    held = FollowedClip.of_recording(melody, "tune.wav: read")
    assert (held.seconds, held.note_count) == (melody.seconds, 2)
    for bpm in (0.0, 97.0):
        played = held.at(bpm)
        assert (played.bpm, played.melody, played.seconds) == (bpm, melody.encode(), melody.seconds)
        prepared = prepare(Play(prompt="strings", bpm=bpm), WELCOME, files(tmp_path), held)
        message = prepared.message
        assert isinstance(message, Generate)
        assert (message.prompt, message.bpm, message.key, message.key_hint) == ("strings", bpm, "", "")
        assert message.melody == melody.encode()
        assert prepared.note == "tune.wav: read"
    opened = prepare(PlayOpen(prompt="strings"), WELCOME, files(tmp_path), held).message
    assert isinstance(opened, Open)
    assert opened.melody == melody.encode()
    with pytest.raises(RequestError, match="bpm"):
        held.at(7.0)


def test_an_update_to_a_recorded_melody_leaves_the_tempo(tmp_path: Path) -> None:
    held = FollowedClip.of_recording(LINE, "tune.wav")
    for bpm in (0.0, 120.0):
        update = update_of(BridgeUpdate(stream=1, notes="x"), held, bpm)
        assert (update.bpm, update.melody) == (None, LINE.encode())
    assert update_of(BridgeUpdate(stream=1, notes="x", bpm=90.0), held, 120.0).bpm == 90.0


def test_a_model_that_hears_no_melody_is_told_so(tmp_path: Path) -> None:
    deaf = msgspec.structs.replace(WELCOME, melodies=False)
    prepared = prepare(Play(prompt="strings"), deaf, files(tmp_path), FollowedClip.of_recording(LINE, "tune.wav"))
    assert prepared.message.melody == ""
    assert prepared.note == "tune.wav; this model hears no melody: what was read from the recording is left out"


def test_the_engine_gets_the_regions_samples_in_mono_at_its_own_rate(tmp_path: Path) -> None:
    sound = np.stack([np.full(44_100, 0.25), np.full(44_100, 0.75)], axis=1)
    soundfile.write(tmp_path / "a.wav", sound, 44_100, subtype="FLOAT")
    request = AudioNotes(name="x", path=str(tmp_path / "a.wav"), start=0.25, length=0.5, separation="harmonic")
    message, samples, note = region_of(request, WELCOME, files(tmp_path))
    assert message == ReadMelody(separation="harmonic", sample_rate=32_000)
    audio = np.frombuffer(samples, "<f4")
    assert len(audio) == 16_000
    assert np.allclose(audio[1000:-1000], 0.5, atol=1e-3)
    assert note == ""
    beyond = msgspec.structs.replace(request, length=2.0)
    assert region_of(beyond, WELCOME, files(tmp_path))[2] == "the file ends 1.25 s before the region does"


def test_a_region_that_no_message_holds_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(10 * 32_000), 32_000)
    with pytest.raises(RequestError) as caught:
        region_of(AudioNotes(name="x", path=str(tmp_path / "a.wav")), WELCOME, files(tmp_path))
    assert (caught.value.code, caught.value.field, caught.value.value) == (ErrorCode.TOO_LONG, "length", "10.000 s")
    assert caught.value.allowed.startswith("at most 8 s")


def test_a_recorded_melody_is_kept_like_notes() -> None:
    lists = NoteLists()
    assert lists.keep("max", "tune", FollowedClip.of_recording(ROW, "tune.wav")).held == 2
    assert lists.clip("max", "tune").at().melody == ROW.encode()
    with pytest.raises(RequestError, match="not_found"):
        lists.clip("pd", "tune")
    with pytest.raises(RequestError, match="empty"):
        lists.keep("max", " ", FollowedClip.of_recording(ROW, "tune.wav"))
