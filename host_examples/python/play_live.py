"""Play a MIDI keyboard and let a stream follow: ``python play_live.py "warm strings" [turns] [port]``.

Every eight beats, at 96 beats per minute, the music takes up what was played; the first note begins the first turn.
"""

import socket
import sys
import time

from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import build_msg

prompt = sys.argv[1] if len(sys.argv) > 1 else "warm strings"
turns = int(sys.argv[2]) if len(sys.argv) > 2 else 4
port = int(sys.argv[3]) if len(sys.argv) > 3 else 7772

bridge = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
bridge.settimeout(660.0)  # the first note is waited for that long


def send(address: str, *arguments: object) -> None:
    """Put a request on its way."""
    bridge.sendto(build_msg(address, list(arguments)).dgram, ("127.0.0.1", port))


def wait(address: str, *start: object) -> list:
    """What is said at an address, with arguments that begin so; all that is heard until then is printed."""
    while True:
        message = OscMessage(bridge.recv(65535))
        print(message.address, *message.params)  # noqa: T201
        if message.address == "/fail":
            sys.exit(1)
        if message.address == address and message.params[: len(start)] == list(start):
            return list(message.params)


send("/bridge/open", 1, prompt, "bpm", 96.0)
stream = wait("/bridge/queued", 1)[1]
send("/bridge/notes/record", 2, "riff", "length", 8.0, "turns", turns, "stream", stream)
wait("/bridge/recording", "riff", "ready")
print("play now")  # noqa: T201
wait("/done", "/bridge/notes/record", 2)
time.sleep(3.0)  # the last turn is followed too
send("/bridge/cancel", 3, stream)
wait("/done", "/bridge/open", 1)
