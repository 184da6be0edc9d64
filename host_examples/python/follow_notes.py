"""Send a clip's notes to the bridge and play a piece that follows them: ``python follow_notes.py "warm strings" [seconds] [port]``.

A host whose clips are not in files (a Max patch, a script in a DAW) sends them like this.
"""

import socket
import sys

from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import build_msg

prompt = sys.argv[1] if len(sys.argv) > 1 else "warm strings"
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 10.0
port = int(sys.argv[3]) if len(sys.argv) > 3 else 7772

BPM = 96.0
PAGE = 16  # notes in one packet; any number that fits into one will do

# Four bars of a tune over three bass notes: pitch (60 is middle C), start and length in beats, velocity (1 to 127).
tune = (69, 72, 76, 74, 72, 71, 69, 71, 72, 76, 81, 79, 76, 74, 72, 71)
notes = [(pitch, beat, 0.9, 96) for beat, pitch in enumerate(tune)]
notes += [(pitch - 12, beat + 0.5, 0.4, 70) for beat, pitch in enumerate(tune)]
notes += [(pitch, 4 * bar, 4, 60) for bar, pitch in enumerate((45, 41, 48, 45))]

bridge = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def ask(request: int, address: str, *arguments: object, tries: int = 1, wait: float = 60.0) -> None:
    """Send a request until it is answered; what is told about it meanwhile is printed."""
    bridge.settimeout(wait)
    for _ in range(tries):
        bridge.sendto(build_msg(address, [request, *arguments]).dgram, ("127.0.0.1", port))
        try:
            while True:
                message = OscMessage(bridge.recv(65535))
                print(message.address, *message.params)  # noqa: T201
                if message.address in ("/done", "/fail") and message.params[:2] == [address, request]:
                    if message.address == "/fail":
                        sys.exit(1)
                    return
        except TimeoutError:
            continue  # a packet was lost; the same notes sent twice are the same notes
    sys.exit("the bridge does not answer; start it with: daw-bridge up")


ask(1, "/bridge/notes/begin", "riff", "bpm", BPM, "count", len(notes), tries=5, wait=2.0)
for first in range(0, len(notes), PAGE):
    values = [float(value) for note in notes[first : first + PAGE] for value in note]
    ask(2 + first, "/bridge/notes/add", "riff", first, *values, tries=5, wait=2.0)
ask(1000, "/bridge/play", prompt, "notes", "riff", "duration", seconds, wait=seconds + 60.0)
