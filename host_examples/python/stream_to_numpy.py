"""Take a stream from the engine into NumPy as it is made: ``python stream_to_numpy.py "warm strings" [seconds] [port]``."""

import sys

import msgspec
import numpy as np
import zmq

prompt = sys.argv[1] if len(sys.argv) > 1 else "warm strings"
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 4.0
port = int(sys.argv[3]) if len(sys.argv) > 3 else 7770

engine = zmq.Context().socket(zmq.DEALER)
engine.connect(f"tcp://127.0.0.1:{port}")


def ask(number: int, **request: object) -> None:
    engine.send_multipart([b"Q", msgspec.msgpack.encode([number, request])])


ask(1, type="hello", protocol=1, client="example")
ask(2, type="generate", prompt=prompt, duration=seconds)
blocks = []
while True:
    kind, content, *samples = engine.recv_multipart()
    answer = msgspec.msgpack.decode(content)
    if kind == b"A":  # [stream, sequence, position, frames, channels, sample rate, last], then float32 samples
        blocks.append(np.frombuffer(samples[0], "<f4").reshape(answer[3], answer[4]))
        ask(3, type="acknowledge", stream=answer[0], position=answer[2] + answer[3])
        print(f"{answer[2] / answer[5]:6.2f} s  peak {np.abs(blocks[-1]).max(initial=0):.2f}")  # noqa: T201
    elif kind == b"E" and answer["type"] == "ended":
        break
audio = np.concatenate(blocks)
print(f"{len(audio)} samples, {answer['reason']}")  # noqa: T201
