"""A clip played by FluidSynth, as the audio prompt of a model that hears no melodies.

What a model goes on from is the clip in the middle of its loop: the turn before it still rings when it begins, and it ends where it
begins again.
"""

from __future__ import annotations

import io
import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import mido
import numpy as np
import soxr
from numpy.typing import NDArray

from audio_files.channel_mixing import mix_gains
from audio_files.soundfonts import find_soundfont, fluidsynth_line
from daw_bridge.midi_clip import MidiClip
from protocols.errors import ErrorCode, RequestError

PROGRAM = "fluidsynth"
HEARD_SECONDS = 30
"""No model hears more before its new material."""
LIMIT_SECONDS = 20.0
"""FluidSynth plays 30 s of a full score in about one."""

_RING_SECONDS = 4
_MOST_EVENTS = 100_000
_TICK_RATE = 9_600
_LEVEL_DBFS, _PEAK = -20.0, 0.9
_SILENCE = 1e-4
_RATES = (8_000, 96_000)
_MICROSECONDS = 1_000_000
_LOOK_S = 0.005
_OUTPUTS = 2
_FRAME_BYTES = 4 * _OUTPUTS
_NOTE_OFF, _NOTE_ON = 0x80, 0x90


@dataclass(frozen=True)
class ClipSound:
    """A clip as sound.

    Attributes:
        audio: ``[channels, samples]``, float32.
        seconds: how long it is: the clip's length, or `HEARD_SECONDS` of its end.
        soundfont: name of the file it was played with.
    """

    audio: NDArray[np.float32]
    seconds: Fraction
    soundfont: str


def play_clip(
    clip: MidiClip, seconds: Fraction, *, sample_rate: int, channels: int, soundfont: str | Path | None = None
) -> ClipSound:
    """Play all tracks of a clip with their instruments and controllers; system messages are left out. Any thread.

    Args:
        clip: what is played.
        seconds: how long it is at the tempo it is played at.
        sample_rate: of the result, in Hz.
        channels: of the result, 1 or 2.
        soundfont: a General MIDI soundfont; None for the system's.

    Raises:
        RequestError: UNSUPPORTED without FluidSynth (`allowed` is the line that installs it), when it fails or takes longer than
            `LIMIT_SECONDS`; NOT_FOUND without a soundfont; EMPTY when nothing is heard.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise RequestError(ErrorCode.UNSUPPORTED, PROGRAM, "it is not installed", fluidsynth_line())
    try:
        font = find_soundfont(soundfont).resolve()
    except RequestError as error:
        allowed = "an existing file in the setting files.soundfont" if soundfont else fluidsynth_line()
        raise RequestError(error.code, "soundfont", error.value or "there is none", allowed) from None
    heard = min(seconds, Fraction(HEARD_SECONDS))
    rate = min(max(sample_rate, _RATES[0]), _RATES[1])
    # Exact where nothing is resampled: the clip's last sample is the one before it begins again.
    before, length = _RING_SECONDS * rate, max(1, round(heard * rate))
    with tempfile.TemporaryDirectory(prefix="daw-bridge-") as folder:
        score, sound, settings = (Path(folder) / name for name in ("clip.mid", "clip.raw", "none.conf"))
        score.write_bytes(_score(clip, seconds, heard + _RING_SECONDS))
        settings.touch()  # else a file in the user's home counts
        silent = ["-n", "-i", "-q", "-f", str(settings)]
        dry = ["-R", "0", "-C", "0", "-g", "0.5"]
        only = ["-o", f"synth.default-soundfont={font}"]  # else another one stands in for one that cannot be read
        form = ["-r", str(rate), "-T", "raw", "-O", "float", "-F", str(sound)]
        _run([program, *silent, *dry, *only, *form, str(font), str(score)], sound, (before + length) * _FRAME_BYTES)
        with sound.open("rb") as file:
            written = file.read((before + length) * _FRAME_BYTES)
    played = np.frombuffer(written[: len(written) // _FRAME_BYTES * _FRAME_BYTES], np.float32).reshape(-1, _OUTPUTS)
    stereo = np.zeros((length, _OUTPUTS), np.float32)
    stereo[: max(0, len(played) - before)] = played[before:]  # it may have ended before the clip did
    audio = soxr.resample(stereo @ mix_gains(_OUTPUTS, channels), rate, sample_rate, quality="HQ")
    return ClipSound(_levelled(np.ascontiguousarray(audio.T), font), heard, font.name)


def _score(clip: MidiClip, seconds: Fraction, window: Fraction) -> bytes:
    """The last ``window`` seconds of the clip that goes round and round, as a MIDI file in absolute time."""
    stretch = seconds / clip.length_seconds
    events: list[tuple[int, int, bytes]] = []  # tick, what goes first, message
    for turn in range(math.ceil(window / seconds)):  # the last one first: that one must be whole
        first = window - (turn + 1) * seconds
        events = [*_events(clip, first, stretch), *events]
        if len(events) > _MOST_EVENTS:
            break
    return _file(sorted(events, key=lambda event: event[:2]), _tick(window))


def _events(clip: MidiClip, first: Fraction, stretch: Fraction) -> Iterator[tuple[int, int, bytes]]:
    """One turn that begins at ``first``; it is cut where it ends.

    What lies before the window is told when that begins, but for its notes.
    """
    for tick, message in clip.channel_messages:
        seconds = clip.tempo_map.seconds_at(tick)
        if seconds < clip.length_seconds:
            yield _tick(max(Fraction(0), first + stretch * seconds)), 1, message
    for note in clip.notes:
        at = first + stretch * note.start_seconds
        if at >= 0 and note.start_seconds < clip.length_seconds:
            start, end = _tick(at), _tick(first + stretch * min(note.end_seconds, clip.length_seconds))
            yield start, 2, bytes((_NOTE_ON | note.channel, note.pitch, note.velocity))
            yield max(end, start + 1), 0, bytes((_NOTE_OFF | note.channel, note.pitch, 0))


def _tick(seconds: Fraction) -> int:
    return round(seconds * _TICK_RATE)


def _file(events: list[tuple[int, int, bytes]], end: int) -> bytes:
    file = mido.MidiFile(type=0, ticks_per_beat=_TICK_RATE)
    file.tracks.append(mido.MidiTrack(_messages(events, end)))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def _messages(events: list[tuple[int, int, bytes]], end: int) -> Iterator[mido.Message | mido.MetaMessage]:
    yield mido.MetaMessage("set_tempo", tempo=_MICROSECONDS)
    now = 0
    for tick, _, message in events:
        yield mido.Message.from_bytes(message, time=min(tick, end) - now)
        now = min(tick, end)
    yield mido.MetaMessage("end_of_track", time=end + _TICK_RATE - now)  # all of the window is written, and more


def _run(command: list[str], sound: Path, wanted: int) -> None:
    """Run FluidSynth until it has written as many bytes as are wanted.

    It is not waited for: it plays on until the last voice is silent, and one that hangs never is.
    """
    log = sound.with_suffix(".log")
    try:
        with log.open("wb") as said:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
    except OSError as error:
        raise RequestError(ErrorCode.UNSUPPORTED, PROGRAM, str(error), fluidsynth_line()) from error
    deadline = time.monotonic() + LIMIT_SECONDS
    try:
        while process.poll() is None and _size(sound) < wanted:
            if time.monotonic() > deadline:
                allowed = f"FluidSynth to be done within {LIMIT_SECONDS:g} s"
                raise RequestError(ErrorCode.UNSUPPORTED, PROGRAM, "it takes too long", allowed)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_S)
    finally:
        process.kill()
        process.wait()
    if not _size(sound):
        found = log.read_bytes()[:1000].decode(errors="replace").strip() or f"exit code {process.returncode}"
        raise RequestError(ErrorCode.UNSUPPORTED, PROGRAM, found, "FluidSynth 2 that writes its sound into files")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _levelled(audio: NDArray[np.float32], font: Path) -> NDArray[np.float32]:
    peak = float(np.abs(audio).max(initial=0.0))
    if peak < _SILENCE:
        raise RequestError(
            ErrorCode.EMPTY, "soundfont", str(font), "a General MIDI soundfont; nothing is heard of this one"
        )
    level = float(np.sqrt(np.square(audio, dtype=np.float64).mean()))
    return (audio * min(10 ** (_LEVEL_DBFS / 20) / level, _PEAK / peak)).astype(np.float32)
