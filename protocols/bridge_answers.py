"""What the bridge answers and what it says by itself: every reply and event of the musician's side, each written once."""

from __future__ import annotations

from typing import Annotated

from protocols.capture_messages import InputChannels, InputLevel, InputName
from protocols.clock_messages import CLOCK_EVENTS, ClockBpm, ClockPlaying, ClockPosition, ClockSource
from protocols.codec_messages import CodecProgress
from protocols.fields import INT32_MAX, about
from protocols.loop_messages import LOOP_EVENTS
from protocols.messages import Event, HowTrained, ModelName, Note, Prompt, Reply, StreamId, UsedSeed
from protocols.model_messages import MODEL_EVENTS
from protocols.past_messages import Held
from protocols.performance_messages import PERFORMANCE_EVENTS
from protocols.reastream_messages import REASTREAM_EVENTS
from protocols.scene_messages import SCENE_EVENTS
from protocols.steering_messages import STEERING_EVENTS
from protocols.trigger_messages import TRIGGER_EVENTS

NotesName = Annotated[str, about("Name of notes that you have sent; your own choice.", max_length=80)]


class BridgeReport(Reply, frozen=True, kw_only=True, tag="bridge_status"):
    """The bridge at a glance."""

    state: Annotated[str, about("How the sound is: playing, fallback (into nothing), searching or stopped.")]
    engine: Annotated[str, about("ready, connecting or lost")]
    model: ModelName
    status: HowTrained
    device: Annotated[str, about("Name of the sound card, or what stands in for it.")]
    sample_rate: Annotated[int, about("Rate of the sound card.", unit="Hz")]
    block: Annotated[int, about("Samples the audio callback was last asked for.", unit="samples")]
    latency_ms: Annotated[float, about("Latency that the sound card reports.", unit="ms")]
    voices: Annotated[int, about("Streams that sound.")]
    underruns: Annotated[int, about("Times a voice ran dry while it should have played.")]
    device_underflows: Annotated[int, about("Underflows that the sound card reported.")]
    devices_lost: Annotated[int, about("Times the sound card vanished.")]
    callback_ms: Annotated[float, about("Longest audio callback.", unit="ms")]
    first_sound_ms: Annotated[float, about("Request to first sample at the callback, last stream.", unit="ms")]
    requests: Annotated[int, about("OSC messages since the start.")]
    errors: Annotated[int, about("Requests that were refused.")]
    uptime: Annotated[float, about("Since the process started.", unit="s")]
    clock: ClockSource = "internal"
    clock_playing: ClockPlaying = False
    clock_bpm: ClockBpm = 120.0
    clock_position: ClockPosition = "1.1"
    input: InputName = ""
    input_channels: InputChannels = 0
    input_level: InputLevel = -120.0


class DeviceInfo(Reply, frozen=True, kw_only=True, tag="device_info"):
    """One sound card, or one half of it where the system lists what plays and what records apart."""

    index: Annotated[int, about("Its number in this list of the system.")]
    name: Annotated[str, about("Its name, as `/bridge/device` and `/bridge/input` take it.")]
    host_api: Annotated[str, about("The system's way to it: ALSA, JACK, Core Audio, WASAPI, ASIO …")]
    channels: Annotated[int, about("Output channels; 0 for what only records.")]
    inputs: Annotated[int, about("Input channels.")] = 0
    sample_rate: Annotated[float, about("Its usual rate.", unit="Hz")]
    default: Annotated[bool, about("Whether the system plays through it by default.")]
    chosen: Annotated[bool, about("Whether the bridge plays through it now.")]
    recorded: Annotated[bool, about("Whether the bridge records from it now.")] = False


class DeviceList(Reply, frozen=True, kw_only=True, tag="device_list"):
    """The sound cards."""

    items: Annotated[list[DeviceInfo], about("The sound cards.")]


class NotesHeld(Reply, frozen=True, kw_only=True, tag="notes_held"):
    """Notes have arrived and are kept."""

    name: NotesName
    held: Annotated[int, about("Notes that are there so far; of a file or a recording, those of its lead line.")]


class MelodyHeld(NotesHeld, frozen=True, kw_only=True, tag="melody_held"):
    """The melody of an audio region was read and is kept."""

    seconds: Annotated[float, about("Length of the region; then the melody begins again.", unit="s")]
    sounding: Annotated[float, about("For how much of it a melody sounds.", unit="s")]
    note: Note


class NotesRecorded(NotesHeld, frozen=True, kw_only=True, tag="notes_recorded"):
    """What was played is kept."""

    beats: Annotated[float, about("Length of the loop; then the notes begin again.", unit="beats")]
    input: Annotated[str, about("The MIDI input that it was played on.")]
    note: Note


class MidiInputInfo(Reply, frozen=True, kw_only=True, tag="midi_input"):
    """One MIDI input."""

    name: Annotated[str, about("Its name, as `/bridge/notes/record` takes it.")]
    api: Annotated[str, about("The system's way to it: LINUX_ALSA, UNIX_JACK, MACOSX_CORE, WINDOWS_MM.")]
    open: Annotated[bool, about("Whether the bridge records from it now.")]


class MidiInputList(Reply, frozen=True, kw_only=True, tag="midi_input_list"):
    """The MIDI inputs."""

    items: Annotated[list[MidiInputInfo], about("The inputs.")]


class TemplateInfo(Reply, frozen=True, kw_only=True, tag="template"):
    """One prompt template."""

    name: Annotated[str, about("Its name.")]
    text: Annotated[str, about("Its words, with fields in braces.")]
    source: Annotated[str, about("built in, or the file of yours that it stands in.")]


class TemplateList(Reply, frozen=True, kw_only=True, tag="template_list"):
    """The prompt templates."""

    items: Annotated[list[TemplateInfo], about("The templates.")]


class Queued(Event, frozen=True, kw_only=True, tag="queued"):
    """The engine accepted a request; its stream has this number."""

    request: Annotated[int, about("Id that you gave; 0 for somebody else's request.", ge=0, le=INT32_MAX)]
    stream: StreamId
    seed: UsedSeed
    words: Annotated[Prompt, about("The prompt as the model gets it.")]


class Sounding(Event, frozen=True, kw_only=True, tag="sounding"):
    """The first sample of a stream was handed to the sound card."""

    stream: StreamId
    first_sound_ms: Annotated[float, about("Since the request came in.", unit="ms")]


class Progressed(Event, frozen=True, kw_only=True, tag="progress"):
    """How far a stream is."""

    stream: StreamId
    seconds: Annotated[float, about("Audio made so far.", unit="s")]
    total_seconds: Annotated[float, about("Length when done; 0 without an end.", unit="s")]
    played: Annotated[float, about("Audio played so far.", unit="s")]


class Saved(Event, frozen=True, kw_only=True, tag="saved"):
    """A take is on disk, whole, with its sidecar beside it."""

    stream: StreamId
    path: Annotated[str, about("The audio file.")]
    seconds: Annotated[float, about("Length of the take.", unit="s")]


class Recording(Event, frozen=True, kw_only=True, tag="recording"):
    """How a recording of notes goes: told when the input is open, at the first note, four times a second, and after each turn."""

    name: NotesName
    state: Annotated[str, about("ready (for the first note), playing, or turn (one is whole and kept)")]
    beats: Annotated[float, about("Beats of the turn so far.", unit="beats")]
    notes: Annotated[int, about("Notes struck in it so far.")]


class EngineState(Event, frozen=True, kw_only=True, tag="engine"):
    """The engine came, was lost, or has another model, or none."""

    state: Annotated[str, about("ready or lost")]
    model: ModelName


class CardState(Event, frozen=True, kw_only=True, tag="card"):
    """The sound card changed."""

    state: Annotated[str, about("opened or lost")]
    name: Annotated[str, about("Its name.")]
    sample_rate: Annotated[int, about("Its rate.", unit="Hz")]
    input: InputName = ""
    note: Annotated[str, about("Why it has no input although one is set.")] = ""


BRIDGE_EVENTS: tuple[type[Event], ...] = (
    Queued,
    *CLOCK_EVENTS,
    *LOOP_EVENTS,
    Sounding,
    Held,
    *STEERING_EVENTS,
    Progressed,
    Saved,
    Recording,
    *SCENE_EVENTS,
    *PERFORMANCE_EVENTS,
    *TRIGGER_EVENTS,
    EngineState,
    CardState,
    *REASTREAM_EVENTS,
    *MODEL_EVENTS,
    CodecProgress,
)
