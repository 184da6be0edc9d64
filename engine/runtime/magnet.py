"""MAGNeT: a whole segment at once, codebook after codebook, its least certain spans drawn again and again.

Ziv et al., "Masked Audio Generation using a Single Non-Autoregressive Transformer" (2024), decoded as AudioCraft decodes it. The
network is the one of `engine.runtime.lm`, but that every position hears every other, and from the second codebook on only its
neighbours. A pass hears the whole segment; a position that is not drawn yet holds the special token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from engine.runtime.lm import Condition, Mix, MusicgenLM, Session
from engine.runtime.ode import Pieces
from engine.runtime.sampling import Blend, SamplingSettings, draw, guide, keep_likeliest, sample_from
from engine.runtime.session import LayerMemory

Arrangement = Literal["nonoverlap", "stride1"]
Scoring = Literal["max", "prod"]

_SETTLED = -1e4
"""The score of what is not drawn again; AudioCraft's."""
_COLDEST = 1e-2
"""The lowest temperature that logits are divided by; AudioCraft's."""
_SEED_STEP = 0x9E3779B97F4A7C15
_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class MagnetConfig:
    """How a model masks and how its segments are decoded. The defaults are those of AudioCraft's ``MAGNeT``.

    Attributes:
        span: frames that are masked together.
        context: how many frames to either side a codebook after the first hears; -1 for all.
        decoding_steps: passes for each codebook.
        final_guidance: what guidance falls to while a codebook is decoded (``min_cfg_coef``); the settings' guidance is where
            it begins (``max_cfg_coef``).
        arrangement: "nonoverlap": spans stand side by side; "stride1": they begin anywhere.
        scoring: a span is as uncertain as its surest token ("max") or as all of them together ("prod"); of "nonoverlap" only.
        anneal: lower the temperature to 0 while a codebook is decoded.

    Raises:
        ValueError: a value outside its range.
    """

    span: int = 3
    context: int = 5
    decoding_steps: tuple[int, ...] = (20, 10, 10, 10)
    final_guidance: float = 1.0
    arrangement: Arrangement = "nonoverlap"
    scoring: Scoring = "max"
    anneal: bool = True

    def __post_init__(self) -> None:
        if self.span < 1 or self.context < -1 or not self.decoding_steps or min(self.decoding_steps) < 1:
            raise ValueError(f"span {self.span}, context {self.context}, decoding_steps {self.decoding_steps}")
        if self.arrangement not in ("nonoverlap", "stride1") or self.scoring not in ("max", "prod"):
            raise ValueError(f"arrangement {self.arrangement!r}, scoring {self.scoring!r}")

    @property
    def grain(self) -> int:
        """A segment that is decoded in one go is a multiple of so many frames."""
        return self.span if self.arrangement == "nonoverlap" else 1

    @property
    def for_remainder(self) -> MagnetConfig:
        """How the few frames are drawn that a segment has beyond a multiple of `grain`: at once, knowing all before them."""
        return replace(self, arrangement="stride1", decoding_steps=(1,) * len(self.decoding_steps))


class MagnetDecoder:
    """Decodes segments with one model. One thread at a time.

    Args:
        lm: the network. Its positions bound the length of a segment.
        config: how it decodes.
        piece: the most positions times layers that one piece of work goes through is this times the number of layers.

    Raises:
        ValueError: decoding steps for another number of codebooks.
    """

    def __init__(self, lm: MusicgenLM, config: MagnetConfig, *, piece: int = 64) -> None:
        if len(config.decoding_steps) != lm.config.num_codebooks:
            raise ValueError(f"decoding_steps {config.decoding_steps} for {lm.config.num_codebooks} codebooks")
        self._lm = lm
        self._config = config
        self._piece = piece
        self._masks: dict[tuple[int, bool], Tensor] = {}

    def pieces(self, frames: int, prompt: int) -> int:
        """How many pieces of work `decode` is for a segment of ``frames`` frames, of which ``prompt`` are known."""
        whole = frames // self._config.grain * self._config.grain
        lengths = [whole] * sum(self._config.decoding_steps) if whole > prompt else []
        if whole < frames:
            lengths += [frames] * len(self._config.decoding_steps)
        return 1 + sum(-(-self._lm.config.layers // self._layers_at_once(length)) for length in lengths)

    def decode(
        self,
        condition: Condition | Mix,
        settings: SamplingSettings,
        generator: torch.Generator,
        prompt: Tensor,
        frames: int,
    ) -> Iterator[Tensor | None]:
        """Decode one segment, a bounded piece of work at a time.

        The tokens are those of AudioCraft's ``MagnetLMModel.generate`` with the same draws, for as many frames as that gives: it
        leaves out what is beyond a multiple of the span. Here these frames are drawn in a pass per codebook that knows the others.

        Args:
            condition: what the segment follows.
            settings: with a temperature of 0 the likeliest tokens are taken.
            generator: on the model's device.
            prompt: ``[codebooks, known]`` codes with which the segment begins, fewer than ``frames``; they stay as they are.
            frames: of the whole segment, no more than the model has positions.

        Yields:
            None after each piece of work, and last of all the codes ``[codebooks, frames]``.
        """
        config, lm = self._config, self._lm
        known = prompt.shape[1]
        if not known < frames <= lm.config.max_positions:
            raise ValueError(
                f"a segment of {frames} frames after {known}; the model has {lm.config.max_positions} positions"
            )
        heard = self.listen(condition, frames)
        codes = torch.full((lm.config.num_codebooks, frames), lm.config.special_token, device=lm.device)
        codes[:, :known] = prompt.to(lm.device)
        whole = frames // config.grain * config.grain
        if whole > known:
            yield from self._fill(config, heard, settings, generator, codes[:, :whole], known)
            known = whole
        if known < frames:
            yield from self._fill(config.for_remainder, heard, settings, generator, codes, known)
        yield codes

    def listen(self, condition: Condition | Mix, frames: int) -> _Heard:
        """What every pass over a segment of so many frames hears beside the codes.

        No pass hears what another has heard, and no layer another layer's keys: so one cache does for all of them.
        """
        session = self._lm.session([condition], 1)
        rows = session.layers[0].keys_values
        cache = rows.new_zeros(*rows.shape[:3], frames, rows.shape[4])
        return _Heard(session, [memory._replace(keys_values=cache) for memory in session.layers])

    def _fill(
        self,
        config: MagnetConfig,
        heard: _Heard,
        settings: SamplingSettings,
        generator: torch.Generator,
        codes: Tensor,
        known: int,
    ) -> Iterator[None]:
        """Draw the frames from ``known`` on of ``codes`` ``[codebooks, frames]``, in place."""
        special = self._lm.config.special_token
        for codebook, steps in enumerate(config.decoding_steps):
            row, given = codes[codebook], codes[codebook, :known].clone()
            spans = _SpansSideBySide(config, row, known) if config.grain > 1 else _SpansAnywhere(config, row, known)
            row.fill_(special)
            moments = torch.cos(torch.linspace(0, 1, steps) * math.pi * 0.5)
            for step, share in enumerate(moments):
                mask = spans.least_certain(max(int((share * spans.open).item()), 1))
                row.masked_fill_(mask, special)
                row[:known] = given
                logits = yield from self._hear(heard, codes, codebook)
                far = float(share)
                guidance = far * settings.guidance + (1 - far) * config.final_guidance
                guided = _guided(logits, guidance, heard.session.blend)
                warmth = settings.temperature * ((steps - 1 - step) / steps if config.anneal else 1)
                probabilities = torch.softmax(guided / max(warmth, _COLDEST), dim=-1)
                if settings.temperature == 0:
                    tokens = guided.argmax(dim=-1)
                elif settings.top_k > 0 and not settings.top_p:
                    # AudioCraft judges certainty by what top-k has left, with top-p by all there was.
                    probabilities = keep_likeliest(probabilities, settings.top_k)
                    tokens = draw(probabilities, generator)
                else:
                    tokens = sample_from(probabilities, settings, generator)
                open_slots = row == special
                row.copy_(torch.where(open_slots, tokens, row))
                spans.score(probabilities.gather(-1, tokens.unsqueeze(-1))[:, 0], open_slots)

    def _hear(self, heard: _Heard, codes: Tensor, codebook: int) -> Pieces:
        """One pass over the whole segment, some layers at a time; returns one codebook's logits ``[rows, frames, card]``."""
        lm, session, frames = self._lm, heard.session, codes.shape[1]
        embedded = lm.embed(codes[None])
        conditional = embedded if session.owners is None else embedded[session.owners]
        x = torch.cat((conditional, embedded)) + lm.position_table[:frames]
        mask, at_once = self._mask(frames, codebook > 0), self._layers_at_once(frames)
        rotation = lm.rotation(slice(0, frames))
        for index, (layer, memory) in enumerate(zip(lm.layers, heard.layers, strict=True)):
            if index and index % at_once == 0:
                yield None
            x = layer(x, memory, 0, mask, session.cross_mask, rotation)
        yield None
        logits: Tensor = lm.logits(lm.final_norm(x))[:, codebook]
        return logits

    def _layers_at_once(self, frames: int) -> int:
        return max(1, self._piece * self._lm.config.layers // frames)

    def _mask(self, frames: int, restricted: bool) -> Tensor:
        """Which positions hear which, ``[frames, frames]``; the latest two are kept."""
        restricted = restricted and self._config.context >= 0
        if (frames, restricted) not in self._masks:
            self._masks = {key: mask for key, mask in self._masks.items() if key[0] == frames}
            mask = torch.ones(frames, frames, dtype=torch.bool, device=self._lm.device)
            if restricted:
                mask = mask.triu_(-self._config.context).tril_(self._config.context)
            self._masks[frames, restricted] = mask
        return self._masks[frames, restricted]


@dataclass(frozen=True)
class _Heard:
    """The condition of a segment, and each layer's memory of it."""

    session: Session
    layers: list[LayerMemory]


def _guided(logits: Tensor, guidance: float, blend: Blend | None) -> Tensor:
    """One stream's guided logits ``[frames, card]``, rounded as AudioCraft rounds them.

    Cooled down, most probabilities are 1 but for the last bit, and it is the last bit that says which span is least certain.
    """
    if blend is not None:
        return guide(logits, guidance, blend)[0]
    conditional, null = logits.float().unbind()
    guided: Tensor = null + (conditional - null) * guidance
    return guided


class _SpansSideBySide:
    """Which spans of one codebook are drawn again, where each frame belongs to one span."""

    def __init__(self, config: MagnetConfig, row: Tensor, known: int) -> None:
        self._config = config
        self._spans = len(row) // config.span
        settled = known // config.span
        self.open = self._spans - settled
        self._scores = torch.zeros(self._spans, device=row.device)
        self._scores[:settled] = _SETTLED
        self._masked = torch.zeros(self._spans, dtype=torch.bool, device=row.device)

    def least_certain(self, count: int) -> Tensor:
        """Mask ``count`` spans: boolean ``[frames]``."""
        self._masked = torch.zeros_like(self._masked)
        self._masked[self._scores.topk(count).indices] = True
        return self._masked.repeat_interleave(self._config.span)

    def score(self, probabilities: Tensor, drawn: Tensor) -> None:
        """Note how certain the tokens ``[frames]`` were; those of spans that were not masked are settled."""
        spans = probabilities.view(self._spans, self._config.span)
        uncertain = -spans.log().sum(dim=1) if self._config.scoring == "prod" else 1 - spans.amax(dim=1)
        self._scores = uncertain.masked_fill(~self._masked, _SETTLED)


class _SpansAnywhere:
    """Which frames of one codebook are drawn again, where spans begin at any frame and may overlap."""

    def __init__(self, config: MagnetConfig, row: Tensor, known: int) -> None:
        self._span = config.span
        self.open = len(row) - known
        self._scores = torch.zeros(len(row), device=row.device)
        self._scores[:known] = _SETTLED

    def least_certain(self, count: int) -> Tensor:
        """Mask about ``count`` frames: boolean ``[frames]``; so many of the least certain spans as come nearest to it."""
        if self._span == 1:
            return self._covered(self._scores.topk(count).indices)
        count = max(count, self._span)
        order = self._scores.unfold(0, self._span, 1).sum(dim=1).argsort(descending=True)
        # They may all stand apart, or follow each other frame by frame.
        few, many = count // self._span, count - self._span + 1
        middle = round(0.5 * (few + many))
        mask = self._covered(order[:middle])
        while few < middle < many:
            mask = self._covered(order[:middle])
            if int(mask.sum()) > count:
                many = middle
            else:
                few = middle
            middle = round(0.5 * (few + many))
        return mask

    def score(self, probabilities: Tensor, drawn: Tensor) -> None:
        """Note how certain the tokens ``[frames]`` were; those of frames that were not drawn are settled."""
        self._scores = (-probabilities.log()).masked_fill(~drawn, _SETTLED)

    def _covered(self, starts: Tensor) -> Tensor:
        mask = torch.zeros(len(self._scores), dtype=torch.bool, device=self._scores.device)
        for shift in range(self._span):
            mask[(starts + shift)[starts + shift < len(mask)]] = True
        return mask


class MagnetSampler:
    """The frames of one stream out of a model that decodes whole segments. One thread at a time.

    The first frames come once a whole segment is decoded, then one frame per call. A stream that is longer than a segment goes on
    in the next one, which begins ``stride_frames`` later with the frames that both share as its prompt, as AudioCraft's
    ``BaseGenModel`` continues with an ``extend_stride``. It is decoded while the frames of the one before are handed out, in
    pieces spread evenly over them; so what is told meanwhile is heard in the segment after that.

    Each segment draws from a generator of its own, whose seed follows from the stream's and the segment's number: what was made
    before can be handed out again without being decoded.

    Args:
        lm: the model.
        config: how it decodes.
        conditions: what the stream follows; one.
        settings: how tokens are drawn. The attribute may be replaced at any time and holds from the next segment on.
        total_frames: length of the stream **including the prompt**; None has no end.
        prompt: ``[1, codebooks, frames]`` codes before the first frame, fewer than ``window_frames``; they are not returned.
        window_frames: of a segment.
        stride_frames: how much later each segment begins; less than a segment.
        seed: of the stream.
        past: ``[1, codebooks, frames]``, what was made of it before, the prompt included. It is handed out as it is.
        piece: see `MagnetDecoder`.

    Raises:
        ValueError: arguments that do not fit the model or each other.
    """

    def __init__(
        self,
        lm: MusicgenLM,
        config: MagnetConfig,
        conditions: Sequence[Condition | Mix],
        settings: SamplingSettings,
        *,
        total_frames: int | None,
        prompt: Tensor | None = None,
        window_frames: int,
        stride_frames: int,
        seed: int,
        past: Tensor | None = None,
        piece: int = 64,
    ) -> None:
        if len(conditions) != 1:
            raise ValueError(f"{len(conditions)} conditions for one stream")
        codebooks = lm.config.num_codebooks
        if prompt is None:
            prompt = torch.empty(1, codebooks, 0, dtype=torch.long)
        if prompt.dim() != 3 or prompt.shape[:2] != (1, codebooks):
            raise ValueError(f"prompt of shape {tuple(prompt.shape)}, not [1, {codebooks}, frames]")
        if prompt.numel() and not 0 <= int(prompt.min()) <= int(prompt.max()) < lm.config.card:
            raise ValueError(f"prompt codes outside 0 to {lm.config.card - 1}")
        if total_frames is not None and total_frames < 1:
            raise ValueError(f"total_frames {total_frames} below 1")
        self._window = window_frames // config.grain * config.grain
        if not 0 < stride_frames < self._window or window_frames > lm.config.max_positions:
            raise ValueError(f"a stride of {stride_frames} frames in segments of {window_frames}")
        if prompt.shape[2] >= self._window:
            raise ValueError(f"a prompt of {prompt.shape[2]} frames fills a segment of {self._window}")
        self.settings = settings
        self._decoder = MagnetDecoder(lm, config, piece=piece)
        self._most = window_frames
        self._stride = stride_frames
        self._total = total_frames
        self._condition = conditions[0]
        self._seed = seed
        self._generator = torch.Generator(lm.device)
        self._past = None if past is None else past[0].to(lm.device, torch.long)
        self._frames_done = self._first = prompt.shape[2]
        self._number = 0
        self._present = _Segment(0, prompt[0].to(lm.device, torch.long))
        self._coming: _Work | None = None

    @property
    def frames_done(self) -> int:
        """How many frames of the stream exist, the prompt's included."""
        return self._frames_done

    @property
    def next_frame(self) -> int:
        """The first frame of the stream that is not handed out yet."""
        return self._frames_done

    @property
    def done(self) -> bool:
        return self._total is not None and self._frames_done >= self._total

    @property
    def generator_state(self) -> Tensor:
        """Nothing: each segment's draws follow from the stream's seed."""
        return torch.empty(0, dtype=torch.uint8)

    def set_condition(self, row: int, condition: Condition | Mix) -> None:
        """Follow other words, or other weights of them, from the next segment on that is not begun."""
        if row:
            raise ValueError(f"row {row} of one stream")
        self._condition = condition

    def reseed(self, seed: int) -> None:
        """Draw from this seed from the next segment on that is not begun."""
        self._seed = seed

    @property
    def lm(self) -> None:
        """None: a segment is made for itself."""

    def next_step(self) -> None:
        """None: no step is shared."""

    @torch.inference_mode()
    def advance(self, logits: Tensor | None = None, tokens: Tensor | None = None) -> Tensor | None:
        """Do one piece of work for the segment that comes next, or hand out a frame.

        Returns:
            ``[1, codebooks, 1]``, each frame of the stream once and in order; None after a piece of work.
        """
        if self.done:
            return None
        present = self._present
        if self._coming is None and (self._total is None or present.end < self._total):
            self._coming = self._begin()
        left = present.end - self._frames_done
        if self._coming is not None and self._coming.due(present.end - self._first, left):
            self._coming.work()
            return None
        if not left:
            assert self._coming is not None
            assert self._coming.codes is not None
            self._present, self._coming = _Segment(self._coming.offset, self._remembered(self._coming)), None
            self._first = self._frames_done
            return None
        self._frames_done += 1
        return present.codes[None, :, self._frames_done - 1 - present.offset, None]

    def _begin(self) -> _Work:
        """The segment after the present one, as it is to be decoded by what holds now."""
        present = self._present
        stride = self._stride if self._number else 0
        offset, prompt = present.offset + stride, present.codes[:, stride:]
        left = self._window if self._total is None else self._total - offset
        frames = left if left <= self._most else self._window
        number, self._number = self._number, self._number + 1
        if self._past is not None and self._past.shape[1] >= offset + frames:
            return _Work(offset, self._past[:, offset : offset + frames])
        self._generator.manual_seed((self._seed + number * _SEED_STEP) & _LARGEST_SEED)
        pieces = self._decoder.decode(self._condition, self.settings, self._generator, prompt, frames)
        return _Work(offset, None, pieces, self._decoder.pieces(frames, prompt.shape[1]))

    def _remembered(self, coming: _Work) -> Tensor:
        """Its codes, but those of frames that were made before as they were made."""
        assert coming.codes is not None
        codes = coming.codes
        if self._past is not None:
            known = self._past[:, coming.offset : coming.offset + codes.shape[1]]
            codes = torch.cat((known, codes[:, known.shape[1] :]), dim=1)
        return codes


@dataclass(frozen=True)
class _Segment:
    """Codes ``[codebooks, frames]``, the first of which is frame ``offset`` of the stream."""

    offset: int
    codes: Tensor

    @property
    def end(self) -> int:
        return self.offset + self.codes.shape[1]


@dataclass
class _Work:
    """A segment that is decoded, of so many pieces of work; it has ``codes`` once it is done."""

    offset: int
    codes: Tensor | None
    pieces: Iterator[Tensor | None] | None = None
    total: int = 0
    done: int = 0

    def due(self, frames: int, left: int) -> bool:
        """Whether there is a piece to do before the next of ``frames`` frames is handed out, of which so many are ``left``."""
        return self.codes is None and (not left or self.done * frames < self.total * (frames - left + 1))

    def work(self) -> None:
        """Do a piece."""
        assert self.pieces is not None
        self.codes = next(self.pieces)
        self.done += 1
