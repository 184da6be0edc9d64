"""``python -m benchmarks.decode``: one step of the model, beside transformers' step and the time that reading the weights takes.

A step makes one frame (20 ms of sound at 50 frames per second): both rows of guidance through the LM, and a top-k draw. All figures
of one run come from one process, with the same threads, precision and context. The floor is what no implementation of a single
stream can go below in this precision: every weight that a step needs is read once, at the rate at which this machine was just seen
to read memory.
"""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from safetensors.torch import load_file

from benchmarks._figures import show, table
from benchmarks._machine import describe_machine, load
from benchmarks._shapes import SHAPES, all_weights, build_codec, build_lm, build_peer, step_weights
from benchmarks._steps import (
    CODEC_CHUNK,
    GUIDANCE,
    TOP_K,
    WARM_UP_STEPS,
    Timing,
    measure_bandwidth,
    time_our_codec,
    time_our_step,
    time_peer_step,
)
from engine.checkpoints import load_model
from engine.checkpoints.catalogue import find_source
from engine.checkpoints.devices import pick_device, pick_dtype
from engine.checkpoints.parts import quiet_transformers
from engine.checkpoints.section import OwnSection, read_config
from engine.cores import model_threads
from engine.runtime.audio_codec import AudioCodec
from engine.runtime.lm import LMConfig, MusicgenLM
from protocols.errors import ErrorCode, RequestError

TEXT_TOKENS = 16
_ROWS = 2
_BESIDE_WEIGHTS = 1.25  # memory beside the weights: caches, activations, a layer that is laid out anew
_SPARE_BYTES = 2**29


class _Ours(NamedTuple):
    config: LMConfig
    step: Timing
    codec: Timing
    codec_single: Timing
    cache_bytes: int
    frame_rate: float


def measure(
    name: str = "pocket",
    *,
    by_shape: bool = True,
    threads: int = 0,
    context: int = 100,
    steps: int = 40,
    repeats: int = 3,
    dtype: str = "auto",
    device: str = "auto",
    peer: bool = True,
) -> dict[str, Any]:
    """Run the benchmark.

    Args:
        name: one of `SHAPES`, or a model to load.
        by_shape: which of both it is.
        threads: CPU threads; 0 for the engine's own choice.
        context: frames that the LM has heard when the clock starts.
        steps: steps in a row that are timed.
        repeats: how often everything is timed; the medians count.
        dtype: as the engine's setting.
        device: as the engine's setting.
        peer: measure transformers as well.

    Raises:
        RequestError: no such shape, model, device or precision, or too little memory for our own model.
    """
    where = pick_device(device)
    precision = pick_dtype(dtype, where)
    torch.set_num_threads(model_threads(threads))
    torch.manual_seed(1)
    if by_shape and name not in SHAPES:
        raise RequestError(ErrorCode.UNKNOWN_MODEL, "model-shape", name, ", ".join(SHAPES))
    machine = describe_machine()
    ours = _measure_ours(name, by_shape, where, precision, context, steps, repeats)
    _release(where)
    weights = step_weights(ours.config) * precision.itemsize
    bandwidths = [
        measure_bandwidth(where, weights)
    ]  # again after the peer: the best of both is what the machine can do
    their_step: Timing | None = None
    their_codec: Timing | None = None
    why_not = "not asked for" if not peer else _lacks(where, all_weights(ours.config) * precision.itemsize)
    own = None if by_shape else _own_layout(_checkpoint(name))
    if not why_not:
        model = _load_peer(name, by_shape, where, precision) if own is None else _peer_of(own, where, precision)
        their_step, their_codec = time_peer_step(
            model, context=context, steps=steps, repeats=repeats, text_tokens=TEXT_TOKENS
        )
        if own is not None:
            their_codec, why_not = None, "its codec, which transformers does not have; the step is measured"
        del model
        _release(where)
        bandwidths.append(measure_bandwidth(where, weights))
    floor = 1000 * (weights + ours.cache_bytes) / (max(bandwidths) * 1e9)
    return {
        "benchmark": "decode",
        "model": name,
        "weights": "random, of this shape" if by_shape else "of this checkpoint",
        "step_ms": round(ours.step.median, 4),
        "peer_step_ms": None if their_step is None else round(their_step.median, 4),
        "peer_missing": why_not or None,
        "floor_step_ms": round(floor, 4),
        "codec_ms_per_frame": round(ours.codec.median, 4),
        "codec_ms_single_frame": round(ours.codec_single.median, 4),
        "peer_codec_ms_per_frame": None if their_codec is None else round(their_codec.median, 4),
        "realtime": _realtime(ours.frame_rate, ours.step, ours.codec),
        "peer_realtime": _realtime(ours.frame_rate, their_step, their_codec),
        "bandwidth_gb_s": round(max(bandwidths), 2),
        "weights_mb": round(weights / 1e6, 2),
        "cache_mb": round(ours.cache_bytes / 1e6, 3),
        "parameters": all_weights(ours.config),
        "rows": _ROWS,
        "context": context,
        "text_tokens": TEXT_TOKENS,
        "steps": steps,
        "repeats": repeats,
        "warm_up_steps": WARM_UP_STEPS,
        "codec_chunk": CODEC_CHUNK,
        "guidance": GUIDANCE,
        "top_k": TOP_K,
        "dtype": str(precision).removeprefix("torch."),
        "device": torch.cuda.get_device_name(where) if where.type == "cuda" else where.type,
        "threads": torch.get_num_threads(),
        "all": {
            "step_ms": ours.step.rounded(),
            "peer_step_ms": [] if their_step is None else their_step.rounded(),
            "bandwidth_gb_s": [round(value, 2) for value in bandwidths],
        },
        "load_after": load(),
        "machine": machine,
    }


def _measure_ours(
    name: str, by_shape: bool, device: torch.device, dtype: torch.dtype, context: int, steps: int, repeats: int
) -> _Ours:
    lm, codec = _load_ours(name, by_shape, device, dtype)
    step = time_our_step(lm, context=context, steps=steps, repeats=repeats, text_tokens=TEXT_TOKENS)
    mean_length = context + WARM_UP_STEPS + steps / 2
    positions = _ROWS * mean_length + TEXT_TOKENS  # the null row looks at no text
    cache = round(2 * lm.config.layers * lm.config.dim * positions * lm.cache_dtype.itemsize)
    single = time_our_codec(codec, repeats, chunk=1)
    return _Ours(lm.config, step, time_our_codec(codec, repeats), single, cache, float(codec.frame_rate))


def _load_ours(name: str, by_shape: bool, device: torch.device, dtype: torch.dtype) -> tuple[MusicgenLM, AudioCodec]:
    if by_shape:
        shape = SHAPES[name]
        lacks = _lacks(device, all_weights(shape.lm_config()) * dtype.itemsize)
        if lacks:
            raise RequestError(ErrorCode.UNSUPPORTED, "model-shape", name, f"a machine with more memory: {lacks}")
        return build_lm(shape, device, dtype), build_codec(shape, device)
    bundle = load_model(name, device=str(device), dtype=str(dtype).removeprefix("torch."))
    return bundle.lm, bundle.codec


def _load_peer(name: str, by_shape: bool, device: torch.device, dtype: torch.dtype) -> Any:
    if by_shape:
        with quiet_transformers():
            return build_peer(SHAPES[name], device, dtype)
    from transformers import MusicgenForConditionalGeneration

    load_peer: Any = MusicgenForConditionalGeneration.from_pretrained
    with quiet_transformers():
        model = load_peer(_checkpoint(name), local_files_only=True, dtype=dtype).to(device).eval()
    model.audio_encoder.float()
    return model


def _own_layout(folder: Path) -> Path | None:
    """The folder, when it holds a model in our own layout."""
    return None if OwnSection.read(read_config(folder)).codec is None else folder


def _peer_of(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """transformers' model with the LM and the text encoder of one in our own layout; its codec is there only to be skipped."""
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


def _checkpoint(name: str) -> Path:
    """The folder that `load_model` has just read."""
    from engine.checkpoints import hub, pocket

    source = find_source(name)
    if source.folder is not None:
        return source.folder
    return hub.obtain(source.hub_id) if source.hub_id is not None else pocket.pocket_folder()


def _lacks(device: torch.device, weight_bytes: int) -> str:
    """Why a model of that size cannot be held, in words; empty when it can."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    needed = _BESIDE_WEIGHTS * weight_bytes + _SPARE_BYTES
    return "" if needed <= free else f"{needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free"


def _release(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _realtime(frame_rate: float, step: Timing | None, codec: Timing | None) -> float | None:
    """Seconds of sound made in a second, LM and codec one after the other as the engine runs them."""
    if step is None or codec is None:
        return None
    return round(1000 / frame_rate / (step.median + codec.median), 3)


def describe(result: dict[str, Any]) -> str:
    """A result in words."""
    rows = [
        ["LM step, ms", result["step_ms"], result["peer_step_ms"], result["floor_step_ms"]],
        ["codec, ms per frame", result["codec_ms_per_frame"], result["peer_codec_ms_per_frame"], None],
        ["seconds of sound per second", result["realtime"], result["peer_realtime"], None],
    ]
    facts = (
        f"\n{result['model']}, {result['weights']} ({result['parameters'] / 1e6:.0f} M parameters, {result['dtype']}); "
        f"{result['device']}, {result['threads']} threads; context {result['context']}, guidance, top-k {result['top_k']}; "
        f"{result['weights_mb']:g} MB of weights per step at {result['bandwidth_gb_s']:g} GB/s; "
        f"load {result['machine']['load']} before, {result['load_after']} after\n"
    )
    missing = f"not measured of transformers: {result['peer_missing']}\n" if result["peer_missing"] else ""
    return table(["", "this project", "transformers", "floor"], rows) + facts + missing


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=(__doc__ or "").split("\n")[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model-shape", choices=list(SHAPES), help="random weights of this shape (default: pocket)")
    which.add_argument("--model", help="a model that is loaded: a name, a folder, a hub id")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 for the engine's own choice")
    parser.add_argument("--context", type=int, default=100, help="frames heard when the clock starts")
    parser.add_argument("--steps", type=int, default=40, help="steps in a row that are timed")
    parser.add_argument("--repeats", type=int, default=3, help="how often; the medians count")
    parser.add_argument("--dtype", default="auto", help="auto, float32, float16 or bfloat16")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--no-peer", action="store_true", help="leave transformers out")
    parser.add_argument("--json", action="store_true", help="write the result as JSON")
    options = parser.parse_args(arguments)
    if min(options.context, options.steps, options.repeats) < 1:
        parser.error("context, steps and repeats are 1 or more")
    try:
        result = measure(
            options.model or options.model_shape or "pocket",
            by_shape=options.model is None,
            threads=options.threads,
            context=options.context,
            steps=options.steps,
            repeats=options.repeats,
            dtype=options.dtype,
            device=options.device,
            peer=not options.no_peer,
        )
    except RequestError as error:
        sys.stderr.write(f"decode: {error.text}\n")
        return 2
    show(result, describe(result), as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
