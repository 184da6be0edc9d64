"""The input of the sound card in the bridge's language: what is recorded from, and how it is."""

from __future__ import annotations

from typing import Annotated, ClassVar

from protocols.fields import about
from protocols.messages import Reply, Request

MAX_INPUTS = 8
InputName = Annotated[str, about("Name of the input that can be recorded from; empty without one.")]
InputChannels = Annotated[int, about("Its channels; 0 without one.")]
InputLevel = Annotated[float, about("Peak of what came in over the last 0.3 s.", unit="dBFS")]
InputChoiceName = Annotated[
    str,
    about(
        "Input to record from: part of its name, `same` for the card that is played through, `default`, or `none`; empty leaves "
        "it. It belongs to the card's own sound system, since both share one callback.",
        max_length=200,
    ),
]
InputWidth = Annotated[int, about("Input channels to take; fewer where it has fewer.", ge=1, le=MAX_INPUTS)]


class InputState(Reply, frozen=True, kw_only=True, tag="input_state"):
    """What can be recorded from."""

    name: InputName
    channels: InputChannels
    sample_rate: Annotated[int, about("Rate of the sound card.", unit="Hz")]
    level: InputLevel
    round_trip_ms: Annotated[
        float, about("From the bridge to the ear and back into it; recordings are moved by it.", unit="ms")
    ]
    gaps: Annotated[int, about("Times the sound card says that it dropped some of the input.")]
    note: Annotated[str, about("Why there is no input although one is set.")]


class SetInput(Request, frozen=True, kw_only=True, tag="input"):
    """Record from another input from now on, or ask for its state; what is left out stays as it is.

    What plays goes on: the sound card is opened anew, with a short fade. Where the input does not open, it is as it was.
    """

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = InputState
    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: InputChoiceName = ""
    channels: InputWidth | None = None


CAPTURE_REQUESTS: tuple[type[Request], ...] = (SetInput,)
