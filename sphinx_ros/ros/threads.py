"""Threads that never end by themselves: started, watched, replaced, awaited. Knows no model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping


class Threads:
    """A thread for each name, which runs the work of that name until it returns."""

    def __init__(self, works: Mapping[str, Callable[[], None]]):
        self._works = dict(works)
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start all of them, once."""
        with self._lock:
            for name in self._works:
                if name not in self._threads:
                    self._start(name)

    def mend(self) -> list[str]:
        """Start those anew that have ended; their names. Before :meth:`start` there are none."""
        with self._lock:
            ended = [name for name, thread in self._threads.items() if not thread.is_alive()]
            for name in ended:
                self._start(name)
        return ended

    def join(self, seconds: float) -> bool:
        """Wait for the end of all of them, so many seconds at most; whether it came."""
        end = time.monotonic() + seconds
        with self._lock:
            threads = list(self._threads.values())
        for thread in threads:
            thread.join(max(end - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in threads)

    def _start(self, name: str) -> None:
        thread = threading.Thread(target=self._works[name], name=name, daemon=True)
        self._threads[name] = thread
        thread.start()
