"""Boxes of a Max patch, put down one after the other by py2max.

py2max is a development dependency: it is imported only when a patch is written.
"""

from __future__ import annotations

from typing import Any

from host_tables.max_panel import Rect

_WIDTH = 1180  # of the rows in which boxes stand
_GAP = 14


class Boxes:
    """A patch under construction. What is not on the panel, and the panel's boxes while the patch is edited, stand in rows.

    Attributes:
        patch: py2max's; a cord to a port that does not exist is refused at once.
        parameters: long name, short name and order of each parameter by the id of its box, as the patch lists them.
    """

    def __init__(self, name: str) -> None:
        import py2max

        self.patch = py2max.Patcher(name, validate_attrs=False, on_invalid="raise")
        self.parameters: dict[str, list[Any]] = {}
        self._at = [20, 20]
        self._row_height = 0

    def row(self, gap: int = 12) -> None:
        """Begin a new row of boxes."""
        self._at = [20, self._at[1] + self._row_height + gap]
        self._row_height = 0

    def place(self, width: int, height: int) -> Rect:
        if self._at[0] + width > _WIDTH:
            self.row()
        x, y = self._at
        self._at[0] += width + _GAP
        self._row_height = max(self._row_height, height)
        return (x, y, width, height)

    def box(self, maxclass: str, inlets: int, outlets: int, size: tuple[int, int], **more: Any) -> Any:
        from py2max import Box
        from py2max.core.common import Rect as Placed

        types = more.pop("outlettype", [""] * outlets)
        box = Box(
            maxclass=maxclass,
            numinlets=inlets,
            numoutlets=outlets,
            id=self.patch.get_id(),
            patching_rect=Placed(*self.place(*size)),
            **({"outlettype": types} if outlets else {}),
            **more,
        )
        return self.patch.add_box(box)

    def object(self, text: str, *, inlets: int = 1, outlets: int = 1, width: int = 0, **more: Any) -> Any:
        return self.box("newobj", inlets, outlets, (width or 20 + 7 * len(text), 22), text=text, **more)

    def message(self, text: str) -> Any:
        return self.box("message", 2, 1, (20 + 7 * len(text), 22), text=text)

    def shown(self, maxclass: str, inlets: int, outlets: int, rect: Rect, **more: Any) -> Any:
        """A box of the panel."""
        return self.box(
            maxclass, inlets, outlets, rect[2:], presentation=1, presentation_rect=[float(n) for n in rect], **more
        )

    def parameter(self, maxclass: str, ports: tuple[int, int], rect: Rect, value: dict[str, Any], **more: Any) -> Any:
        """A box of the panel whose value Live automates, or keeps with the set."""
        name = value["parameter_longname"]
        box = self.shown(
            maxclass,
            *ports,
            rect,
            parameter_enable=1,
            saved_attribute_attributes={"valueof": value},
            varname=name,
            **more,
        )
        self.parameters[box.id] = [name, value["parameter_shortname"], 0]
        return box

    def line(self, source: Any, target: Any, *, outlet: int = 0, inlet: int = 0) -> None:
        self.patch.add_line(source, target, outlet=outlet, inlet=inlet)

    def label(self, text: str, rect: Rect) -> Any:
        return self.shown("comment", 1, 0, rect, text=text, fontsize=9.5)
