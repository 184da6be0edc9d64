"""An Ableton Link session as a clock: joined by a process of its own, followed by what that reports."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol

import structlog

from daw_bridge.audio.devices import error_from_dict
from daw_bridge.child import Child
from daw_bridge.clock.link_process import MISSING
from daw_bridge.clock.timeline import Timeline
from protocols.errors import ErrorCode, RequestError
from protocols.messages import FASTEST_BPM, SLOWEST_BPM
from protocols.units import as_fraction

log = structlog.get_logger()

_SILENCE_S = 3.0
_REJOIN_S = Fraction(2)
_NEGLIGIBLE_S = 50e-6
_NANO = 10**9


class LinkSession(Protocol):
    """What the clock needs of `Child`."""

    @property
    def silent_s(self) -> float: ...
    def tell(self, line: dict[str, Any]) -> bool: ...
    def read(self) -> list[dict[str, Any] | None]: ...
    def close(self) -> None: ...


def require_link() -> None:
    """Refuse where Link's library is not installed.

    Raises:
        RequestError: UNSUPPORTED about ``source``.
    """
    if importlib.util.find_spec("link") is None or importlib.util.find_spec("_link") is None:
        raise RequestError(ErrorCode.UNSUPPORTED, "source", "link", MISSING)


def join_session(first: dict[str, Any]) -> LinkSession:
    """Join in a process of its own."""
    return Child("daw_bridge.clock.link_process", first)


class LinkClock:
    """Follows a Link session. For the I/O loop's thread alone.

    Joining takes the session's tempo, beat and bar line; nothing but `propose` changes them. Beats of a session never stop: without
    ``sync`` the clock plays from when it has joined, with it as the session starts and stops. A report is exact to some
    microseconds, so that it is not smoothed.

    Args:
        now: seconds, never less than before.
        timeline: its tempo is that of a session without other peers.
        sync: whether it takes part in the session's starts and stops.
        join: makes the peer.
        perf_ns: the clock of its stamps, ns.
    """

    source = "link"
    led = False

    def __init__(
        self,
        now: Callable[[], Fraction],
        timeline: Timeline | None = None,
        sync: bool = False,
        join: Callable[[dict[str, Any]], LinkSession] = join_session,
        perf_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.timeline = timeline or Timeline()
        self.peers = 0
        self._now = now
        self._sync = sync
        self._join = join
        self._perf_ns = perf_ns
        self._rejoin_at: Fraction | None = None
        self._session: LinkSession | None = self._joined()
        self._quantum = self.timeline.beats_per_bar

    @property
    def sync(self) -> bool:
        """Whether it takes part in the session's starts and stops."""
        return self._sync

    @sync.setter
    def sync(self, sync: bool) -> None:
        self._sync = sync
        self._tell({"sync": sync})

    def now(self) -> Fraction:
        return self._now()

    def propose(self, bpm: float) -> None:
        """Ask the session to go on at another tempo."""
        self._tell({"bpm": bpm})
        self.timeline.set_tempo(bpm, self._now())

    def play(self, playing: bool) -> None:
        """Start the session on its next bar line, which is bar 1, or stop it.

        Raises:
            RequestError: NOT_ALLOWED without ``sync``.
        """
        if not self._sync:
            allowed = "start_stop_sync 1, to take part in the session's starts and stops; its beats never stop"
            raise RequestError(ErrorCode.NOT_ALLOWED, "clock", "start" if playing else "stop", allowed)
        self._tell({"playing": playing})

    def pump(self) -> None:
        """Take in what the session says; to be called every few milliseconds."""
        if self.timeline.beats_per_bar != self._quantum:
            self._quantum = self.timeline.beats_per_bar
            self._tell({"quantum": self._quantum})
        now, perf = self._now(), self._perf_ns()
        if self._session is None:
            if self._rejoin_at is not None and now >= self._rejoin_at:
                self._session, self._rejoin_at = self._joined(), None
            return
        reports = self._session.read()
        if None in reports or self._session.silent_s > _SILENCE_S:
            self._lose(reports, now)
            return
        latest = next((one for one in reversed(reports) if one is not None and "beat" in one), None)
        if latest is not None:
            self._follow(latest, now, perf)

    def close(self) -> None:
        """Leave the session."""
        if self._session is not None:
            self._session.close()
        self._session = self._rejoin_at = None

    def _joined(self) -> LinkSession:
        bpm = float(self.timeline.at(self._now()).bpm)
        return self._join({"bpm": bpm, "quantum": self.timeline.beats_per_bar, "sync": self._sync})

    def _tell(self, line: dict[str, Any]) -> None:
        if self._session is not None:
            self._session.tell(line)

    def _lose(self, reports: list[dict[str, Any] | None], now: Fraction) -> None:
        error = next((error_from_dict(one["error"]).text for one in reports if one is not None and "error" in one), "")
        log.warning("the Link session is lost; it is joined again", reason=error)
        self.close()
        self.peers = 0
        self.timeline.stop(now)
        self._rejoin_at = now + _REJOIN_S

    def _follow(self, report: dict[str, Any], now: Fraction, perf: int) -> None:
        """Let the timeline lie where the session is."""
        self.peers = report["peers"]
        piece = self.timeline.at(now)
        playing = report["playing"] or not self._sync
        bpm = as_fraction(round(report["bpm"], 3))
        if not SLOWEST_BPM <= bpm <= FASTEST_BPM:
            bpm = piece.bpm
        since = Fraction(max(0, perf - report["at"]), _NANO)
        beat = Fraction(round(report["beat"] * _NANO), _NANO) + since * bpm / 60
        error = float(abs(beat - piece.beat_at(now)) * 60 / bpm)
        if playing == piece.playing and bpm == piece.bpm and (not playing or error < _NEGLIGIBLE_S):
            return
        self.timeline.set_tempo(bpm, now)
        self.timeline.locate(beat, now)
        (self.timeline.start if playing else self.timeline.stop)(now)
