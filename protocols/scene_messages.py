"""Scenes and sets, as hosts ask for them: how a stream sounds, kept under a name and recalled; and all that is kept, as a set."""

from __future__ import annotations

from typing import Annotated, ClassVar

from protocols.clock_messages import At
from protocols.fields import INT32_MAX, about
from protocols.messages import (
    AnyStream,
    Blend,
    Bpm,
    DoubleGuidance,
    Event,
    Guidance,
    Key,
    Metre,
    Morph,
    Prompt,
    Reply,
    Request,
    Seed,
    StyleDetail,
    StyleLength,
    StylePath,
    StyleStart,
    Temperature,
    TopK,
    TopP,
    Weights,
)
from protocols.sound_messages import Level, Replaces, Save

MAX_SCENES, MAX_SETS = 512, 128
MAX_SCENE_NAME = 60
SCENE_NOTES = "scene:"
"""Begins the name of the notes of a scene, wherever a request names notes."""

SceneName = Annotated[str, about("Name of the scene; your own choice.", max_length=MAX_SCENE_NAME)]
SetName = Annotated[str, about("Name of the set; your own choice.", max_length=MAX_SCENE_NAME)]
_Template = Annotated[str, about("Prompt template; empty for none.", max_length=80)]
_Style = Annotated[str, about("Words for the template's {style}.", max_length=400)]
_Notes = Annotated[
    str, about("Notes of yours that it follows; they are kept with the scene. Empty for none.", max_length=80)
]
_Bar = Annotated[int, about("The bar, from 1; 0 where no clock plays.")]
_BeatInBar = Annotated[int, about("The beat in it, from 1; 0 where no clock plays.")]


class SceneInfo(Reply, frozen=True, kw_only=True, tag="scene"):
    """One scene, as a list shows it."""

    name: SceneName
    prompt: Prompt
    bpm: Bpm
    key: Key
    template: _Template
    style: _Style
    notes: Annotated[str, about("Name that its notes had; they are yours as `notes scene:name`.")]
    sets: Annotated[str, about("All that it sets.")]


class SceneList(Reply, frozen=True, kw_only=True, tag="scene_list"):
    """The scenes."""

    items: Annotated[list[SceneInfo], about("The scenes.")]


class SceneRecalled(Reply, frozen=True, kw_only=True, tag="scene_recalled"):
    """The engine has taken the change, or the new stream."""

    streams: Annotated[int, about("How many streams were changed or opened.")]
    stream: Annotated[int, about("The first of them.")]


class SceneRequest(Request, frozen=True, kw_only=True):
    """Base of what is asked about scenes."""

    root: ClassVar[str] = "bridge"


class KeepScene(SceneRequest, frozen=True, kw_only=True, tag="scene/keep"):
    """Keep how a stream sounds now, or what is given here, under a name, in place of a scene of the same name.

    It is there again after a restart. What a scene does not set stays as it is when it is recalled.
    """

    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: SceneName
    stream: Annotated[
        int,
        about(
            "Stream whose present sound is kept; what is given beside it counts in its place. 0 for that alone.",
            ge=0,
            le=INT32_MAX,
        ),
    ] = 0
    prompt: Prompt | None = None
    weights: Weights | None = None
    blend: Blend | None = None
    template: _Template | None = None
    style: _Style | None = None
    bpm: Bpm | None = None
    key: Key | None = None
    metre: Metre | None = None
    temperature: Temperature | None = None
    top_k: TopK | None = None
    top_p: TopP | None = None
    guidance: Guidance | None = None
    style_path: StylePath | None = None
    style_start: StyleStart | None = None
    style_length: StyleLength | None = None
    style_detail: StyleDetail | None = None
    double_guidance: DoubleGuidance | None = None
    morph: Morph | None = None
    level: Level | None = None
    notes: _Notes | None = None


class RecallScene(SceneRequest, frozen=True, kw_only=True, tag="scene/recall"):
    """Change streams so that they sound as a scene does, or open a new one without an end; answered once the engine has taken it.

    `at bar` sends the change as long ahead of a bar line as the stream has sound in store, so that what is heard from there on is
    sampled under it, within two codec frames; `/bridge/scene` says which bar line. Where no clock plays it is sent at once. A
    stream that `open` opens begins on the sample of the bar line. `morph` counts in place of the scene's own.
    """

    reply: ClassVar[type[Reply]] = SceneRecalled
    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: SceneName
    stream: AnyStream = 0
    morph: Morph | None = None
    at: At = "now"
    open: Annotated[bool, about("Open a new stream.")] = False
    replaces: Replaces = 0
    latency: Annotated[
        float,
        about("Audio that a new stream keeps ready; changes are heard this much later.", unit="s", ge=0.05, le=30),
    ] = 0.5
    save: Save = False
    seed: Seed | None = None


class ForgetScene(SceneRequest, frozen=True, kw_only=True, tag="scene/forget"):
    """Delete a scene."""

    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: SceneName


class Scenes(SceneRequest, frozen=True, kw_only=True, tag="scenes"):
    """List the scenes."""

    reply: ClassVar[type[Reply]] = SceneList


class SceneDue(Event, frozen=True, kw_only=True, tag="scene"):
    """Where a scene that was recalled will be heard in a stream."""

    name: SceneName
    stream: Annotated[int, about("Number of the stream.")]
    bar: _Bar
    beat: _BeatInBar
    seconds: Annotated[float, about("From this message until it is heard.", unit="s")]


class SetInfo(Reply, frozen=True, kw_only=True, tag="set"):
    """One set, as a list shows it."""

    name: SetName
    kept: Annotated[str, about("When it was kept, in local time.")]
    parts: Annotated[str, about("What it holds: scenes, defaults, clock …")]
    bytes: Annotated[int, about("Size of its file.", unit="bytes")]


class SetList(Reply, frozen=True, kw_only=True, tag="set_list"):
    """The sets."""

    items: Annotated[list[SetInfo], about("The sets.")]


class SetOpened(Reply, frozen=True, kw_only=True, tag="set_opened"):
    """A set is there again."""

    parts: Annotated[str, about("What was taken from it.")]
    note: Annotated[str, about("What could not be taken, and why.")]


class SetRequest(Request, frozen=True, kw_only=True):
    """Base of what is asked about sets."""

    root: ClassVar[str] = "bridge"


class KeepSet(SetRequest, frozen=True, kw_only=True, tag="set/keep"):
    """Keep all scenes, defaults, the clock's settings and what else the bridge remembers as a set, in place of one of this name."""

    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: SetName


class OpenSet(SetRequest, frozen=True, kw_only=True, tag="set/open"):
    """Have everything as it was when the set was kept. Streams play on as they are."""

    reply: ClassVar[type[Reply]] = SetOpened
    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: SetName


class ForgetSet(SetRequest, frozen=True, kw_only=True, tag="set/forget"):
    """Delete a set."""

    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: SetName


class Sets(SetRequest, frozen=True, kw_only=True, tag="sets"):
    """List the sets."""

    reply: ClassVar[type[Reply]] = SetList


SCENE_REQUESTS: tuple[type[Request], ...] = (
    KeepScene,
    RecallScene,
    ForgetScene,
    Scenes,
    KeepSet,
    OpenSet,
    ForgetSet,
    Sets,
)
SCENE_EVENTS: tuple[type[Event], ...] = (SceneDue,)
