"""From a journal to the plan of a stream that goes on from it: at its end, from an earlier moment, or along another way."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from typing import Any

import torch
from msgspec import structs

from engine.admission import Admission
from engine.journal.log import Journal
from engine.journal.replay import Recording
from engine.preparation import StreamPlan
from protocols.errors import ErrorCode, RequestError
from protocols.fields import INT32_MAX, build
from protocols.messages import ENGINE_REQUESTS, RegionRequest, Resume, StreamRequest
from protocols.osc.form import tag_of
from protocols.release import VERSION
from protocols.units import seconds_to_frames

_KINDS = {tag_of(kind): kind for kind in ENGINE_REQUESTS if issubclass(kind, StreamRequest)}
_NEVER = ("script", "sections", "seam_record", "fingerprint", "from_frame", "seed", "type", "background")


def resumed_plan(journal: Journal, request: Resume, admission: Admission) -> StreamPlan:
    """What a stream that goes on from a journal is to make (any thread).

    Its changes are those that had taken effect before that moment, its sections that begin later, and, where it goes on at the end
    or is asked to, the changes that came or were to come later. Another seed is a change like others. So its own recipe makes it
    again without the journal.

    Raises:
        RequestError: ``out_of_range`` for a moment that the journal does not have, or where nothing follows; as `Admission.plan`.
    """
    header, recipe = journal.header, journal.header.recipe
    frame = _frame(journal, request, admission)
    kept = frame == journal.frames or request.changes
    changes = [change for change in journal.changes if kept or change["frame"] < frame]
    if kept and header.script:
        taken = [change for change in changes if change["frame"] >= journal.frames]
        coming = (change for change in json.loads(header.script) if change["frame"] >= journal.frames)
        changes += [change for change in coming if change not in taken]
    elif header.script:  # what is planned from the beginning is no change of mind
        planned = (change for change in json.loads(header.script) if change.get("section"))
        changes += [change for change in planned if change["frame"] >= frame]
    if request.seed is not None:
        seed = request.seed if request.seed >= 0 else secrets.randbelow(INT32_MAX)
        changes.append({"frame": frame, "seed": seed})
    changes.sort(key=lambda change: change["frame"])
    original = structs.replace(_original(journal, frame, request.lead, changes), background=request.background)
    plan = admission.plan(original, recipe.prompt_codes)
    states = tuple((frames, state) for frames, state in journal.states if frames <= frame)
    seconds = frame * header.frame_samples / header.sample_rate
    note = f"goes on from {seconds:.5g} s of journal {request.journal}"
    here = (admission.device, str(torch.__version__), VERSION)
    there = (recipe.device, recipe.torch_version, recipe.engine_version)
    if here != there:
        note += f", which was made by {there[0]}, torch {there[1]}, release {there[2]}: what follows may differ"
    return replace(plan, recording=Recording(journal.codes[:frame], states, request.exact), note=note)


def _frame(journal: Journal, request: Resume, admission: Admission) -> int:
    frame = request.frame
    if request.seconds >= 0:
        frame = seconds_to_frames(request.seconds, admission.frame_rate)
    if frame < 0:
        frame = journal.frames
    # What makes latents has no codes to keep, and makes all of it again.
    if frame > journal.frames and not admission.makes_latents:
        field, value = ("seconds", request.seconds) if request.seconds >= 0 else ("frame", frame)
        allowed = f"up to frame {journal.frames} ({journal.seconds:.5g} s), where the journal ends"
        raise RequestError(ErrorCode.OUT_OF_RANGE, field, value, allowed)
    return frame


def _original(journal: Journal, frame: int, lead: float | None, changes: list[dict[str, Any]]) -> StreamRequest:
    """The request that opened the stream, with what has become of it since."""
    recipe = journal.header.recipe
    kind = _KINDS.get(str(recipe.request.get("type")))
    if kind is None:
        raise RequestError(ErrorCode.MALFORMED, "journal", recipe.request.get("type"), "a journal of a stream")
    values = {name: value for name, value in recipe.request.items() if name not in _NEVER}
    values |= {"seed": recipe.seed, "fingerprint": recipe.fingerprint, "from_frame": frame}
    # Journals of earlier releases are of streams that the codec decoded.
    values.setdefault("decoder", "codec")
    if lead is not None:
        values["lead"] = lead
    if issubclass(kind, RegionRequest):
        values |= {"seam_record": recipe.seam_record, "path": ""}
        values["codebooks"] = recipe.codebooks if recipe.prompt_codes else 0
    request: Any = build(kind, values)
    # Not read from outside, and longer than what may come from there.
    return structs.replace(request, script=json.dumps(changes))  # type: ignore[no-any-return]
