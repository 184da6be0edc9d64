"""Checkpoints of AudioCraft's that somebody has damaged: thousands of them, each made by a number.

Run as a program it makes a range of them, loads each, and says what became of it: one line of JSON. A process of its own can crash
and be measured without the tests' taking part in that.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.checkpoints import load_model
from engine.checkpoints.audiocraft import layout
from engine.checkpoints.audiocraft.package import read_weights
from engine.checkpoints.audiocraft.text import load_text_encoder
from protocols.errors import RequestError
from tests.support.audiocraft_checkpoints import CODEC_FILE, TEXT_ENCODER, write_audiocraft_checkpoint
from tests.support.file_damages import (
    DAMAGES,
    Damage,
    Original,
    config_values,
    entries_changed,
    flips_in_the_pickle,
    flips_of_an_old_file,
    hostile_yaml,
    pointers,
    references,
    sizes_in_the_pickle,
    weights_changed,
)

LM_FILE = "state_dict.bin"
SMALL: dict[str, Any] = {"dim": 8, "heads": 2, "layers": 1, "codebooks": 2, "card": 8, "text_dim": 8, "seconds": 1}


def run(first: int, end: int) -> dict[str, Any]:
    """Make the files of these numbers one after the other, load each in its folder, and count what became of them."""
    with tempfile.TemporaryDirectory() as directory:
        return _run(Path(directory), first, end)


def _run(root: Path, first: int, end: int) -> dict[str, Any]:
    folder = write_audiocraft_checkpoint(root / "model", **SMALL)
    canary = root / "canary"
    files = {
        name: Original(folder / name, folder / other, canary)
        for name, other in ((LM_FILE, CODEC_FILE), (CODEC_FILE, LM_FILE))
    }
    text = load_text_encoder(folder / TEXT_ENCODER, {})
    layout.load_text_encoder = lambda *_: text  # type: ignore[assignment]  # the same for all, and not what is looked at

    def load() -> Any:
        return load_model(str(folder), device="cpu", dtype="float32")

    load()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    for number in range(first, end):
        numbers = np.random.RandomState(number)
        damage = DAMAGES[number % len(DAMAGES)]
        name = CODEC_FILE if damage is pointers or numbers.randint(3) == 0 else LM_FILE
        content = damage(files[name], numbers)
        (folder / name).write_bytes(content)
        try:
            load()
        except RequestError as error:
            outcomes["refused"] += 1
            if not error.allowed:
                failures.append(f"{number} {damage.__name__}: no reason in {error.text}")
        except BaseException as error:
            failures.append(f"{number} {damage.__name__}: {type(error).__name__}: {str(error)[:200]}")
        else:
            outcomes["loaded"] += 1
            try:
                same = _reads_the_same(folder / name, files[name], damage)
            except Exception as error:
                failures.append(f"{number} {damage.__name__}: loaded, unlike by torch: {str(error)[:200]}")
            else:
                failures += [] if same else [f"{number} {damage.__name__}: loaded, and differs"]
        if canary.exists():
            failures.append(f"{number} {damage.__name__}: was executed")
            canary.unlink()
        (folder / name).write_bytes(files[name].content)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    kilobytes = grown // 1024 if sys.platform == "darwin" else grown
    return {"outcomes": outcomes, "failures": failures, "grown_mb": kilobytes / 1024}


_MEANT = (weights_changed, config_values, references, hostile_yaml)
"""What torch itself has written: such a file is whole, and torch reads in it what we must read."""


def _reads_the_same(path: Path, original: Original, damage: Damage) -> bool:
    """Whether the weights that were loaded are those of the undamaged file, or those which torch reads in this one."""
    package: dict[str, Any] = original.package
    if damage in _MEANT:
        package = torch.load(path, weights_only=True)
    elif damage in (entries_changed, flips_of_an_old_file):
        with suppress(Exception):  # what torch does not take has to be the same as it was
            package = torch.load(path, weights_only=True)
    expected = package["best_state"]
    expected = expected.get("model", expected)
    found: dict[str, Tensor] = read_weights(path).weights
    if damage in (flips_in_the_pickle, sizes_in_the_pickle):
        # Another number or another letter is another value, which the file then says: of the tensors no number may be made up.
        mine = torch.cat([tensor.flatten().float() for tensor in expected.values()])
        return all(bool(torch.isin(tensor.float(), mine).all()) for tensor in found.values())
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]))))
