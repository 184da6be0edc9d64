"""Where weights come from: a name of the catalogue, a folder, or the Hugging Face hub. Every source gives the same bundle.

Importing this is cheap; torch and transformers are imported by the first `load_model`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.checkpoints.bundle import ModelBundle
from engine.checkpoints.catalogue import CATALOGUE, POCKET, CatalogueEntry, find_source

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CATALOGUE", "CatalogueEntry", "ModelBundle", "find_source", "load_model"]


def load_model(
    name: str, *, device: str = "auto", dtype: str = "auto", pocket_directory: Path | None = None
) -> ModelBundle:
    """Load a model and make it ready to run.

    Args:
        name: a name of the `CATALOGUE`, the path of a folder in transformers' layout or our own, or ``owner/name`` on the hub.
        device: ``auto``, ``cuda``, ``cuda:1``, ``mps`` or ``cpu``.
        dtype: precision of the LM: ``auto``, ``float32``, ``float16`` or ``bfloat16``.
        pocket_directory: keep the untrained pocket model here, and take it for ``pocket`` whether or not a trained one comes
            with the engine. None: that one if it does, else the untrained one, kept in the user's cache directory.

    Raises:
        RequestError: an unknown model, device or precision, files that are missing or damaged, or a download that failed. The
            text names what is wrong and what can be done.
    """
    source = find_source(name)

    from engine.checkpoints import devices, own_layout, pocket, transformers_layout
    from engine.checkpoints.section import OwnSection, read_config

    chosen = devices.pick_device(device)
    precision = devices.pick_dtype(dtype, chosen)
    if name.strip() == POCKET and (pocket_directory is not None or source.folder is None):
        folder = pocket.pocket_folder(pocket_directory)
    elif source.folder is not None:
        folder = source.folder
    else:
        assert source.hub_id is not None
        folder = transformers_layout.download(source.hub_id)
    config = read_config(folder)
    section = OwnSection.read(config)
    if section.codec is not None:
        return own_layout.load_folder(folder, config, section, source.name, chosen, precision)
    return transformers_layout.load_folder(folder, config, section, source.name, chosen, precision)
