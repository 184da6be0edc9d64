"""Streams to play with from Python's prompt, with nothing but python-osc.

    >>> from live_coding import *
    >>> s = open("warm strings", at="bar")
    >>> s.bpm = 96
    >>> s.prompt = "warm strings || brass"
    >>> s.weights(0.8, 0.2)
    >>> s.morph("a choir enters", beats=8)
    >>> s.notes("a2 c3 e3 _ | d3 ~ c3,e3 _")        # C3 is middle C; _ holds, ~ rests, a comma plays together
    >>> s.level(-6)
    >>> s.stop()

What the bridge refuses is a ValueError that says what is allowed.
"""

import random
import re
import select
import socket

from dawbridge_parameters import ADDRESSES, PORT
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import build_msg

__all__ = ["Bridge", "Stream", "bridge", "hush", "open"]
_SEMITONES = dict(zip("cdefgab", (0, 2, 4, 5, 7, 9, 11), strict=True))


class Bridge:
    """The bridge at a port of this machine."""

    def __init__(self, port=PORT):
        self.port, self._id = port, random.randrange(1, 2**23)  # ids of its own, beside those of other programs
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def ask(self, address, *positional, until="/done", **named):
        """Send a request and return what answers it: the values of ``/done``, or of the event ``until``, after the id."""
        known = ADDRESSES[address]
        for name in set(named) - set(known.named):
            raise ValueError(f"{address} has no {name}; it has {', '.join(known.named)}")
        pairs = [part for name in named for part in (name, known.parameters[name].check(name, named[name]))]
        while select.select([self._socket], [], [], 0)[0]:
            self._socket.recv(65535)  # what streams have told since the last request: room for the answer
        self._id += 1
        self._socket.sendto(build_msg(address, [self._id, *positional, *pairs]).dgram, ("127.0.0.1", self.port))
        self._socket.settimeout(30.0)
        while True:
            message = OscMessage(self._socket.recv(65535))
            if message.params[:2] == [address, self._id] and message.address == "/fail":
                raise ValueError(message.params[3])
            if message.address == until and self._id in message.params[:2]:
                return message.params[message.params.index(self._id) + 1 :]


class Stream:
    """A stream without an end. Its attributes are the parameters of ``/bridge/update``: set one, and it is heard."""

    def __init__(self, prompt, **named):
        self.__dict__["number"] = bridge.ask("/bridge/open", prompt, until="/bridge/queued", **named)[0]

    def __setattr__(self, name, value):
        bridge.ask("/bridge/update", self.number, **{name: value})

    def morph(self, prompt, beats=8.0, **named):
        """Turn into other words over so many beats."""
        bridge.ask("/bridge/update", self.number, prompt=prompt, morph=beats, **named)

    def weights(self, *values):
        """How much each of its prompts counts."""
        bridge.ask("/bridge/weights", self.number, *map(float, values))

    def notes(self, pattern, step=1.0, bpm=120.0):
        """Follow a pattern of notes again and again, each place ``step`` beats long; an empty one leads no more."""
        name, (notes, places) = f"live{self.number}" if pattern else "", _read(pattern)
        if name:
            bridge.ask("/bridge/notes/begin", name, count=len(notes), length=places * step, bpm=bpm)
        for first in range(0, len(notes), 16):  # as many as fit into a packet
            page = [(pitch, place * step, length * step, 100) for pitch, place, length in notes[first : first + 16]]
            bridge.ask("/bridge/notes/add", name, first, *(float(value) for note in page for value in note))
        bridge.ask("/bridge/update", self.number, notes=name)

    def level(self, decibels):
        """How loud it is."""
        bridge.ask("/bridge/level", self.number, float(decibels))

    def stop(self):
        """Fade it out."""
        bridge.ask("/bridge/cancel", self.number)


def _read(pattern):
    """The notes of a pattern, [pitch, place, length in places] each, and how many places it has."""
    notes, places, sounding = [], 0, []
    for place, word in enumerate(pattern.replace("|", " ").split()):
        places, sounding = place + 1, sounding if word == "_" else []
        for note in sounding:
            note[2] += 1
        for name in word.lower().split(",") if word not in "_~" else ():
            match = re.fullmatch(r"([a-g])(#|b)?(-?\d)", name)
            if match is None:
                raise ValueError(f"{name!r} is no note (allowed: names such as a2, c#3 or eb4, _ and ~)")
            shift = {"#": 1, "b": -1, None: 0}[match[2]]
            sounding.append([_SEMITONES[match[1]] + shift + 12 * (int(match[3]) + 2), place, 1])
            notes.append(sounding[-1])
    return notes, places


def open(prompt="", **named):
    """Open a stream: ``at="bar"`` begins on the next bar line, ``replaces=s.number`` in the place of another."""
    return Stream(prompt, **named)


def hush():
    """Fade everything out."""
    bridge.ask("/bridge/stop")


bridge = Bridge()
