"""The example messages of the reference page; the answers are made by the code that makes the real ones."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.bridge_messages import BRIDGE_REQUESTS, NotesHeld, Queued, Sounding
from protocols.messages import Done, Finished
from protocols.osc import form
from protocols.osc.codec import OscMessage


@dataclass(frozen=True)
class Example:
    """One message a client sends, what it is for, and what comes back."""

    purpose: str
    sent: OscMessage
    received: tuple[OscMessage, ...]


def examples() -> list[Example]:
    """The example messages of the page; the answers are made by the code that makes the real ones."""
    play = "/bridge/play"
    prompt = "slow dub techno, tape hiss"
    refused = OscMessage(play, (4, prompt, "temperature", 9.0))
    return [
        Example(
            "Eight seconds from words. The answer comes when the take is written; what happens on the way is told by events.",
            OscMessage(play, (1, prompt, "duration", 8.0)),
            (
                form.event("bridge", Queued(request=1, stream=6, seed=91283, words=prompt)),
                form.event("bridge", Sounding(stream=6, first_sound_ms=212.5)),
                *form.done(play, 1, _finished(6, 8.0, "/music/daw-bridge/slow-dub-techno.wav")),
            ),
        ),
        Example(
            "Go on from a region of a file: from second 4, eight seconds long; twelve new seconds.",
            OscMessage("/bridge/continue", (2, "/music/loop.wav", "start", 4.0, "length", 8.0, "duration", 12.0)),
            tuple(form.done("/bridge/continue", 2, _finished(7, 12.0, "/music/daw-bridge/continue.wav"))),
        ),
        Example(
            "Change stream 8 while it plays; the beat goes on where it is. There is no id, so the answer carries 0.",
            OscMessage("/bridge/update", (8, "prompt", "a brass band arrives", "bpm", 128.0)),
            tuple(form.done("/bridge/update", 0, Done())),
        ),
        Example(
            "Three notes (pitch, start and length in beats, velocity) under a name of your own; then the same stream follows them.",
            OscMessage("/bridge/notes/begin", ("riff", "bpm", 128.0)),
            tuple(form.done("/bridge/notes/begin", 0, NotesHeld(name="riff", held=0))),
        ),
        Example(
            "",
            OscMessage("/bridge/notes/add", ("riff", 0, 57, 0.0, 1.5, 100, 60, 1.5, 0.5, 80, 64, 2.0, 2.0, 100)),
            tuple(form.done("/bridge/notes/add", 0, NotesHeld(name="riff", held=3))),
        ),
        Example(
            "",
            OscMessage("/bridge/update", (8, "notes", "riff")),
            tuple(form.done("/bridge/update", 0, Done())),
        ),
        Example(
            "Stop everything, and have the answer sent to port 9001.",
            OscMessage("/bridge/stop", (3, form.REPLY_PORT, 9001)),
            tuple(form.done("/bridge/stop", 3, Done())),
        ),
        Example("A request with a mistake in it, and what is said about it.", refused, (_refusal_of(refused),)),
    ]


def _finished(stream: int, seconds: float, path: str) -> Finished:
    return Finished(
        stream=stream, reason="done", seconds=seconds, seed=91283, path=path, underruns=0, first_sound_ms=212.5
    )


def _refusal_of(message: OscMessage) -> OscMessage:
    try:
        form.parse(form.address_space(BRIDGE_REQUESTS)[message.address], message.arguments)
    except form.OscFormError as error:
        return form.fail(message.address, error.request_id, error)
    raise AssertionError(f"{message} is no mistake")
