"""The Triton kernels of a step, under its interpreter on a CPU, and built for GPUs that are not here. Skipped without Triton."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed", allow_module_level=True)
os.environ.setdefault("TRITON_INTERPRET", "1")  # read when kernels are defined

from engine.runtime.graphs.check import compare
from engine.runtime.graphs.kernels import TritonOps
from engine.runtime.graphs.ops import TorchOps
from engine.runtime.graphs.runner import GraphRunner
from engine.runtime.graphs.tables import SPLIT
from engine.runtime.language_model import Step
from engine.runtime.linear import Linear
from engine.runtime.lm import MusicgenLM
from engine.runtime.quantised import Int8Weight
from tests.support.random_lms import KINDS, Kind, Scale, Waves, codes, random_lm, text


@pytest.mark.parametrize("kind", KINDS)
def test_kernels_do_what_the_modules_do(kind: Kind) -> None:
    lm = random_lm(kind)
    findings = compare(lm, GraphRunner(lm, TritonOps(wide=False), 20), columns=3)
    assert findings.wrong is None
    assert findings.difference < 1e-5


def test_wide_tiles_and_scores() -> None:
    lm = random_lm("score")
    found = []
    for ops in (TorchOps(), TritonOps()):
        lm.runner = GraphRunner(lm, ops, 18)
        heard = lm.condition(text(2), score=Waves(0.3))
        sessions = [lm.session([heard], 8) for _ in range(9)]
        known = codes(3)
        for column in range(3):
            logits = lm.step([Step(known[..., column : column + 1], session) for session in sessions])
        found.append(torch.stack(logits))
    torch.testing.assert_close(*found, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["cross", "prefix"])
def test_contexts_of_several_splits(kind: Kind) -> None:
    """Up to the last slot of a split and over it; rows of a melody model begin later than their caches."""
    lm = random_lm(kind)
    found = []
    for ops in (TorchOps(), TritonOps()):
        lm.runner = GraphRunner(lm, ops, 2)
        heard = lm.condition(text(2), melody=Scale(1) if kind == "prefix" else None)
        session = lm.session([heard], 2 * SPLIT + 4)
        lm.hear_prefix(session, session.prefix_pending)
        known = codes(2 * SPLIT + 2 - session.prefix_length)
        lm.hear(known[..., :-4], session)
        found.append(torch.cat([lm(known[..., index - 4 :][..., :1], session) for index in range(4)], 2))
        assert session.prefix_length + session.position > 2 * SPLIT
    torch.testing.assert_close(*found, rtol=0, atol=1e-5)


def test_weights_of_eight_bits_are_read_as_they_are() -> None:
    lm = random_lm("cross")
    for module in lm.modules():
        if isinstance(module, Linear):
            module.rounded = Int8Weight(module.weight)
    found = []
    for ops in (TorchOps(), TritonOps()):
        lm.runner = GraphRunner(lm, ops, 2)
        session = lm.session([lm.condition(text(2))], 4)
        found.append(torch.cat([lm(codes(4)[..., index : index + 1], session) for index in range(4)], 2))
    torch.testing.assert_close(*found, rtol=0, atol=1e-5)


def test_half_precision_is_rounded_where_the_modules_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MusicgenLM, "cache_dtype", property(lambda lm: lm.dtype))  # as on a GPU
    lm: MusicgenLM = random_lm("cross").half()
    found = []
    for ops in (TorchOps(), TritonOps()):
        lm.runner = GraphRunner(lm, ops, 2)
        session = lm.session([lm.condition(text(2))], 4)
        found.append(torch.cat([lm(codes(4)[..., index : index + 1], session) for index in range(4)], 2).float())
    assert float((found[0] - found[1]).abs().max()) < 2e-2 * float(found[0].abs().max())


_BUILD = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from engine.runtime.graphs import kernels

def build(kernel, pointers, numbers, constants, **options):
    types = {name: "constexpr" for name in constants} | pointers | numbers
    names = kernel.arg_names
    aligned = {(names.index(name),): [["tt.divisibility", 16]] for name in pointers}
    source = ASTSource(
        kernel, {name: types[name] for name in names}, {(names.index(name),): value for name, value in constants.items()}, aligned
    )
    return triton.compile(source, target=GPUTarget("cuda", CAPABILITY, 32), options=options)

shape = dict(HEADS=24, WIDTH=64, LANES=64, SPLIT=128)
for kind in ("fp16", "bf16", "fp32"):
    x = "*" + kind
    build(kernels._embed, dict(codes="*i64", embeddings=x, scores=x, positions=x, places="*i32", x=x), dict(card="i32", dim="i32"),
          dict(BOOKS=4, SCORED=True, BLOCK=256))
    for weight in (x, "*i8"):
        for first in (True, False):
            built = build(
                kernels._linear,
                dict(x=x, weight=weight, scales="*fp32", bias=x, norm_weight=x, norm_bias=x, out=x),
                dict(rows="i32", outputs="i32", eps="fp32"),
                dict(INPUTS=1536, NORMED=first, SCALED=weight != x, BIASED=first, ACTIVATION=int(first), ADD=not first,
                     IEEE=kind == "fp32", ROWS=16, COLUMNS=16 if first else 64, PIECE=512,
                     DEPTH=64 if kind == "fp32" else 256 if first else 128),
                num_warps=4, num_stages=4,
            )
            assert built.metadata.shared < 100_000, built.metadata.shared
            assert kind == "fp32" or "mma" in built.asm["ptx"], "no tensor cores"
    tables = dict(writes="*i32", firsts="*i32", parts="*fp32", peaks="*fp32", sums="*fp32")
    build(kernels._attend, dict(qkv=x, key_table="*i64", value_table="*i64", slots="*i32", **tables),
          dict(scale="fp32", most_splits="i32"), shape)
    build(kernels._join, dict(out=x, **tables), dict(most_splits="i32"), shape, num_warps=1)
    build(kernels._look, dict(heard=x, key_table="*i64", value_table="*i64", lengths="*i32"), dict(scale="fp32"),
          dict(HEADS=24, WIDTH=64, LANES=64, BLOCK=64))
print("built")
"""


@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_are_built_for_a_gpu_that_is_not_here(capability: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BUILD.replace("CAPABILITY", str(capability))],
        capture_output=True,
        text=True,
        timeout=110,
        env={name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"},
        check=False,
    )
    assert "built" in done.stdout, done.stderr[-2000:]
