"""``python -m benchmarks.first_sound``: how long from a host's request to the first sample in the audio callback.

A real engine and a real bridge run as processes. A client sends ``/bridge/play`` over OSC, each time with other words and another
seed, so that nothing can be remembered from the request before. The clock starts before the client writes its packet and stops
when the audio callback renders the first sample; both readings are of the system's monotonic clock, which all processes share.
What the sound card adds after the callback is not in the figure; it is reported beside it. With ``--cores`` everything, the client
and the sound server included, shares so many processors.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

from benchmarks._engine import confined
from benchmarks._engine_line import EngineLine
from benchmarks._figures import Summary, show, summarise, table
from benchmarks._limits import at_most, lines
from benchmarks._machine import describe_machine, load
from benchmarks._rig import OUTPUTS, Rig, rig
from benchmarks._shapes import SHAPES, checkpoint
from protocols.bridge_messages import BridgeCancel, Play, Queued, Sounding
from protocols.errors import RequestError
from protocols.messages import (
    AudioHeader,
    Cancel,
    Ended,
    Event,
    Finished,
    Generate,
    Opened,
)

DURATION_S = 2.0
HEARD_S = 0.25
"""How long a stream may sound before it is cancelled: long enough to show whether it runs dry."""
_WAIT_S = 60.0
_PAUSE_S = (0.05, 0.15)  # between two requests, at random, so that they do not fall into step with the callback
_POLL_S = 0.005

STAGES = {
    "delivery": "client sends → bridge has read the request",
    "opened": "→ engine has taken it",
    "first_block": "→ first audio at the bridge",
    "enough": "→ the prebuffer is full",
    "callback": "→ first sample in the callback",
}


@dataclass
class _Heard:
    """One request, followed to its end."""

    sent: float
    stream: int = 0
    finished: Finished | None = None


@dataclass
class EngineTimes:
    """Per request in milliseconds after it was sent: what a ZeroMQ client sees."""

    opened: list[float] = field(default_factory=list)
    first_block: list[float] = field(default_factory=list)
    prebuffer: list[float] = field(default_factory=list)


def words(number: int, chance: random.Random) -> str:
    """A prompt that has not been asked for before."""
    mood = chance.choice(("warm", "dark", "bright", "calm", "tense", "dreamy"))
    style = chance.choice(("techno", "ambient", "jazz", "funk", "house", "folk"))
    return f"{mood} {style} with piano and drums, take {number}"


def measure(
    model: str = "pocket",
    *,
    by_shape: bool = False,
    requests: int = 50,
    warm_up: int = 5,
    threads: int = 0,
    cores: int = 0,
    device: str = "auto",
    output: Any = "auto",
    period: int = 256,
    flags: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Run the benchmark; every time in the result is in milliseconds.

    Args:
        model: as the engine's setting; or one of `SHAPES`.
        by_shape: which of both it is.
        requests: how many are counted.
        warm_up: how many come first and are not.
        threads: CPU threads of the model; 0 for the engine's own choice.
        cores: keep everything to so many cores; 0 for all.
        device: as the engine's setting.
        output: see `benchmarks._rig.rig`.
        period: frames in one callback of JACK.
        flags: more settings, as ``section.name=value``.
    """
    chance = random.Random(1)
    machine = describe_machine()
    with ExitStack() as stack:
        chosen = stack.enter_context(confined(cores))
        loaded = stack.enter_context(checkpoint(model)) if by_shape else model
        wanted = (f"engine.device={device}", *flags)
        running = stack.enter_context(rig(loaded, threads=threads, output=output, period=period, flags=wanted))
        heard = [_play(running, number, chance) for number in range(warm_up + requests)][warm_up:]
        marks = running.marks()
        with closing(EngineLine(running.engine_port)) as line:
            engine = EngineClient(line)
            needed = running.prebuffer_ms / 1000
            state = line.status()
            for number in range(warm_up + requests):
                engine.measure(number, chance, needed)
                if number + 1 == warm_up:
                    engine.times = EngineTimes()
            times = engine.times
        report = running.report
    whole, split = [], {name: [] for name in STAGES}  # type: tuple[list[float], dict[str, list[float]]]
    for one in heard:
        mark = marks[one.stream]
        moments = (one.sent, mark.received, mark.opened, mark.first_block, mark.last_block, mark.audible)
        whole.append(1000 * (mark.audible - one.sent))
        for name, before, after in zip(STAGES, moments, moments[1:], strict=False):
            split[name].append(1000 * (after - before))
    answers = [one.finished for one in heard if one.finished is not None]
    return {
        "benchmark": "first_sound",
        "model": model,
        "status": report.status,
        **summarise(whole),
        "requests": requests,
        "warm_up": warm_up,
        "split": {name: summarise(values) for name, values in split.items()},
        "bridge_first_sound": summarise([answer.first_sound_ms for answer in answers]),
        "engine_only": {
            "opened": summarise(times.opened),
            "first_block": summarise(times.first_block),
            "prebuffer_full": summarise(times.prebuffer),
        },
        "underruns": sum(answer.underruns for answer in answers),
        "duration_s": DURATION_S,
        "output": running.output,
        "block": report.block,
        "output_latency_ms": report.latency_ms,
        "prebuffer_ms": round(running.prebuffer_ms, 2),
        "limits": _limits(model, state.device, len(chosen) or machine["cores"], summarise(whole)),
        "dtype": state.dtype,
        "runner": getattr(state, "runner", "plain"),
        "device": state.device,
        "threads": state.threads,
        "cores": len(chosen) or machine["cores"],
        "settings": list(flags),
        "load_after": load(),
        "machine": machine,
    }


def _limits(model: str, device: str, cores: int, whole: Summary) -> list[dict[str, Any]]:
    """What has been set for this model on such a machine."""
    if device == "cpu" and model == "pocket" and cores == 2:
        return [at_most("p95, ms, on 2 cores", 100, whole["p95_ms"])]
    if device.startswith("cuda") and model == "musicgen-medium":
        return [at_most("p99, ms", 25, whole["p99_ms"])]
    return []


def _play(running: Rig, number: int, chance: random.Random) -> _Heard:
    """Ask for a stream, let it sound for a moment, cancel it and wait for the answer."""
    time.sleep(chance.uniform(*_PAUSE_S))
    client = running.client
    sounding: list[float] = []
    request = Play(prompt=words(number, chance), duration=DURATION_S, seed=chance.randrange(2**31 - 1))
    one = _Heard(time.monotonic())
    pending = client.send(request, given=("prompt", "duration", "seed"))

    def hear(event: Event) -> None:
        if isinstance(event, Queued) and event.request == pending.id:
            one.stream = event.stream
        elif isinstance(event, Sounding):
            sounding.append(time.monotonic())

    deadline = one.sent + _WAIT_S
    cancelled = False
    while one.finished is None:
        reply = client.poll(pending, _POLL_S, on_event=hear)
        if isinstance(reply, Finished):
            one.finished = reply
        now = time.monotonic()
        if sounding and not cancelled and now > sounding[0] + HEARD_S:
            cancelled = True
            client.forget(client.send(BridgeCancel(stream=one.stream)))
        if now > deadline:
            raise RuntimeError(f"request {number} is not over after {_WAIT_S:g} s")
    return one


class EngineClient:
    """Asks the engine for streams and looks at nothing but the clock."""

    def __init__(self, line: EngineLine) -> None:
        self.times = EngineTimes()
        self._line = line

    def measure(self, number: int, chance: random.Random, prebuffer_seconds: float) -> None:
        """Ask for one stream, note when it was taken, when its first audio came and when enough of it had; then cancel it."""
        time.sleep(chance.uniform(*_PAUSE_S))
        request = Generate(prompt=words(number, chance), duration=DURATION_S, seed=chance.randrange(2**31 - 1))
        sent = time.monotonic()
        self._line.send(request)
        while not isinstance(opened := self._line.receive(), Opened):
            pass
        self.times.opened.append(1000 * (time.monotonic() - sent))
        first = enough = 0.0
        while not enough:
            content = self._line.receive()
            if not isinstance(content, AudioHeader):
                continue
            now = 1000 * (time.monotonic() - sent)
            first = first or now
            if content.last or content.position + content.frames >= prebuffer_seconds * content.sample_rate:
                enough = now
        self.times.first_block.append(first)
        self.times.prebuffer.append(enough)
        self._line.send(Cancel(stream=opened.stream))
        while not isinstance(self._line.receive(), Ended):
            pass


def describe(result: dict[str, Any]) -> str:
    """A result in words."""

    def row(name: str, summary: Summary) -> list[object]:
        return [name, *(summary[key] for key in ("p50_ms", "p95_ms", "p99_ms", "min_ms", "max_ms"))]

    rows = [row("request → first sample", result)]
    rows += [row(f"  {text}", result["split"][name]) for name, text in STAGES.items()]
    rows += [
        row("engine alone: request → first audio", result["engine_only"]["first_block"]),
        row("engine alone: request → prebuffer full", result["engine_only"]["prebuffer_full"]),
    ]
    facts = (
        f"\n{result['model']}, {result['requests']} requests after {result['warm_up']} to warm up; {result['output']}, "
        f"which adds {result['output_latency_ms']:g} ms after the callback; prebuffer {result['prebuffer_ms']:g} ms at most; "
        f"{result['underruns']} underruns; {result['dtype']} by {result['runner']}, {result['device']}, {result['threads']} "
        f"threads of {result['cores']} cores; load {result['machine']['load']} before, {result['load_after']} after\n"
    )
    return table(["ms", "p50", "p95", "p99", "min", "max"], rows) + facts + lines(result["limits"])


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.first_sound", description=(__doc__ or "").split("\n")[0]
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model-shape", choices=list(SHAPES), help="random weights of this shape")
    which.add_argument("--model", default="pocket", help="what the engine loads: a name, a folder, a hub id")
    parser.add_argument("--requests", type=int, default=50, help="how many are counted")
    parser.add_argument("--warm-up", type=int, default=5, help="how many come before and are not")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the model; 0 for the engine's choice")
    parser.add_argument("--cores", type=int, default=0, help="keep all processes to so many cores; 0 for all there are")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--output", choices=OUTPUTS, default="auto", help="what calls back")
    parser.add_argument("--period", type=int, default=256, help="frames in one callback of JACK")
    parser.add_argument("--set", action="append", default=[], metavar="section.name=value", help="override a setting")
    parser.add_argument("--json", action="store_true", help="write the result as JSON")
    options = parser.parse_args(arguments)
    if options.requests < 1 or options.warm_up < 0:
        parser.error("there must be at least one request")
    try:
        result = measure(
            options.model_shape or options.model,
            by_shape=options.model_shape is not None,
            requests=options.requests,
            warm_up=options.warm_up,
            threads=options.threads,
            cores=options.cores,
            device=options.device,
            output=options.output,
            period=options.period,
            flags=tuple(options.set),
        )
    except RequestError as error:
        sys.stderr.write(f"first_sound: {error.text}\n")
        return 2
    except RuntimeError as error:
        sys.stderr.write(f"first_sound: {error}\n")
        return 1
    show(result, describe(result), as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
