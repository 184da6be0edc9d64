"""All pads: what a stroke does, what chokes what, and the streams that are kept ready for the next stroke."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from daw_bridge.bridge_stream import linear_gain
from daw_bridge.orders import Insider
from daw_bridge.triggers.actions import Action
from daw_bridge.triggers.pad import Opening, Pad, Sound, fits
from daw_bridge.triggers.sources import Key, Stroke
from protocols.bridge_messages import PadState, Triggered, TriggerFailed
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Event, Finished, Reply, Request
from protocols.osc.front import Asker

REPLACED_S = 540.0
"""A stream that waits for so long is made anew before the engine gives it up."""

_LOOK_S, _REVIEW_S = 0.05, 0.5
_TEMPO_REST_S = 2.0
_RETRY_S = 5.0
_NANO = 10**9
_LEVELS_DB = (-120.0, 12.0)


class BoardHost(Protocol):
    """What pads need of the bridge."""

    @property
    def defaults(self) -> dict[str, object]:
        """What requests use where they leave a parameter out."""

    @property
    def model(self) -> str:
        """Fingerprint of the model that makes new streams; empty while there is none."""

    def in_time(self, request: Opening) -> Opening:
        """A request that names no tempo takes that of the clock."""

    def play(self, request: Opening, asker: Asker, tap: Any, held: bool) -> None:
        """Open a stream; one that is held may never be heard. Raises RequestError."""

    def cancel(self, stream: Any) -> None:
        """Fade a stream out and end it."""

    def spare(self, number: int) -> None:
        """A stream that was to end where another begins goes on."""

    def handle(self, request: Request, asker: Asker) -> Reply | None:
        """Carry a request out; raises RequestError."""

    def publish(self, event: Event, asker: Asker) -> None:
        """Tell a client, and whoever listens."""

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run something after what is being done now."""


class Board:
    """Plays pads. For the loop's thread only.

    Args:
        host: the bridge.
        most_ready: streams that are kept ready, of all pads together.
        now: seconds.
        now_ns: the clock of the inputs' stamps, ns.
        audible_ns: what has to be added to a voice's first sound, in ns, to have it on that clock.
    """

    def __init__(
        self,
        host: BoardHost,
        most_ready: int,
        now: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.perf_counter_ns,
        audible_ns: Callable[[], int] = lambda: time.perf_counter_ns() - time.monotonic_ns(),
    ) -> None:
        self.pads: dict[str, Pad] = {}
        self._host = host
        self._most_ready = most_ready
        self._now = now
        self.now_ns = now_ns
        self._audible_ns = audible_ns
        self._next_look = self._next_review = 0.0
        self._model = ""
        self._closed = False

    def add(self, pad: Pad) -> None:
        """Let a pad be played, in place of one of its name."""
        self.remove(pad.name)
        self.pads[pad.name] = pad

    def remove(self, name: str) -> None:
        """Forget a pad; what it plays fades out."""
        pad = self.pads.pop(name, None)
        if pad is not None:
            for sound in [*pad.ready, *pad.sounds]:
                self._end(sound)

    def close(self) -> None:
        """Nothing is begun any more."""
        self._closed = True

    # --- strokes ------------------------------------------------------------------------------------------------------

    def strike(self, pad: Pad, stroke: Stroke, struck_ns: int) -> None:
        """Play a pad, or let it go.

        Raises:
            RequestError: what it asks for is refused at once.
        """
        if self._closed:
            return
        if not stroke.velocity:
            if pad.request.mode == "hold":
                self._let_go(pad, stroke.key)
            return
        pad.used = self._now()
        if pad.request.mode == "toggle" and pad.plays(stroke.key):
            self._let_go(pad, stroke.key)
        elif pad.action.opens_stream:
            self._sound(pad, stroke, struck_ns)
        else:
            self._ask(pad, pad.action)
            if pad.request.mode != "one_shot":
                pad.on.add(stroke.key)
            self._tell_triggered(pad, stroke, 0, self.now_ns() - struck_ns)

    def let_go_of(self, meant: Callable[[Key], bool]) -> None:
        """Let every key go that is held."""
        for pad in self.pads.values():
            if pad.request.mode == "hold":
                held = {sound.stroke.key for sound in pad.sounds if sound.stroke is not None and not sound.leaving}
                for key in [key for key in held | pad.on if meant(key)]:
                    self.failing(pad, lambda pad=pad, key=key: self._let_go(pad, key))  # type: ignore[misc]

    def failing(self, pad: Pad, act: Callable[[], None]) -> None:
        """Do something, and tell whoever mapped the pad where that is refused."""
        try:
            act()
        except RequestError as error:
            self._tell_failed(pad, error)

    def _let_go(self, pad: Pad, key: Key) -> None:
        was_on = pad.plays(key)
        for sound in pad.begun_by(key):
            self._end(sound)
        pad.on.discard(key)
        if pad.off is not None and was_on:
            self._ask(pad, pad.off)

    def _sound(self, pad: Pad, stroke: Stroke, struck_ns: int) -> None:
        request = pad.wanted(self._host.defaults, stroke.velocity)
        left = self._choked_by(pad, stroke.key)
        heard = [sound for sound in left if sound.begun and sound.number]
        replaces = heard[-1].number if heard else request.replaces
        level_db = request.level + pad.level_db(stroke.velocity)
        sound = self._ready_for(pad, request)
        if sound is None:
            level = self._audible_level(pad, level_db)
            request = msgspec.structs.replace(request, replaces=replaces, level=level)
            sound = self._new(pad, request)
            self._play(pad, sound, held=False)
        else:
            pad.ready.remove(sound)
        sound.stroke, sound.struck_ns = stroke, struck_ns
        sound.level_db, sound.replaces = level_db, replaces
        pad.sounds.append(sound)
        if sound.held:
            self._release(pad, sound)
        for other in left:
            if not heard or other is not heard[-1]:
                self._end(other)

    def _choked_by(self, pad: Pad, key: Key) -> list[Sound]:
        """What gives way to a new sound: what its key began, and all of its group."""
        left = pad.begun_by(key)
        if pad.request.choke:
            group = [other for other in self.pads.values() if other.request.choke == pad.request.choke]
            left = [sound for other in group for sound in other.sounds if not sound.leaving]
        return left

    def _ready_for(self, pad: Pad, request: Opening) -> Sound | None:
        """The stream that is kept ready for a request; the one that is furthest."""
        wanted = self._host.in_time(request)
        fitting = [sound for sound in pad.ready if self._is_good(sound) and fits(sound.request, wanted, strict=False)]
        return min(fitting, key=lambda sound: not sound.ready, default=None)

    def _is_good(self, sound: Sound) -> bool:
        return not sound.leaving and not sound.broken and sound.model == self._host.model

    def _release(self, pad: Pad, sound: Sound) -> None:
        """Let a stream that was kept ready be heard; one that the engine has not taken yet follows when it has."""
        stream = sound.stream
        if stream is None:
            return
        sound.held = False
        if sound.replaces:
            stream.request = msgspec.structs.replace(stream.request, replaces=sound.replaces)
        stream.set_level(linear_gain(self._audible_level(pad, sound.level_db)))
        stream.release(sound.request.at)

    def _end(self, sound: Sound) -> None:
        if sound.leaving:
            return
        sound.leaving = True
        if sound.stream is not None:
            if sound.replaces and not sound.begun:
                self._host.spare(sound.replaces)
            self._host.cancel(sound.stream)

    def _ask(self, pad: Pad, action: Action) -> None:
        def answered(answer: Reply | RequestError) -> None:
            if isinstance(answer, RequestError):
                self._tell_failed(pad, answer)

        request = action.request(self._host.defaults)
        self._host.handle(request, Insider(pad.owner.peer, action.path, 0, answered))

    # --- controllers ----------------------------------------------------------------------------------------------------

    def set_fader(self, pad: Pad, level_db: float) -> None:
        """Set the level of all that a pad plays and will play; what its strokes set is added."""
        pad.fader_db = level_db
        for sound in pad.sounds:
            if sound.stream is not None and not sound.leaving and not sound.held:
                sound.stream.set_level(linear_gain(self._audible_level(pad, sound.level_db)))

    @staticmethod
    def _audible_level(pad: Pad, level_db: float) -> float:
        return min(max(level_db + pad.fader_db, _LEVELS_DB[0]), _LEVELS_DB[1])

    # --- streams --------------------------------------------------------------------------------------------------------

    def _new(self, pad: Pad, request: Opening) -> Sound:
        return Sound(
            self._host.in_time(request),
            self._host.model,
            self._now(),
            # Only once the stream itself is done with being opened.
            lambda sound: self._host.call_soon(lambda: self._opened(pad, sound)),
            lambda sound, answer: self._over(pad, sound, answer),
        )

    def _play(self, pad: Pad, sound: Sound, held: bool) -> None:
        sound.held = held
        self._host.play(sound.request, Asker(pad.owner.peer, pad.action.path, 0), sound, held)

    def _opened(self, pad: Pad, sound: Sound) -> None:
        assert sound.stream is not None
        if sound.leaving:
            self._host.cancel(sound.stream)
        elif sound.held and sound.stroke is not None:
            self._release(pad, sound)

    def _over(self, pad: Pad, sound: Sound, answer: Finished | RequestError) -> None:
        sound.leaving = True
        kept = sound in pad.ready
        pad.ready = [other for other in pad.ready if other is not sound]
        pad.sounds = [other for other in pad.sounds if other is not sound]
        if not isinstance(answer, RequestError) or self._closed:
            return
        if kept:
            self._not_ready(pad, answer)
        elif sound.stroke is not None:
            self._tell_failed(pad, answer)

    # --- time passes ------------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Called every few milliseconds: tell what is heard, and have streams made for the next strokes."""
        now = self._now()
        for pad in self.pads.values():
            if pad.sounds or pad.ready or pad.on or pad.state != "off":
                for sound in pad.sounds:
                    if not sound.told:
                        self._tell_heard(pad, sound)
                state = pad.look()
                if state != pad.state:
                    pad.state = state
                    self._host.publish(PadState(name=pad.name, state=state), pad.owner)
        if self._closed:
            return
        if now >= self._next_review:
            self._next_review = now + _REVIEW_S
            if self._model != self._host.model:
                self._model = self._host.model
                for pad in self.pads.values():
                    pad.retry = 0.0
            self._drop_stale(now)
        if now >= self._next_look:
            self._next_look = now + _LOOK_S
            self._make_ready(now)

    def _drop_stale(self, now: float) -> None:
        for pad in self.pads.values():
            for sound in list(pad.ready):
                settled = now - sound.made > _TEMPO_REST_S
                if not self._is_good(sound) or (settled and not self._still_wanted(pad, sound)):
                    self._drop(pad, sound)
            young = [sound for sound in pad.ready if now - sound.made < REPLACED_S and sound.ready]
            if len(young) >= pad.request.prime:
                for sound in [sound for sound in pad.ready if now - sound.made >= REPLACED_S]:
                    self._drop(pad, sound)

    def _still_wanted(self, pad: Pad, sound: Sound) -> bool:
        try:
            return fits(sound.request, self._host.in_time(pad.wanted(self._host.defaults)), strict=True)
        except RequestError:
            return False

    def _drop(self, pad: Pad, sound: Sound) -> None:
        pad.ready.remove(sound)
        self._end(sound)

    def _make_ready(self, now: float) -> None:
        """Let one more stream be made ahead, once the last one is ready: for the pad that was struck last."""
        kept = [sound for pad in self.pads.values() for sound in pad.ready]
        if not self._host.model or len(kept) >= self._most_ready or not all(sound.ready for sound in kept):
            return
        lacking = [(pad, self._lacking(pad, now)) for pad in self.pads.values() if now >= pad.retry]
        chosen = min(lacking, key=lambda one: (one[1], -one[0].used), default=None)
        if chosen is None or chosen[1] == _ENOUGH:
            return
        pad = chosen[0]
        try:
            request = pad.wanted(self._host.defaults)
            if not request.sound:
                pad.retry = float("inf")
                return
            sound = self._new(pad, request)
            self._play(pad, sound, held=True)
        except RequestError as error:
            self._not_ready(pad, error)
        else:
            pad.ready.append(sound)

    @staticmethod
    def _lacking(pad: Pad, now: float) -> int:
        """How many streams are kept ready for a pad that should have more of them; `_ENOUGH` if it should not."""
        young = sum(now - sound.made < REPLACED_S for sound in pad.ready)
        wants = pad.action.opens_stream and pad.request.velocity != "guidance" and pad.source.kind != "learn"
        return young if wants and young < pad.request.prime else _ENOUGH

    def _not_ready(self, pad: Pad, error: RequestError) -> None:
        """No stream can be made ahead: try again later; what will not pass by itself is told, once."""
        passing = error.code in (ErrorCode.BUSY, ErrorCode.ENGINE_LOST, ErrorCode.NO_MODEL)
        pad.retry = self._now() + _RETRY_S if passing else float("inf")
        if not passing:
            self._tell_failed(pad, error)

    # --- what is told -----------------------------------------------------------------------------------------------------

    def _tell_heard(self, pad: Pad, sound: Sound) -> None:
        voice = sound.stream.voice if sound.stream is not None else None
        if voice is None or sound.stroke is None or not voice.begun:
            return
        first = voice.status().first_audible
        if first is not None:
            sound.told = True
            heard_ns = round(first * _NANO) + self._audible_ns()
            self._tell_triggered(pad, sound.stroke, sound.number, heard_ns - sound.struck_ns)

    def _tell_triggered(self, pad: Pad, stroke: Stroke, stream: int, took_ns: int) -> None:
        event = Triggered(
            name=pad.name,
            note=stroke.note,
            velocity=stroke.velocity,
            stream=stream,
            latency_ms=round(max(0, took_ns) / 1e6, 3),
        )
        self._host.publish(event, pad.owner)

    def _tell_failed(self, pad: Pad, error: RequestError) -> None:
        self._host.publish(TriggerFailed(name=pad.name, code=str(error.code), text=error.text), pad.owner)


_ENOUGH = 1 << 30
