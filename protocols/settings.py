"""The settings of both processes: one documented TOML file, overridden by the environment and by flags.

Order of precedence, last wins: defaults, ``settings.toml`` in the user's configuration folder, environment variables
``DAW_BRIDGE_<SECTION>_<NAME>``, flags ``--set section.name=value``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import platformdirs

from protocols.errors import ErrorCode, RequestError
from protocols.fields import FieldSpec, about, build, fields_of

APP = "daw-bridge"
ENVIRONMENT = "DAW_BRIDGE_"
FILE_VARIABLE = "DAW_BRIDGE_SETTINGS"

S = TypeVar("S", bound=msgspec.Struct)

Host = Annotated[
    str, about("Address to listen on; anything but 127.0.0.1 opens the process to the network.", max_length=255)
]
OscQuery = Annotated[
    bool,
    about("Serve OSCQuery, by which controllers find all addresses with ranges, descriptions and present values."),
]
_QUERY_PORT = "OSCQuery port, HTTP and WebSocket; 0 lets the system choose, and so does one that is taken."
OscQueryPort = Annotated[int, about(_QUERY_PORT, ge=0, le=65535)]
ZeroConf = Annotated[
    bool,
    about("Announce OSC and OSCQuery by zeroconf (Bonjour): only on this machine while it listens only here."),
]


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The process that holds the model."""

    model: Annotated[str, about("Model to load: a catalogue name, a folder or a hub id.", max_length=4096)] = "pocket"
    device: Annotated[str, about("auto, cpu, cuda, cuda:1, mps …", max_length=20)] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "float16", "bfloat16", "int8", "int4"],
        about(
            "Precision; auto is int8 on a CPU where onnxruntime runs the model, else float32; half precision elsewhere."
        ),
    ] = "auto"
    runner: Annotated[
        Literal["auto", "plain", "onnx", "graphs"],
        about(
            "What runs the model: auto is onnxruntime for int8 and int4 on a CPU and captured graphs on a CUDA device, where they "
            "can run it; plain is the model's own modules, slower. In few bits these make other tokens, of the same quality."
        ),
    ] = "auto"
    kv_cache: Annotated[
        Literal["auto", "float32", "int8"],
        about(
            "How onnxruntime keeps what a stream has heard; int8 takes a quarter of the memory and is faster. auto is int8 for "
            "models that are 256 wide or wider."
        ),
    ] = "auto"
    threads: Annotated[
        int, about("CPU threads of the model; 0 leaves two cores to the host and the sound.", ge=0, le=256)
    ] = 0
    pin: Annotated[
        bool,
        about(
            "Keep the threads of the model that the engine begins with on cores of their own, the last of the machine; Linux only."
        ),
    ] = False
    chord_list: Annotated[
        str,
        about(
            "The numbers of JASCO's chords, where they are not in the model's folder: AudioCraft's chord_to_index_mapping.pkl.",
            max_length=4096,
        ),
    ] = ""
    text_encoder: Annotated[
        str,
        about(
            "The T5 of checkpoints in AudioCraft's layout: a folder or a hub id; empty for the one that the checkpoint names.",
            max_length=4096,
        ),
    ] = ""
    decoder: Annotated[
        str,
        about(
            "What makes sound of the model's codes where a request names none: codec, multiband-diffusion, or another that is "
            "installed, with its options; a model that it does not fit has its codec's.",
            max_length=4096,
        ),
    ] = "codec"
    memory_limit_mb: Annotated[
        int,
        about(
            "Most memory that the engine may come to by loading a model, on a GPU of the GPU's; 0 for all that is free.",
            unit="MB",
            ge=0,
            le=10_000_000,
        ),
    ] = 0
    host: Host = "127.0.0.1"
    port: Annotated[int, about("ZeroMQ port; 0 lets the system choose.", ge=0, le=65535)] = 7770
    osc_port: Annotated[int, about("OSC port, UDP and TCP; 0 lets the system choose.", ge=0, le=65535)] = 7771
    oscquery: OscQuery = True
    oscquery_port: OscQueryPort = 7774
    zeroconf: ZeroConf = True
    max_running: Annotated[int, about("Streams that are made side by side.", ge=1, le=64)] = 4
    max_waiting: Annotated[int, about("Streams that may wait; one more is answered busy.", ge=0, le=1024)] = 16
    replicas: Annotated[
        int,
        about(
            "Engines that share the streams, each with a device or its part of the cores; more than 1 needs Ray. 0 for one on each "
            "GPU. max_running and max_waiting are for each.",
            ge=0,
            le=64,
        ),
    ] = 1
    ray: Annotated[
        str,
        about(
            "Where the replicas' Ray listens, as host:port, or auto; empty for one of our own, on this machine only.",
            max_length=255,
        ),
    ] = ""


class BridgeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The process beside the host: sound card, files, OSC."""

    engine: Annotated[str, about("Where the engine listens (ZeroMQ).", max_length=255)] = "tcp://127.0.0.1:7770"
    host: Host = "127.0.0.1"
    osc_port: Annotated[int, about("OSC port, UDP and TCP; 0 lets the system choose.", ge=0, le=65535)] = 7772
    oscquery: OscQuery = True
    oscquery_port: OscQueryPort = 7773
    zeroconf: ZeroConf = True
    output: Annotated[
        str,
        about(
            "Sound card by name; empty for the default; virtual for one that is not there; none plays into files only.",
            max_length=200,
        ),
    ] = ""
    midi_input: Annotated[
        str, about("Part of the name of the MIDI input that is played on; empty for the first.", max_length=200)
    ] = ""
    input: Annotated[
        str,
        about(
            "Input to record from: part of its name, same for the output's card, default, or none, so that nobody is asked for the "
            "right to a microphone.",
            max_length=200,
        ),
    ] = "none"
    input_channels: Annotated[int, about("Input channels to take; fewer where it has fewer.", ge=1, le=8)] = 2
    input_offset_ms: Annotated[
        float,
        about(
            "What recordings of the input come late by beyond the latency that the sound card tells.",
            unit="ms",
            ge=-500,
            le=500,
        ),
    ] = 0.0
    rate: Annotated[
        int, about("Rate of the sound card; 0 for its own, 48000 for the virtual one.", unit="Hz", ge=0, le=384_000)
    ] = 0
    block: Annotated[
        int, about("Block of the audio callback; 0 lets the card choose.", unit="samples", ge=0, le=8192)
    ] = 0
    latency: Annotated[Literal["low", "high"], about("What to ask of the sound card.")] = "low"
    fade_ms: Annotated[float, about("Fade at start, stop and gaps.", unit="ms", ge=0.5, le=100)] = 5.0
    prebuffer_ms: Annotated[
        float, about("Audio that must be ready before a stream sounds.", unit="ms", ge=0, le=5000)
    ] = 60.0
    prebuffer: Annotated[
        Literal["adaptive", "fixed"],
        about("Whether less than prebuffer_ms will do once the engine has shown how evenly it makes sound."),
    ] = "adaptive"
    hold_bars: Annotated[
        int,
        about(
            "Bars that a stream plays again where its engine is late or gone, rather than be silent; 0 for none.",
            unit="bars",
            ge=0,
            le=16,
        ),
    ] = 2
    ready: Annotated[
        int,
        about("Streams that are kept ready for pads, of all together; each takes memory in the engine.", ge=0, le=24),
    ] = 8
    jack_name: Annotated[
        str, about("What the bridge is called on a JACK server or PipeWire.", min_length=1, max_length=50)
    ] = "daw-bridge"
    jack_connect: Annotated[
        str,
        about(
            "JACK inputs that its outputs are led to, also those that come later: regular expressions with commas between them; "
            "empty for those of the card, none so that the host connects.",
            max_length=1000,
        ),
    ] = ""
    reastream_hosts: Annotated[
        list[str],
        about(
            "Other machines that ReaStream may be sent to, as names or addresses; * for any. This one always is allowed."
        ),
    ] = []


class FileSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where audio is read and written."""

    takes: Annotated[str, about("Folder for results; empty for daw-bridge in the music folder.", max_length=4096)] = ""
    allowed: Annotated[
        list[str], about("Folders that hosts may name files in; empty for home, temporary and takes folders.")
    ] = []
    max_region_s: Annotated[float, about("Longest region that is read.", unit="s", ge=1, le=3600)] = 120.0
    templates: Annotated[
        str, about("File of your prompt templates; empty for templates.toml beside this file.", max_length=4096)
    ] = ""
    soundfont: Annotated[
        str,
        about(
            "General MIDI soundfont for clips on models that hear no melody; empty for the system's.", max_length=4096
        ),
    ] = ""

    journal: Annotated[
        str,
        about(
            "Folder where streams are kept to be resumed; empty for one in the user's state folder, none for nowhere.",
            max_length=4096,
        ),
    ] = ""
    journal_mb: Annotated[int, about("All of it together; the oldest go first.", unit="MB", ge=1, le=1_000_000)] = 512

    state: Annotated[
        str,
        about(
            "File where the bridge remembers its clock and the like; empty for one in the user's state folder, none for nowhere.",
            max_length=4096,
        ),
    ] = ""

    exchange: Annotated[
        str,
        about(
            "Folder where hosts hand over audio and, without sockets, messages; empty for one in the user's state folder.",
            max_length=4096,
        ),
    ] = ""
    exchange_mb: Annotated[
        int, about("Audio that is kept there; what was not used for longest goes first.", unit="MB", ge=1, le=1_000_000)
    ] = 2048
    exchange_hours: Annotated[
        float, about("Audio that was not used for this long is deleted there.", unit="h", ge=0.1, le=8760)
    ] = 24.0

    @property
    def exchange_folder(self) -> Path:
        """Where hosts hand over audio and messages."""
        return (
            Path(self.exchange).expanduser() if self.exchange else Path(platformdirs.user_state_dir(APP)) / "exchange"
        )

    @property
    def journal_folder(self) -> Path | None:
        """Where streams are kept to be resumed."""
        if self.journal == "none":
            return None
        return Path(self.journal).expanduser() if self.journal else Path(platformdirs.user_state_dir(APP)) / "journal"

    @property
    def state_file(self) -> Path | None:
        """Where the bridge remembers what was set, for its next run."""
        if self.state == "none":
            return None
        return Path(self.state).expanduser() if self.state else Path(platformdirs.user_state_dir(APP)) / "state.json"

    @property
    def sets_folder(self) -> Path | None:
        """Where sets are kept, beside `state_file`."""
        return self.state_file.parent / "sets" if self.state_file is not None else None

    @property
    def performances_folder(self) -> Path | None:
        """Where it is written down what was heard, beside `state_file`."""
        return self.state_file.parent / "performances" if self.state_file is not None else None

    @property
    def templates_file(self) -> Path:
        """Where the user's prompt templates are kept."""
        return Path(self.templates).expanduser() if self.templates else settings_path().with_name("templates.toml")

    @property
    def soundfont_file(self) -> Path | None:
        """The soundfont that is named."""
        return Path(self.soundfont).expanduser() if self.soundfont else None

    @property
    def takes_folder(self) -> Path:
        """Where results go."""
        return Path(self.takes).expanduser() if self.takes else Path(platformdirs.user_music_dir()) / APP

    @property
    def allowed_folders(self) -> list[Path]:
        """Where files may be read."""
        own = [self.takes_folder, self.exchange_folder]
        if self.allowed:
            return [*(Path(folder).expanduser() for folder in self.allowed), *own]
        import tempfile

        return [Path.home(), Path(tempfile.gettempdir()), *own]


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is logged, and how; logs go to the standard error stream."""

    level: Annotated[Literal["debug", "info", "warning", "error"], about("Least severity that is logged.")] = "info"
    format: Annotated[Literal["auto", "console", "json"], about("auto: colours on a terminal, JSON elsewhere.")] = (
        "auto"
    )


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of both processes."""

    engine: EngineSettings = EngineSettings()
    bridge: BridgeSettings = BridgeSettings()
    files: FileSettings = FileSettings()
    log: LogSettings = LogSettings()


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "engine": EngineSettings,
    "bridge": BridgeSettings,
    "files": FileSettings,
    "log": LogSettings,
}


def settings_path() -> Path:
    """The file that is read: ``$DAW_BRIDGE_SETTINGS``, or ``settings.toml`` in the user's configuration folder."""
    given = os.environ.get(FILE_VARIABLE)
    return Path(given) if given else Path(platformdirs.user_config_dir(APP)) / "settings.toml"


def load_settings(
    flags: Iterable[str] = (),
    *,
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read the settings: file, then environment, then flags of the form ``section.name=value``.

    Raises:
        RequestError: an unknown section or name, a value of the wrong type or out of range, a file that is not TOML.
    """
    values = _from_file(path if path is not None else settings_path())
    _merge(values, _from_environment(os.environ if environment is None else environment))
    _merge(values, _from_flags(flags))
    return Settings(
        engine=_section("engine", EngineSettings, values),
        bridge=_section("bridge", BridgeSettings, values),
        files=_section("files", FileSettings, values),
        log=_section("log", LogSettings, values),
    )


def template() -> str:
    """The documented settings file with every default, ready to be edited."""
    lines = ["# Settings of daw-bridge. Every line is a default: take the # away and change the value.", ""]
    for name, section in SECTIONS.items():
        lines += [f"# {(section.__doc__ or '').strip()}", f"[{name}]"]
        for spec in fields_of(section).values():
            lines += [f"# {spec.meaning} ({spec.allowed})", f"# {spec.name} = {_toml(spec.default)}", ""]
    return "\n".join(lines)


def _section(name: str, kind: type[S], values: Mapping[str, dict[str, Any]]) -> S:
    try:
        return build(kind, values[name])
    except RequestError as error:
        raise RequestError(error.code, f"{name}.{error.field}", error.value, error.allowed) from None


def _from_file(path: Path) -> dict[str, dict[str, Any]]:
    values: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return values
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(ErrorCode.MALFORMED, "settings file", str(path), str(error)) from None
    try:
        found = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and what tomllib lets through
        raise RequestError(ErrorCode.MALFORMED, "settings file", str(path), f"TOML: {error}") from None
    for name, section in found.items():
        if name not in SECTIONS or not isinstance(section, dict):
            raise RequestError(ErrorCode.UNKNOWN_PARAMETER, f"[{name}]", str(path), ", ".join(SECTIONS))
        values[name] = dict(section)
    return values


def _from_environment(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    known = {
        f"{ENVIRONMENT}{section}_{spec.name}".upper(): (section, spec)
        for section, kind in SECTIONS.items()
        for spec in fields_of(kind).values()
    }
    found: dict[str, dict[str, Any]] = {}
    for variable, text in environment.items():
        if variable in known:
            section, spec = known[variable]
            found.setdefault(section, {})[spec.name] = _parse(text, spec)
        elif variable.startswith(ENVIRONMENT) and variable != FILE_VARIABLE:
            raise RequestError(ErrorCode.UNKNOWN_PARAMETER, variable, text, ", ".join(known))
    return found


def _from_flags(flags: Iterable[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for flag in flags:
        path, equals, text = flag.partition("=")
        section, dot, name = path.strip().partition(".")
        if not (equals and dot) or section not in SECTIONS:
            raise RequestError(
                ErrorCode.MALFORMED, "--set", flag, f"section.name=value; sections: {', '.join(SECTIONS)}"
            )
        spec = fields_of(SECTIONS[section]).get(name)
        if spec is None:
            allowed = ", ".join(fields_of(SECTIONS[section]))
            raise RequestError(ErrorCode.UNKNOWN_PARAMETER, f"{section}.{name}", text, allowed)
        found.setdefault(section, {})[name] = _parse(text.strip(), spec)
    return found


def _merge(values: dict[str, dict[str, Any]], more: dict[str, dict[str, Any]]) -> None:
    for name, section in more.items():
        values[name].update(section)


def _parse(text: str, spec: FieldSpec) -> Any:
    """A value from text; what cannot be read stays text, and the field's own check refuses it by name."""
    try:
        match spec.kind:
            case "int":
                return int(text)
            case "float":
                return float(text)
            case "bool":
                return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
            case "list":
                return [part for part in text.split(os.pathsep) if part]
    except (ValueError, KeyError):
        pass
    return text


def _toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)
