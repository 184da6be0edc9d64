"""A sound card, played by a process of its own."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import subprocess
import sys
import threading
from dataclasses import asdict
from typing import Any

from daw_bridge.audio.capture import Bus, CaptureLayout, CaptureReader
from daw_bridge.audio.devices import DeviceChoice, InputChoice, child_environment, error_from_dict
from daw_bridge.audio.jack_names import JackChoice
from daw_bridge.audio.mixer import Meters
from daw_bridge.audio.output import Output, OutputTap
from daw_bridge.audio.shared import SharedBlock
from daw_bridge.audio.voice import VoiceLayout, VoiceMemory
from daw_bridge.child import Child
from protocols.errors import ErrorCode, RequestError

_LOG = logging.getLogger(__name__)

OPEN_SECONDS = 10.0
"""How long the sound system may take to open a device."""

CLOSE_SECONDS = 1.0
"""How long it may take to close it; then its process is killed."""


class CardOutput(Output):
    """A sound card whose callback runs in a process of its own; voices travel there through shared memory.

    The process keeps three faults in their room. The callback never waits for this process's interpreter lock or
    garbage collector. A driver that hangs is killed. And PortAudio, which cannot be used again in a process whose
    JACK server has died, is loaded fresh for each card that is opened.

    Threads: as `Output`.

    Args:
        device: which one, see `choose_device`.
        channels: wanted; fewer if the device has fewer.
        sample_rate: Hz; None, or a rate that the device refuses, for the device's own.
        latency: "low", "high" or seconds.
        blocksize: frames in one callback; 0 lets the device choose.
        source: what to record from; where it does not open, the card opens without it and ``input_refusal`` says why.
        jack: how it is seen on a JACK server.
    """

    def __init__(
        self,
        device: DeviceChoice = None,
        channels: int = 2,
        sample_rate: int | None = None,
        latency: str | float = "low",
        blocksize: int = 0,
        source: InputChoice | None = None,
        jack: JackChoice | None = None,
    ) -> None:
        self._jack = jack or JackChoice()
        self._patch: Child | None = None
        self._settings: dict[str, Any] = {
            "device": device,
            "channels": channels,
            "sample_rate": sample_rate,
            "latency": latency,
            "blocksize": blocksize,
            "input": asdict(source or InputChoice()),
            "jack_name": self._jack.name,
        }
        self._readers = {}
        self._kept: list[SharedBlock] = []
        self.meters = Meters()
        self._process: subprocess.Popen[bytes] | None = None
        self._voices: dict[int, tuple[VoiceMemory, SharedBlock]] = {}
        self._numbers = itertools.count(1)

    def open(self) -> None:
        wanted = InputChoice(**self._settings["input"])
        try:
            self._open(wanted)
        except RequestError as error:
            if not wanted.wanted or error.code is not ErrorCode.INTERNAL:
                raise
            # The sound system has hung or crashed, which may be the input's doing: the output must not go with it.
            self._open(InputChoice())
            self.input_refusal = RequestError(ErrorCode.INTERNAL, "input", wanted.name, error.allowed)
        self._keep(Bus.OUTPUT, self.channels)
        if self.inputs:
            self._keep(Bus.INPUT, self.inputs)
        if self.jack_client and self._jack.connect.strip():
            outputs = {"client": self.jack_client, "patterns": self._jack.patterns}
            self._patch = Child("daw_bridge.audio.jack_patch", outputs)

    def _open(self, source: InputChoice) -> None:
        block = SharedBlock.create(Meters.BYTES)
        self.meters = Meters(block.memory)
        try:
            # A group of its own, so that an interrupt typed for the bridge does not end the sound before the bridge
            # can.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "daw_bridge.audio.card_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=child_environment(),
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
            self._send({**self._settings, "input": asdict(source), "meters": block.path})
            answer = self._answer()
        except BaseException:
            self.close()
            raise
        finally:
            block.unlink()
        if "error" in answer:
            self.close()
            raise error_from_dict(answer["error"])
        for key, value in answer["opened"].items():
            setattr(self, key, value)
        refusal = answer["input_refusal"]
        self.input_refusal = None if refusal is None else error_from_dict(refusal)

    def _keep(self, bus: Bus, channels: int) -> None:
        """Let the card keep a bus; without memory for it the card plays all the same."""
        layout = CaptureLayout.lasting(self.sample_rate, channels)
        try:
            block = SharedBlock.create(layout.bytes_needed)
        except OSError as error:
            _LOG.warning("no memory to keep the %s: %s", bus, error)
            return
        self._kept.append(block)
        self._readers[bus] = CaptureReader(layout, block.memory)
        self._send({"do": "capture", "bus": bus, "path": block.path, "layout": asdict(layout)})

    def close(self) -> None:
        if self._patch is not None:
            self._patch.close()
            self._patch = None
        process, self._process = self._process, None
        if process is None:
            return
        try:
            if process.stdin is not None:
                with contextlib.suppress(OSError):  # it is gone already
                    process.stdin.write(b'{"do": "close"}\n')
                    process.stdin.close()
            process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        for block in (*self._kept, *(block for _, block in self._voices.values())):
            block.unlink()
        self._kept.clear()
        self._voices.clear()

    @property
    def active(self) -> bool:
        return self._process is not None and self._process.poll() is None and self.meters.active

    def add_voice(self, layout: VoiceLayout) -> VoiceMemory:
        """Begin to play an empty voice.

        Raises:
            RequestError: TOO_LARGE when there is no memory left to share.
        """
        try:
            block = SharedBlock.create(layout.bytes_needed)
        except OSError as error:
            size = f"{layout.bytes_needed} bytes"
            raise RequestError(ErrorCode.TOO_LARGE, "lead_seconds", size, "what fits into memory") from error
        memory = VoiceMemory(layout, block.memory)
        number = next(self._numbers)
        self._voices[number] = (memory, block)
        self._send({"do": "add", "voice": number, "path": block.path, "layout": asdict(layout)})
        return memory

    def remove_voice(self, memory: VoiceMemory) -> None:
        for number, (known, block) in list(self._voices.items()):
            if known is memory:
                del self._voices[number]
                block.unlink()
                self._send({"do": "remove", "voice": number})

    def set_gain(self, gain: float) -> None:
        self._send({"do": "gain", "gain": gain})

    def open_tap(self, seconds: float) -> OutputTap:
        tap = OutputTap.create(self.sample_rate, self.channels, seconds)
        self._send({"do": "tap", "path": tap.block.path, "layout": asdict(tap.layout)})
        return tap

    def close_tap(self) -> None:
        self._send({"do": "untap"})

    def _send(self, message: dict[str, Any]) -> None:
        if self._process is None or self._process.stdin is None:
            return
        # A process that has died is noticed by whoever watches ``active``; there is nobody left to tell here.
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        """Wait for the process's one reply, for at most `OPEN_SECONDS`."""
        process = self._process
        if process is None or process.stdout is None:
            raise RequestError(ErrorCode.INTERNAL, "device", None, "a card process that starts")
        # Killing the process is what ends a read that takes too long, on every system.
        overdue = threading.Timer(OPEN_SECONDS, process.kill)
        overdue.daemon = True
        overdue.start()
        try:
            line = process.stdout.readline()
        finally:
            overdue.cancel()
        if not line:
            reason = f"the sound system crashed or gave no answer in {OPEN_SECONDS:g} s"
            raise RequestError(ErrorCode.INTERNAL, "device", self._settings["device"], reason)
        answer: dict[str, Any] = json.loads(line)
        return answer
