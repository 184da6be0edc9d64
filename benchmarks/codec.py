"""``python -m benchmarks.codec``: what decoding costs on a stream, in chunks of any size, and whether it is the same after an hour.

A stream decodes as fast as it goes. Its minutes differ by what the machine was doing meanwhile, so that the first and the last are
compared twice: as they came, and side by side, where the stream that has run for an hour and a fresh one take turns, chunk by
chunk, for a minute of sound each. Only the second tells what age does, and it has the limit.

Beside them stand transformers' decoder over a whole file and the time that the multiply-adds of a frame take at the rate at which
this machine was just seen to multiply matrices.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._figures import show, table
from benchmarks._limits import at_most, lines
from benchmarks._machine import describe_machine, load
from benchmarks._shapes import SHAPES, build_codec, build_peer_codec, decode_faster, find_shape
from benchmarks._steps import stopwatch
from engine.checkpoints import load_model
from engine.checkpoints.devices import pick_device
from engine.cores import model_threads
from engine.runtime.audio_codec import AudioCodec, DecoderStream
from protocols.errors import RequestError

LARGEST_CHUNK = 8
_SIZES_SECONDS = 2.0
"""Of sound, in each round of each size."""
_ROUNDS = 5
_WARM_UP_CHUNKS = 16
_PEER_SECONDS = 30.0
_PEER_RUNS = 3
_MATRIX = 1024
_AGE_LIMIT = 1.02
_VARIETY = 64


class Costs(NamedTuple):
    """What a stretch of chunks took, each of them: seconds that went by, and seconds of processors."""

    wall: list[float]
    processor: list[float]

    def per_frame(self, chunk: int) -> dict[str, float]:
        """The medians, in milliseconds for a frame."""
        return {
            "ms": round(1000 * statistics.median(self.wall) / chunk, 5),
            "processor_ms": round(1000 * statistics.median(self.processor) / chunk, 5),
        }


def measure(
    name: str = "pocket",
    *,
    by_shape: bool = False,
    minutes: float = 60.0,
    chunk: int = LARGEST_CHUNK,
    threads: int = 0,
    device: str = "auto",
    peer: bool = True,
) -> dict[str, Any]:
    """Run the benchmark; times are milliseconds per frame unless they say otherwise.

    Args:
        name: one of `SHAPES`, or a model to load.
        by_shape: which of both it is.
        minutes: of sound that the long stream decodes.
        chunk: frames in each of its chunks.
        threads: CPU threads; 0 for the engine's own choice.
        device: as the engine's setting.
        peer: measure transformers as well.

    Raises:
        RequestError: no such shape, model or device.
    """
    where = pick_device(device)
    torch.set_num_threads(model_threads(threads))
    torch.manual_seed(1)
    machine = describe_machine()
    codec: AudioCodec = build_codec(find_shape(name), where) if by_shape else load_model(name, device=device).codec
    decode_faster(codec)
    rate = float(codec.frame_rate)
    sizes = _by_size(codec, rate)
    aged = _age(codec, rate, minutes, chunk)
    whole = _whole_file(codec, rate)
    model = build_peer_codec(find_shape(name)).to(where) if by_shape else None
    theirs = None if model is None or not peer else _peer(model, where, rate)
    flops = _flops(codec) if model is None else _peer_flops(model)
    giga = _multiply_rate(where)
    paired = aged["side_by_side"]
    return {
        "benchmark": "codec",
        "model": name,
        "weights": "random, of this shape" if by_shape else "of this checkpoint",
        "ms_per_frame": {str(size): round(value, 4) for size, value in sizes.items()},
        "ms_per_frame_whole_file": round(whole, 4),
        "peer_ms_per_frame": None if theirs is None else round(theirs, 4),
        "peer_missing": None
        if theirs is not None
        else "not asked for"
        if by_shape
        else "a codec that transformers lacks",
        "floor_ms_per_frame": None if flops is None else round(flops / giga / 1e6, 4),
        "mega_flops_per_frame": None if flops is None else round(flops / 1e6, 2),
        "gflops_per_s": round(giga, 1),
        "frames_per_s": rate,
        "realtime": round(1000 / rate / sizes[LARGEST_CHUNK], 2),
        "minutes": minutes,
        "chunk": chunk,
        **aged,
        "limits": [at_most("cost after the last minute over that of a fresh stream", _AGE_LIMIT, paired["ratio"])],
        "peer_seconds": _PEER_SECONDS,
        "rounds": _ROUNDS,
        "warm_up_chunks": _WARM_UP_CHUNKS,
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else where.type,
        "threads": torch.get_num_threads(),
        "load_after": load(),
        "machine": machine,
    }


def _by_size(codec: AudioCodec, rate: float) -> dict[int, float]:
    """Milliseconds per frame for every size of chunk; the sizes take turns, and the median of the rounds counts."""
    now = stopwatch(codec.device)
    streams = {size: codec.stream() for size in range(1, LARGEST_CHUNK + 1)}
    codes = {size: _codes(codec, size) for size in streams}
    for size, stream in streams.items():
        for index in range(_WARM_UP_CHUNKS):
            stream.decode(codes[size][index])
    spent: dict[int, list[float]] = {size: [] for size in streams}
    for _ in range(_ROUNDS):
        for size, stream in streams.items():
            count = max(1, round(_SIZES_SECONDS * rate / size))
            began = now()
            for index in range(count):
                stream.decode(codes[size][index % _VARIETY]).cpu()
            spent[size].append(1000 * (now() - began) / (count * size))
    return {size: statistics.median(values) for size, values in spent.items()}


def _age(codec: AudioCodec, rate: float, minutes: float, chunk: int) -> dict[str, Any]:
    """A long stream, minute by minute, and how it stands beside a fresh one in the end."""
    codes = _codes(codec, chunk)
    old = codec.stream()
    _decode(old, codec, codes, _WARM_UP_CHUNKS)
    in_minute = max(1, round(60 * rate / chunk))
    state, memory = old.state_bytes, psutil.Process().memory_info().rss
    each = []
    left = chunks = max(1, round(60 * rate * minutes / chunk))
    while left > 0:
        count = min(left, in_minute)
        each.append(_decode(old, codec, codes, count).per_frame(chunk))
        left -= count
    grown = psutil.Process().memory_info().rss - memory
    young = codec.stream()
    _decode(young, codec, codes, _WARM_UP_CHUNKS)
    both: dict[str, Costs] = {"old": Costs([], []), "young": Costs([], [])}
    for index in range(max(2, min(chunks, in_minute))):
        turns = (("old", old), ("young", young))
        for name, stream in turns if index % 2 else reversed(turns):
            cost = _decode(stream, codec, codes, 1, index)
            both[name].wall.extend(cost.wall)
            both[name].processor.extend(cost.processor)
    aged, fresh = both["old"].per_frame(chunk), both["young"].per_frame(chunk)
    return {
        "first_minute": each[0],
        "last_minute": each[-1],
        "each_minute_ms": [minute["ms"] for minute in each],
        "side_by_side": {
            "old": aged,
            "fresh": fresh,
            "ratio": _ratio(both["old"].wall, both["young"].wall),
            "processor_ratio": _ratio(both["old"].processor, both["young"].processor),
        },
        "state_bytes": state,
        "state_bytes_after": old.state_bytes,
        "memory_grown_mb": round(grown / 1e6, 2),
    }


def _decode(stream: DecoderStream, codec: AudioCodec, codes: list[Tensor], count: int, first: int = 0) -> Costs:
    now = stopwatch(codec.device)
    costs = Costs([], [])
    for index in range(first, first + count):
        began, processor = now(), time.process_time()
        stream.decode(codes[index % len(codes)]).cpu()
        costs.wall.append(now() - began)
        costs.processor.append(time.process_time() - processor)
    return costs


def _ratio(one: list[float], other: list[float]) -> float:
    """How much more one costs than the other: the median over pairs of turns, in which each of them was first once."""
    pairs = [
        (one[index] + one[index + 1]) / max(other[index] + other[index + 1], 1e-9)
        for index in range(0, len(one) - 1, 2)
    ]
    return round(statistics.median(pairs), 4)


def _codes(codec: AudioCodec, chunk: int) -> list[Tensor]:
    shape = (codec.num_codebooks, chunk)
    return [torch.randint(codec.card, shape, device=codec.device) for _ in range(_VARIETY)]


def _whole_file(codec: AudioCodec, rate: float) -> float:
    """Ours over a whole file: one chunk that is as long as it."""
    now = stopwatch(codec.device)
    codes = torch.randint(codec.card, (codec.num_codebooks, round(_PEER_SECONDS * rate)), device=codec.device)
    spent = []
    for _ in range(_PEER_RUNS):
        began = now()
        codec.decode(codes).cpu()
        spent.append(1000 * (now() - began) / codes.shape[1])
    return statistics.median(spent)


@torch.inference_mode()
def _peer(model: Any, device: torch.device, rate: float) -> float:
    """transformers' ``EncodecModel.decode`` of a whole file, milliseconds per frame."""
    now = stopwatch(device)
    config = model.config
    frames = round(_PEER_SECONDS * rate)
    codes = torch.randint(config.codebook_size, (1, 1, model.quantizer.num_quantizers, frames), device=device)
    spent = []
    for _ in range(_PEER_RUNS):
        began = now()
        model.decode(codes, [None]).audio_values.cpu()
        spent.append(1000 * (now() - began) / frames)
    return statistics.median(spent)


def _flops(codec: AudioCodec) -> float | None:
    """Floating-point operations of a frame on a stream, as torch's operators tell them; None where they tell none."""
    counts = []
    for frames in (_WARM_UP_CHUNKS, 2 * _WARM_UP_CHUNKS):
        stream = codec.stream()
        with FlopCounterMode(display=False) as counter:
            stream.decode(torch.zeros(codec.num_codebooks, frames, dtype=torch.long, device=codec.device))
        counts.append(counter.get_total_flops())
    return (counts[1] - counts[0]) / _WARM_UP_CHUNKS or None


@torch.inference_mode()
def _peer_flops(model: Any) -> float:
    """The same of transformers' decoder, counted from the shapes that its layers are given: two for each multiply-add."""
    frames = 50
    total = 0

    def count(module: nn.Module, given: tuple[Any, ...], made: Any) -> None:
        nonlocal total
        if isinstance(module, nn.LSTM):
            steps = given[0].shape[0] * given[0].shape[1]
            total += 2 * steps * sum(parameter.numel() for parameter in module.parameters() if parameter.dim() == 2)
        elif isinstance(module, nn.ConvTranspose1d):
            total += 2 * given[0].shape[-1] * module.weight.numel()
        elif isinstance(module, nn.Conv1d):
            total += 2 * made.shape[-1] * module.weight.numel()

    hooks = [module.register_forward_hook(count) for module in model.decoder.modules()]
    codes = torch.zeros(1, 1, model.quantizer.num_quantizers, frames, dtype=torch.long, device=model.device)
    model.decode(codes, [None])
    for hook in hooks:
        hook.remove()
    return total / frames


def _multiply_rate(device: torch.device) -> float:
    """The best rate at which matrices of single precision are multiplied with torch's threads, in GFLOP/s."""
    now = stopwatch(device)
    a, b = (torch.randn(_MATRIX, _MATRIX, device=device) for _ in range(2))
    best = float("inf")
    for _ in range(20):
        began = now()
        torch.mm(a, b)
        best = min(best, now() - began)
    return 2 * _MATRIX**3 / best / 1e9


def describe(result: dict[str, Any]) -> str:
    """A result in words."""
    streamed = result["ms_per_frame"]
    rows = [["streamed, in chunks of", *streamed], ["ms per frame", *streamed.values()]]
    paired = result["side_by_side"]
    ages = [
        ["first minute", result["first_minute"]["ms"], result["first_minute"]["processor_ms"]],
        [f"last of {result['minutes']:g} minutes", result["last_minute"]["ms"], result["last_minute"]["processor_ms"]],
        ["side by side: fresh", paired["fresh"]["ms"], paired["fresh"]["processor_ms"]],
        ["side by side: old", paired["old"]["ms"], paired["old"]["processor_ms"]],
    ]
    peer = "–" if result["peer_ms_per_frame"] is None else f"{result['peer_ms_per_frame']:.3g} ms"
    floor = "–" if result["floor_ms_per_frame"] is None else f"{result['floor_ms_per_frame']:.3g} ms"
    return (
        table([str(cell) for cell in rows[0]], rows[1:])
        + "\n"
        + table([f"chunks of {result['chunk']}, ms per frame", "time", "processor time"], ages)
        + f"\na whole file: ours {result['ms_per_frame_whole_file']:.3g} ms per frame, transformers {peer}; floor {floor} at "
        f"{result['gflops_per_s']:g} GFLOP/s\n{result['model']}, {result['weights']}; {result['device']}, "
        f"{result['threads']} threads; "
        f"state {result['state_bytes']} → {result['state_bytes_after']} bytes, process grown by {result['memory_grown_mb']:g} MB; "
        f"old over fresh {paired['ratio']:g} (processor time {paired['processor_ratio']:g}); "
        f"load {result['machine']['load']} before, {result['load_after']} after\n" + lines(result["limits"])
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codec", description=(__doc__ or "").split("\n")[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model-shape", choices=list(SHAPES), help="random weights of this shape's codec")
    which.add_argument("--model", default="pocket", help="a model whose codec is loaded: a name, a folder, a hub id")
    parser.add_argument("--minutes", type=float, default=60.0, help="of sound that the long stream decodes")
    parser.add_argument("--chunk", type=int, default=LARGEST_CHUNK, help="frames in each of its chunks")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 for the engine's own choice")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--no-peer", action="store_true", help="leave transformers out")
    parser.add_argument("--json", action="store_true", help="write the result as JSON")
    options = parser.parse_args(arguments)
    if options.minutes <= 0 or options.chunk < 1:
        parser.error("minutes are above 0 and a chunk has 1 frame or more")
    try:
        result = measure(
            options.model_shape or options.model,
            by_shape=options.model_shape is not None,
            minutes=options.minutes,
            chunk=options.chunk,
            threads=options.threads,
            device=options.device,
            peer=not options.no_peer,
        )
    except RequestError as error:
        sys.stderr.write(f"codec: {error.text}\n")
        return 2
    show(result, describe(result), as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
