"""What a request asks for that means nothing to the model, in words: it is no error, since the same settings serve all models."""

from __future__ import annotations

from engine.checkpoints.bundle import ModelBundle
from engine.preparation import hears_melodies
from protocols.messages import Generate, StreamRequest

_NOTHING_ASKED = Generate()


def left_out(request: StreamRequest, bundle: ModelBundle) -> str:
    """A note about the settings of a request that its model takes no notice of; empty where there are none.

    Args:
        request: as it is planned. A setting at the protocol's default counts as not given.
        bundle: the model.
    """
    segments, flow, styles = bundle.magnet is not None, bundle.flow is not None, bundle.style is not None
    drums = bundle.flow is not None and bundle.flow.drums
    means_something = {
        "temperature": not flow,
        "top_k": not flow,
        "top_p": not flow,
        "steps": segments or flow,
        "spans": segments,
        "final_guidance": segments,
        "text_guidance": flow,
        "drums_start": drums,
        "double_guidance": not flow and (styles or hears_melodies(bundle)),
        "style_start": styles,
        "style_length": styles,
        "style_detail": styles,
    }
    names = [
        name
        for name, known in means_something.items()
        if not known and getattr(request, name) != getattr(_NOTHING_ASKED, name)
    ]
    if not names:
        return ""
    verb = "mean" if len(names) > 1 else "means"
    return f"{' and '.join(filter(None, (', '.join(names[:-1]), names[-1])))} {verb} nothing to {bundle.name}"
