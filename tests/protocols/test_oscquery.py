"""The address space as OSCQuery tells it, without a socket."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.bridge_messages import BRIDGE_REQUESTS, BridgeReport, SetDefaults, Weigh
from protocols.fields import fields_of
from protocols.messages import ENGINE_REQUESTS, Request
from protocols.osc import form
from protocols.oscquery.nodes import READ, WRITE, Node, container, parameter, request
from protocols.oscquery.snapshot import Answer, Snapshot, Structure
from tests.support.controller import walk

INFO = {"NAME": "a bridge"}
TEMPERATURE = parameter("/bridge/param/temperature", fields_of(SetDefaults)["temperature"], READ | WRITE, "setting")
STATE = parameter("/bridge/status/state", fields_of(BridgeReport)["state"], READ, "status")


def snapshot() -> Snapshot:
    """The bridge's requests, a setting and a state."""
    nodes = {path: request(address) for path, address in form.address_space(BRIDGE_REQUESTS).items()}
    nodes |= {node.path: node for node in (TEMPERATURE, STATE, container("/bridge/live", "live"))}
    return Snapshot(Structure(nodes), {TEMPERATURE.path: 0.5, STATE.path: "playing"})


def answered(target: str) -> Answer:
    return snapshot().answer(target, INFO)


def content(target: str) -> object:
    answer = answered(target)
    assert answer.status is HTTPStatus.OK
    return json.loads(answer.body)


@pytest.mark.parametrize("requests", [BRIDGE_REQUESTS, ENGINE_REQUESTS])
def test_every_request_is_a_node_of_its_own(requests: tuple[type[Request], ...]) -> None:
    addresses = form.address_space(requests)
    tree = Snapshot(Structure({path: request(address) for path, address in addresses.items()})).tree("/")
    nodes = {node["FULL_PATH"]: node for node in walk(tree)}
    assert addresses.keys() <= nodes.keys()
    for path, address in addresses.items():
        assert nodes[path]["ACCESS"] == WRITE
        for spec in address.named:
            assert f"{spec.name} (" in nodes[path]["DESCRIPTION"]


def test_a_node_says_what_it_takes_from_the_schema() -> None:
    node = content("/bridge/level")
    assert isinstance(node, dict)
    level = fields_of(form.address_space(BRIDGE_REQUESTS)["/bridge/level"].request)["level"]
    assert node["TYPE"] == "if"
    assert node["RANGE"] == [{"MIN": 0, "MAX": 2**31 - 1}, {"MIN": level.minimum, "MAX": level.maximum}]
    assert node["UNIT"] == ["", "gain.db"]
    assert node["CRITICAL"] is True


def test_what_any_number_may_follow_says_so_up_to_eight() -> None:
    node = request(form.address_space([Weigh])["/bridge/weights"]).attributes(None)
    assert node["TYPE"] == "if"
    assert [one["TYPE"] for one in node["OVERLOADS"]] == ["i" + "f" * count for count in range(2, 9)]


def test_choices_are_told_and_plain_text_has_no_range() -> None:
    assert "RANGE" not in STATE.attributes("playing"), "some controllers take any range of a text for a menu"
    blend = parameter("/x", fields_of(BRIDGE_REQUESTS[0])["blend"], READ | WRITE)
    assert blend.attributes("guidance")["RANGE"] == [{"VALS": ["embedding", "guidance"]}]


def test_a_node_may_be_asked_and_hold_others() -> None:
    tree = snapshot().tree("/bridge/templates")
    assert tree["TYPE"] == "N"
    assert {"keep", "forget"} <= tree["CONTENTS"].keys()


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/bridge/param/temperature?VALUE", {"VALUE": [0.5]}),
        ("/bridge/param/temperature?value", {"VALUE": [0.5]}),
        ("/bridge/param/temperature/?VALUE&ACCESS", {"VALUE": [0.5], "ACCESS": 3}),
        ("/bridge/param/temperature?RANGE#there", {"RANGE": [{"MIN": 0.0, "MAX": 4.0}]}),
        ("/bridge/param?TYPE", {}),
        ("/bridge/status/state?UNIT", {}),
        ("?HOST_INFO", INFO),
        ("/nowhere?HOST_INFO", INFO),
        ("http://127.0.0.1:7773/?HOST_INFO", INFO),
        ("/%62ridge/live", {"FULL_PATH": "/bridge/live", "ACCESS": 0, "DESCRIPTION": "live"}),
    ],
)
def test_what_is_asked_for_is_told(target: str, found: object) -> None:
    assert content(target) == found


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/nowhere", 404),
        ("/bridge/play/what", 404),
        ("/bridge/play?VALUE", 204),
        ("/bridge?VALUE", 204),
        ("/bridge?NONSENSE", 400),
        ("/bridge?HTML", 400),
        ("/?" + "VALUE&" * 100, 400),
        ("/%ff", 400),
        ("http://[", 400),
    ],
)
def test_what_cannot_be_told_is_refused_as_the_proposal_says(target: str, status: int) -> None:
    answer = answered(target)
    assert answer.status == status
    assert (status == 204) == (not answer.body)


@given(st.text(max_size=200))
def test_no_question_is_too_strange(target: str) -> None:
    assert answered(target).status in (200, 204, 400, 404)


def test_a_value_that_is_not_there_yet_is_left_out() -> None:
    found = Snapshot(Structure({STATE.path: STATE})).answer("/bridge/status/state?VALUE", INFO)
    assert (found.status, found.body) == (HTTPStatus.OK, b"{}")


def test_what_lies_between_is_filled_in() -> None:
    structure = Structure({"/a/b/c": Node("/a/b/c")})
    assert set(structure.nodes) == {"/", "/a", "/a/b", "/a/b/c"}
    assert structure.children["/a"] == ("b",)
