"""``python -m benchmarks._neighbour``: how fast one stream is made in this process, as one JSON line; see `benchmarks.start`.

How threads wait for each other is decided by the environment before torch is loaded, so each answer needs a process of its own.
"""

from __future__ import annotations

import argparse
import json
import sys


def main() -> None:
    """Load the model, make one stream for a while, tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--dtype", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()

    import torch

    from engine.bench.measuring import one_stream
    from engine.checkpoints import load_model

    torch.set_num_threads(given.threads)
    bundle = load_model("pocket", device="cpu", dtype=given.dtype, threads=given.threads)
    with torch.inference_mode():
        realtime, step_ms, codec_ms = one_stream(bundle, 100, given.seconds)
    told = {"realtime": realtime, "step_ms": step_ms, "codec_ms": codec_ms, "runner": bundle.runner}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
