"""The plain run of the kernels that `OnnxRunner` runs fast: what its tokens have to be equal to.

The modules' emulation does the same arithmetic, but sums in another order, so that now and then an activation on the edge between
two of its 256 steps falls to the other side. Here it is the same operators on the same codes, and nothing else: node by node as the
graph stands, one session alone, one thread, memory laid out anew for each run, and nothing written in place.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnxruntime
import torch
from torch import Tensor
from torch.nn import functional

from engine.runtime.caches import CacheScales
from engine.runtime.onnx.arena import TEXT_GRAIN
from engine.runtime.onnx.graph import step_graph, text_graph, unsupported
from engine.runtime.onnx.opening import open_session
from engine.runtime.onnx.texts import Texts
from engine.runtime.transformer import DecoderLayer

if TYPE_CHECKING:
    from engine.runtime.language_model import Step
    from engine.runtime.lm import MusicgenLM
    from engine.runtime.session import Session

_SPARE_SLOTS = 2  # for the column that makes a number of columns even


class PlainKernels:
    """A `engine.runtime.runner.Runner` to compare with, many times slower than `OnnxRunner`. One thread at a time.

    Args:
        lm: the model, whose matrices are still there (``attach(..., keep=True)``). Its caches are rounded by the scales that its
            layers have, if any. Kept by a weak reference.

    Raises:
        ValueError: a model that the graph cannot run; see `engine.runtime.onnx.unsupported`.
    """

    name = "plain kernels"
    grain = 0

    def __init__(self, lm: MusicgenLM) -> None:
        if (reason := unsupported(lm)) is not None:
            raise ValueError(f"onnxruntime cannot run this model: {reason}")
        scales = [layer.cache_scales for layer in cast("Sequence[DecoderLayer]", lm.layers)]
        narrow: list[CacheScales] | None = [own for own in scales if own is not None] or None
        graph = step_graph(lm, narrow)
        self._weights = graph.weights  # onnxruntime goes on reading them
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = open_session(graph.model, graph.weights, 1, level=level)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._text_session: Any = None
        if Texts.covers(lm):
            texts = text_graph(lm)
            self._text_weights = texts.weights
            self._text_session = open_session(texts.model, texts.weights, 1, level=level)
        self._lm, self._config = weakref.ref(lm), lm.config
        self._dtype = torch.float32 if narrow is None else torch.int8
        self._null: Tensor | None = None
        if lm.config.cross_attention and lm.config.variant.attention_bias:
            self._null = lm.condition(None).keys_values  # keys and values of nothing are biases

    def memory(self, rows: int, slots: int) -> list[Tensor]:
        """See `Runner.memory`: tensors of the session's own."""
        config = self._config
        shape = (2, rows, config.kv_heads, slots, config.head_dim)
        return [torch.zeros(shape, dtype=self._dtype) for _ in range(config.layers)]

    def remember(self, session: Session) -> None:
        """See `Runner.remember`; a session is asked anew each time, so there is nothing to note."""

    def texts(self, text: Tensor) -> Tensor | None:
        """See `Runner.texts`: word by word."""
        if self._text_session is None:
            return None
        beside = torch.zeros_like(text[:1])
        words = []
        for word in text.unsqueeze(1):
            layers = self._text_session.run(None, {"x": torch.cat((word, beside)).numpy()})
            words.append(torch.stack([torch.from_numpy(layer[0]) for layer in layers]))
        return torch.stack(words, dim=1)

    def append(self, x: Tensor, session: Session, start: int) -> Tensor:
        """See `Runner.append`."""
        if x.shape[1] == 1 and not any(session.leads):
            return self._run(x, session, range(session.rows), [start] * session.rows)[0]
        return self._pieces(x, session, start)[0]

    def score(self, x: Tensor, session: Session, start: int) -> Tensor:
        """See `Runner.score`."""
        return self._pieces(x, session, start)[1]

    def step(self, steps: Sequence[Step]) -> list[Tensor]:
        """See `Runner.step`: one after the other."""
        lm = self._lm()
        assert lm is not None
        config, heard = self._config, []
        for one in steps:
            session = one.session
            start = session.prefix_length + session.position
            slots = [max(start - lead, 0) for lead in session.leads or (0,) * session.rows]
            logits = self._run(lm.column(one), session, range(session.rows), slots)[1]
            heard.append(logits.view(session.rows, config.num_codebooks, config.card).unsqueeze(2))
        return heard

    def _pieces(self, x: Tensor, session: Session, start: int) -> tuple[Tensor, Tensor]:
        """Several columns, row by row: the kernel for what comes after a past takes one row."""
        rows, n, dim = x.shape
        hidden, logits = x.new_zeros(rows, n, dim), x.new_zeros(rows, n, self._config.num_codebooks * self._config.card)
        for row, lead in enumerate(session.leads or (0,) * rows):
            begun = max(lead - start, 0)
            if begun < n:
                told = self._run(x[row : row + 1, begun:], session, range(row, row + 1), [start + begun - lead])
                hidden[row, begun:], logits[row, begun:] = told[0][0], told[1][0]
        return hidden, logits

    def _run(self, x: Tensor, session: Session, rows: range, slots: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Run columns which stand from these slots on through everything: hidden ``[rows, n, dim]`` and scores of each.

        Kernels for an odd number of rows of a matrix round otherwise than those for an even one. So a row, or a column that comes
        last, makes the number even here too.
        """
        count, n, _ = x.shape
        more_rows, more = (count % 2, 0) if n == 1 and count > 1 else (0, n % 2)
        padded = functional.pad(x, (0, 0, 0, more, 0, more_rows))
        lengths = np.array([slot + n + more - 1 for slot in [*slots, *[0] * more_rows]], dtype=np.int32)
        given: dict[str, Any] = {
            "x": padded.numpy(),
            "lengths": lengths,
            "total": np.array(lengths.max() + 1, dtype=np.int32),
            "scored": np.array([n + more], dtype=np.int64),
        }
        here = slice(rows.start, rows.stop)
        caches = [layer.keys_values[:, here] for layer in session.layers]
        for index, cache in enumerate(caches):
            for name, part in zip(("keys", "values"), cache, strict=True):
                whole = functional.pad(part, (0, 0, 0, _SPARE_SLOTS, 0, 0, 0, more_rows))
                given[f"{name}{index}"] = whole.numpy()
        if self._config.cross_attention:
            given |= self._texts(session, rows, more_rows, n + more)
        made = dict(zip(self._outputs, self._session.run(self._outputs, given), strict=True))
        for index, cache in enumerate(caches):
            for name, part in zip(("keys", "values"), cache, strict=True):
                part.copy_(torch.from_numpy(made[f"{name}{index}'"])[:count, :, : part.shape[2]])
        hidden, logits = (torch.from_numpy(made[name])[:count, :n] for name in ("hidden", "logits"))
        return hidden, logits

    def _texts(self, session: Session, rows: range, more_rows: int, n: int) -> dict[str, Any]:
        """What these rows look at, each masked beyond its own length; a row without text looks at zeros."""
        config = self._config
        known: list[Tensor | None] = list(session.looked_at)
        texts = [known[row] if row < len(known) else self._null for row in rows]
        longest = max((text.shape[3] for text in texts if text is not None), default=0)
        length = max(-(-longest // TEXT_GRAIN), 1) * TEXT_GRAIN
        heads, count = config.heads, len(rows) + more_rows
        whole = torch.zeros(config.layers, 2, count, heads, length, config.head_dim)
        bias = torch.zeros(count, 1, n, length)
        for row, text in enumerate(texts):
            if text is not None and text.shape[3]:
                whole[:, :, row, :, : text.shape[3]] = text
                bias[row, ..., text.shape[3] :] = -torch.inf
        given: dict[str, Any] = {"text_bias": bias.numpy()}
        for index, (keys, values) in enumerate(whole):
            given |= {f"text_keys{index}": keys.numpy(), f"text_values{index}": values.numpy()}
        return given
