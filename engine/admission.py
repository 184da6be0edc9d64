"""The edge of the engine: what a request that opens a stream brings along, read and checked before anything starts."""

from __future__ import annotations

import json
import secrets
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from audio_files.regions import mix_and_resample, read_region
from engine.changes import Change
from engine.checkpoints.bundle import ModelBundle
from engine.conditioning.words import Directions
from engine.preparation import StreamPlan, directions_of, hears_melodies
from protocols.errors import ErrorCode, RequestError
from protocols.fields import INT32_MAX, build, shortened
from protocols.melody import MelodyLine
from protocols.messages import Continue, Open, RegionRequest, StreamRequest, Update
from protocols.settings import Settings

_MAX_SCRIPT = 10_000


class Admission:
    """Turns a request and its payload into a plan, or refuses it with one clear error."""

    def __init__(self, bundle: ModelBundle, settings: Settings) -> None:
        self._bundle = bundle
        self._files = settings.files

    def plan(self, request: StreamRequest, payload: bytes) -> StreamPlan:
        """Read and check everything that can be checked without the model (any thread).

        Raises:
            RequestError: which field is wrong and what is allowed.
        """
        audio, codes = self._prompt(request, payload) if isinstance(request, RegionRequest) else (None, None)
        if isinstance(request, Continue) and audio is None and codes is None:
            raise RequestError(ErrorCode.MISSING, "path", None, "an audio file, or samples sent along")
        return StreamPlan(
            request=request,
            seed=request.seed if request.seed >= 0 else secrets.randbelow(INT32_MAX),
            duration=None if isinstance(request, Open) else getattr(request, "duration", None),
            audio=audio,
            codes=codes,
            melody=MelodyLine.decode(request.melody) if request.melody else None,
            script=self._script(request.script, directions_of(request)),
        )

    def change(self, update: Update, before: Directions, frame: int = 0) -> Change:
        """What an update changes in a stream that is asked to play ``before`` (any thread).

        Raises:
            RequestError: which field is wrong and what is allowed; UNSUPPORTED for a melody that the model would not hear.
        """
        change = Change.of(update, before, frame)
        if change.melody and not hears_melodies(self._bundle):
            allowed = f"a model that hears melodies; {self._bundle.name} hears words"
            raise RequestError(ErrorCode.UNSUPPORTED, "melody", "a melody", allowed)
        return change

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
        for frame, update in sorted(map(_timed_update, entries), key=itemgetter(0)):
            change = self.change(update, directions, frame)
            directions = change.directions or directions
            changes.append(change)
        return tuple(changes)

    def _prompt(
        self, request: RegionRequest, payload: bytes
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.int64] | None]:
        if request.codebooks:
            return None, self._sent_codes(request.codebooks, payload)
        if payload:
            return self._sent_audio(request, payload), None
        if request.path:
            region = read_region(
                request.path,
                start_seconds=request.start,
                length_seconds=request.length or None,
                sample_rate=self._bundle.sample_rate,
                channels=self._bundle.channels,
                allowed_folders=self._files.allowed_folders,
                max_seconds=self._files.max_region_s,
            )
            return region.audio, None
        return None, None

    def _sent_audio(self, request: RegionRequest, payload: bytes) -> NDArray[np.float32]:
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
        return mix_and_resample(
            samples.T,
            request.sample_rate,
            sample_rate=self._bundle.sample_rate,
            channels=self._bundle.channels,
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


def _timed_update(entry: object) -> tuple[int, Update]:
    if not isinstance(entry, dict):
        raise RequestError(ErrorCode.BAD_TYPE, "script", entry, "changes as JSON objects")
    values = {shortened(name): value for name, value in entry.items()}
    frame = values.pop("frame", None)
    if isinstance(frame, bool) or not isinstance(frame, int) or not 0 <= frame <= INT32_MAX:
        raise RequestError(ErrorCode.BAD_TYPE, "script.frame", frame, f"a whole number from 0 to {INT32_MAX}")
    return frame, build(Update, {"stream": 0, **values})
