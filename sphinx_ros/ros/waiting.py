"""What waits for the worker: the newest frame, requests in order, standing queries. No model.

Every method may be called from any thread. A frame that nobody looked at is replaced by the next
one and counted; nothing else is ever lost.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros.outcomes import Frame, Outcome


@dataclass(frozen=True)
class Settings:
    """What may change while the worker runs; replaced as a whole.

    max_image_age: seconds, 0 for no limit. default_timeout: seconds. max_rate: passes of the
    standing queries per second, 0 for no limit. max_new_tokens: 0 leaves it to the task.
    """

    max_image_age: float = 5.0
    default_timeout: float = 30.0
    max_rate: float = 0.0
    max_new_tokens: int = 0
    active: bool = True


class Job:
    """One request on its way: wait for it, or withdraw it. Made by `Worker.submit`."""

    def __init__(
        self,
        query: Query,
        frame: Frame | None,
        limit: float,
        on_text: Callable[[str], None] | None = None,
    ):
        self.query, self.frame, self.on_text = query, frame, on_text
        self.asked = time.monotonic()
        self.deadline = self.asked + limit
        self.withdrawn = False
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

    @property
    def done(self) -> bool:
        return self.outcome is not None

    @property
    def left(self) -> float:
        """Seconds until the limit, 0 when it has passed."""
        return max(self.deadline - time.monotonic(), 0.0)

    def wait(self, seconds: float | None = None) -> bool:
        """Block until the job is settled or the seconds are over; whether it is."""
        return self._done.wait(seconds)


class Inbox:
    """The slot for the newest frame, the line of jobs and the standing queries."""

    def __init__(self, max_pending: int, settings: Settings):
        self.settings = settings
        self.queries: tuple[Query, ...] = ()
        self.counts: Counter[str] = Counter()
        self.newest: Frame | None = None
        self.closed = False
        self._max_pending = max_pending
        self._arrived = -math.inf  # steady clock
        self._unseen = False  # whether nobody has looked at the newest frame
        self._next_pass = -math.inf
        self._jobs: deque[Job] = deque()
        self._wake = threading.Condition()

    def offer(self, frame: Frame) -> None:
        """Keep a frame as the newest one, in place of the one before."""
        with self._wake:
            self.counts["received"] += 1
            self.counts["dropped"] += self._unseen
            self.newest, self._arrived, self._unseen = frame, time.monotonic(), True
            self._wake.notify()

    def looked_at(self, frame: Frame) -> None:
        """Note that a frame was looked at: it does not count as dropped any more."""
        with self._wake:
            self.counts["looked"] += 1
            if frame is self.newest:
                self._unseen = False

    def set_queries(self, queries: Sequence[Query]) -> None:
        """Replace the standing queries. A pass that has begun ends with those it began with."""
        with self._wake:
            self.queries = tuple(queries)
            self._wake.notify()

    def change(self, settings: Settings) -> None:
        """Replace the settings."""
        with self._wake:
            self.settings = settings
            self._wake.notify()

    def put(self, job: Job) -> None:
        """Queue a job. Raises BUSY when max_pending others wait already."""
        with self._wake:
            if len(self._jobs) >= self._max_pending:
                raise SphinxError(
                    f"{len(self._jobs)} queries are waiting; the limit is {self._max_pending}: "
                    "ask less often or raise max_pending",
                    status=Status.BUSY,
                )
            self._jobs.append(job)
            self._wake.notify()

    def remove(self, job: Job) -> bool:
        """Take a job out of the line; whether it was still there."""
        with self._wake:
            if job not in self._jobs:
                return False
            self._jobs.remove(job)
            return True

    def next_job(self) -> Job | None:
        """The job that has waited longest, None when there is none or the inbox is closed."""
        with self._wake:
            return self._jobs.popleft() if self._jobs and not self.closed else None

    def wait(self) -> bool:
        """Block until a job waits or a standing pass is due; False once the inbox is closed."""
        with self._wake:
            while not self.closed and not self._jobs:
                wanted = self.queries and self._unseen and self.settings.active
                pause = self._next_pass - time.monotonic() if wanted else None
                if wanted and pause <= 0:
                    break
                self._wake.wait(pause)
            return not self.closed

    def begin_pass(self) -> tuple[Frame, tuple[Query, ...]] | None:
        """The newest frame with the standing queries of this moment, None if no pass is due."""
        with self._wake:
            if not (self.queries and self._unseen and self.settings.active) or self.closed:
                return None
            if self.settings.max_rate > 0:
                self._next_pass = time.monotonic() + 1 / self.settings.max_rate
            else:
                self._next_pass = -math.inf
            return self.newest, self.queries

    def close(self) -> list[Job]:
        """Let nothing in any more; the jobs that were waiting."""
        with self._wake:
            self.closed = True
            waiting = list(self._jobs)
            self._jobs.clear()
            self._wake.notify_all()
            return waiting

    @property
    def waiting(self) -> int:
        return len(self._jobs)

    @property
    def newest_age(self) -> float:
        """Seconds since the newest frame arrived; infinite before the first."""
        return time.monotonic() - self._arrived

    def fresh_frame(self, now: float) -> Frame:
        """The newest frame. now: seconds of the node's clock. Raises NO_IMAGE or STALE_IMAGE."""
        frame, limit = self.newest, self.settings.max_image_age
        if frame is None:
            raise SphinxError(
                "no camera picture has arrived yet: check the remapping of the topic `image`, "
                "or put a picture into the request",
                status=Status.NO_IMAGE,
            )
        if limit > 0 and self.newest_age > limit:
            raise SphinxError(
                f"the newest picture arrived {self.newest_age:.1f} s ago; the limit is "
                f"{limit:g} s: is the camera still running? (parameter max_image_age)",
                status=Status.STALE_IMAGE,
            )
        if limit > 0 and now - frame.stamp > limit:
            raise SphinxError(
                f"the newest picture is {now - frame.stamp:.1f} s old by its stamp; the limit is "
                f"{limit:g} s: do the clocks agree, is use_sim_time needed? "
                "(parameter max_image_age)",
                status=Status.STALE_IMAGE,
            )
        return frame
