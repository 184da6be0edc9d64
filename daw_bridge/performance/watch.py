"""What is heard, looked at as it happens and written down."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import structlog

from daw_bridge.audio.feeder import Feeder
from daw_bridge.audio.output import CardReading, Output
from daw_bridge.bridge_stream import BridgeStream
from daw_bridge.clock.desk import ClockDesk
from daw_bridge.holdover import HeldBars
from daw_bridge.performance.log import SUFFIX, LogWriter, make_room
from protocols.errors import shorten
from protocols.osc.form import tag_of

log = structlog.get_logger()

_LOOKS = 8
"""At the place of a stream that has begun: a look between two moments of the callback sees it a block too early, never too late."""

_AT_S = 2.0


@dataclass
class _Seen:
    """What was written down of a stream so far."""

    number: int
    stream: BridgeStream
    voice: Feeder
    journal: str
    gain: float
    output: Output | None = None
    start: int = 0
    looks: int = 0
    held: int = 0  # how much was written down of how it was held
    governed: int = 0  # entries in the record of its governor
    told: float = 0.0


class Watch:
    """Writes down what streams do at the sound card. It only looks: nothing that plays knows of it. For the loop's thread only.

    Looks come every few milliseconds, so a level changes here with the first block after it did, and a start is exact: the card's
    frames less those that it took of the stream.

    Args:
        folder: of the logs; None writes nothing.
        streams: those that are open.
        reading: the card's account of itself.
        master: the linear gain of everything.
        clock: for bars and beats.
        fade_seconds: of every voice.
    """

    def __init__(
        self,
        folder: Path | None,
        streams: Callable[[], list[BridgeStream]],
        reading: Callable[[], CardReading | None],
        master: Callable[[], float],
        clock: ClockDesk,
        fade_seconds: float,
    ) -> None:
        self._folder = folder
        self._streams = streams
        self._reading = reading
        self._master = master
        self._clock = clock
        self._fade_seconds = fade_seconds
        self._writer: LogWriter | None = None
        self._name = ""
        self._zero: tuple[Output, int] | None = None
        self._cards: dict[int, Output] = {}
        self._seen: dict[int, _Seen] = {}  # by identity
        self._held: WeakKeyDictionary[BridgeStream, list[HeldBars]] = WeakKeyDictionary()
        self._count = 0
        self._gain = 1.0
        self._closing = False

    @property
    def path(self) -> Path | None:
        """Of the log that is being written."""
        return self._writer.path if self._writer is not None else None

    def begin(self, name: str) -> None:
        """Begin another log; what plays is written down in both."""
        reading = self._reading()
        self.close()
        self._name = name
        self._zero = (reading.output, reading.rendered) if reading is not None else None

    def pump(self) -> None:
        """Look at everything once; called every few milliseconds."""
        if self._folder is None:
            return
        playing = {id(stream): stream for stream in self._streams() if stream.voice is not None}
        for key, stream in playing.items():
            if key not in self._seen and stream.number and stream.voice is not None:
                self._seen[key] = self._opened(stream, stream.voice)
        for key, seen in list(self._seen.items()):
            self._look(seen)
            if key not in playing:
                self._over(seen)
                del self._seen[key]
        if self._seen and self._master() != self._gain:
            self._gain = self._master()
            self._level(0, self._gain)
        if self._closing and not self._seen:
            self.close()

    def note(self) -> None:
        """Write down how far everything is, at once."""
        for seen in self._seen.values():
            seen.told = 0.0
        self.pump()

    def synced(self) -> Callable[[], object]:
        """Waits until what was written so far can be read."""
        return (lambda: None) if self._writer is None else self._writer.synced().wait

    def close_with_last(self) -> None:
        """The log ends when nothing plays any more, or at once."""
        self._closing = True
        if not self._seen:
            self.close()

    def close(self) -> None:
        """The log ends here."""
        if self._writer is not None:
            for seen in self._seen.values():
                self._tell_at(seen, "at")
            self._writer.close()
        self._writer = None
        self._cards, self._seen, self._count = {}, {}, 0

    # --- streams --------------------------------------------------------------------------------------------------------

    def _opened(self, stream: BridgeStream, voice: Feeder) -> _Seen:
        if self._writer is None:
            self._open()
        self._count += 1
        rate, frame_samples = stream.rates
        seen = _Seen(self._count, stream, voice, stream.journal, voice.gain)
        info = stream.info()
        self._write(
            "stream",
            s=seen.number,
            stream=stream.number,
            kind=tag_of(type(stream.request)),
            words=shorten(stream.words, 200),
            seed=info.seed,
            journal=stream.journal,
            rate=rate,
            channels=voice.channels,
            frame_samples=frame_samples,
            began_at=stream.began_at,
            replaces=stream.request.replaces,
            format=stream.request.format,
            loudness=stream.request.loudness,
            fade=self._fade_seconds,
            gain=voice.gain,
        )
        return seen

    def _look(self, seen: _Seen) -> None:
        stream, voice = seen.stream, seen.voice
        if stream.journal and stream.journal != seen.journal:
            seen.journal = stream.journal
            self._write("journal", s=seen.number, journal=seen.journal)
        if (governor := stream.steered.sidecar.get("governor")) is not None and len(governor) != seen.governed:
            seen.governed = len(governor)
            self._write("governor", s=seen.number, record=governor)
        self._look_at_place(seen)
        if voice.gain != seen.gain:
            seen.gain = voice.gain
            self._level(seen.number, seen.gain)
        history = self._held.setdefault(stream, [])
        if stream.held is not None and stream.held not in history[-1:]:
            history.append(stream.held)
        for held in history[seen.held :]:
            self._tell_held(seen.number, held)
        seen.held = len(history)
        now = time.monotonic()
        if seen.looks >= _LOOKS and now - seen.told >= _AT_S:
            seen.told = now
            self._tell_at(seen, "at")

    def _look_at_place(self, seen: _Seen) -> None:
        """Find where a stream began on the card that it plays on now."""
        reading, place = self._reading(), seen.voice.place
        if reading is None or place is None or not place.frames or place.output is not reading.output:
            return
        if place.output is not seen.output:
            seen.output, seen.start, seen.looks = place.output, -1, 0
        if seen.looks >= _LOOKS:
            return
        seen.looks += 1
        start = reading.rendered - place.frames
        if start > seen.start:
            seen.start = start
            # The last one counts.
            self._write(
                "place",
                s=seen.number,
                c=self._card(place.output),
                start=start,
                origin=place.origin.as_integer_ratio(),
                position=str(self._position(start)),
            )

    def _over(self, seen: _Seen) -> None:
        status = seen.voice.status()
        self._tell_at(
            seen,
            "over",
            path=seen.stream.path,
            stopped=seen.stream.cancelled,
            underruns=status.underruns,
        )

    def _tell_held(self, number: int, held: HeldBars) -> None:
        self._write(
            "held",
            s=number,
            voice=held.voice,
            position=held.position,
            end=held.end,
            length=held.length.as_integer_ratio(),
            bar=held.bar.as_integer_ratio(),
            back=held.back,
        )

    def _tell_at(self, seen: _Seen, event: str, **more: Any) -> None:
        place = seen.voice.place
        card = None if place is None or seen.output is None else self._card(place.output)
        frames = 0 if place is None else place.frames
        self._write(event, s=seen.number, c=card, frames=frames, samples=seen.stream.samples, **more)

    # --- the log --------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        assert self._folder is not None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            make_room(self._folder)
        except OSError as error:
            log.warning("performances are not written down", folder=str(self._folder), reason=error.strerror)
        ident = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        self._writer = LogWriter(self._folder / f"{ident}{SUFFIX}")
        zero = None if self._zero is None else (self._card(self._zero[0]), self._zero[1])
        self._write("begin", id=ident, name=self._name or ident, time=int(time.time()), zero=zero)
        self._gain = self._master()
        if self._gain != 1.0:
            self._level(0, self._gain)

    def _card(self, output: Output) -> int:
        """The number of a card in this log."""
        for number, known in self._cards.items():
            if known is output:
                return number
        number = len(self._cards) + 1
        self._cards[number] = output
        stage = self._clock.stage
        stage.update()
        here = stage.seconds_at(0) if stage.output is output else Fraction(0)
        self._write(
            "card",
            c=number,
            name=output.name,
            rate=output.sample_rate,
            channels=output.channels,
            origin=here.as_integer_ratio(),
        )
        return number

    def _position(self, frame: int) -> object:
        """Bar and beat of a frame of the card."""
        timeline = self._clock.clock.timeline
        return timeline.position(timeline.beat_at(self._clock.stage.seconds_at(frame)))

    def _level(self, number: int, gain: float) -> None:
        reading = self._reading()
        if reading is not None:
            card = self._card(reading.output)
            self._write("level", s=number, c=card, frame=reading.rendered, gain=gain)

    def _write(self, event: str, **values: Any) -> None:
        if self._writer is not None:
            self._writer.write({"e": event, **values})
