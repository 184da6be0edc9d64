"""``[dawbridge]`` in Pure Data itself, without a screen: what it sends, what it prints, what it hears and writes."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from daw_bridge.audio.jack_names import CLIENT_NAME
from tests.support.clients import OscPeer
from tests.support.hosts import host_of
from tests.support.jack import JackRecorder, JackServer
from tests.support.osc_tap import OscTap, recorded
from tests.support.processes import Process, bridge_settings, running, wait_until

ROOT = Path(__file__).resolve().parents[2]
ABSTRACTION = ROOT / "host_examples" / "puredata"
PATCHES = Path(__file__).with_name("puredata")
RATE = 48_000
ATTEMPTS = 3
CODEBOOKS = 4


@pytest.fixture(autouse=True, scope="module")
def _installed() -> None:
    if shutil.which("pd") is None:
        pytest.skip("Pure Data is not installed (Debian: puredata-core)")


class Pd:
    """A running Pd: messages go to it over TCP, what it prints is kept.

    Args:
        patch: the patch to open; it makes a ``[netreceive]`` listen at the number it gets as ``control-port``.
        audio: options that choose the audio system.
        environment: what leads Pd to a JACK server.
    """

    def __init__(
        self, patch: Path, audio: Sequence[str] = ("-noaudio",), environment: dict[str, str] | None = None
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = ["-nogui", "-nomidi", "-stderr", "-noprefs", "-r", str(RATE), *audio, "-path", str(ABSTRACTION)]
        self.lines: list[list[str]] = []
        self._rest = b""
        self._popen = subprocess.Popen(
            ["timeout", "120", "pd", *options, "-send", f"control-port {port}", str(patch)],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self._popen.stderr is not None
        os.set_blocking(self._popen.stderr.fileno(), False)
        self._control = wait_until(lambda: self._connected(port), what="Pd takes messages")

    def __enter__(self) -> Pd:
        return self

    def __exit__(self, *exc: object) -> None:
        self._control.close()
        self._popen.terminate()
        self._popen.wait(10)
        assert self._popen.stderr is not None
        self._popen.stderr.close()

    def send(self, message: str) -> None:
        """Send a message as it would be typed into a message box of the patch."""
        self._control.sendall(f"{message};\n".encode())

    def wait(self, *start: object, seconds: float = 30.0) -> list[str]:
        """Wait for a printed line that begins so, take it out, and return what follows."""
        wanted = [str(word) for word in start]

        def found() -> list[str] | None:
            self.read()
            for line in self.lines:
                if line[: len(wanted)] == wanted:
                    self.lines.remove(line)
                    return line
            return None

        try:
            line: list[str] = wait_until(found, seconds)
        except AssertionError:
            raise AssertionError(f"Pd did not print {wanted}; it printed {self.lines[-12:]}") from None
        return line[len(wanted) :]

    def read(self) -> None:
        """Take what Pd has printed."""
        assert self._popen.poll() is None, f"Pd ended with {self._popen.returncode}: {self.lines[-5:]}"
        assert self._popen.stderr is not None
        with contextlib.suppress(BlockingIOError, TypeError):
            self._rest += self._popen.stderr.read()
        *lines, self._rest = self._rest.split(b"\n")
        self.lines += [words_of(line.decode()) for line in lines if line.strip()]

    def _connected(self, port: int) -> socket.socket | None:
        self.read()
        try:
            return socket.create_connection(("127.0.0.1", port), 1)
        except OSError:
            return None


def words_of(line: str) -> list[str]:
    """A printed line as words: ``name: done 1`` is ``name``, ``done``, ``1``; an escaped space does not part words."""
    name, _, rest = line.partition(": ")
    return [name, *(re.sub(r"\\(.)", r"\1", word) for word in re.split(r"(?<!\\) ", rest.strip()) if word)]


@contextlib.contextmanager
def session(port: int) -> Iterator[Pd]:
    """Pd with two ``[dawbridge]`` in one patch, both led to that port."""
    with Pd(PATCHES / "session.pd") as pd:
        for name in ("first", "second"):
            pd.send(f"{name} connect 127.0.0.1 {port}")
            assert pd.wait(f"{name}-status", "alive", 1) == []
        yield pd


@pytest.fixture
def tap(bridge: Process, host: OscPeer) -> Iterator[OscTap]:
    with OscTap(bridge.ports["osc_port"]) as tap:
        yield tap
    recorded("puredata", tap.sent, "Pure Data 0.53.1")


@pytest.fixture
def pd(tap: OscTap) -> Iterator[Pd]:
    with session(tap.port) as pd:
        yield pd


def samples(path: str | Path) -> NDArray[np.float32]:
    return soundfile.read(path, dtype="float32")[0]


def sidecar(path: str) -> dict[str, object]:
    content: dict[str, object] = json.loads(Path(path).with_suffix(".json").read_text())
    return content


def test_words_become_music_in_an_array(pd: Pd, studio: Path) -> None:
    pd.send("first play warm strings at night 92 bpm key A minor duration 1 seed 5 sound 0")
    assert pd.wait("first-event", "queued", 1)[1:] == ["5", "warm strings at night 92 bpm"]
    stream, *answer = pd.wait("first-done", "play", 1)
    path = answer[3]
    assert answer[:3] == ["done", "1", "5"]
    assert pd.wait("first-file", "symbol") == [path], "the file's outlet names the take"
    pd.send(f"load {path} take")
    frames = int(pd.wait("frames")[0])
    kept = studio / "array.wav"
    pd.send(f"keep {kept} take")
    pd.wait("frames", frames)
    assert np.array_equal(samples(kept), samples(path)), "the array in Pd holds the take"
    assert len(samples(path)) == 32_000
    assert int(stream) > 0


def test_words_that_are_kept_stand_in_for_words_that_are_left_out(pd: Pd) -> None:
    pd.send("first prompt slow strings\\, at night duration")
    pd.send("first play duration 0.5 sound 0")
    assert pd.wait("first-event", "queued", 1)[2] == "slow strings, at night duration"
    pd.send("first prompt")
    pd.send("first play brass duration 0.5 sound 0")
    assert pd.wait("first-event", "queued", 2)[2] == "brass"
    pd.wait("first-done", "play", 2)


def test_a_recorded_array_goes_on(pd: Pd, studio: Path) -> None:
    pd.send("send pd dsp 1")
    pd.send("tone")
    kept = studio / "tone.wav"

    def recorded_to_its_end() -> bool:
        pd.send(f"keep {kept} rec")
        pd.wait("frames", RATE)
        return bool(np.any(samples(kept)[-64:]))

    wait_until(recorded_to_its_end, what="a second of tone in the array")
    pd.send("send pd dsp 0")
    of_others = set((studio / "exchange").glob("handed-*.wav"))
    pd.send("first table rec prompt warm strings duration 1 seed 7 sound 0")
    answer = pd.wait("first-done", "continue")
    (region,) = set((studio / "exchange").glob("handed-*.wav")) - of_others
    assert answer[2:4] == ["done", "1"]
    assert np.array_equal(samples(region), samples(kept)), "what is handed over is what stands in the array"
    recipe = sidecar(answer[5])
    frames, rest = divmod(len(base64.b64decode(str(recipe["prompt_codes"]))), 2 * CODEBOOKS)
    assert (frames, rest) == (50, 0), "the model has heard the whole second"


def test_an_array_and_a_message_are_melodies(pd: Pd) -> None:
    pd.send("send line 0 60 62.2 0 64 65 0 0 67")
    pd.send("first melody riff line 0.5")
    assert pd.wait("first-done", "notes/begin", 1) == ["riff", "0"]
    assert pd.wait("first-done", "notes/add", 2) == ["riff", "5"]
    pd.send("first play strings notes riff duration 1 sound 0")
    assert "riff" in pd.wait("first-done", "play", 3)[-1], "the answer says what became of the notes"
    pd.send("first notes hook 60 0 1 100 64 1 1 90")
    assert pd.wait("first-done", "notes/add", 5) == ["hook", "2"]
    pd.send("first notes forget hook")
    pd.wait("first-done", "notes/forget", 6)


def test_a_long_array_is_sent_in_pages(pd: Pd) -> None:
    pd.send("send line resize 200")
    pd.send("send line const 60")
    pd.send("first melody long line 0.25")
    counts = [pd.wait("first-done", "notes/add", 2 + page)[1] for page in range(4)]
    assert counts == ["64", "128", "192", "200"]


def test_a_stream_is_changed_while_it_plays(pd: Pd, host: OscPeer) -> None:
    pd.send("first open strings || harp weights 0.7 0.3 latency 1")
    stream = int(pd.wait("first-event", "queued", 1)[0])
    pd.wait("first-event", "sounding", stream)
    pd.send("first weights 0.2 0.8")
    pd.wait("first-done", "weights", 2)
    pd.send("first set prompt dark piano bpm 90")
    pd.wait("first-done", "update", 3)
    pd.send("first level -6")
    pd.wait("first-done", "level", 4)
    host.send(f"/bridge/stream/{stream}/prompt")
    assert host.wait(f"/bridge/stream/{stream}/prompt") == ["dark piano"]
    pd.send("first live prompt a brass band")
    pd.send("first live/prompt")
    assert pd.wait("first-status", "live", "prompt") == ["a brass band"]
    pd.send("first cancel")
    assert pd.wait("first-done", "open", 1)[:2] == [str(stream), "cancelled"]


def test_every_address_can_be_asked(pd: Pd) -> None:
    pd.send("first templates")
    pd.wait("first-done", "templates", 1)
    pd.send("first loop record 1 4 nowhere")
    assert pd.wait("first-fail", "loop/record", 2)[0] == "out_of_range"
    pd.send("first param temperature 0.8")
    pd.send("first param/temperature")
    assert float(pd.wait("first-status", "param", "temperature")[0]) == pytest.approx(0.8)
    pd.send("first param temperature 1")
    pd.send("first /bridge/cancel 0")
    pd.wait("first-done", "cancel", 3)
    pd.send("first status")
    assert "engine" in pd.wait("first-status", "status", "state")


def test_a_mistake_is_named(bridge: Process, host: OscPeer) -> None:
    with session(bridge.ports["osc_port"]) as pd:
        pd.send("first play strings temperature 9 duration 1")
        code, text = pd.wait("first-fail", "play", 1)
        assert code == "out_of_range"
        assert "temperature = 9" in text
        assert "0 to 4" in text
        pd.send("first notes/begin")
        assert pd.wait("first-fail", "notes/begin", 2)[0] == "missing"
        pd.send("first no such address")
        assert pd.wait("first-fail", "/bridge/no", 0)[0] == "unknown_address"


def test_a_metro_leads_the_clock(pd: Pd, host: OscPeer) -> None:
    pd.send("first listen 1")
    pd.wait("first-status", "param", "seed")
    pd.send("first clock source host beats_per_bar 4")
    pd.wait("first-done", "clock")
    try:
        pd.send("tempo 150")
        for beat in (3, 4):
            assert pd.wait("first-event", "beat", 1, beat)[0] == "150"
        pd.send("second clock")
        source, playing, bpm = pd.wait("second-done", "clock", 1)[:3]
        assert (source, playing, bpm) == ("host", "1", "150")
        pd.send("tempo 0")
        numbers = itertools.count(1)

        def stands() -> bool:
            return host.ask("/bridge/clock", next(numbers))[1][:2] == ["host", 0]

        wait_until(stands, what="the clock stands when the metro does")
    finally:
        host.ask("/bridge/clock", 900, "source", "internal", "bpm", 120.0)
        host.ask("/bridge/clock/stop", 901)
        pd.send("first listen 0")


def test_two_pds_at_once_hear_only_their_own(bridge: Process, host: OscPeer) -> None:
    port = bridge.ports["osc_port"]
    with session(port) as one, session(port) as other:
        talkers = [(one, "first"), (one, "second"), (other, "first")]
        for seed, (pd, name) in enumerate(talkers, 11):
            pd.send(f"{name} play piece number {seed} duration 0.5 seed {seed} sound 0")
        paths = set()
        for seed, (pd, name) in enumerate(talkers, 11):
            _, reason, _, mine, path, *_ = pd.wait(f"{name}-done", "play", 1)
            assert (reason, mine) == ("done", str(seed)), "each has its own answer"
            paths.add(path)
        assert len(paths) == 3
        for pd in (one, other):
            pd.read()
            assert not [line for line in pd.lines if line[0].endswith("-done")], "nobody hears another's answer"
        other.wait("first-event", "queued", 1)
        assert not [line for line in other.lines if line[1] == "queued"], "nor of another's stream"


def test_streams_of_others_are_not_taken_for_its_own(pd: Pd, host: OscPeer) -> None:
    pd.send("first listen 1")
    pd.wait("first-status", "param", "seed")
    pd.send("first open drone latency 1")
    queued = pd.wait("first-event", "queued")
    host.send("/bridge/open", 1, "another", "latency", 1.0)
    other = pd.wait("first-event", "queued", 0)[0]
    pd.send("first cancel")
    assert pd.wait("first-done", "open", queued[0])[0] == queued[1]
    outcome, _ = host.ask("/bridge/cancel", 2, int(other))
    assert outcome == "/done", "the other's stream was still there"
    host.wait("/done", "/bridge/open", 1)
    pd.send("first listen 0")


def test_creation_arguments_and_a_bridge_that_comes_back(studio: Path, engine: Process, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    patch = tmp_path / "arguments.pd"
    session_text = (PATCHES / "session.pd").read_text()
    assert session_text.count(" dawbridge;") == 2
    patch.write_text(session_text.replace(" dawbridge;", f" dawbridge 127.0.0.1 {port};"))
    settings = [*bridge_settings(studio, engine), f"bridge.osc_port={port}"]
    with Pd(patch) as pd:
        with running("daw_bridge", settings, studio / "bridge-1.log"):
            pd.wait("first-status", "alive", 1)
            pd.send("first listen 1")
            pd.wait("first-status", "param", "seed")
        pd.wait("first-status", "alive", 0)
        with running("daw_bridge", settings, studio / "bridge-2.log") as second:
            pd.wait("first-status", "alive", 1)
            pd.wait("first-status", "param", "seed")
            with host_of(second) as host:
                host.send("/bridge/clock/start", 1)
            pd.wait("first-event", "beat", seconds=10)


@pytest.fixture(scope="module")
def jack() -> Iterator[JackServer]:
    server = JackServer(RATE)
    wait_until(lambda: started(server), 60, "a place for a JACK server: a machine has eight")
    yield server
    server.end()


def started(server: JackServer) -> bool:
    try:
        server.start()
    except AssertionError:
        return False
    return True


def test_the_live_stream_is_recorded_by_pd(jack: JackServer, studio: Path, engine: Process, tmp_path: Path) -> None:
    sound = ("bridge.output=JACK", "bridge.prebuffer_ms=400")
    audio = ("-jack", "-jackname", "patch", "-inchannels", "2", "-outchannels", "2")
    with (
        running(
            "daw_bridge", bridge_settings(studio, engine, *sound), tmp_path / "bridge.log", jack.environment
        ) as bridge,
        host_of(bridge),
        Pd(PATCHES / "session.pd", audio, jack.environment) as pd,
    ):
        pd.send("send pd dsp 1")
        connect(jack, "patch")
        pd.send(f"first connect 127.0.0.1 {bridge.ports['osc_port']}")
        pd.wait("first-status", "alive", 1)
        for attempt in range(1, ATTEMPTS + 1):
            heard, reference, xruns = recordings(pd, jack, tmp_path, attempt)
            if not xruns:
                break
        else:
            pytest.skip(f"this machine is too busy for a JACK server: {xruns} periods missed by the server itself")
    start = int(np.flatnonzero(heard[:, 0])[0])
    expected = reference[np.flatnonzero(reference[:, 0])[0] :][: len(heard) - start]
    got = heard[start : start + len(expected)]
    assert len(expected) > RATE // 2
    assert np.array_equal(got, expected[: len(got)]), "Pd heard what left the bridge, sample for sample"


def connect(jack: JackServer, client: str) -> None:
    """Patch the bridge's ports into a client's inputs, in place of the sound card's."""
    environment = {**os.environ, **jack.environment}

    def there() -> bool:
        ports = subprocess.run(["jack_lsp"], env=environment, capture_output=True, text=True).stdout
        return f"{client}:input_2" in ports and f"{CLIENT_NAME}:out_1" in ports

    try:
        wait_until(there)
    except AssertionError:
        ports = subprocess.run(["jack_lsp"], env=environment, capture_output=True, text=True).stdout
        raise AssertionError(f"both clients' ports are not there: {ports.split()}") from None
    for channel in (1, 2):
        target = f"{client}:input_{channel}"
        subprocess.run(["jack_disconnect", f"system:capture_{channel}", target], env=environment, capture_output=True)
        source = f"{CLIENT_NAME}:out_{channel - 1}"
        subprocess.run(["jack_connect", source, target], env=environment, check=True, capture_output=True)


def recordings(
    pd: Pd, jack: JackServer, folder: Path, attempt: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    """A stream as Pd has recorded it, as a JACK client has, and the periods that the server missed."""
    path = folder / f"heard-{attempt}.wav"
    with JackRecorder(jack, folder) as recorder:
        wait_until(lambda: recorder.wired)
        pd.send(f"record open -bytes 4 {path}")
        pd.send("record start")
        pd.send("first play a drone duration 1.5 save 0")
        assert pd.wait("first-done", "play")[2] == "done"
        frames = recorder.frames
        wait_until(lambda: recorder.frames > frames + RATE // 2, what="the end of it in both recordings")
        pd.send("record stop")
        wait_until(lambda: wrote(path), what="Pd's file")
        return samples(path), recorder.recorded(), recorder.xruns


def wrote(path: Path) -> bool:
    """The file is closed: only then its header tells how long it is."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        riff, size = file.read(4), int.from_bytes(file.read(4), "little")
    return riff == b"RIFF" and size + 8 == path.stat().st_size
