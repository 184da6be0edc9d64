"""Play a piece through the bridge with nothing but python-osc: ``python play_by_osc.py "warm strings" [seconds] [port]``."""

import socket
import sys

from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import build_msg

prompt = sys.argv[1] if len(sys.argv) > 1 else "warm strings"
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 8.0
port = int(sys.argv[3]) if len(sys.argv) > 3 else 7772

bridge = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
bridge.settimeout(seconds + 60)
bridge.sendto(build_msg("/bridge/play", [1, prompt, "duration", seconds]).dgram, ("127.0.0.1", port))
while True:
    message = OscMessage(bridge.recv(65535))
    print(message.address, *message.params)  # noqa: T201
    if message.address in ("/done", "/fail"):
        sys.exit(message.address == "/fail")
