"""Streams of a model that makes a whole segment out of noise (JASCO): its words, chords, drums and melody, and their preparation.

Such a stream is one segment: it has an end, goes on from no sound, and nothing of it changes while it is made. Its frames are
latents of the codec and no codes, so that no journal keeps them: it is made again from its request and its seed.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from msgspec import structs
from torch import Tensor

from audio_files.regions import read_region
from engine.changes import Change
from engine.checkpoints.audiocraft.chords import CHORD_FILES, read_chord_numbers
from engine.checkpoints.bundle import FlowFacts, ModelBundle
from engine.conditioning.jasco import ChordNumbers, blurred, melody_matrix
from engine.conditioning.score import ChangingScore
from engine.conditioning.separation import keep_drums
from engine.hearing import Hearing
from engine.preparation import Preparation, PreparedStream, StreamPlan
from engine.runtime.codec import StreamedCodec, StreamingDecoder
from engine.runtime.flow import FlowNetwork, Heard, Terms
from engine.runtime.flow_sampler import FlowSampler, LatentDecoder
from engine.runtime.sampling import SamplingSettings
from engine.stream import EngineStream
from protocols.chords import read_chords
from protocols.errors import ErrorCode, RequestError
from protocols.fields import shortened
from protocols.messages import Generate, RegionRequest, StreamRequest
from protocols.settings import Settings
from protocols.units import seconds_to_frames, seconds_to_samples

_MOST_STEPS = 1000
_NEGLIGIBLE = 1e-6
_USUAL_GUIDANCE = Generate().guidance
_FIELDS = {"path": "drums", "start": "drums_start"}


class FlowIntake:
    """What requests bring along for chords and drums, checked at the edge. Any thread.

    Args:
        bundle: the model, of any kind: one that hears neither refuses both.
        settings: of both processes.
    """

    def __init__(self, bundle: ModelBundle, settings: Settings) -> None:
        self._bundle = bundle
        self._files = settings.files
        self._chord_list = settings.engine.chord_list
        self._numbers: ChordNumbers | None = None

    def checked(self, request: StreamRequest) -> tuple[StreamRequest, str]:
        """The request with its drums as codes, as a take's sidecar holds them, and a note.

        Raises:
            RequestError: what the model does not hear, or cannot make; names the field.
        """
        flow = self._bundle.flow
        for field, told in (("chords", request.chords), ("drums", request.drums or request.drums_codes)):
            if told.strip() and not (flow is not None and getattr(flow, field)):
                allowed = f"a model that hears {field}, such as jasco-chords-drums-400M; {self._bundle.name} does not"
                raise RequestError(ErrorCode.UNSUPPORTED, field, shortened(told), allowed)
        if flow is None:
            return request, ""
        self._refuse(request)
        self.chords(request)
        read_euler_steps(request.steps)
        if request.drums:
            return self._with_drums(request)
        if request.drums_codes:
            drum_codes(request.drums_codes, self._bundle.card)
        return request, ""

    def chords(self, request: StreamRequest) -> Tensor | None:
        """The number of each frame's chord, for the whole stream; None without chords.

        Raises:
            RequestError: about ``chords``.
        """
        changes, flow = read_chords(request.chords), self._bundle.flow
        if not changes or flow is None:
            return None
        if self._numbers is None:
            self._numbers = read_chord_numbers(self._chord_file(), flow.chords)
        frames = seconds_to_frames(getattr(request, "duration", 0.0), self._bundle.frame_rate)
        return self._numbers.frames(changes, request.bpm, self._bundle.frame_rate, frames)

    def _refuse(self, request: StreamRequest) -> None:
        """Refuse what is no single segment out of noise."""
        name = self._bundle.name
        if isinstance(request, RegionRequest):
            allowed = f"a piece from words, chords, drums and melody (generate): {name} neither goes on nor plays without an end"
            raise RequestError(ErrorCode.UNSUPPORTED, "request", type(request).__name__, allowed)
        most = float(self._bundle.window_frames / self._bundle.frame_rate)
        duration = getattr(request, "duration", 0.0)
        if duration > most:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE, "duration", duration, f"up to {most:g} s: {name} makes one segment"
            )
        if request.script.strip() not in ("", "[]") or request.sections:
            field = "sections" if request.sections else "script"
            raise RequestError(
                ErrorCode.UNSUPPORTED, field, shortened(getattr(request, field)), f"nothing, with {name}"
            )

    def _chord_file(self) -> Path:
        """Where the model's list of chords is: no checkpoint holds it."""
        if self._chord_list:
            return Path(self._chord_list).expanduser()
        folder = self._bundle.folder
        for path in () if folder is None else (folder / name for name in CHORD_FILES):
            if path.is_file():
                return path
        allowed = (
            f"{CHORD_FILES[0]} of AudioCraft's assets in the model's folder, or named by the engine's setting chord_list: "
            "without it nobody knows which chord has which number"
        )
        raise RequestError(ErrorCode.NOT_FOUND, "chords", CHORD_FILES[0], allowed)

    def _with_drums(self, request: StreamRequest) -> tuple[StreamRequest, str]:
        bundle = self._bundle
        try:
            region = read_region(
                request.drums,
                start_seconds=request.drums_start,
                length_seconds=float(bundle.window_frames / bundle.frame_rate),
                sample_rate=bundle.sample_rate,
                channels=bundle.channels,
                allowed_folders=self._files.allowed_folders,
                resampling=bundle.resampling,
            )
        except RequestError as error:
            raise RequestError(error.code, _FIELDS.get(error.field, error.field), error.value, error.allowed) from None
        drums, note = keep_drums(torch.from_numpy(region.audio), bundle.sample_rate)
        samples = bundle.window_frames * bundle.hop_length
        padded = torch.nn.functional.pad(drums[:, :samples], (0, max(0, samples - drums.shape[1])))
        codes = bundle.codec.encode(padded.to(bundle.device), 1)[0, : bundle.window_frames]
        text = base64.b64encode(codes.cpu().numpy().astype("<u2").tobytes()).decode()
        return structs.replace(request, drums="", drums_start=0.0, drums_codes=text), note


def read_euler_steps(text: str) -> int | None:
    """How many Euler steps a request asks for; None for steps as long as the error allows.

    Raises:
        RequestError: about ``steps``.
    """
    if not text.strip():
        return None
    if not re.fullmatch(r"[0-9]{1,6}", text.strip()) or not 1 <= int(text) <= _MOST_STEPS:
        allowed = f"one whole number from 1 to {_MOST_STEPS}, or nothing"
        raise RequestError(ErrorCode.OUT_OF_RANGE, "steps", text, allowed)
    return int(text)


def drum_codes(text: str, card: int) -> Tensor:
    """The codes ``[frames]`` of drums that stand in a request.

    Raises:
        RequestError: about ``drums_codes``.
    """
    try:
        codes = np.frombuffer(base64.b64decode(text, validate=True), "<u2").astype(np.int64)
    except (ValueError, binascii.Error):
        codes = np.array([card])
    if not len(codes) or codes.max() >= card:
        allowed = f"base64 of uint16 codes below {card}"
        raise RequestError(ErrorCode.MALFORMED, "drums_codes", shortened(text), allowed)
    return torch.from_numpy(codes)


@dataclass(frozen=True)
class Told:
    """What the model is told frame by frame; None for what it is not told.

    Attributes:
        chords: numbers ``[frames]``.
        drums: latents ``[frames, latents]``, blurred.
        silence: the same of no drums at all, which is what stands beside drums where guidance leaves them out.
        melody: ``[frames, bins]``.
    """

    chords: Tensor | None = None
    drums: Tensor | None = None
    silence: Tensor | None = None
    melody: Tensor | None = None

    def terms(
        self,
        network: FlowNetwork,
        facts: FlowFacts,
        texts: Sequence[tuple[Tensor | None, float]],
        frames: int,
        guidance: float,
        text_guidance: float,
    ) -> Terms:
        """What guides the flow: all that is told, the words alone, and nothing (Tal et al., section 3.3), each with its weight.

        As in AudioCraft, a melody without chords beside it is left out nowhere; several texts share the weight of one.

        Args:
            network: the model.
            facts: of it.
            texts: hidden states of each text, None for no words, with shares that add up to 1.
            frames: of the stream.
            guidance: ``cfg_coef_all``.
            text_guidance: ``cfg_coef_txt``.
        """
        symbols = self.chords is not None
        everything = network.heard(frames, chords=self.chords, drums=self.drums, melody=self.melody)
        words_only = network.heard(
            frames,
            chords=None if symbols and facts.text_drops_chords else self.chords,
            drums=self.silence if facts.text_drops_drums else self.drums,
            melody=None if symbols and facts.text_drops_melody else self.melody,
        )
        nothing = network.heard(frames, drums=self.silence, melody=None if symbols else self.melody)
        silent = torch.zeros(1, network.config.dim, device=network.device, dtype=network.dtype)
        terms = []
        for weight, heard in ((guidance, everything), (text_guidance, words_only)):
            for hidden, share in texts:
                text = silent if hidden is None else network.text(hidden)
                terms.append((Heard(text, heard), weight * share))
        terms.append((Heard(silent, nothing), 1 - guidance - text_guidance))
        return tuple(term for term in terms if abs(term[1]) >= _NEGLIGIBLE)


class FlowPreparation(Preparation):
    """Turns plans into streams of a model that makes segments out of noise. One thread at a time.

    Args:
        bundle: the model.
        intake: that checks its requests.
    """

    def __init__(self, bundle: ModelBundle, intake: FlowIntake) -> None:
        super().__init__(bundle)
        assert bundle.flow is not None
        self._facts = bundle.flow
        self._network = cast("FlowNetwork", bundle.lm)
        self._intake = intake

    @torch.inference_mode()
    def prepare(self, number: int, plan: StreamPlan) -> PreparedStream:
        """Build the stream of a plan (on the caller's thread).

        Raises:
            RequestError: about chords or steps.
        """
        bundle, request, facts = self._bundle, plan.request, self._facts
        duration = 0.0 if plan.duration is None else plan.duration
        frames = seconds_to_frames(duration, bundle.frame_rate)
        steps = read_euler_steps(request.steps)
        guidance = bundle.usual.guidance if request.guidance == _USUAL_GUIDANCE else request.guidance
        prompts = plan.directions.prompts(scored=False)
        encoded = [(bundle.text.encode(prompt), share) for prompt, share in prompts]
        texts = [(None if text.is_null else text.hidden, share) for text, share in encoded]
        told = self._told(plan, frames)
        terms = told.terms(self._network, facts, texts, frames, guidance, request.text_guidance)
        settings = SamplingSettings(guidance=guidance)
        sampler = FlowSampler(self._network, terms, total_frames=frames, seed=plan.seed, steps=steps, settings=settings)
        score = ChangingScore.steady(plan.directions.score(bundle.frame_rate, first=0), frames)
        stream = EngineStream(
            id=number,
            sampler=sampler,
            hearing=Hearing((), score, scored=False, directions=plan.directions),
            decoder=self._decoder(),
            sample_rate=bundle.sample_rate,
            frame_samples=bundle.hop_length,
            total_samples=seconds_to_samples(duration, bundle.sample_rate) - request.from_frame * bundle.hop_length,
            lead_samples=seconds_to_samples(request.lead, bundle.sample_rate),
            first_frame=request.from_frame,
            patient=request.patient,
            background=request.background,
        )
        stream.decode_with(self._decoder(stream.decoded_from))
        return PreparedStream(
            stream, b"", "; ".join(filter(None, (plan.note, self._note(told, guidance, request, steps))))
        )

    def condition(self, change: Change) -> Change:
        """Nothing of such a stream changes.

        Raises:
            RequestError: UNSUPPORTED.
        """
        raise unchangeable(self._bundle)

    def _decoder(self, frame: int = 0) -> LatentDecoder:
        codec = cast("StreamedCodec", self._bundle.codec)
        stream: StreamingDecoder = codec.stream(frame=frame)
        return LatentDecoder(stream, self._facts.latent_mean, self._facts.latent_std)

    def _told(self, plan: StreamPlan, frames: int) -> Told:
        bundle, facts, request = self._bundle, self._facts, plan.request
        drums = silence = melody = None
        if request.drums_codes:
            drums = self._blurred(drum_codes(request.drums_codes, bundle.card))
            nothing = torch.zeros(bundle.channels, bundle.window_frames * bundle.hop_length, device=bundle.device)
            silence = self._blurred(bundle.codec.encode(nothing, 1)[0])
        if plan.melody is not None and facts.melody_bins:
            melody = melody_matrix(plan.melody, bundle.frame_rate, frames, facts.melody_bins)
        return Told(self._intake.chords(request), drums, silence, melody)

    def _blurred(self, codes: Tensor) -> Tensor:
        codec = cast("StreamedCodec", self._bundle.codec)
        rows = codec.embed(codes[None, None].to(codec.device))[0]
        return blurred(rows, min(self._facts.blur, len(rows)))

    def _note(self, told: Told, guidance: float, request: StreamRequest, steps: int | None) -> str:
        """What became of all that it was told, in words."""
        heard = {"chords": told.chords, "drums": told.drums, "a melody": told.melody}
        names = ", ".join(name for name, what in heard.items() if what is not None) or "words alone"
        solver = "" if steps is None else f" in {steps} Euler steps"
        words = f", {request.text_guidance:g} by the words" if request.text_guidance else ""
        deaf = "; this model hears no melody: the notes are left out" if request.melody and told.melody is None else ""
        return f"one segment out of noise{solver}, from {names}, at guidance {guidance:g}{words}{deaf}"


def unchangeable(bundle: ModelBundle) -> RequestError:
    """The refusal of a change to a stream that is one segment."""
    allowed = f"nothing, while it is made: {bundle.name} makes a segment in one piece"
    return RequestError(ErrorCode.UNSUPPORTED, "update", "a change", allowed)


def preparation_of(bundle: ModelBundle, intake: FlowIntake) -> Preparation:
    """What prepares the streams of a model, whatever its kind."""
    return Preparation(bundle) if bundle.flow is None else FlowPreparation(bundle, intake)


def warm_up_steps(bundle: ModelBundle) -> str:
    """As few passes as a model of this kind can do with, for a request that only warms it up."""
    if bundle.magnet is not None:
        return " ".join(["1"] * bundle.num_codebooks)
    return "" if bundle.flow is None else "1"
