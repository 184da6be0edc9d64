"""What a whole training is made of: how much music, and the settings of the codec and of the language model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from engine.checkpoints.catalogue import PACKAGED, POCKET
from engine.training.codec.config import CodecTraining
from engine.training.composer import MAX_SEED
from engine.training.data.build import MAX_HOURS
from engine.training.data.folders import write_whole, written
from engine.training.lm.config import LMTraining
from protocols.errors import ErrorCode, RequestError

RECIPE_FILE = "recipe.json"
MACHINE = ("threads", "device")
"""Settings that belong to a machine and not to a recipe."""


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a model, but for the machine that it is trained on.

    Attributes:
        name: what it is called.
        hours: of composed music to train on.
        held_out_hours: of composed music to measure on.
        seed: the first seed of the composed pieces.
        audio: folder of recordings to train on in place of composed music, or "".
        start: folder of a model whose codec is kept and whose LM is trained further, or "pocket", or "".
        codec: settings of the codec's training.
        lm: settings of the language model's.
    """

    name: str
    hours: float = 40.0
    held_out_hours: float = 0.5
    seed: int = 0
    audio: str = ""
    start: str = ""
    codec: CodecTraining = field(default_factory=CodecTraining)
    lm: LMTraining = field(default_factory=LMTraining)

    def __post_init__(self) -> None:
        for name, most in (("hours", MAX_HOURS), ("held_out_hours", MAX_HOURS), ("seed", MAX_SEED // 2)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise RequestError(ErrorCode.OUT_OF_RANGE, name, value, f"0 to {most}")

    @property
    def start_folder(self) -> Path | None:
        """Folder of the model to begin with; None for first weights."""
        return None if not self.start else PACKAGED if self.start == POCKET else Path(self.start)

    def check_folders(self) -> None:
        """Look for what the recipe takes from elsewhere.

        Raises:
            RequestError: ``not_found``.
        """
        if self.audio and not Path(self.audio).is_dir():
            raise RequestError(ErrorCode.NOT_FOUND, "audio", self.audio, "a folder of audio files")
        start = self.start_folder
        if start is not None and not (start / "codec" / "config.json").is_file():
            raise RequestError(ErrorCode.NOT_FOUND, "from", self.start, "the folder of a model with its codec in it")

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Recipe:
        """A recipe from the content of a JSON file; what it leaves out has its default.

        Raises:
            RequestError: a name that there is not, or a value that cannot be.
        """
        _check_names("recipe", content, (one.name for one in fields(cls)))
        values = dict(content)
        for one in fields(cls):
            if one.name not in content or one.name in ("codec", "lm"):
                continue
            kinds = (int, float) if one.type == "float" else (int,) if one.type == "int" else (str,)
            if not isinstance(values[one.name], kinds) or isinstance(values[one.name], bool):
                raise RequestError(ErrorCode.BAD_TYPE, one.name, values[one.name], f"a value of type {one.type}")
        for name, kind in (("codec", CodecTraining), ("lm", LMTraining)):
            section = values.get(name, {})
            if not isinstance(section, Mapping):
                raise RequestError(ErrorCode.BAD_TYPE, name, section, "an object of settings")
            values[name] = _settings(kind, section)
        values.setdefault("name", "unnamed")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The content of its file."""
        return asdict(self)

    def changed(self, changes: Iterable[str]) -> Recipe:
        """This recipe with some values replaced.

        Args:
            changes: such as ``hours=2``, ``codec.batch=8`` or ``lm.steps=900``.

        Raises:
            RequestError: a name that there is not, or a value that cannot be.
        """
        content = self.to_dict()
        for change in changes:
            name, equals, text = change.partition("=")
            section, dot, key = name.rpartition(".")
            held = content.get(section) if dot else content
            if not equals or not isinstance(held, dict) or key not in held or isinstance(held[key], dict):
                raise RequestError(
                    ErrorCode.UNKNOWN_PARAMETER, "set", change, "NAME=VALUE, codec.NAME=VALUE or lm.NAME=VALUE"
                )
            held[key] = _read(name, text, held[key])
        return Recipe.from_dict(content)

    def settings_in(self, section: str, changes: Iterable[str]) -> dict[str, Any]:
        """The settings of "codec" or "lm" that ``changes``, which were made with `changed`, are about."""
        names = (change.partition("=")[0].rpartition(".") for change in changes)
        return {name: getattr(getattr(self, section), name) for held, _, name in names if held == section}


def read_recipe(name: str) -> Recipe:
    """One of `RECIPES`, or the recipe of a JSON file.

    Raises:
        RequestError: there is none of this name, or the file is no recipe.
    """
    if name in RECIPES:
        return RECIPES[name]
    path = Path(name).expanduser()
    if not path.is_file():
        raise RequestError(ErrorCode.NOT_FOUND, "recipe", name, f"{', '.join(RECIPES)}, or a JSON file")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(ErrorCode.MALFORMED, "recipe", name, f"a JSON file: {error}") from error
    if not isinstance(content, dict):
        raise RequestError(ErrorCode.MALFORMED, "recipe", name, "an object")
    return Recipe.from_dict({"name": path.stem, **content})


def folder_recipe(folder: Path) -> Recipe | None:
    """The recipe that a folder was begun with; None for a new folder.

    Raises:
        RequestError: its file is damaged.
    """
    path = folder / RECIPE_FILE
    return read_recipe(str(path)) if path.is_file() else None


def keep_recipe(folder: Path, recipe: Recipe) -> None:
    """Write down what a folder is made with.

    Raises:
        RequestError: it cannot be written.
    """
    with written(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / RECIPE_FILE, [(json.dumps(recipe.to_dict(), indent=2) + "\n").encode()])


def _settings(kind: type[Any], section: Mapping[str, Any]) -> Any:
    known = {one.name: str(one.type) for one in fields(kind)}
    _check_names(kind.__name__, section, known)
    for name, value in section.items():
        accepted: tuple[type, ...] = {"bool": (bool,), "int": (int,), "float": (int, float), "str": (str,)}[known[name]]
        if not isinstance(value, accepted) or isinstance(value, bool) != (known[name] == "bool"):
            raise RequestError(ErrorCode.BAD_TYPE, name, value, f"a value of type {known[name]}")
    return kind(**section)


def _check_names(what: str, content: Mapping[str, Any], known: Iterable[str]) -> None:
    unknown = sorted(set(content) - set(known))
    if unknown:
        raise RequestError(ErrorCode.UNKNOWN_PARAMETER, unknown[0], content[unknown[0]], f"the names of a {what}")


def _read(name: str, text: str, held: Any) -> Any:
    """A value of the kind of the one that it replaces."""
    if isinstance(held, bool):
        if text.lower() not in ("true", "false"):
            raise RequestError(ErrorCode.BAD_TYPE, name, text, "true or false")
        return text.lower() == "true"
    try:
        return type(held)(text)
    except ValueError:
        raise RequestError(ErrorCode.BAD_TYPE, name, text, f"a value of type {type(held).__name__}") from None


_POCKET = Recipe(
    "pocket",
    codec=CodecTraining(
        reconstruction_steps=400, quantised_steps=4300, decoder_steps=700, refinement_steps=1200, log_every=100
    ),
    lm=LMTraining(steps=6000),
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        _POCKET,
        replace(_POCKET, name="tuning", lm=replace(_POCKET.lm, steps=1500, learning_rate=3e-4, warmup_steps=100)),
        Recipe(
            "miniature",
            hours=0.5,
            held_out_hours=0.1,
            codec=CodecTraining(
                reconstruction_steps=60,
                quantised_steps=240,
                decoder_steps=40,
                refinement_steps=20,
                batch=4,
                crop_frames=32,
                warmup_steps=20,
                mel_ramp=100,
                kmeans_crops=64,
                discriminator_crops=2,
                log_every=20,
                evaluate_every=100,
                evaluation_crops=16,
                checkpoint_seconds=30.0,
            ),
            lm=LMTraining(
                dim=128,
                layers=3,
                heads=4,
                ff_dim=384,
                text_dim=64,
                text_layers=1,
                steps=200,
                batch=4,
                crop_frames=256,
                warmup_steps=20,
                ema_decay=0.98,
                evaluate_every=50,
                evaluation_crops=16,
                checkpoint_seconds=30.0,
            ),
        ),
    )
}
"""``pocket`` is how the shipped model is made, ``tuning`` how a model is trained further, ``miniature`` tries everything in
minutes: what it makes is noise with a beat."""
