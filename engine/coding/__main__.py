"""``python -m engine.coding``: codec jobs without an engine, as ``daw-bridge codec`` starts it.

Requests come as lines of JSON (``{"type": "codec/encode", …}``) and are carried out in order; events are lines of JSON too:
``codec/progress`` now and then, ``codec/ended`` at the end of each. What is logged goes to the standard error stream.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

import msgspec

from protocols.codec_messages import CodecEnded, CodecProgress, CodecWork, Decode, Encode
from protocols.errors import ErrorCode, RequestError
from protocols.fields import build

if TYPE_CHECKING:
    from engine.coding.work import Work

_PROGRESS_S = 0.1
_KINDS: dict[object, type[Encode] | type[Decode]] = {"codec/encode": Encode, "codec/decode": Decode}

Send = Callable[[CodecProgress | CodecEnded], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the standard input ends; 0."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.coding", description="Carry codec jobs out, without an engine."
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps …")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 for those that PyTorch takes")
    given = parser.parse_args(arguments)
    serve(sys.stdin, sys.stdout, given.device, given.threads)
    return 0


def serve(lines: TextIO, out: TextIO, device: str, threads: int) -> None:
    """Carry out the requests that come as lines, and write what becomes of them."""
    work: Work | None = None

    def send(event: CodecProgress | CodecEnded) -> None:
        out.write(msgspec.json.encode(event).decode() + "\n")
        out.flush()

    for number, line in enumerate(lines, 1):
        try:
            request = _read(line)
            work = work or _make(device, threads)
            send(_carry_out(work, number, request, send))
        except RequestError as error:
            send(_failed(number, error))
        except Exception as error:
            send(_failed(number, RequestError(ErrorCode.INTERNAL, "request", f"{type(error).__name__}: {error}")))


def _read(line: str) -> Encode | Decode:
    try:
        values = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise RequestError(ErrorCode.MALFORMED, "message", str(error), "a request as a line of JSON") from None
    kind = _KINDS.get(values.pop("type", None)) if isinstance(values, dict) else None
    if kind is None:
        raise RequestError(ErrorCode.UNKNOWN_ADDRESS, "type", line, ", ".join(map(str, _KINDS)))
    return build(kind, values)


def _make(device: str, threads: int) -> Work:
    import torch

    from engine.checkpoints.devices import pick_device
    from engine.coding.loading import load_named, loadable_name
    from engine.coding.shelf import Shelf
    from engine.coding.work import Work

    if threads:
        torch.set_num_threads(threads)
    shelf = Shelf(load_named(lambda name: None), pick_device(device), known=loadable_name)
    return Work(shelf, None, None)


def _carry_out(work: Work, number: int, request: Encode | Decode, send: Send) -> CodecEnded:
    told = float("-inf")

    def tell(seconds: float, total: float) -> None:
        nonlocal told
        if time.monotonic() - told > _PROGRESS_S:
            told = time.monotonic()
            kind: CodecWork = "encode" if isinstance(request, Encode) else "decode"
            send(CodecProgress(job=number, work=kind, path=request.path, seconds=seconds, total_seconds=total))

    done = work.encode(request, b"", tell) if isinstance(request, Encode) else work.decode(request, b"", tell)
    return msgspec.structs.replace(done, job=number)


def _failed(number: int, error: RequestError) -> CodecEnded:
    from engine.coding.work import failed

    return failed(number, error)


if __name__ == "__main__":
    sys.exit(main())
