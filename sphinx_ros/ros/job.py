"""One query on its way to its outcome, for who asked and for who answers. Knows no model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros.outcomes import Frame, Outcome


class Job:
    """A query, its picture, its time limit and, in the end, its outcome.

    query, frame: what is asked of which picture; frame None: of the newest. limit: seconds from
    now. on_text: called with the answer so far, on_found with each finished box and point, both in
    whichever thread computes. camera: whose newest picture, "" for the only one.

    Attributes:
        asked, deadline: by the steady clock. taken: when a thread took it; None before.
        stepped: when the work on it last went on.
        begun: whether the model is being asked, or was.
        withdrawn: whether nobody waits for it any more. outcome: None until it is settled.
    """

    def __init__(
        self,
        query: Query,
        frame: Frame | None,
        limit: float,
        on_text: Callable[[str], None] | None = None,
        on_found: Callable[[Any], None] | None = None,
        camera: str = "",
    ):
        self.camera = camera
        self.query, self.frame = query, frame
        self.on_text, self.on_found = on_text, on_found
        self.asked = time.monotonic()
        self.deadline = self.asked + limit
        self.taken: float | None = None
        self.stepped = self.asked
        self.begun = self.withdrawn = False
        self.outcome: Outcome | None = None
        self._lock, self._done = threading.Lock(), threading.Event()

    def finish(self, outcome: Outcome) -> bool:
        """Settle the job. Only the first outcome counts; whether this was it."""
        with self._lock:
            if self.outcome is not None:
                return False
            self.outcome = outcome
        self._done.set()
        return True

    def take(self) -> None:
        """Note that a thread works on it now."""
        self.taken = self.stepped = time.monotonic()

    def step(self) -> None:
        """Note that the work on it goes on."""
        self.stepped = time.monotonic()

    @property
    def done(self) -> bool:
        """Whether it is settled."""
        return self.outcome is not None

    @property
    def left(self) -> float:
        """Seconds until the limit, 0 when it has passed."""
        return max(self.deadline - time.monotonic(), 0.0)

    def wait(self, seconds: float | None = None) -> bool:
        """Block until the job is settled or the seconds are over; whether it is."""
        return self._done.wait(seconds)
