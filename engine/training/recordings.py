"""Data sets of someone's own recordings: a folder of audio files, and what is said about each of them.

Beside ``song.wav`` may stand ``song.txt`` (each line a caption) or ``song.json``, an object of

``caption`` or ``captions``
    A text, or several that are all true.
``bpm``, ``metre``, ``first_bar``
    The tempo, "4/4", "3/4", "6/8" or "12/8", and a second at which a bar begins (0 if left out). With tempo and metre,
    which then hold for the whole file, the model is told where beats and bars are; the tempo alone goes into the captions.
``key``
    Such as "A minor", "B flat major" or "D dorian".
``tags``
    A list of words.

Without either, the file's name is the caption.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from engine.training.composer import METRES
from engine.training.composer.theory import MODES
from engine.training.data.build import HELD_OUT, TRAIN, Progress
from engine.training.data.folders import claim, sole_writer, write_whole, written
from engine.training.data.records import PieceRecord, read_index
from engine.training.data.shards import AUDIO, shard_index, to_pcm, write_shard
from engine.training.rendering import LEVEL_DBFS, PEAK, SAMPLE_RATE, check_workers, worker_pool
from protocols.errors import ErrorCode, RequestError

_LOG = logging.getLogger(__name__)

SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".caf", ".w64", ".au"))
STYLE = "recording"
PIECE_SECONDS = 60
"""About how long the pieces are that a recording is cut into."""
LEAST_SECONDS = 2.0
"""What is shorter is left out."""

_GAINS_FILE = "gains.json"
_HELD_OUT_ONE_IN = 20
_SHARD_SECONDS = 1800.0
_SHARD_FILES = 64
_BLOCK_FRAMES = 1 << 18
_WINDOW_SECONDS = 0.1
_GATE = 10.0**-2.6
_TONICS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_KEY = re.compile(r"([a-g])\s*(#|♯|b|♭|sharp|flat)?\s+(" + "|".join(MODES) + ")", re.IGNORECASE)
_ACCIDENTALS = {"#": 1, "♯": 1, "sharp": 1, "b": -1, "♭": -1, "flat": -1}


@dataclass(frozen=True)
class Notes:
    """What is said about a recording.

    Attributes:
        captions: at least one.
        tags: words.
        bpm: beats per minute; 0 where it is not known.
        metre: a name of `METRES`; "" where beats and bars are not known.
        first_bar: in seconds.
        key: such as "A minor", or "".
        tonic: pitch class.
        mode: a name of `MODES`, or "".
    """

    captions: tuple[str, ...]
    tags: tuple[str, ...] = ()
    bpm: Fraction = Fraction(0)
    metre: str = ""
    first_bar: Fraction = Fraction(0)
    key: str = ""
    tonic: int = 0
    mode: str = ""


@dataclass(frozen=True)
class Part:
    """A recording, or some of it, that goes into one split.

    Attributes:
        path: of the file.
        name: of the file within its folder.
        first: second at which it begins.
        last: second at which it ends.
        gain: that brings the recording to the level of composed music.
    """

    path: Path
    name: str
    first: float
    last: float
    gain: float = 1.0


def import_recordings(
    source: Path | str,
    folder: Path | str,
    *,
    workers: int = 1,
    sample_rate: int = SAMPLE_RATE,
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Make a data set of recordings, in the form of `build_dataset`'s: mono, at one sample rate and level.

    One recording in twenty, chosen by its name, is held out; of a single one, its end. Files that cannot be read are named in
    the log and left out. Shards that are there already are kept, so that a stopped run goes on.

    Args:
        source: folder of audio files, and of folders of such.
        folder: of the data set; made when it is not there.
        workers: processes, of one thread each.
        sample_rate: in Hz.
        progress: called after each shard.

    Raises:
        RequestError: ``not_found`` without the source, ``empty`` when nothing in it is long enough and can be read; ``malformed``
            for a sidecar that cannot be understood; ``not_allowed`` when the folder holds something else or cannot be written,
            ``too_large`` when the disk is full, ``busy`` while another run writes to it.
    """
    source, folder = Path(source).expanduser(), Path(folder)
    check_workers(workers)
    files = find_recordings(source)
    for path, _ in files:
        read_notes(path)  # what is wrong in a sidecar is told before anything is done
    digest = hashlib.sha256()
    for path, seconds in files:
        digest.update(f"{path.relative_to(source).as_posix()}\0{path.stat().st_size}\0{seconds}\n".encode())
        digest.update(repr(read_notes(path)).encode())
    recipe = {"recordings": digest.hexdigest()[:16], "sample_rate": sample_rate}
    with sole_writer(folder):
        claim(folder, recipe, "an empty folder, or one with a data set of the same recordings and sidecars")
        splits = split_recordings(source, files, _gains(folder, source, files, workers))
        tasks = [(name, *shard) for name, parts in splits.items() for shard in enumerate(_shards_of(parts))]
        count, hours, left = 0, 0.0, []
        for name, number, parts in tasks:
            index = shard_index(folder / name, number)
            if index.exists():
                count, hours = count + 1, hours + read_index(index).seconds / 3600.0
            else:
                left.append((name, number, parts))
        calls = [(folder / name, number, parts, sample_rate) for name, number, parts in left]
        for made in _spread(_import_shard, calls, workers):
            count, hours = count + 1, hours + made / 3600.0
            if progress is not None:
                progress(Progress(count, len(tasks), hours))


def find_recordings(source: Path) -> list[tuple[Path, float]]:
    """The audio files in a folder and the folders in it that can be read, by name, and their seconds.

    Raises:
        RequestError: ``not_found`` without the folder, ``empty`` when there is none.
    """
    if not source.is_dir():
        raise RequestError(ErrorCode.NOT_FOUND, "audio", str(source), "a folder of audio files")
    found = []
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        try:
            about = soundfile.info(path)
            seconds = about.frames / about.samplerate
        except (OSError, RuntimeError, ZeroDivisionError) as error:
            _LOG.warning("left out: %s: %s", path, error)
            continue
        if seconds < LEAST_SECONDS:
            _LOG.warning("left out: %s: %.1f s are too short", path, seconds)
            continue
        found.append((path, seconds))
    if not found:
        raise RequestError(ErrorCode.EMPTY, "audio", str(source), f"audio files of {LEAST_SECONDS:g} s or more")
    return found


def split_recordings(
    source: Path, files: list[tuple[Path, float]], gains: Mapping[str, float] | None = None
) -> dict[str, list[Part]]:
    """Which recordings are trained on and which are measured on: the same ones however many others are added.

    Args:
        source: folder of the recordings.
        files: and their seconds.
        gains: by name; recordings without one are left out. None for 1 in all.

    Raises:
        RequestError: ``empty`` without a recording, or for a single one that is too short to be parted.
    """
    parts = []
    for path, seconds in files:
        name = path.relative_to(source).as_posix()
        if gains is None or name in gains:
            parts.append(Part(path, name, 0.0, seconds, 1.0 if gains is None else gains[name]))
    if not parts:
        raise RequestError(ErrorCode.EMPTY, "audio", str(source), "recordings that can be read, with sound in them")
    if len(parts) == 1:
        whole = parts[0]
        cut = whole.last - max(whole.last / _HELD_OUT_ONE_IN, min(PIECE_SECONDS / 2, whole.last / 2))
        if cut < LEAST_SECONDS:
            allowed = f"{2 * LEAST_SECONDS:g} s of music or more"
            raise RequestError(ErrorCode.EMPTY, "audio", str(source), allowed)
        return {HELD_OUT: [replace(whole, first=cut)], TRAIN: [replace(whole, last=cut)]}
    ranked = sorted(parts, key=lambda part: _digest(part.name))
    held = {part.name for part in ranked if _digest(part.name) % _HELD_OUT_ONE_IN == 0} or {ranked[0].name}
    if len(held) == len(parts):
        held = {ranked[0].name}
    return {
        HELD_OUT: [part for part in parts if part.name in held],
        TRAIN: [part for part in parts if part.name not in held],
    }


def read_notes(path: Path) -> Notes:
    """What is said about a recording, in its sidecar or by its name.

    Raises:
        RequestError: ``malformed`` for a sidecar that cannot be understood.
    """
    text, facts = path.with_suffix(".txt"), path.with_suffix(".json")
    content: Any = {}
    try:
        if facts.is_file():
            content = json.loads(facts.read_text(encoding="utf-8"))
        elif text.is_file():
            content = {
                "captions": [line.strip() for line in text.read_text(encoding="utf-8").splitlines() if line.strip()]
            }
    except (OSError, ValueError) as error:
        raise RequestError(ErrorCode.MALFORMED, "audio", str(facts if facts.is_file() else text), str(error)) from error
    return _notes(path, facts, content)


def _notes(path: Path, sidecar: Path, content: Any) -> Notes:
    def refuse(name: str, value: object, allowed: str) -> RequestError:
        return RequestError(ErrorCode.MALFORMED, f"{sidecar}: {name}", value, allowed)

    if not isinstance(content, dict):
        raise refuse("content", content, "an object")
    captions = content.get("captions") or content.get("caption") or [_words_of(path.stem)]
    captions = [captions] if isinstance(captions, str) else captions
    tags = content.get("tags", [])
    for name, texts in (("captions", captions), ("tags", tags)):
        if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
            raise refuse(name, texts, "a list of texts")
    bpm, first_bar = content.get("bpm", 0), content.get("first_bar", 0)
    if isinstance(bpm, bool) or not isinstance(bpm, int | float) or not (bpm == 0 or 20 <= bpm <= 300):
        raise refuse("bpm", bpm, "20 to 300")
    if isinstance(first_bar, bool) or not isinstance(first_bar, int | float) or not 0 <= first_bar < float("inf"):
        raise refuse("first_bar", first_bar, "seconds from the beginning of the file")
    metre = content.get("metre", "")
    if metre and (metre not in METRES or not bpm):
        raise refuse("metre", metre, f"{', '.join(METRES)}, together with bpm")
    key = content.get("key", "")
    found = _KEY.fullmatch(key.strip()) if isinstance(key, str) else None
    if key and found is None:
        raise refuse("key", key, f"such as A minor, B flat major or F# dorian; {', '.join(MODES)}")
    tonic, mode = 0, ""
    if found is not None:
        tonic = (_TONICS[found[1].lower()] + _ACCIDENTALS.get((found[2] or "").lower(), 0)) % 12
        mode = found[3].lower()
    tempo = f"{bpm:g} bpm" if bpm else ""
    return Notes(
        captions=tuple(_with_facts(caption, (key, tempo)) for caption in captions),
        tags=tuple(tags),
        bpm=Fraction(str(bpm)),
        metre=metre,
        first_bar=Fraction(str(first_bar)),
        key=key,
        tonic=tonic,
        mode=mode,
    )


def _words_of(name: str) -> str:
    """A file's name as words: without the number of its track, and without what stands for spaces."""
    words = re.sub(r"[_\-.\s]+", " ", name).strip()
    return re.sub(r"^\d+\s+(?=\D)", "", words) or name


def _with_facts(caption: str, facts: tuple[str, ...]) -> str:
    missing = [fact for fact in facts if fact and fact.lower() not in caption.lower()]
    return ", ".join([caption, *missing])


def _shards_of(parts: list[Part]) -> list[list[Part]]:
    shards: list[list[Part]] = [[]]
    seconds = 0.0
    for part in parts:
        if shards[-1] and (seconds + part.last - part.first > _SHARD_SECONDS or len(shards[-1]) >= _SHARD_FILES):
            shards.append([])
            seconds = 0.0
        shards[-1].append(part)
        seconds += part.last - part.first
    return shards


def _gains(folder: Path, source: Path, files: list[tuple[Path, float]], workers: int) -> dict[str, float]:
    """The gain of every recording that can be used, by name; measured once, and what cannot be used is named then."""
    path = folder / _GAINS_FILE
    if path.is_file():
        gains: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
        return gains
    gains = {}
    for name, gain, fault in _spread(
        _measure, [(one, one.relative_to(source).as_posix()) for one, _ in files], workers
    ):
        if fault:
            _LOG.warning("left out: %s: %s", name, fault)
        else:
            gains[name] = gain
    with written(folder):
        write_whole(path, [json.dumps(dict(sorted(gains.items())), indent=2).encode()])
    return gains


def _spread(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], workers: int) -> Iterator[Any]:
    """What the calls give, in any order, made in several processes, or in this one."""
    if workers == 1:
        for arguments in calls:
            yield function(*arguments)
        return
    if not calls:
        return
    with worker_pool(min(workers, len(calls))) as pool:
        running = {pool.submit(function, *arguments) for arguments in calls}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


def _measure(path: Path, name: str) -> tuple[str, float, str]:
    """The name of a recording, what brings it to the level of composed music as far as its peak allows, and what is wrong with it.

    What is far below the mean does not count, after the idea of ITU-R BS.1770.
    """
    powers, peak = [], 0.0
    try:
        with soundfile.SoundFile(path) as file:
            width = max(1, round(_WINDOW_SECONDS * file.samplerate))
            for block in _blocks(file, 0.0, math.inf):
                peak = max(peak, float(np.abs(block).max(initial=0.0)))
                whole = block[: len(block) // width * width] if len(block) >= width else block
                powers.append(np.square(whole, dtype=np.float64).reshape(-1, min(width, len(whole))).mean(axis=1))
    except (OSError, RuntimeError) as error:
        return name, 0.0, str(error)
    power = np.concatenate(powers) if powers else np.zeros(0)
    if not np.isfinite(power).all():
        return name, 0.0, "samples that are no numbers"
    if not peak:
        return name, 0.0, "silence"
    heard = power[power > power.mean() * _GATE]
    return name, float(min(10.0 ** (LEVEL_DBFS / 20.0) / np.sqrt(heard.mean()), PEAK / peak)), ""


def _import_shard(folder: Path, number: int, parts: list[Part], sample_rate: int) -> float:
    """Write a shard; returns its seconds."""
    sounds: list[NDArray[np.int16]] = []
    records: list[PieceRecord] = []
    offset = 0
    for part in parts:
        notes, samples = read_notes(part.path), _read(part, sample_rate)
        for first, length in _pieces(len(samples), notes, part.first, sample_rate):
            records.append(_record(part, notes, first, offset, length, sample_rate))
            sounds.append(samples[first : first + length])
            offset += length
    if sounds:
        write_shard(folder, number, AUDIO, Fraction(sample_rate), sounds, records)
    return offset / sample_rate


def _read(part: Part, sample_rate: int) -> NDArray[np.int16]:
    """A part of a recording: mono, resampled, at the level of composed music."""
    try:
        with soundfile.SoundFile(part.path) as file:
            resampler = soxr.ResampleStream(file.samplerate, sample_rate, 1, dtype="float32")
            blocks = _blocks(file, part.first, part.last)
            made = [to_pcm(resampler.resample_chunk(block * np.float32(part.gain))) for block in blocks]
            made.append(to_pcm(resampler.resample_chunk(np.zeros(0, np.float32), last=True)))
    except (OSError, RuntimeError) as error:
        raise RequestError(
            ErrorCode.NOT_AUDIO, "audio", str(part.path), f"a file that can still be read: {error}"
        ) from error
    return np.concatenate(made)


def _blocks(file: Any, first: float, last: float) -> Iterator[NDArray[np.float32]]:
    """The samples between two seconds, all channels as one."""
    start, end = (int(min(file.frames, np.rint(second * file.samplerate))) for second in (first, last))
    file.seek(start)
    while start < end:
        block = file.read(min(_BLOCK_FRAMES, end - start), dtype="float32", always_2d=True)
        if not len(block):
            return
        start += len(block)
        yield np.ascontiguousarray(block.mean(axis=1))


def _pieces(samples: int, notes: Notes, begun: float, sample_rate: int) -> Iterator[tuple[int, int]]:
    """First sample and length of each piece; where bars are known, each begins with one.

    Args:
        samples: how many there are.
        notes: on the recording.
        begun: second of the recording at which the samples begin.
        sample_rate: in Hz.
    """
    if notes.metre:
        bar = METRES[notes.metre].beats * 60 / notes.bpm
        first = (notes.first_bar - Fraction(str(begun))) % bar
        every = max(1, round(PIECE_SECONDS / bar)) * bar
        starts = []
        while round(first * sample_rate) < samples:
            starts.append(round(first * sample_rate))
            first += every
    else:
        count = max(1, round(samples / sample_rate / PIECE_SECONDS))
        starts = [samples * index // count for index in range(count)]
    for start, end in zip(starts, [*starts[1:], samples], strict=True):
        if end - start >= LEAST_SECONDS * sample_rate:
            yield start, end - start


def _record(part: Part, notes: Notes, first: int, offset: int, length: int, sample_rate: int) -> PieceRecord:
    seconds = Fraction(length, sample_rate)
    bars = math.ceil(seconds * notes.bpm / 60 / METRES[notes.metre].beats) if notes.metre else 0
    bpm = notes.bpm if notes.metre else Fraction(0)
    return PieceRecord(
        seed=_digest(f"{part.name}\0{part.first}\0{first}"),
        style=STYLE,
        captions=notes.captions,
        tags=notes.tags,
        bpm_numerator=bpm.numerator,
        bpm_denominator=bpm.denominator,
        tonic=notes.tonic,
        mode=notes.mode,
        key=notes.key,
        metre_name=notes.metre,
        bars=bars,
        sections=(),
        chords=(),
        lead=(),
        instruments={},
        offset=offset,
        length=length,
    )


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
