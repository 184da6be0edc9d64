"""Tiny folders in the layout of our own models, written by what writes the real ones, with the network that they were made from."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from engine.conditioning.score import FEATURES
from engine.runtime.spectral_codec import save_spectral_network
from engine.runtime.spectral_network import Codebook, SpectralConfig, SpectralNetwork
from engine.training.lm.export import export_lm
from engine.training.lm.network import TrainableLM, make_text_encoder
from engine.training.lm.words import make_tokenizer
from engine.training.package import package_model

WORDS = ("happy", "sad", "rock", "techno", "piano", "guitar", "drums", "and", "with", "a", "song", "slow", "fast")
TEXTS = ("a happy rock song with guitar", "sad piano")
CODEBOOKS, CARD = 4, 32


def write_own_model(
    folder: Path,
    *,
    card: int = CARD,
    positions: int = 160,
    window_seconds: Fraction = Fraction(2),
    status: str = "preview",
    seed: int = 1,
    sample_rate: int = 32_000,
    heads: int = 4,
) -> TrainableLM:
    """Write a model; what is returned has the same weights, which float16 can hold.

    Heads of whole eights of numbers, 2 or 6 of them, are such as onnxruntime runs.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = make_tokenizer(WORDS)
        lm = _make_lm(len(tokenizer), card, positions, seed, heads)
        codec = _make_codec(card, sample_rate)
    with tempfile.TemporaryDirectory() as work:
        parts = Path(work)
        export_lm(lm, tokenizer, parts / "lm", torch.float16)
        save_spectral_network(codec, parts / "codec", torch.float16)
        package_model(
            parts / "lm",
            parts / "codec",
            folder,
            status=status,
            window_seconds=window_seconds,
            stride_seconds=window_seconds / 2,
            card_facts={"name": folder.name},
        )
    return lm


def forget_score(folder: Path) -> None:
    """Turn a model into one that hears no score and is the same otherwise."""
    weights = load_file(folder / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, folder / "model.safetensors")
    edit_config(folder, lambda config: config["daw_bridge"].pop("score_form"))


def edit_config(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change the content of a folder's config.json in place."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    edit(config)
    path.write_text(json.dumps(config), encoding="utf-8")


def _make_lm(vocabulary: int, card: int, positions: int, seed: int, heads: int) -> TrainableLM:
    """Far from first weights, in which much is zero; greedy choices are clear, and a score is heard clearly."""
    lm = TrainableLM(
        codebooks=CODEBOOKS,
        card=card,
        features=FEATURES,
        text_encoder=make_text_encoder(vocabulary, 32, 1, seed),
        dim=48,
        layers=3,
        heads=heads,
        ff_dim=96,
        positions=positions,
    )
    for module in lm.modules():
        if isinstance(module, nn.Linear):
            module.weight.data.normal_(0, 1.5 * module.in_features**-0.5)
    for parameter in lm.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
        parameter.data = parameter.data.half().float()
    return lm.eval().requires_grad_(False)


def _make_codec(card: int, sample_rate: int) -> SpectralNetwork:
    shape = {"encoder_dim": 16, "encoder_layers": 1, "decoder_dim": 16, "decoder_layers": 2, "codebook_dim": 8}
    network = SpectralNetwork(
        SpectralConfig(**shape, sample_rate=sample_rate, codebook_size=card, num_codebooks=CODEBOOKS)
    )
    for book in network.codebooks:
        assert isinstance(book, Codebook)
        book.embed.normal_()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network
