"""From what a host asks of the bridge to what the bridge asks of the engine: files read, clips turned into melodies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from audio_files.regions import read_region
from audio_files.sidecars import read_sidecar
from daw_bridge.again import remake
from daw_bridge.followed_clip import FollowedClip
from daw_bridge.midi_file import read_midi_clip
from daw_bridge.pace import lead_of
from protocols.bridge_messages import (
    BridgeUpdate,
    FileNotes,
    Play,
    PlayAgain,
    Playback,
    PlayContinue,
    PlayMidi,
    PlayOpen,
)
from protocols.fields import fields_of
from protocols.messages import Continue, Generate, Open, Sampling, StreamRequest, Update, Welcome
from protocols.settings import FileSettings


@dataclass(frozen=True)
class Prepared:
    """A request as the engine gets it.

    Attributes:
        message: the request.
        payload: its audio.
        limit: samples after which the stream is over, whatever the engine would still make; None for all of it.
        note: what became of a clip, for people.
    """

    message: StreamRequest
    payload: bytes = b""
    limit: int | None = None
    note: str = ""


def reads_files(request: Playback | PlayAgain) -> bool:
    """Whether a request names a file, which takes a while to read."""
    return not isinstance(request, Play) and bool(getattr(request, "path", ""))


def prepare(
    request: Playback | PlayAgain, welcome: Welcome, files: FileSettings, notes: FollowedClip | None = None
) -> Prepared:
    """Read what a request names and write down what is asked of the engine (any thread).

    Args:
        request: of the host.
        welcome: the engine's facts.
        files: where files may lie, and how long they may be.
        notes: the notes that the request names.

    Raises:
        RequestError: as the readers of files, `FollowedClip` and `remake`.
    """
    if isinstance(request, PlayAgain):
        made = remake(read_sidecar(request.path, allowed_folders=files.allowed_folders), welcome)
        return Prepared(made.message, made.payload, made.samples)
    asked: dict[str, Any] = {name: getattr(request, name) for name in fields_of(Sampling)}
    if isinstance(request, PlayMidi):
        notes = read_clip(request, files)
    seconds, note = 0.0, ""
    if notes is not None:
        played = notes.at(request.bpm)
        seconds, note = float(played.seconds), played.note
        asked |= {
            "prompt": ", ".join(filter(None, (request.prompt, notes.words))),
            "bpm": played.bpm,
            "key": request.key or notes.key,
            "key_hint": notes.key_hint,
            "melody": played.melody,
        }
    payload = b""
    if isinstance(request, PlayContinue | PlayOpen) and request.path:
        payload = _region(request, welcome, files)
        asked |= {"sample_rate": welcome.sample_rate, "channels": welcome.channels}
    match request:
        case PlayOpen(latency=latency):
            return Prepared(Open(lead=max(0.1, latency), **asked), payload, note=note)
        case PlayContinue(duration=seconds):
            return Prepared(Continue(duration=seconds, lead=lead_of(seconds), **asked), payload, note=note)
        case Play(duration=seconds):
            pass
    return Prepared(Generate(duration=seconds, lead=lead_of(seconds), **asked), note=note)


def read_clip(request: PlayMidi | FileNotes, files: FileSettings) -> FollowedClip:
    """The clip of a file that a request names (any thread).

    Raises:
        RequestError: as `read_midi_clip` and `FollowedClip.of_clip`.
    """
    longest = fields_of(Generate)["duration"].maximum or 0.0
    clip = read_midi_clip(request.path, allowed_folders=files.allowed_folders, max_seconds=longest)
    return FollowedClip.of_clip(clip, request.lead)


def update_of(request: Update, notes: FollowedClip | None, bpm: float) -> Update:
    """A host's change of a stream as the engine gets it.

    Args:
        request: of the host.
        notes: the notes that it names.
        bpm: tempo of the stream as far as fields told it, else 0: then it takes that of the notes, so that they have the same beat.

    Raises:
        RequestError: as `FollowedClip.at`.
    """
    values = {name: value for name, value in msgspec.structs.asdict(request).items() if name in fields_of(Update)}
    if notes is not None:
        played = notes.at(request.bpm or bpm)
        values["melody"] = played.melody
        if request.bpm is None and not bpm and played.bpm:
            values["bpm"] = played.bpm
    elif isinstance(request, BridgeUpdate) and request.notes == "":
        values["melody"] = ""
    return Update(**values)


def _region(request: PlayContinue | PlayOpen, welcome: Welcome, files: FileSettings) -> bytes:
    region = read_region(
        request.path,
        start_seconds=request.start,
        length_seconds=request.length or None,
        sample_rate=welcome.sample_rate,
        channels=welcome.channels,
        allowed_folders=files.allowed_folders,
        max_seconds=files.max_region_s,
    )
    return region.audio.T.astype("<f4").tobytes()
