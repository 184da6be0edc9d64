"""A sound card that is not there: chosen by name where a host holds the only card, where there is none, and in tests of hosts."""

from __future__ import annotations

import logging
from typing import Any

from daw_bridge.audio.devices import Device, DeviceChoice, InputChoice, scan_devices
from daw_bridge.audio.mixer import Meters
from daw_bridge.audio.output import DEFAULT_SAMPLE_RATE, PacedOutput
from daw_bridge.audio.shared import SharedBlock
from protocols.errors import ErrorCode, RequestError

_LOG = logging.getLogger(__name__)

VIRTUAL = "virtual"
"""The device choice that means this one."""

HOST_API = "daw-bridge"
DEFAULT_BLOCK = 256
"""Frames in a block where the settings leave it to the card."""

VIRTUAL_CHANNELS = 2


class VirtualOutput(PacedOutput):
    """Plays into nothing, at the pace of the monotonic clock, in the card process: with all that taps and captures a card.

    Threads: as `Output`; the callback runs on a thread of its own.

    Args:
        sample_rate: Hz; None for `DEFAULT_SAMPLE_RATE`.
        channels: at most `VIRTUAL_CHANNELS`.
        blocksize: frames in a block; 0 for `DEFAULT_BLOCK`.
        meters: where to report.
    """

    name = VIRTUAL
    host_api = HOST_API

    def __init__(
        self,
        sample_rate: int | None = None,
        channels: int = VIRTUAL_CHANNELS,
        blocksize: int = 0,
        meters: Meters | None = None,
    ) -> None:
        channels = min(channels, VIRTUAL_CHANNELS)
        super().__init__(sample_rate or DEFAULT_SAMPLE_RATE, channels, blocksize or DEFAULT_BLOCK, meters)

    def open(self) -> None:
        self.start()  # the bridge says which buses are kept


def is_virtual(choice: DeviceChoice) -> bool:
    """Whether a choice of device means the virtual one: its whole name, so that a cable with "virtual" in its name is found too."""
    return isinstance(choice, str) and choice.strip().lower() in (VIRTUAL, f"{HOST_API}/{VIRTUAL}")


def open_virtual(settings: dict[str, Any]) -> VirtualOutput:
    """Open it as the first line of a card process's pipe says, see `card_process`. It has no input."""
    meters = SharedBlock.attach(settings["meters"], Meters.BYTES)
    output = VirtualOutput(settings["sample_rate"], settings["channels"], settings["blocksize"], Meters(meters.memory))
    source = InputChoice(**settings["input"])
    if source.wanted:
        output.input_refusal = RequestError(ErrorCode.UNSUPPORTED, "input", source.name, "a sound card")
    output.open()
    return output


def list_with_virtual() -> list[Device]:
    """The sound cards, and the virtual one behind them; without PortAudio that one alone. Slow, see `scan_devices`.

    Raises:
        RequestError: INTERNAL as `scan_devices`.
    """
    try:
        devices = scan_devices()
    except RequestError as error:
        if error.code is not ErrorCode.UNSUPPORTED:
            raise
        _LOG.warning("no sound cards: %s", error.text)
        devices = []
    return [*devices, Device(-1, VIRTUAL, HOST_API, VIRTUAL_CHANNELS, DEFAULT_SAMPLE_RATE, False, True)]
