"""What is timed: our step, the peer's step, both codecs, and how fast this machine reads memory."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from engine.runtime.audio_codec import AudioCodec
from engine.runtime.lm import MusicgenLM
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings

WARM_UP_STEPS = 4
CODEC_CHUNK = 8
"""Frames that are decoded at once in a stream that has been running for a moment."""
_CODEC_CHUNKS = 25
_CODEC_WARM_UP = 5
_LEAST_READ = 2**22
_MOST_READ = 2**30
_READ_SECONDS = 0.2
_READ_ROUNDS = 6
GUIDANCE, TOP_K = 3.0, 250


@dataclass(frozen=True)
class Timing:
    """Repeated measurements of one thing, in milliseconds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def rounded(self) -> list[float]:
        """All of them, for the record."""
        return [round(value, 4) for value in self.values]


def stopwatch(device: torch.device) -> Callable[[], float]:
    """Seconds since an arbitrary moment, once the device has done everything that it was told."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

    return now


def time_our_step(lm: MusicgenLM, *, context: int, steps: int, repeats: int, text_tokens: int) -> Timing:
    """One guided step of a stream: embedding, both rows through the LM, guidance, top-k draw; the mean over ``steps`` steps.

    Args:
        context: frames that the LM has heard when the clock starts.
        steps: how many are timed in a row.
        repeats: how often, each with a stream of its own.
        text_tokens: length of the text that is attended to.
    """
    config = lm.config
    now = stopwatch(lm.device)
    condition = lm.condition(torch.randn(text_tokens, config.text_dim))
    total = context + WARM_UP_STEPS + steps + config.pattern.positions(1)
    values = []
    for repeat in range(repeats):
        sampler = FrameSampler(
            lm,
            [condition],
            SamplingSettings(top_k=TOP_K, guidance=GUIDANCE),
            total_frames=total,
            prompt=torch.randint(config.card, (1, config.num_codebooks, context)),
            window_frames=total + 1,
            stride_frames=1,
            seed=repeat,
            prefill_chunk=context,
        )
        for _ in range(1 + WARM_UP_STEPS):  # the first call pre-fills the prompt
            sampler.advance()
        began = now()
        for _ in range(steps):
            sampler.advance()
        values.append(1000 * (now() - began) / steps)
    return Timing(tuple(values))


def time_our_codec(codec: AudioCodec, repeats: int, chunk: int = CODEC_CHUNK) -> Timing:
    """Streaming decode, in milliseconds per frame, when ``chunk`` frames are decoded at once."""
    now = stopwatch(codec.device)
    codes = torch.randint(codec.card, (codec.num_codebooks, chunk), device=codec.device)
    values = []
    for _ in range(repeats):
        stream = codec.stream()
        for _ in range(_CODEC_WARM_UP):
            stream.decode(codes)
        began = now()
        for _ in range(_CODEC_CHUNKS):
            stream.decode(codes).cpu()
        values.append(1000 * (now() - began) / (_CODEC_CHUNKS * chunk))
    return Timing(tuple(values))


class _CodecClock:
    """Stands in for the peer's ``audio_encoder.decode`` and keeps count of its time, which is none of its steps'."""

    def __init__(self, model: Any, now: Callable[[], float]) -> None:
        self.seconds = 0.0
        self.frames = 0
        self._decode = model.audio_encoder.decode
        self._now = now
        model.audio_encoder.decode = self

    def __call__(self, codes: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        began = self._now()
        result = self._decode(codes, *arguments, **named)
        self.seconds += self._now() - began
        self.frames += codes.shape[-1]
        return result

    def restart(self) -> None:
        """Count from 0."""
        self.seconds, self.frames = 0.0, 0


def time_peer_step(model: Any, *, context: int, steps: int, repeats: int, text_tokens: int) -> tuple[Timing, Timing]:
    """transformers' ``generate`` with guidance and sampling: milliseconds per step, and of its codec per frame.

    Each value is the difference of two calls, one of them ``steps`` steps longer, so that the text encoder, the pre-fill and the
    setting up cancel; the codec, which ``generate`` runs over the whole at the end, is timed apart.
    """
    device = next(model.parameters()).device
    now = stopwatch(device)
    decoder = model.config.decoder
    clock = _CodecClock(model, now)
    words = model.config.text_encoder.vocab_size
    text = torch.randint(2, words, (1, text_tokens), device=device)
    prompt = torch.randint(decoder.vocab_size, (decoder.num_codebooks, context), device=device)
    settings = {"do_sample": True, "top_k": TOP_K, "guidance_scale": GUIDANCE}

    def seconds(new_tokens: int) -> float:
        clock_before = clock.seconds
        began = now()
        model.generate(
            input_ids=text,
            attention_mask=torch.ones_like(text),
            decoder_input_ids=prompt.clone(),
            max_new_tokens=new_tokens,
            **settings,
        )
        return now() - began - (clock.seconds - clock_before)

    least = WARM_UP_STEPS + decoder.num_codebooks
    seconds(least)
    clock.restart()
    values, codec_values = [], []
    for _ in range(repeats):
        short = seconds(least)
        clock.restart()
        values.append(1000 * (seconds(least + steps) - short) / steps)
        codec_values.append(1000 * clock.seconds / clock.frames)
    return Timing(tuple(values)), Timing(tuple(codec_values))


def measure_bandwidth(device: torch.device, size: int) -> float:
    """How fast the device reads memory with as many threads as torch has now, in GB/s (10⁹ bytes).

    The fastest of many passes of two reductions over integers, which do next to nothing but read. They are made in several rounds,
    each with fresh threads: where the system, or the host of a virtual machine, happens to place them can halve the rate.

    Args:
        size: bytes that are read in one pass, held between 4 MiB and 1 GiB. Weights that fit into a cache must be compared with
            reads that do.
    """
    words = min(max(size, _LEAST_READ), _MOST_READ) // 8
    data = torch.ones(words, dtype=torch.int64, device=device)
    threads = torch.get_num_threads()
    fastest: list[float] = []

    def read() -> None:
        torch.set_num_threads(threads)
        fastest.append(_fastest_read(data))

    for _ in range(_READ_ROUNDS):
        reader = threading.Thread(target=read)
        reader.start()
        reader.join()
    return words * 8 / min(fastest) / 1e9


def _fastest_read(data: torch.Tensor) -> float:
    """Seconds for one pass over ``data``."""
    now = stopwatch(data.device)
    best = float("inf")
    for read in (data.sum, data.amax):
        read()
        until = now() + _READ_SECONDS
        while (began := now()) < until:
            read()
            best = min(best, now() - began)
    return best
