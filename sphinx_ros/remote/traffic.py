"""Requests to a server -> what went there and how long it took, for diagnostics."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator

LAST = 256
"""Times that are kept, the last ones."""


class Traffic:
    """What went over one link. Any thread may count.

    Attributes:
        requests, nbytes: that were sent, and their bodies' bytes. uploads: pictures among them.
    """

    def __init__(self) -> None:
        self.requests = self.nbytes = self.uploads = 0
        self._pings: deque[float] = deque(maxlen=LAST)
        self._answers: deque[float] = deque(maxlen=LAST)
        self._lock = threading.Lock()

    def sent(self, nbytes: int) -> None:
        """Count a request."""
        with self._lock:
            self.requests += 1
            self.nbytes += nbytes

    def uploaded(self) -> None:
        """Count a picture."""
        with self._lock:
            self.uploads += 1

    @contextlib.contextmanager
    def ping(self) -> Iterator[None]:
        """Time a block that asks for nothing, if it succeeds."""
        begun = time.monotonic()
        yield
        self._pings.append(1e3 * (time.monotonic() - begun))

    @contextlib.contextmanager
    def answer(self) -> Iterator[None]:
        """Time a block that asks, if it succeeds."""
        begun = time.monotonic()
        yield
        self._answers.append(1e3 * (time.monotonic() - begun))

    def facts(self) -> dict[str, str]:
        """All of it in words, by name."""
        said = {
            "uploads": str(self.uploads),
            "requests": str(self.requests),
            "sent": f"{self.nbytes / 1e6:.2f} MB",
        }
        for name, times in (("round trip", self._pings), ("answer", self._answers)):
            if numbers := sorted(times.copy()):
                middle, high = numbers[len(numbers) // 2], numbers[int(0.95 * len(numbers))]
                said[f"{name} p50 / p95"] = f"{middle:.1f} / {high:.1f} ms"
        return said
