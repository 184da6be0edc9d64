"""The models in memory: the one that new streams are made of, those that others still play on, and the one that is being loaded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
import torch

from audio_files.locations import is_inside
from engine.admission import Admission
from engine.checkpoints import CATALOGUE, ModelBundle, load_model
from engine.checkpoints.decoders import CODEC
from engine.checkpoints.plugins import find_model
from engine.cores import model_threads
from engine.decoders import Decoders
from engine.flow_streams import preparation_of, warm_up_steps
from engine.memory import MB, hand_back, weights_of
from engine.preparation import hears_melodies
from engine.serving import NO_FACTS
from engine.worker import Worker
from protocols.errors import ErrorCode, RequestError, no_model
from protocols.messages import Done, Generate, Load, Loaded, ModelChanged, Reply
from protocols.settings import EngineSettings, FileSettings, Settings

log = structlog.get_logger()

_WARM_UP_S = 0.6

Answer = Callable[[Reply | RequestError], None]


class LoadedModel:
    """A model that streams can be made of, with all that is kept for it. Nothing outside knows its weights.

    Attributes:
        bundle: the model.
        decoders: what can make sound of its codes; any thread.
        admission: checks requests against it; any thread.
        preparation: makes its streams; the preparation's thread.
        users: streams and requests that need it. The I/O loop's.
        leaving: whether new streams get another model, or none. The I/O loop's.
    """

    def __init__(self, bundle: ModelBundle, settings: Settings, decoder: str = "") -> None:
        self.bundle = bundle
        self.decoders = Decoders.of(bundle, settings, decoder)
        self.admission = Admission(bundle, settings, self.decoders)
        self.preparation = preparation_of(bundle, self.admission.flow)
        self._weights = weights_of(bundle)
        self._weights_before: float | None = None
        self.users = 0
        self.leaving = False

    @property
    def weights_mb(self) -> float:
        """What its weights take, with those of its decoders."""
        if self._weights_before is not None:
            return self._weights_before
        return round((self._weights + self.decoders.weight_bytes) / MB, 1)

    @classmethod
    def load(cls, name: str, device: str, dtype: str, settings: Settings, decoder: str = "") -> LoadedModel:
        """Load a model and warm it up, on the caller's thread; ``decoder`` is that of streams which name none.

        Raises:
            RequestError: as `load_model`.
        """
        engine = settings.engine
        bundle = load_model(
            name,
            device=device,
            dtype=dtype,
            text_encoder=engine.text_encoder,
            memory_limit_mb=engine.memory_limit_mb,
            runner=engine.runner,
            kv_cache=engine.kv_cache,
            threads=model_threads(engine.threads),
        )
        model = cls(bundle, settings, decoder)
        model._warm_up()
        return model

    @property
    def facts(self) -> ModelChanged:
        """What clients are told about it."""
        bundle = self.bundle
        return ModelChanged(
            model=bundle.name,
            fingerprint=bundle.fingerprint,
            status=bundle.status,
            sample_rate=bundle.sample_rate,
            channels=bundle.channels,
            frame_samples=bundle.hop_length,
            melodies=hears_melodies(bundle),
            style_seconds=0.0 if bundle.style is None else bundle.style.facts.seconds,
            kind=bundle.kind,
            decoders=" ".join(self.decoders.names),
            resampling=bundle.resampling,
            dtype=bundle.precision,
            runner=bundle.runner,
        )

    @property
    def told(self) -> dict[str, object]:
        """What the log says of it, beside its name."""
        bundle = self.bundle
        error = getattr(bundle.lm, "rounding_error", 0.0)
        rounded = {"weights_rounded_by": f"{error:.2%}"} if error else {}
        return {"status": bundle.status, "precision": bundle.precision, "runner": bundle.runner, **rounded}

    def empty(self) -> list[object]:
        """Let go of everything, into a list that holds all of it; nothing may be asked of the model any more."""
        self._weights_before = self.weights_mb
        held: list[object] = [self.preparation, self.admission, self.decoders, self.bundle]
        del self.preparation, self.admission, self.decoders, self.bundle
        return held

    @torch.inference_mode()
    def _warm_up(self) -> None:
        """Make a little sound that nobody hears, so that the first request does not pay for allocations and kernels."""
        steps = warm_up_steps(self.bundle)
        request = Generate(prompt="warm up", duration=_WARM_UP_S, seed=0, steps=steps, decoder=CODEC)
        plan = self.admission.plan(request, b"")
        stream = self.preparation.prepare(0, plan).stream
        while not stream.sampler.done:
            stream.advance()


class LoadedModels:
    """All models in memory. For the I/O loop's thread only.

    Models are loaded, warmed up and freed on a thread of their own, one after the other, while streams play on. A stream keeps the
    model that it began with; a model that new streams do not get any more is freed once its last stream is over. Whoever needs a
    model says so with `use` and `leave`.

    Args:
        first: the model to begin with.
        settings: of both processes.
        call_soon: runs something on the I/O loop's thread.
        when_forgotten: calls back, on any thread, once no other thread holds anything of the streams that are over.
        tell: tells every client of another model.
        threads: CPU threads that loading may use.
    """

    def __init__(
        self,
        first: LoadedModel,
        settings: Settings,
        call_soon: Callable[[Callable[[], None]], None],
        when_forgotten: Callable[[Callable[[], None]], None],
        tell: Callable[[ModelChanged], None],
        *,
        threads: int = 1,
    ) -> None:
        self.loading = ""
        self._current: LoadedModel | None = first
        self._models = [first]
        self._being_freed: list[LoadedModel] = []
        self._settings = settings
        self._call_soon = call_soon
        self._when_forgotten = when_forgotten
        self._tell = tell
        self._waiting: dict[LoadedModel, Answer] = {}
        self._worker = Worker("models", threads=threads)
        self._worker.start()

    def __iter__(self) -> Iterator[LoadedModel]:
        """Every model that streams are made of, or may be."""
        return iter(self._models)

    @property
    def weights_mb(self) -> float:
        """What the weights of all models take that are in memory."""
        return round(sum(model.weights_mb for model in (*self._models, *self._being_freed)), 1)

    @property
    def current(self) -> LoadedModel | None:
        """The model that new streams get, or None."""
        return self._current

    @property
    def facts(self) -> ModelChanged:
        """What clients are told about it."""
        return NO_FACTS if self._current is None else self._current.facts

    @property
    def ready(self) -> LoadedModel:
        """The model that new streams get.

        Raises:
            RequestError: NO_MODEL.
        """
        if self._current is None:
            raise no_model()
        return self._current

    def use(self, model: LoadedModel) -> None:
        """Keep a model until `leave`."""
        model.users += 1

    def leave(self, model: LoadedModel) -> None:
        """A use of a model is over."""
        model.users -= 1
        self._free_unused(model)

    def load(self, request: Load, answer: Answer) -> None:
        """Load another model in the background, and answer when it is the current one; should that fail, nothing changes.

        Raises:
            RequestError: MISSING without a name, BUSY while one is being loaded.
        """
        if not request.model.strip():
            raise RequestError(ErrorCode.MISSING, "model", None, ", ".join(CATALOGUE))
        if self.loading:
            raise RequestError(ErrorCode.BUSY, "model", request.model, f"one at a time; {self.loading} is being loaded")
        self.loading = request.model
        began = time.monotonic()
        settings, engine = self._settings, self._settings.engine
        device, dtype = request.device or engine.device, request.dtype or engine.dtype

        def work() -> LoadedModel:
            check_name(request.model, engine, settings.files)
            return LoadedModel.load(request.model, device, dtype, settings, request.decoder)

        def loaded(result: LoadedModel | RequestError) -> None:
            self.loading = ""
            self._worker.do(hand_back, lambda done: None)  # what was needed for a while only
            if isinstance(result, RequestError):
                log.warning("model not loaded", model=request.model, error=result.text)
                answer(result)
                return
            seconds = round(time.monotonic() - began, 2)
            log.info("model loaded", model=result.bundle.name, seconds=seconds, **result.told)
            self._models.append(result)
            self._replace(result)
            answer(Loaded(model=result.bundle.name, seconds=seconds, weights_mb=result.weights_mb))

        self._worker.do(work, lambda result: self._call_soon(lambda: loaded(result)))

    def unload(self, answer: Answer) -> None:
        """Take the current model away from new streams; answered when its memory is back, or at once while it is needed.

        Raises:
            RequestError: NO_MODEL.
        """
        model = self.ready
        if model.users:
            answer(Done())
        else:
            self._waiting[model] = answer
        self._replace(None)

    def stop(self, seconds: float) -> bool:
        """Leave the thread, and wait for that at most ``seconds``; False when it is in the middle of loading."""
        return self._worker.stop(seconds)

    def _replace(self, model: LoadedModel | None) -> None:
        before, self._current = self._current, model
        self._tell(self.facts)
        if before is not None:
            before.leaving = True
            self._free_unused(before)

    def _free_unused(self, model: LoadedModel) -> None:
        if not model.leaving or model.users:
            return

        def free() -> None:
            self._models.remove(model)
            self._being_freed.append(model)
            held = model.empty()

            def work() -> None:
                # Only here: to let go of gigabytes takes a while, and neither sockets nor frames may wait for it.
                held.clear()
                hand_back()

            self._worker.do(work, lambda result: self._call_soon(lambda: freed(result)))

        def freed(result: object) -> None:
            self._being_freed.remove(model)
            log.info("model freed", weights_mb=model.weights_mb)
            if (answer := self._waiting.pop(model, None)) is not None:
                answer(result if isinstance(result, RequestError) else Done())

        # Threads still hold what they worked on last: the model's its stream, the preparation's its job.
        self._when_forgotten(lambda: self._call_soon(free))


def check_name(name: str, engine: EngineSettings, files: FileSettings) -> None:
    """Refuse a folder that no client may name: any but that of the settings, and those inside the allowed folders.

    Raises:
        RequestError: NOT_ALLOWED.
    """
    wanted = name.strip()
    if wanted in CATALOGUE or wanted == engine.model.strip() or find_model(wanted) is not None:
        return
    try:
        folder = Path(wanted).expanduser()
        written_as_path = folder.is_absolute() or wanted.startswith((".", "~"))
        if not written_as_path and not folder.exists():  # a hub id, or no name at all
            return
        allowed = any(is_inside(folder.resolve(), parent) for parent in files.allowed_folders)
    except (OSError, RuntimeError, ValueError):  # a name that no file system takes, or the home of nobody
        allowed = False
    if not allowed:
        folders = ", ".join(map(str, files.allowed_folders))
        raise RequestError(ErrorCode.NOT_ALLOWED, "model", name, f"a folder inside: {folders}")
