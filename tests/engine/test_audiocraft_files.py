"""Files of torch read as data, and AudioCraft's configurations in them."""

from __future__ import annotations

import base64
import json
import math
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.checkpoints.audiocraft.config import Config
from engine.checkpoints.audiocraft.files import safe_load
from engine.checkpoints.audiocraft.package import Pointer, read_package, read_weights
from engine.checkpoints.audiocraft.pickles import Record
from protocols.errors import ErrorCode, RequestError

FIGURES = json.loads((Path(__file__).parent / "figures" / "omegaconf_package.json").read_text())


def refused(call: Callable[[], object]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        call()
    return caught.value


# --- files


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_what_a_solver_pickles_is_read_without_its_libraries(form: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.th"
    path.write_bytes(base64.b64decode(FIGURES[form]))
    content = safe_load(path)
    assert torch.equal(content["best_state"]["model"]["a"], torch.arange(6.0).reshape(2, 3).half())
    assert content["history"] == [{"train": {"loss": 0.5}}]
    assert (content["path"], content["size"], content["xp.sig"]) == ("/a/b", (2, 3), "0123abcd")
    assert isinstance(content["args"], Record)

    config = Config.read(content["xp.cfg"])
    assert config.whole("transformer_lm.dim") == 64
    assert config.whole("generate.audio.sample_rate") == 32_000
    assert config.number("generate.audio.rel.temp") == 1.0
    assert config.wholes("delays") == [0, 1, 2, 4]
    assert config.get("transformer_lm.layer_scale", "x") is None
    assert "missing" not in config
    assert "oc.env:HOME" in refused(lambda: config.text("path")).text

    package = read_weights(path)
    assert sorted(package.weights) == ["a", "b"]
    assert not package.exported


def test_tensors_of_every_kind(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(2, 3, 4)
    kinds = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
    saved: dict[str, Any] = {name: base.to(getattr(torch, name)) for name in kinds}
    saved |= {"view": base[:, 1:, ::2], "turned": base.permute(2, 0, 1), "scalar": torch.tensor(3), "none": base[:0]}
    saved |= {"wide": torch.ones(1).expand(1), "complex": torch.tensor([1 + 2j])}
    for form in (True, False):
        torch.save(saved, tmp_path / "x.bin", _use_new_zipfile_serialization=form)
        loaded = safe_load(tmp_path / "x.bin")
        assert loaded.keys() == saved.keys()
        for name, tensor in saved.items():
            assert loaded[name].dtype == tensor.dtype, name
            assert torch.equal(loaded[name], tensor), name


def test_tensors_are_mapped_and_not_copied(tmp_path: Path) -> None:
    """Many views of one storage cost it once: what a file claims is bounded by what it has."""
    base = torch.zeros(1 << 18)
    torch.save({str(n): base[n:] for n in range(50)}, tmp_path / "x.bin")
    loaded = safe_load(tmp_path / "x.bin")
    assert len({tensor.untyped_storage().data_ptr() for tensor in loaded.values()}) <= 2
    assert loaded["7"].shape == ((1 << 18) - 7,)


def test_a_file_without_checksums(tmp_path: Path) -> None:
    """torch can be told to write none, which are 0 then."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"x": torch.ones(3)}, tmp_path / "x.bin")
    finally:
        torch.serialization.set_crc32_options(before)
    assert safe_load(tmp_path / "x.bin")["x"].tolist() == [1, 1, 1]


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("form", [True, False])
def test_nothing_in_a_file_is_executed(form: bool, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    torch.save({"best_state": {"x": Evil(canary)}}, tmp_path / "x.bin", _use_new_zipfile_serialization=form)
    error = refused(lambda: safe_load(tmp_path / "x.bin"))
    assert error.code == ErrorCode.MALFORMED
    assert "system, which no checkpoint needs" in error.text
    assert not canary.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not empty"),
        (b"<!DOCTYPE html><html>", "not a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b'{"error": 404}', "not JSON"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"RIFF\x00\x00\x00\x00WAVE", "not a sound"),
        (b"\x00" * 64, "torch saved"),
        (b"PK\x03\x04" + b"\x00" * 64, "whole"),
        (pickle.dumps({"x": 1}), "not another pickle"),
    ],
)
def test_other_files_are_named(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "state_dict.bin"
    path.write_bytes(content)
    error = refused(lambda: safe_load(path))
    assert error.code == ErrorCode.MALFORMED
    assert reason in error.text
    assert "state_dict.bin" in error.text


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert refused(lambda: safe_load(tmp_path / "x.bin")).code == ErrorCode.NOT_FOUND
    assert "not a folder" in refused(lambda: safe_load(tmp_path)).text
    torch.save([1, 2], tmp_path / "list.bin")
    assert "not a list" in refused(lambda: safe_load(tmp_path / "list.bin", "decoder")).text
    assert refused(lambda: safe_load(tmp_path / "list.bin", "decoder")).field == "decoder"


# --- forms


def test_pointers_are_names_and_never_paths(tmp_path: Path) -> None:
    path = tmp_path / "compression_state_dict.bin"
    for name in ("facebook/encodec_32khz", "dac_44khz"):
        torch.save({"pretrained": name, "exported": True}, path)
        found = read_package(path)
        assert isinstance(found, Pointer)
        assert found.name == name
    for wrong in ("../x", "/etc/passwd", "a/b/c", "a/..", "", None, 5):
        torch.save({"pretrained": wrong}, path)
        assert "the name of a model" in refused(lambda: read_package(path)).text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"best_state": {"x": torch.ones(1)}}, "with xp.cfg"),
        ({"xp.cfg": "a: 1"}, "with weights, under best_state"),
        ({"xp.cfg": "a: 1", "best_state": {"x": torch.ones(1), 3: torch.ones(1)}}, "weights with names, not 3"),
        ({"xp.cfg": "a: 1", "best_state": {"x": torch.ones(1), "y": "z"}}, "unlike y"),
        ({}, "this one has nothing"),
    ],
)
def test_forms_that_are_none(content: dict[str, Any], reason: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.bin")
    assert reason in refused(lambda: read_package(tmp_path / "x.bin")).text


def test_the_best_weights_come_first_and_lose_their_wrappers(tmp_path: Path) -> None:
    best, other = {"module._fsdp_wrapped_module.x": torch.ones(1)}, {"x": torch.zeros(1)}
    packages: list[dict[str, Any]] = [
        {"fsdp_best_state": {"model": best}, "best_state": {"model": other}},
        {"fsdp_best_state": {}, "best_state": {"model": best}, "model": other},
        {"best_state": {}, "ema": {"state": {"model": best}, "count": 3}, "model": other},
        {"model": best, "optimizer": {"state": {}}},
    ]
    for package in packages:
        torch.save(package | {"xp.cfg": "a: 1"}, tmp_path / "x.th")
        assert read_weights(tmp_path / "x.th").weights == {"x": torch.ones(1)}


# --- configurations


def test_getters() -> None:
    config = Config.read(
        "a: {n: 3, f: 8.0, x: 1e-5, s: text, t: true, l: [1, 2], e: [], z: null, h: 0x10, d: 2020-01-01}"
    )
    part = config.section("a")
    assert (part.whole("n"), part.whole("f"), part.number("x"), part.text("s"), part.flag("t")) == (
        3,
        8,
        1e-5,
        "text",
        True,
    )
    assert (part.wholes("l"), part.wholes("e"), part.numbers("l"), part.whole("h")) == ([1, 2], [], [1.0, 2.0], 16)
    assert (part.whole("z", 7), part.whole("absent", 7), part.get("absent"), part.text("d")) == (
        7,
        7,
        None,
        "2020-01-01",
    )
    assert list(part)[:3] == ["n", "f", "x"]
    assert "n" in part
    assert "m" not in part
    assert "z" in part
    assert not list(config.section("b", optional=True))


@pytest.mark.parametrize(
    ("read", "code", "text"),
    [
        (lambda c: c.whole("a.s"), ErrorCode.MALFORMED, "a.s = text (allowed: a whole number from 0"),
        (lambda c: c.whole("a.x"), ErrorCode.MALFORMED, "a.x = 0.5"),
        (lambda c: c.whole("a.n", least=4), ErrorCode.MALFORMED, "from 4"),
        (lambda c: c.whole("a.t"), ErrorCode.MALFORMED, "a.t = True"),
        (lambda c: c.whole("a.none"), ErrorCode.MISSING, "a.none"),
        (lambda c: c.section("a.n"), ErrorCode.MALFORMED, "a section"),
        (lambda c: c.section("none"), ErrorCode.MISSING, "none"),
        (lambda c: c.choice("a.s", ["x", "y"]), ErrorCode.UNSUPPORTED, "a.s = text (allowed: x, y"),
        (lambda c: c.wholes("a.l"), ErrorCode.MALFORMED, "a list of whole numbers"),
        (lambda c: c.number("a.i"), ErrorCode.MALFORMED, "a.i = inf"),
        (lambda c: c.section("a").expect(n=4), ErrorCode.UNSUPPORTED, "a.n = 3 (allowed: 4"),
        (lambda c: c.text("ring.one"), ErrorCode.MALFORMED, "references that end"),
        (lambda c: c.text("ring.gone"), ErrorCode.MALFORMED, "a reference to a key that exists"),
        (lambda c: c.text("ring.deep"), ErrorCode.MALFORMED, "a text of up to 10000 characters"),
    ],
)
def test_refusals_name_the_key(read: Callable[[Config], object], code: ErrorCode, text: str) -> None:
    deep = "\n".join(f"  d{n}: '${{ring.d{n + 1}}}${{ring.d{n + 1}}}'" for n in range(30))
    ring = f"ring:\n  one: ${{ring.two}}\n  two: ${{ring.one}}\n  gone: ${{x.y}}\n  deep: '${{ring.d0}}'\n{deep}\n  d30: ab\n"
    config = Config.read(f"a: {{n: 3, x: 0.5, s: text, t: true, l: [1, x], i: .inf}}\n{ring}")
    error = refused(lambda: read(config))
    assert error.code == code
    assert text in error.text


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x",
        "a: !!python/object/apply:os.system [ls]",
        "a: !x 1",
        "a: " + "[" * 5000,
        "- 1",
        "a: b: c",
        "x" * (2 << 20),
        "? [a, b]\n: c",
        "",
    ],
)
def test_yaml_that_is_no_configuration(text: str) -> None:
    assert refused(lambda: Config.read(text)).field == "xp.cfg"


def test_yaml_is_read_as_omegaconf_reads_it() -> None:
    config = Config.read(
        "a: 1e-3\nb: 1_000\nc: 'yes'\nd: yes\ne: ~\nf: .nan\ng: -.inf\nh: 010\ni: '1'\nj: 1.\nk: +3\nl: 12:30"
    )
    values = [config.get(name) for name in "abcdeghijkl"]
    assert values == [0.001, 1000, "yes", True, None, -math.inf, 8, "1", 1.0, 3, "12:30"]
    assert math.isnan(config.get("f"))


def archive(path: Path, content: bytes) -> Path:
    """An archive of torch's with this pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02" + content + b".")
        file.writestr("archive/byteorder", b"little")
    return path


DEEP = b"]" * 5000 + b"a" * 4999
TUPLES = b")" + b"\x85" * 5000
HUGE = b"\x8a\x07" + (1 << 48).to_bytes(7, "little")


@pytest.mark.parametrize(
    "content",
    [
        b"}X\x0a\x00\x00\x00pretrained" + DEEP + b"s",
        b"}X\x06\x00\x00\x00xp.cfg" + DEEP + b"s",
        b"}" + TUPLES + b"Ns",
        b"}(K\x01(X\x07\x00\x00\x00storage" + DEEP + b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQu",
        b"}K\x01ctorch._utils\n_rebuild_tensor_v2\n(ctorch\nSize\nK\x00K\x00" + TUPLES + b"tRs",
        b"}K\x01cbuiltins\nbytearray\n" + HUGE + b"\x85Rs",
    ],
)
def test_what_is_nested_without_end(content: bytes, tmp_path: Path) -> None:
    error = refused(lambda: read_package(archive(tmp_path / "x.bin", content)))
    assert error.code == ErrorCode.MALFORMED
    assert error.allowed


def test_sizes_are_compared_with_the_file_before_memory_is_taken(tmp_path: Path) -> None:
    """A tensor of a storage that is not as large, of none at all, and an empty one of exabytes."""
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu%btQ"
    for claimed, size in ((HUGE, HUGE), (b"K\x04", HUGE), (b"K\x00", b"K\x00" + HUGE + HUGE)):
        shape = b"(" + size + b"t"
        tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage % claimed + b"K\x00" + shape + shape + b"\x89NtR"
        path = archive(tmp_path / "x.bin", b"}K\x01" + tensor + b"s")
        with zipfile.ZipFile(path, "a") as file:
            file.writestr("archive/data/0", bytes(4 * claimed[-1]) if claimed is not HUGE else b"")
        assert refused(lambda path=path: safe_load(path)).code == ErrorCode.MALFORMED
