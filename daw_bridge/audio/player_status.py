"""What the player tells about itself and its output."""

from __future__ import annotations

from dataclasses import dataclass

from daw_bridge.audio.capture import Bus
from daw_bridge.audio.mixer import Meters
from daw_bridge.audio.output import Output
from protocols.errors import RequestError


@dataclass(frozen=True)
class PlayerStatus:
    """What the player is doing.

    Args:
        state: "stopped", "playing", "fallback" (playing, but not where the user wants) or "searching" (standing still).
        name: of the output, "" while there is none; so for the rest.
        host_api: sound system.
        sample_rate: Hz.
        channels: of the output.
        blocksize: frames in one callback.
        latency: seconds from callback to ear.
        callbacks: blocks rendered by this output.
        underflows: blocks that the sound system says came too late.
        clipped_blocks: blocks in which the sum went over full scale.
        faults: blocks lost to an exception in the callback.
        max_render_seconds: longest time that a block took.
        level: peak meter of the sum, linear.
        input: name of the input, "" without one; so for the rest.
        inputs: channels of the input.
        input_level: peak of what came in just now, linear.
        round_trip: seconds from a callback to the ear and through the input to a callback.
        overflows: blocks before which the sound system dropped some of the input.
        input_reason: why there is no input although one is wanted.
        lost: how many outputs have died since `Player.start`.
        voices: number of voices that have not finished.
    """

    state: str
    name: str
    host_api: str
    sample_rate: int
    channels: int
    blocksize: int
    latency: float
    callbacks: int
    underflows: int
    clipped_blocks: int
    faults: int
    max_render_seconds: float
    level: float
    input: str
    inputs: int
    input_level: float
    round_trip: float
    overflows: int
    input_reason: str
    lost: int
    voices: int

    @property
    def block_seconds(self) -> float:
        """Sound in one callback; 0 while there is no output."""
        return self.blocksize / self.sample_rate if self.sample_rate else 0.0


def status_of(output: Output | None, state: str, lost: int, voices: int) -> PlayerStatus:
    """What a player does on ``output``; any thread."""
    meters = Meters() if output is None else output.meters
    refusal = None if output is None else output.input_refusal
    return PlayerStatus(
        state=state,
        name="" if output is None else output.name,
        host_api="" if output is None else output.host_api,
        sample_rate=0 if output is None else output.sample_rate,
        channels=0 if output is None else output.channels,
        blocksize=0 if output is None else output.blocksize,
        latency=0.0 if output is None else output.latency,
        callbacks=meters.callbacks,
        underflows=meters.underflows,
        clipped_blocks=meters.clipped_blocks,
        faults=meters.faults,
        max_render_seconds=meters.max_render_seconds,
        level=meters.level,
        input="" if output is None else output.input_name,
        inputs=0 if output is None else output.inputs,
        input_level=0.0 if output is None else _input_level(output),
        round_trip=0.0 if output is None else output.round_trip,
        overflows=meters.overflows,
        input_reason="" if refusal is None else refusal.text,
        lost=lost,
        voices=voices,
    )


def _input_level(output: Output) -> float:
    try:
        return output.capture(Bus.INPUT).level() if output.inputs else 0.0
    except RequestError:  # no memory for it
        return 0.0
