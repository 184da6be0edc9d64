"""Ableton Link between real peers, in a network namespace of their own."""

from __future__ import annotations

import statistics

import pytest

from tests.support.link_session import TEMPO, run_session


def test_the_clock_is_where_another_peer_is() -> None:
    session = run_session("library")
    assert session["met"]
    assert session["tempo"] == pytest.approx(TEMPO, abs=0.001), "the session's tempo is not the bridge's to set"
    assert session["bridge_tempo"] == pytest.approx(TEMPO, abs=0.001)
    assert statistics.median(session["errors_ms"]) < 3
    assert session["proposed"], "a tempo that is asked for on the bridge reaches the session"


def test_linkhut_is_met_on_its_beat() -> None:
    session = run_session("LinkHut")
    assert session["met"]
    assert (session["tempo"], session["bridge_tempo"]) == (120, 120), "not the 140 of the bridge"
    # It shows hundredths of a beat, 6 ms, rounded, from when it woke up.
    assert statistics.median(session["errors_ms"]) < 20
    assert session["proposed"]
