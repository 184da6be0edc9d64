"""Puts the parts of a trained model together: the folder that the engine loads, and that is shipped.

``config.json``, ``model.safetensors``, ``tokenizer.json``, ``tokenizer_config.json``
    As `engine.training.lm.export` writes them; the section ``daw_bridge`` of the config says more: ``trained``, ``status``
    ("preview" or "trained"), ``window_seconds``, ``stride_seconds``, ``codec`` (a folder's name).
``codec/``
    As `engine.runtime.spectral_codec` reads it.
``README.md``
    The model card.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from engine.runtime.spectral_codec import load_spectral_network
from engine.training.data.folders import written
from engine.training.lm.export import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE
from protocols.errors import ErrorCode, RequestError

_LOG = logging.getLogger(__name__)

PREVIEW, TRAINED = "preview", "trained"
CODEC_FOLDER = "codec"
CARD_FILE = "README.md"
SECTION = "daw_bridge"
MOST_BYTES = 40_000_000
"""A larger model is not shipped inside the package."""

_COLUMNS = ("value", "ceiling", "through_codec", "control")
_TOKENIZER_FILES = (TOKENIZER_FILE, "tokenizer_config.json")


def package_model(
    lm: Path,
    codec: Path,
    folder: Path,
    *,
    status: str,
    window_seconds: Fraction,
    stride_seconds: Fraction,
    card_facts: Mapping[str, Any],
) -> int:
    """Write the folder of a whole model; one that is there is replaced when the new one is complete.

    Args:
        lm: folder of an exported LM.
        codec: folder of an exported spectral codec.
        folder: of the result.
        status: `PREVIEW`, or `TRAINED` when every gate of the evaluation is met.
        window_seconds: the longest stretch that the LM has learned from.
        stride_seconds: by how much its window moves when a stream is longer.
        card_facts: what the model card tells; see `model_card`.

    Returns:
        The bytes of all files.

    Raises:
        RequestError: ``not_found`` or ``malformed`` for parts that are missing, damaged or do not fit each other, ``out_of_range``
            for another status or a window that cannot be; ``too_large`` or ``not_allowed`` when it cannot be written.
    """
    if status not in (PREVIEW, TRAINED):
        raise RequestError(ErrorCode.OUT_OF_RANGE, "status", status, f"{PREVIEW} or {TRAINED}")
    if not 0 < stride_seconds <= window_seconds:
        allowed = f"above 0, up to the window of {float(window_seconds):g} s"
        raise RequestError(ErrorCode.OUT_OF_RANGE, "stride_seconds", float(stride_seconds), allowed)
    config = read_config(lm, (WEIGHTS_FILE, *_TOKENIZER_FILES))
    _check_fit(config, codec)
    config[SECTION] = {
        **config.get(SECTION, {}),
        "trained": True,
        "status": status,
        "window_seconds": float(window_seconds),
        "stride_seconds": float(stride_seconds),
        "codec": CODEC_FOLDER,
    }
    if folder.exists() and not (folder / CONFIG_FILE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise RequestError(ErrorCode.NOT_ALLOWED, "out", str(folder), "a new folder, or one with a model to replace")
    facts = {**card_facts, "status": status, "window_seconds": float(window_seconds)}
    work = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    with written(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(work, ignore_errors=True)
        try:
            (work / CODEC_FOLDER).mkdir(parents=True)
            for name in (WEIGHTS_FILE, *_TOKENIZER_FILES):
                shutil.copyfile(lm / name, work / name)
            for name in (CONFIG_FILE, WEIGHTS_FILE):
                shutil.copyfile(codec / name, work / CODEC_FOLDER / name)
            (work / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            (work / CARD_FILE).write_text(model_card(facts), encoding="utf-8")
            size = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
            _replace(work, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    if size > MOST_BYTES:
        _LOG.warning(
            "the model has %.1f MB: more than the %.0f MB of one that is shipped", size / 1e6, MOST_BYTES / 1e6
        )
    return size


def read_config(folder: Path, needed: tuple[str, ...] = ()) -> dict[str, Any]:
    """The config of a model's folder.

    Args:
        folder: of the model.
        needed: other files that must be there.

    Raises:
        RequestError: ``not_found`` for a file that is missing, ``malformed`` for a config that is none of ours.
    """
    for name in (CONFIG_FILE, *needed):
        if not (folder / name).is_file():
            raise RequestError(ErrorCode.NOT_FOUND, "model", str(folder), f"a folder with {name}")
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        if all(isinstance(config[name], dict) for name in ("decoder", "text_encoder")):
            return dict(config)
    except (OSError, ValueError, LookupError, TypeError):
        pass
    raise RequestError(ErrorCode.MALFORMED, "model", str(folder / CONFIG_FILE), "the config of a MusicGen model")


def status_of(evaluation: Mapping[str, Any] | None) -> str:
    """`TRAINED` when an evaluation has gates and all of them are met, else `PREVIEW`."""
    gates = (evaluation or {}).get("gates")
    if not isinstance(gates, Mapping) or not gates:
        return PREVIEW
    met = all(isinstance(gate, Mapping) and gate.get("met") is True for gate in gates.values())
    return TRAINED if met else PREVIEW


def model_card(facts: Mapping[str, Any]) -> str:
    """The text of a model card, in the form that model hubs read.

    Args:
        facts: ``name``, ``status``, ``window_seconds``, ``data`` (a sentence), ``recipe`` and ``metrics`` (names and values),
            ``licence``, ``resume`` (a command), ``evaluation`` (what ``python -m engine.evaluation --json`` printed); all but
            the first three may be left out.
    """
    licence = str(facts.get("licence", "mit"))
    evaluation = facts.get("evaluation") or {}
    parts = [
        f"---\nlicense: {licence}\npipeline_tag: text-to-audio\ntags:\n- music\n- musicgen\n---",
        f"# {facts['name']}",
        "A small text-to-music model in MusicGen's layout (Copet et al. 2023): a T5 text encoder, a decoder LM over delayed "
        "codebooks, and beside them a score (beat, melody, chords, scale, frame by frame), with a codec of its own. "
        "`daw-bridge train` made it.",
        _status_text(str(facts["status"]), float(facts["window_seconds"]), evaluation),
    ]
    for title, key in (("Data", "data"), ("Licence", "licence_text"), ("Limits", "limits")):
        if facts.get(key):
            parts.append(f"## {title}\n\n{facts[key]}")
    for title, key in (("Recipe", "recipe"), ("Training", "metrics")):
        if facts.get(key):
            parts.append(
                f"## {title}\n\n{_table(('', ''), [(name, _shown(value)) for name, value in facts[key].items()])}"
            )
    parts += _evaluation_parts(evaluation)
    if facts.get("resume"):
        parts.append(f"## Going on with its training\n\n```bash\n{facts['resume']}\n```")
    return "\n\n".join(parts) + "\n"


def _status_text(status: str, window_seconds: float, evaluation: Mapping[str, Any]) -> str:
    window = f"Its window is {window_seconds:g} s; longer streams move it along."
    if status == TRAINED:
        return f"**Status: trained.** Every gate of the evaluation below is met. {window}"
    reason = "not every gate of the evaluation below is met" if evaluation.get("gates") else "it was not evaluated yet"
    return f"**Status: preview.** It makes music, but {reason}. {window}"


def _evaluation_parts(evaluation: Mapping[str, Any]) -> list[str]:
    parts = []
    gates = evaluation.get("gates")
    if isinstance(gates, Mapping) and gates:
        rows = [
            (name, _shown(gate.get("value")), _shown(gate.get("bound")), "yes" if gate.get("met") is True else "no")
            for name, gate in gates.items()
            if isinstance(gate, Mapping)
        ]
        parts.append(f"## Gates\n\n{_table(('gate', 'reached', 'wanted', 'met'), rows)}")
    metrics = evaluation.get("metrics")
    if isinstance(metrics, Mapping) and metrics:
        measured = [(name, *(_shown(metric.get(column)) for column in _COLUMNS)) for name, metric in _measured(metrics)]
        heads = ("metric", *(column.replace("_", " ") for column in _COLUMNS))
        parts.append(f"## Evaluation\n\n{_table(heads, measured)}\n\n{_legend(evaluation.get('about'))}".rstrip())
    return parts


def _measured(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Mapping[str, Any]]]:
    """Everything in a report that has a single number as its value."""
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            if isinstance(value.get("value"), int | float):
                rows.append((f"{prefix}{name}", value))
            else:
                rows += _measured(value, f"{prefix}{name}.")
    return rows


def _legend(about: Any) -> str:
    """What the columns and numbers mean, as the report says it."""
    return "\n".join(f"- {name}: {text}" for name, text in about.items()) if isinstance(about, Mapping) else ""


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _check_fit(config: Mapping[str, Any], codec: Path) -> None:
    held = load_spectral_network(codec).config
    theirs = (held.codebook_size, held.num_codebooks)
    ours = tuple(config["decoder"].get(name) for name in ("vocab_size", "num_codebooks"))
    if ours != theirs:
        allowed = f"a codec of {ours[1]} codebooks of {ours[0]}, as the LM has learned"
        raise RequestError(ErrorCode.MALFORMED, "codec", f"{theirs[1]} codebooks of {theirs[0]}", allowed)


def _replace(work: Path, folder: Path) -> None:
    """Give a finished folder its name."""
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        folder.replace(old)
    try:
        work.replace(folder)
    except OSError:
        if old.exists():
            old.replace(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
