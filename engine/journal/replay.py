"""Where a stream that goes on from its journal begins to be heard again, so that it draws what it would have drawn.

What decides a token, besides words and settings: the codes of this window; how they were heard, for what is cached stays as it was
heard when the words were others; and where the generator is. So the window in which the stream goes on is heard again step by
step under the words of then, and what it shared with the one before in the pieces in which it was heard ahead. Frames before that
are laid out only. The generator goes on from the last state that was kept, passing over a draw for each step. Tokens of frames that
were not complete yet are drawn again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.changes import Change
from engine.hearing import Hearing
from engine.morphs import Morphs
from engine.runtime.patterns import CodebookPattern
from engine.runtime.sampler import Past
from engine.runtime.sampling import SamplingSettings


@dataclass(frozen=True)
class Recording:
    """What a journal holds of the new material.

    Attributes:
        codes: uint16 ``[frames, codebooks]``.
        states: the generator's, each with the number of frames there were.
        exact: whether it is heard again step by step; see `Past`.
    """

    codes: NDArray[np.uint16]
    states: tuple[tuple[int, bytes], ...] = ()
    exact: bool = True


@dataclass(frozen=True)
class Windows:
    """How a stream is cut into windows, in frames that count from its prompt's first.

    Attributes:
        length: of a window.
        stride: how much later each begins than the one before.
        pattern: of the codebooks.
        prompt: frames of the prompt, fewer than a window.
    """

    length: int
    stride: int
    pattern: CodebookPattern
    prompt: int

    def of(self, frame: int) -> int:
        """The window that samples the frame which comes after so many."""
        return 0 if frame < self.length else (frame - self.length) // self.stride + 1

    def opening(self, window: int) -> int:
        """How many frames there are when it opens."""
        return self.prompt if window == 0 else self.length + (window - 1) * self.stride

    def next_frame(self, frames: int) -> int:
        """The first of which nothing is sampled yet, between two frames, when there are so many; see `FrameSampler.next_frame`."""
        window, begun = self._reached(frames)
        return self._begins(window) + self.pattern.layout(self.length).begun[begun]

    def knows(self, frames: int, earlier: int) -> bool:
        """Whether nothing had been drawn, when there were ``earlier`` frames, that a stream draws which goes on after ``frames``.

        It draws each step anew in which a frame that was not complete has a code.
        """
        window = self.of(frames)
        drawn = (window, self.pattern.layout(self.length).first_step(frames - self._begins(window)))
        return self._reached(earlier) <= drawn

    def _begins(self, window: int) -> int:
        """The first frame of a window."""
        return window * self.stride

    def _reached(self, frames: int) -> tuple[int, int]:
        """The window and the step that come next, between two frames, when there are so many."""
        window, layout = self.of(frames), self.pattern.layout(self.length)
        if frames == self.opening(window):
            return window, layout.first_step(frames - self._begins(window))
        return window, layout.completing_step(frames - self._begins(window) - 1) + 1


@dataclass(frozen=True)
class Beginning:
    """Where the sampler begins: with so many frames as its prompt, and what it knows beyond them."""

    frames: int
    past: Past


def begin(recording: Recording, first: int, prompt: Tensor | None, windows: Windows) -> Beginning:
    """From where a stream is gone through again that is to go on with frame ``first`` of its new material.

    Args:
        recording: of ``first`` frames or more; those from there on are forgotten.
        first: in frames of new material.
        prompt: ``[codebooks, frames]``, or None.
        windows: of the stream.
    """
    codes = torch.from_numpy(recording.codes[:first].T.astype(np.int64))
    known = codes if prompt is None else torch.cat((prompt.cpu(), codes), dim=1)
    window = windows.of(windows.prompt + first)
    begins = max(window - 1, 0)
    # Those of the last frames that were not complete are drawn again: the state has to be from before them.
    reached = windows.prompt + first
    usable = [(frames, state) for frames, state in recording.states if windows.knows(reached, windows.prompt + frames)]
    drawn_at, state = max(usable, default=(0, b""))
    begins = min(begins, windows.of(windows.prompt + drawn_at)) if state else 0
    generator = torch.from_numpy(np.frombuffer(state, np.uint8).copy()) if state else None
    past = Past(known[None], window * windows.stride, windows.prompt + drawn_at, generator, recording.exact)
    return Beginning(windows.opening(begins), past)


def change_until(
    frame: int, changes: Sequence[Change], windows: Windows, hearing: Hearing, settings: SamplingSettings
) -> tuple[Hearing, SamplingSettings, Morphs]:
    """What a stream hears just before ``frame`` of its new material, by the changes that came earlier; seeds are left out.

    Args:
        frame: more than that of each change.
        changes: encoded, in order.
        windows: of the stream.
        hearing: at the beginning.
        settings: at the beginning.
    """
    morphs = Morphs()
    for change in changes:
        hearing, settings = morphs.turned(change.frame, hearing, settings)
        following = windows.next_frame(windows.prompt + change.frame)
        hearing, settings = morphs.changed(change, change.frame, following, hearing, settings)
    if frame:
        hearing, settings = morphs.turned(frame - 1, hearing, settings)
    return hearing, settings, morphs
