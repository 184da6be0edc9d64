"""What the bridge tells about itself and the machine it runs on."""

from __future__ import annotations

from collections.abc import Iterable

from daw_bridge.audio.devices import Device
from daw_bridge.audio.player import PlayerStatus
from protocols.bridge_messages import BridgeReport, ClockState, DeviceInfo, DeviceList
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
    )


def device_list(devices: Iterable[Device], chosen: str) -> DeviceList:
    """The sound cards, of which the one with the name ``chosen`` is played through."""
    return DeviceList(
        items=[
            DeviceInfo(
                index=device.index,
                name=device.name,
                host_api=device.host_api,
                channels=device.channels,
                sample_rate=device.sample_rate,
                default=device.default,
                chosen=device.name == chosen,
            )
            for device in devices
        ]
    )
