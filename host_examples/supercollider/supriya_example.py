"""Generate with the bridge, load the result into a Buffer of scsynth, and play a synth with it, all from Python by supriya.

``python supriya_example.py "warm strings" [seconds] [bridge port] [scsynth port]``; needs ``pip install supriya`` and scsynth.
"""

from __future__ import annotations

import socket
import sys
import time

import supriya
from supriya import OscMessage, synthdef
from supriya.ugens import BufDur, BufRateScale, Envelope, EnvGen, FreeVerb, Out, PlayBuf


@synthdef()
def player(
    buffer: float = 0, rate: float = 1, amplitude: float = 0.8, room: float = 0.4, mix: float = 0.2, out: float = 0
):
    """Plays a Buffer of one channel once, at its own pitch, in a room; ends by itself."""
    # The take has the model's rate, the server the sound card's: BufRateScale leads the one over to the other.
    sound = PlayBuf.ar(buffer_id=buffer, channel_count=1, rate=BufRateScale.kr(buffer_id=buffer) * rate)
    envelope = EnvGen.kr(
        envelope=Envelope.linen(0.005, BufDur.kr(buffer_id=buffer) / rate, 2.0), done_action=2, level_scale=amplitude
    )
    wet = FreeVerb.ar(source=sound, mix=mix, room_size=room)
    Out.ar(bus=out, source=[wet * envelope, wet * envelope])


def generate(prompt: str, seconds: float, port: int) -> str:
    """Ask the bridge for a piece, silently; the path of its file.

    Raises:
        RuntimeError: the bridge refuses, and says why.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bridge:
        bridge.settimeout(seconds * 20 + 60)
        request = OscMessage("/bridge/play", 1, prompt, "duration", seconds, "sound", 0)
        bridge.sendto(request.to_datagram(), ("127.0.0.1", port))
        while True:
            answer = OscMessage.from_datagram(bridge.recv(65535))
            if answer.address == "/fail":
                raise RuntimeError(answer.contents[-1])
            if answer.address == "/done":
                # address, id, stream, reason, seconds, seed, path …
                return str(answer.contents[6])


def play(path: str, seconds: float, port: int) -> None:
    """Boot a server, read the file into a Buffer, and play it to its end and the room's."""
    server = supriya.Server().boot(port=port)
    try:
        with server.at(), server.add_synthdefs(player):
            buffer = server.add_buffer(file_path=path)
        server.sync()
        with server.at():
            server.add_synth(player, buffer=buffer)
        time.sleep(seconds + 2.5)
    finally:
        server.quit()


def main() -> None:
    prompt = sys.argv[1] if len(sys.argv) > 1 else "warm strings"
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 8.0
    port = int(sys.argv[3]) if len(sys.argv) > 3 else 7772
    path = generate(prompt, seconds, port)
    sys.stdout.write(f"{path}\n")
    play(path, seconds, int(sys.argv[4]) if len(sys.argv) > 4 else 57110)


if __name__ == "__main__":
    main()
