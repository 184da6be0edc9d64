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
    name: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    pocket_directory: Path | None = None,
    text_encoder: str = "",
    memory_limit_mb: int = 0,
    runner: str = "auto",
    kv_cache: str = "auto",
    threads: int = 0,
) -> ModelBundle:
    """Load a model and make it ready to run.

    Args:
        name: a name of the `CATALOGUE`, one that another distribution brings (see `engine.checkpoints.plugins`), the path of a
            folder in transformers' layout, AudioCraft's or our own, or ``owner/name`` on the hub.
        device: ``auto``, ``cuda``, ``cuda:1``, ``mps`` or ``cpu``.
        dtype: precision of the LM: ``auto``, ``float32``, ``float16``, ``bfloat16``, ``int8`` or ``int4``.
        pocket_directory: keep the untrained pocket model here, and take it for ``pocket`` whether or not a trained one comes
            with the engine. None: that one if it does, else the untrained one, kept in the user's cache directory.
        text_encoder: the T5 of a checkpoint in AudioCraft's layout, which only names it: a folder, or a name on the hub. Empty: a
            folder of that name in the checkpoint's, else the hub's. Other layouts hold their own.
        memory_limit_mb: refuse a model that would bring the process beyond this; 0: beyond what the machine has free. It is
            refused before anything of it is loaded.
        runner: what runs the LM: ``auto``, ``plain``, ``onnx`` or ``graphs``; see `engine.checkpoints.running.with_runner`.
        kv_cache: what onnxruntime keeps of what a stream has heard: ``auto``, ``float32`` or ``int8``.
        threads: CPU threads of the runner; 0 for as many as torch has here.

    Raises:
        RequestError: an unknown model, device, precision or runner, files that are missing or damaged, or a download that failed.
            The text names what is wrong and what can be done.
    """
    source = find_source(name)

    from engine.checkpoints import (
        devices,
        footprint,
        headroom,
        hub,
        own_layout,
        plugins,
        pocket,
        running,
        transformers_layout,
    )
    from engine.checkpoints.audiocraft import layout
    from engine.checkpoints.audiocraft.package import is_audiocraft
    from engine.checkpoints.section import OwnSection, read_config

    chosen = devices.pick_device(device)
    precision = devices.pick_precision(dtype, chosen)
    running.check_names(runner, kv_cache)

    def fits(needed: footprint.Footprint | None) -> None:
        headroom.check_room(source.name, needed, str(chosen), precision.asked, memory_limit_mb)

    def loaded() -> ModelBundle:
        if source.plugin is not None:
            return plugins.load_model(source.plugin, name, chosen, devices.pick_dtype(dtype, chosen))
        if name.strip() == POCKET and (pocket_directory is not None or source.folder is None):
            folder = pocket.pocket_folder(pocket_directory)
        elif source.folder is not None:
            folder = source.folder
        else:
            assert source.hub_id is not None
            if (known := CATALOGUE.get(source.name)) is not None:  # told before gigabytes are downloaded in vain
                fits(footprint.of_entry(known))
            folder = hub.obtain(source.hub_id)
        fits(footprint.of_folder(folder, text_encoder))
        if is_audiocraft(folder):
            return layout.load_folder(folder, source.name, chosen, precision, text_encoder=text_encoder)
        config = read_config(folder)
        section = OwnSection.read(config)
        if section.codec is not None:
            return own_layout.load_folder(folder, config, section, source.name, chosen, precision)
        return transformers_layout.load_folder(folder, config, section, source.name, chosen, precision)

    return running.with_runner(loaded(), runner, kv_cache=kv_cache, threads=threads)
