"""Jobs -> their results, by fresh processes that end with the block. Imports no torch.

with Workers(4, prepare, ("demo",)) as workers:
    for made in workers.map(work, jobs): ...
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.runtime.lifeline import end_with_parent


class Workers:
    """Processes that share jobs; used as a statement. Leaving it by an error kills them.

    Args:
        count: number of processes.
        prepare: called once in each with ``given``, before its first job; both as well as jobs
            and results are pickled.
        remedy: what to do when a process is lost, for the error.
    """

    def __init__(
        self,
        count: int,
        prepare: Callable[..., None],
        given: tuple = (),
        remedy: str = "use fewer processes",
    ):
        self._count, self._remedy = count, remedy
        self._before = set(multiprocessing.active_children())
        # fresh interpreters: torch's threads and an OpenGL context do not survive a fork
        self._pool = ProcessPoolExecutor(
            count,
            multiprocessing.get_context("spawn"),
            _begin,
            (os.getpid(), prepare, given),
        )

    def map(self, work: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        """The results in the order of the jobs, each as soon as it is there.

        Raises:
            SphinxError: a process has ended, or could not be prepared. Others: what ``work``
                raised.
        """
        try:
            yield from self._pool.map(work, jobs)
        except BrokenProcessPool as error:
            raise SphinxError(
                f"one of {self._count} processes has ended before its work was done, as when "
                f"Linux kills it because memory runs out; {self._remedy}",
                status=Status.NOT_ACTIVE,
            ) from error

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is not None:  # what they do now is of no use
            for process in set(multiprocessing.active_children()) - self._before:
                process.kill()
        self._pool.shutdown(cancel_futures=True)


def _begin(parent: int, prepare: Callable[..., None], given: tuple) -> None:
    """What a new process does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    end_with_parent(parent)
    prepare(*given)
