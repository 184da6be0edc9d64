"""Engine and bridge over OSC, as hosts and controllers speak to them."""

from __future__ import annotations

import json
from pathlib import Path

import mido
import numpy as np
import pyloudnorm
import pytest
import soundfile
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import build_msg

from tests.support.clients import OscPeer, ZmqPeer
from tests.support.models import untrained_pocket
from tests.support.processes import Process


def status(peer: OscPeer, address: str = "/status") -> dict[str, object]:
    peer.heard.clear()
    peer.send(address)
    pairs = peer.wait(f"{address}.reply")
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def write_clip(path: Path, bars: int = 2, bpm: float = 100) -> Path:
    clip = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(bpm))])
    for pitch in [60, 64, 67, 72] * bars:
        track += [mido.Message("note_on", note=pitch, velocity=90), mido.Message("note_off", note=pitch, time=480)]
    clip.tracks.append(track)
    clip.save(path)
    return path


def test_an_engine_alone_answers_with_a_take(engine: Process) -> None:
    with OscPeer(engine.ports["osc_port"]) as peer:
        outcome, answer = peer.ask("/engine/generate", 5, "warm strings", "duration", 1.0, "seed", 7.0)
        assert outcome == "/done"
        _stream, reason, seconds, seed, path, *_ = answer
        assert (reason, seconds, seed) == ("done", 1.0, 7)
        audio, rate = soundfile.read(path)
        assert (rate, len(audio)) == (32000, 32000)
        sidecar = json.loads(Path(path).with_suffix(".json").read_text())
        assert sidecar["request"]["prompt"] == "warm strings"
        assert sidecar["seed"] == 7
        outcome, answer = peer.ask("/engine/continue", 6, path, "start", 0.25, "length", 0.5, "duration", 0.5)
        assert (outcome, answer[1], answer[2]) == ("/done", "done", 0.5)
        assert any(address == "/engine/started" for address, _ in peer.heard)


def test_status_and_version_answer_bare_and_by_root(engine: Process, host: OscPeer) -> None:
    with OscPeer(engine.ports["osc_port"]) as peer:
        assert status(peer)["model"] == status(peer, "/engine/status")["model"] == untrained_pocket().name
        peer.send("/version")
        assert peer.wait("/version.reply")[:2] == ["name", "engine"]
    assert status(host, "/bridge/status")["status"] == "untrained"


def test_play_sounds_is_saved_and_is_answered_with_the_clients_id(host: OscPeer, studio: Path) -> None:
    outcome, answer = host.ask("/bridge/play", 41, "happy rock", "duration", 1.0, "seed", 3)
    assert outcome == "/done"
    stream, reason, seconds, seed, path, underruns, first_sound, note = answer
    assert (reason, seconds, seed, underruns, note) == ("done", 1.0, 3, 0, "")
    assert first_sound > 0
    assert Path(path).parent == studio / "takes"
    order = [address for address, arguments in host.heard if stream in arguments[:2]]
    for event in ("/bridge/queued", "/bridge/started", "/bridge/sounding", "/bridge/saved"):
        assert event in order
    sidecar = json.loads(Path(path).with_suffix(".json").read_text())
    assert sidecar["host_request"]["type"] == "play"
    assert sidecar["audio"]["frames"] == 32000


def test_what_the_bridge_saves_is_what_the_engine_makes(host: OscPeer, engine: Process) -> None:
    _, answer = host.ask("/bridge/play", 1, "happy rock", "duration", 0.8, "seed", 9, "sound", 0)
    audio, _ = soundfile.read(answer[4], dtype="float32")
    with ZmqPeer(engine.ports["port"]) as peer:
        _, samples = peer.stream("generate", prompt="happy rock", duration=0.8, seed=9)
    assert np.abs(audio - samples[:, 0]).max() < 2**-22, "24 bits of it"


def test_a_region_is_continued(host: OscPeer, studio: Path) -> None:
    time = np.arange(3 * 44100) / 44100
    path = studio / "guitar.wav"
    soundfile.write(path, np.stack([np.sin(2000 * time), np.sin(2500 * time)], axis=1) * 0.3, 44100)
    outcome, answer = host.ask(
        "/bridge/continue", 2, str(path), "start", 1.0, "length", 1.5, "duration", 0.7, "seed", 1
    )
    assert outcome == "/done"
    assert answer[1:3] == ["done", pytest.approx(0.7)]
    sidecar = json.loads(Path(answer[4]).with_suffix(".json").read_text())
    assert sidecar["host_request"]["path"] == str(path)
    assert sidecar["prompt_codes"], "the prompt is kept as codes: the take can be made again without the file"
    first, rate = soundfile.read(answer[4], dtype="float32")
    # The region's last sample, one sample of the model before the first new one.
    last = np.mean([np.sin(pitch * (2.5 - 1 / rate)) for pitch in (2000, 2500)]) * 0.3
    assert abs(first[0] - last) < 0.04, "the new material follows it"
    path.unlink()
    _, answer = host.ask("/bridge/again", 4, str(Path(answer[4]).with_suffix(".json")), "sound", 0)
    assert np.array_equal(soundfile.read(answer[4], dtype="float32")[0], first)


def test_a_midi_clip_sets_tempo_key_and_length(host: OscPeer, studio: Path) -> None:
    outcome, answer = host.ask("/bridge/midi", 3, str(write_clip(studio / "clip.mid")), "prompt", "piano")
    assert outcome == "/done"
    assert answer[2] == pytest.approx(2 * 4 * 60 / 100)
    queued = next(arguments for address, arguments in host.heard if address == "/bridge/queued")
    assert queued[3] == "piano"
    asked = json.loads(Path(answer[4]).with_suffix(".json").read_text())["request"]
    assert (asked["bpm"], asked["key"]) == (100.0, "")
    assert asked["key_hint"].endswith((" major", " minor"))
    assert asked["melody"] == "", "as `test_clips_as_sound` has it: this model hears none"
    started = next(arguments for address, arguments in host.heard if address == "/bridge/started")
    assert started[-1] == answer[-1]
    assert answer[-1].startswith("clip.mid: 100 bpm")
    assert "this model hears no melody: " in answer[-1]
    arguments = ("bpm", 50.0, "key", "F# dorian", "sound", 0)
    _, answer = host.ask("/bridge/midi", 4, str(studio / "clip.mid"), *arguments)
    asked = json.loads(Path(answer[4]).with_suffix(".json").read_text())["request"]
    assert (asked["bpm"], asked["key"]) == (50.0, "F# dorian")
    assert answer[2] == pytest.approx(2 * 4 * 60 / 50), "the clip is played at that tempo"


def test_an_open_stream_is_updated_and_cancelled(host: OscPeer) -> None:
    host.send("/bridge/open", 8, "drone", "latency", 0.2)
    queued = host.wait("/bridge/queued", 8)
    stream = queued[1]
    host.wait("/bridge/sounding", stream)
    assert host.ask("/bridge/update", 9, stream, "prompt", "techno", "temperature", 0.5)[0] == "/done"
    host.wait("/bridge/updated", stream)
    host.send("/bridge/streams", 10)
    row = host.wait("/bridge/streams.item", 10)
    assert dict(zip(row[3::2], row[4::2], strict=True))["stream"] == stream
    assert host.ask("/bridge/level", 11, stream, -12.0)[0] == "/done"
    assert host.ask("/bridge/cancel", 12, stream)[0] == "/done"
    assert host.wait("/done", "/bridge/open", 8)[3] == "cancelled"


def test_stop_ends_everything_and_keeps_the_takes(host: OscPeer) -> None:
    host.send("/bridge/open", 20, "one", "save", 1)
    stream = host.wait("/bridge/queued", 20)[1]
    host.wait("/bridge/sounding", stream)
    assert host.ask("/bridge/stop", 21)[0] == "/done"
    answer = host.wait("/done", "/bridge/open", 20)
    assert answer[3] == "cancelled"
    assert soundfile.info(answer[6]).frames > 0


def test_a_take_is_made_again_from_its_sidecar(host: OscPeer, studio: Path) -> None:
    source = studio / "source.wav"
    soundfile.write(source, 0.2 * np.sin(np.arange(32000) / 20), 32000)
    host.send("/bridge/open", 70, "one", "path", str(source), "save", 1, "sound", 0, "latency", 0.3)
    stream = host.wait("/bridge/queued", 70)[1]
    host.wait("/bridge/started", stream)
    host.ask("/bridge/update", 71, stream, "prompt", "two", "guidance", 2.0)
    host.wait("/bridge/updated", stream)
    host.wait("/bridge/progress", stream)
    host.ask("/bridge/cancel", 72, stream)
    first = Path(host.wait("/done", "/bridge/open", 70)[6])
    source.unlink()
    outcome, answer = host.ask("/bridge/again", 73, str(first.with_suffix(".json")), "sound", 0)
    assert (outcome, answer[1]) == ("/done", "done")
    made, made_again = soundfile.read(first)[0], soundfile.read(answer[4])[0]
    assert np.array_equal(made, made_again)
    failed = host.ask("/bridge/again", 74, str(first))
    assert (failed[0], failed[1][0]) == ("/fail", "malformed")


def test_a_take_is_levelled_and_written_as_flac_when_asked(host: OscPeer) -> None:
    arguments = ["duration", 2.0, "sound", 0, "format", "flac", "loudness", "lufs", "name", "loud one"]
    _, answer = host.ask("/bridge/play", 75, "x", *arguments)
    path = Path(answer[4])
    assert path.name.startswith("loud-one")
    assert path.suffix == ".flac"
    audio, rate = soundfile.read(path)
    assert pyloudnorm.Meter(rate).integrated_loudness(audio) == pytest.approx(-14, abs=0.1)


def test_two_clients_each_get_their_own_answers(host: OscPeer, bridge: Process) -> None:
    with OscPeer(bridge.ports["osc_port"]) as other:
        host.send("/bridge/play", 1, "a", "duration", 0.3, "seed", 1, "sound", 0)
        other.send("/bridge/play", 1, "b", "duration", 0.3, "seed", 2, "sound", 0)
        mine, others = host.wait("/done", "/bridge/play", 1), other.wait("/done", "/bridge/play", 1)
        assert (mine[5], others[5]) == (1, 2)
        assert sum(address == "/done" for address, _ in host.heard) == 1


def test_a_client_that_sends_from_changing_ports_names_its_reply_port(bridge: Process, host: OscPeer) -> None:
    with OscPeer(bridge.ports["osc_port"]) as sender, OscPeer(bridge.ports["osc_port"]) as receiver:
        sender.send("/bridge/devices", 4, "reply_port", receiver.port)
        assert receiver.wait("/done", "/bridge/devices", 4)
        sender.send("/notify", 1, receiver.port)
        assert receiver.wait("/done", "/notify")[1] >= 1
        host.ask("/bridge/play", 5, "x", "duration", 0.2, "sound", 0, "save", 0)
        assert receiver.wait("/bridge/ended")
        sender.send("/notify", 0, receiver.port)
        receiver.wait("/done", "/notify")


def test_a_setting_is_read_set_and_pushed_to_listeners(bridge: Process, host: OscPeer) -> None:
    with OscPeer(bridge.ports["osc_port"]) as controller:
        host.send("/notify", 1)
        assert host.wait("/bridge/param/top_k") == [250]
        controller.send("/bridge/param/top_k", 40.0)
        assert controller.wait("/bridge/param/top_k") == [40]
        host.heard.clear()
        assert host.wait("/bridge/param/top_k") == [40]
        controller.send("/bridge/param/top_k", 250)
        controller.wait("/bridge/param/top_k", 250)
        host.send("/notify", 0)
        host.wait("/done", "/notify")


@pytest.mark.parametrize(
    ("address", "arguments", "code", "named"),
    [
        ("/bridge/dance", [1], "unknown_address", "/bridge/dance"),
        ("/bridge/play", [1, "x", "colour", 3], "unknown_parameter", "colour"),
        ("/bridge/play", [1, "x", "duration", "long"], "bad_type", "duration"),
        ("/bridge/play", [1, "x", "duration", float("nan")], "out_of_range", "duration"),
        ("/bridge/play", [1, "x", "temperature", 9.0], "out_of_range", "temperature"),
        ("/bridge/play", [1, "x", "duration"], "missing", "duration"),
        ("/bridge/continue", [1, "MISSING"], "not_found", "path"),
        ("/bridge/continue", [1, "TEXT"], "not_audio", "path"),
        ("/bridge/continue", [1, "EMPTY"], "empty", "path"),
        ("/bridge/continue", [1, "HOURS"], "too_long", "length"),
        ("/bridge/continue", [1, "/etc/hostname"], "not_allowed", "path"),
        ("/bridge/midi", [1, "TEXT"], "not_midi", "path"),
        ("/bridge/midi", [1, "SILENT.mid"], "empty", "path"),
        ("/bridge/midi", [1, "CLIP.mid", "lead", "lowest"], "out_of_range", "lead"),
        ("/bridge/midi", [1, "CLIP.mid", "lead", "channel:2"], "out_of_range", "channel:1"),
        ("/bridge/midi", [1, "CLIP.mid", "bpm", 7.0], "out_of_range", "bpm"),
        ("/bridge/play", [1, "x", "notes", "tune"], "not_found", "notes"),
        ("/bridge/notes/file", [1, "tune", "TEXT"], "not_midi", "path"),
        ("/bridge/notes/file", [1, " ", "CLIP.mid"], "empty", "name"),
        ("/bridge/notes/add", [1, "tune", 0, 60, 0, 1, 100], "not_found", "name"),
        ("/bridge/cancel", [1, 4711], "unknown_stream", "stream"),
        ("/bridge/device", [1, "no such card"], "unknown_device", "device"),
        ("/bridge/param/flavour", [], "unknown_parameter", "flavour"),
    ],
)
def test_bad_input_gets_one_clear_error(
    host: OscPeer, studio: Path, address: str, arguments: list, code: str, named: str
) -> None:
    (studio / "TEXT").write_text("this is no audio at all " * 20)
    soundfile.write(studio / "EMPTY.wav", np.zeros((0, 1)), 32000)
    (studio / "EMPTY.wav").replace(studio / "EMPTY")
    soundfile.write(studio / "HOURS.wav", np.zeros((30 * 8000, 1)), 8000)
    (studio / "HOURS.wav").replace(studio / "HOURS")
    write_clip(studio / "CLIP.mid")
    write_clip(studio / "SILENT.mid", bars=0)
    named_files = {"MISSING", "TEXT", "EMPTY", "HOURS", "CLIP.mid", "SILENT.mid"}
    arguments = [str(studio / item) if item in named_files else item for item in arguments]
    errors = status(host)["errors"]
    host.heard.clear()
    host.send(address, *arguments)
    failed = host.wait("/fail", address)
    assert failed[2] == code
    assert named in failed[3]
    assert [item[0] for item in host.heard].count("/fail") == 1
    assert status(host)["errors"] == errors + 1


def test_broken_packets_are_refused_and_counted_while_a_stream_plays(host: OscPeer) -> None:
    host.send("/bridge/play", 30, "steady", "duration", 2.0, "save", 0)
    host.wait("/bridge/queued", 30)
    whole = build_msg("/bridge/play", [1, "x"]).dgram
    broken = [b"", b"hello", whole[:-3], whole[:9], b"/x\0\0,[i]\0\0\0\0", b"#bundle\0" + b"\xff" * 20, b"/" * 9000]
    for packet in broken:
        host.send_raw(packet)
    for _ in broken:
        host.wait("/fail")
        host.heard = [item for item in host.heard if item[0] != "/fail"]
    answer = host.wait("/done", "/bridge/play", 30)
    assert (answer[3], answer[7]) == ("done", 0), "no underrun"


def test_a_bundle_is_taken_message_by_message(host: OscPeer) -> None:
    bundle = OscBundleBuilder(IMMEDIATELY)
    bundle.add_content(build_msg("/bridge/ping", [51]))
    bundle.add_content(build_msg("/bridge/ping", [52]))
    host.send_raw(bundle.build().dgram)
    assert host.wait("/done", "/bridge/ping", 51)
    assert host.wait("/done", "/bridge/ping", 52)


def test_a_flood_of_ten_thousand_messages_is_not_heard(host: OscPeer, bridge: Process) -> None:
    host.send("/bridge/play", 60, "steady", "duration", 4.0, "save", 0)
    host.wait("/bridge/sounding")
    with OscPeer(bridge.ports["osc_port"]) as flood:
        for number in range(10_000):
            flood.send("/bridge/play", number, "x", "duration", -1.0)
        answer = host.wait("/done", "/bridge/play", 60)
    assert (answer[3], answer[7]) == ("done", 0), "no underrun"
    assert status(host)["engine"] == "ready"
