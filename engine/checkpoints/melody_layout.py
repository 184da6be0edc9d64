"""What a ``MusicgenMelodyForConditionalGeneration`` says of the melodies it hears, beside what every MusicGen has.

Its chroma's length is in config.json; how chroma is read from sound is in the settings of its feature extractor, which are in
preprocessor_config.json (as on the hub) or in the section ``feature_extractor`` of processor_config.json (as newer versions of
transformers save a whole processor). A checkpoint without either has transformers' defaults, as all MusicGen models have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from engine.checkpoints.parts import malformed, refuse_unless
from engine.conditioning.melody import PITCH_CLASSES, MelodyFacts
from protocols.errors import ErrorCode, RequestError

SETTINGS_FILE = "preprocessor_config.json"
PROCESSOR_FILE = "processor_config.json"

_CHROMA_LENGTH = 235
_FFT_SIZES = range(256, (1 << 17) + 1, 2)
_MOST_OVERLAP = 64
_DEFAULTS = {"feature_size": PITCH_CLASSES, "sampling_rate": 32_000, "n_fft": 16_384, "hop_length": 4096}


@dataclass(frozen=True)
class MelodyLayout:
    """The settings of a melody model that its weights do not tell.

    Attributes:
        frames: of chroma before every window, ``chroma_length``.
        sample_rate: of the sound that chroma is read from, in Hz.
        fft_size: samples that are looked at together for one frame of chroma, ``n_fft``.
        hop_length: samples from one frame of chroma to the next.
        file: that says so; None: these are the defaults.
    """

    frames: int
    sample_rate: int
    fft_size: int
    hop_length: int
    file: Path | None

    @classmethod
    def read(cls, folder: Path, config: Mapping[str, Any]) -> MelodyLayout:
        """Read it from a checkpoint folder and the content of its config.json.

        Raises:
            RequestError: a file that is no JSON, or settings that the runtime has no use for; names the key.
        """
        frames = _whole("chroma_length", config.get("chroma_length", _CHROMA_LENGTH))
        refuse_unless({"num_chroma": (config.get("num_chroma", PITCH_CLASSES), PITCH_CLASSES)})
        file, given = _settings(folder)
        name = "feature_extractor" if file is None else file.stem
        settings = {key: _whole(f"{name}.{key}", given.get(key, value)) for key, value in _DEFAULTS.items()}
        refuse_unless({f"{name}.feature_size": (settings["feature_size"], PITCH_CLASSES)})
        size, hop = settings["n_fft"], settings["hop_length"]
        if size not in _FFT_SIZES:
            allowed = f"an even number, {_FFT_SIZES[0]} to {_FFT_SIZES[-1]}"
            raise RequestError(ErrorCode.UNSUPPORTED, f"{name}.n_fft", size, allowed)
        if not size <= hop * _MOST_OVERLAP <= size * _MOST_OVERLAP:
            allowed = f"{-(-size // _MOST_OVERLAP)} to {size}"
            raise RequestError(ErrorCode.UNSUPPORTED, f"{name}.hop_length", hop, allowed)
        return cls(frames, settings["sampling_rate"], size, hop, file)

    def check(self, config: Any) -> None:
        """Refuse a ``MusicgenMelodyConfig`` that does not fit these settings, or that leaves no room for codes.

        Raises:
            RequestError: ``unsupported``; names the key.
        """
        decoder = config.decoder
        if decoder.hidden_size == PITCH_CLASSES:
            raise RequestError(ErrorCode.UNSUPPORTED, "decoder.hidden_size", PITCH_CLASSES, "a width unlike chroma's")
        most = decoder.max_position_embeddings - decoder.num_codebooks - 1
        if self.frames > most:
            raise RequestError(ErrorCode.UNSUPPORTED, "chroma_length", self.frames, f"1 to {most}")
        rate = config.audio_encoder.sampling_rate
        if self.sample_rate != rate:
            name = "feature_extractor" if self.file is None else self.file.stem
            raise RequestError(ErrorCode.UNSUPPORTED, f"{name}.sampling_rate", self.sample_rate, f"{rate}, the codec's")

    def facts(self, frame_rate: Fraction, window_frames: int) -> MelodyFacts:
        """What a request's melody is prepared with; for a window of this many codec frames."""
        return MelodyFacts(
            sample_rate=self.sample_rate,
            frame_rate=frame_rate,
            window_frames=window_frames,
            frames=self.frames,
            fft_size=self.fft_size,
            hop_length=self.hop_length,
        )


def _settings(folder: Path) -> tuple[Path | None, dict[str, Any]]:
    """The feature extractor's settings, and the file they are in."""
    for name in (SETTINGS_FILE, PROCESSOR_FILE):
        path = folder / name
        if not path.is_file():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise malformed(folder, f"a {name} that is readable JSON: {error}") from error
        settings = (
            content.get("feature_extractor", {}) if name == PROCESSOR_FILE and isinstance(content, dict) else content
        )
        if not isinstance(settings, dict):
            raise malformed(folder, f"a {name} with the settings of a feature extractor")
        return path, settings
    return None, {}


def _whole(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RequestError(ErrorCode.MALFORMED, key, "null" if value is None else value, "a whole number above 0")
    return value
