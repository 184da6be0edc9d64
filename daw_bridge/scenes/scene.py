"""A scene: what streams can be made to sound like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from daw_bridge.asked import STYLE
from daw_bridge.scenes.kept_notes import KeptNotes
from daw_bridge.wording import Wording
from protocols.bridge_messages import BridgeUpdate, KeepScene, PlayOpen, SceneInfo
from protocols.errors import ErrorCode, RequestError, shorten
from protocols.fields import build, fields_of
from protocols.scene_messages import SCENE_NOTES

MAX_SCENE_BYTES = 2**20
_WORDS = ("prompt", "template", "style", "bpm", "key", "metre")
_GIVEN = (*_WORDS, "weights", "blend", "temperature", "top_k", "top_p", "guidance", *STYLE, "morph", "level")


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream is asked to be like; None leaves it as it is. Never changes; any thread."""

    prompt: str | None = None
    weights: str | None = None
    blend: str | None = None
    template: str | None = None
    style: str | None = None
    bpm: float | None = None
    key: str | None = None
    metre: str | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    guidance: float | None = None
    style_path: str | None = None
    style_start: float | None = None
    style_length: float | None = None
    style_detail: int | None = None
    double_guidance: float | None = None
    morph: float | None = None
    level: float | None = None
    notes: KeptNotes | None = None

    @classmethod
    def of_stream(cls, wording: Wording, level_db: float) -> Scene:
        """How a stream sounds now.

        Raises:
            RequestError: MISSING for one whose words nobody has told here, as when it came from a journal.
        """
        facts, asked = wording.facts, dict(wording.asked.values)
        if not asked:
            raise RequestError(
                ErrorCode.MISSING, "prompt", "", "a stream that was opened by a request which says its words"
            )
        name, clip = asked.pop("notes", ""), wording.asked.clip
        return cls(
            prompt=facts.prompt,
            style=facts.style,
            bpm=facts.bpm,
            key=facts.key,
            metre=facts.metre,
            level=level_db,
            notes=KeptNotes.of(name.removeprefix(SCENE_NOTES) or "notes", clip) if clip is not None else KeptNotes(),
            **({"template": ""} | asked),
        )

    def given(self, request: KeepScene, notes: KeptNotes | None) -> Scene:
        """The scene with what a request says in place of its own."""
        values = {name: getattr(request, name) for name in _GIVEN if getattr(request, name) is not None}
        if notes is not None:
            values["notes"] = notes
        return msgspec.structs.replace(self, **values)

    @classmethod
    def read(cls, value: Any) -> Scene:
        """A scene from a file.

        Raises:
            RequestError: it is none, or sets a value out of its range.
        """
        try:
            scene = msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise RequestError(ErrorCode.MALFORMED, "scene", str(error), "a scene") from None
        build(KeepScene, {"name": "a scene", **{name: value for name, value in scene.sets.items() if name != "notes"}})
        return scene

    @property
    def sets(self) -> dict[str, Any]:
        """All that it sets, by name."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}

    def update(self, name: str, stream: int, morph: float | None) -> BridgeUpdate:
        """The change of a stream that the scene of this name stands for; its level is no part of it."""
        values = self._values(BridgeUpdate, name) | {"stream": stream}
        return BridgeUpdate(**(values if morph is None else values | {"morph": morph}))

    def opening(self, name: str, defaults: Mapping[str, object], **more: Any) -> PlayOpen:
        """The request for a new stream that sounds so.

        Args:
            name: of the scene.
            defaults: of the parameters that it leaves out.
            more: what becomes of the sound.
        """
        values: dict[str, Any] = dict(defaults) | self._values(PlayOpen, name)
        return PlayOpen(**values, name=name, **more)

    def info(self, name: str) -> SceneInfo:
        """The scene as a list shows it."""
        return SceneInfo(
            name=name,
            prompt=shorten(self.prompt or "", 200),
            bpm=self.bpm or 0.0,
            key=self.key or "",
            template=self.template or "",
            style=shorten(self.style or "", 100),
            notes=self.notes.name if self.notes is not None else "",
            sets=", ".join(self.sets),
        )

    def _values(self, request: type[msgspec.Struct], name: str) -> dict[str, Any]:
        values = {field: value for field, value in self.sets.items() if field in fields_of(request)}
        if self.notes is not None:
            values["notes"] = f"{SCENE_NOTES}{name}" if self.notes.name else ""
        return values
