"""Pictures of windows that a script drew with Reaper's gfx functions, from the calls that the stub recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

_CENTRED = 1
_FONT_PX = 14


def picture(frame: Sequence[Sequence[Any]], width: int, height: int) -> str:
    """An SVG of one frame.

    Args:
        frame: shapes in the order in which they were drawn, as the stub writes them: ``rect`` or ``text``, its arguments, and its
            colour as three numbers from 0 to 1.
        width: of the window, in pixels.
        height: of the window, in pixels.
    """
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        f' font-family="Arial, Helvetica, sans-serif" font-size="{_FONT_PX}">',
        *(_drawn(shape) for shape in frame),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _drawn(shape: Any) -> str:
    colour = "#" + "".join(f"{round(255 * part):02x}" for part in shape[-1])
    if shape[0] == "rect":
        x, y, width, height, filled = shape[1:6]
        if filled:
            return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{colour}"/>'
        inner = f'width="{max(width - 1, 0)}" height="{max(height - 1, 0)}"'
        return f'<rect x="{x + 0.5}" y="{y + 0.5}" {inner} fill="none" stroke="{colour}"/>'
    x, y, text, flags, right, bottom = shape[1:7]
    if flags & _CENTRED:
        place = f'x="{(x + right) / 2}" y="{(y + bottom) / 2 + _FONT_PX * 0.36}" text-anchor="middle"'
    else:
        place = f'x="{x}" y="{y + _FONT_PX}"'
    return f'<text {place} fill="{colour}" xml:space="preserve">{escape(text)}</text>'
