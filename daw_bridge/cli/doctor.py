"""What playing needs, checked piece by piece, each with the one line that mends it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from daw_bridge.cli.failures import CannotStart
from daw_bridge.cli.session import bridge_address, catalogue, engine_address, read_settings
from daw_bridge.cli.system_libraries import portaudio_line
from protocols.errors import ErrorCode, RequestError
from protocols.messages import ModelInfo
from protocols.settings import APP, Settings, settings_path

State = Literal["ok", "warn", "fail"]

_LEAST_PYTHON = (3, 11)
_PROBE_S = 120.0


@dataclass(frozen=True)
class Check:
    """What was looked at, how it is, and what mends it.

    Attributes:
        name: what was looked at.
        state: ok; warn: playing works, but less well; fail: it does not.
        detail: what was found.
        fix: one line to type or to change; empty when all is well.
    """

    name: str
    state: State
    detail: str
    fix: str = ""


def run_checks(flags: Sequence[str]) -> list[Check]:
    """Look at everything; takes some seconds, because torch is loaded and an engine started, in processes of their own."""
    settings = read_settings(flags)
    slow: list[Callable[[], Iterable[Check]]] = [
        check_learning_packages,
        check_sound,
        check_midi,
        lambda: check_model(flags, settings),
    ]
    quick: list[Callable[[], Iterable[Check]]] = [
        check_python,
        check_packages,
        lambda: check_settings_file(settings),
        lambda: check_ports(settings),
        lambda: check_folders(settings),
        lambda: check_templates(settings),
        lambda: check_fluidsynth(settings),
        check_processor,
        lambda: check_replicas(settings),
    ]
    with ThreadPoolExecutor(len(slow)) as pool:
        later = [pool.submit(lambda look=look: list(look())) for look in slow]  # type: ignore[misc]
        checks = [check for look in quick for check in look()]
        return checks + [check for future in later for check in future.result()]


def check_python() -> Iterable[Check]:
    """Its version."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= _LEAST_PYTHON:
        yield Check("Python", "ok", f"{found} at {sys.executable}")
    else:
        yield Check("Python", "fail", found, f"install Python {'.'.join(map(str, _LEAST_PYTHON))} or newer")


def check_packages() -> Iterable[Check]:
    """Whether everything that the release asks for is installed."""
    try:
        needed = requires(APP) or []
    except PackageNotFoundError:
        yield Check("Packages", "warn", "running from a checkout that is not installed", "pip install -e .")
        return
    asked = [Requirement(line) for line in needed]
    names = [each.name for each in asked if each.marker is None or each.marker.evaluate({"extra": ""})]
    missing = [name for name in names if not _is_installed(name)]
    if missing:
        yield Check("Packages", "fail", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    else:
        yield Check("Packages", "ok", f"{APP} {version(APP)} and the {len(names)} packages it needs")


def check_settings_file(settings: Settings) -> Iterable[Check]:
    """Where it is; that it can be read was seen when it was."""
    path = settings_path()
    yield Check("Settings", "ok", str(path) if path.exists() else f"defaults; {path} does not exist")
    if settings.bridge.host not in ("127.0.0.1", "localhost") or settings.engine.host not in ("127.0.0.1", "localhost"):
        hosts = f"bridge {settings.bridge.host}, engine {settings.engine.host}"
        yield Check("Network", "warn", f"open to other machines: {hosts}", "set host = 127.0.0.1 unless that is meant")


def check_ports(settings: Settings) -> Iterable[Check]:
    """Whether ours answer at the ports, or nobody does."""
    from daw_bridge.osc_client import probe

    places = {
        "bridge.osc_port": (*bridge_address(settings), "bridge"),
        "engine.osc_port": (*engine_address(settings), "engine"),
    }
    engine_runs = False
    for name, (port, host, root) in places.items():
        found = probe(port, host, root=root) if port else None
        engine_runs = engine_runs or (found is not None and root == "engine")
        if found is not None:
            yield Check("Ports", "ok", f"{name} {port}: our {root} {found.version} answers")
        else:
            yield _free(name, host, port, (socket.SOCK_DGRAM, socket.SOCK_STREAM))
    if not engine_runs:
        yield _free("engine.port", engine_address(settings)[1], settings.engine.port, (socket.SOCK_STREAM,))


def check_folders(settings: Settings) -> Iterable[Check]:
    """Whether takes and models can be written."""
    import platformdirs

    folders = {
        "Takes folder": settings.files.takes_folder,
        "Cache folder": platformdirs.user_cache_path(APP, appauthor=False),
    }
    for name, folder in folders.items():
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
            made = "" if there == folder else ", made when needed"
            yield Check(name, "ok", f"{folder} can be written{made}")
        except OSError as error:
            fix = (
                "--takes FOLDER, or takes = … under [files] in the settings"
                if name == "Takes folder"
                else f"chmod u+w {there}"
            )
            yield Check(name, "fail", f"{folder}: {error.strerror}", fix)


def check_templates(settings: Settings) -> Iterable[Check]:
    """Whether the user's prompt templates can be read."""
    from daw_bridge.templates import BUILT_IN, TemplateFile

    path = settings.files.templates_file
    try:
        rows = TemplateFile(path).rows()
    except RequestError as error:
        yield Check("Templates", "warn", error.text, f"edit {path}, or move it away")
        return
    yours = sum(row.source != BUILT_IN for row in rows)
    yield Check("Templates", "ok", f"{yours} of yours in {path}" if yours else f"none of yours; they go into {path}")


def check_fluidsynth(settings: Settings) -> Iterable[Check]:
    """Whether clips can be played to models that hear no melody."""
    from audio_files.soundfonts import find_soundfont, fluidsynth_line

    program = shutil.which("fluidsynth")
    try:
        font = find_soundfont(settings.files.soundfont_file)
    except RequestError as error:
        fix = "set files.soundfont to an existing file" if settings.files.soundfont else fluidsynth_line()
        yield Check("FluidSynth", "warn", error.text, fix)
        return
    if program is None:
        detail = "not installed: models that hear no melody are told MIDI clips in words only"
        yield Check("FluidSynth", "warn", detail, fluidsynth_line())
    else:
        yield Check("FluidSynth", "ok", f"{program} with {font}")


def check_processor() -> Iterable[Check]:
    """How many cores there are."""
    import psutil

    affinity = getattr(os, "sched_getaffinity", None)
    usable = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    memory = psutil.virtual_memory()
    detail = f"{psutil.cpu_count(logical=False) or '?'} cores, {usable} threads usable, "
    detail += f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    if usable < 3:
        yield Check(
            "Processor", "warn", detail, "the model, the sound and the host share few cores: close other programs"
        )
    else:
        yield Check("Processor", "ok", detail)


def check_replicas(settings: Settings) -> Iterable[Check]:
    """Whether the engine can run as several, where that is asked for."""
    wanted = settings.engine.replicas
    if wanted == 1:
        return
    detail = f"{wanted or 'one for each GPU'}, on " + (settings.engine.ray or "this machine")
    if _is_installed("ray"):
        yield Check("Replicas", "ok", f"{detail}; Ray {version('ray')}")
    else:
        yield Check("Replicas", "fail", f"{detail}; Ray is not installed", "pip install 'daw-bridge[replicas]'")


def check_learning_packages() -> Iterable[Check]:
    """Whether torch, torchaudio and transformers load, in a process of their own, and which GPU they see."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "engine.probe"], capture_output=True, text=True, timeout=_PROBE_S, check=False
        )
    except subprocess.TimeoutExpired:
        yield Check(
            "torch", "fail", f"does not load within {_PROBE_S:g} s", "pip install --force-reinstall torch==2.13.0"
        )
        return
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        package = "transformers" if "transformers" in reason else "torch"
        yield Check("torch, transformers", "fail", reason, f"pip install --force-reinstall {_requirement(package)}")
        return
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    threads = f"{found['threads']} threads"
    yield Check("torch", "ok", f"torch {found['torch']}, {threads}; transformers {found['transformers']}")
    if found.get("torchaudio_missing"):
        yield Check("torchaudio", "warn", "not installed", f"pip install '{_requirement('torchaudio')}'")
    elif "torchaudio_error" in found:
        yield Check(
            "torchaudio", "ok", "its compiled part does not load beside this torch; handled, nothing here needs it"
        )
    else:
        yield Check("torchaudio", "ok", found["torchaudio"])
    gpus = ", ".join(found["gpus"])
    yield Check("GPU", "ok", gpus or "none that torch sees; the CPU makes the music")


def check_sound() -> Iterable[Check]:
    """PortAudio and the sound cards."""
    from daw_bridge.audio.devices import scan_devices

    try:
        devices = [device for device in scan_devices() if device.channels]
    except RequestError as error:
        if error.code is ErrorCode.UNSUPPORTED:
            yield Check("PortAudio", "warn", "missing: takes are written, but nothing sounds", portaudio_line())
        else:
            yield Check("Sound", "warn", error.text, "restart the sound system")
        return
    yield Check("PortAudio", "ok", "loads")
    default = next((device for device in devices if device.default), None)
    if not devices:
        yield Check(
            "Sound", "warn", "no sound card: takes are written, but nothing sounds", "connect or enable a sound card"
        )
    elif default is None:
        yield Check(
            "Sound", "warn", f"{len(devices)} outputs, none is the default", "--output NAME, see: daw-bridge devices"
        )
    else:
        yield Check(
            "Sound", "ok", f"{len(devices)} outputs; {default.full_name} at {default.sample_rate} Hz is the default"
        )


def check_midi() -> Iterable[Check]:
    """The MIDI inputs, for notes that are played live."""
    from daw_bridge.midi_input import scan_inputs

    try:
        inputs = scan_inputs()
    except RequestError as error:
        if error.code is ErrorCode.UNSUPPORTED:
            fix = "apt-get install -y libasound2" if "libasound" in error.value else "pip install 'daw-bridge[midi]'"
            yield Check("MIDI", "warn", f"no notes can be played live: {error.value}", fix)
        else:
            yield Check("MIDI", "warn", error.text, "restart the MIDI system")
        return
    names = ", ".join(port.name for port in inputs)
    yield Check(
        "MIDI", "ok", f"inputs: {names}" if names else "no input is connected; notes can be sent and read from files"
    )


def check_model(flags: Sequence[str], settings: Settings) -> Iterable[Check]:
    """Whether an engine starts, and whether the model of the settings is here and makes music."""
    try:
        models = catalogue(flags, note=lambda line: None)
    except CannotStart as error:
        yield Check("Engine", "fail", str(error), "daw-bridge engine --set log.level=debug tells more")
        return
    except RequestError as error:
        yield Check("Engine", "fail", error.text, "daw-bridge engine --set log.level=debug tells more")
        return
    yield Check("Engine", "ok", "starts and answers")
    yield _model(settings.engine.model, {model.name: model for model in models})


def _model(name: str, known: dict[str, ModelInfo]) -> Check:
    model = known.get(name)
    musical = ", ".join(other.name for other in known.values() if other.status != "untrained")
    advice = f"--model NAME, one that makes music: {musical}"
    if model is not None and model.status == "untrained":
        return Check("Model", "warn", f"{name} is untrained: what it makes is noise", advice)
    if model is not None and model.status == "preview":
        return Check("Model", "ok", f"{name} is a preview: it makes music, but below the marks set for it")
    if Path(name).expanduser().is_dir():
        return Check("Model", "ok", f"the folder {name}")
    hub_id = model.source if model is not None else name
    if "/" not in hub_id:
        if model is not None:
            return Check("Model", "ok", f"{name} {model.source}")
        return Check("Model", "fail", f"{name} is unknown", f"{advice}; or a folder, or owner/name")
    if model is not None and not model.fits:
        detail = f"{name} needs about {model.memory_mb / 1000:.1f} GB of memory, which is more than is free now"
        return Check("Model", "warn", detail, "--model NAME, a smaller one: daw-bridge models")
    if model.downloaded if model is not None else _in_cache(hub_id):
        return Check("Model", "ok", f"{name} is downloaded")
    return Check("Model", "warn", f"{name} is not downloaded yet", f"daw-bridge models download {name}")


def _in_cache(hub_id: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    names = ("config.json", "state_dict.bin")
    return any(isinstance(try_to_load_from_cache(hub_id, name), str) for name in names)


def _free(name: str, host: str, port: int, kinds: Sequence[int]) -> Check:
    if not port:
        return Check("Ports", "ok", f"{name}: chosen by the system")
    for kind in kinds:
        try:
            with socket.socket(socket.AF_INET, kind) as attempt:
                if kind == socket.SOCK_STREAM and os.name == "posix":
                    attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                attempt.bind((host, port))
        except OSError as error:
            reason = f"{name} {port}: {error.strerror or error}"
            return Check("Ports", "fail", reason, f"close what uses it, or --set {name}=ANOTHER")
    return Check("Ports", "ok", f"{name} {port} is free")


def _is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _requirement(package: str) -> str:
    """How the release asks for a package, with its version."""
    try:
        needed = requires(APP) or []
    except PackageNotFoundError:
        needed = []
    return next((line for line in needed if re.match(rf"{package}\b(?![-_])", line)), package)
