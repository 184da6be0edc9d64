"""Performances, as hosts ask for them: what was heard is written down as it happens, and can be made again."""

from __future__ import annotations

from typing import Annotated, ClassVar

from protocols.fields import about
from protocols.messages import Event, Reply, Request

PerformanceName = Annotated[str, about("Name of the performance, or its id.", max_length=60)]
_Stems = Annotated[int, about("Streams that were heard.")]


class PerformanceInfo(Reply, frozen=True, kw_only=True, tag="performance"):
    """One performance, as a list shows it."""

    id: Annotated[str, about("Its id: when it began.")]
    name: PerformanceName
    state: Annotated[str, about("playing, over, or cut_short where the bridge did not come to an end.")]
    seconds: Annotated[float, about("From its first sound to its last, as far as it was written down.", unit="s")]
    stems: _Stems
    bytes: Annotated[int, about("Size of its log.", unit="bytes")]


class PerformanceList(Reply, frozen=True, kw_only=True, tag="performance_list"):
    """The performances."""

    items: Annotated[list[PerformanceInfo], about("The performances.")]


class Rendered(Reply, frozen=True, kw_only=True, tag="rendered"):
    """A performance was made again."""

    path: Annotated[str, about("The folder: a take and a stem of each stream, mix.wav and performance.json.")]
    stems: _Stems
    made: Annotated[int, about("Those of them that could be made again.")]
    compared: Annotated[int, about("Those of which there was a take to compare with.")]
    equal: Annotated[int, about("Those of which every bit is as in that take.")]
    seconds: Annotated[float, about("Length of the mix.", unit="s")]
    note: Annotated[str, about("What could not be made again, and why.")]


class PerformanceRequest(Request, frozen=True, kw_only=True):
    """Base of what is asked about performances."""

    root: ClassVar[str] = "bridge"


class Performances(PerformanceRequest, frozen=True, kw_only=True, tag="performance"):
    """List the performances, the latest first, at most 200: one for each run of the bridge in which something was heard."""

    reply: ClassVar[type[Reply]] = PerformanceList


class BeginPerformance(PerformanceRequest, frozen=True, kw_only=True, tag="performance/begin"):
    """Begin another performance now; what plays belongs to both, to this one from now on."""

    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: Annotated[str, about("Its name; your own choice.", max_length=60)]


class RenderPerformance(PerformanceRequest, frozen=True, kw_only=True, tag="performance/render"):
    """Make every stream of a performance again, faster than real time, and write stems and the mix as they were heard."""

    reply: ClassVar[type[Reply]] = Rendered
    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: PerformanceName
    folder: Annotated[
        str,
        about(
            "Folder for the new folder, inside one of the bridge's allowed ones; empty for performances beside the takes.",
            max_length=4096,
        ),
    ] = ""


class Rendering(Event, frozen=True, kw_only=True, tag="rendering"):
    """How far a performance is made again."""

    name: PerformanceName
    stem: Annotated[int, about("The stem that is made now, from 1; one more than there are while they are mixed.")]
    stems: _Stems


PERFORMANCE_REQUESTS: tuple[type[Request], ...] = (Performances, BeginPerformance, RenderPerformance)
PERFORMANCE_EVENTS: tuple[type[Event], ...] = (Rendering,)
