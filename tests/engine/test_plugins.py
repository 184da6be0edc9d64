"""Models of other distributions: found by their entry points, sampled like any other, and harmless where they are broken."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.checkpoints import ModelBundle, load_model, plugins
from engine.checkpoints.catalogue import find_source
from engine.checkpoints.plugins import MODELS, installed, model_rows
from engine.models import check_name
from engine.runtime.custom_lm import CustomLM
from engine.runtime.sampler import FrameSampler
from engine.runtime.sampling import SamplingSettings, guide
from protocols.errors import ErrorCode, RequestError
from protocols.messages import Open, Update
from protocols.settings import EngineSettings, FileSettings
from tests.support.audiocraft_checkpoints import write_audiocraft_checkpoint
from tests.support.clients import ZmqPeer
from tests.support.journals import go_on, kit, play
from tests.support.plugins import MODULE, NAME, write_distribution
from tests.support.processes import Process


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codecs") / "tiny"
    return write_audiocraft_checkpoint(folder, codebooks=2, text_encoder=False)


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = write_distribution(tmp_path_factory.mktemp("site"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder
        sys.modules.pop(MODULE, None)


@pytest.fixture(scope="module")
def bundle(brought: Path, codec: Path) -> ModelBundle:
    return load_model(f"{NAME} codec={codec}", device="cpu")


def test_it_is_listed_and_not_imported(brought: Path) -> None:
    program = (
        "import sys; from engine.checkpoints.plugins import model_rows; import json;"
        f"print(json.dumps([[r.name, r.source, r.licence] for r in model_rows()])); assert {MODULE!r} not in sys.modules;"
        "assert 'torch' not in sys.modules"
    )
    environment = {"PYTHONPATH": f"{brought}:{Path(__file__).parents[2]}"}
    told = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert [NAME, f"acme-lm 1.2 ({MODULE}:make)", "MIT"] in json.loads(told.stdout)
    assert {row.name for row in model_rows()} >= {NAME, "acme-fails"}


def test_what_a_name_means(brought: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = find_source(f" {NAME} seed=2")
    assert source.plugin is not None
    assert (source.name, source.folder, source.hub_id) == (NAME, None, None)
    assert find_source("pocket").plugin is None, "the catalogue's own names stay what they are"
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).mkdir()
    check_name(f"{NAME} seed=2", EngineSettings(), FileSettings())
    with pytest.raises(RequestError, match=NAME):
        find_source("acme-other")


def test_the_bundle_is_filled_in(bundle: ModelBundle) -> None:
    assert isinstance(bundle.lm, CustomLM)
    assert (bundle.name, bundle.num_codebooks, bundle.card, bundle.channels) == (NAME, 2, 64, 1)
    assert (bundle.window_frames, bundle.stride_frames) == (40, 20)
    assert len(bundle.fingerprint) == 64
    assert bundle.parameters > 0
    assert bundle.delays == ()


def test_tokens_are_those_of_the_network_by_itself(bundle: ModelBundle) -> None:
    """Guidance and pattern by hand, greedily, against the sampler."""
    network = bundle.lm.network
    heard = bundle.text.encode("happy rock").hidden
    layout = bundle.pattern.layout(20)
    sequence = torch.full((1, 2, layout.steps), network.card)
    state = network.begin([heard, heard[:0]], layout.steps)
    with torch.inference_mode():
        for step in range(1, layout.steps):
            logits = network.step(sequence[..., step - 1 : step].expand(2, -1, -1), state)
            tokens = guide(logits[:, :, -1], 3.0).argmax(-1)
            sequence[..., step] = torch.where(layout.mask[:, step], tokens, sequence[..., step])
    sampler = FrameSampler(
        bundle.lm,
        [bundle.lm.condition(heard)],
        SamplingSettings(temperature=0),
        total_frames=20,
        window_frames=40,
        stride_frames=20,
        seed=0,
    )
    made = [codes for _ in range(layout.steps) if (codes := sampler.advance()) is not None]
    assert torch.equal(torch.cat(made, 2), layout.codes(sequence, 0, 20))


def test_it_streams_past_its_window_changes_and_goes_on_from_a_journal(bundle: ModelBundle) -> None:
    preparation, admission = kit(bundle)
    request = Open(prompt="a happy song", seed=5)
    updates = (
        (12, Update(stream=1, prompt="sad piano")),
        (33, Update(stream=1, prompt="slow || fast drums", weights="1 2", temperature=0.8)),
        (60, Update(stream=1, prompt="fast", morph=2.0)),
    )
    whole = play(preparation, admission, request, 110, updates=updates)
    assert len(whole.changes) == 3
    assert len(np.unique(whole.codes)) > 20
    for first in (1, 13, 40, 63, 99):
        again = go_on(preparation, admission, bundle, request, whole, first, first + 10)
        length = min(len(again.codes), len(whole.codes) - first)
        assert length >= 5
        assert np.array_equal(again.codes[:length], whole.codes[first : first + length]), f"from frame {first}"
    plain = play(preparation, admission, request, 30)
    assert not np.array_equal(plain.codes[14:28], whole.codes[14:28])
    assert np.array_equal(plain.codes[:12], whole.codes[:12])


def test_windows_heard_ahead_change_nothing(bundle: ModelBundle) -> None:
    def read(ahead: bool) -> list[int]:
        sampler = FrameSampler(
            bundle.lm,
            [bundle.lm.condition(bundle.text.encode("happy").hidden), bundle.lm.condition(None)],
            SamplingSettings(),
            total_frames=90,
            window_frames=24,
            stride_frames=10,
            seed=3,
            ahead=ahead,
        )
        made = []
        while not sampler.done:
            if (codes := sampler.advance()) is not None:
                made.append(codes)
        tokens: list[int] = torch.cat(made, 2).flatten().tolist()
        return tokens

    assert read(True) == read(False)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("acme-nothing", "NoneType, not a ModelBundle"),
        ("acme-fails", "ZeroDivisionError: no such luck"),
        ("acme-ends", "SystemExit: 3"),
        ("acme-absent", "ModuleNotFoundError"),
        ("acme-constant", "nothing that can be called"),
        ("acme-forgetful codec={codec}", "logits depend on how columns are split"),
        ("acme-misshapen codec={codec}", "logits are [2, 1, 3, 64], not [2, 2, 3, 64]"),
        ("acme-unfit codec={codec}", "codebooks of the LM and the codec differ: 2, 4"),
    ],
)
def test_a_broken_one_is_reported_by_name(brought: Path, codec: Path, name: str, reason: str) -> None:
    with pytest.raises(RequestError) as refusal:
        load_model(name.format(codec=codec), device="cpu")
    error = refusal.value
    assert (error.code, error.field, error.value) == (ErrorCode.MALFORMED, "model", name.split()[0])
    assert reason in error.allowed
    assert "acme-lm 1.2" in error.allowed


@pytest.mark.parametrize("options", ["colour=red", "seed", "=1", "seed=1 seed=2", "seed='1"])
def test_options_are_checked(brought: Path, options: str) -> None:
    with pytest.raises(RequestError):
        load_model(f"{NAME} {options}", device="cpu")


def test_of_two_of_one_name_always_the_same_counts(
    brought: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_distribution(tmp_path, name="aardvark", points={NAME: f"{MODULE}:nothing", "not a name": f"{MODULE}:nothing"})
    monkeypatch.syspath_prepend(str(tmp_path))
    found = installed(MODELS)
    assert found[NAME].distribution == "aardvark 1.2"
    assert "not a name" not in found
    assert plugins.find_model("not a name") is None


def test_a_real_engine_plays_it_and_survives_a_broken_one(brought: Path, codec: Path, tmp_path: Path) -> None:
    settings = [f"engine.model={NAME} codec={codec}", "engine.port=0", "engine.device=cpu"]
    engine = Process("engine", settings, tmp_path / "engine.log", {"PYTHONPATH": str(brought)})
    try:
        with ZmqPeer(engine.ports["port"]) as peer:
            assert peer.welcome["model"] == NAME
            refused = peer.ask("load", model="acme-fails")
            assert (refused["code"], refused["value"]) == ("malformed", "acme-fails")
            listing = peer.ask("models")
            assert listing["type"] == "model_list", listing
            listed = {row["name"]: row for row in listing["items"]}
            assert listed[NAME]["loaded"]
            assert "acme-lm 1.2" in listed["acme-fails"]["source"]
            ended, samples = peer.stream("generate", prompt="happy rock", duration=1.1, seed=3)
            assert ended["reason"] == "done"
            assert len(samples) == round(1.1 * 32000)
            assert samples.std() > 1e-3
    finally:
        engine.kill()
