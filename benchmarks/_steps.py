"""What is timed: our step, the peer's step, both codecs, and how fast this machine reads memory."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

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


class OurTimes(NamedTuple):
    """Of one stream, a frame at a time."""

    step: Timing
    """The LM's part: embedding, both rows of guidance through the LM, guidance, top-k draw."""
    whole: Timing
    """The same with the codec, which decodes chunks of `CODEC_CHUNK` frames in between, as a stream does."""


def time_ours(
    lm: MusicgenLM, codec: AudioCodec, *, context: int, steps: int, repeats: int, text_tokens: int
) -> OurTimes:
    """The mean over ``steps`` steps of a stream that has heard so much: first the LM by itself, then with the codec.

    Args:
        lm: that is stepped.
        codec: that decodes what it makes.
        context: frames that the LM has heard when the clock starts; random, they fill the caches.
        steps: how many are timed in a row, twice.
        repeats: how often, each with a stream of its own.
        text_tokens: length of the text that is attended to.
    """
    config = lm.config
    now = stopwatch(lm.device)
    condition = lm.condition(torch.randn(text_tokens, config.text_dim))
    total = context + 2 * (WARM_UP_STEPS + steps) + CODEC_CHUNK + config.pattern.positions(1)
    decoder = codec.stream()
    chunk = torch.randint(codec.card, (codec.num_codebooks, CODEC_CHUNK), device=codec.device)
    for _ in range(_CODEC_WARM_UP):
        decoder.decode(chunk)
    step_values, whole_values = [], []
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
        )
        while sampler.advance() is None:  # hears the prompt
            pass
        for _ in range(WARM_UP_STEPS):
            sampler.advance()
        began = now()
        for _ in range(steps):
            sampler.advance()
        step_values.append(1000 * (now() - began) / steps)
        frames: list[Tensor] = []
        began = now()
        for _ in range(steps):
            completed = sampler.advance()
            if completed is not None:
                frames.append(completed[0])
            if len(frames) == CODEC_CHUNK:
                decoder.decode(torch.cat(frames, dim=-1)).cpu()
                frames.clear()
        if frames:
            decoder.decode(torch.cat(frames, dim=-1)).cpu()
        whole_values.append(1000 * (now() - began) / steps)
    return OurTimes(Timing(tuple(step_values)), Timing(tuple(whole_values)))


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


class _StepClock:
    """Stands among the criteria by which ``generate`` stops, which it asks after each step, and writes down when."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.moments: list[float] = []
        self._now = now

    def __call__(self, tokens: Tensor, scores: Any, **named: Any) -> Tensor:
        self.moments.append(self._now())
        return torch.zeros(tokens.shape[0], dtype=torch.bool, device=tokens.device)


def time_peer_step(model: Any, *, context: int, steps: int, repeats: int, text_tokens: int) -> tuple[Timing, Timing]:
    """transformers' ``generate`` with guidance and sampling: milliseconds per step, and of its codec per frame.

    One call with a prompt of ``context`` frames; a value is the mean over ``steps`` of its steps in a row, after some to warm up.
    Its codec, which decodes the whole in the end, is timed apart.
    """
    device = next(model.parameters()).device
    now = stopwatch(device)
    decoder = model.config.decoder
    codec, clock = _CodecClock(model, now), _StepClock(now)
    words = model.config.text_encoder.vocab_size
    text = torch.randint(2, words, (1, text_tokens), device=device)
    prompt = torch.randint(decoder.vocab_size, (decoder.num_codebooks, context), device=device)
    least = WARM_UP_STEPS + decoder.num_codebooks
    model.generate(
        input_ids=text,
        attention_mask=torch.ones_like(text),
        decoder_input_ids=prompt,
        max_new_tokens=least + repeats * steps,
        stopping_criteria=[clock],
        do_sample=True,
        top_k=TOP_K,
        guidance_scale=GUIDANCE,
    )
    marks = clock.moments[-(repeats * steps + 1) :: steps]
    values = [1000 * (after - before) / steps for before, after in itertools.pairwise(marks)]
    return Timing(tuple(values)), Timing((1000 * codec.seconds / codec.frames,))


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
