"""One stream that the bridge plays: from the host's request to the last sample and the closed file."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
import structlog

from audio_files.recorder import TakeRecorder, record_take
from audio_files.takes import Take
from daw_bridge.asking import Prepared
from daw_bridge.audio.feeder import Feeder
from daw_bridge.clock.desk import ClockDesk
from daw_bridge.clock.starts import Start
from daw_bridge.clock.timeline import Position
from daw_bridge.wording import Facts, Wording
from protocols.bridge_messages import (
    Late,
    PlayAgain,
    Playback,
    PlayOpen,
    Progressed,
    Queued,
    Saved,
    Scheduled,
    Sounding,
)
from protocols.errors import ErrorCode, RequestError, shorten
from protocols.messages import (
    AudioHeader,
    Ended,
    Event,
    Finished,
    Open,
    Opened,
    Progress,
    Recipe,
    Started,
    StreamInfo,
    Welcome,
)
from protocols.osc.front import Asker
from protocols.wire import sidecar_of

log = structlog.get_logger()

_PROGRESS_S = 0.25


class StreamHost(Protocol):
    """What a stream needs of the bridge."""

    clock: ClockDesk

    def open_feeder(
        self, welcome: Welcome, lead_seconds: float, level_db: float, seconds: float, scheduled: bool
    ) -> Feeder:
        """A way to the sound card for a stream of ``seconds`` (0 without an end) that begins at once or when it is told."""

    def acknowledge(self, stream: int, position: int) -> None:
        """Let the engine run on."""

    def end(self, stream: int) -> None:
        """Let the engine stop making it."""

    def publish(self, event: Event, asker: Asker) -> None:
        """Tell the client, and whoever listens."""

    def finished(self, stream: BridgeStream, answer: Finished | RequestError) -> None:
        """The stream is over, its file closed, its last sample played."""

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run something on the loop's thread. Any thread."""


class BridgeStream:
    """What becomes of one request: sound, a take, events, and in the end one answer. For the loop's thread only.

    ``wording`` is what its words are made of; its tempo is known as far as fields have told it.

    Args:
        host: the bridge.
        request: what the host asked for.
        prepared: what the engine is asked for.
        asker: who asked.
        welcome: the engine's facts.
        takes: folder for the take.
        received: ``time.monotonic()`` of the request, in seconds.
    """

    def __init__(
        self,
        host: StreamHost,
        request: Playback | PlayAgain,
        prepared: Prepared,
        asker: Asker,
        welcome: Welcome,
        takes: Path,
        received: float,
    ) -> None:
        message = prepared.message
        self.number = 0
        self.request = request
        self.asker = asker
        self.words = message.prompt
        told = Facts(message.bpm, message.key, prompt=message.prompt)
        self.wording = prepared.wording or Wording(facts=told)
        self.cancelled = False
        self._host = host
        self._welcome = welcome
        self._received = received
        self._limit = prepared.limit
        self._note = prepared.note
        self._seed = message.seed
        self._feeder: Feeder | None = None
        self._recorder: TakeRecorder | None = None
        self._take: Future[Take] | None = None
        self._recipe: Recipe | None = None
        self._ended: Ended | None = None
        self._samples = 0
        self._acknowledged = 0
        self._total_seconds = 0.0
        self._first_sound_ms = 0.0
        self._fault: RequestError | None = None
        self._path: str | None = None
        self._told = 0.0
        self._answered = False
        self._start: Start | None = None
        if request.save:
            self._recorder = record_take(
                takes,
                request.name or message.prompt or Path(getattr(request, "path", "")).stem or "untitled",
                sample_rate=welcome.sample_rate,
                channels=welcome.channels,
                format=request.format,
                loudness=request.loudness,
            )
        if request.sound:
            lead = request.latency if isinstance(request, PlayOpen) else message.lead
            seconds = 0.0 if isinstance(message, Open) else float(getattr(message, "duration", 0.0))
            self._feeder = host.open_feeder(welcome, lead, request.level, seconds, request.at != "now")

    @property
    def first_sound_ms(self) -> float:
        """Request to first sample at the callback; 0 before."""
        return self._first_sound_ms

    @property
    def underruns(self) -> int:
        """How often the sound ran dry."""
        return self._feeder.status().underruns if self._feeder is not None else 0

    def info(self) -> StreamInfo:
        """The stream as a list shows it."""
        return StreamInfo(
            stream=max(1, self.number),
            kind=str(type(self.request).__struct_config__.tag),
            state="ending" if self._ended is not None else "running" if self._samples else "waiting",
            prompt=shorten(self.words, 200),
            seed=self._seed,
            seconds=self._seconds,
            total_seconds=self._total_seconds,
            client=f"{self.asker.peer.host}:{self.asker.peer.port}",
        )

    def opened(self, reply: Opened) -> None:
        """The engine took the request."""
        self.number, self._seed = reply.stream, reply.seed
        request_id = self.asker.request_id
        self._host.publish(
            Queued(request=request_id, stream=reply.stream, seed=reply.seed, words=shorten(self.words, 200)), self.asker
        )

        if self._feeder is not None and self.request.at != "now" and not self.cancelled:
            self._host.clock.starts.add(self, self.request.at)

    @property
    def voice(self) -> Feeder | None:
        """Its way to the sound card."""
        return self._feeder

    def scheduled(self, start: Start) -> None:
        """It will sound there."""
        self._start = start
        bar, beat = start.position.bar, start.position.beat
        self._host.publish(
            Scheduled(stream=self.number, bar=bar, beat=beat, sample=start.frame, seconds=start.seconds), self.asker
        )

    def late(self, missed: Position) -> None:
        """It will not be ready at a beat that it was given."""
        self._host.publish(Late(stream=self.number, bar=missed.bar, beat=missed.beat), self.asker)

    def refused(self, error: RequestError) -> None:
        """The engine did not take the request."""
        self._drop()
        self._answer(error)

    def withdraw(self) -> None:
        """Nothing came of it; it is asked for anew."""
        self._drop()

    def audio(self, header: AudioHeader, samples: memoryview) -> None:
        """A block arrived: to the card, to the file."""
        block = np.frombuffer(samples, np.float32).reshape(header.frames, header.channels)
        if self._limit is not None:
            block = block[: max(0, self._limit - header.position)]
            if header.position + header.frames >= self._limit:
                self._host.end(self.number)
        self._samples = header.position + len(block)
        if self._feeder is not None and not self.cancelled:
            taken = self._feeder.write(block)
            if taken < len(block):  # cannot be while the engine keeps to the lead; told rather than hidden
                log.warning("sound dropped", stream=self.number, samples=len(block) - taken)
        if self._recorder is not None:
            self._guard(lambda recorder: recorder.push(block))
        self.pump()

    def event(self, event: Event) -> None:
        """Something happened to the stream in the engine."""
        match event:
            case Recipe():
                self._recipe = event
            case Progress():
                pass  # told by the bridge itself, which knows what was played and goes on when the engine is done
            case Ended():
                self._over(event)
            case Started(seconds=seconds, note=note):
                self._total_seconds = seconds
                self._note = "; ".join(filter(None, (self._note, note)))
                self._host.publish(msgspec.structs.replace(event, note=self._note), self.asker)
            case _:
                self._host.publish(event, self.asker)

    def cancel(self) -> None:
        """Fade out now; the engine is told by whoever calls."""
        self.cancelled = True
        if self._feeder is not None:
            self._feeder.stop()

    def engine_lost(self) -> None:
        """The engine died: what is here is played and kept."""
        self._over(
            Ended(stream=max(1, self.number), reason="engine_lost", samples=self._samples, seconds=self._seconds)
        )

    def set_level(self, gain: float) -> None:
        """Glide to a linear gain."""
        if self._feeder is not None:
            self._feeder.gain = gain

    def pump(self) -> None:
        """Move what can be moved, tell what is new, and finish when everything is done."""
        if self._recorder is not None and self._take is None:
            self._guard(lambda recorder: recorder.pump())
        self._tell_first_sound()
        self._tell_progress()
        self._acknowledge()
        if self._ended is not None:
            self._close(self._ended)

    @property
    def _seconds(self) -> float:
        return self._samples / self._welcome.sample_rate

    def _played_seconds(self) -> float:
        return self._feeder.status().played / self._welcome.sample_rate if self._feeder is not None else 0.0

    def _tell_first_sound(self) -> None:
        if self._feeder is None or self._first_sound_ms:
            return
        first = self._feeder.status().first_audible
        if first is not None:
            self._first_sound_ms = round(max(0.001, first - self._received) * 1000, 3)
            self._host.publish(Sounding(stream=self.number, first_sound_ms=self._first_sound_ms), self.asker)

    def _tell_progress(self) -> None:
        now = time.monotonic()
        if not self.number or not self._samples or now - self._told < _PROGRESS_S:
            return
        self._told = now
        self._host.publish(
            Progressed(
                stream=self.number,
                seconds=self._seconds,
                total_seconds=self._total_seconds,
                played=self._played_seconds(),
            ),
            self.asker,
        )

    def _acknowledge(self) -> None:
        """What was played and is safe on its way to the disk may be followed by more."""
        if self._ended is not None or not self.number:
            return
        position = self._samples
        if self._feeder is not None and not self.cancelled:
            position = min(position, self._feeder.status().played)
        if self._recorder is not None:
            position = min(position, self._recorder.position)
        if position > self._acknowledged:
            self._acknowledged = position
            self._host.acknowledge(self.number, position)

    def _over(self, ended: Ended) -> None:
        if self._ended is not None:
            return
        if self._limit is not None and self._samples >= self._limit:
            ended = msgspec.structs.replace(ended, reason="done", samples=self._samples, seconds=self._seconds)
        self._ended = ended
        if self._feeder is not None:
            if ended.reason == "cancelled":
                self._feeder.stop()
            else:
                self._feeder.finish()
        self._host.publish(ended, self.asker)
        self.pump()

    def _close(self, ended: Ended) -> None:
        """Take the last steps, each once: close the file, wait for the sound, answer."""
        if self._recorder is not None and self._take is None and self._recorder.idle:
            self._finish_take(self._recorder, ended)
        file_done = self._recorder is None or self._path is not None or self._fault is not None
        sound_done = self._feeder is None or self._feeder.finished
        if file_done and sound_done and not self._answered:
            self._answer(self._outcome(ended))

    def _finish_take(self, recorder: TakeRecorder, ended: Ended) -> None:
        if not self._samples:
            recorder.abandon()
            self._recorder = None
            return
        self._take = recorder.finish(self._sidecar(ended))
        self._take.add_done_callback(lambda take: self._host.call_soon(lambda: self._saved(take)))

    def _saved(self, future: Future[Take]) -> None:
        error = future.exception()
        if error is None:
            take = future.result()
            self._path = str(take.path)
            self._host.publish(
                Saved(stream=max(1, self.number), path=self._path, seconds=float(take.seconds)), self.asker
            )
        elif isinstance(error, RequestError):
            self._fault = error
        else:
            self._fault = RequestError(ErrorCode.INTERNAL, "take", str(error))
        self.pump()

    def _sidecar(self, ended: Ended) -> dict[str, object]:
        """The engine's recipe and the host's request; without the recipe (the engine died), what is known here."""
        asked = {name: getattr(self.request, name) for name in self.request.__struct_fields__}
        asked["type"] = str(type(self.request).__struct_config__.tag)
        made: dict[str, object] = {"seed": self._seed, "model": self._welcome.model, "reason": ended.reason}
        if self._recipe is not None:
            made = sidecar_of(self._recipe, ended)
        if self._start is not None:
            position = self._start.position
            made["began"] = {"bar": position.bar, "beat": position.beat, "sample": self._start.frame}
        return {**made, "host_request": asked, "words": self.words}

    def _outcome(self, ended: Ended) -> Finished | RequestError:
        if self._fault is not None:
            return self._fault
        if ended.reason == "failed":
            return RequestError(ErrorCode.INTERNAL, "stream", ended.text)
        return Finished(
            stream=max(1, self.number),
            reason=ended.reason,
            seconds=ended.seconds,
            seed=self._seed,
            path=self._path or "",
            underruns=self.underruns,
            first_sound_ms=self._first_sound_ms,
            note=self._note,
        )

    def _guard(self, work: Callable[[TakeRecorder], None]) -> None:
        """Use the recorder; when the disk fails, the sound goes on and the answer tells."""
        if self._recorder is None:
            return
        try:
            work(self._recorder)
        except RequestError as error:
            log.warning("take lost", stream=self.number, error=error.text)
            self._fault = error
            self._recorder.abandon()
            self._recorder = None

    def _drop(self) -> None:
        if self._feeder is not None:
            self._feeder.stop()
        if self._recorder is not None:
            self._recorder.abandon()

    def _answer(self, answer: Finished | RequestError) -> None:
        self._answered = True
        self._host.finished(self, answer)


def linear_gain(level_db: float) -> float:
    """A level in dB as a factor; -120 dB and less are silence."""
    return 0.0 if level_db <= -120 else float(10 ** (level_db / 20))
