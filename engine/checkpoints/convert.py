"""``python -m engine.checkpoints.convert``: AudioCraft's checkpoints in transformers' layout, for ``daw-bridge models convert``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from protocols.errors import ErrorCode, RequestError


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert one checkpoint; 0 when it was done, 1 when it was refused."""
    parser = argparse.ArgumentParser(
        prog="daw-bridge models convert",
        description="Write a checkpoint of AudioCraft's, as released or as its training leaves it, in transformers' layout.",
    )
    parser.add_argument(
        "source", help="A folder in AudioCraft's layout, a name of the catalogue, or owner/name on the hub."
    )
    parser.add_argument("target", help="The folder to make.")
    parser.add_argument(
        "--dtype", default="auto", help="How the LM is stored: auto (as it is), float32, float16, bfloat16."
    )
    parser.add_argument("--text-encoder", default="", help="The T5 that it was trained with: a folder or a hub id.")
    parser.add_argument("--overwrite", action="store_true", help="Replace what is in the target.")
    asked = parser.parse_args(arguments)
    try:
        from engine.checkpoints.conversion import convert

        done = convert(
            _folder(asked.source),
            Path(asked.target),
            dtype=asked.dtype,
            text_encoder=asked.text_encoder,
            overwrite=asked.overwrite,
            tell=lambda text: _tell(f"{text} …"),
        )
    except RequestError as error:
        sys.stderr.write(f"daw-bridge: {error.text}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\ndaw-bridge: stopped; nothing was kept\n")
        return 1
    _tell(f"{done.folder}: {done.bytes / 1e9:.2f} GB; logits within {done.logits:.1e}, samples within {done.audio:.1e}")
    return 0


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _folder(name: str) -> Path:
    """The folder of a source, downloaded where that was agreed to before."""
    from engine.checkpoints import hub
    from engine.checkpoints.audiocraft.package import lm_file
    from engine.checkpoints.catalogue import find_source

    source = find_source(name)
    folder = source.folder
    if folder is None:
        if source.hub_id is None:
            raise RequestError(ErrorCode.UNSUPPORTED, "source", name, "a checkpoint in AudioCraft's layout")
        folder = hub.obtain(source.hub_id, ("state_dict.bin", "compression_state_dict.bin"))
    if lm_file(folder) is None:
        allowed = "a folder with state_dict.bin or checkpoint.th, in AudioCraft's layout"
        raise RequestError(ErrorCode.NOT_FOUND, "source", str(folder), allowed)
    return folder


if __name__ == "__main__":
    sys.exit(main())
