"""A lock for what a forked child must not use, and one thread of torch for what it loads itself.

A child that is made by ``fork`` has the memory of its parent and none of its threads. What needs
those (a matrix product on several cores, a lock that one of them holds) waits there for ever.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time

from sphinx_ros.errors import SphinxError, Status

MOMENT = 0.0005
"""Seconds in which a thread that waits for a lock takes it."""


class OwnLock:
    """A re-entrant lock that only the process which made it can take.

    passing: threads that are making a pass of the network it is for; what they wait for in the
    middle of one never comes.

    Raises:
        SphinxError: in a forked child, instead of a wait without end.
    """

    def __init__(self) -> None:
        _prepare_for_forks()
        self._lock, self._owner, self._waiting = threading.RLock(), os.getpid(), 0
        self.passing: set[int] = set()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As ``threading.RLock.acquire``: whether it was taken within ``timeout`` seconds."""
        if os.getpid() != self._owner:
            raise SphinxError(
                f"process {self._owner} loaded this checkpoint, and this is its forked child"
                f" {os.getpid()}, which can't use it: start processes with multiprocessing's"
                " 'spawn', or load the checkpoint in the child as well",
                status=Status.NOT_ACTIVE,
            )
        if self._lock.acquire(blocking=False):
            return True
        if not blocking or timeout == 0:
            return False
        self._waiting += 1  # not exact where threads meet here: a hint for let_others
        try:
            return self._lock.acquire(timeout=timeout)
        finally:
            self._waiting -= 1

    def release(self) -> None:
        """Let others take it."""
        self._lock.release()

    def let_others(self) -> None:
        """Wait a moment if others want it: who takes it again at once would keep it from them."""
        if self._waiting > 0:
            time.sleep(MOMENT)

    def __enter__(self) -> OwnLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@functools.cache
def _prepare_for_forks() -> None:
    """Let forked children compute on one thread, so that they can load a checkpoint again."""
    os.register_at_fork(after_in_child=_one_thread)


def _one_thread() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
