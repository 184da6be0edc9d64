"""``python -m benchmarks.decode``: one step of the model, beside transformers' step and the time that reading the weights takes.

A step makes one frame (20 ms of sound at 50 frames per second): both rows of guidance through the LM with filled caches, and a
top-k draw. All figures of one run come from one process, with the same threads and context. The floor is what no implementation of
a single stream can go below in its precision: every weight that a step needs, and the caches, are read once, at the rate at which
this machine was just seen to read memory. After it was timed, each fast path samples again beside its plain run in the same
precision, and the record says how many tokens are the same.
"""

from __future__ import annotations

import argparse
import gc
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import load_file
from torch import nn

from benchmarks._figures import show, table
from benchmarks._limits import at_least, at_most, lines
from benchmarks._machine import describe_machine, load
from benchmarks._shapes import SHAPES, all_weights, build_codec, build_lm, build_peer, decode_faster, find_shape, run_by
from benchmarks._steps import (
    CODEC_CHUNK,
    GUIDANCE,
    TOP_K,
    WARM_UP_STEPS,
    OurTimes,
    Timing,
    measure_bandwidth,
    time_our_codec,
    time_ours,
    time_peer_step,
)
from benchmarks._tokens import Equality, compare
from benchmarks._traffic import ROWS, cache_bytes, cache_itemsize, checkpoint_folder, weight_bytes
from engine.checkpoints import load_model
from engine.checkpoints.devices import Precision, pick_device, pick_precision
from engine.checkpoints.parts import quiet_transformers
from engine.checkpoints.running import settled
from engine.checkpoints.section import OwnSection, read_config
from engine.checkpoints.torchaudio_guard import ensure_torchaudio
from engine.cores import model_threads
from engine.runtime.audio_codec import AudioCodec
from engine.runtime.lm import LMConfig, MusicgenLM
from protocols.errors import ErrorCode, RequestError

TEXT_TOKENS = 16
CONTEXT = 500
EQUAL_PROMPT = 8
_BESIDE_WEIGHTS = 1.25  # memory beside the weights: caches, activations, a layer that is laid out anew
_SPARE_BYTES = 2**29


@dataclass
class _Way:
    """One precision of ours, as it was measured.

    Attributes:
        precision: of the LM.
        runner: what ran it.
        config: of the LM.
        times: of step and whole.
        codec: milliseconds per frame in chunks.
        codec_single: frame by frame.
        weights: bytes that a step reads of them.
        caches: bytes that it reads of them.
        frame_rate: of the codec.
        equality: with the plain run; None where the modules ran it.
    """

    precision: Precision
    runner: str
    config: LMConfig
    times: OurTimes
    codec: Timing
    codec_single: Timing
    weights: int
    caches: int
    frame_rate: float
    equality: Equality | None

    def as_dict(self, bandwidth: float) -> dict[str, Any]:
        """For the record.

        Args:
            bandwidth: at which the machine reads, in GB/s.
        """
        floor = 1000 * (self.weights + self.caches) / (bandwidth * 1e9)
        return {
            "dtype": self.precision.name,
            "runner": self.runner,
            "step_ms": round(self.times.step.median, 4),
            "whole_ms": round(self.times.whole.median, 4),
            "codec_ms_per_frame": round(self.codec.median, 4),
            "codec_ms_single_frame": round(self.codec_single.median, 4),
            "realtime": round(1000 / self.frame_rate / self.times.whole.median, 3),
            "floor_step_ms": round(floor, 4),
            "of_floor": round(floor / self.times.step.median, 4),
            "weights_mb": round(self.weights / 1e6, 2),
            "cache_mb": round(self.caches / 1e6, 3),
            "tokens": None if self.equality is None else self.equality.as_dict(),
            "all_step_ms": self.times.step.rounded(),
            "all_whole_ms": self.times.whole.rounded(),
        }


@dataclass
class _Peer:
    """transformers, as it was measured, and what was not."""

    step: Timing | None = None
    codec: Timing | None = None
    int8_step: Timing | None = None
    missing: str = ""


def measure(
    name: str = "pocket",
    *,
    by_shape: bool = True,
    threads: int = 0,
    context: int = CONTEXT,
    steps: int = 40,
    repeats: int = 3,
    dtypes: Sequence[str] = ("auto",),
    runner: str = "auto",
    kv_cache: str = "auto",
    device: str = "auto",
    peer: bool = True,
    equal_frames: int = 50,
) -> dict[str, Any]:
    """Run the benchmark.

    Args:
        name: one of `SHAPES`, or a model to load.
        by_shape: which of both it is.
        threads: CPU threads; 0 for the engine's own choice.
        context: frames that the LM has heard when the clock starts.
        steps: steps in a row that are timed.
        repeats: how often everything is timed; the medians count.
        dtypes: precisions of ours, as the engine's setting; the first is the one that the result is about.
        runner: as the engine's setting.
        kv_cache: as the engine's setting.
        device: as the engine's setting.
        peer: measure transformers as well.
        equal_frames: how many are sampled again to compare tokens; 0 for none.

    Raises:
        RequestError: no such shape, model, device, precision or runner, or too little memory for our own model.
    """
    where = pick_device(device)
    torch.set_num_threads(model_threads(threads))
    torch.manual_seed(1)
    machine = describe_machine()
    ways: list[_Way] = []
    bandwidths: list[float] = []  # again and again: the best of them is what the machine can do
    for dtype in dtypes:
        lm, codec, precision, running = _load_ours(name, by_shape, where, dtype, runner, kv_cache)
        ways.append(_measure_ours(lm, codec, precision, running, kv_cache, context, steps, repeats, equal_frames))
        del lm, codec
        _release(where)
        bandwidths.append(measure_bandwidth(where, ways[-1].weights))
    main, config = ways[0], ways[0].config
    theirs = _Peer(missing="not asked for")
    if peer:
        theirs = _measure_peer(name, by_shape, where, main, context, steps, repeats)
        _release(where)
        bandwidths.append(measure_bandwidth(where, main.weights))
    bandwidth = max(bandwidths)
    columns = [way.as_dict(bandwidth) for way in ways]
    step = None if theirs.step is None else round(theirs.step.median, 4)
    return {
        "benchmark": "decode",
        "model": name,
        "weights": "random, of this shape" if by_shape else "of this checkpoint",
        **{key: value for key, value in columns[0].items() if not key.startswith("all_")},
        "peer_step_ms": step,
        "peer_int8_step_ms": None if theirs.int8_step is None else round(theirs.int8_step.median, 4),
        "peer_codec_ms_per_frame": None if theirs.codec is None else round(theirs.codec.median, 4),
        "peer_dtype": str(main.precision.dtype).removeprefix("torch."),
        "peer_missing": theirs.missing or None,
        "peer_realtime": _peer_realtime(main.frame_rate, theirs),
        "times_peer": None if step is None else round(step / main.times.step.median, 2),
        "precisions": columns,
        "limits": _limits(name, where, torch.get_num_threads(), columns, step),
        "bandwidth_gb_s": round(bandwidth, 2),
        "parameters": all_weights(config),
        "rows": ROWS,
        "context": context,
        "text_tokens": TEXT_TOKENS,
        "steps": steps,
        "repeats": repeats,
        "warm_up_steps": WARM_UP_STEPS,
        "codec_chunk": CODEC_CHUNK,
        "guidance": GUIDANCE,
        "top_k": TOP_K,
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else where.type,
        "threads": torch.get_num_threads(),
        "all": {
            "peer_step_ms": [] if theirs.step is None else theirs.step.rounded(),
            "peer_int8_step_ms": [] if theirs.int8_step is None else theirs.int8_step.rounded(),
            "bandwidth_gb_s": [round(value, 2) for value in bandwidths],
        },
        "load_after": load(),
        "machine": machine,
    }


def _measure_ours(
    lm: MusicgenLM,
    codec: AudioCodec,
    precision: Precision,
    running: str,
    kv_cache: str,
    context: int,
    steps: int,
    repeats: int,
    equal_frames: int,
) -> _Way:
    config = lm.config
    context = min(context, config.pattern.most_frames(config.max_positions) - 2 * (WARM_UP_STEPS + steps) - CODEC_CHUNK)
    times = time_ours(lm, codec, context=context, steps=steps, repeats=repeats, text_tokens=TEXT_TOKENS)
    equality = None
    if equal_frames:
        condition = lm.condition(torch.randn(TEXT_TOKENS, config.text_dim))
        equality = compare(lm, condition, prompt=EQUAL_PROMPT, frames=equal_frames)
    itemsize = cache_itemsize(config, precision, lm.device, kv_cache if running == "onnx" else "float32")
    return _Way(
        precision,
        running,
        config,
        times,
        time_our_codec(codec, repeats),
        time_our_codec(codec, repeats, chunk=1),
        weight_bytes(config, precision, lm.device),
        cache_bytes(config, context + WARM_UP_STEPS + steps / 2, TEXT_TOKENS, itemsize),
        float(codec.frame_rate),
        equality,
    )


def _load_ours(
    name: str, by_shape: bool, device: torch.device, dtype: str, runner: str, kv_cache: str
) -> tuple[MusicgenLM, AudioCodec, Precision, str]:
    """Our model with the matrices of its modules, which tokens are compared with later, and what runs it."""
    if not by_shape:
        bundle = load_model(name, device=str(device), dtype=dtype, runner="plain", kv_cache="float32")
        precision = pick_precision(bundle.precision, device)
        if runner != "plain":
            decode_faster(bundle.codec)
        return bundle.lm, bundle.codec, precision, run_by(bundle.lm, runner, precision, kv_cache)
    shape = find_shape(name)
    config = shape.lm_config()
    precision = settled(pick_precision(dtype, device), config, device)
    copies = (
        3 if precision.form is not None and runner != "plain" else 1
    )  # of the modules, the runner and its plain run
    lacks = _lacks(device, copies * weight_bytes(config, precision, device))
    if lacks:
        raise RequestError(ErrorCode.UNSUPPORTED, "model-shape", name, f"a machine with more memory: {lacks}")
    lm = build_lm(shape, device, precision)
    codec = build_codec(shape, device)
    if runner != "plain":
        decode_faster(codec)
    return lm, codec, precision, run_by(lm, runner, precision, kv_cache)


def _measure_peer(
    name: str, by_shape: bool, device: torch.device, main: _Way, context: int, steps: int, repeats: int
) -> _Peer:
    """transformers in the precision of our activations, and on a CPU with its matrices in torch's own int8 as well."""
    dtype = main.precision.dtype
    if lacks := _lacks(device, all_weights(main.config) * dtype.itemsize):
        return _Peer(missing=lacks)
    own = None if by_shape else _own_layout(checkpoint_folder(name))
    model = _load_peer(name, by_shape, device, dtype) if own is None else _peer_of(own, device, dtype)
    room = main.config.pattern.most_frames(main.config.max_positions) - repeats * steps - 2 * WARM_UP_STEPS
    given = {"context": min(context, room), "steps": steps, "repeats": repeats, "text_tokens": TEXT_TOKENS}
    found = _Peer(*time_peer_step(model, **given))
    if own is not None:
        found.codec, found.missing = None, "its codec, which transformers does not have; the step is measured"
    if device.type == "cpu" and dtype == torch.float32 and _round_peer(model):
        found.int8_step, _ = time_peer_step(model, **given)
    return found


def _round_peer(model: Any) -> bool:
    """Round the matrices of the peer's LM with torch's dynamic quantisation; False where torch has none any more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            quantise: Any = torch.ao.quantization.quantize_dynamic
            quantise(model.decoder, {nn.Linear}, dtype=torch.qint8, inplace=True)
        except (AttributeError, RuntimeError, NotImplementedError):
            return False
    return True


def _load_peer(name: str, by_shape: bool, device: torch.device, dtype: torch.dtype) -> Any:
    if by_shape:
        with quiet_transformers():
            return build_peer(SHAPES[name], device, dtype)
    ensure_torchaudio()
    from transformers import MusicgenForConditionalGeneration

    load_peer: Any = MusicgenForConditionalGeneration.from_pretrained
    with quiet_transformers():
        model = load_peer(checkpoint_folder(name), local_files_only=True, dtype=dtype).to(device).eval()
    model.audio_encoder.float()
    return model


def _own_layout(folder: Path) -> Path | None:
    """The folder, when it holds a model in our own layout."""
    return None if OwnSection.read(read_config(folder)).codec is None else folder


def _peer_of(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """transformers' model with the LM and the text encoder of one in our own layout; its codec is there only to be skipped."""
    ensure_torchaudio()
    from transformers import MusicgenConfig, MusicgenDecoderConfig, MusicgenForConditionalGeneration, T5Config

    config = read_config(folder)
    parts: dict[str, Any] = {
        "text_encoder": T5Config(**config["text_encoder"]),
        "audio_encoder": SHAPES["pocket"].codec_config(),
        "decoder": MusicgenDecoderConfig(**config["decoder"]),
    }
    with quiet_transformers():
        model: Any = MusicgenForConditionalGeneration(MusicgenConfig(**parts))
    state = load_file(folder / "model.safetensors")
    del state["score.weight"]
    absent = [
        name for name in model.load_state_dict(state, strict=False).missing_keys if name.startswith("decoder.model")
    ]
    assert not absent, absent
    for name in ("pad_token_id", "bos_token_id", "decoder_start_token_id"):
        setattr(model.generation_config, name, config["decoder"]["vocab_size"])
    model.to(device, dtype).audio_encoder.float()
    return model.eval()


def _lacks(device: torch.device, weight_bytes: int) -> str:
    """Why a model of that size cannot be held, in words; empty when it can."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    needed = _BESIDE_WEIGHTS * weight_bytes + _SPARE_BYTES
    return "" if needed <= free else f"{needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free"


def _release(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _peer_realtime(frame_rate: float, peer: _Peer) -> float | None:
    """Seconds of sound in a second, LM and codec one after the other."""
    if peer.step is None or peer.codec is None:
        return None
    return round(1000 / frame_rate / (peer.step.median + peer.codec.median), 3)


def _limits(
    name: str, device: torch.device, threads: int, columns: Sequence[dict[str, Any]], peer_step: float | None
) -> list[dict[str, Any]]:
    """What has been set for such a model on such a machine; equal tokens everywhere."""
    found, main = [], columns[0]
    if device.type == "cpu" and (name, threads) in _REALTIME:
        # In any precision: which one it takes depends on how fast the memory is.
        best = max(columns, key=lambda column: column["realtime"])
        what = f"real time, {best['dtype']} by {best['runner']}"
        found.append(at_least(what, _REALTIME[name, threads], best["realtime"]))
    if device.type == "cuda" and name in _OF_FLOOR:
        times = None if peer_step is None else round(peer_step / main["step_ms"], 2)
        found += [at_least("share of the floor's speed", _OF_FLOOR[name], main["of_floor"])]
        found += [at_least("times as fast as transformers", 15, times)]
    for column in columns:
        if (tokens := column["tokens"]) is not None:
            way = f"{column['dtype']} by {column['runner']}"
            if tokens["against"] != "modules":
                found.append(at_least(f"tokens equal, {way}", 1, 1 - tokens["different"] / tokens["tokens"]))
                continue
            same = 1 - (tokens["different"] - tokens["ties"]) / tokens["tokens"]
            found.append(at_least(f"tokens equal but for ties, {way}", 1, round(same, 6)))
            found.append(at_most(f"divergence from the modules, nats, {way}", _DIVERGENCE, tokens["kl_nats"]))
    return found


_REALTIME = {("musicgen-small", 4): 1.0, ("pocket", 2): 4.0}
"""Seconds of sound in a second that a model must make on so many threads of a CPU."""
_DIVERGENCE = 2e-3
"""The most by which the distributions of captured graphs may differ from the modules', in nats."""
_OF_FLOOR = {"musicgen-small": 0.4, "musicgen-medium": 0.6, "musicgen-large": 0.6}


def describe(result: dict[str, Any]) -> str:
    """A result in words."""
    header = ["one step, ms", "this project", "floor", "of its speed", "whole", "realtime", "tokens equal"]
    rows: list[list[object]] = [
        [
            f"{one['dtype']}, {one['runner']}",
            one["step_ms"],
            one["floor_step_ms"],
            f"{one['of_floor']:.0%}",
            one["whole_ms"],
            one["realtime"],
            describe_tokens(one["tokens"]),
        ]
        for one in result["precisions"]
    ]
    rows.append(
        [
            f"transformers, {result['peer_dtype']}",
            result["peer_step_ms"],
            None,
            None,
            None,
            result["peer_realtime"],
            None,
        ]
    )
    rows.append(["transformers, torch's int8", result["peer_int8_step_ms"], None, None, None, None, None])
    codec = [
        ["codec, ms per frame", result["codec_ms_per_frame"], result["peer_codec_ms_per_frame"]],
    ]
    facts = (
        f"\n{result['model']}, {result['weights']} ({result['parameters'] / 1e6:.0f} M parameters); "
        f"{result['device']}, {result['threads']} threads; context {result['context']}, guidance, top-k {result['top_k']}; "
        f"{result['weights_mb']:g} MB of weights and {result['cache_mb']:g} MB of caches per step at "
        f"{result['bandwidth_gb_s']:g} GB/s; load {result['machine']['load']} before, {result['load_after']} after\n"
    )
    missing = f"not measured of transformers: {result['peer_missing']}\n" if result["peer_missing"] else ""
    beside = table(["", "this project", "transformers"], codec)
    return table(header, rows) + "\n" + beside + facts + missing + lines(result["limits"])


def describe_tokens(tokens: dict[str, Any] | None) -> str | None:
    """How many tokens are the same, in words; None where nothing was compared."""
    if tokens is None:
        return None
    ties = f", {tokens['ties']} ties" if tokens["ties"] else ""
    return f"{tokens['tokens'] - tokens['different']} of {tokens['tokens']}{ties}"


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=(__doc__ or "").split("\n")[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model-shape", choices=list(SHAPES), help="random weights of this shape (default: pocket)")
    which.add_argument("--model", help="a model that is loaded: a name, a folder, a hub id")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 for the engine's own choice")
    parser.add_argument("--context", type=int, default=CONTEXT, help="frames heard when the clock starts")
    parser.add_argument("--steps", type=int, default=40, help="steps in a row that are timed")
    parser.add_argument("--repeats", type=int, default=3, help="how often; the medians count")
    parser.add_argument(
        "--dtype", action="append", help="auto, float32, float16, bfloat16, int8 or int4; again for more columns"
    )
    parser.add_argument("--runner", default="auto", help="auto, plain, onnx or graphs")
    parser.add_argument("--kv-cache", default="auto", choices=("auto", "float32", "int8"), help="of the onnx runner")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--equal-frames", type=int, default=50, help="sampled again to compare tokens; 0: not at all")
    parser.add_argument("--no-peer", action="store_true", help="leave transformers out")
    parser.add_argument("--json", action="store_true", help="write the result as JSON")
    options = parser.parse_args(arguments)
    if min(options.context, options.steps, options.repeats) < 1 or options.equal_frames < 0:
        parser.error("context, steps and repeats are 1 or more")
    try:
        result = measure(
            options.model or options.model_shape or "pocket",
            by_shape=options.model is None,
            threads=options.threads,
            context=options.context,
            steps=options.steps,
            repeats=options.repeats,
            dtypes=options.dtype or ("auto",),
            runner=options.runner,
            kv_cache=options.kv_cache,
            device=options.device,
            peer=not options.no_peer,
            equal_frames=options.equal_frames,
        )
    except RequestError as error:
        sys.stderr.write(f"decode: {error.text}\n")
        return 2
    show(result, describe(result), as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
