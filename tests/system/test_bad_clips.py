"""What a host may hand over as a MIDI clip, at the real bridge: each gives one clear error, or music and a note that says how."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from daw_bridge.midi_file import MAX_FILE_BYTES
from tests.support.clients import OscPeer

END = b"\x00\xff\x2f\x00"
NOTE = b"\x00\x90\x3c\x40\x60\x3c\x00"
ROOM = MAX_FILE_BYTES - 200


def raw(*tracks: bytes, kind: int = 1, declared: int | None = None, division: int = 480) -> bytes:
    count = len(tracks) if declared is None else declared
    header = struct.pack(">4sIHHH", b"MThd", 6, kind, count, division)
    return header + b"".join(b"MTrk" + struct.pack(">I", len(track)) + track for track in tracks)


BAD = {
    "empty file": (b"", "not_midi", "a standard MIDI file"),
    "words": (b"these are words, and no MIDI " * 50, "not_midi", "a standard MIDI file"),
    "a wave file": (b"RIFF\x24\x00\x00\x00WAVEfmt ", "not_midi", "a standard MIDI file"),
    "cut in its header": (raw(NOTE + END)[:9], "malformed", "header is cut short"),
    "cut in a track": (raw(NOTE + END)[:-5], "malformed", "5 bytes of track 1 are missing"),
    "cut in an event": (raw(NOTE + b"\x00\x90"), "malformed", "damaged track"),
    "a track that is not there": (raw(NOTE + END, declared=2), "malformed", "1 of 2 tracks"),
    "65535 tracks that are not there": (raw(NOTE + END, declared=65535), "malformed", "1 of 65535 tracks"),
    "65535 tracks without events": (raw(*[b""] * 65535), "empty", "a clip with notes"),
    "no tracks": (raw(), "empty", "a clip with notes"),
    "no notes": (raw(END), "empty", "a clip with notes"),
    "releases only": (raw(b"\x00\x80\x3c\x40\x60\x3c\x00" + END), "empty", "a clip with notes"),
    "tempo 0": (raw(b"\x00\xff\x51\x03\x00\x00\x00" + NOTE + END), "out_of_range", "tempo over 0"),
    "SMPTE time": (raw(NOTE + END, division=0xE728), "unsupported", "SMPTE"),
    "no ticks in a beat": (raw(NOTE + END, division=0), "malformed", "0 ticks per beat"),
    "songs one after the other": (raw(NOTE + END, kind=2), "unsupported", "type 2"),
    "a number without end": (raw(NOTE + b"\xff" * 100_000), "malformed", "damaged numbers"),
    "running status of nothing": (raw(b"\x00\x3c\x40" * 1000 + END), "malformed", "damaged track"),
    "running status without end": (
        raw(b"\x00\x90\x3c\x40" + b"\x00\x3c\x40" * (ROOM // 3)),
        "too_large",
        "50000 notes",
    ),
    "a million notes": (raw(NOTE + b"\x01\x3c\x40\x01\x3c\x00" * 1_000_000 + END), "too_large", "bytes"),
    "as many notes as fit into the bytes": (
        raw(NOTE + b"\x00\x3c\x40" * (ROOM // 3) + END),
        "too_large",
        "50000 notes",
    ),
    "an hour and more": (raw(b"\x00\x90\x3c\x40\xff\xff\xff\x7f\x3c\x00" + END), "too_long", "3600 s"),
    "a melody of too many notes": (
        raw(NOTE + b"\x00\x3c\x40\x14\x3c\x00" * 20_000 + END),
        "too_long",
        "16384 notes",
    ),
}


def write(studio: Path, content: bytes) -> str:
    path = studio / "bad.mid"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("case", BAD)
def test_one_clear_error_wherever_it_is_named(host: OscPeer, studio: Path, case: str) -> None:
    content, code, told = BAD[case]
    path = write(studio, content)
    requests = (("/bridge/midi", path, "sound", 0, "save", 0), ("/bridge/notes/file", "tune", path))
    for number, (address, *arguments) in enumerate(requests, 1):
        outcome, answer = host.ask(address, number, *arguments)
        assert (outcome, answer[0]) == ("/fail", code), answer
        assert told in answer[1]
        assert "bad.mid" in answer[1] or code == "too_long"
    outcome, answer = host.ask("/bridge/play", 9, "x", "notes", "tune")
    assert (outcome, answer[0]) == ("/fail", "not_found"), "nothing is kept of it"


def test_what_is_no_file_of_the_hosts(host: OscPeer, studio: Path, tmp_path: Path) -> None:
    (studio / "a folder.mid").mkdir(exist_ok=True)
    (tmp_path / "outside.mid").write_bytes(raw(NOTE + END))
    for path, code in (
        (studio / "a folder.mid", "bad_type"),
        (studio / "none.mid", "not_found"),
        (tmp_path / "outside.mid", "not_allowed"),
        ("", "missing"),
        ("/dev/zero", "not_allowed"),
    ):
        for address, *arguments in (("/bridge/midi", str(path)), ("/bridge/notes/file", "tune", str(path))):
            outcome, answer = host.ask(address, 1, *arguments)
            assert (outcome, answer[0]) == ("/fail", code), answer
            host.heard.clear()


def test_others_are_answered_while_a_hostile_file_is_read(host: OscPeer, studio: Path) -> None:
    path = write(studio, BAD["as many notes as fit into the bytes"][0])
    host.send("/bridge/midi", 1, path)
    for request in range(2, 6):
        assert host.ask("/bridge/ping", request)[0] == "/done"
    assert not any(address == "/fail" for address, _ in host.heard), "the file is still being read"
    assert host.wait("/fail", "/bridge/midi", 1)[2] == "too_large"


def test_drums_alone_are_played_along_without_a_melody(host: OscPeer, studio: Path) -> None:
    drums = raw(
        b"".join(b"\x00\x99" + bytes((key, 100)) + b"\x83\x60\x89" + bytes((key, 0)) for key in (36, 38) * 2) + END
    )
    path = write(studio, drums)
    outcome, answer = host.ask("/bridge/midi", 1, path, "sound", 0)
    assert (outcome, answer[2]) == ("/done", 2.0)
    assert "only drums play, there is no melody" in answer[-1]
    assert host.ask("/bridge/notes/file", 2, "beat", path) == ("/done", ["beat", 0])
    outcome, answer = host.ask("/bridge/play", 3, "x", "notes", "beat", "duration", 0.2, "sound", 0)
    assert (outcome, "only drums play" in answer[-1]) == ("/done", True)
    outcome, answer = host.ask("/bridge/midi", 4, path, "lead", "highest")
    assert (outcome, answer[0]) == ("/fail", "empty")


def test_a_single_hit_without_length_is_a_bar(host: OscPeer, studio: Path) -> None:
    path = write(studio, raw(b"\x00\x90\x3c\x40\x00\x3c\x00" + END))
    outcome, answer = host.ask("/bridge/midi", 1, path, "sound", 0)
    assert (outcome, answer[2]) == ("/done", 2.0), answer
    assert host.ask("/bridge/notes/file", 2, "hit", path) == ("/done", ["hit", 1])
