"""A performance made again: every stream through the engine, then put together as it was heard."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from audio_files.loudness import Levelling
from audio_files.publishing import move_whole, write_whole
from audio_files.sidecars import read_sidecar
from audio_files.takes import slug
from daw_bridge.asking import Prepared
from daw_bridge.bridge_stream import BridgeStream
from daw_bridge.opening import Opening
from daw_bridge.orders import Order, Tap
from daw_bridge.performance.score import Score, StreamHeard
from daw_bridge.performance.sound import Stem, StemFile, difference, reader, voice_sound, write_mix
from daw_bridge.steering.steered import Steering
from protocols.bridge_messages import Export, PlayAgain, Playback, Rendered, Rendering
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Event, Finished, Reply, Resume
from protocols.osc.front import Asker

log = structlog.get_logger()

_ABOUT = "performance.json"


class RenderHost(Protocol):
    """What making a performance again needs of the bridge."""

    opening: Opening

    def play(self, request: Playback | PlayAgain, asker: Asker, tap: Tap | None = None, held: bool = False) -> None:
        """Open a stream; ``tap`` hears what comes of it in the client's place. Raises as `Opening.play`."""

    def in_background(self, work: Callable[[], Any], asker: Asker, reply: Callable[[Any], Reply]) -> None:
        """Do something slow beside the loop and answer with what ``reply`` makes of it."""

    def publish(self, event: Event, asker: Asker) -> None:
        """Tell the client, and whoever listens."""


@dataclass
class Made:
    """A stream that was made again, or was not.

    Attributes:
        path: of the take that was made.
        why: it was not.
    """

    stream: StreamHeard
    path: Path | None = None
    why: str = ""
    take: str = ""
    equal: bool | None = None
    difference: float = 0.0
    stem: str = ""


@dataclass
class Render:
    """Makes one performance again, one stream after the other. For the loop's thread only; files are mixed beside it.

    Args:
        score: what was heard.
        folder: the new folder, which is there and empty.
        asker: who wants it.
        host: the bridge.
        over: called at its end, whatever came of it.
    """

    score: Score
    folder: Path
    asker: Asker
    host: RenderHost
    over: Callable[[], None]
    made: list[Made] = field(default_factory=list)

    def begin(self) -> None:
        """Make the first stream."""
        self._next()

    def _next(self) -> None:
        streams = self.score.heard
        number = len(self.made)
        self.host.publish(Rendering(name=self.score.name, stem=number + 1, stems=len(streams)), self.asker)
        if number == len(streams):
            self.host.in_background(self._finish, self.asker, lambda rendered: rendered)
            return
        made = Made(streams[number])
        self.made.append(made)
        tap = _MadeAgain(lambda answer: self._over(made, answer))
        try:
            self._ask(made, tap)
        except RequestError as error:
            tap.over(error)
        except (KeyError, TypeError, ValueError, OSError) as error:  # a log that somebody has changed
            tap.over(RequestError(ErrorCode.MALFORMED, "performance", str(error), "a log that can be read"))

    def _ask(self, made: Made, tap: Tap) -> None:
        """Ask for a stream: from its take's sidecar, else from its journal."""
        about = made.stream.about
        keep: dict[str, Any] = {"sound": False, "save": True, "format": about["format"], "loudness": about["loudness"]}
        keep["name"] = f"{slug(self.score.name, 30)} {made.stream.number:02}"
        take = Path(str(about.get("path") or "none"))
        made.take = str(take) if about.get("path") and take.is_file() else ""
        if (sidecar := take.with_suffix(".json")).is_file():
            self.host.play(PlayAgain(path=str(sidecar), **keep), self.asker, tap)
            return
        journal = str(about.get("journal") or "")
        if not journal:
            raise RequestError(ErrorCode.MISSING, "journal", "", "a stream that has a take or a journal")
        frame, skip = divmod(int(about["began_at"]), int(about["frame_samples"]))
        # With the lead that it was made with: another decodes in other pieces, whose last bits differ.
        resume = Resume(journal=journal, frame=frame, changes=True)
        prepared = Prepared(
            resume,
            limit=made.stream.samples,
            began_at=int(about["began_at"]),
            skip=skip,
            steering=Steering.again({"governor": about.get("governor")}),
        )
        self.host.opening.open(Order(Export(journal=journal, **keep), self.asker, time.monotonic(), tap), prepared)

    def _over(self, made: Made, answer: Finished | RequestError) -> None:
        if isinstance(answer, RequestError):
            made.why = answer.text
        elif not answer.path:
            made.why = f"it ended early: {answer.reason}"
        else:
            made.path = Path(answer.path)
        if made.why:
            log.warning("a stem is missing", performance=self.score.id, stream=made.stream.number, reason=made.why)
        self._next()

    # --- files (any thread) ---------------------------------------------------------------------------------------------

    def _finish(self) -> Rendered:
        try:
            return _write(self.score, self.made, self.folder)
        finally:
            self.over()


class _MadeAgain:
    """Hears of one stream."""

    def __init__(self, told: Callable[[Finished | RequestError], None]) -> None:
        self._told = told

    def opened(self, stream: BridgeStream) -> None:
        pass

    def audio(self, block: NDArray[np.float32]) -> None:
        pass

    def over(self, answer: Finished | RequestError) -> None:
        self._told(answer)


def _write(score: Score, made: list[Made], folder: Path) -> Rendered:
    """Take the takes in, compare them, and write stems, mix and what is known about both."""
    zero, rate = score.began, score.rate
    files: list[StemFile] = []
    closing: list[Callable[[], None]] = []
    for one in made:
        if one.path is None:
            continue
        one.path = _move(one.path, folder, f"take-{one.stream.number:02}")
        if one.take and Path(one.take).is_file():
            one.equal, one.difference = difference(Path(one.take), one.path)
        stems = _stems(score, one.stream, one.path, closing)
        if stems:
            words = slug(str(one.stream.about.get("words", "")), 30)
            one.stem = f"stem-{one.stream.number:02}-{words}.wav"
            files.append(StemFile(folder / one.stem, stems, rate, zero))
    levels = [(score.frame(card, frame), gain) for card, frame, gain in score.levels]
    try:
        length = write_mix(folder / "mix.wav", files, rate, score.channels, levels, zero)
    finally:
        for close in (*closing, *(file.close for file in files)):
            close()
    note = "; ".join(f"stream {one.stream.number}: {one.why}" for one in made if one.why)
    rendered = Rendered(
        path=str(folder),
        stems=len(made),
        made=sum(one.path is not None for one in made),
        compared=sum(one.equal is not None for one in made),
        equal=sum(bool(one.equal) for one in made),
        seconds=round(length / rate, 6),
        note=note,
    )
    about = {
        "performance": score.id,
        "name": score.name,
        "sample_rate": rate,
        "first_frame": zero,
        **{name: getattr(rendered, name) for name in ("stems", "made", "compared", "equal", "seconds")},
        "streams": [_about(one) for one in made],
    }
    write_whole(folder / _ABOUT, msgspec.json.format(msgspec.json.encode(about), indent=2) + b"\n")
    return rendered


def _about(one: Made) -> dict[str, Any]:
    known = ("stream", "kind", "words", "seed", "journal", "began_at", "replaces", "underruns")
    return {
        **{name: one.stream.about.get(name) for name in known},
        "made": one.path.name if one.path is not None else None,
        "stem": one.stem or None,
        "why_not": one.why or None,
        "take": one.take or None,
        "equal": one.equal,
        "difference": one.difference if one.equal is not None else None,
    }


def _move(path: Path, folder: Path, name: str) -> Path:
    """Put a take and its sidecar into the folder."""
    moved = folder / f"{name}{path.suffix}"
    move_whole(path.with_suffix(".json"), moved.with_suffix(".json"))
    move_whole(path, moved)
    return moved


def _stems(score: Score, stream: StreamHeard, path: Path, closing: list[Callable[[], None]]) -> list[Stem]:
    """Where and how a take was heard, card by card."""
    about, rate = stream.about, score.rate
    levelling = Levelling.of_sidecar(read_sidecar(path.with_suffix(".json")).get("audio", {}))
    fade, stems = float(about["fade"]), []
    levels = sorted((score.frame(card, frame), gain) for card, frame, gain in stream.levels)
    for index, place in enumerate(stream.places):
        read, total, close = reader(path, levelling)
        closing.append(close)
        last = index + 1 == len(stream.places)
        start = score.frame(place.card, place.start)
        frames = round(place.frames * Fraction(rate, score.cards[place.card].rate))
        earlier = [gain for frame, gain in levels if frame <= start]
        stems.append(
            Stem(
                voice=voice_sound(read, total, stream.held, int(about["rate"]), int(place.origin)),
                sample_rate=int(about["rate"]),
                channels=int(about["channels"]),
                start=start,
                gain=earlier[-1] if earlier else float(about["gain"]),
                levels=[(frame, gain) for frame, gain in levels if frame > start],
                stop=start + frames - max(1, round(fade * rate)) if stream.stopped or not last else None,
                fade=fade,
            )
        )
    return [stem for stem, place in zip(stems, stream.places, strict=True) if place.frames or not stream.stopped]


def new_folder(parent: Path, name: str) -> Path:
    """Make a folder for a performance; one that is there is left as it is.

    Raises:
        RequestError: about ``folder``: it cannot be made.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            folder = parent / (slug(name, 60) if number == 1 else f"{slug(name, 60)}-{number}")
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                continue
    except OSError as error:
        raise RequestError(
            ErrorCode.NOT_ALLOWED, "folder", str(parent), f"a folder that can be made: {error}"
        ) from None
    raise RequestError(ErrorCode.BUSY, "folder", str(parent), "a folder in which a new name can be found")
