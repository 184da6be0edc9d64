"""The edge of the engine: what a request that opens a stream brings along, read and checked before anything starts."""

from __future__ import annotations

import io
import json
import secrets
from fractions import Fraction
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from msgspec import structs
from numpy.typing import NDArray

from audio_files.channel_mixing import mixing_note
from audio_files.coded_files import is_coded, is_coded_content
from audio_files.locations import locate_file
from audio_files.regions import Region, mix_and_resample, read_region
from engine.changes import Change
from engine.checkpoints.bundle import ModelBundle
from engine.code_prompt import read_code_prompt
from engine.conditioning.melody_reading import read_melody
from engine.conditioning.words import Directions
from engine.decoders import Decoders
from engine.flow_streams import FlowIntake, unchangeable
from engine.left_out import left_out
from engine.preparation import StreamPlan, directions_of, hears_melodies
from engine.seam import Seam
from engine.style_intake import StyleIntake
from protocols.errors import ErrorCode, RequestError
from protocols.fields import INT32_MAX, build, shortened
from protocols.melody import decode_melody
from protocols.messages import Continue, MelodyRead, ReadMelody, RegionRequest, StreamRequest, Update
from protocols.sections import MAX_SECTIONS, frames_of, read_sections
from protocols.settings import Settings
from protocols.style import StyleCodes
from protocols.units import seconds_to_frames

_MAX_SCRIPT = 10_000


class Admission:
    """Turns a request and its payload into a plan, or refuses it with one clear error."""

    def __init__(self, bundle: ModelBundle, settings: Settings, decoders: Decoders | None = None) -> None:
        self._bundle = bundle
        self._decoders = decoders or Decoders.of(bundle, settings)
        self._files = settings.files
        self._styles = StyleIntake(bundle, settings.files)
        self.flow = FlowIntake(bundle, settings)

    @property
    def frame_rate(self) -> Fraction:
        """Of the model's codec."""
        return self._bundle.frame_rate

    @property
    def device(self) -> str:
        """Where the model computes."""
        return str(self._bundle.device)

    @property
    def makes_latents(self) -> bool:
        """Whether the model makes a codec's latents in place of codes."""
        return self._bundle.flow is not None

    def plan(self, request: StreamRequest, payload: bytes) -> StreamPlan:
        """Read and check everything that can be checked without the model (any thread).

        Raises:
            RequestError: which field is wrong and what is allowed.
        """
        if request.fingerprint not in ("", self._bundle.fingerprint):
            here = f"{self._bundle.name} in {self._bundle.precision} ({self._bundle.fingerprint[:12]})"
            raise RequestError(
                ErrorCode.UNSUPPORTED, "fingerprint", request.fingerprint[:12], f"the model that runs: {here}"
            )
        duration = getattr(request, "duration", None)
        if duration is not None and request.from_frame >= seconds_to_frames(duration, self._bundle.frame_rate):
            most = seconds_to_frames(duration, self._bundle.frame_rate) - 1
            raise RequestError(ErrorCode.OUT_OF_RANGE, "frame", request.from_frame, f"up to {most}: there it ends")
        request, payload, about_style = self._styles.with_codes(request, payload)
        request, about_flow = self.flow.checked(request)
        audio, codes, note = self._prompt(request, payload) if isinstance(request, RegionRequest) else (None, None, "")
        if isinstance(request, Continue) and audio is None and codes is None:
            raise RequestError(ErrorCode.MISSING, "path", None, "an audio file, or samples sent along")
        request = self._with_sections(request)
        decoder = self._decoders.load(request.decoder)
        # A sidecar is to name what was used, whatever the settings of the engine that reads it.
        request = structs.replace(request, decoder=str(decoder.name))
        return StreamPlan(
            request=request,
            seed=request.seed if request.seed >= 0 else _any_seed(),
            stride=self._stride(request.stride),
            duration=duration,
            audio=audio,
            codes=codes,
            melody=decode_melody(request.melody) if request.melody else None,
            seam=self._seam(request) if isinstance(request, RegionRequest) else None,
            script=self._script(request.script, directions_of(request)),
            style=StyleCodes.decode(request.style_codes) if request.style_codes else None,
            style_detail=self._styles.detail(request.style_detail),
            decoder=None if decoder.is_codec else decoder,
            note="; ".join(filter(None, (note, about_style, about_flow, left_out(request, self._bundle)))),
        )

    def styled(self, update: Update, payload: bytes) -> Update:
        """An update with its style read, as codes; that may take a moment (any thread).

        Raises:
            RequestError: as `StyleIntake.with_codes`.
        """
        return self._styles.with_codes(update, payload)[0]

    def _with_sections(self, request: StreamRequest) -> StreamRequest:
        """The request with its sections in its script, as a sidecar holds them."""
        sections = read_sections(request.sections)
        if not sections:
            return request
        duration, rate = getattr(request, "duration", None), self._bundle.frame_rate
        total = None if duration is None else seconds_to_frames(duration, rate)
        begins = frames_of(sections, directions_of(request).tempo, rate, total)
        if request.script:
            raise RequestError(ErrorCode.MALFORMED, "sections", request.sections, "sections or a script, not both")
        entries = []
        for number, (section, frame) in enumerate(zip(sections, begins, strict=True), 1):
            entry: dict[str, str | int | float] = {"frame": frame, "section": number, "prompt": section.words}
            entries.append(entry | ({"morph": float(section.over)} if section.over else {}))
        return structs.replace(request, sections="", script=json.dumps(entries))

    def _stride(self, seconds: float) -> int | None:
        """In frames; None, the model's own, for 0."""
        bundle = self._bundle
        if not seconds:
            return None
        frames = seconds_to_frames(seconds, bundle.frame_rate)
        if not 0 < frames < bundle.window_frames:
            most = float((bundle.window_frames - 1) / bundle.frame_rate)
            raise RequestError(
                ErrorCode.OUT_OF_RANGE, "stride", seconds, f"0, or {float(1 / bundle.frame_rate):g} to {most:g} s"
            )
        return frames

    def change(self, update: Update, before: Directions, frame: int = 0, planned: int = 0, section: int = 0) -> Change:
        """What an update changes in a stream that is asked to play ``before`` (any thread); see `Change`.

        Raises:
            RequestError: which field is wrong and what is allowed; UNSUPPORTED for what the model would not hear.
        """
        if self._bundle.flow is not None:
            raise unchangeable(self._bundle)
        if update.seed == -1:
            update = structs.replace(update, seed=_any_seed())
        update, _, _ = self._styles.with_codes(update, b"")
        if update.style_detail is not None:
            update = structs.replace(update, style_detail=self._styles.detail(update.style_detail))
        change = Change.of(update, before, frame, planned, section)
        if change.melody and not hears_melodies(self._bundle):
            allowed = f"a model that hears melodies; {self._bundle.name} hears words"
            raise RequestError(ErrorCode.UNSUPPORTED, "melody", "a melody", allowed)
        return change

    def melody(self, request: ReadMelody, payload: bytes) -> MelodyRead:
        """Read the melody of an audio region, in the form that the model hears best (any thread).

        Raises:
            RequestError: which field is wrong and what is allowed; see `read_melody`.
        """
        if payload:
            audio, note = self._sent_audio(request, payload, 1)
        elif request.path:
            region = self._region(request, 1)
            audio, note = region.audio, region.note
        else:
            raise RequestError(ErrorCode.MISSING, "path", None, "an audio file, or samples sent along")
        bundle = self._bundle
        reading = read_melody(torch.from_numpy(audio[0]), bundle.sample_rate, bundle.melody, request.separation)
        return MelodyRead(
            seconds=float(reading.melody.seconds),
            sounding=reading.sounding,
            note="; ".join(filter(None, (note, reading.note))),
            melody=reading.melody.encode(),
        )

    def _script(self, text: str, directions: Directions) -> tuple[Change, ...]:
        """The changes to come of a stream that is asked to play ``directions`` at first, in order."""
        if not text:
            return ()
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RequestError(ErrorCode.MALFORMED, "script", str(error), "a JSON list of changes") from None
        if not isinstance(entries, list) or len(entries) > _MAX_SCRIPT:
            allowed = f"a JSON list of at most {_MAX_SCRIPT} changes"
            raise RequestError(ErrorCode.MALFORMED, "script", text, allowed)
        changes = []
        planned = sorted(map(_timed_update, entries), key=itemgetter(0))
        for number, (frame, update, section) in enumerate(planned, 1):
            change = self.change(update, directions, frame, number, section)
            directions = change.directions or directions
            changes.append(change)
        return tuple(changes)

    def _prompt(
        self, request: RegionRequest, payload: bytes
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.int64] | None, str]:
        """The prompt's sound, or its codes, and what became of it on the way."""
        if request.codebooks:
            return None, self._sent_codes(request.codebooks, payload), ""
        if is_coded(request.path) or (is_coded_content(payload) and not request.sample_rate):
            return None, *self._file_of_codes(request, payload)
        if payload:
            audio, note = self._sent_audio(request, payload, self._bundle.channels)
            return audio, None, note
        if request.path:
            region = self._region(request, self._bundle.channels)
            return region.audio, None, region.note
        return None, None, ""

    def _region(self, request: RegionRequest | ReadMelody, channels: int) -> Region:
        return read_region(
            request.path,
            start_seconds=request.start,
            length_seconds=request.length or None,
            sample_rate=self._bundle.sample_rate,
            channels=channels,
            allowed_folders=self._files.allowed_folders,
            max_seconds=self._files.max_region_s,
            resampling=self._bundle.resampling,
        )

    def _seam(self, request: RegionRequest) -> Seam | None:
        """The seam that was made before, for a take that is made again."""
        if not (request.seam and request.seam_record):
            return None
        return Seam.decode(request.seam_record, sample_rate=self._bundle.sample_rate, channels=self._bundle.channels)

    def _sent_audio(
        self, request: RegionRequest | ReadMelody, payload: bytes, channels: int
    ) -> tuple[NDArray[np.float32], str]:
        """Samples sent along, and what became of them on the way."""
        if not request.sample_rate:
            raise RequestError(ErrorCode.MISSING, "sample_rate", None, "the rate of the samples sent along, in Hz")
        if len(payload) % (4 * request.channels):
            allowed = f"float32 samples of {request.channels} channels"
            raise RequestError(ErrorCode.MALFORMED, "payload", f"{len(payload)} bytes", allowed)
        samples = np.frombuffer(payload, "<f4").reshape(-1, request.channels)
        seconds = len(samples) / request.sample_rate
        if seconds > self._files.max_region_s:
            raise RequestError(
                ErrorCode.TOO_LONG, "payload", f"{seconds:.1f} s", f"at most {self._files.max_region_s:g} s"
            )
        broken = int(np.count_nonzero(~np.isfinite(samples)))
        if broken:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "payload", f"{broken} samples", "finite samples")
        try:
            audio = mix_and_resample(
                samples.T,
                request.sample_rate,
                sample_rate=self._bundle.sample_rate,
                channels=channels,
                resampling=self._bundle.resampling,
            )
        except RequestError as error:
            field = {"audio": "payload", "source_rate": "sample_rate"}.get(error.field, error.field)
            raise RequestError(error.code, field, error.value, error.allowed) from None
        return audio, mixing_note(request.channels, channels)

    def _file_of_codes(self, request: RegionRequest, payload: bytes) -> tuple[NDArray[np.int64], str]:
        """The prompt's codes, of a file or of what was sent along as the bytes of one."""
        if payload:
            file: BinaryIO = io.BytesIO(payload)
        else:
            file = locate_file(request.path, self._files.allowed_folders).open("rb")
        with file:
            return read_code_prompt(
                file,
                Path(request.path).name or "payload",
                start=request.start,
                length=request.length,
                longest=self._files.max_region_s,
                bundle=self._bundle,
            )

    def _sent_codes(self, codebooks: int, payload: bytes) -> NDArray[np.int64]:
        if codebooks != self._bundle.num_codebooks:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "codebooks", codebooks, str(self._bundle.num_codebooks))
        if not payload or len(payload) % (2 * codebooks):
            raise RequestError(
                ErrorCode.MALFORMED, "payload", f"{len(payload)} bytes", f"uint16 codes of {codebooks} codebooks"
            )
        codes = np.frombuffer(payload, "<u2").reshape(codebooks, -1).astype(np.int64)
        if codes.max() >= self._bundle.card:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "payload", int(codes.max()), f"codes below {self._bundle.card}")
        return codes


def _any_seed() -> int:
    return secrets.randbelow(INT32_MAX)


def _timed_update(entry: object) -> tuple[int, Update, int]:
    if not isinstance(entry, dict):
        raise RequestError(ErrorCode.BAD_TYPE, "script", entry, "changes as JSON objects")
    values = {shortened(name): value for name, value in entry.items()}
    frame = values.pop("frame", None)
    if isinstance(frame, bool) or not isinstance(frame, int) or not 0 <= frame <= INT32_MAX:
        raise RequestError(ErrorCode.BAD_TYPE, "script.frame", frame, f"a whole number from 0 to {INT32_MAX}")
    section = values.pop("section", 0)
    if isinstance(section, bool) or not isinstance(section, int) or not 0 <= section <= MAX_SECTIONS:
        raise RequestError(ErrorCode.BAD_TYPE, "script.section", section, f"a whole number from 0 to {MAX_SECTIONS}")
    return frame, build(Update, {"stream": 0, **values}), section
