"""What was heard at a frame of the card: the rings, the outputs that fill them, and recordings of bars."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from daw_bridge.audio.bar_recorder import MAX_RECORDING_SECONDS, BarRecorder
from daw_bridge.audio.capture import MAX_CAPTURE_BYTES, Bus, Capture, CaptureLayout, CaptureReader, CaptureWriter
from daw_bridge.audio.devices import child_environment
from daw_bridge.audio.feeder import Feeder
from daw_bridge.audio.output import OfflineOutput, Output, PacedOutput
from daw_bridge.audio.shared import SharedBlock
from daw_bridge.audio.voice import MAX_BLOCK
from protocols.errors import ErrorCode, RequestError
from tests.support.jack import wait_until

SMALL = CaptureLayout(MAX_BLOCK, 2)


def numbered(first: int, frames: int, channels: int = 2) -> NDArray[np.float32]:
    """Frames that hold their own number (exact in float32 below 2**24), the channels told apart by sign."""
    numbers = np.arange(first, first + frames, dtype=np.float32)
    return np.stack([numbers * (-1) ** channel for channel in range(channels)], axis=1)


def refused(reader: CaptureReader | Capture, first: int, frames: int) -> RequestError:
    with pytest.raises(RequestError) as caught:
        reader.read(first, frames)
    assert caught.value.code == ErrorCode.OUT_OF_RANGE
    return caught.value


@given(st.integers(0, 10_000), st.lists(st.integers(1, 3000), min_size=1, max_size=12))
def test_every_frame_is_read_back_by_its_number(began: int, blocks: list[int]) -> None:
    writer = CaptureWriter(SMALL)
    reader = writer.reader()
    end = began
    for frames in blocks:
        writer.write(end, numbered(end, frames))
        end += frames
    oldest = max(began, end - SMALL.capacity)
    assert (reader.oldest, reader.latest) == (oldest, end)
    assert np.array_equal(reader.read(oldest, end - oldest), numbered(oldest, end - oldest))
    assert np.array_equal(reader.read(end - 1, 1), numbered(end - 1, 1))


def test_what_is_not_there_is_refused_by_what_is() -> None:
    writer = CaptureWriter(SMALL)
    reader = writer.reader()
    assert "nothing is captured yet" in refused(reader, 0, 1).allowed
    writer.write(500, numbered(500, 100))
    assert refused(reader, 499, 10).allowed == "500 to 600: what was asked is overwritten or was not captured"
    assert refused(reader, 590, 11).allowed == "500 to 600: what was asked is not there yet"
    for start in range(600, 600 + SMALL.capacity, 100):
        writer.write(start, numbered(start, 100))
    assert "overwritten" in refused(reader, 599, 1).allowed
    refused(reader, 1000, -1)


def test_of_a_block_longer_than_the_bus_the_end_is_kept() -> None:
    writer = CaptureWriter(SMALL)
    frames = 2 * SMALL.capacity + 77
    writer.write(10, numbered(10, frames))
    reader = writer.reader()
    assert (reader.oldest, reader.latest) == (10 + frames - SMALL.capacity, 10 + frames)
    assert np.array_equal(reader.read(reader.oldest, SMALL.capacity), numbered(reader.oldest, SMALL.capacity))


def test_after_a_gap_only_what_came_since_is_read() -> None:
    writer = CaptureWriter(SMALL)
    writer.write(0, numbered(0, 200))
    writer.write(300, numbered(300, 50))
    reader = writer.reader()
    assert (reader.oldest, reader.latest) == (300, 350)
    assert np.array_equal(reader.read(300, 50), numbered(300, 50))


class Overtaken:
    """Samples that the callback overwrites while they are being copied."""

    def __init__(self, samples: NDArray[np.float32], overwrite: Any) -> None:
        self._samples = samples
        self._overwrite = overwrite

    def __getitem__(self, part: slice) -> NDArray[np.float32]:
        self._overwrite()
        return self._samples[part]


@pytest.mark.parametrize("torn", [True, False])
def test_a_torn_read_is_refused(torn: bool) -> None:
    writer = CaptureWriter(SMALL)
    writer.write(0, numbered(0, SMALL.capacity))
    reader = writer.reader()
    late = numbered(SMALL.capacity, 64)
    once = iter([lambda: writer.write(SMALL.capacity, late)])
    reader._shared.samples = Overtaken(reader._shared.samples, lambda: next(once, lambda: None)())  # type: ignore[assignment]
    first = 63 if torn else 64
    if torn:
        assert "overwritten" in refused(reader, first, 100).allowed
    else:
        assert np.array_equal(reader.read(first, 100), numbered(first, 100))


def test_a_block_that_is_being_written_is_not_read() -> None:
    """Half of the oldest frames are new already, though the block is not published."""
    writer = CaptureWriter(SMALL)
    writer.write(0, numbered(0, SMALL.capacity))
    reader = writer.reader()
    writer._shared.begun[0] += 128
    refused(reader, 0, 10)
    refused(reader, SMALL.capacity - 5, 10)
    assert reader.oldest == 128
    assert np.array_equal(reader.read(128, 10), numbered(128, 10))


WRITER = """
import sys
import numpy as np
from daw_bridge.audio.capture import CaptureLayout, CaptureWriter
from daw_bridge.audio.shared import SharedBlock
layout = CaptureLayout(int(sys.argv[2]), 2)
writer = CaptureWriter(layout, SharedBlock.attach(sys.argv[1], layout.bytes_needed).memory)
block = np.arange(256, dtype=np.float32)[:, None].repeat(2, 1)
for first in range(0, 2**23, 256):
    writer.write(first, block + first)
"""


def test_reading_at_the_edge_beside_another_process_is_right_or_refused() -> None:
    """The oldest frames are asked for while they are overwritten without a pause; a quarter would be torn."""
    block = SharedBlock.create(SMALL.bytes_needed)
    reader = CaptureReader(SMALL, block.memory)
    command = [sys.executable, "-c", WRITER, block.path, str(SMALL.capacity)]
    read = 0
    with subprocess.Popen(command, env=child_environment()) as playing:
        try:
            wait_until(lambda: reader.latest > SMALL.capacity or playing.poll() is not None, "it plays", 30.0)
            block.unlink()
            while read < 200 and playing.poll() is None:
                first = reader.oldest
                try:
                    sound = reader.read(first, 2000)
                except RequestError:
                    continue
                read += 1
                assert np.array_equal(sound[:, 0], np.arange(first, first + 2000, dtype=np.float32))
        finally:
            playing.kill()
    assert read


def test_layouts_are_bounded() -> None:
    assert CaptureLayout.lasting(48_000, 2).capacity == 960_000
    assert CaptureLayout.lasting(192_000, 8).bytes_needed <= MAX_CAPTURE_BYTES + 64
    assert CaptureLayout.lasting(8_000, 1, 0.01).capacity == MAX_BLOCK
    with pytest.raises(ValueError, match="at least"):
        CaptureLayout(MAX_BLOCK - 1, 2)
    with pytest.raises(ValueError, match="needed"):
        CaptureReader(SMALL, memoryview(bytearray(100)))


# --- outputs --------------------------------------------------------------------------------------------------------


def opened(**settings: Any) -> OfflineOutput:
    output = OfflineOutput(blocksize=256, **settings)
    output.open()
    return output


def noise(frames: int, channels: int = 2, seed: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-0.9, 0.9, (frames, channels)).astype(np.float32)


def test_the_output_bus_is_what_leaves_the_mixer() -> None:
    output = opened()
    voices = [Feeder(48_000, 2) for _ in range(2)]
    for seed, voice in enumerate(voices):
        voice.attach(output)
        voice.write(noise(5000, seed=seed))
        voice.finish()
    heard = output.advance(6000)
    assert np.abs(heard).max() == 1.0, "the sum was clipped"
    bus = output.capture(Bus.OUTPUT)
    assert (bus.oldest, bus.latest, bus.delay) == (0, 6000, 0)
    assert np.array_equal(bus.read(0, 6000), heard)
    assert bus.level() == 1.0


def test_a_block_lost_to_a_fault_is_kept_as_it_was_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    output = opened()
    voice = Feeder(48_000, 2)
    voice.attach(output)
    voice.write(np.full((5000, 2), 0.5, np.float32))
    assert output.advance(1024).any()
    monkeypatch.setattr(output.mixer, "_render_block", None)
    output.advance(256)
    assert output.meters.faults == 1
    assert not output.capture(Bus.OUTPUT).read(1024, 256).any()


def test_what_comes_in_has_the_frame_with_which_it_is_in_time() -> None:
    output = opened(inputs=1)
    output.round_trip = 0.05
    sound = noise(20_000, 1)
    output.advance(20_000, sound)
    bus = output.capture(Bus.INPUT)
    assert (bus.delay, bus.oldest, bus.latest) == (2400, -2400, 20_000 - 2400)
    assert np.array_equal(bus.read(1000, 5000), sound[3400:8400]), "played with frame 1000, delivered 2400 later"
    late = output.capture(Bus.INPUT, offset=0.01)
    assert np.array_equal(late.read(1000, 100), sound[3880:3980])
    assert output.capture(Bus.OUTPUT, offset=0.01).delay == 0


def test_an_input_that_is_broken_is_silent() -> None:
    output = opened(inputs=2)
    sound = noise(1024)
    sound[100, 0], sound[101, 1], sound[102, 0] = np.nan, np.inf, -np.inf
    output.advance(1024, sound)
    bus = output.capture(Bus.INPUT)
    got = bus.read(0, 1024)
    sound[~np.isfinite(sound)] = 0.0
    assert np.array_equal(got, sound)
    assert 0.8 < bus.level() <= 0.9


def test_without_an_input_the_error_says_how_to_get_one() -> None:
    output = opened()
    with pytest.raises(RequestError, match="/bridge/input") as caught:
        output.capture(Bus.INPUT)
    assert caught.value.code == ErrorCode.UNSUPPORTED
    output.input_refusal = RequestError(ErrorCode.UNKNOWN_DEVICE, "input", "microfone", "0: Microphone")
    with pytest.raises(RequestError, match="0: Microphone"):
        output.capture(Bus.INPUT)


def test_a_bus_of_an_output_that_was_closed_can_still_be_read() -> None:
    output = opened()
    output.advance(512)
    bus = output.capture(Bus.OUTPUT)
    assert bus.alive
    output.close()
    assert not bus.alive
    assert len(bus.read(0, 512)) == 512


def test_without_a_card_the_output_is_kept_too() -> None:
    output: Output = PacedOutput()
    output.open()
    try:
        bus = output.capture(Bus.OUTPUT)
        wait_until(lambda: bus.latest > 2048, "some blocks have passed")
        assert not bus.read(0, 2048).any()
    finally:
        output.close()


# --- recordings -----------------------------------------------------------------------------------------------------


def recorder(output: OfflineOutput, first: int, last: int, tail: int = 0, bus: Bus = Bus.INPUT) -> BarRecorder:
    return BarRecorder(output.capture(bus), first, last, tail)


def record(recording: BarRecorder, output: OfflineOutput, sound: NDArray[np.float32]) -> None:
    for start in range(0, len(sound), 1000):
        recording.pump()
        output.advance(len(sound[start : start + 1000]), sound[start : start + 1000])
    recording.pump()


@pytest.mark.parametrize("round_trip", [0.0, 0.021])
@pytest.mark.parametrize("before", [0, 7000])
def test_bars_are_recorded_to_the_frame(round_trip: float, before: int) -> None:
    """From now on, or from bars that have been played already."""
    output = opened(inputs=2)
    output.round_trip = round_trip
    sound = numbered(0, 30_000)
    output.advance(before, sound[:before])
    recording = recorder(output, 5003, 20_011, 480)
    record(recording, output, sound[before:])
    got = recording.recorded
    assert recording.done
    assert got is not None
    delay = round(48_000 * round_trip)
    assert np.array_equal(got.samples, numbered(5003 + delay, 20_011 - 5003 + 480))
    assert (got.frames, got.tail, got.sample_rate, got.first, got.gaps) == (15_008, 480, 48_000, 5003, 0)


def test_a_recording_is_not_whole_before_its_tail() -> None:
    output = opened(inputs=1)
    recording = recorder(output, 100, 1000, 24)
    output.advance(1023)
    recording.pump()
    assert (recording.done, recording.recorded, recording.taken) == (False, None, 923)
    output.advance(1)
    recording.pump()
    assert recording.done


def test_a_second_is_copied_at_once_at_most() -> None:
    output = opened(inputs=1)
    output.advance(150_000)
    recording = recorder(output, 0, 144_000)
    taken = []
    while not recording.done:
        recording.pump()
        taken.append(recording.taken)
    assert taken == [48_000, 96_000, 144_000]


def test_a_card_that_goes_ends_the_recording() -> None:
    output = opened(inputs=2)
    recording = recorder(output, 0, 5000)
    output.advance(3000)
    output.close()
    recording.pump()
    assert recording.error is None, "what has been captured is still taken"
    recording.pump()
    assert recording.error is not None
    assert recording.error.code == ErrorCode.UNSUPPORTED
    assert (recording.done, recording.recorded) == (True, None)


def test_a_recording_that_was_captured_whole_survives_its_card() -> None:
    output = opened(inputs=2)
    recording = recorder(output, 0, 3000)
    output.advance(3000, numbered(0, 3000))
    output.close()
    recording.pump()
    assert recording.recorded is not None


def test_a_recording_that_is_not_pumped_in_time_says_so() -> None:
    output = OfflineOutput(sample_rate=8000, blocksize=256, inputs=1)
    output.open()
    recording = recorder(output, 0, 200_000)
    output.advance(1000)
    recording.pump()
    output.advance(8000 * 21)
    recording.pump()
    assert recording.error is not None
    assert "20 s are kept" in recording.error.allowed


def test_gaps_are_counted_from_the_first_frame_on() -> None:
    output = opened(inputs=1)
    recording = recorder(output, 2000, 4000)
    output.meters.note_overflow()
    output.advance(1000)
    recording.pump()
    output.advance(2000)
    recording.pump()
    output.meters.note_overflow()
    output.meters.note_underflow()
    output.advance(2000)
    recording.pump()
    assert recording.recorded is not None
    assert recording.recorded.gaps == 1


def test_recordings_are_bounded() -> None:
    output = opened(inputs=1)
    for first, last, tail in ((100, 100, 0), (100, 99, 5), (0, 10, -1)):
        with pytest.raises(RequestError) as caught:
            recorder(output, first, last, tail)
        assert caught.value.code == ErrorCode.OUT_OF_RANGE
    most = round(MAX_RECORDING_SECONDS * 48_000)
    assert not recorder(output, 0, most - 10, 10).done
    with pytest.raises(RequestError) as caught:
        recorder(output, 0, most - 10, 11)
    assert caught.value.code == ErrorCode.TOO_LONG
    output.advance(960_100)
    with pytest.raises(RequestError, match="from 100 on") as caught:
        recorder(output, 99, 200)
    assert caught.value.code == ErrorCode.OUT_OF_RANGE
