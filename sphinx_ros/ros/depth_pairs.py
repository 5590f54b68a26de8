"""Depth messages -> the one that belongs to a picture, by their stamps.

A picture claims its depth when it arrives; the claim holds the message that is nearest in time and
takes a nearer one that comes later. So a model that thinks for seconds finds the depth of the
moment, though only a few of the newest messages are kept. Nothing is decoded here.
Knows no message: whatever was offered is handed back.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections import deque
from typing import Any

import numpy as np

KEPT = 8
"""Messages that are kept for pictures which arrive after their depth."""

MOST_APART = 0.05
"""Seconds that a picture and its depth may be apart at most, whatever the rate."""

LOOPED = 1.0
"""Seconds by which stamps jump back where a recording begins again."""

ALIVE = 1.0
"""Seconds after its last message in which depth is waited for."""


class Claim:
    """What a picture has of depth. Any thread may call. stamp: of the picture, seconds."""

    def __init__(self, stamp: float):
        self.stamp = stamp
        self._changed = threading.Condition()
        self._best: tuple[float, Any] = (math.inf, None)  # seconds apart, message
        self._settled = math.isnan(stamp)  # no better one will come
        self._counted = False

    def consider(self, message: Any, stamp: float, reach: float) -> None:
        """Take a message if it is nearer than what there is. reach: seconds it may be apart."""
        apart = abs(stamp - self.stamp)
        with self._changed:
            if apart < self._best[0] and apart <= reach:
                self._best = (apart, message)
            if stamp >= self.stamp:
                self._settled = True
            self._changed.notify_all()

    def first_use(self) -> bool:
        """Whether nobody has called this before: several answers are about one picture."""
        with self._changed:
            first, self._counted = not self._counted, True
            return first

    def message(self, wait: float = 0.0) -> Any:
        """The depth message, None where there is none. wait: seconds for one that may come."""
        with self._changed:
            self._changed.wait_for(lambda: self._settled, wait)
            return self._best[1]


class DepthPairs:
    """The newest depth messages and the claims on them. Any thread may call.

    Pairing: the same stamp, else the nearest within half the period of the depth messages and
    :data:`MOST_APART`, else none. Stamps are seconds; NaN (a driver without a clock) pairs with
    nothing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[tuple[float, Any]] = deque(maxlen=KEPT)
        self._claims: weakref.WeakSet[Claim] = weakref.WeakSet()
        self._heard = -math.inf

    def offer(self, message: Any, stamp: float) -> None:
        """A message has arrived."""
        with self._lock:
            self._heard = time.monotonic()
            if math.isnan(stamp):
                return
            if self._kept and stamp < self._kept[-1][0] - LOOPED:
                self._kept.clear()
            self._kept.append((stamp, message))
            reach, claims = self._reach(), list(self._claims)
        for claim in claims:
            claim.consider(message, stamp, reach)

    def claim(self, stamp: float) -> Claim:
        """What belongs to a picture, also if it comes later; kept as long as the claim is."""
        claim = Claim(stamp)
        with self._lock:
            self._claims.add(claim)
            reach, kept = self._reach(), list(self._kept)
        for at, message in kept:
            claim.consider(message, at, reach)
        return claim

    @property
    def alive(self) -> bool:
        """Whether a message came in the last :data:`ALIVE` seconds, so that more will."""
        return time.monotonic() - self._heard < ALIVE

    @property
    def patience(self) -> float:
        """Seconds that are worth waiting for the depth of a picture; 0 where none comes."""
        return MOST_APART if self.alive else 0.0

    def _reach(self) -> float:
        gaps = np.diff(sorted(stamp for stamp, _ in self._kept))
        period = float(np.median(gaps)) if len(gaps) else math.inf
        return min(period / 2, MOST_APART)
