"""The engine process over ZeroMQ, spoken to by a client that is not ours."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from protocols import PROTOCOL_VERSION
from protocols.wire import MAX_MESSAGE
from tests.support.clients import ZmqPeer
from tests.support.models import untrained_pocket
from tests.support.processes import Process, wait_until


@pytest.fixture
def peer(engine: Process):
    with ZmqPeer(engine.ports["port"]) as peer:
        yield peer


def tone(seconds: float, rate: int = 32000) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 220 * np.arange(int(seconds * rate)) / rate).astype(np.float32)


def test_the_hello_says_what_the_engine_is(peer: ZmqPeer) -> None:
    welcome = peer.welcome
    assert welcome["type"] == "welcome"
    assert (welcome["protocol"], welcome["model"], welcome["status"]) == (
        PROTOCOL_VERSION,
        untrained_pocket().name,
        "untrained",
    )
    assert (welcome["sample_rate"], welcome["channels"], welcome["frame_samples"]) == (32000, 1, 640)


def test_nothing_is_served_before_the_hello(engine: Process) -> None:
    with ZmqPeer(engine.ports["port"], hello=False) as peer:
        assert peer.ask("status")["code"] == "handshake"
        refused = peer.ask("hello", protocol=PROTOCOL_VERSION + 1)
        assert (refused["code"], refused["field"], refused["value"]) == (
            "version",
            "protocol",
            str(PROTOCOL_VERSION + 1),
        )
        assert str(PROTOCOL_VERSION) in refused["allowed"]
        assert peer.ask("hello", protocol=PROTOCOL_VERSION)["type"] == "welcome"


def test_a_stream_has_exactly_the_length_that_was_asked_for(peer: ZmqPeer) -> None:
    ended, samples = peer.stream("generate", prompt="happy rock", duration=1.237, seed=1)
    assert ended["reason"] == "done"
    assert len(samples) == round(1.237 * 32000) == ended["samples"]
    assert np.isfinite(samples).all()
    assert samples.std() > 1e-3
    assert peer.headers[-1][6] is True, "the last block says that it is the last"


def test_the_same_seed_gives_the_same_samples_whatever_runs_beside(peer: ZmqPeer, engine: Process) -> None:
    _, alone = peer.stream("generate", prompt="slow piano", duration=1.0, seed=11)
    with ZmqPeer(engine.ports["port"]) as other:
        busy = other.ask("generate", prompt="fast drums", duration=3.0, seed=5)["stream"]
        _, beside = peer.stream("generate", prompt="slow piano", duration=1.0, seed=11)
        other.finish(busy)
    assert np.array_equal(alone, beside)
    _, different = peer.stream("generate", prompt="slow piano", duration=1.0, seed=12)
    assert not np.array_equal(alone, different)


def test_a_seed_that_the_engine_picks_is_told_and_makes_the_same_again(peer: ZmqPeer) -> None:
    opened = peer.ask("generate", prompt="x", duration=0.5)
    assert opened["seed"] >= 0
    _, first = peer.finish(opened["stream"])
    _, again = peer.stream("generate", prompt="x", duration=0.5, seed=opened["seed"])
    assert np.array_equal(first, again)


def test_a_stream_goes_on_from_samples_sent_along(peer: ZmqPeer) -> None:
    audio = tone(2.0)
    ended, samples = peer.stream(
        "continue", audio.tobytes(), prompt="same", duration=1.0, seed=3, sample_rate=32000, channels=1
    )
    assert (ended["reason"], len(samples)) == ("done", 32000)
    recipe = peer.event("recipe")
    assert len(recipe["prompt_codes"]) == 2 * recipe["codebooks"] * 100, "2 s at 50 frames per second"


def test_a_take_can_be_made_again_from_its_recipe(peer: ZmqPeer) -> None:
    opened = peer.ask(
        "continue", tone(1.0).tobytes(), prompt="a", duration=2.0, sample_rate=32000, channels=1, lead=0.3
    )
    stream = opened["stream"]
    peer.event("started", stream)
    assert peer.ask("update", stream=stream, prompt="something else", temperature=0.7)["type"] == "done"
    _, made = peer.finish(stream)
    recipe = peer.event("recipe", stream)
    assert recipe["changes"], "the update is part of the recipe"
    request = {name: value for name, value in recipe["request"].items() if name not in ("type", "seed")}
    assert recipe["seam_record"], "and so is what leads over to it"
    request |= {"codebooks": recipe["codebooks"], "sample_rate": 0, "seam_record": recipe["seam_record"]}
    _, again = peer.stream(
        "continue",
        recipe["prompt_codes"],
        **request,
        seed=recipe["seed"],
        script=msgspec.json.encode(recipe["changes"]).decode(),
    )
    assert np.array_equal(made, again)


def test_a_region_of_a_file_is_read_by_the_engine(peer: ZmqPeer, studio: Path) -> None:
    path = studio / "region.wav"
    soundfile.write(path, np.stack([tone(3.0, 44100)] * 2, axis=1), 44100)
    ended, samples = peer.stream("continue", path=str(path), start=0.5, length=1.5, duration=0.6, seed=1)
    assert (ended["reason"], len(samples)) == ("done", 19200)


def test_an_endless_stream_keeps_to_its_lead_and_ends_when_told(peer: ZmqPeer) -> None:
    stream = peer.ask("open", prompt="drone", seed=1, lead=0.5)["stream"]
    wait_until(lambda: peer.receive(0.1) and len(peer.samples(stream)) >= 16000)
    while peer.receive(0.5):
        pass
    made = len(peer.samples(stream))
    assert made < 16000 + 8 * 640 + 640, "no further than the lead and the block that crosses it"
    peer.send("acknowledge", stream=stream, position=made)
    wait_until(lambda: peer.receive(0.1) and len(peer.samples(stream)) > made)
    peer.ask("cancel", stream=stream)
    ended = peer.event("ended", stream)
    assert ended["reason"] == "cancelled"
    assert ended["samples"] == len(peer.samples(stream)), "everything that was made was sent"


def test_cancel_comes_before_the_next_step(peer: ZmqPeer) -> None:
    stream = peer.ask("generate", prompt="long", duration=600.0, lead=120.0)["stream"]
    peer.event("started", stream)
    peer.ask("cancel", stream=stream)
    assert peer.event("ended", stream)["reason"] == "cancelled"
    assert all(item["stream"] != stream for item in peer.ask("streams")["items"])


def test_a_listener_hears_what_another_opened_and_is_told_what_it_missed(peer: ZmqPeer, engine: Process) -> None:
    stream = peer.ask("generate", prompt="radio", duration=14.0, seed=4, lead=1.0)["stream"]
    with ZmqPeer(engine.ports["port"]) as listener:
        assert listener.ask("listen", stream=stream)["type"] == "done"
        _, samples = peer.finish(stream)  # the listener acknowledges nothing: 10 s are sent to it, then no more
        missed = listener.event("missed", stream)
        listener.event("ended", stream)
        first = listener.headers[0][2]
        heard = np.concatenate(listener.blocks)
        assert np.array_equal(heard, samples[first : first + len(heard)])
        assert (missed["start"], missed["end"]) == (first + len(heard), len(samples))


def test_a_client_that_stops_reading_holds_nobody_up(peer: ZmqPeer, engine: Process) -> None:
    with ZmqPeer(engine.ports["port"]) as deaf:
        for _ in range(2):
            deaf.ask("generate", prompt="unheard", duration=60.0, lead=0.5)
        memory = peer.ask("status")["memory_mb"]
        # Both places are taken by streams that wait for their owner; when it leaves, the next stream runs.
        waiting = peer.ask("generate", prompt="heard", duration=0.5)
        assert waiting["waiting"] >= 0
        deaf.ask("cancel", stream=0)
        ended, _ = peer.finish(waiting["stream"])
        assert ended["reason"] == "done"
        assert peer.ask("status")["memory_mb"] < memory + 50


def test_a_full_queue_answers_busy(peer: ZmqPeer) -> None:
    opened = [peer.ask("generate", prompt="x", duration=60.0, lead=0.2) for _ in range(8)]
    accepted = [reply["stream"] for reply in opened if reply["type"] == "opened"]
    refused = [reply for reply in opened if reply["type"] == "fail"]
    assert len(accepted) == 6
    assert all(reply["code"] == "busy" for reply in refused)
    assert peer.ask("status")["busy"] >= 2
    peer.ask("cancel", stream=0)
    for stream in accepted:
        assert peer.event("ended", stream)["reason"] == "cancelled"


@pytest.mark.parametrize(
    ("kind", "fields", "code", "field"),
    [
        ("generate", {"prompt": "x", "temperature": 9.0}, "out_of_range", "temperature"),
        ("generate", {"prompt": "x", "temperature": math.nan}, "out_of_range", "temperature"),
        ("generate", {"prompt": "x", "top_k": "many"}, "bad_type", "top_k"),
        ("generate", {"prompt": "x", "colour": 1}, "unknown_parameter", "colour"),
        ("generate", {"prompt": "x" * 3000}, "too_long", "prompt"),
        ("generate", {"prompt": "x", "duration": 1e9}, "out_of_range", "duration"),
        ("generate", {"prompt": "x", "script": "{"}, "malformed", "script"),
        ("generate", {"prompt": "x", "script": '[{"frame": -1}]'}, "bad_type", "script.frame"),
        ("continue", {"prompt": "x"}, "missing", "path"),
        ("continue", {"path": "/etc/hostname"}, "not_allowed", "path"),
        ("compose", {}, "unknown_address", "type"),
        ("cancel", {"stream": 99999}, "unknown_stream", "stream"),
        ("update", {"stream": 99999, "guidance": 2.0}, "unknown_stream", "stream"),
        ("acknowledge", {"stream": 1, "position": -1}, "out_of_range", "position"),
    ],
)
def test_a_bad_request_names_field_value_and_range(
    peer: ZmqPeer, kind: str, fields: dict, code: str, field: str
) -> None:
    errors = peer.ask("status")["errors"]
    reply = peer.ask(kind, **fields)
    assert (reply["type"], reply["code"], reply["field"]) == ("fail", code, field)
    assert reply["allowed"]
    assert peer.ask("status")["errors"] == errors + 1


@pytest.mark.parametrize(
    ("payload", "fields", "code", "field"),
    [
        (b"\0" * 6, {"sample_rate": 32000}, "malformed", "payload"),
        (b"\0" * 8, {}, "missing", "sample_rate"),
        (np.full(8, np.nan, "<f4").tobytes(), {"sample_rate": 32000}, "out_of_range", "payload"),
        (np.zeros(32000 * 21, "<f4").tobytes(), {"sample_rate": 32000}, "too_long", "payload"),
        (np.full(8, 5000, "<u2").tobytes(), {"codebooks": 4}, "out_of_range", "payload"),
        (np.zeros(8, "<u2").tobytes(), {"codebooks": 3}, "out_of_range", "codebooks"),
    ],
)
def test_bad_audio_sent_along_is_refused(peer: ZmqPeer, payload: bytes, fields: dict, code: str, field: str) -> None:
    reply = peer.ask("continue", payload, prompt="x", **fields)
    assert (reply["type"], reply["code"], reply["field"]) == ("fail", code, field)


def test_broken_frames_are_answered_and_counted_while_a_stream_plays(peer: ZmqPeer) -> None:
    stream = peer.ask("generate", prompt="steady", duration=2.0, seed=2)["stream"]
    errors = peer.ask("status")["errors"]
    broken = [[b"Q"], [b"X", b"1"], [b"Q", b"\xc1"], [b"Q", msgspec.msgpack.encode([1])], [b"Q", b"", b"", b""]]
    for frames in broken:
        peer.socket.send_multipart(frames)
    peer.socket.send_multipart([b"Q", msgspec.msgpack.encode([77, {"type": "status"}]), bytes(MAX_MESSAGE)])
    assert peer.reply(77)["code"] == "too_large"
    assert peer.ask("status")["errors"] == errors + len(broken) + 1
    ended, samples = peer.finish(stream)
    assert (ended["reason"], len(samples)) == ("done", 64000)


def test_ten_thousand_messages_at_once_do_not_harm_a_stream(peer: ZmqPeer, engine: Process) -> None:
    _, undisturbed = peer.stream("generate", prompt="steady", duration=2.0, seed=8)
    stream = peer.ask("generate", prompt="steady", duration=2.0, seed=8)["stream"]
    with ZmqPeer(engine.ports["port"]) as flood:
        for _ in range(10_000):
            last = flood.send("generate", prompt="x", duration=-1.0)
        ended, samples = peer.finish(stream)
        assert flood.reply(last, seconds=60)["code"] == "out_of_range"
        assert len(flood.replies) == 9_999
    assert ended["reason"] == "done"
    assert np.array_equal(samples, undisturbed)


def test_streams_of_a_client_that_vanished_end(peer: ZmqPeer, engine: Process) -> None:
    ghost = ZmqPeer(engine.ports["port"])
    stream = ghost.ask("open", prompt="forever", lead=120.0)["stream"]
    ghost.event("started", stream)
    ghost.close()
    wait_until(lambda: all(item["stream"] != stream for item in peer.ask("streams")["items"]), 20, "the stream ends")


def test_models_and_version_are_listed(peer: ZmqPeer) -> None:
    models = {item["name"]: item for item in peer.ask("models")["items"]}
    assert models[untrained_pocket().name]["loaded"]
    assert models[untrained_pocket().name]["status"] == "untrained"
    assert models["musicgen-small"]["source"] == "facebook/musicgen-small"
    assert peer.ask("version")["protocol"] == PROTOCOL_VERSION
