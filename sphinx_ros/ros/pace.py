"""When passes end -> how long what they show may stay by itself: longer than until the next one.

Markers are replaced by the next pass and taken down when their time is over; their lifetime is for
a node that was killed. A pass of a large model may take minutes, so that no fixed number will do.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

SHORTEST, LONGEST = 10.0, 3600.0
"""Seconds: the range of lifetimes."""

FIRST = 60.0
"""Seconds after the first pass, when nobody knows when the next one ends."""

TIMES = 3.0
"""A lifetime as a multiple of the longest time between the last passes."""

KEPT = 3
"""Times between passes that are kept."""


class Pace:
    """Measures the time between passes. clock: seconds of the node, which may be simulated.

    rviz may follow either clock, so the longer time counts.
    """

    def __init__(self, clock: Callable[[], float]):
        self._clocks = (time.monotonic, clock)
        self._last: list[float] | None = None
        self._gaps: deque[float] = deque(maxlen=KEPT)

    def lifetime(self, took: float = 0.0) -> float:
        """Seconds that what a pass shows, which ends now, may stay. took: seconds of the pass."""
        now = [clock() for clock in self._clocks]
        if self._last is not None:
            gaps = [one - other for one, other in zip(now, self._last, strict=True)]
            self._gaps.append(max(gaps))
        self._last = now
        usual = TIMES * max(self._gaps) if self._gaps else FIRST
        return min(max(usual, TIMES * took, SHORTEST), LONGEST)

    def rest(self) -> None:
        """Forget the last pass: the time until the next one is no time between passes."""
        self._last = None
