"""Ray: begun or joined, replicas placed on its machines, watched, and started again when they die. No sound passes through it."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from engine.replicas.member import Place
from engine.replicas.reaper import Reaper, end_users
from engine.replicas.replica import Replica
from protocols.errors import ErrorCode, RequestError
from protocols.release import VERSION
from protocols.settings import EngineSettings, Settings

log = structlog.get_logger()

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 5.0
_STOP_S = 5.0
_FOUND_S = 5.0
_BEGINNINGS = 3
_OBJECT_STORE = 80 * 2**20
"""Bytes; the least that Ray takes. Nothing but the settings goes through it."""

_OWN_RAY = {
    # By this Ray listens on 127.0.0.1 only, where it would else open its ports to the network.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Else what Ray starts yields to every other process.
    "RAY_worker_niceness": "0",
    # A host with large projects fills the memory; that is no reason to end an engine.
    "RAY_memory_monitor_refresh_ms": "0",
}
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "RAY_COLOR_PREFIX": "0"}


class Cluster:
    """The replicas as processes. `start` is for the main thread: what Ray begins lives only as long as the thread that began it.

    Each replica has a thread here that places it, waits for its end and places it anew: after 0.2 s, doubled at each failure up to
    5 s, until it has served.

    Args:
        settings: of the front.
        up: hears that a replica serves, by its number from 1; on any thread.
        down: hears that one is over, or did not get so far, and why; on any thread.

    Attributes:
        count: how many replicas there are, once `start` is over.
    """

    def __init__(
        self, settings: Settings, *, up: Callable[[int, Place], None], down: Callable[[int, str], None]
    ) -> None:
        self.count = settings.engine.replicas
        self._settings = settings
        self._up = up
        self._down = down
        self._ray: Any = None
        self._leaving = threading.Event()
        self._lock = threading.Lock()
        self._actors: dict[int, Any] = {}
        self._keepers: list[threading.Thread] = []
        self._folder = ""
        self._reaper: Reaper | None = None
        self._options: dict[str, Any] = {}
        self._arguments: dict[str, Any] = {}

    def start(self) -> None:
        """Begin Ray, or join the one of the settings, and place the replicas.

        Raises:
            RequestError: UNSUPPORTED without Ray, NOT_FOUND where none answers at the address, OUT_OF_RANGE for more replicas than
                GPUs, UNKNOWN_DEVICE for a device that only one could have.
        """
        engine = self._settings.engine
        if engine.device.startswith("cuda:"):
            raise RequestError(
                ErrorCode.UNKNOWN_DEVICE,
                "engine.device",
                engine.device,
                "auto, cuda or cpu: each replica has its own GPU",
            )
        ray = self._ray = _import_ray(own=not engine.ray)
        with contextlib.redirect_stdout(sys.stderr):  # the standard output is for whoever started us
            if engine.ray:
                self._join(engine.ray)
            else:
                self._begin(engine)
        gpus = int(ray.cluster_resources().get("GPU", 0))
        self.count, gpu = decide(engine, gpus)
        nodes = max(1, sum(bool(node["Alive"]) for node in ray.nodes()))
        self._options = {
            "num_cpus": 0,
            "num_gpus": 1 if gpu else 0,
            "max_restarts": 0,
            "max_concurrency": 3,
            "scheduling_strategy": "SPREAD",
        }
        self._arguments = {
            "front": str(ray.util.get_node_ip_address()),
            "sharing": math.ceil(self.count / nodes),
            "gpu": gpu,
        }
        log.info("replicas", count=self.count, machines=nodes, gpus=gpus, ray=engine.ray or "our own")
        for number in range(1, self.count + 1):
            keeper = threading.Thread(target=self._keep, args=(number,), name=f"replica-{number}", daemon=True)
            self._keepers.append(keeper)
            keeper.start()

    def restart(self, number: int) -> None:
        """End the process of a replica that hangs; it is placed anew (any thread)."""
        with self._lock:
            actor = self._actors.get(number)
        if actor is not None:
            self._kill(actor)

    def stop(self) -> None:
        """Let every replica end its streams and leave, and end those that do not within five seconds."""
        self._leaving.set()
        with self._lock:
            actors = list(self._actors.values())
        for actor in actors:
            with contextlib.suppress(Exception):
                actor.stop.remote()

        def end_all() -> None:
            for actor in actors:
                self._kill(actor)

        end = threading.Timer(_STOP_S, end_all)
        end.daemon = True
        end.start()
        for keeper in self._keepers:
            keeper.join(_STOP_S + 1)
        end.cancel()
        end_all()

    def close(self) -> None:
        """Leave Ray, and end our own; for the thread that called `start`, after `stop`."""
        if self._ray is not None:
            with contextlib.suppress(Exception):
                self._ray.shutdown()
        if self._reaper is not None:
            self._reaper.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    # --- Ray ----------------------------------------------------------------------------------------------------------

    def _begin(self, engine: EngineSettings) -> None:
        # Not in TMPDIR: the paths of Ray's sockets may not be longer than a hundred characters, which macOS's exceeds.
        self._folder = tempfile.mkdtemp(prefix="db-ray-", dir="/tmp" if os.name == "posix" else None)
        self._reaper = Reaper(self._folder)
        for left in reversed(range(_BEGINNINGS)):
            try:
                self._ray.init(
                    num_cpus=max(1, engine.replicas),
                    num_gpus=0 if engine.device == "cpu" else None,
                    include_dashboard=False,
                    object_store_memory=_OBJECT_STORE,
                    configure_logging=False,
                    namespace="daw-bridge",
                    _temp_dir=self._folder,
                )
                return
            except (
                Exception
            ) as error:  # it has half a minute, which is short on a machine that has just been switched on
                if not left:
                    why = " ".join(str(error).split())
                    raise RequestError(ErrorCode.INTERNAL, "engine.replicas", engine.replicas, f"Ray: {why}") from None
                log.warning("Ray did not begin in time; once more", error=str(error))
                self._ray.shutdown()
                end_users(self._folder)

    def _join(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        try:
            if port.isdigit():  # Ray would look for it for more than a minute
                socket.create_connection((host, int(port)), _FOUND_S).close()
            self._ray.init(address=address, configure_logging=False, namespace="daw-bridge")
        except (OSError, OverflowError, RuntimeError, ValueError) as error:
            why = str(error).strip().splitlines()
            allowed = f"where `ray start --head` runs ({why[0] if why else type(error).__name__})"
            raise RequestError(ErrorCode.NOT_FOUND, "engine.ray", address, allowed) from None

    def _keep(self, number: int) -> None:
        delay = FIRST_DELAY_S
        while not self._leaving.is_set():
            why, served = self._live(number)
            if self._leaving.is_set():
                return
            self._down(number, why)
            delay = FIRST_DELAY_S if served else delay
            self._leaving.wait(delay)
            delay = min(2 * delay, LONGEST_DELAY_S)

    def _live(self, number: int) -> tuple[str, bool]:
        """One life of a replica, from its placing to its end: why it is over, and whether it has served."""
        ray, served, actor = self._ray, False, None
        try:
            settings = msgspec.to_builtins(self._settings)
            actor = ray.remote(Replica).options(**self._options).remote(settings, **self._arguments)
            with self._lock:
                self._actors[number] = actor
            told = ray.get(actor.load.remote())
            if "error" in told:
                return RequestError(ErrorCode(told["error"][0]), *told["error"][1:]).text, False
            place = msgspec.convert(told, Place)
            if place.welcome.version != VERSION:
                return f"release {place.welcome.version} on {place.node}, this is {VERSION}", False
            serving = actor.serve.remote()
            served = True
            self._up(number, place)
            ray.get(serving)
            return "it has stopped", served
        except Exception as error:  # Ray's own errors, which wrap whatever was raised over there
            lines = [line for line in str(error).strip().splitlines() if line.strip()]
            return f"{type(error).__name__}: {(lines or ['no reason given'])[-1 if not served else 0].strip()}", served
        finally:
            with self._lock:
                self._actors.pop(number, None)
            if actor is not None:
                self._kill(actor)

    def _kill(self, actor: Any) -> None:
        with contextlib.suppress(Exception):  # it is dead already
            self._ray.kill(actor)


def decide(engine: EngineSettings, gpus: int) -> tuple[int, bool]:
    """How many replicas there are, and whether each has a GPU.

    Args:
        engine: the settings.
        gpus: that there are, on all machines.

    Raises:
        RequestError: OUT_OF_RANGE for more replicas than GPUs, where each needs one.
    """
    gpu = engine.device == "cuda" or (engine.device == "auto" and gpus > 0)
    count = engine.replicas or max(1, gpus)
    if gpu and count > gpus:
        allowed = f"at most {gpus}, one for each GPU; or engine.device=cpu"
        raise RequestError(ErrorCode.OUT_OF_RANGE, "engine.replicas", count, allowed)
    return count, gpu


def _import_ray(*, own: bool) -> Any:
    """Ray, told how to be before it is loaded: it reads its environment once.

    Raises:
        RequestError: UNSUPPORTED where it is not installed.
    """
    os.environ.update(_QUIET)
    if own:
        # A key of its own, so that nobody else on this machine can have it run anything, and none is left in the home folder.
        os.environ.update({**_OWN_RAY, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    try:
        import ray
    except ImportError:
        allowed = "1, or Ray: pip install 'daw-bridge[replicas]'"
        raise RequestError(ErrorCode.UNSUPPORTED, "engine.replicas", "more than one", allowed) from None
    return ray
