"""What waits for the worker: the newest frame, requests in order, standing queries.

Every method may be called from any thread. A frame that nobody looked at is replaced by the next
one and counted; nothing else is ever lost.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

from sphinx_ros.errors import Cancelled, SphinxError, Status
from sphinx_ros.prompt.checks import MAX_SECONDS
from sphinx_ros.prompt.queries import Query, read_queries
from sphinx_ros.ros.counts import Counts
from sphinx_ros.ros.outcomes import Frame, Outcome
from sphinx_ros.ros.params import Config

LONGEST_PAUSE = 3600.0
"""Seconds of one wait at most: clocks and locks take no arbitrary number."""


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
        """Whether it is settled."""
        return self.outcome is not None

    @property
    def left(self) -> float:
        """Seconds until the limit, 0 when it has passed."""
        return max(self.deadline - time.monotonic(), 0.0)

    def wait(self, seconds: float | None = None) -> bool:
        """Block until the job is settled or the seconds are over; whether it is."""
        return self._done.wait(seconds)


class Inbox:
    """The slot for the newest frame, the line of jobs and the standing queries.

    about_source: says where pictures should come from, for the message of NO_IMAGE.
    """

    def __init__(
        self, config: Config, counts: Counts, about_source: Callable[[], str] = lambda: ""
    ):
        self.config, self.counts, self.about_source = config, counts, about_source
        self.queries: tuple[Query, ...] = read_queries(config.queries)
        self.newest: Frame | None = None
        self.closed = False
        self._unseen = False  # whether nobody has looked at the newest frame
        self._arrived = self._last_pass = -math.inf  # steady clock
        self._jobs: deque[Job] = deque()
        self._nudged = False
        self._wake = threading.Condition()

    def offer(self, frame: Frame) -> None:
        """Keep a frame as the newest one, in place of the one before."""
        with self._wake:
            self.counts.add("received")
            if self._unseen:
                self.counts.add("dropped")
            self.newest, self._unseen, self._arrived = frame, True, time.monotonic()
            self._wake.notify()

    def seen(self, frame: Frame) -> None:
        """Note that a frame was looked at: it does not count as dropped any more."""
        with self._wake:
            if frame is self.newest:
                self._unseen = False

    def change(self, config: Config) -> None:
        """Replace the parameters, standing queries among them; what waits follows them at once.

        A pass that has begun ends with the queries that it began with.
        """
        queries = read_queries(config.queries)
        with self._wake:
            self.config, self.queries = config, queries
            self._wake.notify_all()

    def nudge(self) -> None:
        """Let the worker look around, though nothing has come in."""
        with self._wake:
            self._nudged = True
            self._wake.notify_all()

    def put(self, job: Job) -> None:
        """Queue a job. Raises BUSY when max_pending others wait, CANCELLED once closed."""
        with self._wake:
            if self.closed:
                raise Cancelled("the node is shutting down")
            most = self.config.max_pending
            if len(self._jobs) >= most:
                raise SphinxError(
                    f"{len(self._jobs)} queries are waiting; the limit is {most}: "
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
        """The job that has waited longest, None when there is none or all is closed."""
        with self._wake:
            return self._jobs.popleft() if self._jobs and not self.closed else None

    def wait(self) -> bool:
        """Block until there is something to do, or a nudge; False once closed."""
        with self._wake:
            while not (self.closed or self._jobs or self._nudged):
                pause = self._until_pass()
                if pause is not None and pause <= 0:
                    break
                self._wake.wait(None if pause is None else min(pause, LONGEST_PAUSE))
            self._nudged = False
            return not self.closed

    def begin_pass(self) -> tuple[Frame, tuple[Query, ...]] | None:
        """The newest frame with the standing queries of this moment, None if no pass is due."""
        with self._wake:
            pause = self._until_pass()
            if self.closed or self.newest is None or pause is None or pause > 0:
                return None
            self._last_pass = time.monotonic()
            return self.newest, self.queries

    def _until_pass(self) -> float | None:
        """Seconds until the next standing pass is due, by today's rate; None: nothing to do."""
        if not (self.queries and self._unseen and self.config.active):
            return None
        rate = self.config.max_rate
        interval = min(1 / rate, MAX_SECONDS) if rate > 0 else 0.0  # 1 / 5e-324 is infinite
        return self._last_pass + interval - time.monotonic()

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
        """How many jobs wait."""
        return len(self._jobs)

    def age(self, now: float) -> float:
        """Seconds since the newest frame arrived; infinite before it. now: the node's clock.

        By the node's clock, which a simulation may stop or slow, or by a steady one, which no
        correction of the time makes jump: what says less.
        """
        frame = self.newest
        if frame is None:
            return math.inf
        return min(now - frame.received, time.monotonic() - self._arrived)

    def fresh_frame(self, now: float) -> Frame:
        """The newest frame. now: seconds of the node's clock. Raises NO_IMAGE or STALE_IMAGE."""
        frame, limit = self.newest, self.config.max_image_age
        if frame is None:
            raise SphinxError(
                f"no camera picture has arrived yet{self.about_source()}: check the remapping of "
                "the topic `image`, or put a picture into the request",
                status=Status.NO_IMAGE,
            )
        arrived = self.age(now)
        if 0 < limit < arrived:
            raise SphinxError(
                f"the newest picture arrived {arrived:.1f} s ago{self.about_source()}; the limit "
                f"is {limit:g} s: is the camera still running? (parameter max_image_age)",
                status=Status.STALE_IMAGE,
            )
        if 0 < limit < now - frame.stamp:
            raise SphinxError(
                f"the newest picture is {now - frame.stamp:.1f} s old by its stamp; the limit is "
                f"{limit:g} s: do the clocks agree, is use_sim_time needed? "
                "(parameter max_image_age)",
                status=Status.STALE_IMAGE,
            )
        return frame
