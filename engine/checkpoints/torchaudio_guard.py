"""Make ``import torchaudio`` work beside any build of torch.

The torchaudio of the package index is compiled against CUDA. Beside a CPU build of torch its compiled extension cannot be loaded,
so that ``import torchaudio`` raises, and with it the import of every transformers model that reads audio features, MusicGen among
them. Nothing that this project uses is in that extension: resampling and mel spectra are written in plain PyTorch. torchaudio
itself runs without the extension when its file is not there; `ensure_torchaudio` tells it so.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

_LOG = logging.getLogger(__name__)

_LOADER = "torchaudio._extension.utils"


@cache
def ensure_torchaudio() -> bool:
    """Import torchaudio, without its compiled extension where that cannot be loaded.

    Call it before the first import of transformers or torchaudio. Later calls cost nothing.

    Returns:
        Whether torchaudio is there.

    Raises:
        ImportError, OSError, RuntimeError: torchaudio is broken in some other way; the error is its own.
    """
    if importlib.util.find_spec("torchaudio") is None:
        return False
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError, RuntimeError) as error:
        _forget_torchaudio()
        try:
            _without_extension()
        except Exception:
            _forget_torchaudio()
            raise error from None
        _LOG.info(
            "torchaudio's compiled extension does not load beside this build of torch; going on without it. "
            "Nothing here needs it; a torchaudio built for the same torch would be used whole."
        )
    return True


def _without_extension() -> None:
    """Import torchaudio with a loader that finds no extension. The installed files stay as they are."""
    package = importlib.util.find_spec("torchaudio")
    if package is None or package.origin is None:
        raise ImportError("torchaudio has no files")
    path = Path(package.origin).parent / "_extension" / "utils.py"
    spec = importlib.util.spec_from_file_location(_LOADER, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no torchaudio loader at {path}")
    loader: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loader)
    loader._load_lib = lambda lib: False  # type: ignore[attr-defined]
    sys.modules[_LOADER] = loader
    importlib.import_module("torchaudio")


def _forget_torchaudio() -> None:
    """Drop the modules that a failed import leaves behind, so that the next import starts over."""
    for name in [name for name in sys.modules if name == "torchaudio" or name.startswith("torchaudio.")]:
        del sys.modules[name]
