"""One answer made of several: how all replicas are together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from engine.replicas.member import Member
from protocols.errors import RequestError
from protocols.fields import fields_of
from protocols.messages import (
    CodecInfo,
    CodecList,
    Done,
    EngineStatus,
    JournalInfo,
    JournalList,
    ModelChanged,
    Reply,
    StreamInfo,
    StreamList,
)

_MOST_LISTED = 200
_MEANS = ("shared",)
"""What tells of one step of one model, and is no more for there being several."""


def status_of(members: Sequence[Member], facts: ModelChanged, **own: object) -> EngineStatus:
    """The status of all replicas: what can be added is added up, ``own`` is what the front says itself.

    Args:
        members: all there should be.
        facts: of the model that new streams are made by.
        own: fields that only the front knows; memory is added to that of the replicas.
    """
    told = [member.status for member in members if member.ready and member.status is not None]
    playing = [status for status in told if status.streams_running] or told
    numbers: dict[str, float] = {}
    for spec in fields_of(EngineStatus).values():
        if spec.kind in ("int", "float"):
            values = [getattr(status, spec.name) for status in (playing if spec.name in _MEANS else told)]
            total = sum(values) / (max(1, len(values)) if spec.name in _MEANS else 1)
            numbers[spec.name] = round(total, 2) if spec.kind == "float" else int(total)
    numbers["memory_mb"] = round(numbers["memory_mb"] + float(str(own.pop("memory_mb", 0.0))), 1)
    journals = _different(status.journal for status in told)
    ready = sum(member.ready for member in members)
    fields: dict[str, object] = {
        **numbers,
        "state": "ready" if facts.model and ready else "empty",
        "model": facts.model,
        "loading": "",
        "status": facts.status,
        "device": ", ".join(_different(status.device for status in told)),
        "dtype": ", ".join(_different(status.dtype for status in told)),
        "runner": ", ".join(_different(status.runner for status in told)),
        "sample_rate": facts.sample_rate,
        "channels": facts.channels,
        "journal": next((each for each in journals if each not in ("on", "off")), (journals or ["off"])[0]),
        "replicas": f"{ready}/{len(members)}",
        **own,
    }
    return msgspec.convert(fields, EngineStatus)


def streams_of(answers: Mapping[Member, Reply | RequestError], numbers: Mapping[tuple[Member, int], int]) -> StreamList:
    """The streams of all replicas, by the numbers that clients know them by."""
    items: list[StreamInfo] = []
    for member, reply in answers.items():
        for item in reply.items if isinstance(reply, StreamList) else []:
            if (number := numbers.get((member, item.stream))) is not None:
                items.append(msgspec.structs.replace(item, stream=number))
    return StreamList(items=sorted(items, key=lambda item: item.stream))


def journals_of(replies: Iterable[Reply | RequestError]) -> JournalList:
    """The journals of all machines, the latest first."""
    found: dict[str, JournalInfo] = {}
    for reply in replies:
        for item in reply.items if isinstance(reply, JournalList) else []:
            found.setdefault(item.journal, item)
    return JournalList(items=sorted(found.values(), key=lambda item: item.journal, reverse=True)[:_MOST_LISTED])


def codecs_of(replies: Iterable[Reply | RequestError]) -> CodecList:
    """The codecs that any replica has in memory."""
    found: dict[tuple[str, str], CodecInfo] = {}
    for reply in replies:
        for item in reply.items if isinstance(reply, CodecList) else []:
            found.setdefault((item.name, item.fingerprint), item)
    return CodecList(items=list(found.values()))


def one_of(replies: Iterable[Reply | RequestError]) -> Reply | RequestError:
    """What answers a request that all of several were asked: the first error, or else the first answer."""
    replies = list(replies)
    refused = [reply for reply in replies if isinstance(reply, RequestError)]
    return (refused or replies or [Done()])[0]


def _different(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text))
