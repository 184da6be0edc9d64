"""The tables of the hosts' clients: whole, and none of them stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from host_tables import __main__ as host_tables
from protocols.bridge_messages import BRIDGE_REQUESTS
from protocols.description import describe
from protocols.fields import fields_of
from protocols.osc import form

FILES = host_tables.written()


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_clients_table_is_not_stale(name: str) -> None:
    path = host_tables.ROOT / name
    assert path.is_file(), "run python -m host_tables"
    assert path.read_bytes() == FILES[name], "run python -m host_tables"


def test_writing_twice_gives_the_same_bytes() -> None:
    assert host_tables.written() == FILES


def test_a_stale_table_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert host_tables.main([str(tmp_path)]) == 0
    assert host_tables.main(["--check", str(tmp_path)]) == 0
    name = sorted(FILES)[0]
    (tmp_path / name).write_text("of yesterday")
    assert host_tables.main(["--check", str(tmp_path)]) == 1
    assert f"{name} is stale" in capsys.readouterr().err


def test_the_description_holds_every_address_with_its_parameters() -> None:
    bridge = describe().bridge
    space = form.address_space(BRIDGE_REQUESTS)
    assert [table.path for table in bridge.addresses] == list(space)
    for table in bridge.addresses:
        specs = fields_of(space[table.path].request)
        shown = {spec.name for spec in table.parameters} | ({table.rest.name} if table.rest else set())
        assert shown == {name for name, spec in specs.items() if spec.osc}


def test_the_description_knows_what_opens_a_stream_and_what_is_a_list() -> None:
    bridge = describe().bridge
    assert bridge.address("play").opens_stream
    assert [spec.name for spec in bridge.address("play").answer][:5] == ["stream", "reason", "seconds", "seed", "path"]
    assert bridge.address("streams").listed
    assert not bridge.address("cancel").opens_stream
    assert bridge.address("weights").rest is not None
    assert {spec.name for spec in bridge.settings} >= {"temperature", "guidance"}
    assert "model" in {spec.name for spec in bridge.status}
