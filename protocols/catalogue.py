"""The models that have a name: facts that both processes tell, without the engine's code and without torch.

What is not known for certain stands here as unknown (0, or an empty text) and not as a guess. Sizes of downloads are computed from
shapes and what released files store their numbers in; the hub's own figures are asked for before anything is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from protocols.message_parts import ModelStatus

Kind = Literal["music", "sound", "codec", "decoder", "part"]
"""What an entry is: makes music or sounds, is a codec or a decoder by itself, or is a part that others need."""
Layout = Literal["daw-bridge", "transformers", "audiocraft", "descript"]
"""How its files are laid out."""

POCKET = "pocket"
"""The name of our own model."""

NON_COMMERCIAL = "CC-BY-NC-4.0"
PERMISSIVE = frozenset(("MIT", "Apache-2.0", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "Unlicense"))
"""Licences that ask nothing of whoever only uses the weights: nobody is asked before a download under one of them."""
LICENCE_TEXTS = {
    NON_COMMERCIAL: "https://creativecommons.org/licenses/by-nc/4.0/",
    "MIT": "https://opensource.org/license/mit",
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
}
"""Where the text of a licence can be read."""


@dataclass(frozen=True)
class LMShape:
    """What decides the size of a transformer of the MusicGen family.

    Attributes:
        dim: width.
        layers: how many.
        heads: of attention; they divide ``dim``.
        codebooks: embedding tables and heads.
        card: entries per codebook.
        text_dim: width of the text encoder.
        cross_attention: whether each layer looks at the text; melody models hear it before the codes instead.
        bins: of the chroma that stands before the codes; 0 for none.
        ff: width of the feed-forward; 0 for four times ``dim``.
        caches: whether it makes one frame after the other and so keeps what it has heard.
    """

    dim: int
    layers: int
    heads: int
    codebooks: int = 4
    card: int = 2048
    text_dim: int = 768
    cross_attention: bool = True
    bins: int = 0
    ff: int = 0
    caches: bool = True

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        dim, ff = self.dim, self.ff or 4 * self.dim
        attentions, norms = (2, 3) if self.cross_attention else (1, 2)
        layer = 4 * attentions * dim * dim + 2 * ff * dim + norms * 2 * dim
        tables = self.codebooks * (2 * self.card + 1) * dim
        text = (self.text_dim + 1) * dim if self.text_dim != dim or not self.cross_attention else 0
        melody = (self.bins + 1) * dim if self.bins else 0
        return self.layers * layer + tables + 2 * dim + text + melody


@dataclass(frozen=True)
class CatalogueEntry:
    """A model with a name.

    Attributes:
        name: what a user types.
        hub_id: ``owner/name`` on the Hugging Face hub; None: it comes with the engine, or inside another model.
        licence: of the weights; empty where it is not known for certain: then the hub's page is asked.
        lm_parameters: weights of the network that makes the sound, or of the codec; 0 where it is not known.
        channels: 1 or 2.
        status: as `ModelBundle.status`.
        about: one line for a list of choices.
        folder: of a model that comes with the engine; None: it is downloaded, or made where it is first needed.
        kind: what it is.
        layout: of its files.
        sample_rate: Hz; 0 for a part.
        window: seconds that the model hears at once; 0 where it has none.
        hears: what it is told: text, melody, style, chords, drums, score.
        needs: names in `PARTS` or `CODECS` of what else has to be downloaded; what the files themselves point to comes along too.
        shape: of the LM; None where it is not known.
        other_parameters: codec and text encoder, kept in single precision beside the LM.
        stored: bytes for each weight in the files that are downloaded; 0 where they are not known.
        patterns: which files of the repository are needed; empty for those of its layout.
    """

    name: str
    hub_id: str | None
    licence: str
    lm_parameters: int
    channels: int
    status: ModelStatus
    about: str
    folder: Path | None = None
    kind: Kind = "music"
    layout: Layout = "transformers"
    sample_rate: int = 32_000
    window: float = 30.0
    hears: tuple[str, ...] = ("text",)
    needs: tuple[str, ...] = ()
    shape: LMShape | None = None
    other_parameters: int = 0
    stored: int = 0
    patterns: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Where the weights come from, in words."""
        if self.hub_id is not None:
            return self.hub_id
        return "made on this machine" if self.folder is None else "comes with the engine"

    @property
    def download_mb(self) -> int:
        """About how much is downloaded, in MB (10⁶ bytes), with what it needs; 0 where it is not known."""
        if self.hub_id is None or not self.stored or not self.lm_parameters:
            return 0
        numbers = self.lm_parameters * self.stored
        # In transformers' layout codec and text encoder come in the same file; in AudioCraft's the codec does, in single precision.
        if self.layout == "transformers" and self.kind in ("music", "sound"):
            numbers += self.other_parameters * self.stored
        elif self.kind in ("music", "sound"):
            numbers += _ENCODEC_32 * 4
        parts = [EVERYTHING[name].download_mb for name in self.needs]
        return 0 if self.needs and not all(parts) else round(numbers / 1e6) + sum(parts)

    @property
    def free(self) -> bool:
        """Whether it may be downloaded without anybody being asked."""
        return self.hub_id is None or self.licence in PERMISSIVE


_T5_BASE, _T5_LARGE = 109_628_544, 334_939_648
_ENCODEC_32, _ENCODEC_16 = 57_584_834 + 1_048_576, 57_519_298 + 1_048_576

_SMALL, _MEDIUM, _LARGE = LMShape(1024, 24, 16), LMShape(1536, 48, 24), LMShape(2048, 48, 32)
_SHAPES = {"small": _SMALL, "medium": _MEDIUM, "large": _LARGE, "melody": _MEDIUM, "melody-large": _LARGE}


def _musicgen(size: str) -> CatalogueEntry:
    base = size.removeprefix("stereo-")
    stereo, melody = base != size, "melody" in base
    shape = replace(_SHAPES[base], codebooks=8 if stereo else 4)
    if melody:
        shape = replace(shape, cross_attention=False, bins=12)
    heard = ("text", "melody") if melody else ("text",)
    return CatalogueEntry(
        name=f"musicgen-{size}",
        hub_id=f"facebook/musicgen-{size}",
        licence=NON_COMMERCIAL,
        lm_parameters=shape.parameters,
        channels=2 if stereo else 1,
        status="trained",
        about=f"MusicGen {size.replace('-', ' ')}, 32 kHz {'stereo' if stereo else 'mono'}, {' and '.join(heard)}",
        hears=heard,
        shape=shape,
        other_parameters=_T5_BASE + _ENCODEC_32,
        # What the hub has of the large ones in transformers' layout is not known here.
        stored=4 if base in ("small", "medium") else 0,
    )


def _audiocraft(
    name: str,
    about: str,
    shape: LMShape | None,
    *,
    parameters: int = 0,
    kind: Kind = "music",
    sample_rate: int = 32_000,
    window: float = 30.0,
    hears: tuple[str, ...] = ("text",),
    needs: tuple[str, ...] = ("t5-base",),
    text: int = _T5_BASE,
) -> CatalogueEntry:
    """A model that is released in AudioCraft's layout only: half floats, with its codec beside it or pointed to."""
    return CatalogueEntry(
        name=name,
        hub_id=f"facebook/{name}",
        licence=NON_COMMERCIAL,
        lm_parameters=shape.parameters if shape is not None else parameters,
        channels=1,
        status="trained",
        about=about,
        kind=kind,
        layout="audiocraft",
        sample_rate=sample_rate,
        window=window,
        hears=hears,
        needs=needs,
        shape=shape,
        other_parameters=text + (_ENCODEC_32 if sample_rate == 32_000 else _ENCODEC_16),
        stored=2,
    )


def _magnet(size: str, seconds: int) -> CatalogueEntry:
    shape = replace(_SHAPES[size], caches=False)
    about = f"MAGNeT {size}, {seconds} s of music at once, 32 kHz mono, text"
    return _audiocraft(f"magnet-{size}-{seconds}secs", about, shape, window=float(seconds))


def _audio_magnet(size: str) -> CatalogueEntry:
    shape = replace(_SHAPES[size], text_dim=1024, caches=False)
    about = f"MAGNeT {size} for sounds, 10 s at once, 16 kHz mono, text"
    return _audiocraft(
        f"audio-magnet-{size}",
        about,
        shape,
        kind="sound",
        sample_rate=16_000,
        window=10.0,
        needs=("t5-large",),
        text=_T5_LARGE,
    )


def _jasco(conditions: str, size: str) -> CatalogueEntry:
    hears = ("text", *conditions.split("-"))
    # The card of the model counts its weights in words only: 400 million, or a thousand.
    about = f"JASCO {size}, 10 s of music at once, 32 kHz mono, {', '.join(hears[:-1])} and {hears[-1]}"
    parameters = 400_000_000 if size == "400M" else 1_000_000_000
    return _audiocraft(
        f"jasco-{conditions}-{size}", about, None, parameters=parameters, window=10.0, hears=hears, needs=("t5-base",)
    )


def _codec(
    name: str,
    hub_id: str,
    licence: str,
    parameters: int,
    rate: int,
    about: str,
    *,
    channels: int = 1,
    layout: Layout = "transformers",
    patterns: tuple[str, ...] = (),
) -> CatalogueEntry:
    return CatalogueEntry(
        name=name,
        hub_id=hub_id,
        licence=licence,
        lm_parameters=parameters,
        channels=channels,
        status="trained",
        about=about,
        kind="codec",
        layout=layout,
        sample_rate=rate,
        window=0.0,
        hears=(),
        stored=4 if parameters else 0,
        patterns=patterns,
    )


def _part(name: str, hub_id: str, licence: str, parameters: int, about: str) -> CatalogueEntry:
    return CatalogueEntry(
        name=name,
        hub_id=hub_id,
        licence=licence,
        lm_parameters=parameters,
        channels=1,
        status="trained",
        about=about,
        kind="part",
        sample_rate=0,
        window=0.0,
        hears=(),
        stored=4 if parameters else 0,
    )


POCKET_MADE = CatalogueEntry(
    name=POCKET,
    hub_id=None,
    licence="MIT",
    lm_parameters=8_000_000,
    channels=1,
    status="untrained",
    about="random weights, for trying things out: small enough for any computer; needs no download",
)
"""Our own model where none is packaged with the engine."""

MODELS: dict[str, CatalogueEntry] = {
    entry.name: entry
    for entry in (
        POCKET_MADE,
        *(_musicgen(size) for size in ("small", "medium", "large")),
        *(_musicgen(f"stereo-{size}") for size in ("small", "medium", "large")),
        *(_musicgen(size) for size in ("melody", "melody-large", "stereo-melody", "stereo-melody-large")),
        _audiocraft(
            "musicgen-style",
            "MusicGen style, 32 kHz mono, text and the style of an excerpt",
            _MEDIUM,
            hears=("text", "style"),
            needs=("t5-base", "mert-v1-95m"),
        ),
        _audiocraft(
            "audiogen-medium",
            "AudioGen medium for sounds, 16 kHz mono, text",
            replace(_MEDIUM, text_dim=1024),
            kind="sound",
            sample_rate=16_000,
            window=10.0,
            needs=("t5-large",),
            text=_T5_LARGE,
        ),
        *(_magnet(size, seconds) for seconds in (10, 30) for size in ("small", "medium")),
        *(_audio_magnet(size) for size in ("small", "medium")),
        *(_jasco(heard, size) for heard in ("chords-drums", "chords-drums-melody") for size in ("400M", "1B")),
    )
}
"""What music and sounds are made by."""

CODECS: dict[str, CatalogueEntry] = {
    entry.name: entry
    for entry in (
        _codec(
            "encodec-16khz",
            "facebook/audiogen-medium",
            NON_COMMERCIAL,
            _ENCODEC_16,
            16_000,
            "EnCodec as AudioGen has it, 16 kHz mono, 2.2 kbit/s",
            layout="audiocraft",
            patterns=("compression_state_dict.bin",),
        ),
        _codec("encodec-24khz", "facebook/encodec_24khz", "", 0, 24_000, "EnCodec, 24 kHz mono, 1.5 to 24 kbit/s"),
        _codec(
            "encodec-32khz",
            "facebook/encodec_32khz",
            NON_COMMERCIAL,
            _ENCODEC_32,
            32_000,
            "EnCodec as MusicGen has it, 32 kHz mono, 2.2 kbit/s",
        ),
        _codec(
            "encodec-48khz",
            "facebook/encodec_48khz",
            "",
            0,
            48_000,
            "EnCodec, 48 kHz stereo, 3 to 24 kbit/s",
            channels=2,
        ),
        _codec("dac-16khz", "descript/dac_16khz", "MIT", 74_141_697, 16_000, "Descript Audio Codec, 16 kHz mono"),
        _codec("dac-24khz", "descript/dac_24khz", "MIT", 74_653_857, 24_000, "Descript Audio Codec, 24 kHz mono"),
        _codec("dac-44khz", "descript/dac_44khz", "MIT", 76_620_777, 44_100, "Descript Audio Codec, 44.1 kHz mono"),
    )
}
"""What turns sound into codes and back, by itself."""

DECODERS: dict[str, CatalogueEntry] = {
    entry.name: entry
    for entry in (
        CatalogueEntry(
            name="multiband-diffusion",
            hub_id="facebook/multiband-diffusion",
            licence=NON_COMMERCIAL,
            lm_parameters=0,
            channels=1,
            status="trained",
            about="MultiBand Diffusion for MusicGen's codes, 32 kHz mono: cleaner, and much slower, than the codec's own decoder",
            kind="decoder",
            layout="audiocraft",
            window=0.0,
            hears=(),
            patterns=("mbd_musicgen_32khz.th",),
        ),
        CatalogueEntry(
            name="multiband-diffusion-24khz",
            hub_id="facebook/multiband-diffusion",
            licence=NON_COMMERCIAL,
            lm_parameters=0,
            channels=1,
            status="trained",
            about="MultiBand Diffusion for the codes of EnCodec 24 kHz, for 2, 4 and 8 codebooks",
            kind="decoder",
            layout="audiocraft",
            sample_rate=24_000,
            window=0.0,
            hears=(),
            needs=("encodec-24khz",),
            patterns=("mbd_comp_2.pt", "mbd_comp_4.pt", "mbd_comp_8.pt"),
        ),
    )
}
"""What turns codes into sound in a codec's place."""

PARTS: dict[str, CatalogueEntry] = {
    entry.name: entry
    for entry in (
        _part("t5-base", "google-t5/t5-base", "Apache-2.0", 222_903_552, "T5 base, a text encoder"),
        _part("t5-large", "google-t5/t5-large", "Apache-2.0", 737_668_096, "T5 large, a text encoder"),
        _part("mert-v1-95m", "m-a-p/MERT-v1-95M", NON_COMMERCIAL, 0, "MERT, which hears the style of an excerpt"),
    )
}
"""What other models need. T5's files hold its decoder too, which is not loaded."""

ALIASES = {"t5-base": "google-t5/t5-base", "t5-large": "google-t5/t5-large"}
"""Names on the hub that were moved: old checkpoints say the one, downloads may lie under either."""

EVERYTHING: dict[str, CatalogueEntry] = MODELS | CODECS | DECODERS | PARTS
