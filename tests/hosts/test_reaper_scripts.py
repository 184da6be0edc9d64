"""What Reaper's scripts are made of: their OSC, the list of API names, the ReaPack index, the pattern file, the page."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder

from daw_bridge.clock.host import READ
from host_tables import reapack
from protocols.release import VERSION

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "host_examples" / "reaper"
STUB = Path(__file__).parent / "reaper"
LUA = next((name for name in ("lua5.4", "lua5.3") if shutil.which(name)), "")

needs_lua = pytest.mark.skipif(not LUA, reason="no lua5.3 or lua5.4 is installed")


def lua(script: str, *arguments: object) -> str:
    """What a short piece of Lua prints."""
    command = [LUA, "-e", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30, cwd=STUB).stdout


class Echo:
    """The scripts' codec in a process of its own: what it reads and writes again."""

    def __init__(self) -> None:
        self.popen = subprocess.Popen(
            [LUA, str(STUB / "osc_echo.lua"), str(SCRIPTS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, packet: bytes) -> str:
        """Hex of the packets that it would send itself, or ``refused``."""
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.popen.stdin.write(packet.hex() + "\n")
        self.popen.stdin.flush()
        return self.popen.stdout.readline().strip("\n")


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    process = Echo()
    yield process
    assert process.popen.stdin is not None
    process.popen.stdin.close()
    assert process.popen.wait(10) == 0


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
FLOAT = st.floats(width=32, allow_nan=False)
ARGUMENT = st.one_of(
    TEXT.map(lambda text: (text, "s")),
    st.integers(-(2**31), 2**31 - 1).map(lambda number: (number, "i")),
    FLOAT.map(lambda number: (number, "f")),
    st.binary(min_size=1, max_size=40).map(lambda data: (data, "b")),
)
ADDRESS = st.from_regex(r"/[a-z0-9/_.]{0,40}", fullmatch=True)
QUICK = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def built(address: str, arguments: list[tuple[Any, str]]) -> Any:
    """python-osc's message of values with their type tags."""
    builder = OscMessageBuilder(address)
    for value, tag in arguments:
        builder.add_arg(value, tag)
    return builder.build()


def message(address: str, arguments: list[tuple[Any, str]]) -> bytes:
    return bytes(built(address, arguments).dgram)


@needs_lua
@QUICK
@given(ADDRESS, st.lists(ARGUMENT, max_size=12))
def test_it_reads_and_writes_what_python_osc_writes(echo: Echo, address: str, arguments: list[tuple[Any, str]]) -> None:
    packet = message(address, arguments)
    assert echo(packet) == packet.hex()


@needs_lua
@QUICK
@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**63 - 1))
def test_numbers_keep_every_digit(echo: Echo, number: float, whole: int) -> None:
    """A number that 32 bits do not hold goes as a double: a place in a long file is not rounded."""
    short = abs(number) < 3.4e38 and struct.unpack(">f", struct.pack(">f", number))[0] == number
    small = -(2**31) <= whole < 2**31
    expected = message("/x", [(number, "f" if short else "d"), (whole, "i" if small else "h")])
    assert echo(message("/x", [(number, "d"), (whole, "h")])) == expected.hex()


@needs_lua
def test_bundles_and_truth_values(echo: Echo) -> None:
    inner = OscBundleBuilder(IMMEDIATELY)
    inner.add_content(built("/b", [(True, "T"), (False, "F")]))
    outer = OscBundleBuilder(IMMEDIATELY)
    outer.add_content(built("/a", [(1, "i")]))
    outer.add_content(inner.build())
    first, second = message("/a", [(1, "i")]), message("/b", [(1, "i"), (0, "i")])
    assert echo(bytes(outer.build().dgram)) == f"{first.hex()} {second.hex()}"


@needs_lua
@QUICK
@given(ADDRESS, st.lists(ARGUMENT, max_size=4), st.data())
def test_broken_packets_are_refused_and_nothing_is_read_beyond_their_end(
    echo: Echo, address: str, arguments: list[tuple[Any, str]], data: st.DataObject
) -> None:
    packet = message(address, arguments)
    cut = packet[: data.draw(st.integers(0, len(packet) - 1))]
    answer = echo(cut)
    assert answer == "refused" or len(answer) // 2 <= len(cut) + 4  # an address alone is a message without arguments
    noise = bytearray(packet)
    noise[data.draw(st.integers(0, len(packet) - 1))] ^= data.draw(st.integers(1, 255))
    echo(bytes(noise))  # whatever it is: answered, and the process lives on
    echo(data.draw(st.binary(max_size=64)))


@needs_lua
def test_the_queue_folder_of_each_system() -> None:
    script = (
        f"package.path = '{SCRIPTS}/?.lua;' .. package.path "
        "local queue = require('dawbridge.file_queue') "
        "local function find(system, names) return tostring(queue.default_folder(system, function(n) return names[n] end)) end "
        "print(find('Win64', { LOCALAPPDATA = 'C:\\\\L' })) print(find('macOS-arm64', { HOME = '/U/x' })) "
        "print(find('OSX64', { HOME = '/U/x' })) print(find('Other', { HOME = '/home/x' })) "
        "print(find('Other', { HOME = '/home/x', XDG_STATE_HOME = '/s' })) print(find('Other', {}))"
    )
    assert lua(script).splitlines() == [
        "C:\\L\\daw-bridge\\daw-bridge\\exchange",
        "/U/x/Library/Application Support/daw-bridge/exchange",
        "/U/x/Library/Application Support/daw-bridge/exchange",
        "/home/x/.local/state/daw-bridge/exchange",
        "/s/daw-bridge/exchange",
        "nil",
    ]


@needs_lua
def test_the_stub_is_strict() -> None:
    found = subprocess.run([LUA, str(STUB / "strictness.lua")], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "14\n"), found.stderr


@pytest.mark.skipif(shutil.which("luacheck") is None, reason="luacheck is not installed")
@pytest.mark.parametrize(
    ("folder", "options"),
    [
        (SCRIPTS, []),
        (
            STUB,
            ["--std", "lua54", "--globals", "reaper", "gfx", "imgui_stage", "--no-self", "--max-line-length", "150"],
        ),
    ],
)
def test_luacheck_finds_nothing(folder: Path, options: list[str]) -> None:
    command = ["luacheck", "--no-color", *options, "."]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


@needs_lua
def test_luacheck_knows_the_names_that_the_stub_knows() -> None:
    script = (
        f"local api = dofile('api.lua') local config = {{ files = {{}} }} loadfile('{SCRIPTS}/.luacheckrc', 't', config)() "
        "local known = {} for _, name in ipairs(config.read_globals.reaper.fields) do known[name] = true end "
        "for _, names in ipairs({ api.functions, api.extensions }) do for name in pairs(names) do "
        "assert(known[name], name) known[name] = nil end end assert(next(known) == nil, next(known)) print('same')"
    )
    assert lua(script) == "same\n"


def test_the_reapack_index_names_every_file() -> None:
    text = (SCRIPTS / reapack.INDEX).read_text("utf-8")
    assert reapack.problems(text, SCRIPTS) == []
    base = re.findall(r">(https://\S+)/dawbridge/osc\.lua<", text)[0]
    assert reapack.index(SCRIPTS, base) == text, "stale: run python -m host_tables.reapack --base-url …"
    named = set(re.findall(r'file="(.*?)"', text)) | {reapack.MAIN}
    assert {path.relative_to(SCRIPTS).as_posix() for path in SCRIPTS.rglob("*.lua")} <= named
    for path in SCRIPTS.glob("*.lua"):
        assert reapack.stamped(path.read_text("utf-8")) == path.read_text("utf-8"), path
        if path.name.startswith("daw-bridge - "):
            assert f"-- @version {VERSION}\n" in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('version="1"', 'version="2"'), "not an index of version 1"),
        (('type="script"', 'type="song"'), "unknown type song"),
        ((f'name="{VERSION}"', 'name="next"'), "not a version: next"),
        (("https://", "ftp://"), "not an address"),
        (('file="dawbridge/osc.lua"', 'file="dawbridge/osc2.lua"'), "nothing is at"),
        (('file="dawbridge/osc.lua"', 'file="dawbridge/job.lua"'), "two files go to one place"),
        ((' main="main"', ""), "no action"),
    ],
)
def test_a_wrong_index_is_told(change: tuple[str, str], expected: str) -> None:
    text = reapack.index(SCRIPTS, "https://example.org/x").replace(*change)
    assert any(problem.startswith(expected) for problem in reapack.problems(text, SCRIPTS))


def test_the_index_is_written_for_an_address(tmp_path: Path) -> None:
    folder = tmp_path / "reaper"
    shutil.copytree(SCRIPTS, folder)
    script = folder / "daw-bridge - Cancel.lua"
    script.write_text(re.sub("@version .*", "@version 0.0.1", script.read_text("utf-8")), "utf-8")
    command = ["--base-url", "https://music.example/r", "--folder", str(folder)]
    assert reapack.main([*command, "--check"]) == 1
    assert reapack.main(command) == 0
    assert reapack.main([*command, "--check"]) == 0
    assert "https://music.example/r/daw-bridge%20-%20Cancel.lua" in (folder / "index.xml").read_text("utf-8")
    assert f"@version {VERSION}" in script.read_text("utf-8")


def test_the_pattern_file_sends_what_the_clock_reads() -> None:
    lines = (SCRIPTS / "DawBridge.ReaperOSC").read_text("utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Z]+ [fst]/[a-z/]+", line) for line in patterns)
    assert {line.split(" ")[1][1:] for line in patterns} == READ
