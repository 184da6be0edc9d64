"""Clips played by FluidSynth: in time, to the end of their loop; and what is said where it cannot be."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import mido
import numpy as np
import pytest
from numpy.typing import NDArray

from audio_files.soundfonts import find_soundfont, fluidsynth_line
from daw_bridge import clip_sound
from daw_bridge.clip_sound import ClipSound, play_clip
from daw_bridge.midi_clip import MidiClip
from daw_bridge.midi_file import read_midi_clip
from protocols.errors import ErrorCode, RequestError

RATE = 16_000
RIMSHOT = 37
Note = tuple[float, float, int]
"""Start and end in beats, and pitch."""


def missing() -> str:
    try:
        find_soundfont()
    except RequestError as error:
        return error.text
    return "" if shutil.which("fluidsynth") else "the program fluidsynth is not installed"


heard = pytest.mark.skipif(bool(missing()), reason=missing() or "all is there")


def clip(folder: Path, notes: list[Note], *first: mido.Message, channel: int = 9, beats: int = 4) -> MidiClip:
    """At 120 bpm."""
    events = [(start, "note_on", pitch) for start, _, pitch in notes] + [
        (end, "note_off", pitch) for _, end, pitch in notes
    ]
    track, now = mido.MidiTrack(first), 0
    for beat, kind, pitch in sorted(events):
        track.append(mido.Message(kind, note=pitch, velocity=110, channel=channel, time=round(480 * beat) - now))
        now = round(480 * beat)
    track.append(mido.MetaMessage("end_of_track", time=480 * beats - now))
    file = mido.MidiFile(ticks_per_beat=480)
    file.tracks.append(track)
    file.save(folder / "clip.mid")
    return read_midi_clip(folder / "clip.mid", allowed_folders=None)


def played(clip: MidiClip, seconds: Fraction | None = None, rate: int = RATE, channels: int = 1) -> ClipSound:
    return play_clip(clip, clip.length_seconds if seconds is None else seconds, sample_rate=rate, channels=channels)


def onsets(sound: ClipSound, rate: int = RATE) -> list[float]:
    """Seconds at which it becomes loud after 50 ms of less."""
    loud = np.flatnonzero(np.abs(sound.audio[0]) > 0.3 * np.abs(sound.audio[0]).max())
    return [float(at) / rate for at, before in zip(loud, (-rate, *loud), strict=False) if at - before > rate / 20]


def pitch(audio: NDArray[np.float32], rate: int = RATE) -> float:
    """Frequency of the strongest partial, in Hz."""
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return float(np.fft.rfftfreq(len(audio), 1 / rate)[spectrum.argmax()])


@heard
@pytest.mark.parametrize(("seconds", "rate", "channels"), [(2, RATE, 1), (3, 44_100, 2), (Fraction(7, 5), 32_000, 1)])
def test_it_is_in_time_at_any_tempo_and_rate(tmp_path: Path, seconds: Fraction, rate: int, channels: int) -> None:
    hits = [(beat, beat + 0.1, RIMSHOT) for beat in (0, 1, 2.5, 3)]
    sound = played(clip(tmp_path, hits), Fraction(seconds), rate, channels)
    assert sound.audio.shape == (channels, round(rate * Fraction(seconds)))
    assert sound.audio.dtype == np.float32
    assert onsets(sound, rate) == pytest.approx([beat * float(seconds) / 4 for beat in (0, 1, 2.5, 3)], abs=0.012)
    assert 0.05 < np.abs(sound.audio).max() < 0.91


@heard
def test_the_turn_before_still_rings_when_it_begins(tmp_path: Path) -> None:
    ring = [mido.Message("program_change", program=14)]  # tubular bells
    late = played(clip(tmp_path, [(3.5, 4.0, 60)], *ring, channel=0))
    first = np.abs(late.audio[0, : RATE // 4]).max()
    assert first > 0.1 * np.abs(late.audio).max(), "what was struck at the end of the turn before"
    assert np.abs(late.audio[0, -RATE // 4 :]).max() > first


@heard
def test_instruments_and_wheels_are_followed_on_every_channel(tmp_path: Path) -> None:
    flute = mido.Message("program_change", program=73)
    plain = played(clip(tmp_path, [(0, 4, 69)], flute, channel=0))
    assert pitch(plain.audio[0, RATE // 2 : RATE * 3 // 2]) == pytest.approx(440, rel=0.01)
    bent = mido.Message("pitchwheel", pitch=8191)
    higher = played(clip(tmp_path, [(0, 4, 69)], flute, bent, channel=0))
    assert pitch(higher.audio[0, RATE // 2 : RATE * 3 // 2]) == pytest.approx(440 * 2 ** (2 / 12), rel=0.01)
    piano = played(clip(tmp_path, [(0, 4, 69)], channel=0))
    assert np.abs(plain.audio - piano.audio).max() > 0.05


@heard
def test_of_a_long_clip_the_end_is_played(tmp_path: Path) -> None:
    change = mido.Message("program_change", program=73)
    long = clip(tmp_path, [(0, 4, 60), (112, 120, 69)], change, channel=0, beats=120)
    sound = played(long)
    assert (sound.seconds, sound.audio.shape) == (30, (1, 30 * RATE))
    assert pitch(sound.audio[0, 27 * RATE : 28 * RATE]) == pytest.approx(440, rel=0.01), "the flute of its first beat"
    assert np.abs(sound.audio[0, : 25 * RATE]).max() < 0.01 * np.abs(sound.audio).max()


@heard
def test_a_loop_that_is_shorter_than_its_notes_is_cut(tmp_path: Path) -> None:
    flute = mido.Message("program_change", program=73)
    long = clip(tmp_path, [(0, 1, 69), (3, 8, 60)], flute, channel=0, beats=8)
    sound = played(replace(long, length_beats=Fraction(2), length_seconds=Fraction(1)))
    assert sound.audio.shape == (1, RATE)
    assert pitch(sound.audio[0, RATE // 8 : RATE // 2]) == pytest.approx(440, rel=0.01)
    assert np.abs(sound.audio[0, -RATE // 8 :]).max() < 0.1 * np.abs(sound.audio).max(), "not the note after it"


@heard
def test_a_tenth_of_a_second_with_thousands_of_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_sound, "_MOST_EVENTS", 3000)
    chord = [(0.01 * step, 0.01 * step + 0.005, key) for step in range(10) for key in range(40, 90)]
    sound = played(clip(tmp_path, chord, channel=0), Fraction(1, 10))
    assert sound.audio.shape == (1, RATE // 10)


def test_without_the_program_the_line_that_installs_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RequestError) as refused:
        played(clip(tmp_path, [(0, 1, 37)]))
    assert (refused.value.code, refused.value.field) == (ErrorCode.UNSUPPORTED, "fluidsynth")
    assert "fluidsynth.org" in refused.value.allowed
    for manager in ("apt-get", "dnf", "zypper", "pacman", "brew"):
        line = fluidsynth_line(lambda name, manager=manager: name if name == manager else None)
        assert manager.removesuffix("-get") in line
        assert "fluid" in line


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")
class TestPrograms:
    """What stands in for FluidSynth."""

    @pytest.fixture
    def font(self, tmp_path: Path) -> Path:
        (tmp_path / "font.sf2").write_bytes(b"not read")
        return tmp_path / "font.sf2"

    def refused(self, folder: Path, font: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> RequestError:
        program = folder / "bin" / "fluidsynth"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        with pytest.raises(RequestError) as caught:
            play_clip(clip(folder, [(0, 1, 37)]), Fraction(2), sample_rate=RATE, channels=1, soundfont=font)
        return caught.value

    def test_one_that_hangs_is_killed(self, tmp_path: Path, font: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(clip_sound, "LIMIT_SECONDS", 0.5)
        error = self.refused(tmp_path, font, f"echo $$ > {tmp_path}/pid; exec sleep 600", monkeypatch)
        assert "too long" in error.value
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)

    def test_one_that_fails_is_told(self, tmp_path: Path, font: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        error = self.refused(tmp_path, font, "echo no such thing >&2; exit 3", monkeypatch)
        assert (error.code, error.value) == (ErrorCode.UNSUPPORTED, "no such thing")

    def test_one_that_writes_no_sound_is_told(
        self, tmp_path: Path, font: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        silent = "import sys, numpy; numpy.zeros((200000, 2), 'f').tofile(sys.argv[1])"
        find = 'while [ "$1" != -F ]; do shift; done'
        error = self.refused(tmp_path, font, f'{find}; {sys.executable} -c "{silent}" "$2"', monkeypatch)
        assert (error.code, error.field) == (ErrorCode.EMPTY, "soundfont")
