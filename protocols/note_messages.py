"""What a host can ask about notes that streams follow: sent in pages, read from files and recordings, played on a MIDI input."""

from __future__ import annotations

from typing import Annotated, ClassVar

from protocols.bridge_answers import MelodyHeld, MidiInputList, NotesHeld, NotesName, NotesRecorded
from protocols.fields import INT32_MAX, about
from protocols.messages import (
    FASTEST_BPM,
    SLOWEST_BPM,
    RegionLength,
    RegionStart,
    Reply,
    Request,
    Separation,
)

NOTES_PER_LIST = 2048
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


class AudioNotes(Request, frozen=True, kw_only=True, tag="notes/audio"):
    """Keep the melody of a selected audio region under a name, as if its notes had been sent; it has no tempo of its own."""

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = MelodyHeld
    osc_positional: ClassVar[tuple[str, ...]] = ("name", "path")
    name: NotesName
    path: FilePath
    start: RegionStart = 0.0
    length: RegionLength = 0.0
    separation: Separation = "auto"


class RecordNotes(Request, frozen=True, kw_only=True, tag="notes/record"):
    """Record what is played on a MIDI input and keep it under a name; answered when the recording is over.

    The first note begins the loop, so there is no count-in. It ends after `length` beats, or at `/bridge/notes/stop`. Nothing is
    quantised. With `stream`, each turn is handed over as soon as it is whole, as if you had asked `/bridge/update 0 stream notes
    name`.
    """

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = NotesRecorded
    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: NotesName
    input: Annotated[
        str,
        about(
            "Part of the input's name, see `/bridge/midi/inputs`; empty for the one in the settings, else the first.",
            max_length=200,
        ),
    ] = ""
    bpm: Annotated[
        float,
        about(
            f"Tempo that is played at, at least {SLOWEST_BPM}; 0 for that of the stream, else the clock's.",
            unit="beats/min",
            ge=0,
            le=FASTEST_BPM,
        ),
    ] = 0.0
    length: Annotated[
        float,
        about(
            "Length of the loop; 0 leaves it to the stop: it ends at the nearest bar line, in bars of four beats.",
            unit="beats",
            ge=0,
            le=16384,
        ),
    ] = 0.0
    turns: Annotated[
        int,
        about(
            "How many turns of that length are recorded, each in place of the one before; one in which nothing is struck leaves "
            "it. 0 goes on until the stop.",
            ge=0,
            le=1000000,
        ),
    ] = 1
    stream: (
        Annotated[int, about("Stream that follows what is played; 0 for every stream.", ge=0, le=INT32_MAX)] | None
    ) = None
    lead: LeadRule = "auto"


class StopNotes(Request, frozen=True, kw_only=True, tag="notes/stop"):
    """End a recording of notes, which is then answered with what was played.

    One without a length ends at the nearest bar line. Of one that has a length a turn that is not whole counts only as the first.
    """

    root: ClassVar[str] = "bridge"
    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: Annotated[str, about("Its name; empty for all of yours.", max_length=80)]


class MidiInputs(Request, frozen=True, kw_only=True, tag="midi/inputs"):
    """List the MIDI inputs that can be played on."""

    root: ClassVar[str] = "bridge"
    reply: ClassVar[type[Reply]] = MidiInputList


class ForgetNotes(Request, frozen=True, kw_only=True, tag="notes/forget"):
    """Forget notes that you have sent."""

    root: ClassVar[str] = "bridge"
    osc_positional: ClassVar[tuple[str, ...]] = ("name",)
    name: Annotated[str, about("Their name; empty for all of yours.", max_length=80)]


NotesRequest = BeginNotes | AddNotes | FileNotes | AudioNotes | RecordNotes | StopNotes | ForgetNotes | MidiInputs
