"""What the settings mean at a step: how fast is learnt, and what for."""

from __future__ import annotations

import math

from engine.training.codec.config import CodecTraining, Stage

_RATES = {Stage.DECODER: "decoder_rate", Stage.REFINEMENT: "refinement_rate"}


def rate_setting(stage: Stage) -> str:
    """The setting that the learning rate of a stage comes from."""
    return _RATES.get(stage, "learning_rate")


def learning_rate(config: CodecTraining, step: int) -> float:
    """The learning rate of the codec's optimiser: a warm-up and half a cosine.

    They run once over the stages that train everything, and once more over each of those that train the decoder alone.
    """
    stage = config.stage(step)
    begin, end = config.span(stage) if stage in _RATES else (0, config.frozen_from)
    peak: float = getattr(config, rate_setting(stage))
    done = (step - begin) / max(1, end - begin)
    rate = peak * (config.last_rate + (1 - config.last_rate) * 0.5 * (1 + math.cos(math.pi * done)))
    return rate * min(1.0, (step - begin + 1) / max(1, config.warmup_steps))


def loss_shares(config: CodecTraining, step: int) -> dict[str, float]:
    """The share that each loss has of the gradient at the codec's output."""
    stage = config.stage(step)
    if stage in _RATES:
        shares = {
            "waveform": config.decoder_waveform_weight,
            "mel": config.decoder_mel_weight,
            "log_mel": config.decoder_log_mel_weight,
        }
    else:
        # The waveform first: it is what tells a network without any idea of sound where the phase is.
        ramp = min(1.0, 0.1 + 0.9 * step / max(1, config.mel_ramp))
        shares = {
            "waveform": config.waveform_weight,
            "mel": config.mel_weight * ramp,
            "log_mel": config.log_mel_weight * ramp,
        }
    if stage.has_adversary:
        ramp = min(1.0, (step - config.span(stage)[0]) / max(1, config.adversarial_ramp))
        shares |= {"adversarial": config.adversarial_weight * ramp, "feature": config.feature_weight * ramp}
    return shares
