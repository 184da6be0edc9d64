"""The files for Max: patches that Max can open, as far as their own rules tell, and that agree with script and schema."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import py2max
import pytest
from py2max.lint import WARNING

from engine.conditioning.words import key_in
from host_tables.max_panel import BY_WORDS, HEIGHT, SLOTS
from host_tables.max_patches import OUTPUTS
from protocols.description import describe
from tests.support.max_host import FOLDER, MaxHost

LONGEST_WHOLE_NUMBER = 2**24  # what a parameter of Live, a 32-bit float, still counts to
# Messages that objects of Max understand themselves: node.script's own, and transport messages of the player and the recorder.
NODE_ITSELF = {"script"}
CHUNKS = struct.Struct("<4sI4s4sII4sI")


def device_bytes() -> bytes:
    return (FOLDER / "dawbridge.amxd").read_bytes()


def patcher(name: str) -> dict[str, Any]:
    if name == "maxpat":
        return dict(json.loads((FOLDER / "dawbridge.maxpat").read_text("utf-8"))["patcher"])
    return dict(json.loads(device_bytes()[CHUNKS.size : -1])["patcher"])


@pytest.fixture(params=["maxpat", "amxd"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def patch(name: str) -> dict[str, Any]:
    return patcher(name)


def boxes(patch: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["box"]["id"]: entry["box"] for entry in patch["boxes"]}


def cords(patch: dict[str, Any]) -> list[tuple[str, int, str, int]]:
    lines = [entry["patchline"] for entry in patch["lines"]]
    return [(*line["source"], *line["destination"]) for line in lines]


def find(patch: dict[str, Any], start: str) -> dict[str, Any]:
    return next(box for box in boxes(patch).values() if box.get("text", "").startswith(start))


def into(patch: dict[str, Any], box: dict[str, Any]) -> list[dict[str, Any]]:
    """The boxes whose cords end in its first inlet."""
    return [boxes(patch)[source] for source, _, target, inlet in cords(patch) if (target, inlet) == (box["id"], 0)]


def test_a_device_is_a_container_of_whole_chunks_with_a_patch_in_it() -> None:
    content = device_bytes()
    magic, version, kind, meta, meta_size, _, chunk, size = CHUNKS.unpack_from(content)
    assert (magic, version, kind) == (b"ampf", 4, b"aaaa"), "an audio effect"
    assert (meta, meta_size, chunk) == (b"meta", 4, b"ptch")
    assert size == len(content) - CHUNKS.size
    assert content.endswith(b"}\n\0")
    assert patcher("amxd")["project"]["amxdtype"] == int.from_bytes(kind, "big")
    assert patcher("amxd")["openinpresentation"] == 1


def test_py2max_reads_a_patch_and_finds_no_fault(tmp_path: Path, patch: dict[str, Any]) -> None:
    path = tmp_path / "patch.maxpat"
    path.write_text(json.dumps({"patcher": patch}))
    findings = py2max.Patcher.from_file(path).lint()
    assert [str(each) for each in findings if each.severity != WARNING] == []
    # Its reference has no Node for Max; and the window is as large as the panel, which is what opens.
    rest = [each for each in findings if each.code != "W-OFFCANVAS" and "node.script" not in each.message]
    assert [str(each) for each in rest] == []


def test_every_cord_ends_at_a_port_that_exists(patch: dict[str, Any]) -> None:
    known = boxes(patch)
    assert len(known) == len(patch["boxes"])
    for source, outlet, target, inlet in cords(patch):
        assert outlet < known[source]["numoutlets"], known[source]
        assert inlet < known[target]["numinlets"], known[target]
    assert len(set(cords(patch))) == len(patch["lines"])


def test_the_panel_fits_and_nothing_lies_on_anything(name: str, patch: dict[str, Any]) -> None:
    shown = [box for box in boxes(patch).values() if box.get("presentation")]
    rects = {box["id"]: box["presentation_rect"] for box in shown if box["maxclass"] != "comment"}
    for number, (x, y, width, height) in rects.items():
        assert x >= 0
        assert y >= 0
        assert y + height <= HEIGHT, boxes(patch)[number]
        if name == "amxd":
            assert x + width <= patch["devicewidth"]
    for one in rects:
        for other in rects:
            if one < other:
                a, b = rects[one], rects[other]
                apart = a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]
                assert apart, (boxes(patch)[one], boxes(patch)[other])


def test_parameters_have_the_ranges_of_the_schema(patch: dict[str, Any]) -> None:
    bridge = describe().bridge
    specs = {spec.name: spec for verb in ("update", "play", "open") for spec in bridge.address(verb).parameters}
    seen = set()
    for box in boxes(patch).values():
        value = box.get("saved_attribute_attributes", {}).get("valueof", {})
        spec = specs.get(value.get("parameter_longname", ""))
        if box["maxclass"] == "live.dial" and spec is not None:
            assert (value["parameter_mmin"], value["parameter_mmax"]) == (spec.minimum, spec.maximum), spec.name
            assert value["parameter_initial"] == [float(spec.default)], spec.name
            assert abs(value["parameter_mmax"]) < LONGEST_WHOLE_NUMBER
            seen.add(spec.name)
        elif box["maxclass"] == "live.menu" and spec is not None:
            assert spec.name == "key" or tuple(value["parameter_enum"]) == spec.choices
            seen.add(spec.name)
        elif box.get("varname") == "seed":
            assert (box["minimum"], box["maximum"]) == (specs["seed"].minimum, specs["seed"].maximum)
            assert find(patch, f"loadmess set {specs['seed'].default}") in into(patch, box)
            seen.add("seed")
    assert seen == {
        "temperature", "guidance", "top_k", "top_p", "bpm", "morph", "level", "duration", "latency", "at", "blend", "key", "seed",
    }  # fmt: skip


def test_what_live_keeps_has_a_name_of_its_own_and_stands_in_the_patchs_list(patch: dict[str, Any]) -> None:
    kept = {box["id"]: box for box in boxes(patch).values() if box.get("parameter_enable")}
    names = [box["saved_attribute_attributes"]["valueof"]["parameter_longname"] for box in kept.values()]
    assert len(set(names)) == len(names)
    listed = {key: entry for key, entry in patch["parameters"].items() if key.startswith("obj-")}
    assert {key: entry[0] for key, entry in listed.items()} == dict(zip(kept, names, strict=True))
    banks = [
        name for bank in patch["parameters"]["parameterbanks"].values() for name in bank["parameters"] if name != "-"
    ]
    assert set(banks) <= set(names)
    assert {f"prompt{slot}" for slot in range(1, SLOTS + 1)} | {f"weight{slot}" for slot in range(1, SLOTS + 1)} <= set(
        names
    )


def test_every_message_to_the_script_has_a_handler(patch: dict[str, Any]) -> None:
    with MaxHost() as max_host:
        known = {*max_host.handlers(), *NODE_ITSELF}
    for box in into(patch, find(patch, "node.script")):
        words = box["text"].split()
        if box["maxclass"] == "newobj" and words[0] == "js":
            continue  # its messages are checked as they come, in test_max.py
        assert box["maxclass"] == "message" or words.pop(0) == "prepend", box
        assert words[0] in known, box


def test_what_the_script_says_has_a_way_in_the_patch(patch: dict[str, Any]) -> None:
    script = (FOLDER / "client" / "device.js").read_text("utf-8")
    declared = re.search(r"const OUTPUTS = \[(.*?)\]", script, re.DOTALL)
    assert declared is not None
    assert tuple(re.findall(r'"(\w+)"', declared[1])) == OUTPUTS
    assert set(re.findall(r'outlet\("(\w+)"', script)) == set(OUTPUTS)
    route = find(patch, "route status")
    assert into(patch, route) == [find(patch, "node.script")]
    assert tuple(route["text"].split()[1:]) == OUTPUTS
    wired = {outlet for source, outlet, _, _ in cords(patch) if source == route["id"]}
    needless = {OUTPUTS.index("place")} if "place" not in str(patch["parameters"]) else set()
    assert wired | needless == set(range(len(OUTPUTS) + 1))


def test_only_the_device_has_a_reader_of_live_and_it_has_a_function_for_each_message() -> None:
    assert not [box for box in boxes(patcher("maxpat")).values() if "live_clips" in box.get("text", "")]
    device = patcher("amxd")
    functions = set(re.findall(r"^function (\w+)\(", (FOLDER / "live_clips.js").read_text("utf-8"), re.MULTILINE))
    sent = {box["text"].removeprefix("prepend ").split()[0] for box in into(device, find(device, "js "))}
    assert sent == {"melody", "region", "place"}
    assert sent <= functions


def test_the_reader_of_live_is_written_for_the_oldest_engine() -> None:
    script = (FOLDER / "live_clips.js").read_text("utf-8")
    code = re.sub(r"/\*.*?\*/|//[^\n]*|\"[^\"]*\"", "", script, flags=re.DOTALL)
    assert re.findall(r"=>|\b(?:let|const|class|async|await)\b|`|\.\.\.", code) == []


def test_keys_of_the_menu_are_keys_that_the_bridge_reads() -> None:
    for box in boxes(patcher("amxd")).values():
        if box.get("varname") == "key":
            words = box["saved_attribute_attributes"]["valueof"]["parameter_enum"]
            assert words[0] == BY_WORDS
            assert len(set(words[1:])) == 24
            assert all(key_in(f"in {word}") is not None for word in words[1:])


def test_what_the_panel_shows_is_told_once_the_script_runs(patch: dict[str, Any]) -> None:
    values = find(patch, "outputvalue")
    again = into(patch, values)[0]
    banged = {boxes(patch)[target].get("varname") for source, _, target, _ in cords(patch) if source == again["id"]}
    told = {boxes(patch)[target]["varname"] for source, _, target, _ in cords(patch) if source == values["id"]}
    assert told == {"take", "follow"}, "switches, which a bang would turn over"
    dials = {
        box["varname"] for box in boxes(patch).values() if box["maxclass"] in {"live.dial", "live.menu", "textedit"}
    }
    assert banged == dials | {"seed", "port", None}


def test_the_transport_is_read_in_the_order_in_which_it_speaks(patch: dict[str, Any]) -> None:
    transport, pack = find(patch, "transport"), find(patch, "pack")
    known = {(source, outlet): inlet for source, outlet, target, inlet in cords(patch) if target == pack["id"]}
    assert known[transport["id"], 4] == 0, "the tempo comes last of what is read, and sends the list"
    assert known[transport["id"], 7] == 1
    assert known[transport["id"], 6] == 2
