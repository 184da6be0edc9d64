"""The frames of one stream out of a model that makes a whole segment out of noise: latents of the codec, not codes."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.runtime.codec import StreamingDecoder
from engine.runtime.conditions import Condition, Mix
from engine.runtime.flow import FlowNetwork, Terms
from engine.runtime.sampling import SamplingSettings


class FlowSampler:
    """Solves the flow of one segment, a piece of work at a time, then hands out its frames, one per call. One thread at a time.

    Nothing that is changed after the first call is heard: the segment is one piece.

    Args:
        network: the model.
        terms: what guides the flow.
        total_frames: length of the stream, no more than a segment.
        seed: of the noise.
        steps: of Euler's method; None for the adaptive solver, as AudioCraft.
        settings: part of what every sampler has, and without meaning here.

    Raises:
        ValueError: a stream that is longer than a segment, or conditions of another length.
    """

    def __init__(
        self,
        network: FlowNetwork,
        terms: Terms,
        *,
        total_frames: int,
        seed: int,
        steps: int | None = None,
        settings: SamplingSettings,
    ) -> None:
        if not 1 <= total_frames <= network.config.frames:
            raise ValueError(f"{total_frames} frames in a segment of {network.config.frames}")
        if any(len(heard.frames) != total_frames for heard, _ in terms):
            raise ValueError(f"conditions that are not {total_frames} frames long")
        self.settings = settings
        self._total = total_frames
        generator = torch.Generator(network.device).manual_seed(seed)
        noise = torch.randn(1, total_frames, network.config.latents, generator=generator, device=network.device)
        self._work = network.solve(noise[0], terms, steps)
        self._latents: Tensor | None = None
        self._frames_done = 0

    @property
    def frames_done(self) -> int:
        """How many frames were handed out."""
        return self._frames_done

    @property
    def next_frame(self) -> int:
        """The first frame that is not handed out yet."""
        return self._frames_done

    @property
    def done(self) -> bool:
        return self._frames_done >= self._total

    @property
    def generator_state(self) -> Tensor:
        """Nothing: the noise follows from the seed."""
        return torch.empty(0, dtype=torch.uint8)

    def set_condition(self, row: int, condition: Condition | Mix) -> None:
        """Without effect: the segment is one piece."""

    def reseed(self, seed: int) -> None:
        """Without effect: the segment is one piece."""

    @property
    def lm(self) -> None:
        """None: a segment is made for itself."""

    def next_step(self) -> None:
        """None: no step is shared."""

    @torch.inference_mode()
    def advance(self, logits: Tensor | None = None, tokens: Tensor | None = None) -> Tensor | None:
        """Do one piece of work, or hand out a frame.

        Returns:
            ``[1, latents, 1]`` in float32, each frame once and in order; None after a piece of work.

        Raises:
            RuntimeError: the flow has no solution.
        """
        if self.done:
            return None
        if self._latents is None:
            try:
                next(self._work)
            except StopIteration as end:
                self._latents = end.value
            return None
        frame = self._latents[self._frames_done]
        self._frames_done += 1
        return frame[None, :, None]


class LatentDecoder:
    """A stream of a codec's that takes a model's latents in place of codes; see `engine.runtime.audio_codec.DecoderStream`.

    Args:
        stream: of the codec.
        mean: of the codec's latents, of which the model's are what is left when they are brought to a mean of 0.
        std: and to a standard deviation of 1.
    """

    def __init__(self, stream: StreamingDecoder, mean: float, std: float) -> None:
        self.batch = 1
        self.frames_done = 0
        self.samples_done = 0
        self.ended = False
        self._stream = stream
        self._mean = mean
        self._std = std

    @property
    def lookahead_samples(self) -> int:
        """How far the audio stays behind the latents, in samples."""
        return self._stream.lookahead_samples

    @property
    def state_bytes(self) -> int:
        """Memory held between two calls."""
        return self._stream.state_bytes

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> Tensor:
        """Take latents ``[latents, n]``, give what audio became final, ``[channels, m]``."""
        audio = self._stream.decode_latents((codes * self._std + self._mean).T[None])
        self.frames_done += codes.shape[1]
        self.samples_done += audio.shape[-1]
        return audio

    def flush(self) -> Tensor:
        """End the stream: the audio that was held back."""
        audio = self._stream.flush()
        self.samples_done += audio.shape[-1]
        self.ended = True
        return audio
