"""Scenes: what is kept of a stream, read back from a file, and recalled at its beat."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from daw_bridge.asked import Asked
from daw_bridge.bridge_stream import linear_gain
from daw_bridge.clock.clocks import ManualClock
from daw_bridge.clock.timeline import Timeline
from daw_bridge.followed_clip import FollowedClip
from daw_bridge.note_lists import NoteLists
from daw_bridge.orders import Insider
from daw_bridge.scenes.keeps import Keeper, KeptDefaults
from daw_bridge.scenes.kept_notes import KeptNotes
from daw_bridge.scenes.scene import Scene
from daw_bridge.scenes.scene_desk import MAX_BYTES, SceneDesk
from daw_bridge.scenes.set_desk import SetDesk
from daw_bridge.state_file import StateFile
from daw_bridge.wording import Facts, Template, Wording
from protocols.bridge_messages import (
    MAX_SCENES,
    AddNotes,
    BeginNotes,
    BridgeUpdate,
    ForgetScene,
    ForgetSet,
    KeepScene,
    KeepSet,
    OpenSet,
    Play,
    PlayOpen,
    RecallScene,
    SceneRecalled,
    Scenes,
    SetDefaults,
    SetOpened,
    Sets,
)
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Done, Update
from protocols.osc.front import Asker, Peer

ASKER = Asker(Peer("udp", "127.0.0.1", 1), "/bridge/scene/recall", 7)
RATE, FRAME = 32_000, 640


def riff(bpm: float = 100.0, length: float = 0.0) -> FollowedClip:
    lists = NoteLists()
    lists.begin("me", BeginNotes(name="riff", bpm=bpm, length=length))
    lists.add("me", AddNotes(name="riff", index=0, values=[60, 0, 1, 90, 67, 1, 2.5, 80, 64, 3, 0.5, 100]))
    return lists.clip("me", "riff")


def refused(code: ErrorCode, work: Callable[[], Any]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        work()
    assert caught.value.code is code, caught.value.text
    return caught.value


# --- What is kept --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0.0, 3.5])
def test_notes_come_back_from_a_file_as_they_were(length: float) -> None:
    clip = riff(97.3, length)
    text = msgspec.json.encode(KeptNotes.of("riff", clip))
    again = msgspec.json.decode(text, type=KeptNotes).followed()
    assert again.line == clip.line
    assert (again.bpm, again.seconds, again.key_hint, again.words) == (
        clip.bpm,
        clip.seconds,
        clip.key_hint,
        clip.words,
    )
    assert again.at(120.0) == clip.at(120.0)
    assert clip.clip is not None
    assert again.clip is not None
    assert again.clip.notes == clip.clip.notes
    assert again.clip.length_seconds == clip.clip.length_seconds
    broken = KeptNotes(name="riff", melody="no melody")
    assert refused(ErrorCode.MALFORMED, broken.followed).field == "notes"


def test_a_scene_of_a_stream_is_what_was_asked_of_it_last() -> None:
    asked = Asked().after(PlayOpen(prompt="a || b", weights="1 0", temperature=0.9), riff())
    wording = Wording(Template("warm {prompt}"), Facts(96.0, "A minor", "dark", "a || b", metre="5/4"), asked)
    change = BridgeUpdate(stream=1, weights="0.5 0.5", guidance=2.0, prompt="c || d", notes="")
    wording, _ = wording.after(change, Update(stream=1, prompt="c || d"), None, None)
    scene = Scene.of_stream(wording, -6.0)
    assert (scene.prompt, scene.weights, scene.guidance, scene.temperature) == ("c || d", "0.5 0.5", 2.0, 0.9)
    assert (scene.bpm, scene.key, scene.metre, scene.style, scene.level) == (96.0, "A minor", "5/4", "dark", -6.0)
    assert scene.notes == KeptNotes(), "it follows none any more"
    assert refused(ErrorCode.MISSING, lambda: Scene.of_stream(Wording(), 0.0)).field == "prompt"


def test_a_scene_is_a_change_or_a_new_stream() -> None:
    scene = Scene(prompt="x", bpm=90.0, morph=4.0, level=-3.0, notes=KeptNotes.of("riff", riff()), guidance=2.0)
    update = scene.update("verse", 3, None)
    assert update == BridgeUpdate(stream=3, prompt="x", bpm=90.0, morph=4.0, notes="scene:verse", guidance=2.0)
    assert scene.update("verse", 3, 0.0).morph == 0.0
    opened = scene.opening("verse", {"guidance": 5.0, "temperature": 0.5}, at="bar")
    assert (opened.guidance, opened.temperature, opened.level, opened.at) == (2.0, 0.5, -3.0, "bar")
    assert (opened.notes, opened.name) == ("scene:verse", "verse")
    assert Scene(notes=KeptNotes()).update("verse", 1, None).notes == ""
    assert Scene().update("verse", 1, None) == BridgeUpdate(stream=1)


def test_a_scene_from_a_file_is_checked() -> None:
    scene = Scene(prompt="x", top_k=5, notes=KeptNotes.of("riff", riff()))
    assert Scene.read(msgspec.to_builtins(scene)) == scene
    for wrong in ({"guidance": 99.0}, {"prompt": 5}, {"blend": "none"}, {"notes": 3}, [], {"top_k": 1.5}):
        with pytest.raises(RequestError):
            Scene.read(wrong)


# --- The desk ------------------------------------------------------------------------------------------------------


class Voice:
    def __init__(self) -> None:
        self.gain = linear_gain(-6.0)
        self.finished = False


class Stream:
    """All of a stream that is looked at here: half a second of sound in store."""

    def __init__(self, number: int, stage: Any, store: float = 0.5) -> None:
        self.number = number
        self.voice = Voice()
        self.cancelled = False
        self.rates = (RATE, FRAME)
        self.wording = Wording(None, Facts(prompt="drone"), Asked().after(Play(prompt="drone"), None))
        self._stage = stage
        self._store = round(store * RATE)

    @property
    def played(self) -> int:
        return round(self._stage.rendered * RATE)

    @property
    def samples(self) -> int:
        return self.played + self._store

    def set_level(self, gain: float) -> None:
        self.voice.gain = gain


class Host:
    """A bridge that is moved by hand."""

    def __init__(self) -> None:
        timeline = Timeline(120, 4)
        self.manual = ManualClock(timeline)

        class Stage:
            rendered = property(lambda stage: self.manual.now())

        self.clock = SimpleNamespace(clock=self.manual, stage=Stage())
        self.open: list[Any] = []
        self.streams = SimpleNamespace(
            played=self.open, find=lambda number: next(one for one in self.open if one.number == number)
        )
        self.defaults: dict[str, object] = {"temperature": 0.5, "seed": 3}
        self.updates: list[tuple[Fraction, BridgeUpdate]] = []
        self.refusal: RequestError | None = None
        self.said: list[Any] = []
        self.played: list[Any] = []

    def update(self, request: BridgeUpdate, asker: Asker) -> None:
        assert isinstance(asker, Insider)
        self.updates.append((self.manual.now(), request))
        asker.answered(self.refusal or Done())

    def publish(self, event: Any, asker: Asker) -> None:
        self.said.append(event)

    def done(self, asker: Asker, reply: Any) -> None:
        self.said.append(reply)

    def fail(self, asker: Asker, error: RequestError) -> None:
        self.said.append(error)

    def play(self, request: Any, asker: Asker, tap: Any = None, held: bool = False) -> None:
        self.played.append((request, tap))

    def named_notes(self, request: Any, asker: Asker) -> FollowedClip | None:
        return riff() if request.notes else None

    def in_background(self, work: Any, asker: Asker, reply: Any) -> None:
        try:
            self.said.append(reply(work()))
        except RequestError as error:
            self.said.append(error)


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def desk(host: Host) -> SceneDesk:
    return SceneDesk(host)  # type: ignore[arg-type]


def run(host: Host, desk: SceneDesk, seconds: float) -> None:
    for _ in range(round(seconds * 100)):
        host.manual.advance(Fraction(1, 100))
        desk.pump()


def test_scenes_are_kept_listed_and_forgotten(host: Host, desk: SceneDesk) -> None:
    host.open.append(Stream(1, host.clock.stage))
    before = desk.revision
    desk.handle(KeepScene(name="verse", stream=1, guidance=2.0), ASKER)
    desk.handle(KeepScene(name="break", prompt="drums", notes="riff"), ASKER)
    assert desk.revision != before
    rows = desk.handle(Scenes(), ASKER).items  # type: ignore[union-attr]
    assert [(row.name, row.prompt, row.notes) for row in rows] == [("verse", "drone", ""), ("break", "drums", "riff")]
    assert "level" in rows[0].sets
    assert "level" not in rows[1].sets
    assert desk.notes("break").line == riff().line
    refused(ErrorCode.NOT_FOUND, lambda: desk.notes("verse"))
    other = SceneDesk(host)  # type: ignore[arg-type]
    other.restore(msgspec.json.decode(msgspec.json.encode(desk.state())))
    assert other.state() == desk.state()
    desk.handle(ForgetScene(name="verse"), ASKER)
    assert list(desk.state()) == ["break"]
    refused(ErrorCode.NOT_FOUND, lambda: desk.handle(ForgetScene(name="verse"), ASKER))
    refused(ErrorCode.EMPTY, lambda: desk.handle(KeepScene(name="nothing"), ASKER))
    refused(ErrorCode.EMPTY, lambda: desk.handle(KeepScene(name=" ", prompt="x"), ASKER))
    assert list(desk.state()) == ["break"]


def test_what_can_be_kept_is_bounded(host: Host, desk: SceneDesk) -> None:
    for number in range(MAX_SCENES):
        desk.handle(KeepScene(name=str(number), prompt="x"), ASKER)
    refused(ErrorCode.TOO_LONG, lambda: desk.handle(KeepScene(name="more", prompt="x"), ASKER))
    desk.handle(KeepScene(name="0", prompt="y"), ASKER)
    big = msgspec.structs.replace(KeptNotes.of("riff", riff()), description="x" * 900_000)
    state = {str(number): {"notes": msgspec.to_builtins(big)} for number in range(8)}
    assert refused(ErrorCode.TOO_LARGE, lambda: desk.restore(state)).value
    assert len(msgspec.json.encode(desk.state())) < MAX_BYTES, "those that fit are there"
    assert len(desk.state()) == 4


def test_a_file_with_scenes_that_make_no_sense_gives_the_others(host: Host, desk: SceneDesk) -> None:
    error = refused(ErrorCode.OUT_OF_RANGE, lambda: desk.restore({"bad": {"guidance": 99.0}, "good": {"prompt": "x"}}))
    assert error.field == "bad: guidance"
    assert list(desk.state()) == ["good"]


def test_at_once(host: Host, desk: SceneDesk) -> None:
    host.open += [Stream(1, host.clock.stage), Stream(2, host.clock.stage)]
    desk.handle(KeepScene(name="a", prompt="x", level=-12.0), ASKER)
    desk.handle(RecallScene(name="a", morph=8.0), ASKER)
    assert [update for _, update in host.updates] == [BridgeUpdate(stream=n, prompt="x", morph=8.0) for n in (1, 2)]
    assert host.said == [SceneRecalled(streams=2, stream=1)]
    assert host.open[1].voice.gain == linear_gain(-12.0)
    refused(ErrorCode.NOT_FOUND, lambda: desk.handle(RecallScene(name="b"), ASKER))
    host.open.clear()
    refused(ErrorCode.UNKNOWN_STREAM, lambda: desk.handle(RecallScene(name="a"), ASKER))


def test_on_the_bar_line_each_stream_by_what_it_has_in_store(host: Host, desk: SceneDesk) -> None:
    host.manual.timeline.start(Fraction(0))
    host.open += [Stream(1, host.clock.stage, 0.5), Stream(2, host.clock.stage, 2.5)]
    desk.handle(KeepScene(name="a", prompt="x", level=-12.0), ASKER)
    desk.handle(RecallScene(name="a", at="bar"), ASKER)
    assert [(due.stream, due.bar, due.beat, due.seconds) for due in host.said] == [(1, 3, 1, 4.0), (2, 3, 1, 4.0)]
    run(host, desk, 3.95)
    sent = {update.stream: when for when, update in host.updates}
    assert 3.35 < sent[1] < 3.5, "so far ahead as it has sound in store, and a little"
    assert 1.2 < sent[2] < 1.5
    assert host.open[0].voice.gain == linear_gain(-6.0), "a level is not ahead of what is heard"
    run(host, desk, 0.06)
    assert {one.voice.gain for one in host.open} == {linear_gain(-12.0)}
    assert host.said[-1] == SceneRecalled(streams=2, stream=1)
    run(host, desk, 5.0)
    assert len(host.updates) == 2


def test_a_later_one_takes_the_place_of_one_that_waits(host: Host, desk: SceneDesk) -> None:
    host.manual.timeline.start(Fraction(0))
    host.open.append(Stream(1, host.clock.stage))
    for name in "ab":
        desk.handle(KeepScene(name=name, prompt=name), ASKER)
        desk.handle(RecallScene(name=name, at="bar"), ASKER)
    run(host, desk, 3.0)
    assert [update.prompt for _, update in host.updates] == ["b"]
    assert [said for said in host.said if isinstance(said, SceneRecalled)] == [SceneRecalled(streams=1, stream=1)] * 2


def test_a_clock_that_stands_or_stops_holds_nothing_up(host: Host, desk: SceneDesk) -> None:
    host.open.append(Stream(1, host.clock.stage))
    desk.handle(KeepScene(name="a", prompt="x"), ASKER)
    desk.handle(RecallScene(name="a", at="bar"), ASKER)
    assert len(host.updates) == 1
    host.manual.timeline.start(host.manual.now())
    desk.handle(RecallScene(name="a", at="bar"), ASKER)
    run(host, desk, 0.5)
    host.manual.timeline.stop(host.manual.now())
    run(host, desk, 0.02)
    assert len(host.updates) == 2
    host.refusal = RequestError(ErrorCode.UNSUPPORTED, "melody")
    desk.handle(RecallScene(name="a"), ASKER)
    assert host.said[-1] is host.refusal
    host.manual.timeline.start(host.manual.now())
    desk.handle(RecallScene(name="a", at="bar"), ASKER)
    host.open[0].cancelled = True
    run(host, desk, 3.0)
    assert len(host.updates) == 3, "a stream that has ended is not changed"
    assert host.said[-1] == SceneRecalled(streams=1, stream=1)


def test_a_new_stream(host: Host, desk: SceneDesk) -> None:
    desk.handle(KeepScene(name="a", prompt="x", temperature=0.9), ASKER)
    desk.handle(RecallScene(name="a", open=True, at="bar", replaces=4, seed=9, save=True), ASKER)
    ((request, tap),) = host.played
    assert (request.prompt, request.temperature, request.seed) == ("x", 0.9, 9)
    assert (request.at, request.replaces, request.save) == ("bar", 4, True)
    tap.over(RequestError(ErrorCode.BUSY, "streams"))
    assert host.said[-1].code is ErrorCode.BUSY
    tap.opened(Stream(12, host.clock.stage))
    assert host.said[-1] == SceneRecalled(streams=1, stream=12)
    tap.over(RequestError(ErrorCode.INTERNAL, "stream"))
    assert host.said[-1] == SceneRecalled(streams=1, stream=12), "answered once"


# --- What the bridge remembers -------------------------------------------------------------------------------------


def test_parts_are_as_they_were_in_the_last_run(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "state.json"

    def begin(values: dict[str, object]) -> tuple[Keeper, SceneDesk, StateFile]:
        file = StateFile(path)
        keeper, desk = Keeper(file), SceneDesk(host)  # type: ignore[arg-type]
        write: Callable[[SetDefaults], None] = lambda changed: values.update(  # noqa: E731
            {name: value for name, value in msgspec.structs.asdict(changed).items() if value is not None}
        )
        keeper.add(KeptDefaults(lambda: values, write))
        keeper.add(desk)
        return keeper, desk, file

    values: dict[str, object] = {"temperature": 1.0, "seed": -1}
    keeper, desk, file = begin(values)
    keeper.pump()
    file.close()
    assert not path.exists(), "nothing has changed"
    keeper, desk, file = begin(values)
    values["temperature"] = 0.7
    desk.handle(KeepScene(name="a", prompt="x"), ASKER)
    keeper.pump()
    file.close()
    values = {"temperature": 1.0, "seed": -1}
    keeper, desk, file = begin(values)
    assert values == {"temperature": 0.7, "seed": -1}
    assert list(desk.state()) == ["a"]
    state = msgspec.json.decode(path.read_bytes())
    state["defaults"]["temperature"] = 99
    state["scenes"]["b"] = 5
    path.write_bytes(msgspec.json.encode(state))
    values = {"temperature": 1.0, "seed": -1}
    keeper, desk, file = begin(values)
    assert values["temperature"] == 1.0
    assert list(desk.state()) == ["a"], "what can be read of it"
    keeper.pump()
    file.close()
    assert "b" in msgspec.json.decode(path.read_bytes())["scenes"], "what could not be read is not overwritten unasked"


def test_sets(host: Host, tmp_path: Path) -> None:
    folder = tmp_path / "sets"
    keeper, desk = Keeper(StateFile(None)), SceneDesk(host)  # type: ignore[arg-type]
    keeper.add(desk)
    sets = SetDesk(folder, keeper, host)
    desk.handle(KeepScene(name="a", prompt="x"), ASKER)
    for name in ("Tuesday / late", "Tuesday, late", "ü" * 60):
        sets.handle(KeepSet(name=name), ASKER)
        assert host.said[-1] == Done(), host.said[-1]
    desk.handle(ForgetScene(name="a"), ASKER)
    sets.handle(Sets(), ASKER)
    assert [item.name for item in host.said[-1].items] == ["Tuesday / late", "Tuesday, late", "ü" * 60]
    assert {item.parts for item in host.said[-1].items} == {"scenes"}
    sets.handle(OpenSet(name="Tuesday / late"), ASKER)
    assert host.said[-1] == SetOpened(parts="scenes", note="")
    assert list(desk.state()) == ["a"]
    for path in folder.iterdir():
        assert path.suffix == ".json", "no part is left"
        path.write_bytes(path.read_bytes()[:-20])
    sets.handle(OpenSet(name="Tuesday, late"), ASKER)
    assert host.said[-1].code is ErrorCode.MALFORMED
    sets.handle(ForgetSet(name="Tuesday / late"), ASKER)
    assert host.said[-1] == Done()
    sets.handle(OpenSet(name="Tuesday / late"), ASKER)
    assert host.said[-1].code is ErrorCode.NOT_FOUND
    refused(ErrorCode.EMPTY, lambda: sets.handle(KeepSet(name=" "), ASKER))
    refused(ErrorCode.UNSUPPORTED, lambda: SetDesk(None, keeper, host).handle(Sets(), ASKER))
