"""The reference page: whole, true and not stale."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from protocols import reference
from protocols.bridge_messages import BRIDGE_EVENTS, BRIDGE_REQUESTS
from protocols.errors import ErrorCode
from protocols.examples import Example, examples
from protocols.fields import fields_of
from protocols.messages import ENGINE_REQUESTS, EVENTS
from protocols.osc import form
from protocols.osc.codec import OscMessage, decode, encode

PAGE = reference.page()
COMMITTED = Path(reference.__file__).parents[1] / reference.DEFAULT_PATH


def test_the_page_in_the_docs_is_not_stale() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == PAGE, "run python -m protocols.reference"


def test_every_address_event_and_code_has_its_place() -> None:
    for address in (form.address_space(ENGINE_REQUESTS) | form.address_space(BRIDGE_REQUESTS)).values():
        section = PAGE.split(f"### `{address.path}`\n", 1)[1].split("\n#", 1)[0]
        assert re.search(r"^Answer: .+", section, re.MULTILINE)
        for spec in (*address.positional, *address.named):
            assert f"| `{spec.name}` | " in section
            assert spec.meaning.replace("|", r"\|") in section
    for root, events in (("engine", EVENTS), ("bridge", BRIDGE_EVENTS)):
        for event in events:
            over_osc = event not in form.WITHOUT_OSC
            tag = form.tag_of(event)
            assert (f"### `/{root}/{tag}`\n" if over_osc else f"### `{tag}` (ZeroMQ only)\n") in PAGE
            if over_osc:
                sent = [name for name, spec in fields_of(event).items() if spec.osc]
                assert f"```\n{' '.join((f'/{root}/{tag}', *sent))}\n```" in PAGE
    for request in ENGINE_REQUESTS:
        assert f"ZeroMQ: type `{form.tag_of(request)}`, answered by " in PAGE
    for code in ErrorCode:
        assert f"| `{code}` | {code.meaning} |" in PAGE


def test_links_lead_somewhere_and_tables_are_even() -> None:
    headings = re.findall(r"^#+ (.+)$", re.sub(r"(?ms)^```.*?^```", "", PAGE), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(#([^)]+)\)", PAGE)
    assert links
    assert set(links) <= anchors
    for table in re.findall(r"(?m)(?:^\|.*\n)+", PAGE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.sent.address)
def test_examples_are_messages_that_the_bridge_takes(example: Example) -> None:
    for message in (example.sent, *example.received):
        assert decode(encode(message.address, *message.arguments)) == [message]
        assert reference.written(message) in PAGE
    address = form.address_space(BRIDGE_REQUESTS)[example.sent.address]
    last = example.received[-1]
    if last.address == "/fail":
        with pytest.raises(form.OscFormError):
            form.parse(address, example.sent.arguments)
    else:
        number, _, _ = form.parse(address, example.sent.arguments)
        assert last.arguments[:2] == (example.sent.address, number)


def test_a_message_is_written_as_in_a_host() -> None:
    message = OscMessage("/bridge/play", (1, "slow dub", "duration", 8.0, "sound", True, "name", ""))
    assert reference.written(message) == '/bridge/play 1 "slow dub" duration 8.0 sound 1 name ""'


def test_check_tells_a_stale_page_from_a_fresh_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "docs" / "protocol.md"
    assert reference.main(["--check", str(path)]) == 1
    assert not path.exists()
    assert reference.main([str(path)]) == 0
    assert path.read_text(encoding="utf-8") == PAGE
    assert reference.main(["--check", str(path)]) == 0
    path.write_text(PAGE + "\nedited by hand\n", encoding="utf-8")
    assert reference.main(["--check", str(path)]) == 1
    assert "stale" in capsys.readouterr().err
