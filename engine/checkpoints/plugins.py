"""What other distributions bring along: models of their own, and decoders, found by their entry points.

A distribution names its models in the entry-point group ``daw_bridge.models``: ``name = package.module:factory``. Nothing of it is
imported before somebody asks for that name. What goes wrong in it is told with its name, and is nobody else's trouble.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, cast

import structlog

from protocols.errors import ErrorCode, RequestError

if TYPE_CHECKING:
    import torch

    from engine.checkpoints.bundle import ModelBundle
    from engine.conditioning.text import TextEncoder
    from engine.runtime.codec import Codec
    from engine.runtime.custom_lm import CustomLM
    from engine.runtime.lm import MusicgenLM
    from protocols.messages import ModelInfo, ModelStatus

log = structlog.get_logger()

MODELS = "daw_bridge.models"
DECODERS = "daw_bridge.decoders"

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")
_MOST_OPTIONS = 16
_MOST_TEXT = 300
_TRIED = 3
"""Columns and frames that a model is tried out with."""


@dataclass(frozen=True)
class Plugin:
    """What an entry point names.

    Attributes:
        name: by which it is asked for.
        group: of entry points.
        point: to load it by.
        distribution: that brings it, with its version; empty where that cannot be told.
    """

    name: str
    group: str
    point: EntryPoint
    distribution: str

    @property
    def source(self) -> str:
        """Where it comes from, in words."""
        return f"{self.distribution or 'a distribution without name'} ({self.point.value})"

    def load(self) -> Callable[..., Any]:
        """Import it.

        Raises:
            RequestError: it cannot be imported, or is nothing that can be called.
        """
        found = self.guarded(self.point.load)
        if not callable(found):
            raise self.broken("it is nothing that can be called")
        return cast("Callable[..., Any]", found)

    def call(self, *arguments: Any) -> Any:
        """Import it and call it.

        Raises:
            RequestError: as `load`, or what it raises: a `RequestError` as it is, anything else with its name.
        """
        factory = self.load()
        return self.guarded(lambda: factory(*arguments))

    def broken(self, reason: str) -> RequestError:
        """The refusal of what it made, or did not make."""
        kind = "model" if self.group == MODELS else "decoder"
        return RequestError(ErrorCode.MALFORMED, kind, self.name, f"a {kind} of {self.source} that works: {reason}")

    def guarded(self, work: Callable[[], Any]) -> Any:
        """Do something of its code.

        Raises:
            RequestError: `broken`, with what it raised, unless that is one.
        """
        try:
            return work()
        except RequestError:
            raise
        except (
            Exception,
            SystemExit,
        ) as error:  # other people's code: any of it may fail, and some ends the process when it does
            log.warning(
                "plug-in failed", group=self.group, name=self.name, distribution=self.distribution, exc_info=True
            )
            lines = str(error).strip().splitlines() or [""]
            raise self.broken(f"{type(error).__name__}: {lines[0]}"[:_MOST_TEXT]) from error


def installed(group: str) -> dict[str, Plugin]:
    """What there is in a group of entry points, by name. Nothing is imported.

    Names that could not be asked for are left out, and of two distributions with the same name the first by the alphabet counts.
    """
    found: dict[str, Plugin] = {}
    for point in entry_points(group=group):
        distribution = _distribution(point)
        if not _NAME.fullmatch(point.name):
            log.warning("plug-in without a usable name", group=group, name=point.name, distribution=distribution)
            continue
        known = found.get(point.name)
        if known is None or distribution < known.distribution:
            found[point.name] = Plugin(point.name, group, point, distribution)
        if known is not None and known.distribution != distribution:
            log.warning("two plug-ins of one name", group=group, name=point.name, counts=found[point.name].distribution)
    return dict(sorted(found.items()))


def _distribution(point: EntryPoint) -> str:
    if point.dist is None:
        return ""
    try:
        return f"{point.dist.name} {point.dist.version}"
    except (KeyError, TypeError, AttributeError):  # metadata that lacks them
        return ""


def read_request(text: str) -> tuple[str, dict[str, str]]:
    """Read ``name option=value …``; values with spaces stand between quotes.

    Raises:
        RequestError: ``malformed``.
    """
    allowed = "a name, and options behind it: name option=value"
    try:
        name, *rest = shlex.split(text)
    except ValueError as error:
        raise RequestError(ErrorCode.MALFORMED, "model", text, f"{allowed} ({error})") from None
    options: dict[str, str] = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if not (key and equals) or key in options or len(options) >= _MOST_OPTIONS:
            raise RequestError(ErrorCode.MALFORMED, "model", text, allowed)
        options[key] = value
    return name, options


def find_model(text: str) -> Plugin | None:
    """The model of another distribution that a text asks for; None where there is none of the name before its options."""
    name = text.strip().partition(" ")[0]
    return installed(MODELS).get(name) if _NAME.fullmatch(name) else None


@dataclass(frozen=True)
class ModelRequest:
    """What a factory of models is called with.

    Attributes:
        name: by which it was asked for.
        options: behind the name, ``name option=value``, for the factory to read; those it does not know it should refuse.
        device: where the model is to run.
        dtype: precision of the LM; of what has to be exact, codecs for one, it is for the factory to choose.
        version: of the distribution, with its name.
    """

    name: str
    device: torch.device
    dtype: torch.dtype
    options: Mapping[str, str] = field(default_factory=dict)
    version: str = ""


def model_rows() -> list[ModelInfo]:
    """The models of other distributions, as a list of models shows them: what is only known once they are loaded is left open."""
    from protocols.messages import ModelInfo

    return [
        ModelInfo(
            name=plugin.name,
            source=plugin.source,
            licence=_licence(plugin.point),
            parameters=0,
            status="trained",
            loaded=False,
            summary=f"comes with {plugin.distribution or 'another distribution'}; more is known once it is loaded",
            downloaded=True,
        )
        for plugin in installed(MODELS).values()
    ]


def _licence(point: EntryPoint) -> str:
    """As the distribution states it for itself; its weights may have another."""
    metadata = None if point.dist is None else point.dist.metadata
    return "" if metadata is None else (metadata["License-Expression"] or metadata["License"] or "").split("\n")[0][:80]


def load_model(plugin: Plugin, text: str, device: torch.device, dtype: torch.dtype) -> ModelBundle:
    """Have a model made by the distribution that brings it.

    Args:
        plugin: of the group `MODELS`.
        text: by which it was asked for, options included.
        device: where it is to run.
        dtype: precision of the LM.

    Raises:
        RequestError: what is wrong with the options, with the distribution's code, or with what it made.
    """
    from engine.checkpoints.bundle import ModelBundle

    name, options = read_request(text)
    made = plugin.call(ModelRequest(name, device, dtype, options, plugin.distribution))
    if not isinstance(made, ModelBundle):
        raise plugin.broken(f"it gives a {type(made).__name__}, not a ModelBundle")
    try:
        _check(made)
    except ValueError as error:
        raise plugin.broken(str(error)) from error
    plugin.guarded(lambda: _try_out(made))
    told = f"{plugin.distribution} {plugin.point.value} {sorted(options.items())}"
    return replace(made, name=name, fingerprint=made.fingerprint or hashlib.sha256(told.encode()).hexdigest())


def make_bundle(
    request: ModelRequest,
    *,
    lm: MusicgenLM | CustomLM,
    codec: Codec,
    text: TextEncoder,
    window_seconds: Fraction | float = 30,
    stride_seconds: Fraction | float = 18,
    fingerprint: str = "",
    status: ModelStatus = "trained",
    parameters: int = 0,
) -> ModelBundle:
    """A bundle of parts that fit each other; what follows from them is filled in.

    Args:
        request: as the factory got it.
        lm: the language model. A network that is none of MusicGen's becomes one by `CustomLM`.
        codec: what makes sound of its codes, `engine.runtime.codec.Codec` or another with its names.
        text: what makes hidden states of words.
        window_seconds: what the model was trained on; less where the LM has not as many positions.
        stride_seconds: how much later each window of a longer stream begins.
        fingerprint: equal for equal weights; empty: told by the distribution's version and the options.
        status: "trained", "preview" or "untrained".
        parameters: weights of everything together; 0: those of the LM.

    Raises:
        ValueError: a window of less than two frames.
    """
    from engine.checkpoints.bundle import ModelBundle, window_in_frames

    longest = lm.pattern.most_frames(lm.max_positions)
    if longest < 2:
        raise ValueError(f"the LM's {lm.max_positions} positions are not enough for two frames")
    window, stride = window_in_frames(codec.frame_rate, longest, Fraction(window_seconds), Fraction(stride_seconds))
    own = sum(parameter.numel() for parameter in lm.parameters())
    return ModelBundle(
        name=request.name,
        status=status,
        fingerprint=fingerprint,
        lm=cast("MusicgenLM", lm),
        codec=codec,
        text=text,
        score=False,
        melody=None,
        window_frames=window,
        stride_frames=stride,
        device=request.device,
        dtype=lm.dtype,
        parameters=parameters or own,
    )


def _check(bundle: ModelBundle) -> None:
    """Raise `ValueError` where its parts do not fit each other."""
    lm, codec = bundle.lm, bundle.codec
    facts = {
        "codebooks of the LM and the codec": {lm.pattern.num_codebooks, codec.num_codebooks},
        "entries per codebook of the LM and the codec": {lm.card, codec.card},
    }
    for what, numbers in facts.items():
        if len(numbers) > 1:
            raise ValueError(f"the {what} differ: {', '.join(map(str, sorted(numbers)))}")
    if not 0 < bundle.stride_frames < bundle.window_frames:
        raise ValueError(
            f"a stride of {bundle.stride_frames} frames is not less than the window's {bundle.window_frames}"
        )
    lm.pattern.layout(bundle.window_frames)


def _try_out(bundle: ModelBundle) -> None:
    """Have it score a few codes and decode others: so that what is wrong with it is known before anybody plays it.

    Raises:
        ValueError: it gives what cannot be used.
    """
    import torch

    lm, books = bundle.lm, bundle.num_codebooks
    text = bundle.text.encode("try out")
    conditions = [lm.condition(None if text.is_null else text.hidden)]
    columns = torch.arange(_TRIED * books, device=lm.device).view(1, books, _TRIED) % (bundle.card + 1)
    with torch.inference_mode():
        at_once = lm(columns, lm.session(conditions, _TRIED)).float()
        session = lm.session(conditions, _TRIED)
        one_by_one = torch.cat([lm(column, session).float() for column in torch.split(columns, 1, dim=2)], dim=2)
        audio = bundle.codec.decode(columns[0].clamp(max=bundle.card - 1))
    if not torch.isfinite(at_once).all():
        raise ValueError("its logits are not finite")
    if not torch.allclose(at_once, one_by_one, rtol=0, atol=0.02 * float(at_once.abs().max()) + 1e-4):
        raise ValueError("its logits depend on how columns are split over calls")
    if audio.shape != (bundle.channels, _TRIED * bundle.hop_length):
        expected = [bundle.channels, _TRIED * bundle.hop_length]
        raise ValueError(f"{_TRIED} frames of its codec are {list(audio.shape)} samples, not {expected}")
