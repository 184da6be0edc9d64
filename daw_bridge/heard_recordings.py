"""Audio regions whose melody the engine reads, so that streams can follow it like notes that were sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from audio_files.regions import read_region
from daw_bridge.engine_client import EngineClient
from daw_bridge.followed_clip import FollowedClip
from daw_bridge.note_lists import NoteLists, check_name
from protocols.bridge_messages import AudioNotes, MelodyHeld
from protocols.errors import ErrorCode, RequestError, no_model
from protocols.melody import decode_melody
from protocols.messages import MelodyRead, ReadMelody, Reply, Welcome
from protocols.osc.front import Asker
from protocols.settings import FileSettings

_ROOM = 4096
"""Bytes of a message beside its samples, and some."""


class Reads(Protocol):
    """How the service reads a file on its pool and goes on with what came of it."""

    def __call__(
        self,
        work: Callable[[], tuple[ReadMelody, bytes, str]],
        asker: Asker,
        go: Callable[[tuple[ReadMelody, bytes, str]], None],
    ) -> None: ...


class HeardRecordings:
    """Reads regions on the bridge's machine, lets the engine hear them, and keeps the melodies. For the loop's thread only.

    Args:
        files: where files may lie, and how long regions may be.
        notes: where melodies are kept.
        read: reads a file beside the loop.
        done: answers a client.
        fail: refuses a client's request.
    """

    def __init__(
        self,
        files: FileSettings,
        notes: NoteLists,
        read: Reads,
        done: Callable[[Asker, Reply], None],
        fail: Callable[[Asker, RequestError], None],
    ) -> None:
        self._files = files
        self._notes = notes
        self._read = read
        self._done = done
        self._fail = fail

    def hear(self, request: AudioNotes, asker: Asker, engine: EngineClient) -> None:
        """Keep the melody of a region under a name; the client is answered when it is there.

        Raises:
            RequestError: EMPTY without a name; NO_MODEL; BUSY.
        """
        check_name(request.name)
        welcome = engine.welcome
        if welcome is None or not welcome.model:
            raise no_model()

        def go(region: tuple[ReadMelody, bytes, str]) -> None:
            message, samples, note = region
            engine.request(message, lambda reply: self._heard(request, asker, reply, note, welcome), samples)

        self._read(lambda: region_of(request, welcome, self._files), asker, go)

    def _heard(
        self, request: AudioNotes, asker: Asker, reply: Reply | RequestError, note: str, welcome: Welcome
    ) -> None:
        if isinstance(reply, RequestError):
            self._fail(asker, reply)
            return
        assert isinstance(reply, MelodyRead)
        note = "; ".join(filter(None, (note, reply.note)))
        try:
            melody = decode_melody(reply.melody)
        except RequestError as error:
            self._fail(asker, error)
            return
        clip = FollowedClip.of_recording(melody, f"{Path(request.path).name}: {note}")
        held = self._notes.keep(asker.peer, request.name, clip).held
        if not welcome.melodies:  # said now, but not kept with the melody: another model may play it
            note = "; ".join(filter(None, (note, f"{welcome.model} hears no melody")))
        answer = MelodyHeld(name=request.name, held=held, seconds=reply.seconds, sounding=reply.sounding, note=note)
        self._done(asker, answer)


def region_of(request: AudioNotes, welcome: Welcome, files: FileSettings) -> tuple[ReadMelody, bytes, str]:
    """What the engine is asked for, the region's samples, and what became of the region on the way (any thread).

    Raises:
        RequestError: as `read_region`; TOO_LONG about ``length`` when the engine takes no message of that size.
    """
    rate = welcome.sample_rate
    region = read_region(
        request.path,
        start_seconds=request.start,
        length_seconds=request.length or None,
        sample_rate=rate,
        channels=1,
        allowed_folders=files.allowed_folders,
        max_seconds=files.max_region_s,
        resampling=welcome.resampling,
    )
    samples = region.audio[0].astype("<f4").tobytes()
    if len(samples) > (most := welcome.max_message - _ROOM):
        allowed = f"at most {most // 4 // rate} s, which is what one message to the engine holds"
        raise RequestError(ErrorCode.TOO_LONG, "length", f"{float(region.seconds):.3f} s", allowed)
    return ReadMelody(separation=request.separation, sample_rate=rate), samples, region.note
