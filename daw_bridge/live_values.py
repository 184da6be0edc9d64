"""What the parameters of streams are set to now, for everybody who shows them: knobs, faders, text fields."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from daw_bridge.bridge_stream import BridgeStream
from protocols.bridge_messages import BridgeUpdate, PlayOpen
from protocols.fields import fields_of
from protocols.live_parameters import LIVE, STATES
from protocols.osc.codec import Argument
from protocols.osc.form import sendable
from protocols.oscquery.nodes import READ, WRITE, Node, container, parameter

LEVEL, MORPH, SEED, WEIGHTS = "level", "morph", "seed", "weights"
_SILENCE_DB = -120.0


class LiveValues:
    """What is known of streams, and what no stream remembers by itself: the time of morphs, a seed that was set.

    For the loop's thread only.
    """

    def __init__(self) -> None:
        self._morph: dict[int, float] = {0: float(fields_of(BridgeUpdate)[MORPH].default)}
        self._seeds: dict[int, int] = {}

    def morph(self, stream: int) -> float:
        """Over how many beats changes of a stream turn into the new ones; with 0 of those to come."""
        return self._morph.get(stream, self._morph[0])

    def set_morph(self, stream: int, beats: float) -> None:
        """Set that for a stream, or with 0 for all."""
        if not stream:
            self._morph.clear()
        self._morph[stream] = beats

    def set_seed(self, stream: BridgeStream, seed: int) -> None:
        """A stream goes on with another seed."""
        self._seeds[stream.number] = seed

    def forget(self, stream: int) -> None:
        """A stream is over."""
        self._morph.pop(stream, None)
        self._seeds.pop(stream, None)

    def all(
        self, streams: list[BridgeStream], gain: float, defaults: Mapping[str, object]
    ) -> tuple[dict[str, Argument], dict[str, Argument]]:
        """Every value by its address: those that can be set, and those that can only be read.

        Args:
            streams: that are open, oldest first.
            gain: linear gain of everything.
            defaults: what requests use where they leave a parameter out.
        """
        values: dict[str, Argument] = {}
        states: dict[str, Argument] = {}
        latest: dict[str, Argument] = {name: _default(name, defaults) for name in LIVE}
        for stream in streams:
            asked = dict(stream.wording.asked.values)
            latest = {name: self._of(stream, name, asked, defaults) for name in LIVE}
            values |= {f"/bridge/stream/{stream.number}/{name}": value for name, value in latest.items()}
            info = stream.info()
            states |= {f"/bridge/stream/{stream.number}/{name}": sendable(getattr(info, name)) for name in STATES}
        latest |= {LEVEL: decibels(gain), MORPH: self.morph(0)}
        return {f"/bridge/live/{name}": value for name, value in latest.items()} | values, states

    def _of(
        self, stream: BridgeStream, name: str, asked: Mapping[str, Any], defaults: Mapping[str, object]
    ) -> Argument:
        match name:
            case "level":
                return decibels(stream.voice.gain) if stream.voice is not None else stream.request.level
            case "morph":
                return self.morph(stream.number)
            case "seed":
                return self._seeds.get(stream.number, stream.info().seed)
        value: Any = getattr(stream.wording.facts, name, None)
        if value is None:
            value = asked.get(name)
        return _default(name, defaults) if value is None else sendable(value)


def live_nodes(numbers: Iterable[int]) -> dict[str, Node]:
    """What OSCQuery tells about parameters and states, of all streams together and of each of these, by address."""
    found = {"/bridge/live": container("/bridge/live", "live: all that plays")}
    found["/bridge/stream"] = container("/bridge/stream", "streams: each that plays")
    folders = ["/bridge/live"]
    for number in numbers:
        folder = f"/bridge/stream/{number}"
        folders.append(folder)
        found[folder] = container(folder, f"stream {number}")
        found |= {f"{folder}/{name}": parameter(f"{folder}/{name}", STATES[name], READ, "state") for name in STATES}
    for folder in folders:
        for name, spec in LIVE.items():
            found[f"{folder}/{name}"] = parameter(f"{folder}/{name}", spec, READ | WRITE, "live")
    return found


def decibels(gain: float) -> float:
    """A linear gain in dB, -120 for silence."""
    return max(_SILENCE_DB, round(20 * math.log10(gain), 3)) if gain > 0 else _SILENCE_DB


def _default(name: str, defaults: Mapping[str, object]) -> Argument:
    """What a stream that is opened now would have."""
    if name in defaults:
        value: Any = defaults[name]
        return sendable(value)
    spec = fields_of(PlayOpen).get(name, LIVE[name])
    return sendable(spec.default if spec.default is not None else 0)
