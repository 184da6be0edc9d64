"""What a stream was last asked to be like, beside its words: what a scene keeps of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from daw_bridge.followed_clip import FollowedClip
from daw_bridge.style_sound import EXCERPT
from protocols.messages import Request

STYLE = ("style_path", "style_start", "style_length", "style_detail", "double_guidance")
KINDS = ("weights", "blend", "temperature", "top_k", "top_p", "guidance", "template", "notes", *STYLE)


@dataclass(frozen=True)
class Asked:
    """The values that requests have given, of those in `KINDS`. Never changes; any thread.

    Attributes:
        values: pairs of a parameter and its latest value.
        clip: the notes that are followed, however they are called meanwhile.
    """

    values: tuple[tuple[str, Any], ...] = ()
    clip: FollowedClip | None = None

    def after(self, request: Request, clip: FollowedClip | None) -> Asked:
        """What it is once a request was carried out, which names these notes."""
        given = {name: getattr(request, name, None) for name in KINDS} | self.excerpt(request)
        values = dict(self.values) | {name: value for name, value in given.items() if value is not None}
        renamed = given["notes"] is not None or clip is not None
        return Asked(tuple(values.items()), clip if renamed else self.clip)

    def excerpt(self, request: Request) -> dict[str, Any]:
        """Where the style's excerpt lies once a request was carried out that names another; nothing where it names none.

        Another file begins at its beginning; another place is one in the same file.
        """
        given = {name: value for name in EXCERPT if (value := getattr(request, name, None)) is not None}
        if not given:
            return {}
        if "style_path" in given:
            return {"style_start": 0.0, "style_length": 0.0} | given
        known = {name: value for name, value in self.values if name in EXCERPT}
        return known | given


NOTHING = Asked()
