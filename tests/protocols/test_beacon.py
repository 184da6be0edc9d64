"""Announcements on loopback, heard by another; and what becomes of them where nothing can be announced."""

from __future__ import annotations

import os
import time

import pytest
import zeroconf

from protocols.oscquery.beacon import Beacon
from tests.support.controller import KINDS, Browser

QUERY, OSC = KINDS
LOOPBACK = "127.0.0.1"


def beacon(name: str, port: int, host: str = LOOPBACK) -> Beacon:
    one = Beacon(name, f"beacon-{os.getpid()}-{port}", host, {"_oscjson._tcp": port, "_osc._udp": port + 1})
    one.start()
    return one


def test_both_services_are_found_and_taken_back() -> None:
    with Browser() as browser:
        one = beacon("a bridge 40001 on here", 40001)
        assert browser.wait(lambda: {(QUERY, 40001), (OSC, 40002)} <= browser.found.keys())
        info = browser.found[QUERY, 40001]
        assert (info.get_name(), info.parsed_addresses()) == ("a bridge 40001 on here", [LOOPBACK])
        one.close()
        one.join()
        assert browser.wait(lambda: not {(QUERY, 40001), (OSC, 40002)} & browser.found.keys())


def test_two_of_one_name_are_told_apart() -> None:
    with Browser() as browser:
        both = []
        for port in (
            40011,
            40021,
        ):  # the first one must be there to be met: real names hold the port, and are never the same
            both.append(beacon("twins", port))
            assert browser.wait(lambda port=port: (QUERY, port) in browser.found)
        assert browser.found[QUERY, 40011].name != browser.found[QUERY, 40021].name
        for one in both:
            one.close()
        for one in both:
            one.join()


@pytest.mark.parametrize("host", ["203.0.113.77", "no.such.name.invalid"])
def test_an_address_that_is_not_here_does_no_harm(host: str) -> None:
    one = beacon("nowhere", 40031, host)
    one.close()
    one.join()


def test_a_system_without_multicast_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[float] = []

    def refuse(*arguments: object, **named: object) -> None:
        tries.append(time.monotonic())
        raise OSError(19, "No such device")

    monkeypatch.setattr(zeroconf, "Zeroconf", refuse)
    one = beacon("nowhere", 40041)
    deadline = time.monotonic() + 10
    while not tries and time.monotonic() < deadline:
        time.sleep(0.01)
    assert tries
    one.close()
    one.join()
    assert not one._thread.is_alive()


def test_a_long_name_is_cut_between_two_letters() -> None:
    with Browser() as browser:
        one = beacon("ä" * 60, 40051)
        assert browser.wait(lambda: (QUERY, 40051) in browser.found)
        assert browser.found[QUERY, 40051].get_name() == "ä" * 31
        one.close()
        one.join()
