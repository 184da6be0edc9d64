"""The ring buffer against a plain list, and with two threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daw_bridge.audio.ring import RingBuffer


@given(
    capacity=st.integers(1, 40),
    channels=st.integers(1, 3),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=60),
)
def test_behaves_like_a_bounded_queue(capacity: int, channels: int, steps: list[tuple[bool, int]]) -> None:
    ring = RingBuffer(capacity, channels)
    model: list[float] = []
    written = read = 0
    for writing, frames in steps:
        if writing:
            block = np.arange(written, written + frames, dtype=np.float32)[:, None].repeat(channels, 1)
            taken = ring.write(block)
            assert taken == min(frames, capacity - len(model))
            model += block[:taken, 0].tolist()
            written += taken
        else:
            out = np.full((frames, channels), -1.0, np.float32)
            got = ring.read_into(out)
            assert got == min(frames, len(model))
            assert np.array_equal(out[:got], np.array(model[:got], np.float32)[:, None].repeat(channels, 1))
            assert (out[got:] == -1.0).all()
            del model[:got]
            read += got
        assert (ring.available, ring.space) == (len(model), capacity - len(model))
        assert (ring.written, ring.read) == (written, read)


def test_two_threads_pass_every_frame_once() -> None:
    ring = RingBuffer(257, 2)
    sound = np.random.default_rng(1).standard_normal((20_000, 2)).astype(np.float32)
    heard = np.zeros_like(sound)

    def produce() -> None:
        done = 0
        while done < len(sound):
            done += ring.write(sound[done : done + 101])

    producer = threading.Thread(target=produce)
    producer.start()
    got = 0
    while got < len(sound):
        got += ring.read_into(heard[got : got + 64])
    producer.join(10)
    assert not producer.is_alive()
    assert np.array_equal(heard, sound)


def test_two_rings_on_one_memory_see_each_other() -> None:
    memory = memoryview(bytearray(RingBuffer.bytes_needed(8, 1)))
    producer, consumer = RingBuffer(8, 1, memory), RingBuffer(8, 1, memory)
    assert producer.write(np.ones((5, 1), np.float32)) == 5
    out = np.zeros((8, 1), np.float32)
    assert consumer.read_into(out) == 5
    assert producer.space == 8
    assert out.sum() == 5


@pytest.mark.parametrize(("capacity", "channels"), [(0, 1), (1, 0), (-3, 2)])
def test_refuses_an_impossible_shape(capacity: int, channels: int) -> None:
    with pytest.raises(ValueError, match="frames and channels"):
        RingBuffer(capacity, channels)


def test_refuses_memory_that_is_too_small() -> None:
    with pytest.raises(ValueError, match="needed"):
        RingBuffer(100, 2, memoryview(bytearray(64)))
