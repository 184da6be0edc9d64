"""Take a stream from the engine into NumPy as it is made: ``python stream_to_numpy.py ["warm strings" seconds port]``."""

import sys

import msgspec
import numpy as np
import zmq

prompt, seconds, port = sys.argv[1:] or ("warm strings", 4, 7770)
engine = zmq.Context().socket(zmq.DEALER)
engine.connect(f"tcp://127.0.0.1:{port}")


def ask(**request: object) -> None:
    engine.send_multipart([b"Q", msgspec.msgpack.encode([1, request])])


ask(type="hello", protocol=1, client="example")
ask(type="generate", prompt=prompt, duration=float(seconds))
blocks = []
for kind, content, *samples in iter(engine.recv_multipart, None):
    answer = msgspec.msgpack.decode(content)
    if kind == b"A":  # [stream, sequence, position, frames, channels, sample rate, last], then float32 samples
        blocks.append(np.frombuffer(samples[0], "<f4").reshape(answer[3], answer[4]))
        ask(type="acknowledge", stream=answer[0], position=answer[2] + answer[3])
    elif kind == b"E" and answer["type"] == "ended":
        break
print(f"{len(np.concatenate(blocks))} samples, {answer['reason']}")  # noqa: T201
