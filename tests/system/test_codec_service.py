"""The codec's service in a real engine: over ZeroMQ and OSC, with files and with what is sent along, beside streams that play."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audio_files.coded import CodedReader
from audio_files.coded_files import facts_of
from tests.support.clients import OscPeer, ZmqPeer
from tests.support.processes import Process

RATE = 32_000


@pytest.fixture
def folder(studio: Path) -> Path:
    return studio


@pytest.fixture
def peer(engine: Process):
    with ZmqPeer(engine.ports["port"]) as peer:
        yield peer


@pytest.fixture
def recording(folder: Path) -> Path:
    noise = np.random.RandomState(3).randn(44_100 * 2 + 77, 2) * 0.1
    soundfile.write(folder / "codec-in.wav", noise, 44_100, subtype="PCM_24")
    return folder / "codec-in.wav"


def job(peer: ZmqPeer, kind: str, payload: bytes = b"", **fields: Any) -> dict[str, Any]:
    queued = peer.ask(kind, payload, **fields)
    assert queued["type"] == "codec_queued", queued
    ended = peer.event("codec/ended")
    assert ended["job"] == queued["job"]
    return ended


def ten_minutes(folder: Path) -> Path:
    """A file that takes seconds to encode."""
    path = folder / "long.wav"
    if not path.exists():
        noise = np.random.RandomState(4).randn(RATE * 60).astype(np.float32) * 0.1
        soundfile.write(path, np.tile(noise, 10), RATE, subtype="PCM_16")
    return path


def test_a_file_becomes_codes_and_sound_of_its_exact_length_again(peer: ZmqPeer, folder: Path, recording: Path) -> None:
    ended = job(peer, "codec/encode", path=str(recording), out=str(folder / "a.codes"), replace=True)
    assert (ended["reason"], ended["text"]) == ("done", "")
    facts = facts_of(folder / "a.codes")
    samples = round((44_100 * 2 + 77) * RATE / 44_100)
    assert (facts.samples, facts.damage, facts.header.codec) == (samples, "", peer.welcome["model"])
    assert (ended["frames"], ended["codebooks"]) == (facts.frames, facts.header.codebooks)
    assert ended["size"] == facts.bytes
    back = job(peer, "codec/decode", path=str(folder / "a.codes"), out=str(folder / "a.flac"))
    assert (back["reason"], soundfile.info(back["path"]).frames) == ("done", samples)
    told = peer.ask("codec/info", path=str(folder / "a.codes"))
    assert (told["type"], told["frames"], told["damage"]) == ("coded_file", facts.frames, "")


def test_short_pieces_need_no_files(peer: ZmqPeer, recording: Path) -> None:
    sound, _ = soundfile.read(recording, dtype="float32", always_2d=True)
    ended = job(peer, "codec/encode", sound.astype("<f4").tobytes(), sample_rate=44_100, channels=2)
    reader = CodedReader(io.BytesIO(ended["content"]))
    frames = sum(block.codes.shape[1] for block in reader.blocks())
    assert (frames, reader.damage, ended["path"]) == (ended["frames"], "", "")
    back = job(peer, "codec/decode", ended["content"])
    assert len(back["content"]) == 4 * reader.samples * back["channels"]
    assert back["sample_rate"] == RATE


def test_a_stream_goes_on_from_codes_as_they_are(peer: ZmqPeer, folder: Path, recording: Path) -> None:
    job(peer, "codec/encode", path=str(recording), out=str(folder / "prompt.codes"), replace=True)
    facts = facts_of(folder / "prompt.codes")
    ended, first = peer.stream("continue", path=str(folder / "prompt.codes"), prompt="x", duration=0.5, seed=5)
    assert ended["reason"] == "done"
    recipe = peer.event("recipe")
    with (folder / "prompt.codes").open("rb") as file:
        codes = np.concatenate([block.codes for block in CodedReader(file).blocks()], axis=1)
    assert recipe["prompt_codes"] == codes.astype("<u2").tobytes()
    assert facts.frames == codes.shape[1]
    content = (folder / "prompt.codes").read_bytes()
    _, sent = peer.stream("continue", content, prompt="x", duration=0.5, seed=5)
    assert np.array_equal(first, sent)


def test_the_codes_of_a_stream_are_written_as_they_were_made(peer: ZmqPeer, folder: Path) -> None:
    opened = peer.ask("generate", prompt="x", duration=1.0, seed=9)
    _, heard = peer.finish(opened["stream"])
    out = folder / "made.codes"
    done = peer.ask("codec/export", journal=opened["journal"], out=str(out), replace=True)
    assert (done["type"], done["frames"], facts_of(out).damage) == ("codes_written", 50, "")
    back = job(peer, "codec/decode", out.read_bytes())
    assert np.abs(np.frombuffer(back["content"], "<f4") - heard[:, 0]).max() < 1e-6
    ended, _ = peer.stream("continue", path=str(out), prompt="y", duration=0.2, seed=1)
    assert ended["reason"] == "done"
    assert peer.ask("codec/export", journal="20200101-000000-abcdef", out=str(out))["code"] == "not_found"
    assert peer.ask("codec/export", journal=opened["journal"], out=str(out))["code"] == "not_allowed"


def test_a_stream_is_the_same_beside_a_job(peer: ZmqPeer, folder: Path) -> None:
    _, alone = peer.stream("generate", prompt="x", duration=1.0, seed=21)
    queued = peer.ask("codec/encode", path=str(ten_minutes(folder)), out=str(folder / "beside.codes"))
    _, beside = peer.stream("generate", prompt="x", duration=1.0, seed=21)
    peer.ask("codec/cancel", job=queued["job"])
    assert peer.event("codec/ended")["job"] == queued["job"]
    assert np.array_equal(alone, beside)


def test_what_is_wrong_is_told(peer: ZmqPeer, folder: Path, recording: Path) -> None:
    (folder / "taken.codes").write_bytes(b"mine")
    refused = job(peer, "codec/encode", path=str(recording), out=str(folder / "taken.codes"))
    assert (refused["reason"], refused["code"], refused["field"]) == ("failed", "not_allowed", "out")
    assert (folder / "taken.codes").read_bytes() == b"mine"
    assert job(peer, "codec/decode", path=str(folder / "taken.codes"))["code"] == "malformed"
    assert job(peer, "codec/encode", path=str(recording), out="/etc/x.codes")["code"] == "not_allowed"
    assert job(peer, "codec/encode", path=str(recording), codec="no-such-codec")["reason"] == "failed"
    assert job(peer, "codec/encode", path=str(recording), bandwidth=1e-3)["code"] == "out_of_range"
    assert peer.ask("codec/cancel", job=99_999)["code"] == "not_found"
    assert job(peer, "codec/encode")["code"] == "missing"


def test_the_codecs_in_memory_are_listed(peer: ZmqPeer) -> None:
    listed = peer.ask("codec/list")["items"]
    assert listed[0]["name"] == peer.welcome["model"]
    assert (listed[0]["sample_rate"], len(listed[0]["fingerprint"])) == (RATE, 64)


def test_a_job_that_is_cancelled_leaves_nothing(peer: ZmqPeer, folder: Path) -> None:
    queued = peer.ask("codec/encode", path=str(ten_minutes(folder)), out=str(folder / "long.codes"))
    peer.event("codec/progress")
    assert peer.ask("codec/cancel", job=queued["job"])["type"] == "done"
    assert peer.event("codec/ended")["reason"] == "cancelled"
    assert not (folder / "long.codes").exists()
    assert not list(folder.glob(".take-*"))
    assert peer.ask("status")["codec_jobs"] == 0


def test_a_host_asks_its_bridge_for_files_of_its_own_machine(host: OscPeer, studio: Path) -> None:
    noise = np.random.RandomState(6).randn(RATE) * 0.1
    soundfile.write(studio / "host.wav", noise, RATE)
    outcome, answer = host.ask("/bridge/codec/encode", 1, str(studio / "host.wav"), "out", str(studio / "host.codes"))
    assert (outcome, answer[1:3]) == ("/done", ["done", str(studio / "host.codes")])
    progress = host.wait("/bridge/codec/progress")
    assert progress[:3] == [answer[0], "encode", str(studio / "host.wav")]
    outcome, told = host.ask("/bridge/codec/info", 2, str(studio / "host.codes"))
    assert (outcome, told[4], told[-1]) == ("/done", 1.0, "")
    outcome, answer = host.ask("/bridge/codec/decode", 3, str(studio / "host.codes"))
    assert (outcome, soundfile.info(answer[2]).frames) == ("/done", RATE)
    outcome, count = host.ask("/bridge/codec/list", 4)
    assert (outcome, count) == ("/done", [1])
    outcome, refused = host.ask("/bridge/codec/encode", 5, str(studio / "host.wav"), "out", "/etc/host.codes")
    assert (outcome, refused[0]) == ("/fail", "not_allowed")
    outcome, answer = host.ask(
        "/bridge/continue", 6, str(studio / "host.codes"), "duration", 0.5, "sound", 0, "loudness", "none"
    )
    assert (outcome, answer[1]) == ("/done", "done")
    assert "codes are taken as they are" in answer[-1]


def test_a_host_ends_its_job(host: OscPeer, studio: Path) -> None:
    host.send("/bridge/codec/encode", 1, str(ten_minutes(studio)), "out", str(studio / "ended.codes"))
    number = host.wait("/bridge/codec/progress")[0]
    host.wait("/bridge/codec/progress", number, "encode", str(studio / "long.wav"))
    assert host.ask("/bridge/codec/cancel", 2, number)[0] == "/done"
    done = host.wait("/done", "/bridge/codec/encode", 1)
    assert done[2:5] == [number, "cancelled", ""]
    assert not (studio / "ended.codes").exists()
    assert host.ask("/bridge/codec/cancel", 3, 99)[1][0] == "not_found"


def test_over_osc_a_job_is_answered_when_it_is_done(engine: Process, folder: Path, recording: Path) -> None:
    with OscPeer(engine.ports["osc_port"]) as osc:
        osc.send("/engine/codec/encode", 7, str(recording), "out", str(folder / "osc.codes"))
        done = osc.wait("/done")
        assert list(done)[:2] == ["/engine/codec/encode", 7]
        assert str(folder / "osc.codes") in done
        assert facts_of(folder / "osc.codes").damage == ""
        osc.send("/engine/codec/encode", 8, str(folder / "none.wav"))
        refused = osc.wait("/fail")
        assert list(refused)[:3] == ["/engine/codec/encode", 8, "not_found"]
