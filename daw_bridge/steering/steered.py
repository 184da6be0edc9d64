"""The stages of one stream: the governor before whatever keeps or plays it, the beat lock before its voice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from daw_bridge.clock.starts import Start
from daw_bridge.steering.beats import Grid
from daw_bridge.steering.character import AS_USUAL, BAR_SECONDS, Character, Sampling, Steer, Steersman
from daw_bridge.steering.governor import Governor, Setting
from daw_bridge.steering.lock import BeatLock
from protocols.messages import Welcome

_START = "start"
_LEAST_RATE = 8000


@dataclass(frozen=True)
class Steering:
    """How a stream is to be steered. Never changes; any thread.

    Attributes:
        setting: of its governor at first; None for none.
        record: of the governor that it was made with; then nothing else is decided.
        lock: whether its beats are kept on the clock's.
        sampling: what the user asked for.
        seed: of its draws.
        bar_seconds: length of a bar.
    """

    setting: Setting | None = None
    record: list[Any] | None = None
    lock: bool = False
    sampling: Sampling = AS_USUAL
    seed: int = 0
    bar_seconds: float = BAR_SECONDS

    @classmethod
    def again(cls, sidecar: Mapping[str, Any]) -> Steering:
        """As a take's sidecar tells it."""
        record = sidecar.get("governor")
        return cls() if record is None else cls(record=record if isinstance(record, list) else [record])


UNSTEERED = Steering()


class Line(Protocol):
    """What leads to the voice."""

    def write(self, block: NDArray[np.float32], begun: bool) -> None:
        """Take the next samples."""

    def finish(self) -> None:
        """There are no more."""


class Steered:
    """What becomes of the sound of one stream. For the loop's thread only.

    Args:
        steering: how it is steered.
        welcome: the engine's facts.

    Attributes:
        start: where it begins, once that is known.
        reason: what its sampling is changed against now; empty for nothing.

    Raises:
        RequestError: MALFORMED for a record that is none.
    """

    def __init__(self, steering: Steering, welcome: Welcome) -> None:
        rate, channels = welcome.sample_rate, welcome.channels
        self.steering = steering
        self.governor: Governor | None = None
        self.steersman: Steersman | None = None
        self.lock: BeatLock | None = None
        self.welcome = welcome
        self.start: Start | None = None
        self.reason = ""
        if rate < _LEAST_RATE:
            return
        if steering.record is not None:
            self.governor = Governor.again(rate, channels, steering.record)
        elif steering.setting is not None:
            character = Character(rate, steering.bar_seconds)
            self.governor = Governor(rate, channels, steering.setting, character)
            self.steersman = Steersman(character, steering.sampling, steering.seed)
        if steering.lock:
            self.lock = BeatLock(rate, channels, None)

    def govern(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """The next samples ``[samples, channels]`` as they are kept."""
        return block if self.governor is None else self.governor.process(block)

    def in_time(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """The next samples as they are played: perhaps a little more of them, or less, or later."""
        return block if self.lock is None else self.lock.process(block)

    def finish(self, line: Line) -> None:
        """The stream is over: what is still to be played goes down its line, and no more."""
        if self.lock is not None:
            line.write(self.lock.finish(), True)
        line.finish()

    def source(self, position: int) -> int:
        """Which sample of the stream follows once so many of those that are played have been."""
        return position if self.lock is None else self.lock.source_position(position)

    @property
    def sidecar(self) -> dict[str, Any]:
        """What a take of it is made again with; nothing without a governor that has ever governed."""
        if self.governor is None or not any(entry["on"] for entry in self.governor.record):
            return {}
        return {"governor": self.governor.record}

    @property
    def heir(self) -> Steering:
        """How a stream is steered that takes its place: held to the same reference."""
        if self.governor is None:
            return Steering(lock=self.steering.lock)
        state = self.governor.state
        own = self.steersman.own if self.steersman is not None else self.steering.sampling
        return replace(self.steering, setting=Setting(state.on, state.reference), record=None, sampling=own)

    @property
    def governed_again(self) -> Steering:
        """How all of it is made again."""
        return Steering.again(self.sidecar)

    def look(self) -> Steer | None:
        """What its sampling should be changed to now, if anything."""
        if self.steersman is None or self.governor is None or not self.governor.on:
            return None
        steer = self.steersman.look()
        if steer is not None:
            self.reason = "" if steer.reason == "back" else steer.reason
        return steer

    def changed(self, asked: Mapping[str, Any], other_music: bool) -> Steer | None:
        """The user has changed the stream: values win, and other music has a spectrum of its own.

        Args:
            asked: what the user has asked for last, by parameter.
            other_music: whether words, tempo, key or melody are others.
        """
        if self.steersman is None or self.governor is None:
            return None
        if other_music:
            self.governor.set(Setting(learn="spectrum"))
        own = {name: asked.get(name) for name in ("temperature", "top_k", "guidance")}
        before = self.steersman.own
        if any(value is not None and value != getattr(before, name) for name, value in own.items()) or other_music:
            self.reason = ""
            return self.steersman.user_set(**own)
        return None

    def follow(self, grid: Grid | None) -> None:
        """Keep its beats on this grid from now on."""
        if self.lock is not None:
            self.lock.follow(grid)


def names_file(reference: str) -> bool:
    """Whether a reference is an audio file."""
    return reference.strip() not in ("", _START) and loudness_of(reference) is None


def loudness_of(reference: str) -> float | None:
    """The loudness in LUFS that a reference is; None for another one."""
    try:
        return float(reference.lower().removesuffix("lufs"))
    except ValueError:
        return None
