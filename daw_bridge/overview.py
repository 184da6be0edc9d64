"""What the bridge tells about itself and the machine it runs on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from daw_bridge.audio.devices import Device
from daw_bridge.audio.player import PlayerEvent
from daw_bridge.audio.player_status import PlayerStatus
from daw_bridge.input_desk import decibels
from protocols.bridge_messages import BridgeReport, CardState, ClockState, DeviceInfo, DeviceList
from protocols.messages import Welcome


def bridge_report(
    welcome: Welcome | None,
    player: PlayerStatus,
    *,
    engine: str,
    underruns: int,
    first_sound_ms: float,
    requests: int,
    errors: int,
    uptime: float,
    clock: ClockState,
) -> BridgeReport:
    """The bridge at a glance; ``welcome`` is None while there is no engine."""
    return BridgeReport(
        state=player.state,
        engine=engine,
        model=welcome.model if welcome is not None else "",
        status=welcome.status if welcome is not None else "untrained",
        device=player.name,
        sample_rate=player.sample_rate,
        block=player.blocksize,
        latency_ms=round(player.latency * 1000, 2),
        voices=player.voices,
        underruns=underruns,
        device_underflows=player.underflows,
        devices_lost=player.lost,
        callback_ms=round(player.max_render_seconds * 1000, 3),
        first_sound_ms=first_sound_ms,
        requests=requests,
        errors=errors,
        uptime=uptime,
        clock=clock.source,
        clock_playing=clock.playing,
        clock_bpm=clock.bpm,
        clock_position=clock.position,
        input=player.input,
        input_channels=player.inputs,
        input_level=decibels(player.input_level),
    )


def card_state(event: PlayerEvent, details: Mapping[str, Any]) -> CardState:
    """The sound card came or went."""
    return CardState(
        state="opened" if event is PlayerEvent.DEVICE_OPENED else "lost",
        name=str(details["name"]),
        sample_rate=int(details.get("sample_rate", 0)),
        input=str(details.get("input", "")),
        note=str(details.get("input_reason", "")),
    )


def device_list(devices: Iterable[Device], player: PlayerStatus) -> DeviceList:
    """The sound cards, and which of them ``player`` uses."""
    return DeviceList(
        items=[
            DeviceInfo(
                index=device.index,
                name=device.name,
                host_api=device.host_api,
                channels=device.channels,
                inputs=device.inputs,
                sample_rate=device.sample_rate,
                default=device.default,
                chosen=bool(device.channels) and (device.name, device.host_api) == (player.name, player.host_api),
                recorded=bool(device.inputs) and (device.name, device.host_api) == (player.input, player.host_api),
            )
            for device in devices
        ]
    )
