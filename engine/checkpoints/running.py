"""How a model is run: precision and runner, chosen by themselves where nothing is asked for.

The choice depends on the model, the device and the installed packages alone, never on a timing: the same seed is to give the same
tokens under load, too.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Literal, cast, get_args

import structlog
import torch

from engine.checkpoints.bundle import ModelBundle
from engine.checkpoints.devices import Precision, pick_precision
from engine.runtime.codec import StreamedCodec
from engine.runtime.lm import LMConfig, MusicgenLM
from protocols.errors import ErrorCode, RequestError

if TYPE_CHECKING:
    from engine.runtime.onnx import CacheForm

log = structlog.get_logger()

RunnerName = Literal["auto", "plain", "onnx", "graphs"]
_CACHES = ("auto", "float32", "int8")


def check_names(runner: str, kv_cache: str) -> None:
    """Refuse what `with_runner` does not know.

    Raises:
        RequestError: ``not_allowed``.
    """
    for field, value, allowed in (("runner", runner, get_args(RunnerName)), ("kv_cache", kv_cache, _CACHES)):
        if value not in allowed:
            raise RequestError(ErrorCode.NOT_ALLOWED, field, value, ", ".join(allowed))


def settled(precision: Precision, config: LMConfig, device: torch.device) -> Precision:
    """The precision of a model that samples frame by frame, now that its shape is known.

    One that was asked for stays. On a CPU, ``auto`` becomes ``int8`` where onnxruntime runs the model: several times as fast, for
    an error that ``daw-bridge models precision`` tells.
    """
    if not precision.chosen and device.type == "cpu" and _why_no_shape(config) is None:
        return pick_precision("int8", device)
    return precision


def with_runner(bundle: ModelBundle, runner: str = "auto", *, kv_cache: str = "auto", threads: int = 0) -> ModelBundle:
    """The bundle with what runs its LM, and with a fingerprint that tells its precision.

    Args:
        bundle: as a layout has loaded it.
        runner: ``plain`` for the LM's own modules; ``auto`` for the fastest there is in this precision; or its name.
        kv_cache: how keys and values are kept where onnxruntime can run the model; see `engine.runtime.onnx.cache_form`.
        threads: CPU threads of the model; 0 for as many as torch has here.

    Raises:
        RequestError: ``not_allowed`` for an unknown name; ``unsupported`` for a runner that cannot run this model here, with the
            reason.
    """
    check_names(runner, kv_cache)
    reasons = {"onnx": _why_not_onnx(bundle), "graphs": _why_not_graphs(bundle)}
    if (reason := reasons.get(runner)) is not None:
        raise RequestError(ErrorCode.UNSUPPORTED, "runner", runner, f"auto or plain; as it is, {reason}")
    name, narrow = "plain", False
    if reasons["onnx"] is None:
        name, narrow = _run_by_onnx(bundle.lm, cast("CacheForm", kv_cache), threads, plain=runner == "plain")
    elif reasons["graphs"] is None and runner != "plain":
        name = _run_by_graphs(bundle.lm, runner)
    if runner != "plain":
        _decode_faster(bundle, threads)
    bundle = replace(bundle, runner=name, narrow_caches=narrow)
    return replace(bundle, fingerprint=_fingerprint(bundle))


def _why_not_onnx(bundle: ModelBundle) -> str | None:
    """Why onnxruntime does not run this model; None: it does."""
    if bundle.device.type != "cpu":
        return "onnxruntime runs models on a CPU"
    if not isinstance(bundle.lm, MusicgenLM) or bundle.magnet is not None:
        return "this is no network of ours that samples frame by frame"
    if bundle.form is None:
        return f"onnxruntime runs int8 and int4, not {bundle.precision}"
    if (reason := _why_no_shape(bundle.lm.config)) is not None:
        return reason
    from engine.runtime.onnx import unsupported

    return unsupported(bundle.lm)


def _why_not_graphs(bundle: ModelBundle) -> str | None:
    """Why captured graphs do not run this model; None: they may."""
    if bundle.device.type != "cuda":
        return "graphs are captured on CUDA devices"
    if not isinstance(bundle.lm, MusicgenLM) or bundle.magnet is not None:
        return "this is no network of ours that samples frame by frame"
    from engine.runtime.graphs import unsupported

    return unsupported(bundle.lm)


def _why_no_shape(config: LMConfig) -> str | None:
    """Why onnxruntime runs no model of this shape, here; None: it does."""
    if (reason := _why_no_onnx()) is not None:
        return reason
    from engine.runtime.onnx import unsupported_shape

    return unsupported_shape(config)


@cache
def _why_no_onnx() -> str | None:
    """As `_why_no_shape`, of any model; the log is told once."""
    try:
        from engine.runtime.onnx import check

        reason = check.why_not()
    except ImportError as error:
        reason = str(error)
    if reason is not None:
        log.warning("models are not run by onnxruntime", reason=reason)
    return reason


def _run_by_onnx(lm: MusicgenLM, kv_cache: CacheForm, threads: int, *, plain: bool) -> tuple[str, bool]:
    """Its name, and whether caches are of eight bits."""
    from engine.runtime.onnx import attach, cache_form

    narrow = cache_form(lm.config.dim, kv_cache) == "int8"
    if not plain:
        return attach(lm, threads, kv_cache=kv_cache).name, narrow
    if narrow:
        # The modules are to hear the same caches, whose scales are found by the runner.
        attach(lm, threads, kv_cache=kv_cache, keep=True)
        lm.runner = None
    return "plain", narrow


def _decode_faster(bundle: ModelBundle, threads: int) -> None:
    """Let onnxruntime or graphs decode, too, where the codec has a form for it; the sound is the same but for rounding."""
    if bundle.device.type not in ("cpu", "cuda") or not isinstance(bundle.codec, StreamedCodec):
        return
    try:
        bundle.codec.accelerate(threads)
    except Exception as error:  # a library that fails here: the codec's own layers decode
        log.warning("the codec's own layers decode", reason=f"{type(error).__name__}: {error}"[:200])


def _run_by_graphs(lm: MusicgenLM, runner: str) -> str:
    """Its name: that of the modules where nothing was asked for and the graphs did not come out right."""
    from engine.runtime.graphs import attach

    try:
        return attach(lm).name
    except RuntimeError as error:
        if runner == "graphs":
            raise RequestError(ErrorCode.UNSUPPORTED, "runner", runner, f"auto or plain: {error}") from error
        log.warning("the model runs without graphs", reason=str(error))
        return "plain"


def _fingerprint(bundle: ModelBundle) -> str:
    """That of the files in single precision; one of its own in whatever makes other tokens.

    Where activations are rounded, the last bit of a sum decides what lies on the edge between two codes, and all that follows: so
    on a CPU few bits make other tokens when it is the modules that sum.
    """
    if bundle.precision == "float32":
        return bundle.fingerprint
    told = [bundle.fingerprint, bundle.precision]
    if bundle.narrow_caches:
        told.append("int8 caches")
    if bundle.form is not None and bundle.device.type == "cpu" and bundle.runner == "plain":
        told.append("plain")
    return hashlib.sha256("\0".join(told).encode()).hexdigest()
