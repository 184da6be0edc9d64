"""What a checkpoint of AudioCraft's says of MAGNeT, beside the shape of its transformer, which is that of MusicGen's."""

from __future__ import annotations

from dataclasses import replace

from engine.checkpoints.audiocraft.config import Config
from engine.checkpoints.bundle import ModelBundle, UsualSampling
from engine.runtime.magnet import MagnetConfig
from protocols.errors import ErrorCode, RequestError

MAGNET_LM = "transformer_lm_magnet"
"""What ``lm_model`` is of such a checkpoint."""

_STEPS = (20, 10, 10, 10)
_MOST_FRAMES = 1 << 13
"""Of a segment: every frame hears every other."""


def is_magnet(config: Config) -> bool:
    """Whether a configuration is MAGNeT's."""
    return bool(config.get("lm_model") == MAGNET_LM)


def read_magnet(config: Config, codebooks: int) -> MagnetConfig | None:
    """How the model masks, and how AudioCraft's ``MAGNeT`` decodes where nothing is set; None for another model.

    Like AudioCraft, this takes no notice of what the configuration says about generating: that was for the training's samples. The
    segment's length is ``dataset.segment_duration``, the span ``masking.span_len``.

    Raises:
        RequestError: names the key.
    """
    if not is_magnet(config):
        return None
    config.section("codebooks_pattern", optional=True).choice("modeling", ["parallel"], "parallel")
    config.section("transformer_lm").expect(past_context=None)
    context = config.get("transformer_lm.subcodes_context", 5)
    if context != -1:
        context = config.whole("transformer_lm.subcodes_context", 5, most=1 << 16)
    return MagnetConfig(
        span=config.whole("masking.span_len", least=1, most=64),
        context=context,
        decoding_steps=(*_STEPS[:codebooks], *(_STEPS[-1] for _ in range(codebooks - len(_STEPS)))),
    )


def in_segments(bundle: ModelBundle, config: Config) -> ModelBundle:
    """The bundle of a MAGNeT as what it is; that of another model as it was.

    Its window is that part of a segment which holds whole spans. The LM has positions for all of it.

    Raises:
        RequestError: as `read_magnet`, and for a segment that has no room for two spans.
    """
    magnet = read_magnet(config, bundle.num_codebooks)
    if magnet is None:
        return bundle
    if bundle.melody is not None or bundle.style is not None:
        allowed = "description alone, for a model that decodes whole segments"
        raise RequestError(
            ErrorCode.UNSUPPORTED, "conditioners.self_wav", config.get("conditioners.self_wav.model"), allowed
        )
    window = bundle.window_frames // magnet.span * magnet.span
    if not 2 * magnet.span <= window <= _MOST_FRAMES:
        allowed = f"two spans of {magnet.span} frames or more, and up to {_MOST_FRAMES} frames"
        raise RequestError(
            ErrorCode.OUT_OF_RANGE, "dataset.segment_duration", config.get("dataset.segment_duration"), allowed
        )
    seconds = float(bundle.window_frames / bundle.frame_rate)
    return replace(
        bundle,
        magnet=magnet,
        window_frames=window,
        stride_frames=min(bundle.stride_frames, window - 1),
        usual=UsualSampling(seconds=seconds, guidance=10.0, temperature=3.0, top_k=0, top_p=0.9),
    )
