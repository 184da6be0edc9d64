"""From a note to its sound: pads that are kept ready, and pads that are not, played over MIDI through the real processes.

A MIDI output on a JACK server without a sound card plays the bridge's input; a real engine makes the streams. The clock starts
before the note is given to the MIDI system and stops when the audio callback renders the first sample of the pad's stream. What
the sound card adds after the callback is not in the figure.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks._figures import summarise, table
from benchmarks._rig import Rig, rig
from protocols.bridge_messages import ClearTriggers, MapPad, OpenTriggerInput, PadState, Triggered, TriggerFailed
from protocols.messages import Event

PORT = "benchmark keys"
_NOTE, _VELOCITY = 60, 100
_PAD = "pad"
_HELD_S = 0.15
_PAUSE_S = (0.05, 0.15)  # at random, so that notes do not fall into step with the callback
_PATIENCE_S = 30.0

SendNote = Callable[[int, int], None]


def measure_notes(
    model: str, notes: int = 100, *, threads: int = 0, period: int = 256, flags: Sequence[str] = ()
) -> dict[str, Any]:
    """Strike a pad so many times, while a stream is kept ready for it and while none is; an engine and a bridge of its own.

    The figures of ``ready`` and ``not_ready`` count from the moment at which the note is given to the MIDI system, those of
    ``stamped`` in them from the bridge's own stamp; the clock of both is the system's monotonic one, which all processes share. In
    milliseconds.

    Args:
        model: what the engine loads.
        notes: how many of each kind.
        threads: CPU threads of the model; 0 for the engine's own choice.
        period: frames in one callback of JACK.
        flags: more settings, as ``section.name=value``.

    Raises:
        RequestError, RuntimeError: as `rig`; a pad was not heard.
    """
    chance = random.Random(1)
    wanted = ("files.state=none", *flags)
    with rig(model, threads=threads, output="jack", period=period, flags=wanted) as running, midi_keys() as send:
        running.client.call(OpenTriggerInput(name=PORT))
        figures = {
            name: _strike(running, send, notes, prime, chance) for name, prime in (("ready", 1), ("not_ready", 0))
        }
        running.client.call(ClearTriggers())
        report = running.report
    return {
        "model": model,
        "status": report.status,
        "notes": notes,
        **figures,
        "output": running.output,
        "prebuffer_ms": round(running.prebuffer_ms, 2),
    }


def describe_notes(found: dict[str, Any]) -> str:
    """The figures in words."""
    header = ["note → first sample in the callback, ms", "p50", "p95", "p99", "max"]
    keys = ("p50_ms", "p95_ms", "p99_ms", "max_ms")
    rows = [
        ["pad with a stream kept ready", *(found["ready"][key] for key in keys)],
        ["pad without", *(found["not_ready"][key] for key in keys)],
    ]
    return table(header, rows) + f"\n{found['model']}: {found['notes']} notes each; {found['output']}\n"


def _strike(running: Rig, send: SendNote, notes: int, prime: int, chance: random.Random) -> dict[str, Any]:
    """Hold a pad for a moment, so many times, each time once it is as it shall be."""
    heard: list[Event] = []
    states: deque[str] = deque(["none"], maxlen=8)
    client = running.client
    request = MapPad(name=_PAD, note=str(_NOTE), action="warm strings", mode="hold", prime=prime)
    client.call(request, on_event=heard.append)

    def wait(what: str, arrived: Callable[[Event], bool]) -> Event:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            while heard:
                event = heard.pop(0)
                if arrived(event):
                    return event
                if isinstance(event, TriggerFailed):
                    raise RuntimeError(f"{event.code}: {event.text}")
                if isinstance(event, PadState):
                    states.append(event.state)
            client.hear(0.002, heard.append)
        raise RuntimeError(f"not within {_PATIENCE_S:g} s: {what}; it was {', '.join(states)}")

    sent, stamped, streams = [], [], []
    for number in range(notes):
        if prime:
            wait("a pad that is ready", lambda event: isinstance(event, PadState) and event.state == "ready")
        elif number:
            wait("a pad that is off", lambda event: isinstance(event, PadState) and event.state == "off")
        client.hear(chance.uniform(*_PAUSE_S), heard.append)
        moment = time.monotonic()
        send(_NOTE, _VELOCITY)
        event = wait("a pad that sounds", lambda event: isinstance(event, Triggered))
        assert isinstance(event, Triggered)
        sent.append(moment)
        stamped.append(event.latency_ms)
        streams.append(event.stream)
        client.hear(_HELD_S, heard.append)
        send(_NOTE, 0)
    marks = running.marks()
    whole = [1000 * (marks[stream].audible - moment) for stream, moment in zip(streams, sent, strict=True)]
    return {**summarise(whole), "stamped": summarise(stamped)}


@contextmanager
def midi_keys() -> Iterator[SendNote]:
    """A MIDI output on the server that the environment names."""
    import rtmidi

    output = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, PORT)
    output.open_virtual_port("out")
    try:
        yield lambda note, velocity: output.send_message([0x90, note, velocity])
    finally:
        output.close_port()
        output.delete()
