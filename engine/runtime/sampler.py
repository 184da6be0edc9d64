"""A stream of frames out of the LM: one bounded piece of work at a time, for as long as anyone asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from engine.runtime.conditions import Condition, Mix
from engine.runtime.language_model import LanguageModel, Step
from engine.runtime.sampling import SamplingSettings, guide, pass_over, sample, sample_together
from engine.runtime.windows import CHUNK, WindowAhead

_PREFILL_CHUNK = 64
_PREFILL_CHUNK_ON_CPU = 16
"""Positions: on a CPU the work of a dozen of them is no longer hidden behind the reading of the weights."""


class Sampler(Protocol):
    """What `engine.stream` needs of whatever samples a stream's frames. One thread at a time.

    Attributes:
        settings: how tokens are drawn; may be replaced at any time and holds from the next step on.
    """

    settings: SamplingSettings

    @property
    def frames_done(self) -> int:
        """How many frames of the stream exist, the prompt's included."""

    @property
    def next_frame(self) -> int:
        """The first frame of the stream of which nothing is sampled yet."""

    @property
    def done(self) -> bool:
        """Whether the stream has all the frames that it was made for."""

    @property
    def generator_state(self) -> Tensor:
        """Where the first generator is: bytes, in host memory."""

    def set_condition(self, row: int, condition: Condition | Mix) -> None:
        """Give a row other texts, from the next step on."""

    def reseed(self, seed: int) -> None:
        """Draw from this seed on, beginning with the next step."""

    @property
    def lm(self) -> LanguageModel | None:
        """The model whose steps this one shares with others; None: all its work is its own."""

    def next_step(self) -> Step | None:
        """The step of the LM that `advance` would do now; None where it would do something else."""

    def advance(self, logits: Tensor | None = None, tokens: Tensor | None = None) -> Tensor | None:
        """Do one bounded piece of work: the frames ``[rows, codebooks, n]`` that this completed, in order and each of them once;
        None when it completed none. ``logits`` are those of `next_step`, where the LM has done it already, and ``tokens`` what is
        drawn from them, where that is done too."""


@dataclass(frozen=True)
class Past:
    """What a stream has sampled before: it is taken in place of draws, and what comes after it is drawn as it would have been.

    Attributes:
        codes: ``[rows, codebooks, frames]``, the prompt's frames included.
        heard_from: the frame at which the first window begins that has to be heard; what comes before it is only laid out.
        drawn_at: how many frames there were when ``generator`` was read, at least the sampler's prompt; 0 for never.
        generator: state of the one generator.
        exact: hear what is known step by step, as it was heard; else many steps at once, which rounds otherwise.
    """

    codes: Tensor
    heard_from: int = 0
    drawn_at: int = 0
    generator: Tensor | None = None
    exact: bool = True


class FrameSampler:
    """Samples the frames of one stream, or of several of the same age side by side. One thread at a time.

    A stream longer than the LM's window is made as the reference makes it (AudioCraft, ``BaseGenModel._generate_tokens``): when
    a window is full, the next one starts ``stride_frames`` later with the frames they share as its prompt, pre-filled from
    position 0, and the melody moves along. What they share is heard while it is made (``ahead``), or all at once when the next
    window starts; the tokens are the same. The caller notices only that a few calls return nothing.

    A frame is complete with its last code, at a step that the model's `CodebookPattern` decides. A pattern that goes through a
    window several times gives all frames of a window one after the other, in its last pass.

    Args:
        lm: the model.
        conditions: one, or a mix of several, per row; a row without text has the null condition.
        settings: how tokens are drawn. The attribute may be replaced at any time and holds from the next step on.
        total_frames: length of the stream in frames **including the prompt**, as the reference counts; None has no end.
        prompt: ``[rows, codebooks, frames]`` codes that come before the first sampled frame. They are neither changed nor
            returned. Of a prompt that fills a window, what the next window would share with it is heard.
        window_frames: the most frames the LM hears at once.
        stride_frames: how much later each window starts than the one before; less than the window.
        seed: one number for a generator that all rows share, as the reference's rows share one; or one per row, for
            generators of their own: such a row draws the same whatever its neighbours are.
        prefill_chunk: the most positions of a prefix or a prompt that one call of `advance` works through; None for as many as
            keep other streams waiting for a few frames at most.
        ahead: hear the next window's beginning while the present one is sampled. It takes a second cache, as soon as there is
            something for it to hear; a stream that ends within its window never makes one.
        past: what was sampled of it before; it begins like ``prompt``.

    Raises:
        ValueError: arguments that do not fit the model or each other.
    """

    def __init__(
        self,
        lm: LanguageModel,
        conditions: Sequence[Condition | Mix],
        settings: SamplingSettings,
        *,
        total_frames: int | None,
        prompt: Tensor | None = None,
        window_frames: int,
        stride_frames: int,
        seed: int | Sequence[int],
        prefill_chunk: int | None = None,
        ahead: bool = True,
        past: Past | None = None,
    ) -> None:
        rows, codebooks = len(conditions), lm.pattern.num_codebooks
        if prompt is None:
            prompt = torch.empty(rows, codebooks, 0, dtype=torch.long)
        if prompt.dim() != 3 or prompt.shape[:2] != (rows, codebooks):
            raise ValueError(f"prompt of shape {tuple(prompt.shape)}, not [{rows}, {codebooks}, frames]")
        if prompt.numel() and not 0 <= int(prompt.min()) <= int(prompt.max()) < lm.card:
            raise ValueError(f"prompt codes outside 0 to {lm.card - 1}")
        if not 0 < stride_frames < window_frames:
            raise ValueError(f"stride of {stride_frames} frames outside 1 to {window_frames - 1}")
        if total_frames is not None and total_frames < 1:
            raise ValueError(f"total_frames {total_frames} below 1")
        if prefill_chunk is None:
            prefill_chunk = _PREFILL_CHUNK_ON_CPU if lm.device.type == "cpu" else _PREFILL_CHUNK
        if prefill_chunk < 1:
            raise ValueError(f"prefill_chunk {prefill_chunk} below 1")

        self.settings = settings
        self._lm = lm
        self._pattern = lm.pattern
        self._total = total_frames
        self._window = window_frames
        self._stride = stride_frames
        self._prefill_chunk = prefill_chunk
        self._generators = _generators(seed, rows, lm.device)
        prompt = prompt.to(lm.device, torch.long)
        self._past = past
        self._codes_of_past = None if past is None else past.codes.to(lm.device, torch.long)
        offset = 0
        if prompt.shape[2] >= window_frames:
            offset = prompt.shape[2] - (window_frames - stride_frames)
        longest = window_frames if total_frames is None else min(window_frames, total_frames)
        positions = self._pattern.positions(longest)
        self._conditions = list(conditions)
        self._session = lm.session(conditions, positions, frame=offset)
        self._ahead: WindowAhead | None = None
        if ahead:
            # Elsewhere a chunk costs its launches, hardly its length.
            chunk = min(CHUNK, prefill_chunk) if lm.device.type == "cpu" else prefill_chunk
            self._ahead = WindowAhead(lm, positions, window=window_frames, stride=stride_frames, chunk=chunk)
        self._frames_done = prompt.shape[2]
        self._offset, self._step = offset, 0
        if not self.done:
            self._open_window(prompt[..., offset:], offset)
        self._meet_past()

    @property
    def frames_done(self) -> int:
        """How many frames of the stream exist, the prompt's included."""
        return self._frames_done

    @property
    def next_frame(self) -> int:
        """The first frame of the stream of which nothing is sampled yet."""
        return self._frames_done if self.done else self._offset + self._layout.begun[self._step]

    @property
    def done(self) -> bool:
        return self._total is not None and self._frames_done >= self._total

    @property
    def generator_state(self) -> Tensor:
        """Where the first generator is: bytes, in host memory."""
        return self._generators[0].get_state()

    def set_condition(self, row: int, condition: Condition | Mix) -> None:
        """Give a row other texts, melody and score, or other weights to those it has, from the next step on.

        With cross-attention, what the LM has heard so far stays in its memory as it was heard, that of the next window too; a new
        score is heard from `next_frame` on, and where the next window hears frames again. A melody model hears its text and melody
        before everything else: where there are new ones, it hears them and the frames of its window anew, a chunk per call of
        `advance`, and then goes on where it was; no frame is sampled again. Of a prefix, what old and new begin with is kept, which
        is the melody where only the text changes. See `Session.set_condition` for what becomes of the parts of a mix.

        Raises:
            ValueError: the model has not enough positions for a text and melody before the codes; nothing has changed.
        """
        while self._hears_later and self._session.position < self._step - 1:
            self._hear_known()
        self._session.set_condition(row, condition)
        self._conditions[row] = condition
        if self._ahead is not None:
            self._ahead.set_condition(row, condition, self._step)

    def reseed(self, seed: int) -> None:
        """Draw from this seed on, beginning with the next step; rows with generators of their own all start from it."""
        for generator in self._generators:
            generator.manual_seed(seed)

    @property
    def lm(self) -> LanguageModel:
        """The model, whose steps may be shared with other samplers of it."""
        return self._lm

    @property
    def draws_plainly(self) -> bool:
        """Whether it is one stream that follows one condition, and no sum over a distribution decides what may be drawn."""
        return len(self._conditions) == 1 and self._session.rows == 2 and self.settings.top_p == 0

    @torch.inference_mode()
    def next_step(self) -> Step | None:
        """The step of the LM from which the next column is drawn; None where something else is to be done before it.

        Whoever has the LM do it (`LanguageModel.step`) gives the logits to `advance`, before anything else is asked of this one.
        """
        return self._coming_column() if not self.done and self._duty() == "step" else None

    @torch.inference_mode()
    def advance(self, logits: Tensor | None = None, tokens: Tensor | None = None) -> Tensor | None:
        """Do one piece of work: a chunk of what was said or played before, or of what the next window hears again, or one step of
        the LM and its draw.

        Args:
            logits: ``[rows, codebooks, 1, card]`` of `next_step`, of which only the draw is left to do; None: all is.
            tokens: ``[rows, codebooks]``, of `draw_together`; None: they are drawn here.

        Returns:
            ``[rows, codebooks, n]``, the frames that this completed, in order and each of them once; None when it completed none.
        """
        if self.done:
            return None
        duty = "step" if logits is not None else self._duty()
        if duty == "prefix":
            self._lm.hear_prefix(self._session, self._prefill_chunk)
            return None
        if duty == "known":
            self._hear_known()
            return None
        if duty == "ahead":
            assert self._ahead is not None
            self._ahead.work(self._sequence, self._step, self._conditions)
            return None
        if duty == "pass":
            if self._heard and not self._hears_later:
                self._lm.hear(*self._coming_column())
            self._pass_over_draw()
        else:
            if logits is None:
                logits = self._lm(*self._coming_column())
            if tokens is None:
                tokens = self._draw(guide(logits[:, :, -1], self.settings.guidance, self._session.blend))
            column = self._sequence[..., self._step]
            column.copy_(torch.where(self._open_slots[:, self._step], tokens, column))
        return self._stepped()

    def _duty(self) -> Literal["prefix", "known", "ahead", "pass", "step"]:
        """What is to be done next: hear what stands before the codes, or codes that are known; something for the next window; pass
        over a column that is known; or draw one."""
        session, step, past = self._session, self._step, self._past
        if self._heard and session.prefix_pending:
            return "prefix"
        if self._heard and session.position < step - 1 and not self._hears_later:
            return "known"
        # Of what only the journal knows nothing is heard before a certain frame, in no window.
        following = self._offset + self._stride
        if self._ahead is not None and (past is None or following >= past.heard_from) and self._ahead.due(step):
            return "ahead"
        return "pass" if step < self._first_drawn else "step"

    def _coming_column(self) -> Step:
        """What the LM hears before the next column is drawn."""
        return Step(self._sequence[..., self._session.position : self._step], self._session)

    def _stepped(self) -> Tensor | None:
        """A column is known: go on to the next, be it in another window; the frame that it completed, as `advance` gives it."""
        step = self._step
        self._step += 1
        frame = self._layout.completed[step]
        if frame < self._prompt_frames:
            return None
        completed = self._sequence.flatten(1).index_select(1, self._slots[frame]).unsqueeze(2)
        self._frames_done += 1
        if frame + 1 == self._layout.frames and not self.done:
            shared = self._layout.codes(self._sequence, self._stride, self._layout.frames)
            offset = self._offset + self._stride
            if self._ahead is not None and self._ahead.is_open:
                self._session = self._ahead.exchange(self._session)
            else:
                self._session.begin(offset)
            self._open_window(shared, offset)
        self._meet_past()
        return completed

    def _open_window(self, prompt: Tensor, offset: int) -> None:
        """Lay out a window that begins with ``prompt``, whose first frame is frame ``offset`` of the stream."""
        self._offset = offset
        frames = self._window_at(offset)
        self._layout = layout = self._pattern.layout(frames)
        self._slots = layout.flat_slots.to(prompt.device)
        self._prompt_frames = prompt.shape[2]
        known = prompt
        if self._codes_of_past is not None and self._codes_of_past.shape[2] > offset + self._prompt_frames:
            known = self._codes_of_past[..., offset : offset + frames]
        self._sequence = layout.sequence(known, self._lm.special_token)
        self._open_slots = layout.slots(known.shape[2], frames).to(prompt.device)
        self._step = layout.first_step(self._prompt_frames)
        # A step before this one finds all its tokens known. Where the whole window is, there is nothing left to draw in it.
        self._first_drawn = layout.first_step(known.shape[2])
        if self._total is not None and offset + frames >= self._total:
            self._ahead = None
        if self._ahead is not None:
            following = self._window_at(offset + self._stride)
            self._ahead.begin(offset + self._stride, following, self._prompt_frames, self._session.prefix_length)

    def _window_at(self, offset: int) -> int:
        """How many frames the window has that begins there."""
        return self._window if self._total is None else min(self._window, self._total - offset)

    @property
    def _heard(self) -> bool:
        """Whether the present window is heard at all."""
        return self._past is None or self._offset >= self._past.heard_from

    @property
    def _hears_later(self) -> bool:
        """Whether the steps that are known are heard together, once something changes or is to be drawn."""
        past = self._past
        return (
            past is not None
            and not past.exact
            and not self.done
            and self._offset >= past.heard_from
            and self._layout.first_step(self._prompt_frames) < self._step < self._first_drawn
        )

    @torch.inference_mode()
    def _hear_known(self) -> None:
        """Hear a chunk of what comes before the next step."""
        position = self._session.position
        end = min(position + self._prefill_chunk, self._step - 1)
        self._lm.hear(self._sequence[..., position:end], self._session)

    def _meet_past(self) -> None:
        """Draw on as before from the frame at which it is known how."""
        past = self._past
        if past is not None and past.generator is not None and past.drawn_at == self._frames_done:
            self._generators[0].set_state(past.generator)

    def _pass_over_draw(self) -> None:
        """Leave the generators as a draw would."""
        rows = self._sequence.shape[0]
        shape = (self._pattern.num_codebooks, self._lm.card)
        for generator in self._generators:
            pass_over((rows, *shape) if len(self._generators) == 1 else shape, self.settings, generator)

    def _draw(self, logits: Tensor) -> Tensor:
        """Tokens ``[rows, codebooks]`` for guided logits ``[rows, codebooks, card]``."""
        if len(self._generators) == 1:
            return sample(logits, self.settings, self._generators[0])
        rows = zip(logits, self._generators, strict=True)
        return torch.stack([sample(row, self.settings, generator) for row, generator in rows])


def draw_together(samplers: Sequence[Sampler], logits: Sequence[Tensor]) -> list[Tensor | None]:
    """The tokens of several streams, those of equal settings drawn at once: on a GPU, launches are what a draw costs.

    Args:
        samplers: of one LM, each of which has given its `FrameSampler.next_step`.
        logits: of these steps.

    Returns:
        For each, what its `FrameSampler.advance` takes; None for one that has to draw by itself.
    """
    tokens: list[Tensor | None] = [None] * len(samplers)
    groups: dict[SamplingSettings, list[tuple[int, torch.Generator]]] = {}
    for place, sampler in enumerate(samplers):
        if isinstance(sampler, FrameSampler) and sampler.draws_plainly:
            groups.setdefault(sampler.settings, []).append((place, sampler._generators[0]))
    for settings, members in groups.items():
        rows = torch.stack([logits[place][:, :, -1] for place, _ in members], dim=1)
        drawn = sample_together(guide(rows.flatten(0, 1), settings.guidance), settings, [each for _, each in members])
        for (place, _), row in zip(members, drawn, strict=True):
            tokens[place] = row.unsqueeze(0)
    return tokens


def _generators(seed: int | Sequence[int], rows: int, device: torch.device) -> list[torch.Generator]:
    seeds = [seed] if isinstance(seed, int) else list(seed)
    if not isinstance(seed, int) and len(seeds) != rows:
        raise ValueError(f"{len(seeds)} seeds for {rows} rows")
    return [torch.Generator(device).manual_seed(number) for number in seeds]
