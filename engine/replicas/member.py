"""What the front knows of one replica: where it is, how it is, and what it has to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from engine.replicas.link import Link
from protocols.messages import EngineStatus, ModelChanged, ReplicaInfo, Welcome

_LEAST_REALTIME = 0.05


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a replica serves, as it says itself once its model is loaded.

    Attributes:
        endpoint: ``tcp://host:port``.
        node: address of its machine; replicas with the same one share their files.
        pid: of its process there.
        welcome: what it would tell a client.
    """

    endpoint: str
    node: str
    pid: int
    welcome: Welcome


@dataclass(eq=False)
class Member:
    """One replica, as the front sees it. For the loop's thread only.

    Attributes:
        number: from 1.
        place: None while it is not there.
        control: the front's own line to it.
        facts: of its model.
        status: as it told last.
        streams: that it makes for the front's clients, and those that it has been asked to.
        fault: what went wrong last.
        declined: it cannot load the model that the others have.
        starts: how often it was ready.
        lost_since: when it was last heard of, where it should be there and is not heard of.
    """

    number: int
    place: Place | None = None
    control: Link | None = None
    facts: ModelChanged | None = None
    status: EngineStatus | None = None
    streams: int = 0
    fault: str = ""
    declined: bool = False
    loading: bool = False
    starts: int = 0
    lost_since: float | None = None

    @property
    def ready(self) -> bool:
        """Whether it can be asked for something."""
        return self.place is not None and self.control is not None

    @property
    def node(self) -> str:
        """Address of its machine; empty while it is nowhere."""
        return self.place.node if self.place is not None else ""

    def info(self) -> ReplicaInfo:
        """How it is, for a list."""
        state = "lost" if self.starts else "starting"
        if self.ready:
            state = "loading another model" if self.loading else "ready"
        status = self.status
        return ReplicaInfo(
            replica=self.number,
            state=state,
            node=self.node,
            pid=self.place.pid if self.place is not None else 0,
            device=status.device if status is not None else "",
            model=self.facts.model if self.facts is not None else "",
            streams=self.streams,
            realtime=status.realtime if status is not None else 0.0,
            memory_mb=status.memory_mb if status is not None else 0.0,
            gpu_mb=status.gpu_mb if status is not None else 0.0,
            restarts=max(0, self.starts - 1),
            fault=self.fault,
        )


def facts_of(welcome: Welcome) -> ModelChanged:
    """Of a welcome what tells of the model."""
    return ModelChanged(**{name: getattr(welcome, name) for name in ModelChanged.__struct_fields__})


def by_load(members: Iterable[Member]) -> list[Member]:
    """Those that have the most to spare first: by the part of real time that one stream more would take, then by memory.

    A replica that has not worked yet is taken to be as fast as the others are on average. So equal replicas get as many streams
    each, and a GPU that is twice as fast gets twice as many.
    """
    members = list(members)
    speeds = {
        member: member.status.realtime
        for member in members
        if member.status is not None and member.status.realtime > _LEAST_REALTIME
    }
    usual = sum(speeds.values()) / len(speeds) if speeds else 1.0

    def key(member: Member) -> tuple[Any, ...]:
        load = (member.streams + 1) / speeds.get(member, usual)
        memory = 0.0 if member.status is None else member.status.memory_mb + member.status.gpu_mb
        return round(load, 2), member.streams, memory, member.number

    return sorted(members, key=key)
