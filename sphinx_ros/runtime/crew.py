"""Child processes that are watched from their start, and all end with the first that ends.

    Crew([work, work])  ->  a process for each: python -c "...; follower.main(...)"

A thread starts them and waits for what they say and for their ends, so that a lost one is noticed
at once, also while nobody asks. Imports no torch; knows no network.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe, spawn
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from sphinx_ros.errors import SphinxError, Status

REMEDY = "load the checkpoint again"


@dataclass(frozen=True)
class Loss:
    """Why a crew is no more. kind: the class of error that says so."""

    text: str
    status: Status = Status.NOT_ACTIVE
    kind: type[SphinxError] = SphinxError

    def error(self) -> SphinxError:
        """A new error, to be raised."""
        return self.kind(self.text, status=self.status)


CLOSED = Loss(f"the network was closed; {REMEDY}")


class Crew:
    """One child process for each piece of work, numbered from 1.

    Args:
        works: what each child's :func:`~sphinx_ros.runtime.follower.main` is given to do; must be
            importable there. Empty: no process, and nothing to watch.
        names: what each child is called in errors.
        on_end: called once, when the crew has ended in whatever way; from any thread.

    Attributes:
        loss: why it has ended, or None.
    """

    def __init__(self, works: Sequence[Any], names: Sequence[str], on_end: Callable[[], None]):
        self.loss: Loss | None = None
        self._names, self._on_end, self._owner = names, on_end, os.getpid()
        self._payloads = [pickle.dumps(work) for work in works]
        self._processes: list[subprocess.Popen] = []
        self._said: list[list[object]] = [[] for _ in works]
        self._changed = threading.Condition()
        atexit.register(self.end)
        if works:
            # Linux ends the children with the thread that started them: this one stays.
            threading.Thread(target=self._watch, name="sphinx-crew", daemon=True).start()

    @property
    def is_own(self) -> bool:
        """Whether this process made it, and is not a forked child of that one."""
        return os.getpid() == self._owner

    def __len__(self) -> int:
        return len(self._payloads)

    def wait_for(self, word: str) -> None:
        """Wait until every child has said this word.

        Raises:
            SphinxError: one has ended instead, or all were ended.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self.loss is not None or all(word in said for said in self._said)
            )
        if self.loss is not None:
            raise self.loss.error()

    def verdict(self, seconds: float) -> Loss | None:
        """Why it has ended; waits for that as long as given."""
        with self._changed:
            self._changed.wait_for(lambda: self.loss is not None, seconds)
        return self.loss

    def end(self, why: Loss = CLOSED) -> None:
        """Kill the children: they own nothing that would have to be put in order."""
        if not self.is_own:
            return
        with self._changed:
            first = self.loss is None
            if first:
                self.loss = why
            for process in self._processes:
                process.kill()
            self._changed.notify_all()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):  # until a driver lets go
                process.wait(5)
        if first:
            atexit.unregister(self.end)
            self._on_end()

    # In the watching thread

    def _watch(self) -> None:
        lines: dict[Connection, int] = {}
        for number, payload in enumerate(self._payloads):
            try:
                line = self._start()
            except OSError as error:
                self.end(Loss(f"{self._names[number]} could not be started: {error}"))
                return
            if line is None:
                return
            lines[line] = number
            with contextlib.suppress(OSError):  # it has ended already, which is seen below
                line.send_bytes(payload)
        while self.loss is None:
            for ready in wait(list(lines)):
                line = cast("Connection", ready)
                number = lines[line]
                try:
                    said = line.recv()
                except (EOFError, OSError):
                    self.end(self._why(number))
                    return
                with self._changed:
                    self._said[number].append(said)
                    self._changed.notify_all()

    def _start(self) -> Connection | None:
        """Start one child; the connection to it, or None when the crew has ended meanwhile."""
        ours, theirs = Pipe()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from sphinx_ros.runtime.follower import "
            f"main; main({os.getpid()}, {theirs.fileno()})"
        )
        with self._changed, theirs:
            if self.loss is not None:
                return None
            process = subprocess.Popen(
                [os.fsdecode(spawn.get_executable()), "-c", code],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # what a terminal sends is for the leader alone
                env={"TORCH_CPP_LOG_LEVEL": "ERROR", **os.environ},
            )
            self._processes.append(process)
        return ours

    def _why(self, number: int) -> Loss:
        """What became of a child that has closed its connection."""
        name = self._names[number]
        for said in self._said[number]:
            if isinstance(said, Loss):
                return Loss(f"{name}: {said.text}", said.status, said.kind)
        try:
            code = self._processes[number].wait(1)
        except subprocess.TimeoutExpired:
            return Loss(f"{name} does not answer any more; {REMEDY}")
        if code == -signal.SIGKILL:
            return Loss(f"{name} was killed, as Linux does when memory runs out; {REMEDY}")
        how = f"ended with code {code}" if code >= 0 else f"was ended by signal {-code}"
        return Loss(f"{name} {how}; {REMEDY}")
