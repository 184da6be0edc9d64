"""From a request to a stream that can run: text and audio encoded beside the model's thread, so that nobody waits for it.

A model that hears scores gets the words as its text, and a score of tempo, metre, key and melody beside them, whose first bar
begins with the new material. Any other model is told tempo and key in its text; a melody only where it was made for melodies.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from queue import SimpleQueue
from typing import TypeVar

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.changes import Change
from engine.checkpoints.bundle import ModelBundle
from engine.conditioning.melody_line import ChromaLine, LoopedLine
from engine.conditioning.score import ChangingScore
from engine.conditioning.words import Directions
from engine.hearing import Hearing
from engine.runtime.lm import Condition
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings
from engine.stream import EngineStream
from protocols.errors import ErrorCode, RequestError
from protocols.melody import MelodyLine
from protocols.messages import StreamRequest
from protocols.units import seconds_to_frames, seconds_to_samples

log = structlog.get_logger()
T = TypeVar("T")

DECODE_CONTEXT_FRAMES = 100
"""How many frames of an audio prompt the decoder hears before the first new sample (2 s): its memory is no longer than that."""


@dataclass(frozen=True)
class StreamPlan:
    """What a request asks for, read and checked: the preparation's input.

    Attributes:
        request: as it came in.
        seed: that is used.
        audio: the prompt's sound ``[channels, samples]`` at the model's rate, or None.
        codes: the prompt's codes ``[codebooks, frames]`` in place of sound, or None.
        duration: of the new material in seconds, None without an end.
        melody: that the new material is to follow, or None.
        script: changes to come, with the frame of each.
    """

    request: StreamRequest
    seed: int
    duration: float | None
    audio: NDArray[np.float32] | None = None
    codes: NDArray[np.int64] | None = None
    melody: MelodyLine | None = None
    script: tuple[Change, ...] = ()

    @property
    def directions(self) -> Directions:
        """What it is to play."""
        return directions_of(self.request)


def directions_of(request: StreamRequest) -> Directions:
    """What a request asks to play.

    Raises:
        RequestError: as `Directions`.
    """
    return Directions(request.prompt, request.bpm, request.key, request.key_hint)


def hears_melodies(bundle: ModelBundle) -> bool:
    """Whether a melody means anything to a model."""
    return bundle.score or bundle.melody is not None


@dataclass(frozen=True)
class PreparedStream:
    """A stream that can run, and what its sidecar needs."""

    stream: EngineStream
    prompt_codes: bytes
    note: str


class Preparation:
    """One thread that turns plans into streams, in order. Its queue is bounded by the service's admission.

    Threads: `submit`, `encode`, `start` and `stop` from any thread; ``answer`` callbacks are called on this thread.

    Args:
        bundle: the model.
        threads: CPU threads it may use beside the model's own.
    """

    def __init__(self, bundle: ModelBundle, *, threads: int = 1) -> None:
        self._bundle = bundle
        self._threads = threads
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="preparation", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Leave after the jobs that wait, and wait for that at most ``seconds``."""
        self._jobs.put(None)
        self._thread.join(seconds)

    def submit(self, stream: int, plan: StreamPlan, answer: Callable[[PreparedStream | RequestError], None]) -> None:
        """Prepare the stream with this number and hand it, or the error, to ``answer``."""
        self._jobs.put(lambda: answer(self._guarded(lambda: self.prepare(stream, plan))))

    def encode(self, change: Change, answer: Callable[[Change | RequestError], None]) -> None:
        """Encode a change's directions and melody and hand the change to ``answer``."""
        self._jobs.put(lambda: answer(self._guarded(lambda: self.condition(change))))

    def prepare(self, number: int, plan: StreamPlan) -> PreparedStream:
        """Build the stream of a plan (on the caller's thread).

        Raises:
            RequestError: the prompt cannot be encoded.
        """
        bundle, request = self._bundle, plan.request
        prompt, note = self._prompt(plan)
        prompt_frames = 0 if prompt is None else prompt.shape[-1]
        new_frames = None if plan.duration is None else seconds_to_frames(plan.duration, bundle.frame_rate)
        hearing = self._hearing(plan, prompt_frames)
        notes = [note, self._about_melody(plan)]
        sampler = FrameSampler(
            bundle.lm,
            [hearing.condition],
            SamplingSettings(request.temperature, request.top_k, request.top_p, request.guidance),
            total_frames=None if new_frames is None else prompt_frames + new_frames,
            prompt=None if prompt is None else prompt[None],
            window_frames=bundle.window_frames,
            stride_frames=bundle.stride_frames,
            seed=plan.seed,
        )
        decoder = self._bundle.codec.stream()
        stream = EngineStream(
            id=number,
            sampler=sampler,
            hearing=hearing,
            decoder=decoder,
            sample_rate=bundle.sample_rate,
            frame_samples=bundle.hop_length,
            total_samples=None if plan.duration is None else seconds_to_samples(plan.duration, bundle.sample_rate),
            lead_samples=seconds_to_samples(request.lead, bundle.sample_rate),
            changes=[self.condition(change) for change in plan.script],
            prompt_frames=prompt_frames,
        )
        codes = b""
        if prompt is not None:
            context = prompt[:, -DECODE_CONTEXT_FRAMES:]
            stream.skip_samples = context.shape[-1] * bundle.hop_length - decoder.decode(context).shape[-1]
            codes = prompt.cpu().numpy().astype("<u2").tobytes()
        return PreparedStream(stream, codes, "; ".join(filter(None, notes)))

    def condition(self, change: Change) -> Change:
        """The change with its directions and its melody encoded, when it has some."""
        if change.directions is not None:
            change = replace(change, words=self._words(change.directions))
        if change.melody:
            change = replace(change, line=self._line(change.melody))
        return change

    def _words(self, directions: Directions) -> Condition:
        """The words of the directions, as the model hears them."""
        bundle = self._bundle
        text = bundle.text.encode(directions.words if bundle.score else directions.text)
        return bundle.lm.condition(None if text.is_null else text.hidden)

    def _hearing(self, plan: StreamPlan, first: int) -> Hearing:
        """What the model hears of a stream whose new material begins at frame ``first``."""
        bundle, directions = self._bundle, plan.directions
        heard_again = bundle.window_frames + max(bundle.delays)
        score = ChangingScore.steady(directions.score(bundle.frame_rate, first=first), heard_again)
        hearing = Hearing(self._words(directions), score, scored=bundle.score)
        line = None if plan.melody is None else self._line(plan.melody)
        return hearing if line is None else hearing.with_melody(line, Fraction(first))

    def _line(self, melody: MelodyLine) -> LoopedLine | ChromaLine | None:
        """A melody in the form that the model hears; None when it hears none."""
        if self._bundle.melody is not None:
            return ChromaLine.of_line(melody, self._bundle.melody)
        return LoopedLine(melody, self._bundle.frame_rate) if self._bundle.score else None

    def _about_melody(self, plan: StreamPlan) -> str:
        """What becomes of the melody, in words."""
        if plan.melody is None:
            return ""
        if hears_melodies(self._bundle):
            seconds = float(plan.melody.seconds)
            note = f"the model hears a melody of {len(plan.melody.notes)} notes, {seconds:.4g} s long"
            cut = plan.duration is not None and plan.duration < seconds
            return f"{note}, of which the stream has {plan.duration:.4g} s" if cut else note
        directions = plan.directions
        facts = "tempo and key are told in words, " if directions.bpm or directions.key or directions.key_hint else ""
        return f"this model hears no melody: {facts}the notes are left out"

    def _prompt(self, plan: StreamPlan) -> tuple[Tensor | None, str]:
        """The codes that the stream goes on from, and a note when not all of what was given could be used."""
        bundle = self._bundle
        most = bundle.window_frames - bundle.stride_frames
        if plan.codes is not None:
            codes = torch.from_numpy(plan.codes)
        elif plan.audio is not None:
            codes = self._bundle.codec.encode(torch.from_numpy(self._whole_frames(plan.audio)).to(bundle.device))
        else:
            return None, ""
        if codes.shape[-1] <= most:
            return codes, ""
        seconds = float(most / bundle.frame_rate)
        return codes[:, -most:], f"the model hears the last {seconds:g} s of the audio prompt"

    def _whole_frames(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """The end of the sound, cut or padded where it begins, so that its last frame is full and the seam is not silence.

        Only as much as the model can hear is encoded, and a little more, so that it knows what came before.
        """
        hop = self._bundle.hop_length
        most = self._bundle.window_frames - self._bundle.stride_frames + DECODE_CONTEXT_FRAMES
        if audio.shape[-1] < hop:
            return np.pad(audio, ((0, 0), (hop - audio.shape[-1], 0)))
        frames = min(audio.shape[-1] // hop, most)
        return np.ascontiguousarray(audio[:, -frames * hop :])

    def _guarded(self, work: Callable[[], T]) -> T | RequestError:
        try:
            with torch.inference_mode():
                return work()
        except RequestError as error:
            return error
        except Exception as error:
            log.exception("preparation failed")
            return RequestError(ErrorCode.INTERNAL, "request", f"{type(error).__name__}: {error}")

    def _run(self) -> None:
        torch.set_num_threads(self._threads)
        while (job := self._jobs.get()) is not None:
            job()
