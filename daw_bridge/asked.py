"""What a stream was last asked to be like, beside its words: what a scene keeps of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from daw_bridge.followed_clip import FollowedClip
from protocols.messages import Request

KINDS = ("weights", "blend", "temperature", "top_k", "top_p", "guidance", "template", "notes")


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
        given = {name: getattr(request, name, None) for name in KINDS}
        values = dict(self.values) | {name: value for name, value in given.items() if value is not None}
        renamed = given["notes"] is not None or clip is not None
        return Asked(tuple(values.items()), clip if renamed else self.clip)


NOTHING = Asked()
