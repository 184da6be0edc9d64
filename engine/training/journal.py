"""The numbers of a training, one line of JSON for each time that they were taken."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.training.data.folders import write_whole


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values with None for numbers that are not finite, for which JSON has no word."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }


class MetricsFile:
    """Lines with ``step`` and numbers."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, line: Mapping[str, Any]) -> None:
        """Append a line.

        Raises:
            OSError: as the operating system has it.
        """
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite(line)) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """All lines; without those that were cut off when a process or a machine died."""
        if not self.path.is_file():
            return []
        lines = []
        for text in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                lines.append(line)
        return lines

    def forget_after(self, step: int) -> None:
        """Leave out the lines of later steps, which are taken again.

        Raises:
            OSError: as the operating system has it; the file is as before then.
        """
        if self.path.is_file():
            kept = "".join(json.dumps(line) + "\n" for line in self.read() if line["step"] <= step)
            write_whole(self.path, [kept.encode()])
