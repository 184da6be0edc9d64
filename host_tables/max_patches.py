"""Writes the Max patch, the Max for Live device, the tables that their script reads, and a picture of the panel.

Both files hold the same boxes, but for what only Live has: its audio, its transport's clips, its parameters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from host_tables import max_device, max_picture, max_schema
from host_tables.max_boxes import Boxes
from host_tables.max_panel import (
    BLOB,
    ENUM,
    FLOAT,
    HEIGHT,
    WIDTH,
    Button,
    Dial,
    Menu,
    Panel,
    Rect,
    Slot,
    panel,
)
from protocols.description import Description

FOLDER = "host_examples/ableton_max"
SCRIPT, READER = "dawbridge.js", "live_clips.js"
OUTPUTS = (
    "status", "connection", "sounding", "stream", "restore", "tell", "results", "record", "preview", "place", "answer", "event",
)  # fmt: skip
"""What the script sends; client/device.js has the same list, which a test compares."""

_TICK_MS = 50
_BANK = 8  # parameters on one page of a Push


def files(description: Description) -> dict[str, str | bytes]:
    """Everything that is generated for Max, by path."""
    patch, device = (_Builder(description, live=live).build() for live in (False, True))
    return {
        max_schema.PATH: max_schema.text(description),
        f"{FOLDER}/dawbridge.maxpat": _json(patch),
        f"{FOLDER}/dawbridge.amxd": max_device.amxd(_json(device)),
        f"{FOLDER}/panel.svg": max_picture.svg(device),
    }


def _json(patch: dict[str, Any]) -> str:
    return json.dumps(patch, indent="\t", ensure_ascii=False) + "\n"


class _Builder(Boxes):
    """One of the two patches."""

    def __init__(self, description: Description, *, live: bool) -> None:
        super().__init__(f"dawbridge.{'amxd' if live else 'maxpat'}")
        self._live = live
        self._panel: Panel = panel(description, live=live)
        self._port = description.bridge.port

    def build(self) -> dict[str, Any]:
        """The patch as it is written down."""
        self.row()
        self._node = self.object(
            f"node.script {SCRIPT} @autostart 1",
            inlets=1,
            outlets=2,
            width=260,
            saved_object_attributes={"autostart": 1, "defer": 0, "node_bin_path": "", "npm_bin_path": "", "watch": 0},
        )
        self._told = self.object("route " + " ".join(OUTPUTS), inlets=1, outlets=len(OUTPUTS) + 1, width=720)
        self.line(self._node, self._told)
        self.line(self._told, self.object("print dawbridge", inlets=1, outlets=0), outlet=len(OUTPUTS))
        self._reader = self._live_reader() if self._live else None
        shown = [
            *(each for slot in self._panel.slots for each in self._slot(slot)),
            *(self._dial(dial) for dial in self._panel.dials),
            *(self._menu(menu) for menu in self._panel.menus),
            self._seed(),
            self._port_box(),
        ]
        for button in self._panel.buttons:
            self._button(button)
        take = self._switch("take", (498, 134, 42, 15), "Write the live stream into the takes folder.", "set save")
        self._state(shown)
        self.line(self._values, take)
        self._restored()
        self._display()
        self._audio()
        self._clock()
        return self._finished()

    # The panel.

    def _slot(self, slot: Slot) -> list[Any]:
        self.row()
        words = self.parameter(
            "textedit",
            (1, 4),
            slot.rect,
            {
                "parameter_invisible": 1,
                "parameter_longname": f"prompt{slot.number}",
                "parameter_shortname": f"prompt{slot.number}",
                "parameter_type": BLOB,
            },
            outlettype=["", "int", "", ""],
            outputmode=1,  # the words as one symbol
            keymode=1,  # Return sends them
            fontsize=10.0,
            text="",
        )
        route = self.object("route text", inlets=2, outlets=2)
        send = self.object(f"prepend prompt {slot.number}")
        self.line(words, route)
        self.line(route, send)
        self.line(send, self._node)
        return [words, self._dial(slot.weight)]

    def _dial(self, dial: Dial) -> Any:
        value = {
            "parameter_annotation_name": dial.name,
            "parameter_exponent": dial.exponent,
            "parameter_info": dial.meaning,
            "parameter_initial": [dial.initial],
            "parameter_initial_enable": 1,
            "parameter_longname": dial.name,
            "parameter_mmax": dial.maximum,
            "parameter_mmin": dial.minimum,
            "parameter_modmode": 3,
            "parameter_shortname": dial.short,
            # Live's whole numbers end at 255: those that go further are floats that are shown whole.
            "parameter_type": FLOAT,
            "parameter_unitstyle": dial.style,
        }
        if dial.units:
            value["parameter_units"] = dial.units
        box = self.parameter("live.dial", (1, 2), dial.rect, value, outlettype=["", "float"])
        self._sent(box, dial.message)
        return box

    def _menu(self, menu: Menu) -> Any:
        value = {
            "parameter_annotation_name": menu.name,
            "parameter_enum": list(menu.choices),
            "parameter_info": menu.meaning,
            "parameter_initial": [menu.initial],
            "parameter_initial_enable": 1,
            "parameter_longname": menu.name,
            "parameter_mmax": len(menu.choices) - 1,
            "parameter_modmode": 0,
            "parameter_shortname": menu.name,
            "parameter_type": ENUM,
        }
        x, y, width, _ = menu.rect
        self.label(menu.name, (x, y - 15, width, 16))
        box = self.parameter("live.menu", (1, 3), menu.rect, value, outlettype=["", "", "float"])
        self._sent(box, menu.message, outlet=1)
        return box

    def _sent(self, box: Any, message: str, *, outlet: int = 0) -> None:
        send = self.object(f"prepend {message}")
        self.line(box, send, outlet=outlet)
        self.line(send, self._node)

    def _button(self, button: Button) -> None:
        value = {
            "parameter_enum": ["off", "on"],
            "parameter_info": button.meaning,
            "parameter_longname": button.name,
            "parameter_mmax": 1,
            "parameter_shortname": button.name,
            "parameter_type": ENUM,
        }
        box = self.parameter(
            "live.text", (1, 2), button.rect, value, outlettype=["", ""], mode=0, text=button.name, texton=button.name
        )
        message = self.message(button.message)
        self.line(box, message)
        self.line(message, self._reader if button.target == "live" else self._node)

    def _switch(self, name: str, rect: Rect, meaning: str, message: str = "") -> Any:
        """A switch that stays; its 0 or 1 goes to node.script behind a message, if there is one."""
        value = {
            "parameter_enum": ["off", "on"],
            "parameter_info": meaning,
            "parameter_initial": [0],
            "parameter_initial_enable": 1,
            "parameter_longname": name,
            "parameter_mmax": 1,
            "parameter_shortname": name,
            "parameter_type": ENUM,
        }
        box = self.parameter("live.text", (1, 2), rect, value, outlettype=["", ""], mode=1, text=name, texton=name)
        if message:
            self._sent(box, message)
        return box

    def _seed(self) -> Any:
        seed = self._panel.seed
        self.label("seed (-1: by chance)", (592, 122, 120, 16))
        box = self.shown(
            "number",
            1,
            2,
            (592, 138, 86, 22),
            outlettype=["", "bang"],
            # A parameter of Live is a 32-bit float, which cannot hold every seed: this one is kept by the script.
            parameter_enable=0,
            minimum=int(seed.minimum or 0),
            maximum=int(seed.maximum or 0),
            varname="seed",
        )
        self._sent(box, "set seed")
        first = self.object(f"loadmess set {seed.default}", inlets=1)
        self.line(first, box)
        return box

    def _port_box(self) -> Any:
        value = {
            "parameter_info": "UDP port of the bridge.",
            "parameter_initial": [float(self._port)],
            "parameter_initial_enable": 1,
            "parameter_invisible": 1,
            "parameter_longname": "port",
            "parameter_mmax": 65535.0,
            "parameter_mmin": 1.0,
            "parameter_shortname": "port",
            "parameter_type": FLOAT,
            "parameter_unitstyle": 0,
        }
        self.label("port", (740, 147, 34, 16))
        box = self.parameter("live.numbox", (1, 2), (774, 148, 44, 15), value, outlettype=["", "float"])
        self._sent(box, "port")
        return box

    # What the script tells, and what is kept.

    def _output(self, name: str) -> int:
        return OUTPUTS.index(name)

    def _state(self, shown: Sequence[Any]) -> None:
        """The dict that is kept with the patch; once the script runs it is told its name, then what the panel shows."""
        self.row()
        tell = self.object("route ready bang", inlets=2, outlets=3)
        self.line(self._told, tell, outlet=self._output("tell"))
        kept: dict[str, Any] = {
            "saved_attribute_attributes": {
                "valueof": {
                    "parameter_invisible": 1,
                    "parameter_longname": "state",
                    "parameter_shortname": "state",
                    "parameter_type": BLOB,
                }
            },
            "varname": "state",
        }
        state = self.object(
            "dict @embed 1",
            inlets=2,
            outlets=5,
            outlettype=["dictionary", "", "", "", ""],
            parameter_enable=int(self._live),
            saved_object_attributes={
                "embed": 1,
                "legacy": 0,
                "parameter_enable": int(self._live),
                "parameter_mappable": 0,
            },
            **(kept if self._live else {}),
        )
        if self._live:
            self.parameters[state.id] = ["state", "state", 0]
        ready = self.object("t b", outlettype=["bang"])
        named = self.object("route dictionary", inlets=2, outlets=2)
        send = self.object(f"prepend state {'live' if self._live else 'max'}")
        for source, target in ((tell, ready), (ready, state), (state, named), (named, send), (send, self._node)):
            self.line(source, target)
        again = self.object("t b", outlettype=["bang"])
        self.line(tell, again, outlet=1)
        for box in shown:
            self.line(again, box)
        # A bang would turn a switch over.
        self._values = self.message("outputvalue")
        self.line(again, self._values)

    def _restored(self) -> None:
        """In the plain patch the script sets the panel to what was kept, without sending it again."""
        names = [name for name, _, _ in self.parameters.values() if name not in {"state", "port"}]
        boxes = {box.id: box for box in self.patch._boxes}
        targets = {
            self.parameters[each][0]: boxes[each] for each in self.parameters if boxes[each].maxclass != "live.text"
        }
        kept = [name for name in names if name in targets] + ["seed"]
        targets["seed"] = next(box for box in boxes.values() if getattr(box, "_kwds", {}).get("varname") == "seed")
        self.row()
        route = self.object("route " + " ".join(kept), inlets=len(kept) + 1, outlets=len(kept) + 1, width=900)
        self.line(self._told, route, outlet=self._output("restore"))
        for index, name in enumerate(kept):
            # A menu is set by its entry's words only with `symbol`, which sends the same value once more.
            put = self.object("prepend symbol" if targets[name].maxclass == "live.menu" else "prepend set")
            self.line(route, put, outlet=index)
            self.line(put, targets[name])

    def _display(self) -> None:
        self.row()
        self.label("prompts: Return sends them", (4, 2, 180, 16))
        status = self.shown("comment", 1, 0, (740, 34, 154, 34), text="not started", fontsize=9.5, linecount=2)
        put = self.object("prepend set")
        self.line(self._told, put, outlet=self._output("status"))
        self.line(put, status)
        for name, x in (("connection", 740), ("sounding", 758)):
            light = self.shown("led", 1, 1, (x, 16, 14, 14), outlettype=["int"], ignoreclick=1)
            self.line(self._told, light, outlet=self._output(name))
        stream = self.shown(
            "number", 1, 2, (776, 12, 50, 22), outlettype=["", "bang"], ignoreclick=1, parameter_enable=0
        )
        self.line(self._told, stream, outlet=self._output("stream"))
        menu = self.shown("umenu", 1, 3, (740, 66, 154, 20), outlettype=["int", "", ""], items=[], parameter_enable=0)
        self.line(self._told, menu, outlet=self._output("results"))
        self._sent(menu, "result")
        # `---` makes a name of its own in each device of Live.
        prefix = "---" if self._live else ""
        for name in ("answer", "event"):
            send = self.object(f"s {prefix}dawbridge-{name}", outlets=0)
            self.line(self._told, send, outlet=self._output(name))

    # Sound.

    def _audio(self) -> None:
        self.row()
        source = self.object(
            "plugin~" if self._live else "adc~", inlets=2 if self._live else 1, outlets=2, outlettype=["signal"] * 2
        )
        recorder = self.object("sfrecord~ 2", inlets=2, outlettype=["signal"])
        player = self.object("sfplay~ 2", inlets=2, outlets=3, outlettype=["signal", "signal", "bang"])
        sink = self.object(
            "plugout~" if self._live else "dac~", inlets=2, outlets=2 if self._live else 0, outlettype=["signal"] * 2
        )
        for channel in range(2):
            self.line(source, recorder, outlet=channel, inlet=channel)
            self.line(player, sink, outlet=channel, inlet=channel)
            if self._live:  # the track is heard as it is, and results beside it
                self.line(source, sink, outlet=channel, inlet=channel)
        self.line(self._told, recorder, outlet=self._output("record"))
        self.line(self._told, player, outlet=self._output("preview"))
        self._switch("record", (540, 134, 46, 15), "Record the input; what was recorded can be gone on from.", "record")
        listen = self._switch("listen", (740, 88, 46, 16), "Hear the chosen result through this patch.")
        self.line(listen, player)
        over = self.message("set 0")
        self.line(player, over, outlet=2)
        self.line(over, listen)
        self._drops()

    def _drops(self) -> None:
        drop = self.shown(
            "live.drop" if self._live else "dropfile",
            1,
            2,
            (740, 108, 76, 34),
            outlettype=["", ""],
            **({"legend": "audio file", "parameter_enable": 0} if self._live else {}),
        )
        self._sent(drop, "region")
        clip = self.shown("dropfile", 1, 2, (818, 108, 76, 34), outlettype=["", ""])
        self._sent(clip, "midi")
        if not self._live:
            self.label("audio file", (744, 118, 70, 16))
        self.label("MIDI file", (824, 118, 60, 16))

    # The transport, which in a device is Live's.

    def _clock(self) -> None:
        self.row()
        follow = self._switch(
            "follow",
            (788, 88, 52, 16) if not self._live else (682, 142, 54, 16),
            "Let the bridge follow this transport.",
            "follow",
        )
        metro = self.object(f"metro {_TICK_MS}", inlets=2, outlettype=["bang"])
        transport = self.object(
            "transport",
            inlets=2,
            outlets=9,
            outlettype=["int", "int", "float", "float", "float", "", "int", "float", ""],
        )
        metre = self.object("unpack 4 4", outlets=2, outlettype=["int", "int"])
        pack = self.object("pack 0. 0. 0 4 4", inlets=5)
        self.line(self._values, follow)
        self.line(follow, metro)
        self.line(metro, transport)
        # Outlets speak from right to left: the tempo comes last and sends the list.
        self.line(transport, pack, outlet=7, inlet=1)
        self.line(transport, pack, outlet=6, inlet=2)
        self.line(transport, metre, outlet=5)
        self.line(metre, pack, outlet=1, inlet=4)
        self.line(metre, pack, outlet=0, inlet=3)
        self.line(transport, pack, outlet=4)
        self._sent(pack, "tick")

    def _live_reader(self) -> Any:
        reader = self.object(
            f"js {READER}",
            outlettype=[""],
            saved_object_attributes={"filename": READER, "parameter_enable": 0},
        )
        self.line(reader, self._node)
        place = self.object("prepend place")
        self.line(self._told, place, outlet=self._output("place"))
        self.line(place, reader)
        return reader

    # The whole.

    def _finished(self) -> dict[str, Any]:
        self.patch.openinpresentation = 1
        self.patch.devicewidth = float(WIDTH) if self._live else 0.0
        self.patch.description = "Generative music from daw-bridge"
        self.patch.tags = "daw-bridge"
        if not self._live:
            self.patch.rect = type(self.patch.rect)(85.0, 104.0, float(WIDTH + 20), float(HEIGHT + 60))
        patch: dict[str, Any] = self.patch.to_dict()
        inner = patch["patcher"]
        inner["parameters"] = {**self.parameters, "parameterbanks": self._banks(), "inherited_shortname": 1}
        inner["dependency_cache"] = [
            {"name": name, "bootpath": ".", "type": "TEXT", "implicit": 1}
            for name in ([READER] if self._live else []) + [SCRIPT]
        ]
        if self._live:
            inner["project"] = max_device.project()
            inner |= {
                "latency": 0,
                "is_mpe": 0,
                "minimum_live_version": "",
                "minimum_max_version": "",
                "platform_compatibility": 0,
            }
        return patch

    def _banks(self) -> dict[str, Any]:
        """What a Push shows: weights first, then the dials."""
        weights = [slot.weight.name for slot in self._panel.slots] + ["morph", "level"]
        dials = [dial.name for dial in self._panel.dials if dial.name not in {"morph", "level"}]
        banks = [("weights", weights), ("sampling", dials)]
        return {
            str(index): {
                "index": index,
                "name": name,
                "parameters": (names + ["-"] * _BANK)[:_BANK],
                "buttons": ["-"] * _BANK,
            }
            for index, (name, names) in enumerate(banks)
        }
