"""The sound card's input for the bridge's service: chosen while it plays, and told."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeVar

from daw_bridge.audio.devices import InputChoice
from daw_bridge.audio.player import Player
from daw_bridge.audio.player_status import PlayerStatus
from protocols.bridge_messages import InputState, SetInput
from protocols.messages import Reply
from protocols.osc.front import Asker

SILENCE_DB = -120.0
T = TypeVar("T")


class InputHost(Protocol):
    """What the input needs of the bridge."""

    def in_background(self, work: Callable[[], T], asker: Asker, reply: Callable[[T], Reply]) -> None:
        """Do something slow beside the loop and answer with what ``reply`` makes of it."""


class InputDesk:
    """Sets the input. For the loop's thread only.

    Args:
        player: the sound card.
        host: the bridge.
    """

    requests = SetInput

    def __init__(self, player: Player, host: InputHost) -> None:
        self._player = player
        self._host = host

    def handle(self, request: SetInput, asker: Asker) -> InputState | None:
        """Answer with the input's state, at once or when the sound card has been opened anew."""
        if not request.name and request.channels is None:
            return input_state(self._player.status())

        def change() -> PlayerStatus:
            now = self._player.source
            self._player.set_input(InputChoice(request.name or now.name, request.channels or now.channels))
            return self._player.status()

        self._host.in_background(change, asker, input_state)
        return None

    def pump(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


def input_state(player: PlayerStatus) -> InputState:
    """What can be recorded from."""
    return InputState(
        name=player.input,
        channels=player.inputs,
        sample_rate=player.sample_rate,
        level=decibels(player.input_level),
        round_trip_ms=round(player.round_trip * 1000, 3),
        gaps=player.overflows,
        note=player.input_reason,
    )


def decibels(level: float) -> float:
    """A linear level in dBFS, no less than `SILENCE_DB`."""
    return round(20 * math.log10(level), 1) if level > 10 ** (SILENCE_DB / 20) else SILENCE_DB
