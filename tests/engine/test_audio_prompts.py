"""Audio that a stream goes on from: any file, trimmed at a bar line, led over into the new material, and made again the same."""

from __future__ import annotations

import base64
import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from engine.admission import Admission
from engine.audio_prompt import whole_bars
from engine.checkpoints import ModelBundle, load_model
from engine.conditioning.score import GRID, BeatGrid
from engine.preparation import Preparation, PreparedStream
from engine.seam import Seam
from engine.stream import AudioBlock
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Continue, Open, RegionRequest
from protocols.settings import FileSettings, Settings
from tests.support.own_models import write_own_model
from tests.support.streams import codes_of, prepare
from tests.support.tiny_checkpoints import write_tiny_checkpoint

RATE = 32_000
MOST = 50
"""Frames of a prompt that the tiny model hears: 1 s."""


@pytest.fixture(scope="module")
def mono(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder = tmp_path_factory.mktemp("models") / "mono"
    write_own_model(folder)
    return load_model(str(folder), device="cpu")


@pytest.fixture(scope="module")
def stereo(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("models") / "stereo", codebooks=8, channels=2)
    return load_model(str(folder), device="cpu")


def tone(seconds: float, rate: int = RATE, channels: int = 1) -> NDArray[np.float32]:
    """``[samples, channels]``, each channel an octave above the one before."""
    time = np.arange(max(1, round(seconds * rate))) / rate
    pitches = 110 * 2.0 ** (np.arange(channels) % 3)
    return (0.3 * np.sin(2 * np.pi * pitches * time[:, None] + 1)).astype(np.float32)


def asked(kind: type[RegionRequest] = Continue, *, channels: int = 1, **fields: Any) -> RegionRequest:
    given: dict[str, Any] = {"prompt": "a song", "seed": 3, "sample_rate": RATE, "channels": channels}
    if kind is Continue:
        given["duration"] = 0.5
    return kind(**(given | fields))


def sound_of(prepared: PreparedStream, seconds: float = 0.5) -> NDArray[np.float32]:
    """What a stream plays ``[samples, channels]``."""
    stream = prepared.stream
    blocks: list[NDArray[np.float32]] = []
    while not stream.sampler.done and sum(map(len, blocks)) < seconds * RATE:
        blocks += [event.samples for event in stream.advance() if isinstance(event, AudioBlock)]
    return np.concatenate(blocks)[: round(seconds * RATE)]


def again(bundle: ModelBundle, made: PreparedStream, request: RegionRequest) -> PreparedStream:
    """As a sidecar tells it."""
    fields = {"codebooks": bundle.num_codebooks, "sample_rate": 0, "seam_record": made.seam_record}
    return prepare(bundle, asked(type(request), seam=request.seam, bpm=request.bpm, **fields), made.prompt_codes)


# --- the seam in a stream --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Continue, Open])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_seam_is_made_again_bit_for_bit(
    mono: ModelBundle, stereo: ModelBundle, kind: type[RegionRequest], channels: int
) -> None:
    bundle = (mono, stereo)[channels - 1]
    payload = tone(0.9, channels=channels).tobytes()
    request = asked(kind, channels=channels)
    first = prepare(bundle, request, payload)
    remade = again(bundle, first, request)
    assert remade.seam_record == first.seam_record
    sound = sound_of(first)
    assert np.array_equal(sound_of(remade), sound)
    assert np.max(np.abs(sound[0] - tone(0.9, channels=channels)[-1])) < 0.03


def test_without_a_seam_a_stream_is_the_models_own(mono: ModelBundle) -> None:
    payload = tone(0.9).tobytes()
    led, off = (prepare(mono, asked(seam=on, duration=8.0), payload) for on in (True, False))
    assert off.seam_record == ""
    assert off.stream.seam is None
    seam = led.stream.seam
    assert seam is not None
    made, raw = sound_of(led, 8.0), sound_of(off, 8.0)
    assert not np.array_equal(made[:100], raw[:100])
    assert np.array_equal(made, seam.applied(raw, 0))
    assert np.array_equal(made[seam.length :], raw[seam.length :])
    assert led.stream.seam is None, "nothing is left to do"


def test_a_take_of_an_earlier_release_has_no_seam(mono: ModelBundle) -> None:
    old = prepare(mono, asked(seam=False), tone(0.9).tobytes())
    fields = {"codebooks": mono.num_codebooks, "sample_rate": 0}
    remade = prepare(mono, asked(**fields), old.prompt_codes)
    assert remade.seam_record == ""
    assert np.array_equal(sound_of(remade), sound_of(old))


def test_the_seam_says_nothing_to_the_model(mono: ModelBundle) -> None:
    payload = tone(0.9).tobytes()
    led, off = (prepare(mono, asked(seam=on), payload) for on in (True, False))
    assert np.array_equal(codes_of(led.stream), codes_of(off.stream))


@pytest.mark.parametrize("record", ["x", "{}", '{"channels": 1}'])
def test_a_broken_seam_is_refused_at_the_edge(mono: ModelBundle, record: str) -> None:
    codes = prepare(mono, asked(), tone(0.9).tobytes()).prompt_codes
    with pytest.raises(RequestError) as refused:
        prepare(mono, asked(codebooks=mono.num_codebooks, seam_record=record), codes)
    assert (refused.value.code, refused.value.field) == (ErrorCode.MALFORMED, "seam_record")


# --- bar lines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bpm", "beats", "most", "expected"),
    [
        (120, 4, 320, (3, 300)),
        (120, 4, 300, (3, 300)),
        (120, 4, 299, (2, 200)),
        (100, 3, 320, (3, 270)),
        (Fraction(92500, 1000), 4, 320, (2, 260)),
        (30, 4, 320, (0, 320)),
    ],
)
def test_the_most_bars_that_fit(bpm: Fraction, beats: int, most: int, expected: tuple[int, int]) -> None:
    bars, frames = whole_bars(BeatGrid(Fraction(bpm), beats), most, Fraction(50))
    assert (bars, frames) == expected
    if bars:
        assert frames == math.ceil(bars * beats * 60 / Fraction(bpm) * 50) <= most


def test_without_a_tempo_there_are_no_bars() -> None:
    assert whole_bars(None, 320, Fraction(50)) == (0, 320)


@pytest.mark.parametrize(
    ("fields", "frames", "note"),
    [
        ({}, 50, "the model hears the last 1 s of the audio prompt"),
        ({"bpm": 290.0}, 42, "the model hears the last bar (0.84 s) of the audio prompt"),
        ({"prompt": "a waltz at 300 bpm"}, 30, "the model hears the last bar (0.6 s) of the audio prompt"),
        ({"bpm": 120.0}, 50, "the model hears the last 1 s of the audio prompt"),
    ],
)
def test_a_long_prompt_begins_at_a_bar_line(mono: ModelBundle, fields: dict[str, Any], frames: int, note: str) -> None:
    region = tone(3.0)
    made = prepare(mono, asked(**fields), region.tobytes())
    assert made.note == note
    assert made.stream.prompt_frames == frames
    whole = prepare(mono, asked(), region.tobytes())
    cut = np.frombuffer(made.prompt_codes, "<u2").reshape(mono.num_codebooks, -1)
    all_of_it = np.frombuffer(whole.prompt_codes, "<u2").reshape(mono.num_codebooks, -1)
    assert np.array_equal(cut, all_of_it[:, -frames:]), "what ends at the seam"
    rows = made.stream.hearing.score.rows(frames, 1)
    assert bool(rows[0, GRID]) == bool(fields)
    if fields:
        assert rows[0, GRID + 11] == 1, "a bar begins with the new material"


def test_two_bars_are_heard_where_two_fit(tmp_path: Path) -> None:
    write_own_model(tmp_path / "wide", positions=320, window_seconds=Fraction(4))
    bundle = load_model(str(tmp_path / "wide"), device="cpu")
    made = prepare(bundle, asked(bpm=290.0), tone(3.0).tobytes())
    assert (made.stream.prompt_frames, made.note) == (
        83,
        "the model hears the last 2 bars (1.66 s) of the audio prompt",
    )


def test_a_prompt_that_the_model_hears_all_of_is_not_cut(mono: ModelBundle) -> None:
    made = prepare(mono, asked(bpm=290.0), tone(0.98).tobytes())
    assert (made.stream.prompt_frames, made.note) == (49, "")


def test_codes_are_never_cut_at_a_bar_line(mono: ModelBundle) -> None:
    request = asked(bpm=290.0)
    made = prepare(mono, request, tone(3.0).tobytes())
    remade = again(mono, made, request)
    assert (remade.stream.prompt_frames, remade.note) == (42, "")
    assert np.array_equal(sound_of(remade), sound_of(made))
    codes = np.zeros((mono.num_codebooks, 60), "<u2").tobytes()
    long = prepare(mono, asked(bpm=290.0, codebooks=mono.num_codebooks), codes)
    assert long.stream.prompt_frames == MOST


# --- any audio -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"),
    [
        (8_000, 1, "PCM_16"),
        (11_025, 6, "PCM_U8"),
        (22_050, 2, "ULAW"),
        (32_000, 2, "PCM_24"),
        (44_100, 2, "PCM_16"),
        (48_000, 1, "PCM_32"),
        (88_200, 5, "PCM_24"),
        (96_000, 2, "FLOAT"),
        (192_000, 11, "DOUBLE"),
    ],
)
def test_a_file_of_any_rate_and_channels_is_gone_on_from(
    mono: ModelBundle, tmp_path: Path, rate: int, channels: int, subtype: str
) -> None:
    region = tone(0.51, rate, channels)
    soundfile.write(tmp_path / "region.wav", region, rate, subtype=subtype)
    files = Settings(files=FileSettings(allowed=[str(tmp_path)]))
    request = asked(path=str(tmp_path / "region.wav"), sample_rate=0, duration=0.1)
    made = Preparation(mono).prepare(1, Admission(mono, files).plan(request, b""))
    assert made.stream.prompt_frames == 25
    assert made.note == (f"the region's {channels} channels are mixed to mono" if channels > 2 else "")
    first = sound_of(made, 0.1)[0, 0]
    # Eight bits make a step of their own.
    assert abs(first - region[-1].mean()) < 0.05


@pytest.mark.parametrize(
    ("region", "fields", "note"),
    [
        (tone(1 / RATE), {}, "the audio prompt is shorter than a frame (0.02 s): silence goes before it"),
        (tone(0.01), {}, "the audio prompt is shorter than a frame (0.02 s): silence goes before it"),
        (np.zeros((RATE, 1), np.float32), {}, "the audio prompt is silent"),
        (tone(60.0), {}, "the model hears the last 1 s of the audio prompt"),
        (tone(0.5, channels=11), {"channels": 11}, "the region's 11 channels are mixed to mono"),
        (
            tone(0.001, 8_000, 3),
            {"channels": 3, "sample_rate": 8_000},
            "the region's 3 channels are mixed to mono; the audio prompt is shorter than a frame (0.02 s): "
            "silence goes before it",
        ),
    ],
)
def test_what_became_of_a_prompt_is_said(
    mono: ModelBundle, region: NDArray[np.float32], fields: dict[str, Any], note: str
) -> None:
    made = prepare(mono, asked(duration=0.1, **fields), region.tobytes())
    assert made.note == note
    sound = sound_of(made, 0.1)
    assert sound.shape == (3200, 1)
    assert np.all(np.isfinite(sound))


@pytest.mark.parametrize(
    ("region", "fields", "code", "field"),
    [
        (np.full((100, 1), np.nan, np.float32), {}, ErrorCode.OUT_OF_RANGE, "payload"),
        (np.full((100, 1), -np.inf, np.float32), {}, ErrorCode.OUT_OF_RANGE, "payload"),
        (tone(0.1), {"sample_rate": 500}, ErrorCode.OUT_OF_RANGE, "sample_rate"),
        (tone(0.1), {"sample_rate": 0}, ErrorCode.MISSING, "sample_rate"),
        (tone(1 / RATE), {"sample_rate": 192_000}, ErrorCode.EMPTY, "payload"),
        (tone(0.1), {"channels": 7}, ErrorCode.MALFORMED, "payload"),
        (tone(1.0), {"sample_rate": 1_000}, ErrorCode.TOO_LONG, "payload"),
        (tone(0.0)[:0], {}, ErrorCode.MISSING, "path"),
    ],
)
def test_what_cannot_be_gone_on_from_is_one_error(
    mono: ModelBundle, region: NDArray[np.float32], fields: dict[str, Any], code: ErrorCode, field: str
) -> None:
    settings = Settings(files=FileSettings(max_region_s=20.0))
    with pytest.raises(RequestError) as refused:
        Admission(mono, settings).plan(asked(**fields), region.tobytes())
    assert (refused.value.code, refused.value.field) == (code, field)


def test_a_record_is_of_its_model(mono: ModelBundle, stereo: ModelBundle) -> None:
    record = prepare(stereo, asked(channels=2), tone(0.9, channels=2).tobytes()).seam_record
    codes = prepare(mono, asked(), tone(0.9).tobytes()).prompt_codes
    with pytest.raises(RequestError) as refused:
        prepare(mono, asked(codebooks=mono.num_codebooks, seam_record=record), codes)
    assert (refused.value.code, refused.value.field) == (ErrorCode.OUT_OF_RANGE, "seam_record")
    assert Seam.decode(record, sample_rate=RATE, channels=2).own.shape[1] == 2
    assert base64.b64decode(json.loads(record)["own"])
