"""From what a host asks of the bridge to what the bridge asks of the engine: files read, clips turned into melodies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from audio_files.coded_files import file_of_codes, is_coded
from audio_files.regions import Region, read_region
from audio_files.sidecars import read_sidecar
from daw_bridge.again import remake
from daw_bridge.asked import Asked
from daw_bridge.clip_sound import play_clip
from daw_bridge.followed_clip import FollowedClip, PlayedClip
from daw_bridge.midi_clip import MidiClip
from daw_bridge.midi_file import read_midi_clip
from daw_bridge.pace import lead_of
from daw_bridge.steering.opening import steering_of
from daw_bridge.steering.steered import UNSTEERED, Steering, names_file
from daw_bridge.style_sound import sent_along, style_sound
from daw_bridge.wording import Facts, Template, Wording
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
from protocols.errors import ErrorCode, RequestError
from protocols.fields import fields_of
from protocols.messages import (
    PROMPT_SEPARATOR,
    Continue,
    Generate,
    Open,
    Resume,
    Sampling,
    StreamRequest,
    Update,
    Welcome,
)
from protocols.sections import Section, read_sections, write_sections
from protocols.settings import FileSettings


@dataclass(frozen=True)
class Prepared:
    """A request as the engine gets it.

    Attributes:
        message: the request.
        payload: its audio.
        limit: samples after which the stream is over, whatever the engine would still make; None for all of it.
        note: what became of a clip, for people.
        wording: what the words are made of; None where a sidecar tells them.
        began_at: sample of the engine's stream, as its journal counts them, with which the sound begins.
        skip: samples that the engine sends before that one.
        steering: how its sound is steered.
        sections: the words of its sections, in order, as the host told them.
    """

    message: StreamRequest | Resume
    payload: bytes = b""
    limit: int | None = None
    note: str = ""
    wording: Wording | None = None
    began_at: int = 0
    skip: int = 0
    steering: Steering = UNSTEERED
    sections: tuple[str, ...] = ()


def wording_of(message: StreamRequest | Resume) -> Wording:
    """What the words of a request are made of that tells them itself."""
    if isinstance(message, Resume):
        return Wording()
    facts = Facts(message.bpm, message.key, prompt=message.prompt, metre=message.metre)
    return Wording(facts=facts, asked=Asked().after(message, None))


def takes_a_while(request: Playback | PlayAgain, welcome: Welcome, notes: FollowedClip | None) -> bool:
    """Whether a request names a file, which is read, or notes that are played to a model which hears no melody."""
    reads = not isinstance(request, Play) and bool(getattr(request, "path", ""))
    reads |= bool(getattr(request, "style_path", ""))
    reads |= isinstance(request, PlayOpen) and request.govern and names_file(request.reference)
    return reads or (notes is not None and not welcome.melodies)


def prepare(
    request: Playback | PlayAgain,
    welcome: Welcome,
    files: FileSettings,
    notes: FollowedClip | None = None,
    template: Template | None = None,
) -> Prepared:
    """Read what a request names and write down what is asked of the engine (any thread).

    Args:
        request: of the host.
        welcome: the engine's facts.
        files: where files may lie, and how long they may be.
        notes: the notes that the request names.
        template: the prompt template that it names.

    Raises:
        RequestError: as the readers of files, `FollowedClip`, `Wording` and `remake`.
    """
    if isinstance(request, PlayAgain):
        sidecar = read_sidecar(request.path, allowed_folders=files.allowed_folders)
        made, steering = remake(sidecar, welcome), Steering.again(sidecar)
        began_at = made.message.from_frame * welcome.frame_samples + made.skipped
        return Prepared(
            made.message, made.payload, made.samples, began_at=began_at, skip=made.skipped, steering=steering
        )
    asked: dict[str, Any] = {name: getattr(request, name) for name in fields_of(Sampling)}
    if isinstance(request, PlayMidi):
        notes = read_clip(request, files)
    facts = Facts(request.bpm, request.key, request.style, request.prompt, metre=request.metre)
    payload, about_region = b"", ""
    if isinstance(request, PlayContinue | PlayOpen) and request.path:
        if is_coded(request.path):
            payload = file_of_codes(request.path, files.allowed_folders)
            asked |= {"start": request.start, "length": request.length}
        else:
            region = _region(request, welcome, files)
            payload, about_region = _interleaved(region.audio), region.note
            asked |= {"sample_rate": welcome.sample_rate, "channels": welcome.channels, "seam": request.seam}
    seconds, note = 0.0, ""
    if notes is not None:
        played = notes.at(request.bpm)
        seconds, note = float(played.seconds), played.note
        key, metre = request.key or notes.key, request.metre or notes.metre
        facts = replace(facts, bpm=played.bpm, key=key or notes.key_hint, ending=notes.words, metre=metre)
        asked |= {"bpm": played.bpm, "key": key, "key_hint": notes.key_hint, "metre": metre}
        if welcome.melodies:
            asked["melody"] = played.melody
        else:
            sound, said = _heard_otherwise(notes.clip, played, bool(payload), welcome, files)
            note = f"{note}; {said}"
            if sound:
                payload = sound
                asked |= {"sample_rate": welcome.sample_rate, "channels": welcome.channels, "seam": False}
    note = "; ".join(filter(None, (about_region, note)))
    wording = Wording(template, facts, Asked().after(request, notes))
    asked["prompt"] = wording.words
    sections = read_sections(request.sections)
    asked["sections"] = write_sections([replace(one, words=_section_words(wording, one)) for one in sections])
    told = tuple(section.words for section in sections)
    begins = bool(payload)
    if style := style_sound(request, welcome, files):
        payload += style
        asked |= sent_along(style)
    match request:
        case PlayOpen(latency=latency):
            steering = steering_of(request, facts.bpm, welcome, files)
            message = Open(lead=max(0.1, latency), **asked)
            return Prepared(message, payload, note=note, wording=wording, steering=steering, sections=told)
        case PlayContinue(duration=seconds) | Play(duration=seconds):
            pass
    kind = Continue if begins or isinstance(request, PlayContinue) else Generate
    piece = kind(duration=seconds, lead=lead_of(seconds), **asked)
    return Prepared(piece, payload, note=note, wording=wording, sections=told)


def _section_words(wording: Wording, section: Section) -> str:
    words = wording.saying(section.words).words
    if PROMPT_SEPARATOR in words:
        raise RequestError(ErrorCode.UNSUPPORTED, "sections", str(section), "one prompt, and a template of one prompt")
    return words


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
            values["metre"] = request.metre or notes.metre or None
    elif isinstance(request, BridgeUpdate) and request.notes == "":
        values["melody"] = ""
    return Update(**values)


def _heard_otherwise(
    clip: MidiClip | None, played: PlayedClip, has_region: bool, welcome: Welcome, files: FileSettings
) -> tuple[bytes, str]:
    """How a clip is told to a model that hears no melody: as an audio prompt where that is possible; and what is said about it."""
    if clip is None:
        return b"", "this model hears no melody: what was read from the recording is left out"
    words = "this model hears no melody: the clip is told in words"
    if has_region:
        return b"", f"{words}, beside the audio region"
    try:
        sound = play_clip(
            clip,
            played.seconds,
            sample_rate=welcome.sample_rate,
            channels=welcome.channels,
            soundfont=files.soundfont_file,
        )
    except RequestError as error:
        return b"", f"{words}; as sound it needs {error.field} ({error.value}): {error.allowed}"
    length = f"{float(sound.seconds):.4g} s"
    part = length if sound.seconds == played.seconds else f"the last {length}"
    return _interleaved(sound.audio), (
        f"this model hears no melody: it goes on from the clip, {part}, played by FluidSynth with {sound.soundfont}"
    )


def _interleaved(audio: NDArray[np.float32]) -> bytes:
    return audio.T.astype("<f4").tobytes()


def _region(request: PlayContinue | PlayOpen, welcome: Welcome, files: FileSettings) -> Region:
    return read_region(
        request.path,
        start_seconds=request.start,
        length_seconds=request.length or None,
        sample_rate=welcome.sample_rate,
        channels=welcome.channels,
        allowed_folders=files.allowed_folders,
        max_seconds=files.max_region_s,
        resampling=welcome.resampling,
    )
