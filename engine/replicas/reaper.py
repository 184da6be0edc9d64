"""Sees to it that nothing of our own Ray outlives the front, however that ends: a small process that waits for its end.

Ray's processes die with whoever began them, but for some that are slow to notice when that was killed. All of them write their logs
into one folder, by which this one knows them: names and environments are overwritten by them. It is started with that folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time

import psutil

_GRACE_S = 1.0
_ROUNDS = 20


class Reaper:
    """The process that waits, and its leash: a pipe that closes with this process.

    Args:
        folder: of Ray's files, which is removed at the end.
    """

    def __init__(self, folder: str) -> None:
        group: dict[str, object] = (
            {"creationflags": 0x00000200} if sys.platform == "win32" else {"start_new_session": True}
        )
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "engine.replicas.reaper", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            **group,  # type: ignore[call-overload]
        )

    def close(self) -> None:
        """All has ended in order; it looks once more and leaves."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S + _ROUNDS * 0.1 + 2)


def end_users(folder: str) -> int:
    """Kill every process of this user that has a file open in a folder; how many there were. Not this one and its parent."""
    inside, found = os.path.realpath(folder) + os.sep, 0
    spared = (os.getpid(), os.getppid())  # the front, where it leaves in order
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid not in spared and any(file.path.startswith(inside) for file in process.open_files()):
                found += 1
                process.kill()
    return found


def main(folder: str) -> None:
    """Wait for the end of the standard input, then end what is left."""
    while os.read(0, 4096):
        pass
    for _ in range(_ROUNDS):  # what is being killed may be starting something at this moment
        if not end_users(folder):
            break
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
