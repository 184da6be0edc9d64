"""The whole way once, as a host goes it: a MIDI clip and an audio region in over OSC, takes out, measured."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audio_files.measure import Measurement, measure
from audio_files.sidecars import read_sidecar
from daw_bridge.cli.failures import before_asking
from daw_bridge.cli.session import any_bridge
from daw_bridge.osc_client import OscClient
from protocols.bridge_messages import Playback, PlayContinue, PlayMidi
from protocols.errors import RequestError
from protocols.messages import Finished

BPM = 100
BARS = 4
CONTINUATION_S = 4.0
_SEED = 20_240
_REGION_RATE = 44_100
_REGION_S = 6.0
_MELODY = (60, 64, 67, 72, 71, 67, 64, 62, 60, 65, 69, 72, 71, 67, 62, 60)
_TICKS = 480
_TOLERANCE_S = 0.03
_AUDIBLE_DBFS = -50.0
_MOST_SILENCE = 0.5
_REQUEST_S = 600.0
_SIDECAR_NEEDS = ("seed", "model", "request", "host_request", "reason")


@dataclass(frozen=True)
class TakeReport:
    """One take, measured. Levels and spectrum are in ``measurement``, in one text in ``measured``."""

    request: str
    path: str
    sidecar: str
    wanted_seconds: float
    measurement: Measurement
    measured: str
    first_sound_ms: float
    underruns: int
    seed: int
    model: str
    status: str


@dataclass(frozen=True)
class SelfTest:
    """What came out; all is well when there are no faults."""

    folder: str
    takes: list[TakeReport]
    faults: list[str]


def run_selftest(flags: Sequence[str], *, keep: bool = False, note: Callable[[str], None]) -> SelfTest:
    """Start an engine and a bridge of their own, send both kinds of material through, measure the takes.

    Args:
        flags: settings; ports and takes folder are the test's own.
        keep: leave the folder with the material and the takes.
        note: hears what takes a while.

    Raises:
        CannotStart: the engine or the bridge did not start.
    """
    folder = Path(tempfile.mkdtemp(prefix="daw-bridge-selftest-"))
    try:
        (folder / "takes").mkdir()
        clip = write_clip(folder / "melody.mid")
        region = write_region(folder / "tones.wav")
        requests: list[tuple[Playback, float]] = [
            (PlayMidi(path=str(clip), prompt="warm strings", seed=_SEED), BARS * 4 * 60 / BPM),
            (
                PlayContinue(
                    path=str(region), start=1.0, length=3.5, duration=CONTINUATION_S, prompt="warm strings", seed=_SEED
                ),
                CONTINUATION_S,
            ),
        ]
        takes: list[TakeReport] = []
        faults: list[str] = []
        own = [*flags, f"files.takes={folder / 'takes'}"]
        with any_bridge(own, fresh=True, readable=[clip, region], note=note) as session:
            for request, seconds in requests:
                name = str(type(request).__struct_config__.tag)
                note(f"{name} …")
                try:
                    report, wrong = _perform(session.client, name, request, seconds)
                    takes.append(report)
                    faults += wrong
                except RequestError as error:
                    faults.append(f"{name}: {error.text}")
        return SelfTest(str(folder) if keep else "", takes, faults)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def write_clip(path: Path) -> Path:
    """A melody of four bars in C major at 100 bpm, as a host exports it: format 1, a tempo track and a note track."""
    import mido

    song = mido.MidiFile(type=1, ticks_per_beat=_TICKS)
    tempo, notes = mido.MidiTrack(), mido.MidiTrack()
    song.tracks += [tempo, notes]
    tempo.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(BPM)))
    tempo.append(mido.MetaMessage("time_signature", numerator=4, denominator=4))
    tempo.append(mido.MetaMessage("end_of_track", time=BARS * 4 * _TICKS))
    for pitch in _MELODY:
        notes.append(mido.Message("note_on", note=pitch, velocity=90, time=_TICKS // 8))
        notes.append(mido.Message("note_off", note=pitch, velocity=0, time=_TICKS - _TICKS // 8))
    with before_asking():
        song.save(path)
    return path


def write_region(path: Path) -> Path:
    """Six seconds of a slow chord in stereo at 44.1 kHz, 24 bits."""
    import soundfile

    time = np.arange(round(_REGION_S * _REGION_RATE)) / _REGION_RATE
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * time * BPM / 60 / 4)
    left, right = (
        sum(
            np.sin(2 * np.pi * hz * (1 + detune) * time) / (n + 1)
            for n, hz in enumerate((220.0, 277.18, 329.63, 440.0))
        )
        for detune in (-0.001, 0.001)
    )
    audio = 0.2 * np.stack([left * swell, right * swell], axis=1)
    soundfile.write(path, audio, _REGION_RATE, subtype="PCM_24")
    return path


def _perform(client: OscClient, name: str, request: Playback, seconds: float) -> tuple[TakeReport, list[str]]:
    """Carry one request out and measure its take: the report, and what is wrong with it.

    Raises:
        RequestError: it was refused, or its take cannot be read or holds samples that are not finite.
    """
    import soundfile

    finished = client.call(request, timeout=_REQUEST_S)
    assert isinstance(finished, Finished)
    path = Path(finished.path)
    sidecar = path.with_suffix(".json")
    content = read_sidecar(sidecar)
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    measured = measure(audio.T, rate)
    report = TakeReport(
        request=name,
        path=str(path),
        sidecar=str(sidecar),
        wanted_seconds=seconds,
        measurement=measured,
        measured=str(measured),
        first_sound_ms=finished.first_sound_ms,
        underruns=finished.underruns,
        seed=finished.seed,
        model=str(content.get("model", "")),
        status=str(content.get("status", "")),
    )
    missing = [field for field in _SIDECAR_NEEDS if field not in content]
    found = {
        f"ended because {finished.reason}": finished.reason != "done",
        f"is {measured.seconds:.3f} s long instead of {seconds:.3f} s": abs(measured.seconds - seconds) > _TOLERANCE_S,
        f"is at {measured.rms_dbfs:.1f} dBFS, which nobody hears": measured.rms_dbfs < _AUDIBLE_DBFS,
        f"is silent for {measured.silent_share:.0%} of its length": measured.silent_share > _MOST_SILENCE,
        f"ran dry {finished.underruns} times": finished.underruns > 0,
        "never sounded": not finished.first_sound_ms,
        f"has a sidecar without {', '.join(missing)}": bool(missing),
        f"has the seed {content.get('seed')} in its sidecar": content.get("seed") != request.seed,
    }
    return report, [f"{name}: the take {fault}" for fault, wrong in found.items() if wrong]
