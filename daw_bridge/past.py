"""The past of streams for the bridge's service: going back, taking another way, undoing, going on with one that is over."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Protocol

import msgspec

from daw_bridge.asking import Prepared
from daw_bridge.bridge_stream import BridgeStream
from daw_bridge.engine_client import EngineClient
from daw_bridge.opening import Opening
from daw_bridge.orders import Order
from daw_bridge.steering.steered import UNSTEERED
from daw_bridge.stream_table import StreamTable
from daw_bridge.wording import Wording
from protocols.bridge_messages import Branch, Export, PastRequest, PlayResume, Rewind, Undo
from protocols.errors import ErrorCode, RequestError
from protocols.messages import JournalList, Journals, Reply, Resume
from protocols.osc.front import Asker
from protocols.units import as_fraction

_LEAD_S = 1.0
_EXPORT_LEAD_S = 60.0


class PastHost(Protocol):
    """What the past needs of the bridge."""

    opening: Opening
    streams: StreamTable

    def ready_engine(self) -> EngineClient:
        """The engine; raises ENGINE_LOST."""

    def fail(self, asker: Asker, error: RequestError) -> None:
        """Refuse a client's request."""


class PastDesk:
    """Makes new streams from what was. For the loop's thread only.

    Args:
        host: the bridge.
    """

    requests = PastRequest

    def __init__(self, host: PastHost) -> None:
        self._host = host

    def handle(self, request: PastRequest, asker: Asker) -> None:
        """Open what is asked for; it is answered when it is over.

        Raises:
            RequestError: UNKNOWN_STREAM; MISSING where a stream has no journal or no tempo; EMPTY with nothing to undo;
                OUT_OF_RANGE for a bar that has not been played; as `Opening.open`.
        """
        if isinstance(request, Export) and not request.stream:
            self._export(request, asker)
            return
        prepared, request = self._prepared(request)
        self._host.opening.open(Order(request, asker, time.monotonic()), prepared)

    def _export(self, request: Export, asker: Asker) -> None:
        """A stream that is over: only the engine knows how long it was."""
        if not request.journal:
            raise RequestError(ErrorCode.MISSING, "journal", "", "a stream that plays, or a journal")
        engine = self._host.ready_engine()

        def listed(reply: Reply | RequestError) -> None:
            try:
                if isinstance(reply, RequestError):
                    raise reply
                items = reply.items if isinstance(reply, JournalList) else []
                seconds = next((item.seconds for item in items if item.journal == request.journal), None)
                if seconds is None:
                    raise RequestError(ErrorCode.NOT_FOUND, "journal", request.journal, "a journal that is listed")
                rate = engine.welcome.sample_rate if engine.welcome is not None else 0
                everything = Prepared(_everything(request.journal), limit=round(as_fraction(seconds) * rate))
                self._host.opening.open(Order(request, asker, time.monotonic()), everything)
            except RequestError as error:
                self._host.fail(asker, error)

        engine.request(Journals(), listed)

    def pump(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    def _prepared(self, request: PastRequest) -> tuple[Prepared, PastRequest]:
        """What the engine is asked for, and the request with the stream whose place the new one takes."""
        streams = self._host.streams
        match request:
            case PlayResume():
                resume = Resume(
                    journal=request.journal,
                    seconds=request.seconds,
                    seed=request.seed,
                    exact=request.exact,
                    changes=request.changes,
                    lead=_LEAD_S,
                )
                return Prepared(resume), request
            case Export(stream=number):
                stream = streams.find(number)
                limit = stream.began_at + stream.samples
                steering = UNSTEERED if stream.began_at else stream.steered.governed_again
                everything = _everything(_journal(stream))
                return Prepared(everything, limit=limit, wording=stream.wording, steering=steering), request
            case Rewind(stream=number, bars=bars, seed=seed):
                stream = streams.find(number)
                bar = max(0, int(_position(stream) // _bar(stream)) - bars)
                return _from_bar(stream, bar, seed), _in_place_of(request, number)
            case Branch(stream=number, bar=bar, seed=seed, beside=beside):
                stream = streams.find(number)
                prepared = _from_bar(stream, bar - 1, seed)
                return prepared, request if beside else _in_place_of(request, number)
            case Undo(stream=number):
                stream = streams.find(number)
                if stream.last_change is None:
                    raise RequestError(ErrorCode.EMPTY, "stream", number, "a stream that was changed")
                _, frame_samples = stream.rates
                bar = int(stream.last_change * frame_samples // _bar(stream))
                return _from_bar(stream, bar, None), _in_place_of(request, number)
        raise RequestError(ErrorCode.UNSUPPORTED, "request", type(request).__name__, "a request about the past")


def _everything(journal: str) -> Resume:
    return Resume(journal=journal, frame=0, changes=True, lead=_EXPORT_LEAD_S, background=True)


def _from_bar(stream: BridgeStream, bar: int, seed: int | None) -> Prepared:
    """A stream that begins where a bar of another does, counted from 0, as that was then."""
    sample = round(bar * _bar(stream))
    rate, frame_samples = stream.rates
    if sample > stream.began_at + stream.samples:
        played = (stream.began_at + stream.samples) // _bar(stream) + 1
        raise RequestError(ErrorCode.OUT_OF_RANGE, "bar", bar + 1, f"1 to {played}: it has not come further")
    frame, skip = divmod(sample, frame_samples)
    wording = Wording()
    for since, words in stream.wordings:
        wording = words if since < frame or not since else wording
    resume = Resume(journal=_journal(stream), frame=frame, seed=seed, lead=_LEAD_S)
    note = f"from bar {bar + 1} of stream {stream.number} on, at {sample / rate:.5g} s"
    steering = stream.steered.heir
    return Prepared(
        resume,
        note=note,
        wording=wording,
        began_at=sample,
        skip=skip,
        steering=steering,
        sections=stream.sections,
    )


def _in_place_of(request: PastRequest, number: int) -> PastRequest:
    return msgspec.structs.replace(request, replaces=number)


def _journal(stream: BridgeStream) -> str:
    if not stream.journal:
        raise RequestError(ErrorCode.MISSING, "journal", "", "an engine that keeps journals (files.journal)")
    return stream.journal


def _bar(stream: BridgeStream) -> Fraction:
    """Samples in a bar of it."""
    seconds = stream.bar_seconds
    if seconds is None:
        raise RequestError(ErrorCode.MISSING, "bpm", 0, "a stream whose tempo is known: by bpm, a clock or its words")
    return seconds * stream.rates[0]


def _position(stream: BridgeStream) -> int:
    """Its sample that is about to be heard, as its journal counts."""
    return stream.began_at + stream.played
