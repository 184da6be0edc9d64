"""The decoder LM of MusicGen, run step by step over preallocated caches.

The network is the one of Copet et al., "Simple and Controllable Music Generation" (2023), as AudioCraft and transformers
implement it: a pre-norm transformer over the sum of one embedding per codebook, with sinusoidal positions and one linear head per
codebook. Fine-tunes may differ from it in their layers (`Variant`) and patterns. Text is looked at by cross-attention, or heard
before the codes together with a melody; a score is heard with the codes, frame by frame. The weights are shared by all streams and
never change while they are used; everything that does change stands in a `Session`, one for each batch of streams of the same age.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.runtime.conditions import ChromaPrelude, Condition, Melody, Mix, Prefix, Prelude, Score, StylePrelude
from engine.runtime.language_model import Step
from engine.runtime.linear import Linear
from engine.runtime.patterns import CodebookPattern, DelayPattern
from engine.runtime.quantised import Form
from engine.runtime.runner import Runner
from engine.runtime.session import Session
from engine.runtime.transformer import MUSICGEN, DecoderLayer, Rotation, Variant, layer_norm, rotations

__all__ = ["Condition", "LMConfig", "Mix", "MusicgenLM", "Session", "sinusoids"]


@dataclass(frozen=True)
class LMConfig:
    """The shape of a MusicGen LM.

    Attributes:
        dim: width of the residual stream.
        layers: number of transformer layers.
        heads: attention heads per layer; divides ``dim``.
        ff_dim: width of the feed-forward layer.
        pattern: of the codebooks, in steps; 8 of them for stereo, left and right interleaved.
        card: entries per codebook; the special token is ``card`` itself.
        text_dim: width of the text encoder's hidden states.
        text_projection: whether a linear layer joins the text's width to ``dim``.
        max_positions: the longest sequence a session may be made for, prefix included.
        chroma_frames: of the melody that melody models hear before text and codes; 0: the model hears no melody, and text by
            cross-attention.
        chroma_bins: of each of these frames; one of them is on.
        score_features: of each frame of a score; 0: the model hears none.
        style: whether the model hears the style of a recording, and then the text, before the codes.
        variant: where its layers differ from MusicGen's.
        text_first: whether the text stands before the codes though there is neither melody nor style.
    """

    dim: int
    layers: int
    heads: int
    ff_dim: int
    pattern: CodebookPattern
    card: int
    text_dim: int
    text_projection: bool
    max_positions: int
    chroma_frames: int = 0
    chroma_bins: int = 12
    score_features: int = 0
    style: bool = False
    variant: Variant = MUSICGEN
    text_first: bool = False

    def __post_init__(self) -> None:
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(f"dim {self.dim} must be even and divisible by heads {self.heads}")
        repeat, context = self.variant.kv_repeat, self.variant.past_context
        if repeat < 1 or self.heads % repeat:
            raise ValueError(f"kv_repeat {repeat} must divide heads {self.heads}")
        if self.variant.qk_norm and repeat > 1:
            raise ValueError("keys that heads share have no norm of their own")
        if self.variant.rotates and self.head_dim % 2:
            raise ValueError(f"heads of {self.head_dim} numbers cannot be rotated in pairs")
        if context is not None and context < 1:
            raise ValueError(f"past_context {context} below 1")
        if not self.text_projection and self.text_dim != self.dim:
            raise ValueError(f"text_dim {self.text_dim} differs from dim {self.dim} and nothing projects it")
        if self.score_features and not isinstance(self.pattern, DelayPattern):
            raise ValueError("a score is heard frame by frame, with a delay pattern only")
        if self.style and self.chroma_frames:
            raise ValueError("a model hears a melody or a style before the codes, not both")

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values in self-attention."""
        return self.heads // self.variant.kv_repeat

    @property
    def num_codebooks(self) -> int:
        return self.pattern.num_codebooks

    @property
    def cross_attention(self) -> bool:
        """Whether text is looked at by cross-attention; else it is part of the prefix."""
        return self.chroma_frames == 0 and not self.style and not self.text_first

    @property
    def special_token(self) -> int:
        """Stands in every slot of the pattern that holds no code."""
        return self.card


class MusicgenLM(nn.Module):
    """The LM's weights and its step. Any number of sessions may run on one model, one after the other.

    The weights are allocated and left as they are: they come from a checkpoint.
    """

    def __init__(
        self, config: LMConfig, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.runner: Runner | None = None
        """What runs the layers and the heads; None: the modules themselves."""
        dim, codebooks, card = config.dim, config.num_codebooks, config.card

        def weight(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype), requires_grad=False)

        self.embeddings = weight(codebooks * (card + 1), dim)
        variant = config.variant
        self.layers = nn.ModuleList(
            DecoderLayer(
                dim,
                config.heads,
                config.ff_dim,
                cross_attention=config.cross_attention,
                variant=variant,
                device=device,
                dtype=dtype,
            )
            for _ in range(config.layers)
        )
        self.final_norm = layer_norm(dim, device, dtype) if variant.norm_first else nn.Identity()
        self.heads = Linear(codebooks * card, dim, bias=variant.head_bias, device=device, dtype=dtype)
        self.text_weight = weight(dim, config.text_dim) if config.text_projection else None
        self.text_bias = weight(dim) if config.text_projection else None
        self.chroma_weight = weight(dim, config.chroma_bins) if config.chroma_frames else None
        self.chroma_bias = weight(dim) if config.chroma_frames else None
        self.score_weight = weight(dim, config.score_features) if config.score_features else None
        scale = 0.0 if variant.positions == "rope" else variant.positional_scale
        table = sinusoids(config.max_positions, dim, variant.max_period) * scale
        self.register_buffer("position_table", table.to(device, dtype), persistent=False)
        turned = rotations(variant, config.max_positions, config.head_dim).to(device) if variant.rotates else None
        self.register_buffer("rotations", turned, persistent=False)
        offsets = torch.arange(codebooks, device=device).mul(card + 1).unsqueeze(1)
        self.register_buffer("codebook_offsets", offsets, persistent=False)
        self.position_table: Tensor
        self.rotations: Tensor | None
        self.codebook_offsets: Tensor

    @property
    def device(self) -> torch.device:
        return self.embeddings.device

    @property
    def dtype(self) -> torch.dtype:
        return self.embeddings.dtype

    @property
    def pattern(self) -> CodebookPattern:
        return self.config.pattern

    @property
    def card(self) -> int:
        return self.config.card

    @property
    def special_token(self) -> int:
        return self.config.special_token

    @property
    def max_positions(self) -> int:
        """The longest sequence that a session may be made for, prefix included."""
        return self.config.max_positions

    @property
    def cache_dtype(self) -> torch.dtype:
        """What keys and values are kept in: on a CPU, attention in half precision is several times slower than in single."""
        return torch.float32 if self.device.type == "cpu" else self.dtype

    def pack(self, form: Form | None = None) -> None:
        """Lay the weights out for this machine, once they are final; the model can then neither move nor be saved.

        Args:
            form: of few bits, to which all matrices are rounded, but for the heads in four bits, which get eight: they decide.
                None rounds nothing.
        """
        for module in self.modules():
            self._pack(module, form)

    def pack_matrix(self, parameter: str, form: Form | None = None) -> None:
        """As `pack`, for one parameter if it is a matrix: so that a model never stands in full beside its packed form."""
        self._pack(self.get_submodule(parameter.rpartition(".")[0]), form)

    def _pack(self, module: nn.Module, form: Form | None) -> None:
        if isinstance(module, Linear):
            module.pack("int8" if form == "int4" and module is self.heads else form)

    @property
    def size(self) -> int:
        """How many weights it has, packed or not."""
        packed = sum(module.packed_numbers for module in self.modules() if isinstance(module, Linear))
        return packed + sum(parameter.numel() for parameter in self.parameters())

    @property
    def rounding_error(self) -> float:
        """How much was rounded away of the matrices: root mean square relative to theirs, the mean of all; 0 where nothing was."""
        errors = [module.rounded.error for module in self.modules() if isinstance(module, Linear) and module.rounded]
        return sum(errors) / len(errors) if errors else 0.0

    @torch.inference_mode()
    def project_text(self, hidden: Tensor) -> Tensor:
        """Bring a text encoder's hidden states ``[…, text_dim]`` to the LM's width, device and dtype."""
        hidden = hidden.to(self.device, self.dtype)
        return hidden if self.text_weight is None else F.linear(hidden, self.text_weight, self.text_bias)

    @torch.inference_mode()
    def condition(
        self,
        hidden: Tensor | None,
        mask: Tensor | None = None,
        *,
        melody: Melody | None = None,
        style: Tensor | None = None,
        score: Score | None = None,
    ) -> Condition:
        """Bring one text, and a melody, a style or a score, into the form that the model hears, once.

        Args:
            hidden: ``[length, text_dim]`` hidden states of the text encoder; None is the null text.
            mask: boolean ``[length]``, false where ``hidden`` is padding; without any true entry it is the null text. In a prefix,
                padding keeps its place and is zeros, as in both references; cross-attention does not see it, as in transformers.
            melody: for melody models only; None is the null melody.
            style: for style models only, ``[length, dim]``; None is no style. See `engine.conditioning.style`.
            score: for models with ``score_features`` only; None adds nothing.

        Raises:
            ValueError: hidden states of another shape, or a melody, a style or a score for a model that hears none.
        """
        config = self.config
        if hidden is None:
            hidden, mask = torch.zeros(1, config.text_dim), torch.zeros(1, dtype=torch.bool)
        if hidden.dim() != 2 or hidden.shape[1] != config.text_dim:
            raise ValueError(f"text of shape {tuple(hidden.shape)}, not [length, {config.text_dim}]")
        if mask is None:
            mask = torch.ones(len(hidden), dtype=torch.bool, device=hidden.device)
        if score is not None and self.score_weight is None:
            raise ValueError("a score for a model that hears none")
        if melody is not None and self.chroma_weight is None:
            raise ValueError("a melody for a model that hears none")
        if style is not None and not config.style:
            raise ValueError("a style for a model that hears none")
        if not config.cross_attention:
            text = self.project_text(hidden).masked_fill(~mask.to(self.device).unsqueeze(1), 0)
            prelude: Prelude
            if self.chroma_weight is not None and self.chroma_bias is not None:
                prelude = ChromaPrelude(self.chroma_weight.T + self.chroma_bias, config.chroma_frames, melody)
            elif config.style:
                prelude = StylePrelude(text.new_zeros(1, config.dim) if style is None else style)
            else:
                prelude = StylePrelude(text[:0])
            return Condition(self._cross_keys_values(text[:0]), Prefix(prelude, text), score)
        text = self.project_text(hidden[mask])
        scale = config.variant.text_positions
        if scale is None:
            return Condition(self._cross_keys_values(text), score=score)
        # A null text has places too, as many as the text beside it.
        text = text if len(text) else text.new_zeros(1, config.dim)
        places = (scale * sinusoids(len(text), config.dim)).to(text)
        null = self._cross_keys_values(places)
        return Condition(self._cross_keys_values(text + places), score=score, null_keys_values=null)

    def _cross_keys_values(self, text: Tensor) -> Tensor:
        """Every layer's cross-attention keys and values of ``[length, dim]`` projected text; see `Condition`."""
        config = self.config
        if not len(text) and config.variant.attention_bias and config.cross_attention:
            text = text.new_zeros(1, config.dim)  # a null text is heard, for keys and values have biases
        length = text.shape[0]
        packed = torch.empty(config.layers, length, 2 * config.dim, device=self.device, dtype=self.cache_dtype)
        if length:
            told = None if self.runner is None else self.runner.texts(text)
            for index, layer in enumerate(cast("Sequence[DecoderLayer]", self.layers)):
                packed[index] = layer.text_keys_values(text) if told is None else layer.normed_text(told[index])
        split = packed.view(config.layers, length, 2, config.heads, config.head_dim)
        return split.permute(0, 2, 3, 1, 4).contiguous()

    def session(
        self, conditions: Sequence[Condition | Mix], positions: int, *, guided: bool = True, frame: int = 0
    ) -> Session:
        """A fresh state for streams that start together; see `Session`."""
        return Session(self, conditions, positions, guided=guided, frame=frame)

    @torch.inference_mode()
    def embed(self, codes: Tensor) -> Tensor:
        """The sum of the codebooks' embeddings: ``[streams, codebooks, n]`` codes to ``[streams, n, dim]``."""
        return F.embedding(codes + self.codebook_offsets, self.embeddings).sum(1)

    @torch.inference_mode()
    def hear_prefix(self, session: Session, most: int) -> None:
        """Work through the next piece of a session's prefix, of at most ``most`` positions; any split gives the same result."""
        start = session.prefix_heard
        end = min(start + most, session.prefix_length)
        self._append(session.prefix[:, start:end], session, start)
        session.prefix_heard = end

    def hear(self, codes: Tensor, session: Session) -> None:
        """Append ``[streams, codebooks, n]`` codes to a session; nothing is scored."""
        if self.runner is not None and codes.shape[2] == 1:
            # By the same kernels as when it was sampled, so that a stream that is made again goes on as it did.
            self.runner.step([Step(codes, session)])
            return
        self.advance(self.embed(codes), session)

    @torch.inference_mode()
    def advance(self, embedded: Tensor, session: Session) -> Tensor:
        """Append ``n`` positions to a session and return their normalised hidden states.

        Args:
            embedded: ``[streams, n, dim]`` embeddings without positions; all rows of a stream hear the same, but for the
                scores, which only the conditional ones hear.
            session: moves on by ``n`` positions. Any split of a sequence over several calls gives the same result. What is left of
                its prefix is heard first.

        Returns:
            ``[rows, n, dim]``.

        Raises:
            ValueError: a wrong number of streams, or no room left in the session.
        """
        start = session.prefix_length + session.position
        hidden = self._append(self._heard_by_rows(embedded, session), session, start)
        session.position += embedded.shape[1]
        return hidden

    def _heard_by_rows(self, embedded: Tensor, session: Session) -> Tensor:
        """What each row hears of ``[streams, n, dim]`` embeddings, with scores: ``[rows, n, dim]``. A prefix is heard to its end.

        Raises:
            ValueError: a wrong number of streams, or no room left in the session.
        """
        streams, n, _ = embedded.shape
        position = session.position
        if streams != session.streams or position + n > session.positions:
            raise ValueError(
                f"{streams} streams and {n} positions do not fit a session of {session.streams} streams "
                f"at position {position} of {session.positions}"
            )
        if session.prefix_pending:
            self.hear_prefix(session, session.prefix_pending)
        heard = session.scores(position, position + n)
        conditional = embedded if session.owners is None else embedded[session.owners]
        if heard is not None:
            conditional = conditional + heard
        return torch.cat((conditional, embedded)) if session.guided else conditional

    @torch.inference_mode()
    def column(self, step: Step) -> Tensor:
        """What the layers hear of a step: ``[rows, 1, dim]``, with positions. The session moves on by it.

        Raises:
            ValueError: as `advance`.
        """
        codes, session = step
        x = self._placed(
            self._heard_by_rows(self.embed(codes), session), session, session.prefix_length + session.position
        )
        session.position += 1
        return x

    def _placed(self, x: Tensor, session: Session, start: int) -> Tensor:
        """With the positions of the slots from ``start`` on."""
        end = start + x.shape[1]
        return x + self.position_table[slice(start, end) if session.starts is None else session.places(start, end)]

    def rotation(self, places: slice | Tensor) -> Rotation | None:
        """What turns the queries and keys of these positions, a range of them or ``[rows, n]``; None: the model turns none."""
        if self.rotations is None:
            return None
        turned = self.rotations[:, places]
        return Rotation(*(turned if isinstance(places, slice) else turned.unsqueeze(2)))

    def _append(self, embedded: Tensor, session: Session, start: int) -> Tensor:
        """Run ``[rows, n, dim]`` embeddings, which stand at slots ``start…`` of a session's caches, through layers and norm."""
        x = self._placed(embedded, session, start)
        return self.by_modules(x, session, start) if self.runner is None else self.runner.append(x, session, start)

    def by_modules(self, x: Tensor, session: Session, start: int) -> Tensor:
        """As `engine.runtime.runner.Runner.append`, by the modules; ``x`` is written over."""
        end = start + x.shape[1]
        mask, cross_mask = session.mask(start, end), session.cross_mask
        context = self.config.variant.past_context
        if context is not None and end > context + 1:
            mask = _within(context, mask, start, end, x.device)
        rotation = self.rotation(slice(start, end) if session.starts is None else session.places(start, end))
        for layer, memory in zip(self.layers, session.layers, strict=True):
            x = layer(x, memory, start, mask, cross_mask, rotation)
        hidden: Tensor = self.final_norm(x)
        return hidden

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """All heads at once: ``[rows, n, dim]`` hidden states to ``[rows, codebooks, n, card]`` logits."""
        return self._by_codebook(self.heads(hidden))

    def _by_codebook(self, scores: Tensor) -> Tensor:
        """``[rows, n, codebooks · card]`` to ``[rows, codebooks, n, card]``."""
        rows, n, _ = scores.shape
        return scores.view(rows, n, self.config.num_codebooks, self.config.card).transpose(1, 2)

    @torch.inference_mode()
    def forward(self, codes: Tensor, session: Session) -> Tensor:
        """Append ``[streams, codebooks, n]`` codes (special tokens included) and score what follows each of them.

        Returns:
            ``[rows, codebooks, n, card]`` logits, not guided: see `engine.runtime.sampling.guide`.
        """
        if self.runner is None:
            return self.logits(self.advance(self.embed(codes), session))
        if codes.shape[2] == 1:
            return self.runner.step([Step(codes, session)])[0].clone()
        x, start = self._heard_by_rows(self.embed(codes), session), session.prefix_length + session.position
        scores = self.runner.score(self._placed(x, session, start), session, start)
        session.position += codes.shape[2]
        return self._by_codebook(scores)

    @torch.inference_mode()
    def step(self, steps: Sequence[Step]) -> list[Tensor]:
        """One column for each of several sessions; see `engine.runtime.language_model.LanguageModel.step`."""
        if self.runner is not None:
            return self.runner.step(steps)
        return [self(codes, session) for codes, session in steps]


def _within(context: int, mask: Tensor | None, start: int, end: int, device: torch.device) -> Tensor:
    """A causal mask, or what is left of ``mask``, for slots that see so many before themselves."""
    back = torch.arange(start, end, device=device).unsqueeze(1) - torch.arange(end, device=device)
    near = (back >= 0) & (back <= context)
    return near if mask is None else mask & near


def sinusoids(positions: int, dim: int, max_period: float = 10_000.0) -> Tensor:
    """The table of positions, ``[positions, dim]``: cosines, then sines, of periods from 2π to 2π · ``max_period``."""
    half = dim // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(max_period) / max(half - 1, 1)))
    phases = torch.arange(positions, dtype=torch.float32).unsqueeze(1) * rates
    return torch.cat((phases.cos(), phases.sin()), dim=1)
