"""``python -m engine.probe``: one JSON line on the packages that the model needs, for the doctor, who must not load them itself."""

from __future__ import annotations

import json
import sys


def probe() -> dict[str, object]:
    """Versions, threads and devices; how torchaudio loads before it is guarded. Raises what torch or transformers raise."""
    import torch

    found: dict[str, object] = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    cuda = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    mps = ["Apple GPU (mps)"] if torch.backends.mps.is_available() else []
    found["gpus"] = [*(torch.cuda.get_device_name(index) for index in cuda), *mps]
    try:
        import torchaudio

        found["torchaudio"] = torchaudio.__version__
    except ImportError as error:
        found["torchaudio_missing"] = isinstance(error, ModuleNotFoundError) and error.name == "torchaudio"
        found["torchaudio_error"] = str(error)
    except (OSError, RuntimeError) as error:
        found["torchaudio_error"] = str(error)
    import transformers

    found["transformers"] = transformers.__version__
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe()) + "\n")
