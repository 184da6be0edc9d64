"""The front of several engines: real sockets between a client, the router and engines that do what they are told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.replicas.attempts import Whereabouts
from engine.replicas.cluster import Cluster, decide
from engine.replicas.member import Member, Place, by_load
from engine.replicas.reaper import Reaper, end_users
from engine.replicas.replica import own_settings
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Cancel, Load, Resume, Update
from protocols.settings import EngineSettings, Settings
from tests.support.clients import ZmqPeer
from tests.support.processes import wait_until
from tests.support.replicas import Front, ToldEngine


@pytest.fixture
def started() -> Iterator[list[ToldEngine | Front]]:
    """What was started, to be closed at the end, the last first."""
    begun: list[ToldEngine | Front] = []
    yield begun
    for each in reversed(begun):
        each.close() if isinstance(each, Front) else each.die()


@pytest.fixture
def engine(started: list[ToldEngine | Front]) -> Callable[..., ToldEngine]:
    def start(*model: str, **given: object) -> ToldEngine:
        started.append(made := ToldEngine(*model, **given))  # type: ignore[arg-type]
        return made

    return start


@pytest.fixture
def front(started: list[ToldEngine | Front]) -> Front:
    started.append(made := Front())
    return made


def die(engine: ToldEngine, started: list[ToldEngine | Front]) -> None:
    started.remove(engine)
    engine.die()


def tone(frames: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(frames).astype("<f4")


def kinds(engine: ToldEngine, kind: type) -> list:
    return [request for request in engine.asked if isinstance(request, kind)]


def test_streams_are_spread_and_their_sound_arrives_as_it_was(front: Front, engine: Callable[..., ToldEngine]) -> None:
    one, two = engine(), engine()
    front.up(1, one)
    front.up(2, two)
    with ZmqPeer(front.port) as peer:
        assert peer.welcome["model"] == "one"
        numbers = [peer.ask("open", prompt="x")["stream"] for _ in range(4)]
        assert len(set(numbers)) == 4
        assert (len(one.owners), len(two.owners)) == (2, 2)
        assert [item["stream"] for item in peer.ask("streams")["items"]] == numbers
        sent = {number: tone(640, number) for number in (1, 2)}
        one.play(2, 0, sent[1])
        two.play(2, 0, sent[2])
        wait_until(lambda: peer.receive(0.1) and len(peer.headers) == 2)
        heard = {header[0]: block for header, block in zip(peer.headers, peer.blocks, strict=True)}
        assert set(heard) <= set(numbers)
        assert len(heard) == 2
        assert {block.tobytes() for block in heard.values()} == {block.tobytes() for block in sent.values()}
        changed = next(iter(heard))
        assert peer.ask("update", stream=changed, prompt="y")["type"] == "done"
        assert [update.stream for each in (one, two) for update in kinds(each, Update)] == [2]
        assert peer.ask("update", stream=77, prompt="y")["code"] == "unknown_stream"
        assert peer.ask("cancel", stream=0)["type"] == "done"
        assert [cancel.stream for cancel in kinds(one, Cancel) + kinds(two, Cancel)] == [0, 0]


def test_a_lost_replica_takes_its_own_streams_with_it_and_no_others(
    front: Front, engine: Callable[..., ToldEngine], started: list[ToldEngine | Front]
) -> None:
    one, two = engine(), engine()
    front.up(1, one)
    front.up(2, two)
    with ZmqPeer(front.port) as peer, ZmqPeer(front.port) as listener:
        first, second = peer.ask("open", prompt="x"), peer.ask("open", prompt="y")
        assert (len(one.owners), len(two.owners)) == (1, 1)
        assert listener.ask("listen", stream=first["stream"])["type"] == "done"
        assert listener.ask("listen", stream=second["stream"])["type"] == "done"
        one.play(1, 0, tone(640, 1))
        wait_until(lambda: peer.receive(0.1) and peer.headers)
        job = peer.ask("codec/encode", path="/x.wav")["job"]
        doomed, living = (one, two) if kinds_of_jobs(one) else (two, one)
        lost = first if doomed is one else second
        stays = second if doomed is one else first
        die(doomed, started)
        for client in (peer, listener):
            ended = client.event("ended", lost["stream"])
            assert (ended["reason"], ended["samples"]) == ("engine_lost", 640 if doomed is one else 0)
        failed = peer.event("codec/ended")
        assert (failed["job"], failed["reason"], failed["code"]) == (job, "failed", "engine_lost")
        assert peer.ask("update", stream=lost["stream"], prompt="z")["code"] == "unknown_stream"
        assert peer.ask("update", stream=stays["stream"], prompt="z")["type"] == "done"
        living.play(1, 0, tone(640, 2))
        wait_until(lambda: listener.receive(0.1) and listener.headers[-1][0] == stays["stream"])
        assert not any(event["type"] == "ended" for event in peer.events + listener.events)
        assert peer.ask("status")["replicas"] == "1/2"
        assert peer.ask("open", prompt="new")["type"] == "opened"
        assert len(living.owners) == 2
        again = engine()
        front.up(1 if doomed is one else 2, again)
        assert peer.ask("open", prompt="newer")["type"] == "opened"
        assert len(again.owners) == 1, "the one that has come back has most to spare"
        assert [item["restarts"] for item in peer.ask("replicas")["items"]].count(1) == 1


def kinds_of_jobs(engine: ToldEngine) -> bool:
    return any(number < 0 for number in engine.owners)


def test_what_a_lost_replica_has_not_answered_is_asked_of_another(
    front: Front, engine: Callable[..., ToldEngine], started: list[ToldEngine | Front]
) -> None:
    one, two = engine(), engine()
    front.up(1, one)
    front.up(2, two)
    with ZmqPeer(front.port) as peer:
        one.deaf = two.deaf = True
        request = peer.send("open", prompt="x")
        wait_until(lambda: len(one.clients) + len(two.clients) == 3, what="it has a line")
        asked, other = (one, two) if len(one.clients) == 2 else (two, one)
        other.deaf = False
        die(asked, started)
        assert peer.reply(request)["type"] == "opened"
        assert len(other.owners) == 1


def test_a_journal_is_looked_for_on_every_machine(front: Front, engine: Callable[..., ToldEngine]) -> None:
    one, two = engine(), engine(journals=("a",))
    front.up(1, one, node="here")
    front.up(2, two, node="there")
    with ZmqPeer(front.port) as peer:
        assert peer.ask("resume", journal="a")["type"] == "opened"
        assert (len(kinds(one, Resume)), len(kinds(two, Resume))) == (1, 1)
        opened = [peer.ask("open", prompt="x") for _ in range(3)]
        for reply in opened:
            before = len(kinds(one, Resume)), len(kinds(two, Resume))
            assert peer.ask("resume", journal=reply["journal"])["type"] == "opened"
            after = len(kinds(one, Resume)), len(kinds(two, Resume))
            assert sum(after) == sum(before) + 1, "it is known where the journal of a stream lies"
        assert peer.ask("resume", journal="b")["code"] == "not_found"
        found = {item["journal"] for item in peer.ask("journals")["items"]}
        assert {"a", *(reply["journal"] for reply in opened)} <= found


def test_a_full_replica_is_passed_over(front: Front, engine: Callable[..., ToldEngine]) -> None:
    one, two = engine(room=0), engine(room=2)
    front.up(1, one)
    front.up(2, two)
    with ZmqPeer(front.port) as peer:
        assert [peer.ask("open", prompt="x")["type"] for _ in range(2)] == ["opened", "opened"]
        assert peer.ask("open", prompt="x")["code"] == "busy"
        two.end(1, 0)
        assert peer.event("ended")["reason"] == "done"
        assert peer.ask("open", prompt="x")["type"] == "opened"
        status = peer.ask("status")
        assert (status["busy"], status["errors"]) == (1, 1)
        assert (status["threads"], status["frames"], status["streams_running"]) == (4, 200, 2)


def test_another_model_is_loaded_by_all_that_can(
    front: Front, engine: Callable[..., ToldEngine], started: list[ToldEngine | Front]
) -> None:
    one, two = engine(), engine(refuses="big")
    front.up(1, one)
    front.up(2, two)
    with ZmqPeer(front.port) as peer:
        loaded = peer.ask("load", model="other")
        assert (loaded["type"], loaded["weights_mb"]) == ("loaded", 20.0)
        assert peer.event("model_changed")["model"] == "other"
        assert not any(event["type"] == "model_changed" for event in peer.events), "told once"
        assert peer.ask("load", model="big")["type"] == "loaded"
        assert peer.event("model_changed")["model"] == "big"
        assert (one.model, two.model) == ("big", "other")
        assert [peer.ask("open", prompt="x")["type"] for _ in range(3)] == ["opened"] * 3
        assert (len(one.owners), len(two.owners)) == (3, 0), "new streams are made by the model that was told"
        assert "no_memory" in peer.ask("replicas")["items"][1]["fault"]

        die(two, started)
        wait_until(lambda: peer.ask("status")["replicas"] == "1/2")
        back = engine()
        front.up(2, back)
        wait_until(lambda: back.model == "big", what="it is brought to the others' model")
        wait_until(lambda: peer.ask("open", prompt="x")["type"] == "opened" and back.owners)
        assert [request.model for request in kinds(back, Load)] == ["big"]

        front.down(1)
        front.down(2)
        assert peer.ask("open", prompt="x")["code"] == "engine_lost"
        last = engine()
        front.up(1, last)
        assert peer.event("model_changed")["model"] == "one", "what they may have died of is not loaded again"
        assert not kinds(last, Load)


def test_a_client_that_leaves_takes_its_streams_with_it(front: Front, engine: Callable[..., ToldEngine]) -> None:
    one = engine()
    front.up(1, one)
    with ZmqPeer(front.port) as ghost, ZmqPeer(front.port) as other:
        ghost.ask("open", prompt="x")
        other.ask("open", prompt="y")
        first = next(iter(front.router.clients))
        front.on_loop(lambda: front.router.client_lost(first))
        wait_until(lambda: len(kinds(one, Cancel)) == 1, what="the stream of the one that is gone is cancelled")
        assert len(peer_streams := other.ask("streams")["items"]) == 1, peer_streams


def test_a_replica_that_has_forgotten_the_front_is_greeted_anew(
    front: Front, engine: Callable[..., ToldEngine]
) -> None:
    """As after a machine was asleep: the connection is still there, and what was known on the other side is not."""
    one = engine()
    front.up(1, one)
    with ZmqPeer(front.port) as peer:
        stream = peer.ask("open", prompt="x")["stream"]
        one.on_loop(one.forget_clients)
        assert peer.event("ended", stream)["reason"] == "engine_lost"
        wait_until(lambda: peer.ask("open", prompt="x")["type"] == "opened", what="it is there again")


def test_another_engine_at_the_place_of_a_dead_one_is_not_taken_for_it(
    front: Front, engine: Callable[..., ToldEngine]
) -> None:
    one = engine()
    place = one.place()
    stranger = msgspec.structs.replace(place, welcome=msgspec.structs.replace(place.welcome, instance=7))
    front.on_loop(lambda: front.router.team.up(1, stranger))
    wait_until(lambda: front.on_loop(lambda: not front.router.team.ready), what="it is seen through")
    with ZmqPeer(front.port) as peer:
        assert peer.ask("open", prompt="x")["code"] == "engine_lost"
    assert not one.owners


def member(number: int, streams: int, realtime: float, memory: float = 100.0) -> Member:
    made = Member(number, streams=streams)
    engine = ToldEngine()
    made.status = msgspec.structs.replace(engine.status(), realtime=realtime, memory_mb=memory)
    engine.die()
    return made


@pytest.mark.parametrize(
    ("members", "order"),
    [
        ([(2, 5.0), (1, 5.0)], [2, 1]),
        ([(2, 10.0), (1, 5.0)], [1, 2]),
        ([(4, 10.0), (1, 5.0)], [2, 1]),
        ([(1, 0.0), (1, 5.0), (0, 5.0)], [3, 1, 2]),
    ],
    ids=["fewer streams", "twice as fast", "but not for ever", "one that has not worked yet"],
)
def test_the_one_with_most_to_spare_comes_first(members: list[tuple[int, float]], order: list[int]) -> None:
    found = by_load(member(number, *each) for number, each in enumerate(members, 1))
    assert [each.number for each in found] == order


def test_memory_decides_between_equals() -> None:
    found = by_load([member(1, 1, 5.0, memory=900.0), member(2, 1, 5.0, memory=100.0)])
    assert [each.number for each in found] == [2, 1]


def test_what_is_known_of_whereabouts_is_bounded() -> None:
    nodes = Whereabouts()
    for number in range(Whereabouts.MOST + 1):
        nodes.put(str(number), "there")
    there, here = Member(1), Member(2)
    welcome = ToldEngine()
    there.place = Place(endpoint="", node="there", pid=1, welcome=welcome.welcome())
    welcome.die()
    assert nodes.nearest([here, there], "5") == [there, here]
    assert nodes.nearest([here, there], "0") == [here, there], "the oldest is forgotten"


def test_how_many_there_are_and_whether_each_has_a_gpu() -> None:
    assert decide(EngineSettings(replicas=2), gpus=0) == (2, False)
    assert decide(EngineSettings(replicas=2), gpus=4) == (2, True)
    assert decide(EngineSettings(replicas=0), gpus=4) == (4, True)
    assert decide(EngineSettings(replicas=0), gpus=0) == (1, False)
    assert decide(EngineSettings(replicas=3, device="cpu"), gpus=1) == (3, False)
    for engine, gpus in ((EngineSettings(replicas=3), 2), (EngineSettings(replicas=2, device="cuda"), 0)):
        with pytest.raises(RequestError, match="one for each GPU") as caught:
            decide(engine, gpus)
        assert caught.value.code is ErrorCode.OUT_OF_RANGE
    with pytest.raises(RequestError, match="its own GPU"):
        Cluster(Settings(engine=EngineSettings(replicas=2, device="cuda:1")), up=print, down=print).start()


def test_a_replica_gets_its_part_of_the_machine() -> None:
    settings = Settings(engine=EngineSettings(replicas=2, port=7770, threads=0, ray="host:6379"))
    own = own_settings(settings, "127.0.0.1", 64, gpu=True).engine
    assert (own.device, own.threads, own.port, own.replicas, own.ray) == ("cuda", 1, 0, 1, "")
    given = Settings(engine=EngineSettings(replicas=2, threads=3))
    assert own_settings(given, "127.0.0.1", 2, gpu=False).engine.threads == 3
    assert own_settings(given, "127.0.0.1", 2, gpu=False).engine.device == "cpu"


def test_without_ray_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RequestError, match=r"pip install 'daw-bridge\[replicas\]'"):
        Cluster(Settings(engine=EngineSettings(replicas=2)), up=print, down=print).start()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nobody.invalid:6379", "127.0.0.1:99999999"])
def test_a_ray_that_does_not_answer_is_told_at_once(address: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(RequestError, match="ray start --head") as caught:
        Cluster(Settings(engine=EngineSettings(replicas=2, ray=address)), up=print, down=print).start()
    assert (caught.value.code, caught.value.field) == (ErrorCode.NOT_FOUND, "engine.ray")


def test_the_front_loads_neither_torch_nor_by_itself_ray() -> None:
    code = "import engine.replicas.process, sys; print([name for name in ('torch', 'ray') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_reaper_ends_who_uses_its_folder_and_nobody_else(tmp_path: Path) -> None:
    code = "import sys, time; file = open(sys.argv[1], 'w'); print('there', flush=True); time.sleep(60)"
    (tmp_path / "ray").mkdir()
    (tmp_path / "raygun").mkdir()
    users = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / where / "log")], stdout=subprocess.PIPE)
        for where in ("ray", "raygun")
    ]
    try:
        for user in users:
            assert user.stdout is not None
            assert user.stdout.readline().strip() == b"there"
        reaper = Reaper(str(tmp_path / "ray"))
        assert end_users(str(tmp_path / "nowhere")) == 0
        reaper.close()
        assert users[0].wait(10) != 0
        assert users[1].poll() is None
        assert not (tmp_path / "ray").exists()
    finally:
        for user in users:
            user.kill()
            user.wait(10)
            user.stdout.close()  # type: ignore[union-attr]
