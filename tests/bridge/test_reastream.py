"""ReaStream's parts: packets, where they may go, marks on the clock's beats, what becomes of a tap, and the desk that sets it."""

from __future__ import annotations

import socket
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from daw_bridge.audio.capture import CaptureReader
from daw_bridge.audio.output import OfflineOutput
from daw_bridge.audio.shared import SharedBlock
from daw_bridge.reastream.desk import ReaStreamDesk
from daw_bridge.reastream.marks import MarkPlan, marks_between
from daw_bridge.reastream.packets import PacketWriter, check_identifier
from daw_bridge.reastream.stream import Counts, Marks, TapStream
from daw_bridge.reastream.targets import resolve
from daw_bridge.state_file import StateFile
from protocols.bridge_messages import HowReaStreams, ReaStreaming, ReaStreamState, SetReaStream
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Event
from protocols.osc.front import Asker, Peer
from tests.support.clocks import ClockBridge
from tests.support.jack import wait_until
from tests.support.loop_stage import LoopStage
from tests.support.reastream import Receiver, parse

ASKER = Asker(Peer("udp", "127.0.0.1", 9000), "/bridge/reastream", 1)


def refused(code: ErrorCode, work: object) -> RequestError:
    with pytest.raises(RequestError) as caught:
        work()  # type: ignore[operator]
    assert caught.value.code == code
    return caught.value


# --- packets --------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 64), st.integers(0, 700))
def test_what_is_packed_is_read_back_by_the_text_of_the_format(channels: int, frames: int) -> None:
    block = np.random.default_rng(frames).uniform(-1, 1, (frames, channels)).astype(np.float32)
    packets = [parse(packet) for packet in PacketWriter("strings", 44_100, channels).packets(block)]
    assert {(packet.identifier, packet.sample_rate) for packet in packets} <= {("strings", 44_100)}
    heard = np.concatenate([packet.samples for packet in packets]) if packets else block[:0]
    assert np.array_equal(heard, block)


def test_a_packet_byte_for_byte() -> None:
    """Two frames of stereo, as the text has them: channel after channel, little endian."""
    block = np.array([[1.0, -1.0], [0.5, 0.25]], np.float32)
    expected = b"MRSR" + bytes([47 + 16, 0, 0, 0]) + b"ab".ljust(32, b"\0") + bytes([2, 0x80, 0xBB, 0, 0, 16, 0])
    expected += np.array([1.0, 0.5, -1.0, 0.25], "<f4").tobytes()
    assert list(PacketWriter("ab", 48_000, 2).packets(block)) == [expected]


@pytest.mark.parametrize(
    "broken",
    [b"", b"MRSR", b"mRSR" + bytes(60), b"MRSR" + bytes(60), b"MRSR\x40\0\0\0" + b"a" * 32 + bytes(24)],
)
def test_the_tests_receiver_refuses_what_is_not_reastream(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"begins|bytes|says|identifier"):
        parse(broken)


def test_identifiers() -> None:
    assert check_identifier("ä" * 15 + "b") == ("ä" * 15 + "b").encode()
    refused(ErrorCode.TOO_LONG, lambda: check_identifier("ä" * 16))
    refused(ErrorCode.MALFORMED, lambda: check_identifier("  "))
    refused(ErrorCode.MALFORMED, lambda: check_identifier("two\nlines"))


# --- where it goes ----------------------------------------------------------------------------------------------------------


def test_only_this_machine_is_sent_to_unless_the_settings_name_another(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def lookup(host: str, *rest: object) -> list[tuple[object, ...]]:
        asked.append(host)
        if host == "nobody":
            raise socket.gaierror
        return [(None, None, None, None, ("192.168.1.9" if host == "studio" else host, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    assert resolve("127.0.0.1", []) == "127.0.0.1"
    assert resolve(" 127.9.9.9 ", []) == "127.9.9.9"
    asked.clear()
    for host in ("192.168.1.9", "studio", "255.255.255.255", "::1", "localhost.example"):
        error = refused(ErrorCode.NOT_ALLOWED, lambda host=host: resolve(host, ["other"]))
        assert "bridge.reastream_hosts" in error.text
    assert asked == [], "the network is not asked for what may not be sent to"
    assert resolve("Studio".lower(), ["STUDIO"]) == "192.168.1.9"
    assert resolve("10.1.2.3", ["*"]) == "10.1.2.3"
    refused(ErrorCode.NOT_FOUND, lambda: resolve("nobody", ["*"]))


# --- marks ----------------------------------------------------------------------------------------------------------------


class Plans:
    """A stage whose marks are told as the desk tells them, a look every few milliseconds."""

    def __init__(self, bpm: str, beats_per_bar: int = 4) -> None:
        self.stage = LoopStage(48_000, bpm)
        self.stage.clock.timeline.beats_per_bar = beats_per_bar
        self.marks = Marks()
        self.plan = MarkPlan(self.stage.stage)
        self.plans = 0
        self._columns: list[NDArray[np.float32]] = []
        self.frames = 0

    @property
    def sent(self) -> NDArray[np.float32]:
        """The channel of marks so far."""
        return np.concatenate(self._columns)

    def go_on(self, frames: int, look: int = 512) -> None:
        output = self.stage.output
        assert output is not None
        for _ in range(0, frames, look):
            self.stage.stage.update()
            news = self.plan.news(self.stage.clock.timeline)
            if news is not None:
                self.plans += 1
                self.marks.plan(*news)
            output.advance(look)
            self.stage.time += look / 48_000
            column = np.zeros(look, np.float32)
            self.marks.write(self.frames, column)
            self._columns.append(column)
            self.frames += look


def test_marks_are_on_the_frames_of_the_beats_for_a_long_time() -> None:
    plans = Plans("87.3", 3)
    plans.go_on(4096)
    timeline, stage = plans.stage.clock.timeline, plans.stage.stage
    timeline.start(stage.seconds_at(10_000))
    plans.go_on(3_000_000)
    beats = range(100)
    moment = lambda beat: Fraction(10_000) + Fraction(beat * 60 * 48_000 * 10, 873)  # noqa: E731
    expected = {int(moment(beat) + Fraction(1, 2)): 0.5 if beat % 3 else 1.0 for beat in beats}
    found = {int(frame): float(plans.sent[frame]) for frame in np.flatnonzero(plans.sent)}
    end = plans.frames
    assert found == {frame: value for frame, value in expected.items() if frame < end}
    assert len(found) > 80
    assert plans.plans < 200, "a clock that goes on as it was is not told all the time"


def test_a_new_tempo_and_a_stop_move_the_marks_that_have_not_been_sent() -> None:
    plans = Plans("120")
    plans.go_on(2048)
    timeline, stage = plans.stage.clock.timeline, plans.stage.stage
    timeline.start(stage.seconds_at(4096))
    plans.go_on(50_000)
    change = stage.seconds_at(plans.frames)
    timeline.set_tempo(60, change)
    plans.go_on(100_000)
    timeline.stop(stage.seconds_at(plans.frames))
    stopped = plans.frames
    plans.go_on(100_000)
    frames = np.flatnonzero(plans.sent)
    assert list(frames[:3]) == [4096, 28_096, 52_096]
    beat = timeline.at(change).beat
    assert 2 < beat < 3
    assert frames[3] == stage.frame_at(change + (3 - beat)), "what was left of the beat, at a second a beat"
    assert (np.diff(frames[3:]) == 48_000).all()
    assert frames[-1] < stopped
    assert len(frames) >= 5


def test_a_beat_half_a_frame_early_belongs_to_its_nearest_frame() -> None:
    plans = Plans("120")
    plans.go_on(1024)
    stage, timeline = plans.stage.stage, plans.stage.clock.timeline
    timeline.start(stage.seconds_at(20_000) - Fraction(2, 5 * 48_000))
    assert marks_between(stage, timeline, 20_000, 20_001) == [(20_000, 1.0)]
    assert marks_between(stage, timeline, 19_000, 20_000) == []
    assert marks_between(stage, timeline, 20_001, 44_000) == []


# --- from a tap to packets -----------------------------------------------------------------------------------------------------


class Card:
    """A card moved by hand, its tap, and a stream of it to a receiver."""

    def __init__(self, receiver: Receiver, marks: bool = False, seconds: float = 0.5) -> None:
        self.output = OfflineOutput(48_000, 2, 256)
        self.output.open()
        self.tap = self.output.open_tap(seconds)
        block = SharedBlock.attach(self.tap.block.path, self.tap.layout.bytes_needed)
        self.tap.block.unlink()
        self.counts = Counts()
        self.sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        writer = PacketWriter("test", 48_000, 2 + marks)
        reader = CaptureReader(self.tap.layout, block.memory)
        self.stream = TapStream(reader, writer, self.sink, ("127.0.0.1", receiver.port), self.counts)
        self.voice = self.output.add_voice
        self.noise = np.random.default_rng(1)

    def play(self, frames: int) -> NDArray[np.float32]:
        """Let the card take noise; what it played."""
        played = self.noise.uniform(-0.5, 0.5, (frames, 2)).astype(np.float32)
        for start in range(0, frames, 256):
            block = played[start : start + 256]
            first = self.output.meters.frames
            self.output.mixer.meters.note_block(len(block), 0.0)
            tap = self.output._tap
            assert tap is not None
            tap.write(first, block)
        return played


def test_every_frame_after_the_first_look_is_sent_once_and_in_order() -> None:
    with Receiver() as receiver:
        card = Card(receiver)
        card.play(1000)
        assert card.stream.pump() == 0
        assert card.stream.first == 1000, "what was played before is not sent"
        played = []
        for frames in (256, 1, 700, 3000, 9000):
            played.append(card.play(frames))
            while card.stream.pump():
                receiver.take()
        heard = receiver.receive(sum(len(block) for block in played))
        assert np.array_equal(heard, np.concatenate(played))
        assert (card.counts.gaps, card.counts.dropped, card.counts.missed) == (0, 0, 0)
        assert card.counts.packets == len(receiver.packets)


def test_one_that_was_held_up_too_long_counts_a_gap_and_goes_on() -> None:
    with Receiver() as receiver:
        card = Card(receiver)
        card.play(256)
        card.stream.pump()
        lost = card.play(30_000)
        assert card.stream.pump() == 0
        after = card.play(500)
        card.stream.pump()
        assert np.array_equal(receiver.receive(500), after)
        assert (card.counts.gaps, card.counts.missed) == (1, len(lost))


def test_with_marks_it_waits_until_they_are_known_and_counts_what_left_without() -> None:
    with Receiver() as receiver:
        card = Card(receiver, marks=True)
        assert card.stream.marks is not None
        card.play(512)
        assert card.stream.pump() == 0
        assert card.stream.first is None
        card.stream.marks.plan(400, 1200, [(512, 1.0), (900, 0.5)])
        card.stream.pump()
        played = card.play(1000)
        card.stream.pump()
        heard = receiver.receive(1000)
        assert np.array_equal(heard[:, :2], played)
        assert {int(frame): float(heard[frame, 2]) for frame in np.flatnonzero(heard[:, 2])} == {0: 1.0, 388: 0.5}
        assert card.counts.unmarked == 312


def test_a_system_that_refuses_packets_is_counted() -> None:
    with Receiver() as receiver:
        card = Card(receiver)
        card.play(256)
        card.stream.pump()
        card.play(450)
        card.sink.close()
        card.stream.pump()
        assert (card.counts.packets, card.counts.dropped) == (0, 3)


def test_without_a_tap_the_callback_writes_to_none() -> None:
    with Receiver() as receiver:
        card = Card(receiver)
        card.output.advance(256)
        card.output.close_tap()
        card.output.advance(256)
        assert card.stream.pump() == 0
        assert card.stream.first == 256


# --- the desk -------------------------------------------------------------------------------------------------------------------


class Desk:
    """A desk on a stage whose card is moved by hand; the process that sends is real."""

    def __init__(self, state: StateFile | None = None, allowed: tuple[str, ...] = ()) -> None:
        self.stage = LoopStage(48_000, "120")
        self.told: list[Event] = []
        self.bridge = ClockBridge(self.told, waits=True)
        self.desk = ReaStreamDesk(self.stage.stage, lambda: self.stage.clock, self.bridge, allowed, state)

    def ask(self, **fields: object) -> ReaStreamState:
        answer = self.desk.handle(SetReaStream(**{"on": True, **fields}), ASKER)  # type: ignore[arg-type]
        assert answer is not None
        return answer

    def live(self, condition: object) -> None:
        """Let blocks pass, no faster than the process can take them, until ``condition()``."""

        def step() -> object:
            if self.stage.output is not None:
                self.stage.output.advance(256)
            self.stage.time += 256 / 48_000
            self.stage.stage.update()
            self.desk.pump()
            time.sleep(0.001)
            return condition()  # type: ignore[operator]

        wait_until(step, "what the desk should do", 20)

    @property
    def state(self) -> ReaStreamState:
        answer = self.desk.handle(HowReaStreams(), ASKER)
        assert answer is not None
        return answer


def test_it_is_switched_on_told_and_switched_off() -> None:
    desk = Desk()
    with Receiver() as receiver:
        answer = desk.ask(port=receiver.port, name="mine", marks=True)
        assert (answer.on, answer.state, answer.name, answer.first) == (True, "waiting", "mine", -1)
        desk.stage.clock.timeline.start(desk.stage.stage.seconds_at(0))
        desk.live(lambda: desk.told)
        event = desk.told[0]
        assert isinstance(event, ReaStreaming)
        assert (event.port, event.name, event.channels, event.sample_rate) == (receiver.port, "mine", 3, 48_000)
        assert 0.0 < event.hop_ms < 60_000
        beat = Fraction(event.first, 24_000)
        assert (event.bar, event.beat) == (int(beat // 4) + 1, pytest.approx(float(beat % 4) + 1, abs=1e-5))
        desk.live(lambda: desk.state.packets > 10 and receiver.take())
        recording = receiver.recording()
        marked = event.first + np.flatnonzero(recording[:, 2])
        assert all(frame % 24_000 == 0 for frame in marked)
        assert desk.state.state == "sending"
        assert desk.ask(on=False).state == "off"
        receiver.take(0.5)
        desk.live(lambda: True)
        assert receiver.take(0.3) == 0, "nothing more is sent"
        assert desk.state.packets == 0
    desk.desk.close()


def test_another_card_is_followed_at_its_own_rate() -> None:
    desk = Desk()
    with Receiver() as receiver:
        desk.ask(port=receiver.port)
        desk.live(lambda: desk.told)
        desk.stage.lose_card()
        desk.live(lambda: desk.state.note)
        assert desk.state.state == "waiting"
        desk.told.clear()
        desk.stage.another_card(44_100)
        desk.live(lambda: desk.told)
        assert desk.told[0].sample_rate == 44_100  # type: ignore[attr-defined]
        assert desk.state.gaps == 1
        desk.live(lambda: receiver.take() and receiver.packets[-1].sample_rate == 44_100)
    desk.desk.close()


def test_a_process_that_ends_is_started_again() -> None:
    desk = Desk()
    desk.desk._monotonic = lambda: desk.stage.time
    with Receiver() as receiver:
        desk.ask(port=receiver.port)
        desk.live(lambda: desk.told)
        desk.told.clear()
        sender = desk.desk._sender
        assert sender is not None
        process = sender._child._process
        assert process is not None
        process.kill()
        desk.live(lambda: desk.told)
        assert desk.desk._sender is not sender
        assert desk.state.gaps == 1
    desk.desk.close()


def test_what_is_refused_leaves_it_as_it_was() -> None:
    desk = Desk(allowed=("studio",))
    before = desk.state
    refused(ErrorCode.NOT_ALLOWED, lambda: desk.ask(host="10.0.0.7"))
    refused(ErrorCode.NOT_ALLOWED, lambda: desk.ask(host="255.255.255.255"))
    refused(ErrorCode.TOO_LONG, lambda: desk.ask(name="ä" * 20))
    assert desk.state == before


def test_a_name_is_looked_up_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *rest: [(None, None, None, None, ("127.0.0.3", 0))])
    desk = Desk(allowed=("studio", "mixer"))
    assert desk.desk.handle(SetReaStream(on=True, host="studio"), ASKER) is None
    assert not desk.state.on, "not before the address is known"
    assert desk.desk.handle(SetReaStream(on=True, host="mixer"), ASKER) is None
    desk.bridge.work()
    assert desk.state.host == "mixer", "the last request counts"
    assert [answer.host for answer in desk.bridge.answers] == ["127.0.0.1", "mixer"]  # type: ignore[union-attr]
    desk.desk.close()


def test_what_was_set_is_there_in_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    state = StateFile(path)
    first = Desk(state, allowed=("127.0.0.9",))
    first.ask(port=4321, name="mine", marks=True)
    first.desk.close()
    state.close()
    again = Desk(StateFile(path)).state
    assert (again.on, again.port, again.name, again.marks) == (True, 4321, "mine", True)
    state = StateFile(path)
    state.put("reastream", {"on": True, "host": "10.0.0.1"})
    assert not Desk(state).state.on, "a host that is no longer allowed is not sent to"
    state.put("reastream", {"on": "perhaps"})
    assert not Desk(state).state.on
    state.close()


def test_a_bridge_that_takes_its_time_to_leave_sends_nothing_more() -> None:
    desk = Desk()
    with Receiver() as receiver:
        desk.ask(port=receiver.port)
        desk.live(lambda: desk.told)
        desk.desk.close()
        desk.live(lambda: True)
        assert desk.desk._sender is None
        assert desk.state.on, "it is remembered for the next run"
