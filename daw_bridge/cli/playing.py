"""One request that makes sound, followed on the screen from the first frame to the closed file."""

from __future__ import annotations

import signal
import time
from collections.abc import Collection
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

from daw_bridge.osc_client import OscClient
from protocols.bridge_messages import BridgeCancel, BridgeReport, PlayAgain, Playback, Progressed, Queued, Sounding
from protocols.messages import Ended, Event, Finished, Started

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

NO_CARD = "no sound card"
_POLL_S = 0.1


def follow(
    client: OscClient, request: Playback | PlayAgain, given: Collection[str] | None, console: Console
) -> Finished:
    """Send a request and show how it goes, until its file is closed and its sound is over.

    Ctrl-C ends the stream and keeps what was made; a second one leaves at once.

    Raises:
        RequestError: the bridge refused it, or is gone.
    """
    with Interrupts() as interrupts, _View(request, console) as view:
        pending = client.send(request, given=given)
        cancelled = False
        while True:
            reply = client.poll(pending, _POLL_S, on_event=lambda event: view.hear(event, pending.id))
            if reply is not None:
                assert isinstance(reply, Finished)
                return reply
            view.draw()
            if interrupts.count > 1:
                raise KeyboardInterrupt
            if interrupts.count and view.stream and not cancelled:
                cancelled = True
                console.print("stopping; what was made is kept (Ctrl-C again leaves at once)")
                client.send(BridgeCancel(stream=view.stream))


def warn(report: BridgeReport, request: Playback | PlayAgain, console: Console) -> None:
    """Say before it starts what the musician would otherwise wonder about."""
    if report.model and report.status == "untrained":
        console.print(
            f"[yellow]The model {report.model} is untrained: what it makes is noise.[/] Choose another: --model"
        )
    elif report.model and report.status == "preview":
        console.print(f"The model {report.model} is a preview: it makes music, but below the marks set for it.")
    if request.sound and report.device == NO_CARD:
        into = ": playing into the file only" if request.save else ""
        console.print(f"[yellow]There is no sound card[/]{into}. What is missing: daw-bridge doctor")
    elif request.sound and report.device:
        console.print(f"playing through {report.device} at {report.sample_rate} Hz", highlight=False)


def summarise(finished: Finished, request: Playback | PlayAgain, console: Console) -> None:
    """Say how it went."""
    facts = [f"{finished.seconds:.2f} s", f"seed {finished.seed}"]
    if request.sound:
        facts.append(f"first sound after {finished.first_sound_ms:.0f} ms" if finished.first_sound_ms else "no sound")
        facts.append(f"{finished.underruns} underruns")
    if finished.reason != "done":
        facts.insert(0, finished.reason.replace("_", " "))
    console.print(", ".join(facts), highlight=False)


class Interrupts:
    """Counts Ctrl-C in place of the exception, which could fall between a packet's arrival and its reading."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


class _View:
    """Two bars: how much is made, how much is played."""

    def __init__(self, request: Playback | PlayAgain, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self.stream = 0
        self._sound = request.sound
        self._console = console
        self._played = self._made = 0.0
        self._told_at: float | None = None
        self._progress: Progress = Progress(
            TextColumn("{task.description:>6}"),
            BarColumn(),
            TextColumn("{task.completed:6.1f} s"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        self._bars["made"] = self._progress.add_task("made", total=None)
        if self._sound:
            self._bars["played"] = self._progress.add_task("played", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def hear(self, event: Event, request_id: int) -> None:
        """Take an event of the stream that was asked for; others are not ours."""
        if isinstance(event, Queued) and event.request == request_id:
            self.stream = event.stream
            self._console.print(
                f"stream {event.stream}, seed {event.seed}: {event.words or 'no words'}", highlight=False
            )
        if getattr(event, "stream", 0) != self.stream or not self.stream:
            return
        match event:
            case Started(seconds=seconds, note=note):
                self._expect(seconds)
                if note:
                    self._console.print(note, highlight=False, markup=False)
            case Sounding(first_sound_ms=first):
                self._told_at = time.monotonic()
                self._console.print(f"first sound after {first:.0f} ms", highlight=False)
            case Progressed(seconds=made, total_seconds=total, played=played):
                self._expect(total)
                self._made = made
                if self._told_at is not None:
                    self._played, self._told_at = max(played, self._played), time.monotonic()
            case Ended(seconds=made):
                self._made = made

    def draw(self) -> None:
        """Move the bars; between two events the sound goes on at its own pace."""
        self._progress.update(self._bars["made"], completed=self._made)
        if self._sound and self._told_at is not None:
            now = time.monotonic()
            self._played, self._told_at = min(self._made, self._played + now - self._told_at), now
            self._progress.update(self._bars["played"], completed=self._played)

    def _expect(self, seconds: float) -> None:
        for bar in self._bars.values():
            self._progress.update(bar, total=seconds or None)
