"""A picture of a Max patch's panel, drawn from the patch's own JSON: every box of the presentation, where it stands."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

_MARGIN = 8
_CAPTION = 26
_LETTER = 5.2  # width of a letter at the size that is used


def svg(patch: dict[str, Any]) -> str:
    """The picture as SVG text."""
    boxes = [entry["box"] for entry in patch["patcher"]["boxes"] if entry["box"].get("presentation")]
    width = max(box["presentation_rect"][0] + box["presentation_rect"][2] for box in boxes) + 2 * _MARGIN
    height = max(box["presentation_rect"][1] + box["presentation_rect"][3] for box in boxes) + 2 * _MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height + _CAPTION:g}" font-family="Arial, sans-serif" '
        'font-size="9.5">',
        f'<rect width="{width:g}" height="{height + _CAPTION:g}" fill="#fff"/>',
        f'<rect width="{width:g}" height="{height:g}" rx="4" fill="#a5a5a5"/>',
    ]
    for box in boxes:
        lines += _drawn(box)
    lines.append(
        f'<text x="{_MARGIN}" y="{height + 17:g}" fill="#333">Drawn from the patch file itself, not a screenshot: '
        "in Max and Live it looks as their objects do.</text>"
    )
    return "\n".join([*lines, "</svg>", ""])


def _drawn(box: dict[str, Any]) -> list[str]:
    x, y, width, height = (float(number) for number in box["presentation_rect"])
    x, y = x + _MARGIN, y + _MARGIN
    draw = {
        "live.dial": _dial,
        "comment": _words,
        "led": _light,
    }.get(box["maxclass"], _field)
    return draw(box, x, y, width, height)


def _name(box: dict[str, Any]) -> str:
    value = box.get("saved_attribute_attributes", {}).get("valueof", {})
    shown = box.get("text") or box.get("legend") or value.get("parameter_shortname") or box.get("varname") or ""
    if box["maxclass"] == "live.menu":
        return str(value["parameter_enum"][value["parameter_initial"][0]]) + " ▾"
    if box["maxclass"] == "umenu":
        return "results ▾"
    if box["maxclass"] == "live.numbox":
        return f"{value['parameter_initial'][0]:g}"
    return str(shown)


def _text(words: str, x: float, y: float, *, anchor: str = "start", colour: str = "#111") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def _dial(box: dict[str, Any], x: float, y: float, width: float, height: float) -> list[str]:
    middle, centre, radius = x + width / 2, y + height / 2 + 1, 11
    return [
        _text(_name(box), middle, y + 9, anchor="middle"),
        f'<circle cx="{middle:g}" cy="{centre:g}" r="{radius}" fill="none" stroke="#f0a030" stroke-width="3"/>',
        f'<path d="M{middle:g} {centre:g} l-6 7" stroke="#111" stroke-width="2"/>',
    ]


def _words(box: dict[str, Any], x: float, y: float, _width: float, _height: float) -> list[str]:
    return [_text(box["text"], x + 2, y + 11)]


def _light(_box: dict[str, Any], x: float, y: float, width: float, height: float) -> list[str]:
    return [
        f'<circle cx="{x + width / 2:g}" cy="{y + height / 2:g}" r="{width / 2 - 1:g}" fill="#5c6b3c" stroke="#333"/>'
    ]


def _field(box: dict[str, Any], x: float, y: float, width: float, height: float) -> list[str]:
    button = box["maxclass"] == "live.text"
    fill = "#c9c9c9" if button else "#eeeeee"
    most = max(1, int(width / _LETTER))
    name = _name(box)
    return [
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{2 if button else 0}" fill="{fill}" stroke="#555"/>',
        _text(
            name[:most],
            x + width / 2 if button else x + 4,
            y + min(height / 2 + 3.5, 14),
            anchor="middle" if button else "start",
        ),
    ]
