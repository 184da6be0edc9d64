"""The device's reader of Live, with a strict stub of Live, and what the script does with it, against the real bridge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.support.hearing import hearing_bridge
from tests.support.live_sets import BAR_OF_NOTES, RATE, audio_clip, live_set, midi_clip
from tests.support.max_host import MaxHost, max_tap, pairs, sent
from tests.support.osc_tap import OscTap
from tests.support.processes import wait_until


@pytest.fixture
def clip_file(studio: Path) -> Path:
    path = studio / "live clip.wav"
    seconds = np.arange(6 * RATE) / RATE
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 220 * seconds), RATE)
    return path


def test_a_clip_of_live_leads_the_music(tap: OscTap, tmp_path: Path) -> None:
    muted = {"pitch": 30, "start_time": 4.5, "duration": 1.0, "velocity": 90, "mute": 1}
    outside = {"pitch": 31, "start_time": 9.0, "duration": 1.0, "velocity": 90, "mute": 0}
    with MaxHost(tap.port, live_set(tmp_path, midi_clip([*reversed(BAR_OF_NOTES), muted, outside]))) as max_host:
        max_host.live("melody")
        max_host.status("4 notes")
        max_host.node("set", "duration", 1.0)
        max_host.node("play")
        assert "clip: 96 bpm" in max_host.status("done")
    assert pairs(sent(tap, "/bridge/notes/begin")[0][1:]) == {"count": 4, "length": 4.0, "bpm": 96.0}
    [page] = sent(tap, "/bridge/notes/add")
    assert page[:2] == ["clip", 0]
    assert page[2:6] == [60.0, 0.0, pytest.approx(0.9), 100.0], "from the loop's start, velocity as a whole number"
    assert page[2::4] == [60.0, 61.0, 62.0, 63.0]


def test_a_stream_that_plays_takes_a_clip_up_and_leaves_it(tmp_path: Path) -> None:
    clip = midi_clip(BAR_OF_NOTES)
    clip["properties"] |= {"signature_numerator": 3, "signature_denominator": 4}
    with hearing_bridge(tmp_path) as bridge, max_tap(bridge.ports["osc_port"]) as tap:
        with MaxHost(tap.port, live_set(tmp_path, clip)) as max_host:
            max_host.node("open")
            stream = max_host.wait("node", "stream")[1]
            max_host.live("melody")
            max_host.status("4 notes")
            wait_until(lambda: len(sent(tap, "/bridge/update")) == 1)
            max_host.node("melody_clear")
            wait_until(lambda: len(sent(tap, "/bridge/update")) == 2)
            max_host.node("cancel")
            max_host.wait("node", "stream", 0)
        failed = [line for line in max_host.said if line["from"] == "post" and line["level"] == "error"]
    assert failed == []
    (first, *taken), left = sent(tap, "/bridge/update")
    assert (first, pairs(taken)) == (stream, {"notes": "clip", "metre": "3/4"})
    assert left == [stream, "notes", ""]


def test_a_long_clip_goes_in_pages_that_fit_into_packets(tap: OscTap, tmp_path: Path) -> None:
    notes = [
        {"pitch": 60 + index % 12, "start_time": 4 + index / 100, "duration": 0.01, "velocity": 80, "mute": 0}
        for index in range(100)
    ]
    with MaxHost(tap.port, live_set(tmp_path, midi_clip(notes))) as max_host:
        max_host.live("melody")
        max_host.status("100 notes")
        max_host.node("melody_clear")
        max_host.status("no melody")
    assert [page[1] for page in sent(tap, "/bridge/notes/add")] == list(range(0, 100, 16))


@pytest.mark.parametrize(
    ("clip", "said"),
    [
        (None, "select a MIDI clip"),
        (midi_clip([]), "no notes"),
        (midi_clip([BAR_OF_NOTES[0]] * 2049), "at most 2048"),
        (audio_clip(Path("/music/a.wav")), "select a MIDI clip"),
    ],
)
def test_a_clip_that_cannot_lead_is_refused(tmp_path: Path, clip: dict[str, Any] | None, said: str) -> None:
    with MaxHost(live=live_set(tmp_path, clip)) as max_host:
        max_host.live("melody")
        max_host.status(said)


def test_music_goes_on_from_an_audio_clip(tap: OscTap, tmp_path: Path, clip_file: Path) -> None:
    with MaxHost(tap.port, live_set(tmp_path, audio_clip(clip_file))) as max_host:
        max_host.live("region")
        assert "1.00 to 3.00 s" in max_host.status("live clip.wav")
        max_host.node("set", "duration", 1.0)
        max_host.node("continue")
        max_host.status("done")
    path, *rest = sent(tap, "/bridge/continue")[0]
    assert path == str(clip_file)
    assert pairs(rest) | {"prompt": ""} == pairs(rest)
    assert (pairs(rest)["start"], pairs(rest)["length"]) == (1.0, 2.0)
    assert "bpm" not in pairs(rest)


def test_a_warped_clips_beats_become_seconds_of_its_file(tap: OscTap, tmp_path: Path, clip_file: Path) -> None:
    # Beats 0 to 4 in two seconds, then slower: the last marker is the one that Live does not show.
    markers = [(0.5, 0.0), (2.5, 4.0), (2.53125, 4.03125)]
    told = json.dumps({"warp_markers": [{"sample_time": at, "beat_time": beat} for at, beat in reversed(markers)]})
    clip = audio_clip(clip_file, warping=1, loop_start=2.0, loop_end=6.0, warp_markers=told, pitch_coarse=-2)
    with MaxHost(tap.port, live_set(tmp_path, clip)) as max_host:
        max_host.live("region")
        assert "transposed" in max_host.status("the clip")
        max_host.status("live clip.wav")
        max_host.node("set", "duration", 1.0)
        max_host.node("continue")
        max_host.status("done")
    values = pairs(sent(tap, "/bridge/continue")[0][1:])
    # Two beats at half a second each, then two at a second each.
    assert (values["start"], values["length"]) == (pytest.approx(1.5), pytest.approx(3.0))
    assert values["bpm"] == pytest.approx(80.0)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"warping": 1, "warp_markers": "0"}, "11 or newer"),
        ({"file_path": ""}, "knows no file"),
        ({"loop_start": 7.0, "loop_end": 8.0}, "outside its file"),
        ({"is_audio_clip": 0, "is_midi_clip": 1}, "select an audio clip"),
    ],
)
def test_a_clip_that_cannot_be_gone_on_from_is_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with MaxHost(live=live_set(tmp_path, audio_clip(Path("/music/a.wav"), **changed))) as max_host:
        max_host.live("region")
        max_host.status(said)
        max_host.node("continue")
        max_host.status("choose an audio clip")


def test_what_was_recorded_is_gone_on_from(tap: OscTap, clip_file: Path) -> None:
    with MaxHost(tap.port) as max_host:
        max_host.node("record", 1)
        part = max_host.wait("node", "record", "open")[2]
        max_host.wait("node", "record", 1)
        Path(part).write_bytes(clip_file.read_bytes())
        max_host.node("record", 0)
        max_host.wait("node", "record", 0)
        max_host.status("all of it")
        assert not Path(part).exists()
        max_host.node("set", "duration", 1.0)
        max_host.node("continue")
        max_host.status("done")
    assert part.endswith(".wav.part")
    assert sent(tap, "/bridge/continue")[0][0] == part.removesuffix(".part")


def test_a_result_is_placed_where_live_stands(port: int, tmp_path: Path) -> None:
    for view, said in (("Session", "selected slot"), ("Arranger", "beat 17.00")):
        with MaxHost(port, live_set(tmp_path, view=view)) as max_host:
            max_host.node("place")
            max_host.status("nothing has been made")
            max_host.node("set", "duration", 0.5)
            max_host.node("play")
            max_host.status("done")
            max_host.node("place")
            max_host.status(said)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"old": True}, "12.0.5"),
        ({"full": 1}, "holds a clip"),
        ({"view": "Arranger", "old": True}, "12.2"),
        ({"view": "Arranger", "audio": 0}, "select an audio track"),
    ],
)
def test_what_live_cannot_take_is_told(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    state = {"version": 1, "slots": [], "parameters": {}, "results": ["/music/take.wav"]}
    with MaxHost(live=live_set(tmp_path, **more), state=state) as max_host:
        max_host.node("place")
        max_host.status(said)
