"""How a change that a host asks for reaches streams that have their own words and tempos."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from daw_bridge.asking import update_of
from daw_bridge.bridge_stream import BridgeStream
from daw_bridge.followed_clip import FollowedClip
from daw_bridge.wording import Template, Wording
from protocols.bridge_messages import BridgeUpdate
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Update


def changes_of(
    request: BridgeUpdate,
    streams: Sequence[BridgeStream],
    notes: FollowedClip | None,
    template: Template | None,
    all_of_them: bool = True,
) -> tuple[list[Update], dict[BridgeStream, Wording]]:
    """What the engine is asked for, and what the words of each stream are made of from then on.

    It is one update, or one for each stream where template, notes and tempo come out another way for each, or where there are
    others that are not meant.

    Args:
        request: of the host.
        streams: those that it means.
        notes: that it names.
        template: that it names.
        all_of_them: whether these are all that the engine has; else each is named.

    Raises:
        RequestError: as `update_of` and `Wording.after`; BUSY for several updates while a stream has no number yet.
    """
    changed = {}
    for stream in streams:
        update = update_of(request, notes, stream.wording.facts.bpm)
        update = msgspec.structs.replace(update, **stream.wording.asked.excerpt(request))
        changed[stream] = stream.wording.after(request, update, template, notes)
    updates = list(dict.fromkeys(update for _, update in changed.values()))
    if len(updates) > 1 or not all_of_them:
        if not all(stream.number for stream in streams):
            raise RequestError(ErrorCode.BUSY, "stream", 0, "streams that have begun; or one of them by its number")
        updates = [msgspec.structs.replace(update, stream=stream.number) for stream, (_, update) in changed.items()]
    elif not updates:  # none is open
        updates = [Wording().after(request, update_of(request, notes, 0.0), template)[1]]
    return updates, {stream: wording for stream, (wording, _) in changed.items()}
