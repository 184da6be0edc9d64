"""Scenes for the bridge's service: kept, recalled, listed, forgotten."""

from __future__ import annotations

import math
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from daw_bridge.bridge_stream import BridgeStream
from daw_bridge.followed_clip import FollowedClip
from daw_bridge.orders import Tap
from daw_bridge.scenes.kept_notes import KeptNotes
from daw_bridge.scenes.recalls import RecallHost, Recalls
from daw_bridge.scenes.scene import MAX_SCENE_BYTES, Scene
from daw_bridge.stream_table import StreamTable
from protocols.bridge_messages import (
    MAX_SCENES,
    BridgeUpdate,
    ForgetScene,
    KeepScene,
    PlayAgain,
    Playback,
    PlayOpen,
    RecallScene,
    SceneList,
    SceneRecalled,
    SceneRequest,
    Scenes,
)
from protocols.errors import ErrorCode, RequestError
from protocols.fields import fields_of
from protocols.messages import Done, Finished, Reply, Request
from protocols.osc.front import Asker

MAX_BYTES = 4 * 2**20
"""Of all scenes."""
_SILENCE_DB = -120.0


class SceneHost(RecallHost, Protocol):
    """What scenes need of the bridge."""

    streams: StreamTable

    @property
    def defaults(self) -> dict[str, object]:
        """What requests use where they leave a parameter out."""

    def named_notes(self, request: Request, asker: Asker) -> FollowedClip | None:
        """The notes that a request names, if any; raises NOT_FOUND."""

    def play(self, request: Playback | PlayAgain, asker: Asker, tap: Tap | None = None, held: bool = False) -> None:
        """Open a stream; ``tap`` hears what comes of it in the client's place. Raises as `Opening.play`."""


class _Opened:
    """Answers once the engine has taken a stream that a scene has opened."""

    def __init__(self, host: SceneHost, asker: Asker) -> None:
        self._host = host
        self._asker = asker
        self._told = False

    def opened(self, stream: BridgeStream) -> None:
        self._told = True
        self._host.done(self._asker, SceneRecalled(streams=1, stream=stream.number))

    def audio(self, block: NDArray[np.float32]) -> None:
        pass

    def over(self, answer: Finished | RequestError) -> None:
        if not self._told:
            ended = RequestError(ErrorCode.BUSY, "stream", None, "a bridge that is not about to stop")
            self._host.fail(self._asker, answer if isinstance(answer, RequestError) else ended)


class SceneDesk:
    """All scenes, by name; a part that the bridge remembers (`Keeps`). For the loop's thread only.

    Args:
        host: the bridge.
    """

    requests = SceneRequest
    section = "scenes"

    def __init__(self, host: SceneHost) -> None:
        self._host = host
        self._scenes: dict[str, Scene] = {}
        self._bytes: dict[str, int] = {}
        self._revision = 0
        self._recalls = Recalls(host)

    def handle(self, request: SceneRequest, asker: Asker) -> Reply | None:
        """Carry a request out; None means that it is answered later.

        Raises:
            RequestError: EMPTY without a name, and for a scene that sets nothing; NOT_FOUND; UNKNOWN_STREAM; TOO_LONG and TOO_LARGE
                for more than can be kept; as `Scene.of_stream` and `Opening.play`.
        """
        match request:
            case KeepScene():
                self._keep(request, asker)
            case ForgetScene(name=name):
                self.find(name)
                del self._scenes[name], self._bytes[name]
                self._revision += 1
            case Scenes():
                return SceneList(items=[scene.info(name) for name, scene in self._scenes.items()])
            case RecallScene():
                self._recall(request, asker)
                return None
        return Done()

    def pump(self) -> None:
        """Called every few milliseconds: send what is due."""
        self._recalls.pump()

    def close(self) -> None:
        """Nothing to do."""

    def find(self, name: str) -> Scene:
        """The scene of a name.

        Raises:
            RequestError: NOT_FOUND.
        """
        scene = self._scenes.get(name)
        if scene is None:
            raise RequestError(ErrorCode.NOT_FOUND, "name", name, ", ".join(self._scenes) or "a scene; there are none")
        return scene

    def notes(self, name: str) -> FollowedClip:
        """The notes of a scene.

        Raises:
            RequestError: NOT_FOUND; as `KeptNotes.followed`.
        """
        notes = self.find(name).notes
        if notes is None or not notes.name:
            raise RequestError(ErrorCode.NOT_FOUND, "notes", name, "a scene that has notes")
        return notes.followed()

    # --- what the bridge remembers (Keeps) ------------------------------------------------------------------------------

    @property
    def revision(self) -> object:
        """Another one after each change."""
        return self._revision

    def state(self) -> dict[str, Any]:
        """Each scene, by name."""
        return {
            name: msgspec.to_builtins(scene.sets, str_keys=True, builtin_types=())
            for name, scene in self._scenes.items()
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Have these scenes in place of those that are there.

        Raises:
            RequestError: some could not be read; the others are there.
        """
        self._scenes, self._bytes = {}, {}
        self._revision += 1
        refused = None
        for name, value in state.items():
            try:
                self._put(name, Scene.read(value))
            except RequestError as error:
                refused = RequestError(error.code, f"{name}: {error.field}", error.value, error.allowed)
        if refused is not None:
            raise refused

    # --- helpers --------------------------------------------------------------------------------------------------------

    def _keep(self, request: KeepScene, asker: Asker) -> None:
        scene = Scene()
        if request.stream:
            stream = self._host.streams.find(request.stream)
            scene = Scene.of_stream(stream.wording, _level_db(stream))
        notes = None
        if request.notes is not None:
            clip = self._host.named_notes(BridgeUpdate(stream=0, notes=request.notes), asker)
            notes = KeptNotes() if clip is None else KeptNotes.of(request.notes, clip)
        scene = scene.given(request, notes)
        if not scene.sets:
            raise RequestError(ErrorCode.EMPTY, "stream", request.stream, "a stream that plays, or values to keep")
        self._put(request.name, scene)
        self._revision += 1

    def _put(self, name: str, scene: Scene) -> None:
        if not name.strip():
            raise RequestError(ErrorCode.EMPTY, "name", name, "a name of your choice")
        if name not in self._scenes and len(self._scenes) >= MAX_SCENES:
            raise RequestError(ErrorCode.TOO_LONG, "name", name, f"at most {MAX_SCENES} scenes")
        size = len(msgspec.json.encode(scene))
        others = sum(self._bytes.values()) - self._bytes.get(name, 0)
        if size > MAX_SCENE_BYTES or others + size > MAX_BYTES:
            allowed = f"at most {MAX_SCENE_BYTES} bytes, {MAX_BYTES} in all scenes; notes take most of it"
            raise RequestError(ErrorCode.TOO_LARGE, "notes", f"{size} bytes", allowed)
        self._scenes[name], self._bytes[name] = scene, size

    def _recall(self, request: RecallScene, asker: Asker) -> None:
        scene = self.find(request.name)
        if request.open:
            self._open(scene, request, asker)
            return
        streams = self._host.streams
        chosen = [streams.find(request.stream)] if request.stream else streams.played
        playing = [stream for stream in chosen if stream.voice is not None and not stream.cancelled]
        if not playing:
            raise RequestError(ErrorCode.UNKNOWN_STREAM, "stream", request.stream, "a stream that plays; or open 1")
        self._recalls.begin(scene, request, playing, asker)

    def _open(self, scene: Scene, request: RecallScene, asker: Asker) -> None:
        fields = fields_of(PlayOpen)
        defaults = {name: value for name, value in self._host.defaults.items() if name in fields}
        if request.seed is not None:
            defaults["seed"] = request.seed
        wanted = scene.opening(
            request.name,
            defaults,
            at=request.at,
            replaces=request.replaces,
            latency=request.latency,
            save=request.save,
        )
        self._host.play(wanted, asker, _Opened(self._host, asker))


def _level_db(stream: BridgeStream) -> float:
    """The level that a stream is played at."""
    gain = stream.voice.gain if stream.voice is not None else 1.0
    return max(_SILENCE_DB, round(20 * math.log10(gain), 3)) if gain > 0 else _SILENCE_DB
