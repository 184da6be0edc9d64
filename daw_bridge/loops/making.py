"""What the engine makes for a layer: it goes on from the loop, once or in several ways side by side, while that plays."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from daw_bridge.background import Background
from daw_bridge.bridge_stream import BridgeStream
from daw_bridge.loops.take import TAIL_S, Take, TakeFile
from daw_bridge.orders import Tap
from protocols.bridge_messages import PlayContinue
from protocols.errors import ErrorCode, RequestError
from protocols.fields import fields_of
from protocols.loop_messages import LoopMaking
from protocols.messages import FASTEST_BPM, SLOWEST_BPM, Finished, Sampling
from protocols.osc.front import Asker
from protocols.units import as_fraction, seconds_to_samples

_SEEDS = 2**31


class MakingHost(Protocol):
    """What making needs of the bridge."""

    def play(self, request: PlayContinue, asker: Asker, tap: Tap | None = None) -> None:
        """Open a stream that ``tap`` hears; may raise RequestError."""

    def cancel(self, stream: BridgeStream) -> None:
        """End a stream."""


class Making:
    """Takes that go on from another. For the loop's thread only.

    Args:
        host: the bridge.
        background: where sound is resampled.
        source: what they go on from; it may still be on its way to the disk.
        request: of the host.
        beats: length of each.
        bpm: the clock's tempo.
        rate: of the sound card, Hz; 0 where there is none.
        names: one for each; a seed that is given counts up from one to the next.
        asker: the client that it is for.
        made: hears of each, with its index.
        failed: hears of what will not come.
        metre: the clock's, where the request names none.

    Raises:
        RequestError: OUT_OF_RANGE for a tempo that no model knows.
    """

    def __init__(
        self,
        host: MakingHost,
        background: Background,
        source: Take,
        request: LoopMaking,
        *,
        beats: int,
        bpm: Fraction,
        rate: int,
        names: list[str],
        asker: Asker,
        made: Callable[[int, Take], None],
        failed: Callable[[RequestError], None],
        metre: str = "",
    ) -> None:
        if not SLOWEST_BPM <= bpm <= FASTEST_BPM:
            raise RequestError(ErrorCode.OUT_OF_RANGE, "bpm", float(bpm), f"a clock of {SLOWEST_BPM} to {FASTEST_BPM}")
        self.source = source
        self.request = request
        self.seconds = beats * 60 / bpm
        self.began = time.monotonic()
        self._host = host
        self._background = background
        self._beats = beats
        self._bpm = bpm
        self._metre = request.metre or metre
        self._rate = rate
        self._names = names
        self._asker = asker
        self._made = made
        self._failed = failed
        self._left = deque(range(len(names)))
        self._running: dict[int, _Hearing] = {}
        self._ending = 0
        self._crowded = False
        self._cancelled = False

    @property
    def under_way(self) -> int:
        """How many are still to come."""
        return 0 if self._cancelled else len(self._left) + len(self._running) + self._ending

    def pump(self) -> None:
        """Ask for what can be asked for."""
        while self._left and self.source.file is not None and not (self._cancelled or self._crowded):
            index = self._left.popleft()
            self._running[index] = hearing = _Hearing(self._teller(index))
            try:
                self._host.play(self._asked(index, self.source.file), self._asker, tap=hearing)
            except RequestError as error:
                self._over(index, error)

    def cancel(self) -> None:
        """Nothing more is wanted."""
        self._cancelled = True
        for hearing in list(self._running.values()):
            hearing.cancel(self._host)

    def _teller(self, index: int) -> Callable[[Finished | RequestError], None]:
        return lambda answer: self._over(index, answer)

    def _asked(self, index: int, file: TakeFile) -> PlayContinue:
        sampling = {name: getattr(self.request, name) for name in fields_of(Sampling)}
        seed = self.request.seed
        return PlayContinue(
            **{
                **sampling,
                "bpm": float(self._bpm),
                "metre": self._metre,
                "seed": seed if seed < 0 else (seed + index) % _SEEDS,
                "path": str(file.path),
                "start": file.start,
                "length": file.length,
                "duration": float(self.seconds) + TAIL_S,
                "name": self._names[index],
                "sound": False,
            }
        )

    def _over(self, index: int, answer: Finished | RequestError) -> None:
        hearing = self._running.pop(index)
        if self._cancelled:
            return
        if isinstance(answer, RequestError) and answer.code is ErrorCode.BUSY and self._running:
            self._left.append(index)
            self._crowded = True  # until another is over
            return
        self._crowded = False
        if isinstance(answer, RequestError):
            self._failed(answer)
        else:
            self._ending += 1
            self._background.do(
                lambda: self._take(index, hearing, answer), lambda take: self._settle(index, take), self._fail
            )
        self.pump()

    def _settle(self, index: int, take: Take) -> None:
        self._ending -= 1
        if not self._cancelled:
            self._made(index, take)

    def _fail(self, error: RequestError) -> None:
        self._ending -= 1
        if not self._cancelled:
            self._failed(error)

    def _take(self, index: int, hearing: _Hearing, answer: Finished) -> Take:
        """What was heard, at the card's rate (any thread)."""
        made, rate = hearing.model_rate, self._rate or hearing.model_rate
        blocks = hearing.blocks
        if sum(map(len, blocks)) < seconds_to_samples(self.seconds, made):
            raise RequestError(
                ErrorCode.EMPTY, "take", self._names[index], f"all its bars; the stream was {answer.reason}"
            )
        sound = np.concatenate(blocks)
        if rate != made:
            sound = soxr.resample(sound, made, rate, quality="HQ").astype(np.float32)
        length = min(seconds_to_samples(self.seconds, rate), len(sound))
        take = Take(self._names[index], sound, length, self._beats, rate, follows=self.source.number)
        if answer.path:
            take.file = TakeFile(Path(answer.path), 0.0, float(as_fraction(self.seconds)))
        return take


class _Hearing:
    """Hears one stream (`Tap`)."""

    def __init__(self, over: Callable[[Finished | RequestError], None]) -> None:
        self.blocks: list[NDArray[np.float32]] = []
        self.model_rate = 0
        self._over = over
        self._stream: BridgeStream | None = None
        self._cancelled = False

    def opened(self, stream: BridgeStream) -> None:
        self._stream = stream
        self.model_rate = stream.rates[0]
        if self._cancelled:
            stream.cancel()

    def audio(self, block: NDArray[np.float32]) -> None:
        self.blocks.append(np.array(block, np.float32))

    def over(self, answer: Finished | RequestError) -> None:
        self._over(answer)

    def cancel(self, host: MakingHost) -> None:
        """End it; one that is not open yet is ended once it is."""
        self._cancelled = True
        if self._stream is not None:
            host.cancel(self._stream)
