"""What a stream's words are made of, as sections begin and requests change them."""

from __future__ import annotations

from daw_bridge.stream_words import WordedStream
from daw_bridge.wording import Facts, Template, Wording
from protocols.messages import Updated


def updated(frame: int, section: int = 0) -> Updated:
    return Updated(stream=1, frame=frame, seconds=frame / 50, section=section)


def opened(**facts: object) -> WordedStream:
    wording = Wording(Template("{prompt}, {bpm} bpm"), Facts(bpm=96.0, prompt="harp", **facts))  # type: ignore[arg-type]
    return WordedStream(wording, ("drums", "choir"))


def test_a_section_that_begins_is_what_the_words_are_made_of() -> None:
    stream = opened()
    stream.words_updated(updated(50, section=1))
    assert stream.wording.words == "drums, 96 bpm"
    assert [frame for frame, _ in stream.wordings] == [0, 50]
    assert stream.last_change is None, "nobody has changed anything that could be undone"
    stream.wording = stream.wording.saying("flute")
    stream.words_updated(updated(70))
    assert (stream.last_change, stream.wording.words) == (70, "flute, 96 bpm")
    stream.words_updated(updated(90, section=2))
    assert (stream.last_change, stream.wording.words) == (70, "choir, 96 bpm")


def test_words_that_are_on_their_way_come_after_the_section() -> None:
    stream = opened()
    stream.wording = stream.wording.saying("flute")
    stream.words_updated(updated(50, section=1))
    assert stream.wording.words == "flute, 96 bpm"
    stream.words_updated(updated(52))
    assert [wording.facts.prompt for _, wording in stream.wordings] == ["harp", "drums", "flute"]
    assert stream.last_change == 52


def test_bars_are_those_of_its_own_metre() -> None:
    assert opened().beats_per_bar(4) == 4
    assert opened(metre="7/8").beats_per_bar(4) == 3.5
    assert opened(metre="6/8").beats_per_bar(3) == 2
