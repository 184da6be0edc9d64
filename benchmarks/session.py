"""``python -m benchmarks.session``: one session from a host's view, over OSC, recorded and listened to.

A region of a song is selected, a MIDI clip is laid over it, and an endless stream goes on from the region, follows the clip's lead
line and turns from "warm strings" into "distorted guitar" over eight beats. Then the take is read: how well its chroma agrees with
the clip, and how it joins the region. A real engine and a real bridge run as processes; everything that is sent is printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from audio_files.regions import read_region
from audio_files.sidecars import read_sidecar
from benchmarks._figures import show, table
from benchmarks._machine import describe_machine, load
from benchmarks._rig import rig
from benchmarks._seam import seam_figures
from benchmarks.conditioning import cut_to_its_lead, write_clip
from daw_bridge.lead_line import lead_line
from daw_bridge.midi_file import read_midi_clip
from daw_bridge.osc_client import OscClient
from engine.conditioning.melody_line import LoopedLine
from engine.evaluation.chroma import MELODY_RATE, melody_chroma, melody_cosine
from engine.training.composer import Piece, compose
from engine.training.rendering import Renderer
from protocols.bridge_messages import BridgeCancel, BridgeUpdate, FileNotes, PlayOpen, Queued, Sounding
from protocols.errors import RequestError
from protocols.messages import Event, Finished, Reply, Request, Updated

WORDS = ("warm strings", "distorted guitar")
MORPH_BEATS = 8.0
BEATS = 32
"""Of the session; the morph begins after a quarter of them."""
_REGION_RATE = 44_100
_PATIENCE_S = 60.0


@dataclass
class Session:
    """What was said, and what came of it."""

    client: OscClient
    said: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def call(self, request: Request, *given: str) -> Reply:
        """Ask and wait for the answer."""
        self._note(request, given)
        return self.client.call(request, given=given, on_event=self.events.append)

    def open(self, request: PlayOpen, *given: str) -> tuple[int, Any]:
        """Open a stream and wait until it sounds; its number, and what its end will be told by."""
        self._note(request, given)
        pending = self.client.send(request, given=given)
        while not any(isinstance(event, Sounding) for event in self.events):
            self.client.poll(pending, 0.02, on_event=self.events.append)
        return next(event.stream for event in self.events if isinstance(event, Queued)), pending

    def wait(self, seconds: float) -> None:
        """Play on."""
        self.client.hear(seconds, self.events.append)

    def _note(self, request: Request, given: tuple[str, ...]) -> None:
        values = " ".join(f"{name} {getattr(request, name)!r}" for name in given)
        self.said.append(f"/{request.root}/{request.__struct_config__.tag} {values}")


def measure(
    model: str = "pocket", *, seed: int = 3, threads: int = 0, beats: int = BEATS, keep: Path | None = None
) -> dict[str, Any]:
    """Play the session and listen to it.

    Args:
        model: as the engine's setting.
        seed: of the song, whose melody is the clip.
        threads: CPU threads of the model; 0 for the engine's own choice.
        beats: how long the session is.
        keep: a folder for region, clip and take; None keeps nothing.

    Raises:
        RequestError: FluidSynth or its soundfont is missing; see `Renderer`.
    """
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="session-") as scratch:
        folder = Path(scratch) if keep is None else keep
        folder.mkdir(parents=True, exist_ok=True)
        piece = cut_to_its_lead(_song(seed))
        _write_region(piece, folder / "region.wav")
        write_clip(piece, folder / "clip.mid")
        beat = float(60 / piece.bpm)
        with rig(model, threads=threads, output="paced", flags=[f"files.takes={folder / 'takes'}"]) as running:
            session = Session(running.client)
            session.call(FileNotes(name="lead", path=str(folder / "clip.mid")), "name", "path")
            asked = PlayOpen(
                prompt=WORDS[0],
                path=str(folder / "region.wav"),
                notes="lead",
                bpm=float(piece.bpm),
                seed=1,
                save=True,
                name="session",
            )
            number, pending = session.open(asked, "prompt", "path", "notes", "bpm", "seed", "save", "name")
            first = beats / 4
            session.wait(first * beat)
            update = BridgeUpdate(stream=number, prompt=WORDS[1], morph=MORPH_BEATS)
            session.call(update, "stream", "prompt", "morph")
            session.wait((beats - first) * beat)
            session.call(BridgeCancel(stream=number), "stream")
            finished = running.client.poll(pending, _PATIENCE_S, on_event=session.events.append)
        assert isinstance(finished, Finished)
        take, rate = soundfile.read(finished.path, dtype="float32", always_2d=True)
        changes = read_sidecar(str(Path(finished.path).with_suffix(".json")), allowed_folders=[folder])["changes"]
        region = read_region(folder / "region.wav", sample_rate=rate, channels=1, allowed_folders=[folder]).audio[0]
        clip = lead_line(read_midi_clip(folder / "clip.mid", allowed_folders=[folder]))
        sound = take.mean(axis=1)
        chroma = melody_chroma(sound, rate)
        pitches, _ = LoopedLine(clip, Fraction(MELODY_RATE)).at(0, len(chroma))
        updated = next(event for event in session.events if isinstance(event, Updated))
        return {
            "benchmark": "session",
            "model": model,
            "said": [line.replace(str(folder), "…") for line in session.said],
            "bpm": float(piece.bpm),
            "seconds": finished.seconds,
            "note": finished.note,
            "first_sound_ms": finished.first_sound_ms,
            "underruns": finished.underruns,
            "morph": {"from_seconds": updated.seconds, "beats": MORPH_BEATS, "recorded": changes},
            "chroma_cosine": round(melody_cosine(chroma, pitches), 3),
            "chroma_cosine_shifted": round(_shifted(chroma, pitches), 3),
            "seam": {name: round(value, 2) for name, value in seam_figures(region, sound, rate).items()},
            "load_after": load(),
            "machine": machine,
        }


def _shifted(chroma: NDArray[np.float64], pitches: NDArray[np.int64]) -> float:
    """The same of the melody in other keys, the mean of all eleven: what chance gives."""
    moved = (np.where(pitches < 0, pitches, (pitches + step) % 12) for step in range(1, 12))
    return float(np.mean([melody_cosine(chroma, melody) for melody in moved]))


def _song(seed: int) -> Piece:
    """A song in four with a melody."""
    while not (piece := compose(seed)).lead or piece.metre.beats != 4:
        seed += 1
    return piece


def _write_region(piece: Piece, path: Path) -> None:
    """The song in stereo, at a card's rate."""
    renderer = Renderer(sample_rate=_REGION_RATE)
    mix = renderer.render(piece).mix
    renderer.close()
    soundfile.write(path, np.stack((mix, mix), axis=1), _REGION_RATE, subtype="PCM_24")


def describe(result: dict[str, Any]) -> str:
    """A result in words."""
    seam = result["seam"]
    rows = [
        ["chroma of the take, cosine to the clip", result["chroma_cosine"]],
        ["… to the clip in other keys", result["chroma_cosine_shifted"]],
        ["at the seam: jump, in usual steps from sample to sample", seam["jump"]],
        ["at the seam: level after it less the level before it, dB", seam["level_db"]],
        ["first sound, ms", result["first_sound_ms"]],
        ["underruns", result["underruns"]],
    ]
    return "\n".join(result["said"]) + f"\n\n{result['note']}\n\n" + table(["session", ""], rows)


def main(arguments: list[str] | None = None) -> int:
    """Run the session from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.session", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="pocket", help="what the engine loads: a name, a folder, a hub id")
    parser.add_argument("--seed", type=int, default=3, help="of the song")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the model; 0 for the engine's choice")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep region, clip and take here")
    parser.add_argument("--json", action="store_true", help="write the result as JSON")
    options = parser.parse_args(arguments)
    try:
        result = measure(options.model, seed=options.seed, threads=options.threads, keep=options.keep)
    except RequestError as error:
        sys.stderr.write(f"session: {error.text}\n")
        return 2
    show(result, describe(result), as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
