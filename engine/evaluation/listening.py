"""``python -m engine.evaluation.listening docs/listening``: write a page of clips to listen to."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Not above: the processes that render import this module too, and need no torch.
    from engine.evaluation.page import main

    sys.exit(main())
