"""``python -m engine.evaluation``: measure a model on held-out music, beside real renders of it."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Not above: the processes that render import this module too, and need no torch.
    from engine.evaluation.command import main

    sys.exit(main())
