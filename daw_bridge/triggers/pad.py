"""One pad, and the streams that it has asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from daw_bridge.audio.feeder import Feeder
from daw_bridge.triggers.actions import Action
from daw_bridge.triggers.sources import Key, Source, Stroke, pad_source
from protocols.bridge_messages import MapPad, PlayAgain, Playback
from protocols.errors import ErrorCode, RequestError
from protocols.fields import fields_of
from protocols.messages import Finished
from protocols.osc.front import Asker

Opening = Playback | PlayAgain

_USUAL_LEVEL_DB = (-24.0, 0.0)
_USUAL_GUIDANCE = (1.0, 6.0)
_TEMPO_TOLERANCE = 0.005
_SHAPES = ("guidance", "temperature", "top_k", "top_p", "weights")
"""What can be changed while a stream plays, and so does not keep a stream that was made ahead from being played."""


class PadStream(Protocol):
    """What a pad needs of `BridgeStream`."""

    number: int
    request: Any

    @property
    def voice(self) -> Feeder | None: ...
    @property
    def broken(self) -> bool: ...
    def release(self, at: str) -> None: ...
    def set_level(self, gain: float) -> None: ...


class Sound:
    """A stream that a pad asks for: kept ready until it is played, then until it is over. For the loop's thread only.

    Args:
        request: what for.
        model: fingerprint of the model that makes it.
        made: when it was asked for, in seconds.
        opened: hears when the engine has taken it.
        over: hears when it is over.

    Attributes:
        stroke: what plays it; None while it is kept ready.
        struck_ns: when that was.
        level_db: of it, without the pad's fader.
        replaces: number of the stream whose place it takes.
        held: its voice waits to be released.
        leaving: it was told to end.
        told: its first sample was told.
    """

    def __init__(
        self,
        request: Opening,
        model: str,
        made: float,
        opened: Callable[[Sound], None],
        over: Callable[[Sound, Finished | RequestError], None],
    ) -> None:
        self.request = request
        self.model = model
        self.made = made
        self.stream: PadStream | None = None
        self.stroke: Stroke | None = None
        self.struck_ns = 0
        self.level_db = 0.0
        self.replaces = 0
        self.held = False
        self.leaving = False
        self.told = False
        self._ready = False
        self._opened = opened
        self._over = over

    # --- Tap ----------------------------------------------------------------------------------------------------------

    def opened(self, stream: PadStream) -> None:
        """The engine has taken it."""
        self.stream = stream
        self._opened(self)

    def audio(self, block: NDArray[np.float32]) -> None:
        """What comes next of it goes to the card by itself."""

    def over(self, answer: Finished | RequestError) -> None:
        """It has come to its end, or never began."""
        self._over(self, answer)

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def number(self) -> int:
        """Of its stream; 0 before that is known."""
        return self.stream.number if self.stream is not None else 0

    @property
    def begun(self) -> bool:
        """Whether it has been heard."""
        stream = self.stream
        return stream is not None and (stream.voice is None or stream.voice.begun)

    @property
    def broken(self) -> bool:
        """Whether it ended before it was whole."""
        return self.stream is not None and self.stream.broken

    @property
    def ready(self) -> bool:
        """Whether its first sound is there."""
        if not self._ready and self.stream is not None:
            voice = self.stream.voice
            self._ready = voice is None or voice.ready
        return self._ready


class Pad:
    """What one pad is and plays. For the loop's thread only.

    Args:
        request: what it was mapped by.
        owner: the client that mapped it.

    Raises:
        RequestError: as `pad_source`, `Action` and `Action.request`; OUT_OF_RANGE for a guidance below 0.

    Attributes:
        ready: streams that are kept ready, oldest first.
        sounds: streams that are played, oldest first.
        on: keys of toggles and holds that open no stream and are on.
        fader_db: of all its streams, set by a controller.
        shapes: parameters of its streams, set by controllers.
        state: as it was told last.
        used: when it was struck last, in seconds.
        retry: when streams may be made ahead for it again.
    """

    def __init__(self, request: MapPad, owner: Asker) -> None:
        self.request = request
        self.owner = owner
        self.source: Source = pad_source(request.note, request.channel, request.input)
        self.ready: list[Sound] = []
        self.sounds: list[Sound] = []
        self.on: set[Key] = set()
        self.fader_db = 0.0
        self.shapes: dict[str, Any] = {}
        self.state = "off"
        self.used = 0.0
        self.retry = 0.0
        prompt = "/bridge/play" if request.mode == "one_shot" else "/bridge/open"
        self.action = Action(request.action, prompt)
        self.off = Action(request.off, prompt, "off") if request.off.strip() else None
        if request.velocity == "guidance" and min(self._ends(_USUAL_GUIDANCE)) < 0:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "low", min(self._ends(_USUAL_GUIDANCE)), "0 to 20 as guidance")
        self.action.request({})
        if self.off is not None:
            self.off.request({})

    @property
    def name(self) -> str:
        """By which clients know it."""
        return self.request.name

    def level_db(self, velocity: int) -> float:
        """What a velocity adds to the level."""
        return self._at(velocity, _USUAL_LEVEL_DB) if self.request.velocity == "level" else 0.0

    def wanted(self, defaults: dict[str, object], velocity: int | None = None) -> Opening:
        """The stream that it asks for, for a stroke or to be kept ready.

        Raises:
            RequestError: as `Action.request`.
        """
        request = self.action.request({**defaults, "save": False})
        assert isinstance(request, Opening)
        known = fields_of(type(request))
        values = {name: value for name, value in self.shapes.items() if name in known}
        if velocity is not None and self.request.velocity == "guidance" and "guidance" in known:
            values["guidance"] = self._at(velocity, _USUAL_GUIDANCE)
        return msgspec.structs.replace(request, **values)

    def plays(self, key: Key) -> bool:
        """Whether something that this key began is on."""
        return key in self.on or any(not sound.leaving and _key(sound) == key for sound in self.sounds)

    def begun_by(self, key: Key) -> list[Sound]:
        """What this key began and has not been told to end."""
        return [sound for sound in self.sounds if not sound.leaving and _key(sound) == key]

    def look(self) -> str:
        """Its state now, as its light shows it."""
        played = [sound for sound in self.sounds if not sound.leaving]
        if self.on or any(sound.begun for sound in played):
            return "sounding"
        if played:
            return "waiting"
        if any(sound.ready for sound in self.ready):
            return "ready"
        return "preparing" if self.ready else "off"

    def _ends(self, usual: tuple[float, float]) -> tuple[float, float]:
        low, high = self.request.low, self.request.high
        return usual[0] if low is None else low, usual[1] if high is None else high

    def _at(self, velocity: int, usual: tuple[float, float]) -> float:
        low, high = self._ends(usual)
        share: float = ((max(1, velocity) - 1) / 126) ** self.request.curve
        return low + (high - low) * share


def fits(made: Opening, wanted: Opening, strict: bool) -> bool:
    """Whether a stream that was made for one request can be played for another.

    Args:
        made: request of the stream.
        wanted: request now.
        strict: also in what can still be changed while it plays.
    """
    if type(made) is not type(wanted):
        return False
    free = {"replaces", "bpm", *(() if strict else _SHAPES)}
    tempo_made, tempo = getattr(made, "bpm", 0.0), getattr(wanted, "bpm", 0.0)
    if abs(tempo_made - tempo) > _TEMPO_TOLERANCE * tempo:
        return False
    return all(getattr(made, name) == getattr(wanted, name) for name in made.__struct_fields__ if name not in free)


def _key(sound: Sound) -> Key | None:
    return sound.stroke.key if sound.stroke is not None else None
