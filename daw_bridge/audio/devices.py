"""The sound cards of this machine: what there is, and which one a musician means.

PortAudio reads the list of devices once, when it is initialised. Reading it again means to terminate PortAudio first,
which ends every stream of the process, waits ten minutes on a JACK server that has died, or aborts the process
outright (PortAudio 19.6, Debian's build). So nothing here rescans: each look at the devices is taken by a fresh
process, through `scan_devices`, and each card that is opened is opened by one (`card_process`). Both see what is
plugged in at that moment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from daw_bridge.audio.jack_names import CLIENT_NAME, SCAN_NAME, name_client
from protocols.errors import ErrorCode, RequestError

DeviceChoice = str | int | None
"""A device by index, by name, part of a name, host API ("JACK"), "host API/name", or None for the system's default."""

SAME = "same"
"""The choice of input that means: the device that is played through."""

SCAN_SECONDS = 10.0
"""How long a look at the devices may take."""

GOODBYE_SECONDS = 0.5
"""How long PortAudio may take to close its connections."""

_MISSING = (
    "a sound card needs the PortAudio library: `apt install libportaudio2` on Debian and Ubuntu, "
    "`brew install portaudio` on macOS; the Python package is `sounddevice`"
)


@dataclass(frozen=True)
class Device:
    """One sound card, or one half of it where the sound system knows both apart.

    Args:
        index: PortAudio's number; it changes when something is plugged in.
        name: as the sound system spells it.
        host_api: e.g. "JACK Audio Connection Kit", "ALSA", "Core Audio", "ASIO".
        channels: output channels.
        sample_rate: the rate it runs at by default, Hz.
        default: it is the system's default output.
        host_api_default: it is its host API's default output.
        inputs: input channels.
        host_api_default_input: it is its host API's default input.
    """

    index: int
    name: str
    host_api: str
    channels: int
    sample_rate: int
    default: bool
    host_api_default: bool
    inputs: int = 0
    host_api_default_input: bool = False

    @property
    def full_name(self) -> str:
        """Host API and name, as `choose_device` understands it: ``ALSA/USB Audio``."""
        return f"{self.host_api}/{self.name}"


@dataclass(frozen=True)
class InputChoice:
    """What shall be recorded from.

    Args:
        name: see `choose_input`; empty or "none" for nothing, so that nobody is asked for the right to a microphone.
        channels: wanted; fewer if the device has fewer.
    """

    name: str = ""
    channels: int = 2

    @property
    def wanted(self) -> bool:
        """Whether there shall be an input."""
        return self.name.strip().lower() not in ("", "none")


def load_sounddevice(jack_name: str = CLIENT_NAME) -> ModuleType:
    """Import sounddevice, which initialises PortAudio; only ever called in a process of its own.

    Args:
        jack_name: what a JACK server shall call it.

    Raises:
        RequestError: UNSUPPORTED when the package or the system library is missing; the text says what to install.
    """
    name_client(jack_name)
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise RequestError(ErrorCode.UNSUPPORTED, "device", str(error), _MISSING) from error
    module: ModuleType = sounddevice
    return module


def list_devices(sounddevice: ModuleType) -> list[Device]:
    """The devices that this process's PortAudio knows, in its order; some only play, some only record."""
    apis = sounddevice.query_hostapis()
    default = sounddevice.default.device[1]
    devices = []
    for index, entry in enumerate(sounddevice.query_devices()):
        if entry["max_output_channels"] < 1 and entry["max_input_channels"] < 1:
            continue
        api = apis[entry["hostapi"]]
        devices.append(
            Device(
                index=index,
                name=entry["name"],
                host_api=api["name"],
                channels=entry["max_output_channels"],
                sample_rate=round(entry["default_samplerate"]),
                default=index == default,
                host_api_default=index == api["default_output_device"],
                inputs=entry["max_input_channels"],
                host_api_default_input=index == api["default_input_device"],
            )
        )
    return devices


def scan_devices() -> list[Device]:
    """Look at what is plugged in now, in a fresh process.

    Raises:
        RequestError: UNSUPPORTED without PortAudio, INTERNAL when the sound system crashes or takes over
        `SCAN_SECONDS`.
    """
    command = [sys.executable, "-m", "daw_bridge.audio.devices"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SCAN_SECONDS, env=child_environment())
        answer = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError) as error:
        raise RequestError(ErrorCode.INTERNAL, "device", str(error), "a sound system that answers") from error
    if "error" in answer:
        raise error_from_dict(answer["error"])
    return [Device(**entry) for entry in answer["devices"]]


def choose_device(devices: Sequence[Device], choice: DeviceChoice) -> Device:
    """Find the device to play through that ``choice`` means.

    In this order: the index; "default" or None; the exact name or "host API/name"; the start of a host API's name (its
    default device); a part of exactly one name, capitals aside. Where several devices fit equally well, the one on the
    default device's host API is taken.

    Raises:
        RequestError: UNKNOWN_DEVICE, naming the devices there are.
    """
    devices = [device for device in devices if device.channels]
    if isinstance(choice, str) and choice.strip().lstrip("-").isdigit():
        choice = int(choice)
    if isinstance(choice, int):
        found = [device for device in devices if device.index == choice]
    elif choice is None or choice.strip().lower() in ("", "default"):
        found = [device for device in devices if device.default]
    else:
        usual_of_api = [device for device in devices if device.host_api_default]
        found = _by_name(devices, choice.strip().lower(), usual_of_api)
    if len(found) > 1:
        usual = {device.host_api for device in devices if device.default}
        found = [device for device in found if device.host_api in usual] or found
    if len(found) != 1:
        names = ", ".join(f"{device.index}: {device.full_name}" for device in found or devices) or "there is no device"
        raise RequestError(ErrorCode.UNKNOWN_DEVICE, "device", "default" if choice is None else choice, names)
    return found[0]


def choose_input(devices: Sequence[Device], choice: str, output: Device) -> Device:
    """Find the device to record from beside ``output``: one of the same host API, since both share one callback.

    In this order: `SAME` for the output itself; "default" for the host API's default input; the number; the exact name or "host
    API/name"; a part of exactly one name, capitals aside.

    Raises:
        RequestError: UNKNOWN_DEVICE, naming the inputs there are.
    """
    inputs = [device for device in devices if device.inputs and device.host_api == output.host_api]
    usual = [device for device in inputs if device.host_api_default_input]
    wanted = choice.strip().lower()
    if wanted == SAME:
        found = [device for device in inputs if device.index == output.index]
    elif wanted == "default":
        found = usual
    elif wanted.isdigit():
        found = [device for device in inputs if device.index == int(wanted)]
    else:
        found = _by_name(inputs, wanted, usual)
    if len(found) != 1:
        names = ", ".join(f"{device.index}: {device.name}" for device in found or inputs)
        raise RequestError(
            ErrorCode.UNKNOWN_DEVICE, "input", choice, names or f"{output.host_api} has no input; none for no input"
        )
    return found[0]


def _by_name(devices: Sequence[Device], wanted: str, usual: Sequence[Device]) -> list[Device]:
    """The devices that a name means; that of a host API means those of ``usual`` that are its own."""
    exact = [device for device in devices if wanted in (device.name.lower(), device.full_name.lower())]
    if exact:
        return exact
    by_api = [device for device in usual if device.host_api.lower().startswith(wanted)]
    if by_api:
        return by_api
    return [device for device in devices if wanted in device.full_name.lower()]


def child_environment() -> dict[str, str]:
    """This process's environment, so set that a child finds the same packages."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)}


def error_as_dict(error: RequestError) -> dict[str, str]:
    """A `RequestError` as the arguments that make it again, for a pipe."""
    return {"code": error.code, "field": error.field, "value": error.value, "allowed": error.allowed}


def error_from_dict(fields: dict[str, str]) -> RequestError:
    """The way back from `error_as_dict`."""
    return RequestError(ErrorCode(fields["code"]), fields["field"], fields["value"], fields["allowed"])


def leave_portaudio() -> NoReturn:
    """End this process, giving PortAudio a moment to say goodbye to the sound system.

    A JACK server whose clients vanish without that may hang when it is shut down. PortAudio in turn may hang or abort on a
    server that has died, so the goodbye is said aside, and the process ends whatever comes of it.
    """
    sounddevice = sys.modules.get("sounddevice")
    if sounddevice is not None:
        goodbye = threading.Thread(target=sounddevice._terminate, daemon=True)
        goodbye.start()
        goodbye.join(GOODBYE_SECONDS)
    os._exit(0)


def _main() -> None:
    try:
        answer: dict[str, object] = {
            "devices": [asdict(device) for device in list_devices(load_sounddevice(SCAN_NAME))]
        }
    except RequestError as error:
        answer = {"error": error_as_dict(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    os.dup2(2, 1)  # sound libraries print to stdout; it is for the answer alone
    leave_portaudio()


if __name__ == "__main__":
    _main()
