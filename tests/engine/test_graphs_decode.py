"""A codec's decoder as graphs capture it, uncaptured and on a CPU: the same sound as its layers, stream by stream."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from engine.runtime.codec import Codec
from engine.runtime.graphs.capture import Replay
from engine.runtime.graphs.decode import SIZES, CapturedNetwork, capture_network, equals
from engine.runtime.seanet import StreamingNetwork
from tests.engine.test_codec import pair, random_codes

NAMES = ("musicgen", "audiocraft", "encodec_24khz", "causal_half_trimmed", "two_channels", "interleaved")


def uncaptured(work: Replay) -> Replay:
    """The same work on the same memory, operation by operation."""
    return work


@torch.inference_mode()
def captured(codec: Codec) -> tuple[StreamingNetwork, CapturedNetwork]:
    network = copy.copy(codec.network)
    network.graph = None
    return network, CapturedNetwork(network, codec.runs, SIZES, uncaptured)


@pytest.mark.parametrize("name", NAMES)
def test_the_sound_is_that_of_the_layers(name: str) -> None:
    codec = pair(name)[1]
    network, graph = captured(codec)
    assert equals(network, graph, codec.runs)


def test_streams_that_take_turns_do_not_hear_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = pair("musicgen")[1]
    network, graph = captured(codec)
    monkeypatch.setattr(codec.network, "graph", None)
    codes = [random_codes(codec, 40, seed) for seed in range(3)]
    expected = [codec.decode(one) for one in codes]
    network.graph = graph
    monkeypatch.setattr(codec.network, "graph", graph)
    streams, made = [codec.stream() for _ in codes], [list[Tensor]() for _ in codes]
    for start in range(0, 40, 5):
        for stream, one, sound in zip(streams, codes, made, strict=True):
            sound.append(stream.decode(one[:, start : start + 5]))
    for stream, sound, whole in zip(streams, made, expected, strict=True):
        sound.append(stream.flush())
        torch.testing.assert_close(torch.cat(sound, 1), whole, rtol=0, atol=2e-6)


@torch.inference_mode()
def test_only_calls_in_the_middle_of_a_stream_are_taken() -> None:
    codec = pair("musicgen")[1]
    network, graph = captured(codec)
    states = network.new_states(1)
    row = torch.zeros(1, 1, graph.channels)
    assert not graph.takes(row, states)
    for _ in range(12):
        network.step(row.clone(), states)
    assert graph.takes(row, states)
    assert graph.takes(row.expand(1, 8, -1), states)
    assert not graph.takes(row.expand(1, 9, -1), states)
    assert not graph.takes(row.expand(2, 1, -1), states)


def test_a_comparison_that_fails_leaves_the_layers_alone() -> None:
    codec = pair("audiocraft")[1]
    network, graph = captured(codec)
    network.graph = None

    def wrong(rows: Tensor, states: object) -> Tensor:
        return 1.01 * CapturedNetwork.step(graph, rows, states)  # type: ignore[arg-type]

    graph.step = wrong  # type: ignore[method-assign]
    assert not equals(network, graph, codec.runs)


def test_without_a_gpu_nothing_is_captured() -> None:
    codec = pair("audiocraft")[1]
    network = copy.copy(codec.network)
    network.graph = None
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert not capture_network(network, codec.runs, torch.device("cuda"))
    assert network.graph is None
