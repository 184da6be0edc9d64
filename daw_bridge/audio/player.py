"""The player: opens an output, plays voices on it, and finds another output when that one dies."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daw_bridge.audio.capture import Bus, Capture
from daw_bridge.audio.card import CardOutput
from daw_bridge.audio.devices import DeviceChoice, InputChoice
from daw_bridge.audio.feeder import FADE_SECONDS, MAX_GAIN, Feeder, VoiceStatus
from daw_bridge.audio.jack_names import JackChoice
from daw_bridge.audio.output import DEFAULT_SAMPLE_RATE, CardReading, Output, PacedOutput, read_card
from daw_bridge.audio.player_status import PlayerStatus, status_of
from daw_bridge.audio.recovery import NO_CARD, Liveness, RecoveryPolicy, Search
from protocols.errors import ErrorCode, RequestError

MAX_VOICES = 64
"""Voices that may be open at once."""

_LOG = logging.getLogger(__name__)
_FEED_SECONDS = 0.01  # how often voices are supplied
_WATCH_SECONDS = 0.05  # how often the output is looked at
_HANDOVER_SECONDS = 0.3


class PlayerEvent(StrEnum):
    """What `Player` reports through its callback, each with a dictionary of details.

    ``device_opened``: name, host_api, sample_rate, channels, blocksize, latency, fallback (bool), reason, input, inputs,
    input_reason.
    ``device_lost``: name, host_api, reason.
    """

    DEVICE_OPENED = "device_opened"
    DEVICE_LOST = "device_lost"


EventListener = Callable[[PlayerEvent, dict[str, Any]], None]
OutputOpener = Callable[[DeviceChoice, InputChoice], Output]


@dataclass(frozen=True)
class PlayerSettings:
    """How a `Player` treats its output.

    Args:
        channels: wanted of the card; fewer if it has fewer.
        sample_rate: wanted of the card, Hz; None for its own.
        latency: "low", "high" or seconds.
        blocksize: frames in one callback; 0 lets the card choose.
        recovery: what to do when a card dies.
        source: what to record from.
        input_offset: seconds that the input lags behind what the sound system says of its latency.
        jack: how a card is seen on a JACK server.
    """

    channels: int = 2
    sample_rate: int | None = None
    latency: str | float = "low"
    blocksize: int = 0
    recovery: RecoveryPolicy = field(default_factory=RecoveryPolicy)
    source: InputChoice = field(default_factory=InputChoice)
    input_offset: float = 0.0
    jack: JackChoice = field(default_factory=JackChoice)


class Player:
    """Plays any number of streams on one output, for as long as the bridge lives.

    One thread keeps the voices supplied, another keeps the output alive. When the output dies, the voices stand
    still; the same device is tried again at once and then at growing intervals. After `RecoveryPolicy.patience` the
    system's default device is taken, and failing that no card at all, so that streams go on; from there the player
    keeps looking for the device that was asked for and returns to it. A new output may run at another rate. Every
    voice goes on from the frame after the last one that the old output took. What is played, and what an input hears, can be
    read back by the frames of the output.

    Threads: any thread may call any method. ``on_event`` is called on the watchdog's thread, or on the caller's in
    `start` and `set_device`, with no lock held.

    Args:
        settings: see `PlayerSettings`.
        on_event: told about devices; must not block.
        open_output: makes and opens the output for a choice of device, with the input that is chosen where it opens; raises
            RequestError.
    """

    def __init__(
        self,
        settings: PlayerSettings | None = None,
        on_event: EventListener | None = None,
        open_output: OutputOpener | None = None,
    ) -> None:
        self._settings = settings or PlayerSettings()
        self._on_event = on_event
        self._open_output = open_output or self._open_card
        self._lock = threading.Lock()
        self._changing = threading.Lock()  # held while one output takes over from another; never by voices
        self._run: _Run | None = None
        self._feeders: list[Feeder] = []
        self._output: Output | None = None
        self._wanted: DeviceChoice = None
        self._taken: DeviceChoice = None  # what the present output was opened as
        self._source = self._settings.source
        self._fallback = False
        self._gain = 1.0
        self._lost = 0

    def start(self, device: DeviceChoice = None) -> None:
        """Open an output and begin to watch it.

        Args:
            device: see `choose_device`, or `NO_CARD`. None takes the system's default device, or no card when there is
                none: `PlayerEvent.DEVICE_OPENED` then says ``fallback`` and why.

        Raises:
            RequestError: a device that was named is unknown or does not open; NOT_ALLOWED when already started.
        """
        with self._changing:
            if self._run is not None:
                raise RequestError(ErrorCode.NOT_ALLOWED, "device", device, "a player that is not running")
            output, reason = self._first_output(device)
            wanted = _lasting_choice(device, output)
            self._take_over(output, wanted, NO_CARD if reason else wanted, bool(reason))
            self._run = _Run(self._feed, self._watch)
        self._announce(output, reason)

    def set_device(self, device: DeviceChoice) -> None:
        """Move to another output without losing a frame; the old one plays on until the new one is open.

        Raises:
            RequestError: as `start`, and the old output is kept; NOT_ALLOWED when not started.
        """
        with self._changing:
            if self._run is None:
                raise RequestError(ErrorCode.NOT_ALLOWED, "device", device, "a player that is running")
            output, reason = self._first_output(device)
            wanted = _lasting_choice(device, output)
            self._take_over(output, wanted, NO_CARD if reason else wanted, bool(reason))
        self._announce(output, reason)

    def set_input(self, source: InputChoice) -> None:
        """Record from another input from now on, or from none; what plays goes on without losing a frame.

        The card is opened anew, beside the old one where the sound system lets it. Where a card can be opened but once, voices
        fade out, stand still until it is open again, and go on.

        Raises:
            RequestError: the input is unknown or does not open, and what was there before is kept; NOT_ALLOWED when not started.
        """
        with self._changing:
            if self._run is None:
                raise RequestError(ErrorCode.NOT_ALLOWED, "input", source.name, "a player that is running")
            old = self._output
            # The search for a card will take it along; and no input for no input is no change.
            if old is None or not (source.wanted or self._source.wanted):
                self._source = source
                return
            refusal: RequestError | None = None
            try:
                output = self._open_with(source)
            except RequestError as error:
                if error.code is ErrorCode.UNKNOWN_DEVICE or self._taken == NO_CARD:
                    raise
                output, refusal = self._open_in_turn(old, source)
            self._take_over(output, self._wanted, self._taken, self._fallback)
            if refusal is None:
                self._source = source
        self._announce(output, "")
        if refusal is not None:
            raise refusal

    @property
    def source(self) -> InputChoice:
        """The input that is chosen; whether it is there, `status` tells."""
        return self._source

    def listen(self, bus: Bus) -> Capture:
        """What the present output plays or hears, by its frames as they are heard; it does not pass on to the next output.

        Raises:
            RequestError: UNSUPPORTED where there is no input; NOT_ALLOWED while there is no output.
        """
        output = self._output
        if output is None:
            raise RequestError(ErrorCode.NOT_ALLOWED, "bus", str(bus), "a sound card; it is being looked for")
        return output.capture(bus, self._settings.input_offset)

    def capture(self, bus: Bus, first: int, frames: int) -> NDArray[np.float32]:
        """What was played, or came in in time with it, from a frame of the present output on: a copy [frames, channels].

        Frames are those of the output as they are heard: what comes in is moved back by the latency of output and input, so that a
        note that is struck with output frame f begins at f on both buses.

        Raises:
            RequestError: as `listen`; OUT_OF_RANGE where some of it is not there yet, was never captured or is overwritten.
        """
        return self.listen(bus).read(first, frames)

    def captured_until(self, bus: Bus) -> int:
        """The frame behind the last one that `capture` gives; raises as `listen`."""
        return self.listen(bus).latest

    def close(self) -> None:
        """Fade out, close the output and end the threads, within a few seconds. Safe to call twice."""
        self.stop_all()
        self._wait_for_silence()
        with self._changing:
            run, self._run = self._run, None
            with self._lock:
                output, self._output = self._output, None
                feeders, self._feeders = self._feeders, []
            for feeder in feeders:
                feeder.detach()
            if output is not None:
                output.close()
        if run is not None:
            run.end()

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def open_voice(
        self,
        sample_rate: int,
        channels: int = 1,
        lead_seconds: float = 2.0,
        prebuffer_seconds: float = 0.05,
        gain: float = 1.0,
        fade_seconds: float = FADE_SECONDS,
        scheduled: bool = False,
    ) -> Feeder:
        """Open a voice; it sounds once `Feeder.write` has brought ``prebuffer_seconds`` of sound, or when `Feeder.schedule` says.

        It may be opened while there is no output: it then waits for one. Arguments and errors as `Feeder`, and
        RequestError BUSY when `MAX_VOICES` are open.
        """
        feeder = Feeder(sample_rate, channels, lead_seconds, prebuffer_seconds, gain, fade_seconds, scheduled)
        with self._lock:
            if len(self._feeders) >= MAX_VOICES:
                raise RequestError(ErrorCode.BUSY, "voice", None, f"at most {MAX_VOICES} voices at once")
            if self._output is not None:
                feeder.attach(self._output)
            self._feeders.append(feeder)
        return feeder

    def stop(self, voice: Feeder) -> None:
        """Fade one voice out and drop the rest of it."""
        voice.stop()

    def stop_all(self) -> None:
        """Fade everything out."""
        for feeder in self._live_feeders():
            feeder.stop()

    @property
    def gain(self) -> float:
        """Gain of the sum, linear; a change glides. Setting it raises RequestError OUT_OF_RANGE outside 0 to 16."""
        return self._gain

    @gain.setter
    def gain(self, value: float) -> None:
        if not 0.0 <= value <= MAX_GAIN:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "gain", value, f"0 to {MAX_GAIN:g}")
        with self._lock:
            self._gain = value
            if self._output is not None:
                self._output.set_gain(value)

    def status(self) -> PlayerStatus:
        """What the player is doing now."""
        with self._lock:
            output, voices = self._output, len(self._feeders)
            state = "stopped" if self._run is None else "searching"
            if output is not None:
                state = "fallback" if self._fallback else "playing"
        return status_of(output, state, lost=self._lost, voices=voices)

    def reading(self) -> CardReading | None:
        """What the output says of its time; None while there is none."""
        return read_card(self._output)

    def voices(self) -> list[VoiceStatus]:
        """Status of each voice that has not finished, oldest first."""
        return [feeder.status() for feeder in self._live_feeders()]

    def _open_card(self, device: DeviceChoice, source: InputChoice) -> Output:
        settings = self._settings
        if device == NO_CARD:
            output: Output = PacedOutput(settings.sample_rate or DEFAULT_SAMPLE_RATE, settings.channels)
            if source.wanted:
                output.input_refusal = RequestError(ErrorCode.UNSUPPORTED, "input", source.name, "a sound card")
        else:
            card = (device, settings.channels, settings.sample_rate, settings.latency, settings.blocksize)
            output = CardOutput(*card, source, settings.jack)
        output.open()
        return output

    def _first_output(self, device: DeviceChoice) -> tuple[Output, str]:
        """Open what the user asks for; without a wish, no card will do, and the reason is returned."""
        try:
            return self._open_output(device, self._source), ""
        except RequestError as error:
            if device is not None:
                raise
            return self._open_output(NO_CARD, self._source), error.text

    def _open_with(self, source: InputChoice) -> Output:
        """Open the present device with an input, or raise RequestError."""
        output = self._open_output(self._taken, source)
        if source.wanted and output.input_refusal is not None:
            output.close()
            raise output.input_refusal
        return output

    def _open_in_turn(self, old: Output, source: InputChoice) -> tuple[Output, RequestError | None]:
        """Close the output, then open it with another input, or as it was and say why; if neither opens the watchdog goes on."""
        self._quieten()
        old.close()
        try:
            return self._open_with(source), None
        except RequestError as error:
            return self._open_output(self._taken, self._source), error

    def _take_over(self, output: Output, wanted: DeviceChoice, taken: DeviceChoice, fallback: bool) -> None:
        """Move every voice to ``output``, which is open, and close the old one. Holds ``_changing``."""
        old = self._output
        if old is not None:
            self._quieten()
        with self._lock:
            output.set_gain(self._gain)
            for feeder in self._feeders:
                self._attach(feeder, output)
            self._output, self._wanted, self._taken, self._fallback = output, wanted, taken, fallback
        if old is not None:
            old.close()

    def _quieten(self) -> None:
        """Let every voice fade out and stand where it is."""
        for feeder in self._live_feeders():
            feeder.hold()
        self._wait_for_silence()

    def _attach(self, feeder: Feeder, output: Output) -> None:
        try:
            feeder.attach(output)
        except RequestError:
            _LOG.exception("a voice could not be moved to %s and ends", output.name)
            feeder.stop()

    def _feed(self, ending: threading.Event) -> None:
        while not ending.wait(_FEED_SECONDS):
            for feeder in self._live_feeders():
                feeder.pump()
                if feeder.finished:
                    feeder.detach()
                    with self._lock:
                        self._feeders = [other for other in self._feeders if other is not feeder]

    def _watch(self, ending: threading.Event) -> None:
        watched: Output | None = None
        liveness: Liveness | None = None
        search: Search | None = None
        while not ending.wait(_WATCH_SECONDS):
            now = time.monotonic()
            with self._lock:
                output, wanted, fallback = self._output, self._wanted, self._fallback
            if output is not watched:
                watched = output
                liveness = None if output is None else Liveness(output, self._settings.recovery, now)
                search = Search(wanted, self._settings.recovery, now) if fallback or output is None else None
            if output is not None and liveness is not None and (reason := liveness.verdict(now)):
                self._give_up(output, reason)
            elif search is not None and search.due(now):
                if self._try_to_open(search, wanted, output, ending):
                    continue
                search.missed(time.monotonic(), playing=output is not None)

    def _give_up(self, output: Output, reason: str) -> None:
        """The output is dead: let the voices stand where they are."""
        with self._changing:
            with self._lock:
                if self._output is not output:
                    return
                self._output = None
                self._lost += 1
                for feeder in self._feeders:
                    feeder.detach()
            output.close()
        self._tell(PlayerEvent.DEVICE_LOST, {"name": output.name, "host_api": output.host_api, "reason": reason})

    def _try_to_open(
        self, search: Search, wanted: DeviceChoice, current: Output | None, ending: threading.Event
    ) -> bool:
        """Try the devices that the search names now; True when one of them plays."""
        reason = ""
        source = self._source
        for choice in search.candidates(time.monotonic(), playing=current is not None):
            try:
                output = self._open_output(choice, source)
            except RequestError as error:
                reason = reason or error.text
                continue
            fallback = choice != wanted
            with self._changing:
                # The user may have chosen other devices, or closed the player, while this one was being opened.
                changed = self._output is not current or self._source is not source
                if ending.is_set() or self._run is None or changed:
                    output.close()
                    return False
                self._take_over(output, wanted, choice, fallback)
            self._announce(output, reason if fallback else "")
            return True
        return False

    def _announce(self, output: Output, reason: str) -> None:
        details = {
            "name": output.name,
            "host_api": output.host_api,
            "sample_rate": output.sample_rate,
            "channels": output.channels,
            "blocksize": output.blocksize,
            "latency": output.latency,
            "fallback": self._fallback,
            "reason": reason,
            "input": output.input_name,
            "inputs": output.inputs,
            "input_reason": "" if output.input_refusal is None else output.input_refusal.text,
        }
        self._tell(PlayerEvent.DEVICE_OPENED, details)

    def _tell(self, event: PlayerEvent, details: dict[str, Any]) -> None:
        _LOG.info("%s: %s", event, details)
        if self._on_event is None:
            return
        try:
            self._on_event(event, details)
        except Exception:  # the listener's fault must not end the watchdog
            _LOG.exception("the listener failed on %s", event)

    def _live_feeders(self) -> list[Feeder]:
        with self._lock:
            return list(self._feeders)

    def _wait_for_silence(self) -> None:
        """Wait until no voice sounds and the card has played what it took, each for at most `_HANDOVER_SECONDS`."""
        output = self._output
        if output is None or not output.active:
            return
        deadline = time.monotonic() + _HANDOVER_SECONDS
        while time.monotonic() < deadline and not all(feeder.silent for feeder in self._live_feeders()):
            time.sleep(0.002)
        time.sleep(min(output.latency, _HANDOVER_SECONDS))


class _Run:
    """The player's two threads from start to close.

    Args:
        jobs: run until the event that they are given is set; each must look at it several times a second.
    """

    _END_SECONDS = 2.0

    def __init__(self, *jobs: Callable[[threading.Event], None]) -> None:
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=job, args=(self._ending,), name=f"player{job.__name__}", daemon=True)
            for job in jobs
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """End the threads; one that waits for a sound system to open a device ends when that is done."""
        self._ending.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(self._END_SECONDS)


def _lasting_choice(choice: DeviceChoice, output: Output) -> DeviceChoice:
    """A device's number changes when something is plugged in; its name stays."""
    if isinstance(choice, int) or (isinstance(choice, str) and choice.strip().isdigit()):
        return f"{output.host_api}/{output.name}"
    return choice
