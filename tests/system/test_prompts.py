"""Several prompts, faders and morphs over OSC, through a real bridge and a real engine, and the take made again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.clients import OscPeer


@pytest.mark.parametrize("blend", ["embedding", "guidance"])
def test_prompts_are_faded_and_morphed_and_made_again(host: OscPeer, blend: str) -> None:
    arguments = ["bpm", 240.0, "blend", blend, "save", 1, "sound", 0, "latency", 0.3, "seed", 3]
    host.send("/bridge/open", 1, "warm strings || solo harp", *arguments)
    stream = host.wait("/bridge/queued", 1)[1]
    host.wait("/bridge/started", stream)
    assert host.ask("/bridge/weights", 2, stream, 0.25, 0.75)[0] == "/done"
    host.wait("/bridge/updated", stream)
    host.heard.clear()
    asked = ["prompt", "distorted guitar", "guidance", 2.0, "seed", 9, "morph", 2.0]
    assert host.ask("/bridge/update", 3, stream, *asked)[0] == "/done"
    host.wait("/bridge/updated", stream)
    host.heard.clear()
    for _ in range(3):  # well beyond the half second of the morph
        host.wait("/bridge/progress", stream)
        host.heard.clear()
    host.ask("/bridge/cancel", 4, stream)
    take = Path(host.wait("/done", "/bridge/open", 1)[6])
    sidecar = json.loads(take.with_suffix(".json").read_text())
    faded, morphed = sidecar["changes"]
    assert (faded["prompt"], faded["weights"], faded["blend"]) == ("warm strings || solo harp", "0.25 0.75", blend)
    assert (morphed["prompt"], morphed["weights"], morphed["morph"]) == ("distorted guitar", "", 2.0)
    assert (morphed["guidance"], morphed["seed"]) == (2.0, 9)
    assert 0 < faded["frame"] < morphed["frame"]

    outcome, answer = host.ask("/bridge/again", 5, str(take.with_suffix(".json")), "sound", 0)
    assert (outcome, answer[1]) == ("/done", "done")
    assert np.array_equal(soundfile.read(take)[0], soundfile.read(answer[4])[0])


@pytest.mark.parametrize(
    ("address", "arguments", "code", "named"),
    [
        ("/bridge/play", [1, "a || b", "weights", "1"], "out_of_range", "weights"),
        ("/bridge/play", [1, "a", "blend", "mixer"], "out_of_range", "blend"),
        ("/bridge/play", [1, " || ".join("abcdefghi")], "too_long", "prompt"),
        ("/bridge/play", [1, "a", "stride", 30.0], "out_of_range", "stride"),
    ],
)
def test_what_cannot_be_is_refused(host: OscPeer, address: str, arguments: list[object], code: str, named: str) -> None:
    outcome, answer = host.ask(address, *arguments)
    assert outcome == "/fail"
    assert answer[0] == code
    assert named in answer[1]


def test_a_wrong_change_leaves_the_stream_as_it_is(host: OscPeer) -> None:
    host.send("/bridge/open", 1, "warm strings || solo harp", "sound", 0, "latency", 0.3)
    stream = host.wait("/bridge/queued", 1)[1]
    host.wait("/bridge/started", stream)
    for arguments in (["/bridge/weights", 2, stream, 1.0], ["/bridge/weights", 3, stream, 0.0, 0.0]):
        outcome, answer = host.ask(*arguments)
        assert (outcome, answer[0]) == ("/fail", "out_of_range")
    assert host.ask("/bridge/update", 4, stream, "morph", 4000.0)[0] == "/fail"
    assert host.ask("/bridge/weights", 5, stream, 1.0, 2.0)[0] == "/done"
    host.wait("/bridge/updated", stream)
    host.ask("/bridge/cancel", 6, stream)
    assert host.wait("/done", "/bridge/open", 1)[3] == "cancelled"
