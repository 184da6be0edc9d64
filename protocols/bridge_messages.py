"""What a host can ask of the bridge, and what the bridge answers: the musician's side of the protocol.

The bridge's requests carry the engine's own parameters (`protocols.messages.Sampling`) and add what only the host's side
knows: the sound card, files, MIDI clips. What is about notes stands in `protocols.note_messages`, the clock in
`protocols.clock_messages`, replies and events in `protocols.bridge_answers`; all can be imported from here too.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from protocols.bridge_answers import *  # noqa: F403
from protocols.bridge_answers import BridgeReport, DeviceList, TemplateList
from protocols.capture_messages import *  # noqa: F403
from protocols.capture_messages import CAPTURE_REQUESTS
from protocols.clock_messages import *  # noqa: F403
from protocols.clock_messages import CLOCK_REQUESTS, At
from protocols.codec_messages import *  # noqa: F403
from protocols.codec_messages import BRIDGE_CODEC_REQUESTS
from protocols.exchange_messages import *  # noqa: F403
from protocols.exchange_messages import EXCHANGE_REQUESTS
from protocols.fields import about
from protocols.loop_messages import *  # noqa: F403
from protocols.loop_messages import LOOP_REQUESTS
from protocols.melody import MAX_TEXT
from protocols.messages import (
    AnyStream,
    Cancel,
    DownloadModel,
    Duration,
    Finished,
    Guidance,
    Load,
    Models,
    Ping,
    Quit,
    RegionLength,
    RegionStart,
    Reply,
    Request,
    Sampling,
    Seam,
    Sections,
    Seed,
    Status,
    StopDownload,
    Streams,
    Temperature,
    TopK,
    TopP,
    Unload,
    Update,
    Version,
)
from protocols.note_messages import *  # noqa: F403
from protocols.note_messages import (
    AddNotes,
    AudioNotes,
    BeginNotes,
    FileNotes,
    FilePath,
    FollowedNotes,
    ForgetNotes,
    LeadRule,
    MidiInputs,
    RecordNotes,
    StopNotes,
)
from protocols.past_messages import *  # noqa: F403
from protocols.past_messages import PAST_REQUESTS
from protocols.performance_messages import *  # noqa: F403
from protocols.performance_messages import PERFORMANCE_REQUESTS
from protocols.reastream_messages import *  # noqa: F403
from protocols.reastream_messages import REASTREAM_REQUESTS
from protocols.scene_messages import *  # noqa: F403
from protocols.scene_messages import SCENE_REQUESTS
from protocols.sound_messages import *  # noqa: F403
from protocols.sound_messages import Format, Level, Loudness, Replaces, Save, Sound, TakeName
from protocols.steering_messages import *  # noqa: F403
from protocols.steering_messages import STEERING_REQUESTS, BeatLock, Govern, Reference
from protocols.trigger_messages import *  # noqa: F403
from protocols.trigger_messages import TRIGGER_REQUESTS

MAX_TEMPLATE_NAME, MAX_TEMPLATE_TEXT = 80, 1000
TemplateName = Annotated[
    str,
    about(
        "Name of a prompt template that makes the words: it is filled with `prompt`, `style`, tempo and key. Empty for none.",
        max_length=MAX_TEMPLATE_NAME,
    ),
]
Style = Annotated[
    str, about("Words for the template's {style}; without a template they come after the prompt.", max_length=400)
]


class Playback(Sampling, frozen=True, kw_only=True):
    """What becomes of the audio, in every bridge request that opens a stream."""

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = Finished
    sections: Sections = ""
    template: TemplateName = ""
    style: Style = ""
    sound: Sound = True
    save: Save = True
    format: Format = "wav"
    loudness: Loudness = "auto"
    name: TakeName = ""
    level: Level = 0.0
    at: At = "now"
    replaces: Replaces = 0
    in_time: Annotated[bool, about("Its tempo is the clock's; the bridge's to set.", osc=False)] = False

    @property
    def takes_time_tag(self) -> bool:
        """Its sound begins at its time, for which it is made ahead."""
        return self.sound and self.at == "now"


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
    seam: Seam = True


class PlayMidi(Playback, frozen=True, kw_only=True, tag="midi"):
    """Play along a MIDI clip: a piece of its length that follows its lead line, in its tempo and key.

    With `bpm` the clip is played at that tempo. The key is as `key` says, else as the clip is signed, else as the prompt says, else
    as the notes sound.

    A model that hears no melody goes on from the clip as sound, all its tracks played by FluidSynth; where that is not installed,
    it is told tempo, key and metre in words. The note of the answer says which.
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
    seam: Seam = True
    latency: Annotated[
        float, about("Audio kept ready; changes are heard this much later.", unit="s", ge=0.05, le=30)
    ] = 0.5
    govern: Govern = True
    reference: Reference = "start"
    lock: BeatLock = True


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
    loudness: Loudness = "auto"
    name: TakeName = ""
    level: Level = 0.0
    at: At = "now"
    replaces: Replaces = 0

    @property
    def takes_time_tag(self) -> bool:
        """Its sound begins at its time, for which it is made ahead."""
        return self.sound and self.at == "now"


class TemplateRequest(Request, frozen=True, kw_only=True):
    """Base of what is asked about templates."""

    root: ClassVar[str] = "bridge"


class Templates(TemplateRequest, frozen=True, kw_only=True, tag="templates"):
    """List the prompt templates: those that are built in and yours."""

    reply: ClassVar[type[Reply]] = TemplateList


class KeepTemplate(TemplateRequest, frozen=True, kw_only=True, tag="templates/keep"):
    """Keep a prompt template in your file, in place of one of the same name.

    Its fields are {bpm}, {key}, {style} and {prompt}; braces themselves are doubled. What stands between two commas is left out
    where a field in it has no value. A prompt or a style that has no place in it comes at its end.
    """

    osc_positional: ClassVar[tuple[str, ...]] = ("name", "text")
    name: Annotated[str, about("Its name; your own choice.", max_length=MAX_TEMPLATE_NAME)]
    text: Annotated[
        str, about("Such as warm strings, {style}, {bpm} bpm, in {key}, {prompt}", max_length=MAX_TEMPLATE_TEXT)
    ]


class ForgetTemplate(TemplateRequest, frozen=True, kw_only=True, tag="templates/forget"):
    """Delete a prompt template from your file; one that is built in then has its own words again."""

    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: Annotated[str, about("Its name.", max_length=MAX_TEMPLATE_NAME)]


class Stop(Request, frozen=True, kw_only=True, tag="stop"):
    """Fade out and end everything that this bridge plays: streams, and loops, whose takes are kept."""

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
    name: Annotated[
        str,
        about(
            "Part of the device's name; empty for the system's default, virtual for one that is not there, none for none.",
            max_length=200,
        ),
    ]


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
    takes that of the notes. A stream that has a template fills it anew with what changes; an empty `template` leaves it.
    """

    root: ClassVar[str] = "bridge"
    melody: Annotated[str, about("Hosts name `notes` instead.", osc=False, max_length=MAX_TEXT)] | None = None
    notes: FollowedNotes | None = None
    template: TemplateName | None = None
    style: Style | None = None


class Weigh(Request, frozen=True, kw_only=True, tag="weights"):
    """Set how much each of a stream's prompts counts, at once, as faders do."""

    root: ClassVar[str] = "bridge"
    osc_positional: ClassVar[tuple[str, ...]] = ("stream",)
    osc_rest: ClassVar[str] = "values"
    stream: AnyStream
    values: Annotated[list[float], about("A weight for each prompt, in order.", max_length=8)]

    @property
    def update(self) -> BridgeUpdate:
        """The same as a change."""
        return BridgeUpdate(stream=self.stream, weights=" ".join(f"{value:.9g}" for value in self.values))


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


class BridgeLoad(Load, frozen=True, kw_only=True, tag="load"):
    """Load another model while everything plays on; answered when new streams are made by it. Those that run end on theirs.

    Until then both are in memory: where that is too much, unload first. An engine that has to be started anew begins with the model
    of its settings.
    """

    root: ClassVar[str] = "bridge"


class BridgeDownloadModel(DownloadModel, frozen=True, kw_only=True, tag="models/download"):
    """Download a model and all that it needs to the engine's disk, beside what plays; answered when all of it is there.

    Goes on where an earlier download was cut off; what is there already is brought up to date. One at a time.
    """

    root: ClassVar[str] = "bridge"


class BridgeStopDownload(StopDownload, frozen=True, kw_only=True, tag="models/download/stop"):
    """Stop the download that is under way; what has come is kept."""

    root: ClassVar[str] = "bridge"


class BridgeUnload(Unload, frozen=True, kw_only=True, tag="unload"):
    """Give the model's memory back, at once or, while streams play on it, when the last one is over.

    New streams are refused with `no_model` until another is loaded.
    """

    root: ClassVar[str] = "bridge"


class BridgePing(Ping, frozen=True, kw_only=True, tag="ping"):
    """Nothing but a sign of life."""

    root: ClassVar[str] = "bridge"


class BridgeQuit(Quit, frozen=True, kw_only=True, tag="quit"):
    """Stop the bridge in order: sound fades out, files are closed."""

    root: ClassVar[str] = "bridge"


BRIDGE_REQUESTS: tuple[type[Request], ...] = (
    Play,
    PlayContinue,
    PlayMidi,
    PlayOpen,
    PlayAgain,
    *PAST_REQUESTS,
    *STEERING_REQUESTS,
    BeginNotes,
    AddNotes,
    FileNotes,
    AudioNotes,
    RecordNotes,
    StopNotes,
    ForgetNotes,
    MidiInputs,
    Templates,
    KeepTemplate,
    ForgetTemplate,
    BridgeUpdate,
    Weigh,
    BridgeCancel,
    Stop,
    SetLevel,
    *CLOCK_REQUESTS,
    *SCENE_REQUESTS,
    *PERFORMANCE_REQUESTS,
    SetDefaults,
    BridgeStreams,
    Devices,
    SetDevice,
    *CAPTURE_REQUESTS,
    *REASTREAM_REQUESTS,
    *EXCHANGE_REQUESTS,
    *BRIDGE_CODEC_REQUESTS,
    *LOOP_REQUESTS,
    *TRIGGER_REQUESTS,
    BridgeModels,
    BridgeLoad,
    BridgeUnload,
    BridgeDownloadModel,
    BridgeStopDownload,
    BridgePing,
    BridgeStatus,
    BridgeVersion,
    BridgeQuit,
)
