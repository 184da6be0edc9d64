"""The renderer: pieces sound as they are written. Needs FluidSynth and its soundfont, and is skipped without them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from audio_files.soundfonts import find_soundfont
from engine.training.composer import Piece, compose
from engine.training.rendering import (
    LEVEL_DBFS,
    MAX_WORKERS,
    PEAK,
    SAMPLE_RATE,
    Rendered,
    Renderer,
    render_many,
    worker_pool,
)
from protocols.errors import ErrorCode, RequestError

LOW_RATE = 16_000
"""What is looked for is below 8 kHz, and rendering takes half as long."""
WITH_DRUMS = (("house", 2), ("rock", 1), ("disco", 1), ("pop", 1), ("synthwave", 1), ("reggae", 1))
ONE_VOICE = (("disco", 1, "flute"), ("house", 2, "vibraphone"), ("jazz", 1, "muted trumpet"), ("pop", 1, "saw lead"))


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    try:
        made = Renderer(sample_rate=LOW_RATE)
    except RequestError as error:
        pytest.skip(str(error))
    yield made
    made.close()


@pytest.fixture(scope="module")
def rendered(renderer: Renderer) -> dict[tuple[str, int], tuple[Piece, Rendered]]:
    wanted = {*WITH_DRUMS, *((style, seed) for style, seed, _ in ONE_VOICE)}
    pieces = {(style, seed): compose(seed, style) for style, seed in sorted(wanted)}
    return {key: (piece, renderer.render(piece)) for key, piece in pieces.items()}


def rms_dbfs(samples: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-12))


def beat_rate(samples: NDArray[np.float32], rate: int) -> float:
    """The tempo, or a multiple of it, in beats per minute: where the spectral flux resembles itself most."""
    hop, size = rate // 100, 512
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, size // 2), size)[::hop]
    spectrum = np.log1p(100 * np.abs(np.fft.rfft(frames * np.hanning(size))))
    flux = np.maximum(0, np.diff(spectrum, axis=0)).sum(axis=1)
    flux -= flux.mean()
    power = np.abs(np.fft.rfft(flux, 2 * len(flux))) ** 2
    likeness = np.fft.irfft(power)[: len(flux)]
    lags = np.arange(30, 101)  # hundredths of a second: 60 to 200 beats per minute
    best = int(lags[np.argmax(likeness[lags])])
    before, at, after = likeness[best - 1 : best + 2]
    return float(6000 / (best + 0.5 * (before - after) / (before - 2 * at + after)))


def heard_pitch_class(samples: NDArray[np.float32], rate: int) -> int:
    """The pitch class whose first harmonics are the strongest."""
    size = 16_384
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), size))
    pitches = np.arange(40, 97)
    hertz = 440 * 2 ** ((pitches - 69) / 12)
    salience = sum(
        weight * spectrum[np.round(np.minimum(harmonic * hertz, rate / 2 - 50) * size / rate).astype(int)]
        for harmonic, weight in ((1, 1.0), (2, 0.8), (3, 0.6), (4, 0.5), (5, 0.4))
    )
    return int(pitches[np.argmax(salience)] % 12)


def test_length_and_level(rendered: dict[tuple[str, int], tuple[Piece, Rendered]]) -> None:
    for piece, sound in rendered.values():
        assert sound.mix.dtype == sound.lead.dtype == np.float32
        assert sound.mix.shape == sound.lead.shape == (round(piece.seconds * LOW_RATE),)
        assert float(np.abs(sound.mix).max()) <= PEAK
        assert rms_dbfs(sound.mix) == pytest.approx(LEVEL_DBFS, abs=3)
        assert -45 < rms_dbfs(sound.lead) < rms_dbfs(sound.mix) + 1


def test_tempo_is_what_the_piece_says(rendered: dict[tuple[str, int], tuple[Piece, Rendered]]) -> None:
    right = 0
    for key in WITH_DRUMS:
        piece, sound = rendered[key]
        ratio = beat_rate(sound.mix, LOW_RATE) / float(piece.bpm)
        right += min(abs(ratio / octave - 1) for octave in (0.5, 1, 2)) < 0.01
    assert right >= len(WITH_DRUMS) - 1  # a syncopated groove may resemble itself most after a beat and a half


def test_lead_sounds_the_pitches_of_its_chroma(rendered: dict[tuple[str, int], tuple[Piece, Rendered]]) -> None:
    width = LOW_RATE // 10
    for style, seed, instrument in ONE_VOICE:
        piece, sound = rendered[style, seed]
        assert next(track.instrument for track in piece.tracks if track.role == "lead") == instrument
        chroma = piece.chroma(50)
        heard = frames = 0
        for frame in range(0, len(chroma) - 8, 3):
            if chroma[frame - 1] == chroma[frame] >= 0 and (chroma[frame : frame + 6] == chroma[frame]).all():
                at = frame * LOW_RATE // 50
                if rms_dbfs(sound.lead[at : at + width]) > -50:
                    frames += 1
                    heard += heard_pitch_class(sound.lead[at : at + width], LOW_RATE) == chroma[frame]
        assert frames > 50
        assert heard / frames >= 0.9, (style, heard, frames)


def test_melody_begins_when_it_is_written(rendered: dict[tuple[str, int], tuple[Piece, Rendered]]) -> None:
    for piece, sound in rendered.values():
        first = int(piece.seconds_at(piece.lead[0].start) * LOW_RATE)
        assert float(np.abs(sound.lead[: max(0, first - 64)]).max(initial=0)) == 0
        assert float(np.abs(sound.lead[first : first + LOW_RATE // 5]).max()) > 0.001


def test_drums_are_heard(renderer: Renderer) -> None:
    piece = compose(1, "house")
    drums = replace(piece, tracks=tuple(track for track in piece.tracks if track.is_drums))
    sound = renderer.render(drums)
    assert rms_dbfs(sound.mix) == pytest.approx(LEVEL_DBFS, abs=4)
    assert not sound.lead.any()


def test_what_was_played_before_changes_nothing(
    renderer: Renderer, rendered: dict[tuple[str, int], tuple[Piece, Rendered]]
) -> None:
    piece, before = rendered["reggae", 1]
    again = renderer.render(piece)
    other = Renderer(sample_rate=LOW_RATE)
    fresh = other.render(piece)
    other.close()
    for sound in (again, fresh):
        assert np.array_equal(sound.mix, before.mix)
        assert np.array_equal(sound.lead, before.lead)


def test_the_tail_lets_the_last_notes_fade(renderer: Renderer) -> None:
    piece = compose(2, "solo piano")
    short, long = renderer.render(piece), renderer.render(piece, tail_seconds=0.5)
    assert len(long.mix) == len(short.mix) + LOW_RATE // 2
    assert long.mix[len(short.mix) :].any()


def test_many_come_in_the_order_of_their_seeds(renderer: Renderer) -> None:
    seeds = [9, 2, 5]
    for seed, (piece, sound) in zip(seeds, render_many(iter(seeds), workers=2, sample_rate=LOW_RATE), strict=True):
        alone = renderer.render(compose(seed))
        assert piece == compose(seed)
        assert np.array_equal(sound.mix, alone.mix)
        assert np.array_equal(sound.lead, alone.lead)


@pytest.mark.parametrize("workers", [0, -1, MAX_WORKERS + 1])
def test_workers_are_bounded(workers: int) -> None:
    with pytest.raises(RequestError) as caught, worker_pool(workers):
        pass
    assert (caught.value.code, caught.value.field) == (ErrorCode.OUT_OF_RANGE, "workers")
    with pytest.raises(RequestError, match="workers"):
        render_many([1], workers)  # before anything is read


def test_a_worker_that_is_ended_is_an_error_not_a_wait() -> None:
    with pytest.raises(RequestError) as caught, worker_pool(1) as pool:
        pool.submit(os._exit, 1).result()
    assert (caught.value.code, caught.value.field) == (ErrorCode.INTERNAL, "workers")


def test_a_missing_soundfont_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path / "none.sf2", tmp_path):
        with pytest.raises(RequestError) as caught:
            Renderer(path)
        assert (caught.value.code, caught.value.field) == (ErrorCode.NOT_FOUND, "soundfont")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=r"none\.sf2"):
        render_many([1], soundfont=Path("none.sf2"))
    monkeypatch.setattr("audio_files.soundfonts.SOUNDFONTS", (tmp_path / "one.sf2", tmp_path / "two.sf2"))
    with pytest.raises(RequestError, match="fluid-soundfont-gm"):
        find_soundfont()
    (tmp_path / "two.sf2").touch()
    assert find_soundfont() == tmp_path / "two.sf2"


def test_a_file_that_is_no_soundfont_is_refused_here_and_by_workers(renderer: Renderer, tmp_path: Path) -> None:
    path = tmp_path / "notes.sf2"
    path.write_bytes(b"these are not the samples of an orchestra")
    with pytest.raises(RequestError) as caught:
        Renderer(path)
    assert (caught.value.code, caught.value.field) == (ErrorCode.MALFORMED, "soundfont")
    with pytest.raises(RequestError) as caught:
        next(render_many([1], soundfont=path))
    assert (caught.value.code, caught.value.field) == (ErrorCode.MALFORMED, "soundfont")


def test_without_pyfluidsynth_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    font = tmp_path / "any.sf2"
    font.touch()
    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    with pytest.raises(RequestError) as caught:
        Renderer(font)
    assert caught.value.code is ErrorCode.UNSUPPORTED
    assert "daw-bridge[train]" in caught.value.allowed


def test_without_the_library_the_system_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    font = tmp_path / "any.sf2"
    font.touch()
    (tmp_path / "fluidsynth.py").write_text('raise ImportError("Couldn\'t find the FluidSynth library.")\n')
    monkeypatch.delitem(sys.modules, "fluidsynth", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RequestError) as caught:
        Renderer(font)
    assert caught.value.code is ErrorCode.UNSUPPORTED
    assert "FluidSynth library" in caught.value.value
    assert "libfluidsynth3" in caught.value.allowed


def test_standard_output_is_the_callers_alone(renderer: Renderer) -> None:
    program = "from engine.training.needs import check_rendering; check_rendering()"
    environment = {**os.environ, "CI": "true"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True, timeout=60)
    assert done.stdout == b""


def test_errors_come_back_from_workers_as_they_were() -> None:
    error = RequestError(ErrorCode.MALFORMED, "soundfont", "a.sf2", "a soundfont")
    back = pickle.loads(pickle.dumps(error))
    assert (back.code, back.field, back.value, back.allowed) == (error.code, error.field, error.value, error.allowed)
    assert back.code is ErrorCode.MALFORMED
    assert str(back) == str(error)


def test_the_default_rate_is_the_codecs() -> None:
    assert SAMPLE_RATE == 32_000
    assert SAMPLE_RATE % (50 * 64) == 0  # a codec frame is a whole number of FluidSynth's blocks
