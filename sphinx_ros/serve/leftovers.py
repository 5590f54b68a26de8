"""A process and all that it has started -> none of them left when it has ended, in whatever way.

Ray's processes end with the one that called `ray.init`, but for two agents when that is killed by
SIGKILL (seen with Ray 2.60). A small process watches a pipe that the system closes with ours,
waits for those that end by themselves, and kills the others. Linux alone: it reads /proc.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 10.0
"""Seconds that the others have to end by themselves."""


@contextlib.contextmanager
def watched_descendants(patience: float = PATIENCE) -> Iterator[None]:
    """Those that there are now end after the block, or with this process."""
    words = [f"{pid} {born}" for pid, born in descendants(os.getpid()).items()]
    command = [sys.executable, str(Path(__file__).resolve()), str(patience)]
    # Not in our group, so that Ctrl-C in a terminal does not end it before the others. It is told
    # by standard input, as a list of a large cluster's head is too long for a command line.
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as guard:
        assert guard.stdin is not None
        guard.stdin.write(("\n".join(words) + "\n\n").encode())
        guard.stdin.flush()
        yield  # and closes its input


def descendants(ancestor: int) -> dict[int, int]:
    """The living children of a process and theirs: process id -> its birth, in clock ticks."""
    living = {int(one.name): _life(int(one.name)) for one in Path("/proc").glob("[0-9]*")}
    found: dict[int, int] = {}
    front = {ancestor}
    while front:
        young = {pid: life for pid, life in living.items() if life and life[0] in front}
        front = young.keys() - found.keys()
        found |= {pid: life[1] for pid, life in young.items() if life}
    return found


def _life(pid: int) -> tuple[int, int] | None:
    """A process's parent, and when it was born; None where it is none, or a dead one."""
    try:
        state, *more = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else (int(more[0]), int(more[18]))


def main() -> None:
    """The guard. It reads ids and births, an empty line, and waits for the other end to go."""
    watched = {}
    while line := sys.stdin.readline().strip():
        pid, born = map(int, line.split())
        watched[pid] = born
    sys.stdin.read()
    end = time.monotonic() + float(sys.argv[1])
    while left := [pid for pid in watched if (_life(pid) or (0, None))[1] == watched[pid]]:
        if time.monotonic() > end:
            break
        time.sleep(0.2)
    for pid in left:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
