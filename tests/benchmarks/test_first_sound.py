"""The first-sound benchmark at its smallest, with real processes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from benchmarks import first_sound
from benchmarks._jack import missing_for_jack
from benchmarks._rig import rig
from tests.support.models import untrained_pocket

SUMMARY = {"p50_ms", "p95_ms", "p99_ms", "min_ms", "max_ms"}


def check(summary: dict[str, Any]) -> None:
    values = [summary[key] for key in ("min_ms", "p50_ms", "p95_ms", "p99_ms", "max_ms")]
    assert all(math.isfinite(value) and value > 0 for value in values)
    assert values == sorted(values)


def test_a_request_is_followed_to_the_callback() -> None:
    result = first_sound.measure(str(untrained_pocket()), requests=3, warm_up=1, threads=1, cores=1, output="paced")
    check(result)
    assert set(result["split"]) == set(first_sound.STAGES)
    for name, summary in result["split"].items():
        assert set(summary) == SUMMARY
        if name != "enough":  # nothing is waited for where the first block fills the prebuffer
            check(summary)
    for summary in result["engine_only"].values():
        check(summary)
    check(result["bridge_first_sound"])
    assert result["bridge_first_sound"]["max_ms"] < result["max_ms"], "the client's clock starts earlier"
    assert (result["requests"], result["warm_up"], result["status"]) == (3, 1, "untrained")
    assert (result["cores"], result["threads"], result["device"], result["limits"]) == (1, 1, "cpu", [])
    assert result["output"].startswith("paced")
    assert min(result["block"], result["prebuffer_ms"]) > 0
    assert json.loads(json.dumps(result)) == result
    assert "request → first sample" in first_sound.describe(result)


@pytest.mark.skipif(bool(missing_for_jack()), reason=missing_for_jack() or "JACK is here")
def test_jack_calls_back_where_it_is_installed() -> None:
    with rig(
        str(untrained_pocket()), threads=2, output="jack", period=512, flags=["bridge.prebuffer_ms=20"]
    ) as running:
        assert (running.report.state, running.report.sample_rate) == ("playing", 48_000)
        assert running.output.startswith("JACK")
        assert running.prebuffer_ms == 20
        assert running.marks() == {}


def test_limits_are_those_of_the_machine_and_the_model() -> None:
    summary = {"p95_ms": 120.0, "p99_ms": 20.0}
    (on_two_cores,) = first_sound._limits("pocket", "cpu", 2, summary)
    assert (on_two_cores["limit"], on_two_cores["value"], on_two_cores["kept"]) == (100, 120.0, False)
    assert first_sound._limits("pocket", "cpu", 4, summary) == []
    (on_a_gpu,) = first_sound._limits("musicgen-medium", "cuda:0", 4, summary)
    assert (on_a_gpu["limit"], on_a_gpu["kept"]) == (25, True)


def test_bad_input_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert first_sound.main(["--set", "bridge.prebuffer_ms=soon", "--output", "paced"]) == 2
    assert "bridge.prebuffer_ms" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        first_sound.main(["--requests", "0"])
