"""From a request to a stream that can run: text and audio encoded beside the model's thread, so that nobody waits for it.

A model that hears scores gets the words as its text, and a score of tempo, metre, key and melody beside them, whose first bar
begins with the new material. Any other model is told tempo and key in its text; a melody only where it was made for melodies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.audio_prompt import DECODE_CONTEXT_FRAMES, cut_codes, encode_prompt
from engine.changes import Change
from engine.checkpoints.bundle import ModelBundle
from engine.conditioning.blending import Words, blended
from engine.conditioning.cache import Cache
from engine.conditioning.melody_line import ChromaLine, LoopedLine
from engine.conditioning.score import ChangingScore
from engine.conditioning.style import Style
from engine.conditioning.words import Directions
from engine.decoders import ReadyDecoder
from engine.hearing import Hearing
from engine.journal.replay import Recording, Windows, begin, change_until
from engine.runtime.conditions import ChromaPrelude, StylePrelude
from engine.runtime.decoders import PiecewiseStream
from engine.runtime.lm import Condition
from engine.runtime.sampler import FrameSampler, Sampler
from engine.runtime.sampling import SamplingSettings
from engine.seam import Seam
from engine.segments import segment_sampler, settings_of
from engine.stream import EngineStream
from protocols.melody import AnyMelody, MelodyLine
from protocols.messages import RegionRequest, StreamRequest
from protocols.style import StyleCodes
from protocols.units import seconds_to_frames, seconds_to_samples

_MOST_KEPT = 64
_MOST_BYTES_OF_TEXTS = 256 << 20
"""A large model's keys and values of one text are tens of megabytes."""
_MOST_BYTES_OF_MELODIES = 32 << 20
_MOST_BYTES_OF_STYLES = 64 << 20


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
        style: that it is to have, or None.
        style_detail: how many codebooks of it count.
        decoder: what makes sound of its codes; None for the codec's own.
        seam: between the prompt and the new material, as it was made before; None to work it out from the prompt's sound.
        script: changes to come, with the frame of each.
        note: what became of the prompt's sound on the way here, in words.
        stride: by how many frames the window moves when the stream is longer; None for the model's own.
        recording: what was made of it before, as its journal has it.
    """

    request: StreamRequest
    seed: int
    duration: float | None
    audio: NDArray[np.float32] | None = None
    codes: NDArray[np.int64] | None = None
    melody: AnyMelody | None = None
    style: StyleCodes | None = None
    style_detail: int = 1
    decoder: ReadyDecoder | None = None
    seam: Seam | None = None
    script: tuple[Change, ...] = ()
    note: str = ""
    stride: int | None = None
    recording: Recording | None = None

    @property
    def directions(self) -> Directions:
        """What it is to play."""
        return directions_of(self.request)


def directions_of(request: StreamRequest) -> Directions:
    """What a request asks to play.

    Raises:
        RequestError: as `Directions`.
    """
    return Directions(
        request.prompt,
        request.bpm,
        request.key,
        request.key_hint,
        weights=request.weights,
        blend=request.blend,
        metre=request.metre,
    )


def hears_melodies(bundle: ModelBundle) -> bool:
    """Whether a melody means anything to a model."""
    return bundle.score or bundle.melody is not None or (bundle.flow is not None and bundle.flow.melody_bins > 0)


def about_style(hearing: Hearing) -> str:
    """What the model hears of a style, in words."""
    if hearing.style is None:
        return ""
    note = f"the model hears a style of {len(hearing.style)} tokens, {hearing.style_detail} codebooks of it"
    if hearing.double_guidance == 1:
        return note
    return f"{note}, and the words with a double guidance of {hearing.double_guidance:g}"


def bytes_of(condition: Condition) -> int:
    """What a text takes in the form that the LM hears."""
    heard, prefix = [condition.keys_values], condition.prefix
    if condition.null_keys_values is not None:
        heard.append(condition.null_keys_values)
    if prefix is not None:
        heard.append(prefix.text)
        match prefix.prelude:
            case ChromaPrelude(chroma=tensor) | StylePrelude(embeddings=tensor):
                heard.append(tensor)
    return sum(tensor.nbytes for tensor in heard)


@dataclass(frozen=True)
class PreparedStream:
    """A stream that can run, and what its sidecar needs; of one that goes on, the changes that lie behind it."""

    stream: EngineStream
    prompt_codes: bytes
    note: str
    seam_record: str = ""
    passed: tuple[Change, ...] = ()


class Preparation:
    """Turns plans into streams of one model, and keeps what its LM hears of texts, melodies and styles. One thread at a time.

    Args:
        bundle: the model.
    """

    def __init__(self, bundle: ModelBundle) -> None:
        self._bundle = bundle
        self._texts: Cache[str, Condition] = Cache(_MOST_KEPT, most_bytes=_MOST_BYTES_OF_TEXTS, size=bytes_of)
        self._lines: Cache[AnyMelody, ChromaLine] = Cache(
            _MOST_KEPT, most_bytes=_MOST_BYTES_OF_MELODIES, size=lambda line: line.pitches.nbytes
        )
        self._styles: Cache[StyleCodes, Style] = Cache(
            _MOST_KEPT, most_bytes=_MOST_BYTES_OF_STYLES, size=lambda style: style.nbytes
        )

    @property
    def kept_texts(self) -> int:
        """How many texts are kept (any thread)."""
        return len(self._texts)

    @property
    def kept_melodies(self) -> int:
        """How many melodies are kept (any thread)."""
        return len(self._lines)

    @property
    def kept_bytes(self) -> int:
        """What they take, on the model's device and beside it (any thread)."""
        return self._texts.bytes + self._lines.bytes + self._styles.bytes + self._bundle.text.kept_bytes

    @torch.inference_mode()
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
        notes = [plan.note, note, self._about_melody(plan), about_style(hearing)]
        settings = SamplingSettings(request.temperature, request.top_k, request.top_p, request.guidance)
        if bundle.magnet is not None:
            settings, about_settings = settings_of(request, bundle.usual)
            notes.append(about_settings)
        changes = [self.condition(change) for change in plan.script]
        windows = Windows(bundle.window_frames, self._stride(plan), bundle.pattern, prompt_frames)
        begun, known, passed = prompt_frames, 0, []
        past = None
        if plan.recording is not None and bundle.magnet is not None:
            known = request.from_frame
        elif plan.recording is not None:
            beginning = begin(plan.recording, request.from_frame, prompt, windows)
            begun, past, known = beginning.frames, beginning.past, request.from_frame
            passed = [change for change in changes if change.frame < begun - prompt_frames]
        hearing, settings, morphs = change_until(begun - prompt_frames, passed, windows, hearing, settings)
        before = prompt if past is None else past.codes[0, :, :begun]
        sampler: Sampler
        if bundle.magnet is not None:
            sampler = segment_sampler(
                bundle,
                request,
                hearing.condition,
                settings,
                seed=plan.seed,
                stride=windows.stride,
                prompt=prompt,
                new_frames=new_frames,
                recording=plan.recording,
            )
        else:
            sampler = FrameSampler(
                bundle.lm,
                [hearing.condition],
                settings,
                total_frames=None if new_frames is None else prompt_frames + new_frames,
                prompt=None if before is None else before[None],
                window_frames=bundle.window_frames,
                stride_frames=windows.stride,
                seed=plan.seed,
                past=past,
            )
        total = None if plan.duration is None else seconds_to_samples(plan.duration, bundle.sample_rate)
        stream = EngineStream(
            id=number,
            sampler=sampler,
            hearing=hearing,
            decoder=bundle.codec.stream(),
            sample_rate=bundle.sample_rate,
            frame_samples=bundle.hop_length,
            total_samples=None if total is None else total - request.from_frame * bundle.hop_length,
            lead_samples=seconds_to_samples(request.lead, bundle.sample_rate),
            changes=changes[len(passed) :],
            morphs=morphs,
            prompt_frames=prompt_frames,
            first_frame=request.from_frame,
            known_frames=known,
            patient=request.patient and plan.recording is None,
            background=request.background,
            context_frames=DECODE_CONTEXT_FRAMES if plan.decoder is None else plan.decoder.found.decoder.context_frames,
        )
        if past is not None:
            stream.recall(past.codes[0, :, prompt_frames:begun])
        codes = b""
        context = prompt[:, -DECODE_CONTEXT_FRAMES:] if prompt is not None else torch.empty(0, 0)
        if prompt is not None:
            decoder = bundle.codec.stream()
            coded = decoder.decode(context)
            held = context.shape[-1] * bundle.hop_length - coded.shape[-1]
            stream.seam = self._seam(plan, coded, held)
            if not stream.decoded_from:
                stream.decode_with(decoder, held)
            codes = prompt.cpu().numpy().astype("<u2").tobytes()
        if plan.decoder is not None:
            notes.append(plan.decoder.note)
            self._decode_with(plan.decoder, stream, context, plan.seed)
        elif prompt is None or stream.decoded_from:
            stream.decode_with(bundle.codec.stream(frame=context.shape[-1] + stream.decoded_from))
        record = "" if stream.seam is None else stream.seam.encode()
        return PreparedStream(stream, codes, "; ".join(filter(None, notes)), record, tuple(passed))

    def _decode_with(self, ready: ReadyDecoder, stream: EngineStream, context: Tensor, seed: int) -> None:
        """Decode a stream with another decoder than the codec's own, which hears the prompt's end first."""
        heard = context.shape[-1]
        decoder = ready.found.decoder.stream(frame=heard + stream.decoded_from if stream.decoded_from else 0, seed=seed)
        stream.skip_samples = (stream.first_frame - stream.decoded_from) * stream.frame_samples
        held = heard * stream.frame_samples if heard and not stream.decoded_from else 0
        if held and isinstance(decoder, PiecewiseStream):
            decoder.take(context)  # it is made with the rest: a window's work is not for this thread
        elif held:
            held -= decoder.decode(context).shape[-1]
        stream.decode_with(decoder, held)

    @torch.inference_mode()
    def condition(self, change: Change) -> Change:
        """The change with its directions, its melody and its style encoded, when it has some."""
        if change.directions is not None:
            change = replace(change, words=self._words(change.directions))
        if change.melody:
            change = replace(change, line=self._line(change.melody))
        if change.style:
            change = replace(change, heard_style=self._style(change.style))
        return change

    def _words(self, directions: Directions) -> Words:
        """The prompts of the directions, as the model hears them."""
        prompts = directions.prompts(scored=self._bundle.score)
        words = tuple((self._text(prompt), share) for prompt, share in prompts)
        return words if directions.blend == "guidance" else ((blended(words), 1.0),)

    def _text(self, prompt: str) -> Condition:
        def heard() -> Condition:
            text = self._bundle.text.encode(prompt)
            return self._bundle.lm.condition(None if text.is_null else text.hidden)

        return self._texts.get(prompt, heard)

    def _hearing(self, plan: StreamPlan, first: int) -> Hearing:
        """What the model hears of a stream whose new material begins at frame ``first``."""
        bundle, directions = self._bundle, plan.directions
        heard_again = bundle.window_frames + bundle.pattern.layout(bundle.window_frames).max_delay
        score = ChangingScore.steady(directions.score(bundle.frame_rate, first=first), heard_again)
        hearing = Hearing(
            self._words(directions),
            score,
            scored=bundle.score,
            directions=directions,
            style=None if plan.style is None else self._style(plan.style),
            style_detail=plan.style_detail,
            double_guidance=plan.request.double_guidance,
        )
        line = None if plan.melody is None else self._line(plan.melody)
        return hearing if line is None else hearing.with_melody(line, Fraction(first))

    def _style(self, codes: StyleCodes) -> Style | None:
        """A style in the form that the model hears; None when it hears none."""
        conditioner = self._bundle.style
        return None if conditioner is None else self._styles.get(codes, lambda: conditioner.style(codes))

    def _line(self, melody: AnyMelody) -> LoopedLine | ChromaLine | None:
        """A melody in the form that the model hears; None when it hears none."""
        if self._bundle.melody is not None:
            facts = self._bundle.melody
            return self._lines.get(melody, lambda: ChromaLine.of_melody(melody, facts))
        return LoopedLine.of_melody(melody, self._bundle.frame_rate) if self._bundle.score else None

    def _about_melody(self, plan: StreamPlan) -> str:
        """What becomes of the melody, in words."""
        if plan.melody is None:
            return ""
        if hears_melodies(self._bundle):
            seconds = float(plan.melody.seconds)
            notes = f"of {len(plan.melody.notes)} notes" if isinstance(plan.melody, MelodyLine) else "read from sound"
            note = f"the model hears a melody {notes}, {seconds:.4g} s long"
            cut = plan.duration is not None and plan.duration < seconds
            return f"{note}, of which the stream has {plan.duration:.4g} s" if cut else note
        directions = plan.directions
        facts = "tempo and key are told in words, " if directions.bpm or directions.key or directions.key_hint else ""
        return f"this model hears no melody: {facts}the notes are left out"

    def _prompt(self, plan: StreamPlan) -> tuple[Tensor | None, str]:
        """The codes that the stream goes on from, and a note when not all of what was given could be used."""
        rate = self._bundle.frame_rate
        most = self._bundle.window_frames - self._stride(plan)
        if plan.codes is not None:
            return cut_codes(plan.codes, most, rate)
        if plan.audio is None:
            return None, ""
        return encode_prompt(plan.audio, most, plan.directions.score(rate).grid, self._bundle)

    def _stride(self, plan: StreamPlan) -> int:
        return self._bundle.stride_frames if plan.stride is None else plan.stride

    def _seam(self, plan: StreamPlan, coded: Tensor, held: int) -> Seam | None:
        """What leads the prompt's own sound over into the model's, which follows from the codec's version of it.

        Args:
            plan: with the prompt's sound, or the seam as it was made before.
            coded: the end of the codec's version ``[channels, samples]``.
            held: how many samples before the prompt's end it ends.
        """
        if plan.seam is not None or plan.audio is None:
            return plan.seam
        if not (isinstance(plan.request, RegionRequest) and plan.request.seam):
            return None
        return Seam.between(plan.audio, coded.float().cpu().numpy(), held, self._bundle.sample_rate)
