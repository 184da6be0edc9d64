"""What a host can ask of the bridge, and what the bridge answers: the musician's side of the protocol.

The bridge's requests carry the engine's own parameters (`protocols.messages.Sampling`) and add what only the host's side
knows: the sound card, files, MIDI clips.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from protocols.fields import INT32_MAX, about
from protocols.messages import (
    FASTEST_BPM,
    SLOWEST_BPM,
    AnyStream,
    Cancel,
    Duration,
    Event,
    Finished,
    Guidance,
    HowTrained,
    ModelName,
    Models,
    Ping,
    Prompt,
    Quit,
    RegionLength,
    RegionStart,
    Reply,
    Request,
    Sampling,
    Seed,
    Status,
    StreamId,
    Streams,
    Temperature,
    TopK,
    TopP,
    Update,
    UsedSeed,
    Version,
)

Level = Annotated[float, about("Level of the playback.", unit="dB", ge=-120, le=12)]
Sound = Annotated[bool, about("Play it through the sound card.")]
Save = Annotated[bool, about("Write it to the takes folder, with a sidecar.")]
Format = Annotated[Literal["wav", "flac"], about("Format of the file.")]
Loudness = Annotated[Literal["none", "lufs", "peak"], about("Bring the file to -14 LUFS, or to -1 dBFS peak.")]
TakeName = Annotated[str, about("Start of the file's name; empty takes the prompt's words.", max_length=80)]
NOTES_PER_LIST = 2048
NotesName = Annotated[str, about("Name of notes that you have sent; your own choice.", max_length=80)]
FollowedNotes = Annotated[
    str,
    about(
        "Name of notes that you have sent: the melody to follow is their lead line, at the tempo of the request or, where it names "
        "none, at their own. Empty for none.",
        max_length=80,
    ),
]
LeadRule = Annotated[
    str,
    about(
        "How the one melody is found in what plays together: auto (the part most like a melody), highest, loudest, or channel:1 to "
        "channel:16.",
        max_length=20,
    ),
]
FilePath = Annotated[str, about("File on the bridge's machine, inside one of its allowed folders.", max_length=4096)]


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


class DeviceInfo(Reply, frozen=True, kw_only=True, tag="device_info"):
    """One sound card."""

    index: Annotated[int, about("Its number in this list of the system.")]
    name: Annotated[str, about("Its name, as `/bridge/device` takes it.")]
    host_api: Annotated[str, about("The system's way to it: ALSA, JACK, Core Audio, WASAPI, ASIO …")]
    channels: Annotated[int, about("Output channels.")]
    sample_rate: Annotated[float, about("Its usual rate.", unit="Hz")]
    default: Annotated[bool, about("Whether the system plays through it by default.")]
    chosen: Annotated[bool, about("Whether the bridge plays through it now.")]


class DeviceList(Reply, frozen=True, kw_only=True, tag="device_list"):
    """The sound cards."""

    items: Annotated[list[DeviceInfo], about("The sound cards.")]


class NotesHeld(Reply, frozen=True, kw_only=True, tag="notes_held"):
    """Notes have arrived and are kept."""

    name: NotesName
    held: Annotated[int, about("Notes that are there so far; of a file, those of its lead line.")]


class Playback(Sampling, frozen=True, kw_only=True):
    """What becomes of the audio, in every bridge request that opens a stream."""

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = Finished
    sound: Sound = True
    save: Save = True
    format: Format = "wav"
    loudness: Loudness = "none"
    name: TakeName = ""
    level: Level = 0.0


class Following(Playback, frozen=True, kw_only=True):
    """Base of the requests that may follow notes which were sent before."""

    notes: FollowedNotes = ""


class Play(Following, frozen=True, kw_only=True, tag="play"):
    """Make a piece from words and play it as it appears."""

    osc_positional: ClassVar[tuple[str, ...]] = ("prompt",)
    duration: Duration = 15.0


class PlayContinue(Following, frozen=True, kw_only=True, tag="continue"):
    """Go on from the end of a selected audio region and play the new material as it appears."""

    osc_positional: ClassVar[tuple[str, ...]] = ("path",)
    path: FilePath
    start: RegionStart = 0.0
    length: RegionLength = 0.0
    duration: Duration = 15.0


class PlayMidi(Playback, frozen=True, kw_only=True, tag="midi"):
    """Play along a MIDI clip: a piece of its length that follows its lead line, in its tempo and key.

    With `bpm` the clip is played at that tempo. The key is as `key` says, else as the clip is signed, else as the prompt says, else
    as the notes sound.
    """

    osc_positional: ClassVar[tuple[str, ...]] = ("path",)
    path: FilePath
    lead: LeadRule = "auto"


class PlayOpen(Following, frozen=True, kw_only=True, tag="open"):
    """Open a stream without an end and play it until it is cancelled; it may begin with an audio region."""

    osc_positional: ClassVar[tuple[str, ...]] = ("prompt",)
    save: Save = False
    path: FilePath = ""
    start: RegionStart = 0.0
    length: RegionLength = 0.0
    latency: Annotated[
        float, about("Audio kept ready; changes are heard this much later.", unit="s", ge=0.05, le=30)
    ] = 0.5


class PlayAgain(Request, frozen=True, kw_only=True, tag="again"):
    """Make a take again from its sidecar: on the same model and device, the same samples."""

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = Finished
    osc_positional: ClassVar[tuple[str, ...]] = ("path",)
    path: Annotated[
        str, about("The take's sidecar (.json), inside one of the bridge's allowed folders.", max_length=4096)
    ]
    sound: Sound = True
    save: Save = True
    format: Format = "wav"
    loudness: Loudness = "none"
    name: TakeName = ""
    level: Level = 0.0


class BeginNotes(Request, frozen=True, kw_only=True, tag="notes/begin"):
    """Begin a list of notes under a name, in place of an earlier one. It is forgotten ten minutes after its last use.

    Notes are yours alone: they belong to the port that gets the answers.
    """

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = NotesHeld
    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: NotesName
    count: Annotated[
        int,
        about("Notes that will be sent, so that none is missed; 0 leaves it open.", ge=0, le=NOTES_PER_LIST),
    ] = 0
    length: Annotated[
        float,
        about("After how much the notes begin again; 0 for whole bars of four beats.", unit="beats", ge=0, le=16384),
    ] = 0.0
    bpm: Annotated[
        float, about("Their tempo where nothing else names one.", unit="beats/min", ge=SLOWEST_BPM, le=FASTEST_BPM)
    ] = 120.0
    lead: LeadRule = "auto"


class AddNotes(Request, frozen=True, kw_only=True, tag="notes/add"):
    """Send notes for a list, as many as fit into a packet; pages may arrive in any order and more than once."""

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = NotesHeld
    osc_positional: ClassVar[tuple[str, ...]] = ("name", "index")
    osc_rest: ClassVar[str] = "values"
    name: NotesName
    index: Annotated[int, about("Place of the first of these notes in the list, from 0.", ge=0, le=NOTES_PER_LIST - 1)]
    values: Annotated[
        list[float],
        about(
            "For each note its pitch (0 to 127, middle C is 60), its start and its length in beats, and its velocity (1 to 127).",
            max_length=4 * NOTES_PER_LIST,
        ),
    ]


class FileNotes(Request, frozen=True, kw_only=True, tag="notes/file"):
    """Keep the lead line of a MIDI file under a name, as if its notes had been sent."""

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = NotesHeld
    osc_positional: ClassVar[tuple[str, ...]] = ("name", "path")
    name: NotesName
    path: FilePath
    lead: LeadRule = "auto"


class ForgetNotes(Request, frozen=True, kw_only=True, tag="notes/forget"):
    """Forget notes that you have sent."""

    root: ClassVar[str] = "bridge"
    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: Annotated[str, about("Their name; empty for all of yours.", max_length=80)]


class Stop(Request, frozen=True, kw_only=True, tag="stop"):
    """Fade out and end every stream that this bridge plays."""

    root: ClassVar[str] = "bridge"


class SetLevel(Request, frozen=True, kw_only=True, tag="level"):
    """Set the playback level of a stream, or of everything."""

    root: ClassVar[str] = "bridge"
    osc_positional: ClassVar[tuple[str, ...]] = ("stream", "level")
    stream: AnyStream
    level: Level


class Devices(Request, frozen=True, kw_only=True, tag="devices"):
    """List the sound cards."""

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = DeviceList


class SetDevice(Request, frozen=True, kw_only=True, tag="device"):
    """Play through another sound card from now on; what plays goes on there."""

    root: ClassVar[str] = "bridge"
    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: Annotated[str, about("Part of the device's name; empty for the system's default.", max_length=200)]


class SetDefaults(Request, frozen=True, kw_only=True, tag="defaults"):
    """Set what the next requests use when they leave a parameter out; what is left out here stays as it is."""

    root: ClassVar[str] = "bridge"
    temperature: Temperature | None = None
    top_k: TopK | None = None
    top_p: TopP | None = None
    guidance: Guidance | None = None
    seed: Seed | None = None


class BridgeUpdate(Update, frozen=True, kw_only=True, tag="update"):
    """Change a stream while it plays; what is left out stays as it is.

    New notes are heard at once and begin anew at the next bar line, at the tempo of the stream; one whose tempo only its words name
    takes that of the notes.
    """

    root: ClassVar[str] = "bridge"
    notes: FollowedNotes | None = None


class BridgeCancel(Cancel, frozen=True, kw_only=True, tag="cancel"):
    """Fade a stream out and end it; what it made so far is kept."""

    root: ClassVar[str] = "bridge"


class BridgeStreams(Streams, frozen=True, kw_only=True, tag="streams"):
    """List the streams that this bridge opened."""

    root: ClassVar[str] = "bridge"


class BridgeStatus(Status, frozen=True, kw_only=True, tag="status"):
    """How the bridge, its sound card and its engine are."""

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = BridgeReport


class BridgeVersion(Version, frozen=True, kw_only=True, tag="version"):
    """Which release and protocol this is."""

    root: ClassVar[str] = "bridge"


class BridgeModels(Models, frozen=True, kw_only=True, tag="models"):
    """List the engine's models."""

    root: ClassVar[str] = "bridge"


class BridgePing(Ping, frozen=True, kw_only=True, tag="ping"):
    """Nothing but a sign of life."""

    root: ClassVar[str] = "bridge"


class BridgeQuit(Quit, frozen=True, kw_only=True, tag="quit"):
    """Stop the bridge in order: sound fades out, files are closed."""

    root: ClassVar[str] = "bridge"


class Queued(Event, frozen=True, kw_only=True, tag="queued"):
    """The engine accepted a request; its stream has this number."""

    request: Annotated[int, about("Id that the client gave.", ge=0, le=INT32_MAX)]
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


class EngineState(Event, frozen=True, kw_only=True, tag="engine"):
    """The engine came, or was lost."""

    state: Annotated[str, about("ready or lost")]
    model: ModelName


class CardState(Event, frozen=True, kw_only=True, tag="card"):
    """The sound card changed."""

    state: Annotated[str, about("opened or lost")]
    name: Annotated[str, about("Its name.")]
    sample_rate: Annotated[int, about("Its rate.", unit="Hz")]


BRIDGE_REQUESTS: tuple[type[Request], ...] = (
    Play,
    PlayContinue,
    PlayMidi,
    PlayOpen,
    PlayAgain,
    BeginNotes,
    AddNotes,
    FileNotes,
    ForgetNotes,
    BridgeUpdate,
    BridgeCancel,
    Stop,
    SetLevel,
    SetDefaults,
    BridgeStreams,
    Devices,
    SetDevice,
    BridgeModels,
    BridgePing,
    BridgeStatus,
    BridgeVersion,
    BridgeQuit,
)
BRIDGE_EVENTS: tuple[type[Event], ...] = (Queued, Sounding, Progressed, Saved, EngineState, CardState)
