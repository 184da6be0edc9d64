"""Everything the engine makes is a stream: codec frames sampled one after the other, decoded to sound as they appear."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.audio_prompt import DECODE_CONTEXT_FRAMES
from engine.changes import Change
from engine.hearing import Hearing
from engine.morphs import Morphs
from engine.runtime.audio_codec import DecoderStream
from engine.runtime.decoders import PiecewiseStream
from engine.runtime.language_model import LanguageModel, Step
from engine.runtime.readback import Readback
from engine.runtime.sampler import Sampler
from engine.seam import Seam
from protocols.messages import EndReason

_LARGEST_CHUNK = 8
_FRAMES_PER_GROWTH = 8
"""Frames decoded at once: one at first, for the first sound, then one more after every eight, which costs less per frame. It
grows more slowly than the lead of a stream that is made in time, so that waiting for a chunk never empties the player."""

_CHUNKS_IN_LEAD = 12
"""A stream is made up to a chunk beyond its lead, and what is made no change can reach: with half a second of lead, two frames."""

_FRAMES_PER_STATE = 256
"""How often the generator's state is journaled: 5 kB on a CPU, as much as the codes of ten seconds."""

_JOIN_AHEAD = 0.2
"""Seconds. A stream of which nothing is heard yet comes before all but those whose listeners have less than that left."""

_CATCH_UP_AHEAD = 0.25
"""Seconds. A stream that catches up steps aside for those whose owners have less than that left."""

_PATIENCE = 1.0
"""Seconds. A stream that nobody listens to steps aside for those whose owners have less than that left."""

_SILENCE_DB = -120.0


@dataclass(frozen=True)
class AudioBlock:
    """Decoded sound on its way out: float32 [samples, channels], and where it stands in the stream."""

    stream: int
    sequence: int
    position: int
    samples: NDArray[np.float32]
    last: bool


@dataclass(frozen=True)
class StreamStarted:
    """A stream left the queue."""

    stream: int


@dataclass(frozen=True)
class StreamProgress:
    """How far a stream is: samples made and the audio seconds made per second of work."""

    stream: int
    samples: int
    realtime: float


@dataclass(frozen=True)
class StreamChanged:
    """A change reached a stream at this frame of new material."""

    stream: int
    change: Change


@dataclass(frozen=True)
class StreamOvertaken:
    """A change came to a stream that has other directions by now than those which it was made from; it was left out."""

    stream: int
    change: Change


@dataclass(frozen=True)
class StreamEnded:
    """A stream is over."""

    stream: int
    reason: EndReason
    samples: int
    text: str = ""


@dataclass(frozen=True)
class FramesMade:
    """Codes on their way to the journal.

    Attributes:
        first: which frame of new material the first of them is.
        codes: uint16 ``[frames, codebooks]``.
        level_db: RMS of the sound that was sent with them, in dB below full scale.
        generator: its state after them, now and then; else empty.
    """

    stream: int
    first: int
    codes: NDArray[np.uint16]
    level_db: float
    generator: bytes = b""


EngineEvent = AudioBlock | FramesMade | StreamStarted | StreamProgress | StreamChanged | StreamOvertaken | StreamEnded


class _Leaving(NamedTuple):
    """What was made and is on its way out.

    Attributes:
        read: its codes ``[codebooks, frames]`` if they go to the journal, then its sound ``[channels, samples]`` if there is any.
        first: which frame of new material the first of the codes is; None without codes.
        generator: its state after them, or empty.
        block: number and position of the sound, and whether it is the last; None without sound.
    """

    read: Readback
    first: int | None
    generator: bytes
    block: tuple[int, int, bool] | None


@dataclass
class EngineStream:
    """One stream while it is made. Built by the preparation thread, then touched by the model's thread only.

    Attributes:
        sampler: what samples its frames; it was made with ``hearing``.
        hearing: what its model is told.
        decoder: what decodes them; it has heard the audio prompt already, so that the first sample follows from it.
        sample_rate: of the sound, in Hz.
        frame_samples: samples in a codec frame.
        total_samples: length when done, None without an end; the last frame is cut there.
        lead_samples: how far it may run ahead of what its owner has taken.
        changes: changes to come, by frame.
        morphs: what turns into something else bit by bit.
        prompt_frames: frames of the audio prompt, which the sampler counts and the stream does not.
        skip_samples: what the decoder still holds of the audio prompt; it is not part of the stream.
        seam: what leads the audio prompt's own sound over into it; None once that is done.
        first_frame: of new material, with which its sound begins; those before it are made, or known, and not sent.
        known_frames: frames of new material that were made before; the journal has them.
        journaled: whether its codes are sent to the journal.
        patient: its owner does not play it yet.
        background: nobody listens while it is made.
        work_seconds: what it took so far; of work that is shared, its share.
        context_frames: how many frames before its first one its decoder has to hear.
    """

    id: int
    sampler: Sampler
    hearing: Hearing
    decoder: DecoderStream
    sample_rate: int
    frame_samples: int
    total_samples: int | None
    lead_samples: int
    changes: list[Change] = field(default_factory=list)
    morphs: Morphs = field(default_factory=Morphs)
    prompt_frames: int = 0
    skip_samples: int = 0
    seam: Seam | None = None
    first_frame: int = 0
    known_frames: int = 0
    journaled: bool = False
    patient: bool = False
    background: bool = False
    context_frames: int = DECODE_CONTEXT_FRAMES

    samples_out: int = 0
    taken: int = 0
    work_seconds: float = 0.0
    _between_frames: bool = True
    _sequence: int = 0
    _codes: list[Tensor] = field(default_factory=list)
    _codes_frames: int = 0
    _state_at: int = 0
    _pieces: PiecewiseStream | None = None
    _made: Tensor | None = None
    _last_sent: bool = False
    _ended: bool = False
    _told: list[EngineEvent] = field(default_factory=list)
    _leaving: deque[_Leaving] = field(default_factory=deque)
    _level_db: float = _SILENCE_DB

    def __post_init__(self) -> None:
        self._pieces = self.decoder if isinstance(self.decoder, PiecewiseStream) else None
        self._decoded_from = max(0, self.first_frame - self.context_frames)
        self.skip_samples += (self.first_frame - self._decoded_from) * self.frame_samples

    @property
    def decoded_from(self) -> int:
        """The frame of new material with which decoding begins, be it sent or not."""
        return self._decoded_from

    def decode_with(self, decoder: DecoderStream, held: int = 0) -> None:
        """Decode with this, which still holds so many samples of the audio prompt; before anything is made."""
        self.decoder = decoder
        self._pieces = decoder if isinstance(decoder, PiecewiseStream) else None
        self.skip_samples += held

    def recall(self, codes: Tensor) -> None:
        """Take the frames ``[codebooks, frames]`` that the sampler begins after; before anything is made."""
        wanted = codes[:, self._decoded_from :]
        if wanted.shape[1]:
            self._codes.append(wanted)
            self._codes_frames = wanted.shape[1]

    @property
    def catching_up(self) -> bool:
        """Whether it goes through frames that are not sent."""
        return self.frames < self.first_frame

    @property
    def frames(self) -> int:
        """Frames of new material that were sampled."""
        return self.sampler.frames_done - self.prompt_frames

    @property
    def ahead(self) -> float:
        """How long its owner could go on playing without it, in seconds: the scheduler serves the smallest first."""
        if self.catching_up:
            return _CATCH_UP_AHEAD
        left = (self.samples_out + self._reserve - self.taken) / self.sample_rate if self.has_begun else _JOIN_AHEAD
        return left if self.is_played else left + _PATIENCE

    @property
    def is_played(self) -> bool:
        """Whether somebody listens to it, or is about to."""
        return not (self.patient or self.background)

    @property
    def has_begun(self) -> bool:
        """Whether there is sound of it."""
        return self.samples_out + self._reserve > 0

    @property
    def has_room(self) -> bool:
        """Whether it may run further ahead of its owner: by its lead and, where sound comes in windows, by one of them."""
        if self._finished:
            return False
        if self._may_send:
            return True
        return self._pieces is not None and not self._all_made and self._reserve < self._pieces.reserve_samples

    @property
    def _may_send(self) -> bool:
        return self.samples_out - self.taken < self.lead_samples

    @property
    def _reserve(self) -> int:
        """Samples that are made and not sent yet."""
        return 0 if self._made is None else self._made.shape[-1]

    @property
    def _finished(self) -> bool:
        """Whether all that it will ever be is made, and on its way at least."""
        return self.sampler.done and (self._pieces is None or self._last_sent)

    @property
    def is_sending(self) -> bool:
        """Whether something is on its way that `collect` will give."""
        return bool(self._leaving) or (self._finished and not self._ended)

    @property
    def lm(self) -> LanguageModel | None:
        """The model whose steps it may share with others."""
        return self.sampler.lm

    @property
    def _all_made(self) -> bool:
        return self.sampler.done and self._pieces is not None and not self._pieces.busy

    @property
    def realtime(self) -> float:
        """Audio seconds made per second of work."""
        return self.samples_out / self.sample_rate / self.work_seconds if self.work_seconds else 0.0

    def add_change(self, change: Change) -> None:
        """Take a change for the frame it names, or for the next one that it can still reach.

        A change takes effect between two frames only, never inside a pre-fill: so the same changes at the same frames make the
        same stream again. One that was planned takes the place of its earlier version, unless that has taken effect.
        """
        if change.planned:
            if not any(waiting.planned == change.planned for waiting in self.changes):
                return
            self.changes = [waiting for waiting in self.changes if waiting.planned != change.planned]
        frame = max(change.frame, self.first_frame, self.frames if self._between_frames else self.frames + 1)
        self.changes.append(dataclasses.replace(change, frame=frame))
        self.changes.sort(key=lambda waiting: waiting.frame)

    def next_step(self) -> Step | None:
        """The step of its LM that `advance` would do now, with the changes that come before it; None for work of another kind."""
        if self._decodes:
            return None
        self._told += self._apply_changes()
        return self.sampler.next_step()

    def advance(self, logits: Tensor | None = None, tokens: Tensor | None = None) -> list[EngineEvent]:
        """Do one bounded piece of work (a piece of pre-fill, one step, or a piece of decoding) and return what came of it.

        Args:
            logits: of `next_step`, asked for just before, where the LM has done it together with others.
            tokens: drawn from them, where that was done together too.
        """
        began = time.perf_counter()
        if logits is None and self._decodes:
            assert self._pieces is not None
            self._go_on_decoding(self._pieces)
        else:
            self._sample(logits, tokens)
        self.work_seconds += time.perf_counter() - began
        events, self._told = self._told, []
        return events + self.collect()

    def collect(self, *, wait: bool = False) -> list[EngineEvent]:
        """What has arrived in host memory by now, or, if waited for, all that is on its way; after everything, that it ended."""
        events: list[EngineEvent] = []
        while self._leaving and (wait or self._leaving[0].read.ready):
            events += self._arrived(self._leaving.popleft())
        if self._finished and not self._leaving and not self._ended:
            self._ended = True
            events.append(StreamEnded(self.id, "done", self.samples_out))
        return events

    @property
    def _decodes(self) -> bool:
        """Whether its next piece of work is one of decoding."""
        pieces = self._pieces
        return pieces is not None and (pieces.busy or self.sampler.done or bool(self._reserve and self._may_send))

    def _sample(self, logits: Tensor | None, tokens: Tensor | None) -> None:
        if logits is None:
            self._told += self._apply_changes()
        codes = self.sampler.advance(logits, tokens)
        self._between_frames = codes is not None
        if codes is not None and codes.shape[-1] and self.frames > min(self._decoded_from, self.known_frames):
            self._codes.append(codes[0])
            self._codes_frames += codes.shape[-1]
        border = self.frames in (self.first_frame, self._decoded_from, self.known_frames) and self._codes_frames
        if self._codes_frames >= self._chunk_frames or border or self.sampler.done:
            self._flush()

    def _go_on_decoding(self, decoder: PiecewiseStream) -> None:
        """Send what is made as far as the lead goes, or do a piece of what makes more."""
        if not (self._reserve and self._may_send) and decoder.busy:
            made = self._own(decoder.work(), self._reserve)
            self._made = made if self._made is None else torch.cat((self._made, made), -1)
        size = self._chunk_frames * self.frame_samples
        last = self._all_made and self._reserve <= size
        if not self._may_send or not (self._reserve or last) or self._last_sent:
            return
        made = decoder.work() if self._made is None else self._made
        self._made = made[:, size:]
        self._send(made[:, :size], last=last)

    @property
    def _chunk_frames(self) -> int:
        within_lead = max(1, self.lead_samples // (self.frame_samples * _CHUNKS_IN_LEAD))
        if self.catching_up:
            return _LARGEST_CHUNK
        return min(1 + (self.frames - self.first_frame) // _FRAMES_PER_GROWTH, _LARGEST_CHUNK, within_lead)

    def _apply_changes(self) -> list[EngineEvent]:
        """Between two frames: what was asked for, and another step of what turns bit by bit."""
        if not self._between_frames:
            return []
        before, events = self.hearing, list[EngineEvent]()
        self._turn()
        while self.changes and self.changes[0].frame <= self.frames:
            change = self.changes.pop(0)
            if change.before not in (None, self.hearing.directions):
                events.append(StreamOvertaken(self.id, change))
                continue
            self._apply(change)
            self._turn()
            events.append(StreamChanged(self.id, change))
        if self.hearing is not before:
            self.sampler.set_condition(0, self.hearing.condition)
        return events

    def _turn(self) -> None:
        """Bring what turns bit by bit to where it is in this frame."""
        self.hearing, self.sampler.settings = self.morphs.turned(self.frames, self.hearing, self.sampler.settings)

    def _apply(self, change: Change) -> None:
        if change.seed is not None:
            self.sampler.reseed(change.seed)
        self.hearing, self.sampler.settings = self.morphs.changed(
            change, self.frames, self.sampler.next_frame, self.hearing, self.sampler.settings
        )

    def _flush(self) -> None:
        """Send the frames that wait, as sound and for the journal."""
        codes = torch.cat(self._codes, dim=-1) if self._codes else None
        first = self.frames - self._codes_frames
        self._codes.clear()
        self._codes_frames = 0
        audio = self._decode(codes) if first >= self._decoded_from else None
        if self.journaled and codes is not None and not codes.is_floating_point() and first >= self.known_frames:
            state = b""
            if first == self.known_frames or self.frames - self._state_at >= _FRAMES_PER_STATE:
                state, self._state_at = self.sampler.generator_state.numpy().tobytes(), self.frames
            self._send(audio, last=self.sampler.done, codes=codes, first=first, generator=state)
        elif audio is not None:
            self._send(audio, last=self.sampler.done)

    def _decode(self, codes: Tensor | None) -> Tensor | None:
        """Decode frames; None while the look-ahead holds everything back, nothing of it is sent, or it is decoded later."""
        if self._pieces is not None:
            if codes is not None:
                self._pieces.take(codes)
            if self.sampler.done:
                self._pieces.finish()
            return None
        pieces = [] if codes is None else [self.decoder.decode(codes)]
        if self.sampler.done:
            pieces.append(self.decoder.flush())
        audio = self._own(torch.cat(pieces, dim=-1))
        return audio if audio.shape[-1] or self.sampler.done else None

    def _own(self, audio: Tensor, waiting: int = 0) -> Tensor:
        """What the stream has of decoded sound ``[channels, samples]``, before which so many samples wait to be sent."""
        if self.skip_samples:
            skipped = min(self.skip_samples, audio.shape[-1])
            audio = audio[:, skipped:]
            self.skip_samples -= skipped
        if self.total_samples is not None:
            audio = audio[:, : max(0, self.total_samples - self.samples_out - waiting)]
        return audio

    def _send(
        self,
        audio: Tensor | None,
        *,
        last: bool,
        codes: Tensor | None = None,
        first: int | None = None,
        generator: bytes = b"",
    ) -> None:
        """Put sound ``[channels, samples]`` and codes ``[codebooks, frames]`` on their way, either of them or both."""
        block = None
        if audio is not None:
            block = (self._sequence, self.samples_out, last)
            self._sequence += 1
            self.samples_out += audio.shape[-1]
            self._last_sent = last
        made = (tensor for tensor in (codes, audio) if tensor is not None)
        self._leaving.append(_Leaving(Readback(*made), first, generator, block))

    def _arrived(self, leaving: _Leaving) -> list[EngineEvent]:
        """What is in host memory, in the forms in which it goes out."""
        *codes, last = leaving.read.read()
        events: list[EngineEvent] = []
        if leaving.block is None:
            codes.append(last)
        else:
            sequence, position, is_last = leaving.block
            samples = np.ascontiguousarray(last.T.float().numpy())
            if self.seam is not None:
                place = self.first_frame * self.frame_samples + position
                samples = self.seam.applied(samples, place)
                if place + len(samples) >= self.seam.length:
                    self.seam = None
            events.append(AudioBlock(self.id, sequence, position, samples, last=is_last))
            self._level_db = _level_db(samples)
        if leaving.first is not None:
            level = _SILENCE_DB if leaving.block is None and self._pieces is None else self._level_db
            rows = np.ascontiguousarray(codes[0].T.numpy().astype("<u2"))
            events.insert(0, FramesMade(self.id, leaving.first, rows, level, leaving.generator))
        return events


def _level_db(samples: NDArray[np.float32]) -> float:
    if not samples.size:
        return _SILENCE_DB
    power = float(np.mean(np.square(samples)))
    return max(_SILENCE_DB, 10 * math.log10(power)) if power > 0 else _SILENCE_DB
