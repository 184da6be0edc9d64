"""What a JACK server plays, recorded frame by frame in a client of its own."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Recorder:
    """Records one channel of whatever plays first on a JACK server, into memory that is taken beforehand.

    Args:
        environment: leads JACK's clients to the server.
        rate: of the server, Hz.
        seconds: that there is room for.
        prefix: start of the names of the ports that are recorded.
    """

    def __init__(self, environment: dict[str, str], rate: int, seconds: float, prefix: str = "daw-bridge") -> None:
        import jack

        os.environ.update(environment)
        self.frames = self.xruns = 0
        self._samples: NDArray[np.float32] = np.zeros(round(seconds * rate), np.float32)
        self._client: Any = jack.Client("listener", no_start_server=True)
        self._input = self._client.inports.register("in")
        self._client.set_process_callback(self._take)
        self._client.set_xrun_callback(self._missed)
        self._client.activate()
        deadline = time.monotonic() + 10
        while not (ports := self._client.get_ports(prefix, is_output=True, is_audio=True)):
            if time.monotonic() > deadline:
                raise RuntimeError("nothing plays on the JACK server")
            time.sleep(0.01)
        self._client.connect(ports[0], self._input)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.deactivate()
        self._client.close()

    def recorded(self) -> NDArray[np.float32]:
        """What was heard so far."""
        return self._samples[: self.frames].copy()

    def _take(self, frames: int) -> None:
        first = self.frames
        if first + frames <= len(self._samples):
            self._samples[first : first + frames] = self._input.get_array()
            self.frames = first + frames

    def _missed(self, delay: float) -> None:
        self.xruns += 1
