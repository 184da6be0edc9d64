"""One stream that the bridge plays: from the host's request to the last sample and the closed file."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import structlog

from audio_files.exchange import title_of
from audio_files.recorder import record_take
from audio_files.takes import Take
from daw_bridge.asking import Prepared, wording_of
from daw_bridge.audio.feeder import Feeder
from daw_bridge.audio.output import Output
from daw_bridge.clock.starts import Start
from daw_bridge.clock.timeline import Position
from daw_bridge.holdover import HeldBars, History, Holdover
from daw_bridge.orders import Order, StreamHost
from daw_bridge.steering.steered import Steered
from daw_bridge.stream_take import StreamTake, asked_of, recipe_from
from daw_bridge.stream_words import WordedStream
from protocols.bridge_messages import (
    Held,
    Late,
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
    Resume,
    Started,
    StreamInfo,
    Updated,
    Welcome,
)
from protocols.sound_messages import levelling_of
from protocols.units import as_fraction
from protocols.wire import sidecar_of

log = structlog.get_logger()

_PROGRESS_S = 0.25
_PATIENCE_S = 0.25
"""New sound that there must be before a stream which was held goes on: less would hold it again at once."""


class BridgeStream(WordedStream):
    """What becomes of one request: sound, a take, events, and in the end one answer. For the loop's thread only.

    ``wording`` is what its words are made of; its tempo is known as far as fields have told it.

    Its samples are counted from its own first. Where its engine is lost it stays, holding on to its last bars, until another engine
    goes on with it from its journal.

    Args:
        host: the bridge.
        order: what is wanted.
        prepared: what the engine is asked for.
        welcome: the engine's facts.
        takes: folder for the take.

    Attributes:
        number: by which clients know it; 0 before the engine has taken it.
        engine_number: by which the engine knows it; 0 while none does.
        journal: of the engine that makes it; empty where none is kept.
        patient: nobody has asked to hear it yet, see `Order`.
        began_at: sample of the stream, as its journal counts them, with which its sound begins.
    """

    def __init__(self, host: StreamHost, order: Order, prepared: Prepared, welcome: Welcome, takes: Path) -> None:
        message, request = prepared.message, order.request
        self.number = self.engine_number = 0
        self.request = request
        self.asker = order.asker
        self.tap = order.tap
        super().__init__(prepared.wording or wording_of(prepared.message), prepared.sections)
        self.words = self.wording.words
        self.cancelled = False
        self.journal = ""
        self.began_at = prepared.began_at
        self.steered = Steered(prepared.steering, welcome)
        self._host = host
        self._welcome = welcome
        self._received = order.received
        self._held_back = order.held
        self._moment = order.moment
        self.patient = order.patient
        self._limit = prepared.limit
        self._note = prepared.note
        self._seed = message.seed if message.seed is not None else 0
        self._lead = message.lead
        self._base = -prepared.skip  # our position of the first sample that this engine sends
        self._from_frame: int | None = None
        self._words_bpm = 0.0
        self._feeder: Feeder | None = None
        self._line: Holdover | None = None
        self._take: StreamTake | None = None
        self._recipe: Recipe | None = None
        self._ended: Ended | None = None
        self._samples = 0
        self._acknowledged = 0
        self._total_seconds = 0.0
        self._first_sound_ms = 0.0
        self._told = 0.0
        self._told_started = False
        self._answered = False
        self._start: Start | None = None
        if request.save:
            recorder = record_take(
                takes,
                request.name or self.words or title_of(getattr(request, "path", "")) or "untitled",
                sample_rate=welcome.sample_rate,
                channels=welcome.channels,
                format=request.format,
                loudness=levelling_of(request.loudness, welcome.kind),
            )
            self._take = StreamTake(recorder, host.call_soon, self._saved)
        if request.sound:
            lead = request.latency if isinstance(request, PlayOpen) else message.lead or 1.0
            seconds = 0.0 if isinstance(message, Open) else float(getattr(message, "duration", 0.0))
            scheduled = order.held or request.at != "now" or order.moment is not None
            self._feeder = host.open_feeder(welcome, lead, request.level, seconds, scheduled)
            self._line = Holdover(
                self._feeder,
                welcome.sample_rate,
                welcome.channels,
                bars=host.hold_bars,
                bar_seconds=lambda: self.bar_seconds,
                margin=round(host.margin_seconds(lead) * welcome.sample_rate),
                patience=round(min(_PATIENCE_S, lead / 2) * welcome.sample_rate),
                told=self._tell_held,
            )

    @property
    def first_sound_ms(self) -> float:
        """Request to first sample at the callback; 0 before."""
        return self._first_sound_ms

    @property
    def underruns(self) -> int:
        """How often the sound ran dry."""
        return self._feeder.status().underruns if self._feeder is not None else 0

    @property
    def bar_seconds(self) -> Fraction | None:
        """Length of its bars as things are; None where its tempo is not known."""
        bpm = self.wording.facts.bpm or self._words_bpm
        return as_fraction(self.beats_per_bar(self._host.clock.beats_per_bar)) * 60 / as_fraction(bpm) if bpm else None

    @property
    def played(self) -> int:
        """Its sample that is about to be heard."""
        if self._feeder is None or self._line is None:
            return self._samples
        return self.steered.source(self._line.heard(self._feeder.status().played))

    @property
    def history(self) -> History | None:
        """The latest part of what was played of it; None where it is not played."""
        return None if self._line is None else self._line.history

    @property
    def holding(self) -> bool:
        """Whether its last bars play again now."""
        return self._line is not None and self._line.holding

    @property
    def held(self) -> HeldBars | None:
        """Where its last bars were played again most lately."""
        return self._line.last if self._line is not None else None

    @property
    def path(self) -> str:
        """Of its take, once that is on disk."""
        return self._take.path if self._take is not None else ""

    @property
    def samples(self) -> int:
        """How long it is so far."""
        return self._samples

    @property
    def rates(self) -> tuple[int, int]:
        """Of its sound, in Hz, and how many samples a codec frame has."""
        return self._welcome.sample_rate, self._welcome.frame_samples

    @property
    def lost(self) -> bool:
        """Whether it waits for an engine that goes on with it."""
        return bool(self.number) and not self.engine_number and self._ended is None

    @property
    def broken(self) -> bool:
        """Whether it ended before it was whole."""
        return self._ended is not None and self._ended.reason != "done"

    def info(self) -> StreamInfo:
        """The stream as a list shows it."""
        state = "running" if self._samples and not self.patient else "waiting"
        return StreamInfo(
            stream=max(1, self.number),
            kind=str(type(self.request).__struct_config__.tag),
            state="ending" if self._ended is not None else state,
            prompt=shorten(self.words, 200),
            seed=self._seed,
            seconds=self._seconds,
            total_seconds=self._total_seconds,
            client=f"{self.asker.peer.host}:{self.asker.peer.port}",
        )

    def opened(self, reply: Opened, number: int) -> None:
        """The engine took the request; clients shall know the stream by a number."""
        self.number, self.engine_number = number, reply.stream
        self._seed, self.journal, self._words_bpm = reply.seed, reply.journal, reply.bpm
        request_id = self.asker.request_id
        queued = Queued(request=request_id, stream=number, seed=reply.seed, words=shorten(self.words, 200))
        self._host.publish(queued, self.asker)
        if self.tap is not None:
            self.tap.opened(self)
        if not self._held_back:
            self.release(self.request.at)

    def release(self, at: str) -> None:
        """Let it begin now, or on the next beat or bar line that it can keep, if it waits for that."""
        if self._held_back:
            self._held_back, self.patient, self._received = False, False, time.monotonic()
            self._host.acknowledge(self, 0)
        if self._feeder is None or self.cancelled:
            return
        if at in ("beat", "bar"):
            self._host.clock.starts.add(self, "bar" if at == "bar" else "beat")
        elif self._moment is not None:
            self._host.clock.starts.add_at(self, self._moment)
        else:
            self._feeder.release()

    def go_on_request(self) -> Resume:
        """What an engine is asked for that is to go on with it."""
        frame = (self._samples + self.began_at) // self._welcome.frame_samples
        return Resume(journal=self.journal, frame=frame, changes=True, lead=self._lead)

    def gone_on(self, reply: Opened) -> None:
        """An engine goes on with it: what it sends again is left out, the rest follows without a gap."""
        if self._from_frame is None:
            self._from_frame = self.began_at // self._welcome.frame_samples
        self.engine_number, self.journal = reply.stream, reply.journal
        self._base = reply.frame * self._welcome.frame_samples - self.began_at
        self._acknowledged = 0

    @property
    def voice(self) -> Feeder | None:
        """Its way to the sound card."""
        return self._feeder

    def scheduled(self, start: Start) -> None:
        """It will sound there."""
        self._start = self.steered.start = start
        bar, beat = start.position.bar, start.position.beat
        self._host.publish(
            Scheduled(stream=self.number, bar=bar, beat=beat, sample=start.frame, seconds=start.seconds), self.asker
        )

    def begins(self, output: Output, frame: int) -> None:
        """Its voice was told to begin at a frame of the card; 0 for not yet."""
        if self.request.replaces:
            self._host.stop_at(self.request.replaces, output, frame)

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
        block = block[max(0, self._samples - header.position - self._base) :]
        if self._limit is not None and self._samples + len(block) >= self._limit:
            block = block[: self._limit - self._samples]
            self._host.end(self)
        self._samples += len(block)
        block = self.steered.govern(block)
        if self._line is not None and self._feeder is not None and not self.cancelled:
            self._line.write(self.steered.in_time(block), self._feeder.begun)
        if self._take is not None:
            self._take.push(block)
        if self.tap is not None:
            self.tap.audio(block)
        self.pump()

    def event(self, event: Event) -> None:
        """Something happened to the stream in the engine, which calls it by its own number."""
        match event:
            case Recipe():
                self._recipe = event
            case Progress():
                pass  # told by the bridge itself, which knows what was played and goes on when the engine is done
            case Ended():
                self._over(msgspec.structs.replace(event, stream=self.number))
            case Started(seconds=seconds, note=note) if not self._told_started:
                self._told_started = True
                self._total_seconds = seconds
                self._note = "; ".join(filter(None, (self._note, note)))
                self._host.publish(msgspec.structs.replace(event, stream=self.number, note=self._note), self.asker)
            case Started():
                pass
            case _:
                if isinstance(event, Updated):
                    self.words_updated(event)
                self._host.publish(msgspec.structs.replace(event, stream=self.number), self.asker)

    def cancel(self) -> None:
        """Fade out now; the engine is told by whoever calls."""
        self.cancelled = True
        if self._feeder is not None:
            self._feeder.stop()

    def engine_lost(self) -> None:
        """The engine died: what is here is played and kept, and gone on with by the next engine where there is a journal."""
        self.engine_number = 0
        if not self.journal or self.cancelled:
            self.give_up()

    def give_up(self, why: str = "") -> None:
        """No engine goes on with it."""
        number = max(1, self.number)
        ended = Ended(stream=number, reason="engine_lost", samples=self._samples, seconds=self._seconds, text=why)
        self._over(ended)

    def stop_at(self, output: Output, frame: int) -> None:
        """Fade out from a frame of the card on; 0 for not after all."""
        if self._feeder is not None:
            self._feeder.stop_at(output, frame)

    def set_level(self, gain: float) -> None:
        """Glide to a linear gain."""
        if self._feeder is not None:
            self._feeder.gain = gain

    def pump(self) -> None:
        """Move what can be moved, tell what is new, and finish when everything is done."""
        if self._take is not None:
            self._take.pump()
        if self._line is not None and self._feeder is not None and not self.cancelled:
            self._line.pump(self._feeder.status().played, self._feeder.begun)
        self._tell_first_sound()
        self._tell_progress()
        self._acknowledge()
        if self._ended is not None:
            self._close(self._ended)

    @property
    def _seconds(self) -> float:
        return self._samples / self._welcome.sample_rate

    def _tell_held(self, held: bool) -> None:
        log.info("last bars" if held else "goes on", stream=self.number, lost=self.lost)
        state: Literal["holding", "back"] = "holding" if held else "back"
        self._host.publish(
            Held(stream=self.number, state=state, reason="engine_lost" if self.lost else "late"), self.asker
        )

    def _tell_first_sound(self) -> None:
        if self._feeder is None or self._first_sound_ms:
            return
        first = self._feeder.status().first_audible
        if first is not None:
            self._first_sound_ms = round(max(0.001, first - self._received) * 1000, 3)
            self._host.publish(Sounding(stream=self.number, first_sound_ms=self._first_sound_ms), self.asker)
            if self.request.replaces:
                self._host.replaced(self.request.replaces)

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
                played=self.played / self._welcome.sample_rate if self._feeder is not None else 0.0,
            ),
            self.asker,
        )

    def _acknowledge(self) -> None:
        """What was played and is safe on its way to the disk may be followed by more."""
        if self._ended is not None or not self.engine_number:
            return
        position = self._samples
        if self._feeder is not None and not self.cancelled:
            position = min(position, self.played)
        if self._take is not None and (written := self._take.position) is not None:
            position = min(position, written)
        position -= self._base
        if position > self._acknowledged:
            self._acknowledged = position
            self._host.acknowledge(self, position)

    def _over(self, ended: Ended) -> None:
        if self._ended is not None:
            return
        reason = ended.reason
        if self._limit is not None and self._samples >= self._limit:
            reason = "done"
        # What an engine sent that went on with it is a part of it only.
        self._ended = ended = msgspec.structs.replace(
            ended, reason=reason, samples=self._samples, seconds=self._seconds
        )
        if self._feeder is not None and self._line is not None:
            if ended.reason == "cancelled" or self.cancelled:
                self._feeder.stop()
            else:
                self.steered.finish(self._line)
        self._host.publish(ended, self.asker)
        self.pump()

    def _close(self, ended: Ended) -> None:
        """Take the last steps, each once: close the file, wait for the sound, answer."""
        if self._take is not None:
            self._take.close(lambda: self._sidecar(ended), empty=not self._samples)
        file_done = self._take is None or self._take.done
        sound_done = self._feeder is None or self._feeder.finished
        if file_done and sound_done and not self._answered:
            self._answer(self._outcome(ended))

    def _saved(self, take: Take) -> None:
        saved = Saved(stream=max(1, self.number), path=str(take.path), seconds=float(take.seconds))
        self._host.publish(saved, self.asker)
        self.pump()

    def _sidecar(self, ended: Ended) -> dict[str, object]:
        """Everything needed to make it again; without the recipe (the engine died), what is known here."""
        made: dict[str, object] = {"seed": self._seed, "model": self._welcome.model, "reason": ended.reason}
        if self._recipe is not None:
            made = sidecar_of(recipe_from(self._recipe, self._from_frame), ended)
        if self._start is not None:
            position = self._start.position
            made["began"] = {"bar": position.bar, "beat": position.beat, "sample": self._start.frame}
        if skipped := self.began_at % self._welcome.frame_samples:
            made["skipped"] = skipped
        return {**made, **self.steered.sidecar, "host_request": asked_of(self.request), "words": self.words}

    def _outcome(self, ended: Ended) -> Finished | RequestError:
        if self._take is not None and self._take.fault is not None:
            return self._take.fault
        if ended.reason == "failed":
            return RequestError(ErrorCode.INTERNAL, "stream", ended.text)
        return Finished(
            stream=max(1, self.number),
            reason=ended.reason,
            seconds=ended.seconds,
            seed=self._seed,
            path=self.path,
            underruns=self.underruns,
            first_sound_ms=self._first_sound_ms,
            note=self._note,
        )

    def _drop(self) -> None:
        if self._feeder is not None:
            self._feeder.stop()
        if self._take is not None:
            self._take.abandon()

    def _answer(self, answer: Finished | RequestError) -> None:
        self._answered = True
        self._host.finished(self, answer)


def linear_gain(level_db: float) -> float:
    """A level in dB as a factor; -120 dB and less are silence."""
    return 0.0 if level_db <= -120 else float(10 ** (level_db / 20))
