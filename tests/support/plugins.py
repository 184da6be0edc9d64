"""A distribution that brings a language model of its own: written to a folder, with the metadata by which it is found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

NAME = "acme-gru"
MODULE = "acme_lm"
VERSION = "1.2"

CODE = '''
"""A recurrent LM over two codebooks, which hears a bag of words; it knows nothing of MusicGen."""

import hashlib

import numpy as np
import torch
from torch import nn

from engine.checkpoints.codecs import load_codec
from engine.checkpoints.plugins import make_bundle
from engine.conditioning.text import TextCondition
from engine.runtime.custom_lm import CustomLM
from engine.runtime.patterns import CodebookPattern
from protocols.errors import ErrorCode, RequestError

DIM, CARD, WORDS = 24, 64, 8


class PairsPattern(CodebookPattern):
    """Frames in pairs: the first codebook of both, then the second codebook of both."""

    num_codebooks = 2

    def table(self, frames):
        pairs = -(-frames // 2)
        table = np.full((2, 1 + 4 * pairs), -1)
        for frame in range(frames):
            first = 1 + 4 * (frame // 2) + frame % 2
            table[0, first], table[1, first + 2] = frame, frame
        return table


class Network(nn.Module):
    card, text_dim, max_positions = CARD, WORDS, 200

    def __init__(self, seed):
        super().__init__()
        self.pattern = PairsPattern()
        numbers = np.random.RandomState(seed)

        def weight(*shape):
            return nn.Parameter(torch.from_numpy(numbers.randn(*shape) * 1.5 * shape[-1] ** -0.5).float(), False)

        self.words = weight(DIM, WORDS)
        self.codes = nn.ParameterList([weight(CARD + 1, DIM) for _ in range(2)])
        self.into, self.over = weight(3 * DIM, DIM), weight(3 * DIM, DIM)
        self.heads = weight(2 * CARD, DIM)

    def begin(self, texts, positions):
        words = torch.stack([(text @ self.words.T).sum(0) / max(len(text), 1) for text in texts])
        return [torch.zeros_like(words), words]

    def step(self, codes, state):
        logits = []
        for column in codes.unbind(2):
            x = self.codes[0][column[:, 0]] + self.codes[1][column[:, 1]] + state[1]
            into, over = (x @ self.into.T).chunk(3, 1), (state[0] @ self.over.T).chunk(3, 1)
            keep, forget = torch.sigmoid(into[0] + over[0]), torch.sigmoid(into[1] + over[1])
            state[0] = keep * state[0] + (1 - keep) * torch.tanh(into[2] + forget * over[2])
            logits.append((state[0] @ self.heads.T).view(-1, 2, CARD))
        return torch.stack(logits, 2)


class Words:
    """Each word is a direction of its own."""

    kept_bytes = 0

    def encode(self, text):
        words = (text or "").split()
        rows = [np.random.RandomState(int(hashlib.md5(word.encode()).hexdigest()[:8], 16)).randn(WORDS) for word in words]
        hidden = torch.from_numpy(np.array(rows or [[0.0] * WORDS])).float()
        return TextCondition(hidden, torch.ones(len(hidden), dtype=torch.bool) * bool(words))


def make(request):
    options = dict(request.options)
    codec, seed = options.pop("codec", ""), options.pop("seed", "1")
    if options:
        raise RequestError(ErrorCode.UNKNOWN_PARAMETER, "model", next(iter(options)), "codec and seed")
    return make_bundle(
        request,
        lm=CustomLM(Network(int(seed)).to(request.device), device=request.device),
        codec=load_codec(codec, device=request.device),
        text=Words(),
        window_seconds=0.8,
        stride_seconds=0.4,
    )


def nothing(request):
    return None


def fails(request):
    raise ZeroDivisionError("no such luck")


def ends(request):
    raise SystemExit(3)


class Forgetful(Network):
    def step(self, codes, state):
        return super().step(codes, [torch.zeros_like(state[0]), state[1]])


class Misshapen(Network):
    def step(self, codes, state):
        return super().step(codes, state)[:, :1]


def forgetful(request):
    return replaced(request, Forgetful)


def misshapen(request):
    return replaced(request, Misshapen)


def replaced(request, kind):
    from dataclasses import replace

    return replace(make(request), lm=CustomLM(kind(1), device=request.device))


def unfit(request):
    from dataclasses import replace

    stereo = load_codec(dict(request.options)["codec"], channels=2, device=request.device)
    return replace(make(request), codec=stereo)
'''

POINTS = {
    NAME: f"{MODULE}:make",
    "acme-nothing": f"{MODULE}:nothing",
    "acme-fails": f"{MODULE}:fails",
    "acme-ends": f"{MODULE}:ends",
    "acme-unfit": f"{MODULE}:unfit",
    "acme-forgetful": f"{MODULE}:forgetful",
    "acme-misshapen": f"{MODULE}:misshapen",
    "acme-absent": "acme_is_not_here:make",
    "acme-constant": f"{MODULE}:CARD",
    "pocket": f"{MODULE}:nothing",
}


def write_distribution(
    folder: Path, *, code: str = CODE, points: Mapping[str, str] = POINTS, name: str = "acme-lm", version: str = VERSION
) -> Path:
    """Write a distribution as an installer leaves it; the folder has to be on the module path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{MODULE}.py").write_text(dedent(code))
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nLicense: MIT\n")
    lines = "\n".join(f"{point} = {value}" for point, value in points.items())
    (info / "entry_points.txt").write_text(f"[daw_bridge.models]\n{lines}\n")
    return folder
