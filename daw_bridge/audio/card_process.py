"""The process that owns the sound card. `CardOutput` starts it and talks to it over two pipes, one JSON object a line.

First line in: ``{"device", "channels", "sample_rate", "latency", "blocksize", "input", "jack_name", "meters"}``; one line out:
``{"opened": …}`` or ``{"error": …}``. Then in: ``{"do": "capture" | "tap" | "untap" | "add" | "remove" | "gain" | "close", …}``,
nothing out: state and sound travel in shared memory. The process ends when its input does, so it never outlives the bridge.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import threading
from types import ModuleType
from typing import Any, BinaryIO, TextIO

import numpy as np
from numpy.typing import NDArray

from daw_bridge.audio.capture import Bus, CaptureLayout, CaptureWriter
from daw_bridge.audio.devices import (
    Device,
    InputChoice,
    choose_device,
    choose_input,
    error_as_dict,
    leave_portaudio,
    list_devices,
    load_sounddevice,
)
from daw_bridge.audio.jack_names import client_name
from daw_bridge.audio.mixer import Meters
from daw_bridge.audio.output import LocalOutput
from daw_bridge.audio.shared import SharedBlock
from daw_bridge.audio.virtual import is_virtual, open_virtual
from daw_bridge.audio.voice import VoiceLayout, VoiceMemory
from protocols.errors import ErrorCode, RequestError

FIRST_CALLBACK_SECONDS = 3.0
"""How long a card may take from start to its first callback; one that never calls back counts as not opened."""

WATCH_SECONDS = 0.05
"""How often the stream is asked whether it still runs."""

_DESCRIPTION = (
    "name",
    "host_api",
    "sample_rate",
    "channels",
    "blocksize",
    "latency",
    "inputs",
    "input_name",
    "round_trip",
    "jack_client",
)
_JACK = "JACK"  # how PortAudio's name of it begins
_LONGEST_LATENCY_S = 2.0  # what is told beyond is no latency
_TIMED_CALLBACKS = 8  # whose times tell the round trip; the first may be out of order
_TIMING_SECONDS = 0.5


class DeviceOutput(LocalOutput):
    """A PortAudio stream (float32) in this process, with an input in the same callback where one is wanted.

    An input that is not there or does not open costs nothing but itself: ``input_refusal`` says why.

    Threads: as `Output`; the callback runs on PortAudio's thread.

    Args:
        sounddevice: the module, see `load_sounddevice`.
        device: where to play.
        channels: wanted; fewer if the device has fewer.
        sample_rate: Hz; None, or a rate that the device refuses, for the device's own.
        latency: "low", "high" or seconds.
        blocksize: frames in one callback; 0 lets the device choose.
        meters: where to report.
        source: device to record from, of the same host API.
        inputs: channels wanted of it; fewer if it has fewer.
    """

    def __init__(
        self,
        sounddevice: ModuleType,
        device: Device,
        channels: int = 2,
        sample_rate: int | None = None,
        latency: str | float = "low",
        blocksize: int = 0,
        meters: Meters | None = None,
        source: Device | None = None,
        inputs: int = 2,
    ) -> None:
        channels = min(channels, device.channels)
        if sample_rate is not None:
            try:
                sounddevice.check_output_settings(device.index, channels, "float32", samplerate=sample_rate)
            except (sounddevice.PortAudioError, ValueError):
                sample_rate = None
        super().__init__(sample_rate or device.sample_rate, channels, blocksize, meters)
        self.name = device.name
        self.host_api = device.host_api
        self._sounddevice = sounddevice
        self._device = device
        self._wanted_latency = latency
        self._source = source
        self._wanted_inputs = 0 if source is None else min(inputs, source.inputs)
        self._called = threading.Event()
        self._round_trips: list[float] = []
        self._timed = threading.Event()
        self._stream: Any = None

    def open(self) -> None:
        if self._source is not None:
            try:
                self._start(self._source)
                return
            except RequestError as error:
                self.input_refusal = error
                self.close()
                self._called.clear()
        self._start(None)

    def _start(self, source: Device | None) -> None:
        """Open and start a stream, with an input or without one."""
        settings = {"samplerate": self.sample_rate, "blocksize": self.blocksize, "dtype": "float32"}
        try:
            if source is None:
                self._stream = self._sounddevice.OutputStream(
                    device=self._device.index,
                    channels=self.channels,
                    latency=self._wanted_latency,
                    callback=self._play,
                    **settings,
                )
            else:
                self._stream = self._sounddevice.Stream(
                    device=(source.index, self._device.index),
                    channels=(self._wanted_inputs, self.channels),
                    latency=(self._wanted_latency, self._wanted_latency),
                    callback=self._play_and_hear,
                    **settings,
                )
            self._stream.start()
        except (self._sounddevice.PortAudioError, ValueError) as error:
            raise self._refusal(str(error), source) from error
        if not self._called.wait(FIRST_CALLBACK_SECONDS):
            raise self._refusal(f"no callback in {FIRST_CALLBACK_SECONDS:g} s", source)
        if source is None:
            self.latency = self._believed(float(self._stream.latency))
            return
        self.inputs, self.input_name = self._wanted_inputs, source.name
        incoming, self.latency = (self._believed(float(told)) for told in self._stream.latency)
        self._timed.wait(_TIMING_SECONDS)
        told = [trip for trip in self._round_trips if 0.0 < trip < 2 * _LONGEST_LATENCY_S]
        self.round_trip = statistics.median(told) if told else incoming + self.latency

    def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(ignore_errors=True)

    @property
    def active(self) -> bool:
        return self._stream is not None and bool(self._stream.active)

    def _believed(self, latency: float) -> float:
        """What the sound system tells, or two blocks where that is no latency: PipeWire's JACK tells a day."""
        return latency if 0.0 <= latency <= _LONGEST_LATENCY_S else 2 * self.blocksize / self.sample_rate

    def _refusal(self, reason: str, source: Device | None) -> RequestError:
        field, device = ("device", self._device) if source is None else ("input", source)
        return RequestError(ErrorCode.UNSUPPORTED, field, device.full_name, f"a device that opens: {reason}")

    def _play(self, out: NDArray[np.float32], frames: int, times: Any, status: Any) -> None:
        self._callback(None, out, times, status)

    def _play_and_hear(
        self, heard: NDArray[np.float32], out: NDArray[np.float32], frames: int, times: Any, status: Any
    ) -> None:
        if status and status.input_overflow:
            self.meters.note_overflow()
        if len(self._round_trips) < _TIMED_CALLBACKS:
            self._round_trips.append(times.outputBufferDacTime - times.inputBufferAdcTime)
            if len(self._round_trips) == _TIMED_CALLBACKS:
                self._timed.set()
        self._callback(heard, out, times, status)

    def _callback(self, heard: NDArray[np.float32] | None, out: NDArray[np.float32], times: Any, status: Any) -> None:
        if not self._called.is_set():
            self.blocksize = len(out)
            self._called.set()
        if status and status.output_underflow:
            self.meters.note_underflow()
        # Against the time of the call, which jitters: the sound system knows when the block is due. Some do not say.
        ahead = times.outputBufferDacTime - times.currentTime
        self.render(out, ahead if 0.0 < ahead < _LONGEST_LATENCY_S else self.latency, heard)


class _Card:
    """Carries out the commands that come through the pipe."""

    def __init__(self, output: LocalOutput) -> None:
        self._output = output
        self._voices: dict[int, VoiceMemory] = {}

    def obey(self, commands: BinaryIO) -> None:
        """Read and carry out commands until told to close or until the other side is gone."""
        for line in commands:
            command = json.loads(line)
            match command["do"]:
                case "capture":
                    self._capture(Bus(command["bus"]), command["path"], CaptureLayout(**command["layout"]))
                case "tap":
                    self._tap(command["path"], CaptureLayout(**command["layout"]))
                case "untap":
                    self._output.write_to_tap(None)
                case "add":
                    self._add(command["voice"], command["path"], VoiceLayout(**command["layout"]))
                case "remove":
                    self._remove(command["voice"])
                case "gain":
                    self._output.set_gain(command["gain"])
                case "close":
                    return

    def _capture(self, bus: Bus, path: str, layout: CaptureLayout) -> None:
        try:
            block = SharedBlock.attach(path, layout.bytes_needed)
        except OSError:  # closed again before it got here
            return
        block.unlink()
        self._output.keep(bus, CaptureWriter(layout, block.memory))

    def _tap(self, path: str, layout: CaptureLayout) -> None:
        try:
            block = SharedBlock.attach(path, layout.bytes_needed)
        except OSError:  # nobody wants it any more
            return
        self._output.write_to_tap(CaptureWriter(layout, block.memory))  # whose name the bridge takes away

    def _add(self, voice: int, path: str, layout: VoiceLayout) -> None:
        try:
            block = SharedBlock.attach(path, layout.bytes_needed)
        except OSError:  # removed again before it got here
            return
        block.unlink()
        memory = VoiceMemory(layout, block.memory, attach=True)
        self._voices[voice] = memory
        self._output.mixer.add(memory)

    def _remove(self, voice: int) -> None:
        memory = self._voices.pop(voice, None)
        if memory is not None:
            self._output.remove_voice(memory)


def open_device(settings: dict[str, Any]) -> LocalOutput:
    """Open the card that ``settings`` (the first line of the pipe) asks for; raises RequestError."""
    if is_virtual(settings["device"]):
        return open_virtual(settings)
    sounddevice = load_sounddevice(settings["jack_name"])
    meters = SharedBlock.attach(settings["meters"], Meters.BYTES)
    devices = list_devices(sounddevice)
    device, wanted = choose_device(devices, settings["device"]), InputChoice(**settings["input"])
    source, refusal = None, None
    if wanted.wanted:
        try:
            source = choose_input(devices, wanted.name, device)
        except RequestError as error:
            refusal = error
    output = DeviceOutput(
        sounddevice,
        device,
        settings["channels"],
        settings["sample_rate"],
        settings["latency"],
        settings["blocksize"],
        Meters(meters.memory),
        source,
        wanted.channels,
    )
    output.input_refusal = refusal
    output.open()
    if output.host_api.startswith(_JACK):
        output.jack_client = client_name()
    return output


def _reply(replies: TextIO, message: dict[str, Any]) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


def _main() -> None:
    commands, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # sound libraries print to stdout; the pipe is for replies alone
    try:
        output = open_device(json.loads(commands.readline()))
    except RequestError as error:
        _reply(replies, {"error": error_as_dict(error)})
        leave_portaudio()
    output.meters.note_active(True)
    described = {key: getattr(output, key) for key in _DESCRIPTION}
    refusal = None if output.input_refusal is None else error_as_dict(output.input_refusal)
    _reply(replies, {"opened": described, "input_refusal": refusal})

    # From here on next to no garbage is made, and a collection would stop the callback.
    gc.collect()
    gc.freeze()
    gc.disable()

    obeying = threading.Thread(target=_Card(output).obey, args=(commands,), name="card-commands", daemon=True)
    obeying.start()
    while obeying.is_alive():
        output.meters.note_active(output.active)
        obeying.join(WATCH_SECONDS)
    if output.active:
        output.close()
        leave_portaudio()
    # The sound system has died under the stream: PortAudio would wait for it for minutes.
    os._exit(1)


if __name__ == "__main__":
    _main()
