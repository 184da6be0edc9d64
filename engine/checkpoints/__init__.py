"""Where weights come from: a name of the catalogue, a folder, or the Hugging Face hub. Every source gives the same bundle.

Importing this is cheap; torch and transformers are imported by the first `load_model`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.checkpoints.bundle import ModelBundle
from engine.checkpoints.catalogue import CATALOGUE, CatalogueEntry, find_source

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CATALOGUE", "CatalogueEntry", "ModelBundle", "find_source", "load_model"]


def load_model(
    name: str, *, device: str = "auto", dtype: str = "auto", pocket_directory: Path | None = None
) -> ModelBundle:
    """Load a model and make it ready to run.

    Args:
        name: a name of the `CATALOGUE`, the path of a folder in transformers layout, or ``owner/name`` on the hub.
        device: ``auto``, ``cuda``, ``cuda:1``, ``mps`` or ``cpu``.
        dtype: precision of the LM: ``auto``, ``float32``, ``float16`` or ``bfloat16``.
        pocket_directory: where the pocket model is kept; the user's cache directory by default.

    Raises:
        RequestError: an unknown model, device or precision, files that are missing or damaged, or a download that failed. The
            text names what is wrong and what can be done.
    """
    source = find_source(name)

    from engine.checkpoints import devices, pocket, transformers_layout

    chosen = devices.pick_device(device)
    precision = devices.pick_dtype(dtype, chosen)
    if source.folder is not None:
        folder = source.folder
    elif source.hub_id is not None:
        folder = transformers_layout.download(source.hub_id)
    else:
        folder = pocket.pocket_folder(pocket_directory)
    return transformers_layout.load_folder(folder, source.name, chosen, precision)
