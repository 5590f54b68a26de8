"""Counters and the last times, as the node's threads and the worker keep them together."""

from __future__ import annotations

import threading
from collections import Counter, deque

from sphinx_ros.ros.outcomes import Times


class Counts:
    """Counts by name. Every method may be called from any thread.

    Names: "received" pictures; of these "late" and "repeated" ones, which are left out; "dropped"
    before anybody looked; "looked" at by the model; "reused"
    where a picture showed nothing new and got the last answers; outcomes by the names of their
    statuses.
    """

    def __init__(self, whole: Counts | None = None) -> None:
        """whole: what is counted here is counted there as well."""
        self._whole = whole
        self._lock = threading.Lock()
        self._numbers: Counter[str] = Counter()
        self._recent: deque[Times] = deque(maxlen=200)

    def add(self, name: str, times: int = 1) -> None:
        """Count something."""
        with self._lock:
            self._numbers[name] += times
        if self._whole is not None:
            self._whole.add(name, times)

    def __getitem__(self, name: str) -> int:
        with self._lock:
            return self._numbers[name]

    def keep(self, times: Times) -> None:
        """Keep the times of an answered query."""
        with self._lock:
            self._recent.append(times)

    @property
    def recent(self) -> list[Times]:
        """The times of the last answered queries, at most 200."""
        with self._lock:
            return list(self._recent)
