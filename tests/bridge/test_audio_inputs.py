"""Inputs chosen, switched and lost, on cards that are moved by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pytest

from daw_bridge.audio.capture import Bus
from daw_bridge.audio.devices import SAME, Device, DeviceChoice, InputChoice, choose_device, choose_input
from daw_bridge.audio.output import OfflineOutput, Output
from daw_bridge.audio.player import Player, PlayerEvent, PlayerSettings
from daw_bridge.audio.recovery import NO_CARD, RecoveryPolicy
from daw_bridge.input_desk import InputDesk
from daw_bridge.overview import card_state, device_list
from protocols.bridge_messages import InputState, SetInput
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Reply
from protocols.osc.front import Asker, Peer
from tests.support.jack import wait_until

T = TypeVar("T")
ASKER = Asker(Peer("udp", "127.0.0.1", 9000), "/bridge/input", 1)
CORE, JACK = "Core Audio", "JACK Audio Connection Kit"
DEVICES = [
    Device(0, "MacBook Microphone", CORE, 0, 48_000, False, False, inputs=1, host_api_default_input=True),
    Device(1, "MacBook Speakers", CORE, 2, 48_000, True, True),
    Device(2, "Scarlett 2i2", CORE, 2, 44_100, False, False, inputs=2),
    Device(3, "Scarlett Solo", CORE, 2, 44_100, False, False, inputs=2),
    Device(4, "system", JACK, 2, 48_000, False, True, inputs=8, host_api_default_input=True),
]


@pytest.mark.parametrize(
    ("choice", "output", "index"),
    [
        (SAME, 2, 2),
        ("Same ", 4, 4),
        ("default", 1, 0),
        ("default", 4, 4),
        ("microphone", 1, 0),
        ("2i2", 1, 2),
        ("3", 1, 3),
        ("core", 2, 0),
        ("Core Audio/Scarlett Solo", 1, 3),
    ],
)
def test_inputs_are_chosen_beside_an_output(choice: str, output: int, index: int) -> None:
    assert choose_input(DEVICES, choice, DEVICES[output]).index == index


@pytest.mark.parametrize(("choice", "output"), [(SAME, 1), ("system", 1), ("4", 1), ("scarlett", 1), ("piano", 4)])
def test_an_input_that_is_not_beside_the_output_is_refused_with_those_that_are(choice: str, output: int) -> None:
    with pytest.raises(RequestError) as caught:
        choose_input(DEVICES, choice, DEVICES[output])
    assert (caught.value.code, caught.value.field) == (ErrorCode.UNKNOWN_DEVICE, "input")
    assert "Scarlett" in caught.value.allowed or caught.value.allowed == "4: system"


def test_a_sound_system_without_inputs_says_so() -> None:
    with pytest.raises(RequestError, match="Core Audio has no input"):
        choose_input(DEVICES[1:2], SAME, DEVICES[1])


def test_a_microphone_is_no_output() -> None:
    with pytest.raises(RequestError, match="MacBook Speakers"):
        choose_device(DEVICES, "microphone")


@pytest.mark.parametrize(("name", "wanted"), [("", False), ("none", False), (" None ", False), (SAME, True)])
def test_nothing_is_recorded_unasked(name: str, wanted: bool) -> None:
    assert InputChoice(name).wanted is wanted
    assert not InputChoice().wanted


class Studio:
    """Cards with one input each, called "mic"; an exclusive one opens but once at a time."""

    def __init__(self, exclusive: bool = False) -> None:
        self.exclusive = exclusive
        self.broken: set[str] = set()
        self.opened: list[OfflineOutput] = []
        self.events: list[tuple[PlayerEvent, dict[str, Any]]] = []

    def open(self, choice: DeviceChoice, source: InputChoice) -> Output:
        if self.exclusive and any(output.active for output in self.opened):
            raise RequestError(ErrorCode.UNSUPPORTED, "device", choice, "a device that opens: busy")
        if "card" in self.broken:
            raise RequestError(ErrorCode.UNSUPPORTED, "device", choice, "a device that opens: broken")
        output = OfflineOutput(48_000, 2, 256)
        output.name = "card"
        if source.name in self.broken:
            output.input_refusal = RequestError(ErrorCode.UNSUPPORTED, "input", source.name, "an input that opens")
        elif source.wanted and source.name != "mic":
            output.input_refusal = RequestError(ErrorCode.UNKNOWN_DEVICE, "input", source.name, "mic")
        elif source.wanted:
            output.inputs, output.input_name = source.channels, source.name
        output.open()
        self.opened.append(output)
        return output

    def player(self, source: InputChoice | None = None, patience: float = 60.0) -> Player:
        recovery = RecoveryPolicy(stall=60.0, patience=patience, retry=0.02, retry_limit=0.05)
        settings = PlayerSettings(recovery=recovery, source=source or InputChoice())
        return Player(settings, lambda *event: self.events.append(event), self.open)

    @property
    def current(self) -> OfflineOutput:
        return next((output for output in reversed(self.opened) if output.active), self.opened[-1])


class Played:
    """A ramp that plays on a studio's cards, and what has been heard of it on all of them."""

    def __init__(self, studio: Studio, player: Player) -> None:
        self.sound = np.arange(1, 30_001, dtype=np.float32)[:, None].repeat(2, 1) / 30_000
        self._studio = studio
        self._voice = player.open_voice(48_000, 2)
        self._voice.write(self.sound)
        self._voice.finish()
        self._heard = [studio.current.advance(2560)]
        self._fades = 2  # in and out

    def while_set(self, player: Player, source: InputChoice) -> RequestError | None:
        """Set an input while the card that plays goes on."""
        refusals: list[RequestError] = []

        def change() -> None:
            try:
                player.set_input(source)
            except RequestError as error:
                refusals.append(error)

        old = self._studio.current
        self._heard.append(old.advance(2560))
        self._fades += 2
        changing = threading.Thread(target=change)
        changing.start()
        while changing.is_alive():
            if old.active:
                self._heard.append(old.advance(256))
            time.sleep(0.001)
        return refusals[0] if refusals else None

    def whole(self) -> bool:
        """Play to the end: whether every frame was heard once, in order, faded or not."""
        while not self._voice.finished:
            self._heard.append(self._studio.current.advance(2560))
        heard = np.concatenate(self._heard)
        played = heard[heard[:, 0] > 0, 0]
        if len(played) != len(self.sound):
            return False
        level = played / self.sound[:, 0]
        return bool((level <= 1 + 1e-6).all() and np.count_nonzero(level < 1 - 1e-6) <= self._fades * 240)


@pytest.mark.parametrize("exclusive", [False, True])
def test_switching_the_input_loses_no_frame(exclusive: bool) -> None:
    studio = Studio(exclusive)
    with studio.player() as player:
        player.start("card")
        played = Played(studio, player)
        assert played.while_set(player, InputChoice("mic", 1)) is None
        assert (player.status().state, player.status().input, player.status().inputs) == ("playing", "mic", 1)
        studio.current.advance(1024, np.full((1024, 1), 0.25, np.float32))
        assert player.status().input_level == 0.25
        assert (player.captured_until(Bus.INPUT), len(player.capture(Bus.INPUT, 0, 1024))) == (1024, 1024)
        assert sum(output.active for output in studio.opened) == 1
        assert player.status().lost == 0
    assert [details["input"] for _, details in studio.events] == ["", "mic"]


@pytest.mark.parametrize("exclusive", [False, True])
def test_no_frame_of_a_voice_is_lost_whatever_comes_of_the_input(exclusive: bool) -> None:
    studio = Studio(exclusive)
    studio.broken.add("buzzing")
    with studio.player(InputChoice("mic")) as player:
        player.start("card")
        played = Played(studio, player)
        refusal = played.while_set(player, InputChoice("buzzing"))
        assert refusal is not None
        assert (refusal.field, refusal.value) == ("input", "buzzing")
        assert (player.status().state, player.status().input) == ("playing", "mic"), "what was there is there again"
        assert played.while_set(player, InputChoice()) is None
        assert player.status().inputs == 0
        assert played.whole()


def test_no_input_in_place_of_none_leaves_the_card_alone() -> None:
    studio = Studio()
    with studio.player() as player:
        player.start("card")
        player.set_input(InputChoice("none", 4))
        assert len(studio.opened) == 1
        assert player.source.channels == 4


def test_an_unknown_input_does_not_disturb_what_plays() -> None:
    studio = Studio()
    with studio.player(InputChoice("mic")) as player:
        player.start("card")
        before = studio.current
        with pytest.raises(RequestError, match="allowed: mic"):
            player.set_input(InputChoice("mike"))
        assert before.active
        assert player.listen(Bus.INPUT).alive
        assert len(studio.events) == 1


def test_when_nothing_opens_again_the_search_goes_on_and_brings_the_input_back() -> None:
    studio = Studio(exclusive=True)
    with studio.player(InputChoice("mic")) as player:
        player.start("card")
        played = Played(studio, player)
        studio.broken.add("card")
        assert played.while_set(player, InputChoice("mic", 1)) is not None
        wait_until(lambda: player.status().state == "searching", "the loss is noticed")
        with pytest.raises(RequestError, match="being looked for"):
            player.listen(Bus.OUTPUT)
        studio.broken.clear()
        wait_until(lambda: player.status().state == "playing", "the card opens again")
        assert player.status().inputs == 2
        assert played.whole()


def test_an_input_set_while_the_card_is_away_is_there_when_it_returns() -> None:
    studio = Studio()
    with studio.player() as player:
        player.start("card")
        studio.broken.add("card")
        studio.current.close()
        wait_until(lambda: player.status().state == "searching", "the loss is noticed")
        player.set_input(InputChoice("mic"))
        studio.broken.clear()
        wait_until(lambda: player.status().state == "playing", "the card is back")
        assert player.status().input == "mic"


def test_without_a_card_there_is_no_input() -> None:
    with Player(PlayerSettings(source=InputChoice(SAME))) as player:
        player.start(NO_CARD)
        assert "a sound card" in player.status().input_reason
        with pytest.raises(RequestError, match="a sound card"):
            player.set_input(InputChoice("mic"))
        wait_until(lambda: player.captured_until(Bus.OUTPUT) > 0, "the output is kept")


def test_the_offset_that_a_musician_measured_is_added() -> None:
    studio = Studio()
    settings = PlayerSettings(source=InputChoice("mic"), input_offset=-0.001)
    with Player(settings, open_output=studio.open) as player:
        player.start("card")
        studio.current.round_trip = 0.01
        assert player.listen(Bus.INPUT).delay == 480 - 48


def test_a_player_that_is_not_running_has_no_input() -> None:
    player = Studio().player()
    for call in (lambda: player.set_input(InputChoice("mic")), lambda: player.listen(Bus.INPUT)):
        with pytest.raises(RequestError) as caught:
            call()
        assert caught.value.code == ErrorCode.NOT_ALLOWED


# --- as hosts ask for it --------------------------------------------------------------------------------------------


class Host:
    """Does at once what takes a while, and keeps the answers."""

    def __init__(self) -> None:
        self.answers: list[Reply | RequestError] = []

    def in_background(self, work: Callable[[], T], asker: Asker, reply: Callable[[T], Reply]) -> None:
        try:
            self.answers.append(reply(work()))
        except RequestError as error:
            self.answers.append(error)


def test_hosts_set_the_input_and_ask_for_it() -> None:
    studio, host = Studio(), Host()
    with studio.player() as player:
        player.start("card")
        desk = InputDesk(player, host)
        before = desk.handle(SetInput(), ASKER)
        assert before == InputState(
            name="", channels=0, sample_rate=48_000, level=-120.0, round_trip_ms=0.0, gaps=0, note=""
        )
        for request in (SetInput(name="mic"), SetInput(channels=8), SetInput(name="mike")):
            assert desk.handle(request, ASKER) is None
        first, second, refusal = host.answers
        assert isinstance(first, InputState)
        assert isinstance(second, InputState)
        assert isinstance(refusal, RequestError)
        assert (first.name, first.channels, second.name, second.channels) == ("mic", 2, "mic", 8)
        studio.current.advance(1024, np.full((1024, 8), 0.5, np.float32))
        studio.current.meters.note_overflow()
        studio.current.round_trip = 0.0123456
        after = desk.handle(SetInput(), ASKER)
        assert after is not None
        assert (after.level, after.gaps, after.round_trip_ms) == (-6.0, 1, 12.346)
        desk.handle(SetInput(name="none"), ASKER)
        assert isinstance(host.answers[-1], InputState)
        assert host.answers[-1].channels == 0


def test_the_devices_that_are_used_are_marked() -> None:
    studio = Studio()
    with studio.player(InputChoice("mic")) as player:
        player.start("card")
        cards = [
            Device(0, "mic", "", 0, 48_000, False, False, inputs=1),
            Device(1, "card", "", 2, 48_000, True, True),
            Device(2, "card", "another system", 2, 48_000, False, True),
        ]
        listed = device_list(cards, player.status()).items
    assert [(one.index, one.inputs, one.chosen, one.recorded) for one in listed] == [
        (0, 1, False, True),
        (1, 0, True, False),
        (2, 0, False, False),
    ]


def test_what_the_card_says_of_its_input_is_told() -> None:
    studio = Studio()
    with studio.player(InputChoice("mike")) as player:
        player.start("card")
    (event, details) = studio.events[0]
    told = card_state(event, details)
    assert (told.state, told.name, told.input) == ("opened", "card", "")
    assert "mike" in told.note
