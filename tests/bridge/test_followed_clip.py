"""Clips as requests: which tempo, key, words and melody they ask for."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import mido
import pytest

from daw_bridge.asking import prepare, update_of
from daw_bridge.followed_clip import FollowedClip
from daw_bridge.midi_file import read_midi_clip
from protocols.bridge_messages import BridgeUpdate, Play, PlayMidi, PlayOpen
from protocols.errors import ErrorCode, RequestError
from protocols.melody import MelodyLine
from protocols.messages import Generate, Open, Update
from protocols.settings import FileSettings
from tests.support.facts import WELCOME

A_MINOR = (69, 71, 72, 74, 76, 77, 76, 69)


def write(
    folder: Path, pitches: tuple[int, ...] = A_MINOR, *, channel: int = 0, bpm: float = 92, **signature: Any
) -> Path:
    """A clip of quarter notes."""
    file = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(bpm))])
    if "key" in signature:
        track.append(mido.MetaMessage("key_signature", key=signature["key"]))
    if "metre" in signature:
        numerator, denominator = signature["metre"]
        track.append(mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator))
    for pitch in pitches:
        track.append(mido.Message("note_on", note=pitch, velocity=90, channel=channel))
        track.append(mido.Message("note_off", note=pitch, time=480, channel=channel))
    file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    path = folder / "clip.mid"
    path.write_bytes(buffer.getvalue())
    return path


def clip_of(path: Path, rule: str = "auto") -> FollowedClip:
    return FollowedClip.of_clip(read_midi_clip(path, allowed_folders=None), rule)


def files(folder: Path) -> FileSettings:
    return FileSettings(allowed=[str(folder)], takes=str(folder))


def asked(path: Path, **fields: Any) -> Generate:
    message = prepare(PlayMidi(path=str(path), **fields), WELCOME, files(path.parent)).message
    assert isinstance(message, Generate)
    return message


def test_a_clip_is_asked_for_by_fields_and_not_by_words(tmp_path: Path) -> None:
    message = asked(write(tmp_path), prompt="warm strings", temperature=0.7)
    assert (message.prompt, message.bpm, message.temperature) == ("warm strings", 92.0, 0.7)
    assert message.duration == pytest.approx(8 * 60 / 92)
    line = MelodyLine.decode(message.melody)
    assert [note.pitch for note in line.notes] == list(A_MINOR)
    assert line.seconds == Fraction(8 * 60, 92), (
        "a MIDI file rounds its tempo to microseconds; the engine's bars do not"
    )


def test_a_signed_key_is_said_and_a_heard_one_is_hinted_at(tmp_path: Path) -> None:
    assert (asked(write(tmp_path)).key, asked(write(tmp_path)).key_hint) == ("", "A minor")
    signed = write(tmp_path, key="C")
    assert (asked(signed).key, asked(signed).key_hint) == ("C major", "")
    assert (asked(signed, key="E dorian").key, asked(signed, key="E dorian").key_hint) == ("E dorian", "")
    unclear = write(tmp_path, tuple(range(60, 72)))
    assert (asked(unclear).key, asked(unclear).key_hint) == ("", "")


def test_words_tell_what_fields_cannot(tmp_path: Path) -> None:
    assert asked(write(tmp_path, metre=(4, 4))).prompt == ""
    assert asked(write(tmp_path, metre=(3, 4)), prompt="a song").prompt == "a song, 3/4"
    drums = asked(write(tmp_path, (36, 38, 36, 38), channel=9), prompt="a song")
    assert (drums.prompt, drums.melody, drums.bpm) == ("a song, drums", "", 92.0)


def test_a_compound_metre_counts_its_own_beat(tmp_path: Path) -> None:
    message = asked(write(tmp_path, metre=(6, 8), bpm=90))
    assert (message.prompt, message.bpm) == ("6/8", 60.0)
    assert MelodyLine.decode(message.melody).seconds == message.duration == 6


def test_a_clip_of_drums_has_no_melody_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, (36, 38, 36, 38), channel=9)
    prepared = prepare(PlayMidi(path=str(path)), WELCOME, files(tmp_path))
    assert prepared.note == "clip.mid: 92 bpm, 4/4, drums; only drums play, there is no melody"
    with pytest.raises(RequestError) as refused:
        asked(path, lead="highest")
    assert (refused.value.code, refused.value.field) == (ErrorCode.EMPTY, "path")


@pytest.mark.parametrize("bpm", [46.0, 133.7, 20.0, 300.0])
def test_a_clip_is_played_at_the_tempo_that_is_asked_for(tmp_path: Path, bpm: float) -> None:
    path = write(tmp_path)
    message = asked(path, bpm=bpm)
    exact = Fraction(round(bpm * 1000), 1000)
    assert message.bpm == bpm
    line = MelodyLine.decode(message.melody)
    assert line.seconds == 480 / exact
    assert [note.start * exact / line.rate for note in line.notes] == [60 * beat for beat in range(8)]
    assert f"played at {bpm:g} bpm" in clip_of(path).at(bpm).note
    assert "played" not in clip_of(path).at(92.0).note


def test_a_tempo_that_no_engine_takes_is_told_by_the_notes_alone(tmp_path: Path) -> None:
    path = write(tmp_path, bpm=480)
    played = clip_of(path).at()
    assert (played.bpm, played.seconds, MelodyLine.decode(played.melody).seconds) == (0.0, 1, 1)
    assert clip_of(path).at(120.0).seconds == 4
    for bpm in (10.0, 301.0):
        with pytest.raises(RequestError) as refused:
            clip_of(path).at(bpm)
        assert (refused.value.code, refused.value.field) == (ErrorCode.OUT_OF_RANGE, "bpm")


def test_held_notes_shape_any_request(tmp_path: Path) -> None:
    clip = clip_of(write(tmp_path, key="C"))
    played = prepare(Play(prompt="x", notes="tune", duration=7.0), WELCOME, files(tmp_path), clip)
    assert isinstance(played.message, Generate)
    assert (played.message.duration, played.message.bpm, played.message.key) == (7.0, 92.0, "C major")
    assert MelodyLine.decode(played.message.melody).seconds == Fraction(480, 92)
    opened = prepare(PlayOpen(prompt="x", notes="tune", bpm=46.0), WELCOME, files(tmp_path), clip)
    assert isinstance(opened.message, Open)
    assert MelodyLine.decode(opened.message.melody).seconds == Fraction(480, 46)
    assert opened.note == "clip.mid: 92 bpm, 4/4, C major, played at 46 bpm"
    without = prepare(Play(prompt="x"), WELCOME, files(tmp_path))
    assert (without.message.melody, without.message.key_hint, without.note) == ("", "", "")


def test_an_update_brings_notes_to_the_beat_of_the_stream(tmp_path: Path) -> None:
    clip = clip_of(write(tmp_path))

    def seconds(update: Update) -> Fraction:
        assert update.melody
        return MelodyLine.decode(update.melody).seconds

    notes = BridgeUpdate(stream=3, notes="tune")
    running = update_of(notes, clip, 120.0)
    assert (running.bpm, seconds(running)) == (None, 4)
    unknown = update_of(notes, clip, 0.0)
    assert (unknown.bpm, seconds(unknown)) == (92.0, Fraction(480, 92))
    both = update_of(BridgeUpdate(stream=3, notes="tune", bpm=60.0), clip, 120.0)
    assert (both.bpm, seconds(both)) == (60.0, 8)
    assert update_of(BridgeUpdate(stream=3, notes=""), None, 120.0) == Update(stream=3, melody="")
    assert update_of(BridgeUpdate(stream=3, prompt="x"), None, 120.0) == Update(stream=3, prompt="x")


@pytest.mark.parametrize(
    ("sign", "metre"), [((5, 4), "5/4"), ((7, 8), "7/8"), ((6, 8), "6/8"), ((4, 4), ""), ((4, 1), "")]
)
def test_a_clips_metre_is_told_beside_its_tempo(tmp_path: Path, sign: tuple[int, int], metre: str) -> None:
    clip = write(tmp_path, metre=sign)
    assert asked(clip).metre == metre
    assert asked(clip, metre="3/4").metre == "3/4"
    followed = FollowedClip.of_clip(read_midi_clip(clip, allowed_folders=[tmp_path]))
    assert update_of(BridgeUpdate(stream=1, notes="x"), followed, 0.0).metre == (metre or None)
    assert update_of(BridgeUpdate(stream=1, notes="x"), followed, 92.0).metre is None
