"""What is compared of each model: codec, texts, logits and tokens."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Iterator
from functools import cache, lru_cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.conditioning.melody import chroma, melody_from_audio
from engine.conditioning.style import StyleFacts
from engine.runtime.conditions import Condition, Mix
from engine.runtime.patterns import CodebookPattern
from tests.parity.figures import Figures, difference, share, tokens
from tests.parity.recorded import RecordedModel

GUIDANCE = 3.0
STRONGER_GUIDANCE = 5.0
MELODY_BETA = 2.0
"""``cfg_coef_beta`` of the recorded melody; those of styles are in the names of their arrays."""
SAMPLED: dict[str, dict[str, Any]] = {
    "sample_topk_tokens": {"temperature": 1.0, "top_k": 20},
    "sample_topp_tokens": {"temperature": 1.0, "top_p": 0.8},
    "sample_temp_tokens": {"temperature": 0.7, "top_k": 0},
}
SEED = 7
"""Of what was sampled."""

_LIKELY_SEEDS = 64
_SAME_STYLE = 1e-3
_EXCERPT_SECONDS = 3.0
"""AudioCraft's ``excerpt_length`` where nothing else is asked for, whatever the checkpoint says."""


def compare(model: RecordedModel) -> Figures:
    """Everything that was recorded of a model. ``equal`` is the share of all tokens, and of the codec's codes, that are equal."""
    codec = compare_codec(model)
    compared = {
        "codec_codes": codec.pop("codec_codes"),
        **{key: tokens(ours, model[name], model.bundle.delays) for key, (name, ours) in generated(model).items()},
    }
    figures: Figures = {"equal": share(compared.values()), **compared, **codec}
    figures |= {"text": compare_texts(model), "logits": compare_logits(model)}
    if "melody_tokens" in model:
        figures["chroma"] = compare_chroma(model)
    if "style_embeds" in model:
        figures["style_embeddings"] = compare_style(model)
    return figures


def compare_codec(model: RecordedModel) -> Figures:
    decoded = {
        "codec_decoded": "codec_codes",
        "codec_rand_decoded": "codec_rand_codes",
        "gen1_wav": "gen1_tokens",
    }
    whole = {audio: model.decode(model[codes]) for audio, codes in decoded.items()}
    streamed = {audio: model.decode_in_pieces(model[codes]) for audio, codes in decoded.items()}
    quantized = model.bundle.codec.embed(model["codec_codes"])[:1].transpose(1, 2)
    return {
        "codec_codes": tokens(model.encode(model["codec_wav"]), model["codec_codes"]),
        "decode_max_difference": max(difference(audio, model[name]) for name, audio in whole.items()),
        "streamed_max_difference": max(difference(audio, whole[name]) for name, audio in streamed.items()),
        "quantized_max_difference": difference(quantized, model["codec_quantized"]),
    }


def compare_texts(model: RecordedModel) -> Figures:
    hidden, projected, lengths = 0.0, 0.0, True
    for row, text in enumerate([*model.texts[:2], None, ""]):
        encoded = model.bundle.text.encode(text)
        mask = model["text_mask"][row].bool()
        lengths &= int(encoded.mask.sum()) == int(mask.sum())
        if encoded.is_null or not lengths:
            continue
        hidden = max(hidden, difference(encoded.hidden, model["text_t5_hidden"][row][mask]))
        ours = model.bundle.lm.project_text(encoded.hidden)
        projected = max(projected, difference(ours, model["text_embeds"][row][mask]))
    return {"lengths_equal": lengths, "hidden_max_difference": hidden, "embeddings_max_difference": projected}


def compare_logits(model: RecordedModel) -> Figures:
    """Teacher-forced logits in the sequence's order and brought back to frames, and those of every step of a generation."""
    lm, pattern = model.bundle.lm, model.bundle.pattern
    codes = model["tf_codes"]
    frames = codes.shape[2]
    sequence = pattern.sequence(codes, frames, lm.config.special_token)
    session = lm.session(model.batch(*model.texts[:2]), sequence.shape[2], guided=False)
    logits = lm(sequence, session)
    figures = {
        "sequence_equal": torch.equal(sequence, model["tf_sequence"]),
        "teacher_forced_max_difference": difference(logits, model["tf_seq_logits"]),
        "by_frame_max_difference": difference(*_by_frame(model, logits, frames)),
    }
    alone = lm(sequence[:1], lm.session([model.condition(model.texts[0])], sequence.shape[2], guided=False))
    valid = model["tf_mask"][:1]
    figures["alone_max_difference"] = difference(_frames_of(pattern, alone, frames)[valid], model["tf1_logits"][valid])
    recorded = model["gen1_step_logits"]
    sequence = pattern.sequence(model["gen1_tokens"], model.frames, lm.config.special_token)
    session = lm.session([model.condition(model.texts[0])], sequence.shape[2] - 1)
    # All steps that stand before the first frame are heard at once.
    edges = [0, *range(sequence.shape[2] - len(recorded), sequence.shape[2])]
    stepped = [lm(sequence[..., first:end], session)[:, :, -1] for first, end in pairwise(edges)]
    figures["step_by_step_max_difference"] = difference(torch.stack(stepped), recorded)
    return figures


def _by_frame(model: RecordedModel, logits: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    valid = model["tf_mask"]
    return _frames_of(model.bundle.pattern, logits, frames)[valid], model["tf_logits"][valid]


def _frames_of(pattern: CodebookPattern, logits: Tensor, frames: int) -> Tensor:
    """``[rows, codebooks, frames, card]`` out of the logits of a sequence: what stands in a step is told by the one before it."""
    rows = []
    for codebook, held in enumerate(pattern.layout(frames).table):
        steps = torch.from_numpy(np.flatnonzero((held >= 0) & (held < frames)))
        rows.append(logits[:, codebook, steps - 1])
    return torch.stack(rows, dim=1)


def generated(model: RecordedModel) -> dict[str, tuple[str, Tensor]]:
    """What each array of tokens is called in the report, and ours; of the arrays that there are."""
    return {key: (name, make()) for key, (name, make) in to_generate(model).items() if name in model}


def to_generate(model: RecordedModel) -> dict[str, tuple[str, Callable[[], Tensor]]]:
    """What each array of tokens is called in the report, and how ours is made."""
    first, second = model.texts[:2]
    pair: list[Condition] = model.batch(first, second)
    alone = [model.condition(first)]
    prompt = model.encode(model["cont_prompt"][None])

    def long(name: str, prompt_frames: int = 0) -> Tensor:
        codes = model[name]
        return model.generate(alone, codes.shape[2], codes[..., :prompt_frames] if prompt_frames else None)

    @cache
    def in_two_steps() -> Tensor:
        return two_step(model, model.guidance)

    made: dict[str, tuple[str, Callable[[], Tensor]]] = {
        "greedy": ("gen1_tokens", lambda: model.generate(alone)),
        "greedy_of_a_batch": ("gen2_tokens", lambda: model.generate(pair)),
        "greedy_solo": ("gen_solo_b", lambda: model.generate([model.condition(second)])),
        "unconditional": ("uncond_tokens", lambda: model.generate([model.null, model.null])),
        "guided": ("cfg5_tokens", lambda: model.generate(pair, guidance=STRONGER_GUIDANCE)),
        "continuation": ("cont_tokens", lambda: model.generate(alone, prompt=prompt)),
        "continuation_without_text": ("cont_prompt_notext", lambda: model.generate([model.null], prompt=prompt)),
        "long": ("long_tokens", lambda: long("long_tokens")),
        "long_continuation": ("long_cont_tokens", lambda: long("long_cont_tokens", prompt.shape[2])),
        "two_step": ("twostep_cfg3_tokens", in_two_steps),
        "two_step_guided": ("twostep_cfg5_tokens", in_two_steps),
    }
    for name, settings in SAMPLED.items():
        make = partial(model.generate, pair, seed=SEED, **settings)
        made[name.removesuffix("_tokens").replace("sample", "sampled")] = (name, make)
    if "melody_tokens" in model:
        made |= melodies(model)
    return made | styles(model)


def two_step(model: RecordedModel, guidance: float) -> Tensor:
    """AudioCraft's ``two_step_cfg``: null rows are a batch of their own, whose text is as long as it is alone.

    Its guidance is always the checkpoint's, whatever was asked for.
    """
    first, second = model.batch(*model.texts[:2])
    config = model.bundle.lm.config
    if config.cross_attention and config.variant.text_positions is None:
        return model.generate([first, second], guidance=guidance)
    return _guided_by_hand(model, [first, second, model.null, model.null], guidance)


def _guided_by_hand(model: RecordedModel, conditions: list[Condition], guidance: float) -> Tensor:
    """Greedy codes of streams whose null rows, which come last, are not of the sampler's making."""
    lm, pattern, streams = model.bundle.lm, model.bundle.pattern, len(conditions) // 2
    nothing = torch.empty(streams, pattern.num_codebooks, 0, dtype=torch.long)
    layout = pattern.layout(model.frames)
    sequence = layout.sequence(nothing, lm.config.special_token)
    slots = layout.slots(0, model.frames)
    session = lm.session(conditions, layout.steps, guided=False)
    for step in range(1, layout.steps):
        heard = sequence[..., step - 1 : step].repeat(2, 1, 1)
        conditional, null = lm(heard, session)[:, :, -1].split(streams)
        column = sequence[..., step]
        column.copy_(torch.where(slots[:, step], (null + guidance * (conditional - null)).argmax(dim=-1), column))
    return layout.codes(sequence, 0, model.frames)


def melodies(model: RecordedModel) -> dict[str, tuple[str, Callable[[], Tensor]]]:
    first, second = model.texts[:2]
    assert model.bundle.melody is not None
    # The data was recorded with a window that is shorter than the checkpoint's.
    facts = dataclasses.replace(model.bundle.melody, window_frames=model.window)
    sound = model["melody_wav32k"]
    melody = melody_from_audio(sound, facts, total_frames=model.frames)
    doubly = Mix(
        (
            (model.condition(first, melody), MELODY_BETA),
            (model.condition(None, melody, beside=(first,)), 1 - MELODY_BETA),
        )
    )

    def long() -> Tensor:
        frames = model["melody_long_tokens"].shape[2]
        sliding = melody_from_audio(sound, facts, total_frames=frames)
        return model.generate([model.condition(first, sliding)], frames)

    return {
        "melody": ("melody_tokens", lambda: model.generate([model.condition(first, melody)])),
        "melody_beside_none": (
            "melody_two_tokens",
            lambda: model.generate(model.batch(first, second, prefixes=(melody, None))),
        ),
        "melody_long": ("melody_long_tokens", long),
        "melody_double_guidance": ("melody_beta_tokens", lambda: model.generate([doubly])),
    }


def compare_chroma(model: RecordedModel) -> Figures:
    assert model.bundle.melody is not None
    sound = model["melody_stems_mix"][0, 0]
    ours = chroma(sound, model.bundle.melody)
    named = torch.nn.functional.one_hot(ours.argmax(dim=1), ours.shape[1]).float()
    prefix = model.condition(model.texts[0], melody_from_audio(sound, model.bundle.melody, total_frames=1)).prefix
    assert prefix is not None
    frames = model["melody_embeds"].shape[1]
    conditional, null = prefix.rows(0)[:, :frames]
    return {
        "equal": bool(torch.equal(named, model["melody_chroma"][0])),
        "embeddings_max_difference": difference(conditional, model["melody_embeds"][0]),
        "null_embeddings_max_difference": difference(null, model["melody_null_embeds"][0]),
    }


def styles(model: RecordedModel) -> dict[str, tuple[str, Callable[[], Tensor]]]:
    """Generations after a style; β, by which the text counts beyond it, is in the names of the arrays."""
    if "style_wav" not in model:
        return {}
    first = model.texts[0]
    style = recorded_style(model)
    both, alone = model.condition(first, style), model.condition(None, style, beside=(first,))
    made: dict[str, tuple[str, Callable[[], Tensor]]] = {}
    for name in model.names("style_beta"):
        beta = name.removeprefix("style_beta").removesuffix("_tokens")
        heard = [both] if beta == "None" else [Mix(((both, float(beta)), (alone, 1 - float(beta))))]
        made["style" if beta == "None" else f"style_double_guidance_{beta}"] = (name, partial(model.generate, heard))
    return made


def compare_style(model: RecordedModel) -> Figures:
    style, expected = recorded_style(model), model["style_embeds"][0]
    return {
        "embeddings_max_difference": difference(style, expected),
        "length_equal": len(style) == int(model["style_mask"].sum()),
    }


@lru_cache(maxsize=1)
def recorded_style(model: RecordedModel) -> Tensor:
    """Our embeddings ``[tokens, dim]`` of the excerpt that the reference took.

    It takes one at random, from Python's generator, and neither its place nor its length was written down: it is where ours are
    nearest. The places that a small seed leads to are tried first, then all.
    """
    conditioner, sound, expected = model.bundle.style, model["style_wav"], model["style_embeds"][0]
    assert conditioner is not None
    nearest, least = torch.zeros_like(expected), math.inf
    unlike = set()
    for start, length in excerpts(sound.shape[-1], conditioner.facts):
        if length in unlike:
            continue
        style = conditioner.style(conditioner.read(sound[..., start : start + length]))
        if len(style) != len(expected):
            unlike.add(length)
            continue
        for detail in range(1, max(1, conditioner.facts.books) + 1):
            ours = style.prelude(detail).embeddings
            if (apart := difference(ours, expected)) < least:
                nearest, least = ours, apart
        if least < _SAME_STYLE:
            break
    return nearest


def excerpts(samples: int, facts: StyleFacts) -> Iterator[tuple[int, int]]:
    """Where the excerpt of a sound of so many samples may begin and how long it may be, the likely ones first."""
    lengths = [min(int(seconds * facts.sample_rate), samples) for seconds in (facts.seconds, _EXCERPT_SECONDS)]
    for length in lengths:
        yield (samples - length) // 2, length
        for seed in range(_LIKELY_SEEDS):
            yield random.Random(seed).randint(0, samples - length), length
    for length in dict.fromkeys(lengths):
        for start in range(samples - length + 1):
            yield start, length
