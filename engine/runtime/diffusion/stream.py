"""MultiBandDiffusion as a decoder of streams: the sound is made in windows that overlap, on a grid that is the stream's own.

A diffusion model hears its whole piece at once (its norms and its recurrent network go over all of it), so a stream of unknown
length is cut into windows: window ``k`` is frames ``k * hop`` to ``k * hop + length``, the last one the last ``length`` frames of
the stream. Where two overlap, one is faded into the other; both begin with the same noise, which is drawn by position. So what
comes out is a function of codes and seed alone, whatever the chunks were, and a stream no longer than one window is what
`MultiBandDiffusion.render` makes of all of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Protocol

import torch
from torch import Tensor

from engine.runtime.audio_codec import AudioCodec, DecoderStream
from engine.runtime.decoders import CODEC_CONTEXT_FRAMES
from engine.runtime.diffusion.multi_band import MultiBandDiffusion
from engine.runtime.diffusion.noise import Noise, PositionedNoise, mixed
from engine.runtime.diffusion.schedule import USUAL_STEPS
from protocols.errors import ErrorCode, RequestError

USUAL_WINDOW = 3.0
USUAL_OVERLAP = 0.5
LONGEST_WINDOW = 60.0
"""Seconds. A long window is nearer to what AudioCraft makes of a whole file; a short one is heard sooner and takes less memory."""
_LEAST_FRAMES = 8


class EmbeddingCodec(AudioCodec, Protocol):
    """A codec whose latents can be looked up."""

    def embed(self, codes: Tensor) -> Tensor:
        """Codes ``[batch, codebooks, n]`` as latents ``[batch * runs, n, size]``."""


class MultiBandDecoder:
    """Diffusion models that decode the codes of a codec. Immutable; any thread.

    Args:
        models: the diffusion models.
        codec: whose codes they hear, and whose own sound gives the levels.
        window: length of a window, in seconds.
        overlap: of two windows, in seconds.
        steps: that each model takes.
        noise: makes the noise of a stream from its seed; by default it is drawn by position.

    Attributes:
        window_frames: length of a window.
        hop_frames: from the beginning of one to that of the next.

    Raises:
        RequestError: ``unsupported`` for a codec that the models were not made for, ``out_of_range`` for window, overlap or steps.
    """

    def __init__(
        self,
        models: MultiBandDiffusion,
        codec: EmbeddingCodec,
        *,
        window: float = USUAL_WINDOW,
        overlap: float = USUAL_OVERLAP,
        steps: int = USUAL_STEPS,
        noise: Callable[[int], Noise] | None = None,
    ) -> None:
        self._models = models
        self._codec = codec
        self._steps = steps
        self._noise = noise or (lambda seed: PositionedNoise(seed, models.device))
        self._runs = _fit(models, codec)
        for band in models.bands:
            band.schedule.visited(steps)
        if not math.isfinite(window) or not 0 < window <= LONGEST_WINDOW:
            allowed = f"more than 0, at most {LONGEST_WINDOW:g} s"
            raise RequestError(ErrorCode.OUT_OF_RANGE, "window", window, allowed)
        if not 0 <= overlap <= window / 2:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "overlap", overlap, f"0 to {window / 2:g} s, half of the window")
        self.window_frames = max(_LEAST_FRAMES, round(window * codec.frame_rate))
        self.hop_frames = self.window_frames - min(round(overlap * codec.frame_rate), self.window_frames // 2)
        self._lookahead_frames = -(-codec.lookahead_samples // codec.hop_length)

    @property
    def context_frames(self) -> int:
        """How many frames before it decide about a frame: a window's, and the memory of the codec, which gives the levels."""
        return CODEC_CONTEXT_FRAMES + self.window_frames

    @property
    def lookahead_samples(self) -> int:
        """How far the sound stays behind the codes at most: a window and the codec's look-ahead."""
        return (self.window_frames + self._lookahead_frames) * self._codec.hop_length

    def stream(self, batch: int = 1, frame: int = 0, *, seed: int = 0) -> MultiBandStream:
        """Begin to decode; see `engine.runtime.decoders.Decoder.stream`.

        Raises:
            RequestError: ``out_of_range`` for no stream at all.
        """
        if batch < 1:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "batch", batch, "1 or more")
        noises = [self._noise(mixed(seed, number) if number else seed) for number in range(batch)]
        return MultiBandStream(self, batch, frame, noises)

    def decode(self, codes: Tensor, *, seed: int = 0) -> Tensor:
        """Decode a whole file: codes ``[codebooks, frames]`` to float32 ``[channels, frames * hop_length]``.

        Raises:
            RequestError: codes that are none of the codec's.
        """
        stream = self.stream(seed=seed)
        return torch.cat((stream.decode(codes), stream.flush()), -1)

    @property
    def pieces_per_window(self) -> int:
        """How many pieces of work a window takes: each is a run of a network."""
        return self._models.runs(self._steps) + 1

    def _wait(self) -> None:
        """Wait for the accelerator: what is queued there would hold up whoever comes next."""
        device = self._models.device
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()
        elif device.type == "mps":
            torch.mps.synchronize()

    def _latents(self, codes: Tensor) -> Tensor:
        """Of codes ``[codebooks, n]``: ``[runs, size, n]``."""
        return self._codec.embed(codes[None]).transpose(1, 2)

    def _rendering(
        self, codes: Tensor, reference: Tensor, noise: Noise, first_frame: int
    ) -> Generator[None, None, Tensor]:
        """Make a window of one stream: codes ``[codebooks, n]``, reference and result ``[channels, samples]``."""
        split = reference.view(self._runs, -1, reference.shape[-1]).float()
        first = first_frame * self._codec.hop_length
        made = yield from self._models.rendering(self._latents(codes), split, noise, first=first, steps=self._steps)
        return made.reshape(reference.shape)


class MultiBandStream:
    """The state of streams that are being decoded. Belongs to one thread; begun by `MultiBandDecoder.stream`.

    As a `DecoderStream` it does its work as soon as codes are there; as a `PiecewiseStream` when it is asked to.

    Attributes:
        batch: how many streams run in step.
        frames_done: frames taken so far.
        samples_done: samples given so far, per channel.
        ended: whether no more comes in.
    """

    def __init__(self, decoder: MultiBandDecoder, batch: int, frame: int, noises: list[Noise]) -> None:
        codec = decoder._codec
        self.batch = batch
        self.frames_done = 0
        self.samples_done = 0
        self.ended = False
        self._decoder = decoder
        self._noises = noises
        self._hop = codec.hop_length
        self._first = frame
        # The first window on the grid whose levels do not depend on where this stream began.
        self._next = 0 if frame == 0 else -(-(frame + CODEC_CONTEXT_FRAMES) // decoder.hop_frames)
        self._plain: DecoderStream | None = codec.stream(batch, frame)
        self._fed = frame
        self._more = decoder._lookahead_frames
        books = codec.num_codebooks
        self._codes = torch.zeros(batch, books, 0, dtype=torch.long, device=codec.device)
        self._reference = torch.zeros(batch, codec.channels, 0, device=codec.device)
        self._kept_from = frame
        self._tail: Tensor | None = None
        self._running: Generator[None, None, Tensor] | None = None
        self._over = False

    @property
    def lookahead_samples(self) -> int:
        """As of the decoder."""
        return self._decoder.lookahead_samples

    @property
    def state_bytes(self) -> int:
        """Memory held between two calls, but for a window that is being made: bounded, whatever the stream's length."""
        plain = 0 if self._plain is None else self._plain.state_bytes
        held = [self._codes, self._reference] + ([] if self._tail is None else [self._tail])
        return plain + sum(tensor.untyped_storage().nbytes() for tensor in held)

    @property
    def window_frames(self) -> int:
        """How many frames are made at once."""
        return self._window

    @property
    def pieces_per_window(self) -> int:
        """How many pieces of work that takes."""
        return self._decoder.pieces_per_window

    @property
    def reserve_samples(self) -> int:
        """How much sound comes of it."""
        return self._decoder.hop_frames * self._hop

    def decode(self, codes: Tensor) -> Tensor:
        """Take frames, give the sound that became final; see `DecoderStream.decode`."""
        self.take(codes)
        return self._all_work()

    def flush(self) -> Tensor:
        """End the stream: the rest; see `DecoderStream.flush`."""
        self.finish()
        return self._all_work()

    def take(self, codes: Tensor) -> None:
        """Take the next frames ``[codebooks, n]``, ``[batch, codebooks, n]`` for ``batch > 1``, for later.

        Raises:
            RequestError: as the codec does for what are no codes of it; the stream stays as it was.
            RuntimeError: after the end.
        """
        if self.ended:
            raise RuntimeError("the stream has ended: begin a new one")
        if codes.dim() != (2 if self.batch == 1 else 3) or (self.batch > 1 and codes.shape[0] != self.batch):
            allowed = "[codebooks, frames]" if self.batch == 1 else f"[{self.batch}, codebooks, frames]"
            raise RequestError(ErrorCode.BAD_TYPE, "codes", f"shape {tuple(codes.shape)}", allowed)
        codes = codes[None] if self.batch == 1 else codes
        if self.frames_done and codes.shape[1] != self._codes.shape[1]:
            allowed = f"{self._codes.shape[1]} codebooks, as before"
            raise RequestError(ErrorCode.OUT_OF_RANGE, "codes", codes.shape[1], allowed)
        self._decoder._codec.embed(codes)  # checks what they are
        if not self.frames_done:
            self._codes = self._codes.new_zeros(self.batch, codes.shape[1], 0)
        self._codes = torch.cat((self._codes, codes.to(self._codes.device, torch.long)), -1)
        self.frames_done += codes.shape[-1]

    def finish(self) -> None:
        """No more codes come.

        Raises:
            RuntimeError: when it was said before.
        """
        if self.ended:
            raise RuntimeError("the stream has ended: begin a new one")
        self.ended = True
        self._over = not self.frames_done

    @property
    def busy(self) -> bool:
        """Whether there is work to do."""
        if self._running is not None:
            return True
        return not self._over and (self.ended or self._end >= self._begin(self._next) + self._window + self._more)

    @torch.inference_mode()
    def work(self) -> Tensor:
        """Run a network once, or begin or end a window; give the sound that became final: ``[channels, m]``, mostly empty."""
        sound = self._piece() if self.busy else None
        if sound is None:
            sound = self._reference[:, :, :0]
        self.samples_done += sound.shape[-1]
        return sound if self.batch > 1 else sound[0]

    def _all_work(self) -> Tensor:
        pieces = [self.work()]
        while self.busy:
            pieces.append(self.work())
        return torch.cat(pieces, -1)

    @property
    def _window(self) -> int:
        return self._decoder.window_frames

    @property
    def _end(self) -> int:
        """The frame behind the last one that was taken."""
        return self._first + self.frames_done

    def _begin(self, window: int) -> int:
        return window * self._decoder.hop_frames

    def _piece(self) -> Tensor | None:
        if self._running is None:
            self._running = self._start()
        if self._running is None:
            return None
        try:
            next(self._running)
        except StopIteration as over:
            self._running = None
            sound: Tensor = over.value
            return sound
        self._decoder._wait()
        return None

    def _start(self) -> Generator[None, None, Tensor] | None:
        """Begin the next window, as soon as its levels are known."""
        begin = self._begin(self._next)
        if self.ended and self._end < begin + self._window + self._more:
            self._feed(self._end, last=True)
            if self._tail is not None and self._end == begin + self._overlap:
                return self._rest()
            if self._end < begin + self._window:
                return self._last_window(begin)
        else:
            self._feed(begin + self._window + self._more)
            if self._known < (begin + self._window) * self._hop:
                self._more += 1  # a codec that takes longer to begin than it is late afterwards
                return None
        return self._whole_window(begin)

    @property
    def _overlap(self) -> int:
        return self._window - self._decoder.hop_frames

    @property
    def _known(self) -> int:
        """The sample behind the last one that the codec has made."""
        return self._kept_from * self._hop + self._reference.shape[-1]

    def _feed(self, until: int, *, last: bool = False) -> None:
        """Have the codec decode up to this frame: on a grid too, so that its rounding does not depend on chunks either."""
        if self._plain is None:
            return
        pieces = [self._reference]
        if until > self._fed:
            codes = self._codes[..., self._fed - self._kept_from : until - self._kept_from]
            pieces.append(self._shaped(self._plain.decode(codes if self.batch > 1 else codes[0])))
            self._fed = until
        if last:
            pieces.append(self._shaped(self._plain.flush()))
            self._plain = None
        self._reference = torch.cat(pieces, -1)

    def _shaped(self, sound: Tensor) -> Tensor:
        return sound if self.batch > 1 else sound[None]

    def _made(self, begin: int, end: int) -> Generator[None, None, Tensor]:
        """The sound of these frames by themselves: ``[batch, channels, samples]``."""
        sounds = []
        for number, noise in enumerate(self._noises):
            codes = self._codes[number, :, begin - self._kept_from : end - self._kept_from]
            sounds.append((yield from self._decoder._rendering(codes, self._plainly(begin, end)[number], noise, begin)))
        return torch.stack(sounds)

    def _plainly(self, begin: int, end: int) -> Tensor:
        """The codec's sound of these frames."""
        return self._reference[..., (begin - self._kept_from) * self._hop : (end - self._kept_from) * self._hop]

    def _whole_window(self, begin: int) -> Generator[None, None, Tensor]:
        sound = yield from self._made(begin, begin + self._window)
        sound = self._joined(sound, begin)
        until = (begin + self._decoder.hop_frames) * self._hop
        kept = (begin + self._window) * self._hop - until
        self._tail = sound[..., sound.shape[-1] - kept :].clone()
        self._next += 1
        self._forget(begin)
        return sound[..., : sound.shape[-1] - kept]

    def _last_window(self, begin: int) -> Generator[None, None, Tensor]:
        """The last frames of the stream, of which those from ``begin`` on are not there yet."""
        earliest = max(self._first, self._end - self._window)
        sound = yield from self._made(earliest, self._end)
        self._over = True
        if self._tail is None:
            return self._joined(sound, earliest)
        return self._joined(sound[..., (begin - earliest) * self._hop :], begin)

    def _rest(self) -> Generator[None, None, Tensor]:
        """The stream ends with a window."""
        assert self._tail is not None
        self._over = True
        yield
        return self._tail

    def _joined(self, sound: Tensor, begin: int) -> Tensor:
        """A window that begins with this frame, and what comes before it: the end of the last one, or the codec's own sound."""
        if self._tail is not None:
            count = self._tail.shape[-1]
            ramp = 0.5 - 0.5 * torch.cos(torch.pi * (torch.arange(count, device=sound.device) + 0.5) / max(count, 1))
            faded = self._tail + (sound[..., :count] - self._tail) * ramp
            return torch.cat((faded, sound[..., count:]), -1)
        return torch.cat((self._plainly(self._first, begin), sound), -1) if begin > self._first else sound

    def _forget(self, until: int) -> None:
        """Keep what may be heard again from this frame on."""
        if until > self._kept_from:
            self._codes = self._codes[..., until - self._kept_from :].clone()
            self._reference = self._reference[..., (until - self._kept_from) * self._hop :].clone()
            self._kept_from = until


def _fit(models: MultiBandDiffusion, codec: EmbeddingCodec) -> int:
    """Check that models and codec belong together; how many times the codec runs per stream."""
    if codec.sample_rate != models.sample_rate:
        allowed = f"a codec at {models.sample_rate} Hz, for which it was made"
        raise RequestError(ErrorCode.UNSUPPORTED, "decoder", f"a codec at {codec.sample_rate} Hz", allowed)
    nothing = torch.zeros(1, codec.num_codebooks, 1, dtype=torch.long, device=codec.device)
    runs, _, size = codec.embed(nothing).shape
    if models.condition_size not in (None, size):
        allowed = f"a codec with latents of {models.condition_size} values"
        raise RequestError(ErrorCode.UNSUPPORTED, "decoder", f"a codec with latents of {size}", allowed)
    if models.channels != codec.channels // runs:
        allowed = f"a codec of {models.channels} channels"
        raise RequestError(ErrorCode.UNSUPPORTED, "decoder", f"a codec of {codec.channels // runs} channels", allowed)
    return runs
