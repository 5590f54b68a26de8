"""What waits for the worker: the newest frame, requests, standing queries; and who goes next.

Requests are taken in their order by whichever thread is free. A pass of the standing queries that
is due lets those requests go first that were there when it came due, until their questions have
been put; later ones join it. So requests do not wait for a pass, and no flood of them starves it.

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
from sphinx_ros.ros.job import Job
from sphinx_ros.ros.outcomes import Frame
from sphinx_ros.ros.params import Config

LONGEST_PAUSE = 3600.0
"""Seconds of one wait at most: clocks and locks take no arbitrary number."""


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
        self._passed = True  # whether it is not to be asked the standing queries any more
        self._arrived = self._last_pass = -math.inf  # steady clock
        self._line: deque[Job] = deque()  # requests that wait for a thread
        self._in_hand: set[Job] = set()  # those and the ones that threads work on
        self._ahead: set[Job] | None = None  # that go before the pass that is due; None: none is
        self._nudged = False
        self._lock = threading.Lock()
        self._request_came = threading.Condition(self._lock)
        self._news = threading.Condition(self._lock)  # for who makes the passes

    def offer(self, frame: Frame) -> None:
        """Keep a frame as the newest one, in place of the one before."""
        with self._lock:
            self.counts.add("received")
            if self._unseen:
                self.counts.add("dropped")
            self.newest, self._arrived = frame, time.monotonic()
            self._unseen, self._passed = True, False
            self._news.notify_all()

    def seen(self, frame: Frame) -> None:
        """Note that a frame was looked at: it does not count as dropped any more.

        Standing queries that come later begin with the next frame.
        """
        with self._lock:
            if frame is self.newest:
                self._unseen = False
                self._passed = self._passed or not self.queries

    def change(self, config: Config) -> None:
        """Replace the parameters, standing queries among them; what waits follows them at once.

        A pass that has begun ends with the queries that it began with.
        """
        queries = read_queries(config.queries)
        with self._lock:
            self.config, self.queries = config, queries
            self._news.notify_all()

    def nudge(self) -> None:
        """Let the worker look around, though nothing has come in."""
        with self._lock:
            self._nudged = True
            self._news.notify_all()

    # Requests

    def put(self, job: Job) -> None:
        """Queue a job. Raises BUSY beyond max_pending and one under way, CANCELLED once closed."""
        with self._lock:
            if self.closed:
                raise Cancelled("the node is shutting down")
            most = self.config.max_pending + 1
            under_way = sum(not job.done for job in self._in_hand)
            if under_way >= most:
                raise SphinxError(
                    f"{under_way} queries are waiting or being answered; the limit is {most}: "
                    "ask less often or raise max_pending",
                    status=Status.BUSY,
                )
            self._line.append(job)
            self._in_hand.add(job)
            self._request_came.notify()

    def take(self) -> Job | None:
        """The job that has waited longest, as soon as there is one; None once all is closed.

        Who takes it calls :meth:`put_to_model` and, whatever happens, :meth:`let_go`.
        """
        with self._lock:
            while not (self._line or self.closed):
                self._request_came.wait()
            if self.closed:
                return None
            job = self._line.popleft()
            job.taken = time.monotonic()
            return job

    def put_to_model(self, job: Job) -> None:
        """Note that the model is being asked a job's query: no pass waits for it any more."""
        with self._lock:
            job.begun = True
            self._news.notify_all()

    def let_go(self, job: Job) -> None:
        """Note that nobody works on a job any more."""
        with self._lock:
            self._in_hand.discard(job)
            self._news.notify_all()

    def remove(self, job: Job) -> None:
        """Take a job that was settled out of the line, if it is still there."""
        with self._lock:
            if job in self._line:
                self._line.remove(job)
                self._in_hand.discard(job)
            self._news.notify_all()

    # Passes of the standing queries

    def wait(self, passes: bool = True) -> bool:
        """Block until a standing pass may begin, or a nudge; False once closed.

        passes: False waits for a nudge alone.
        """
        with self._lock:
            while not (self.closed or self._nudged):
                pause = self._until_pass() if passes else None
                if pause is not None and pause <= 0:
                    break
                self._news.wait(None if pause is None else min(pause, LONGEST_PAUSE))
            self._nudged = False
            return not self.closed

    def begin_pass(self) -> tuple[Frame, tuple[Query, ...]] | None:
        """The newest frame with the standing queries of this moment; None: no pass may begin."""
        with self._lock:
            pause = self._until_pass()
            if self.closed or self.newest is None or pause is None or pause > 0:
                return None
            self._last_pass, self._passed, self._ahead = time.monotonic(), True, None
            return self.newest, self.queries

    def _until_pass(self) -> float | None:
        """Seconds until the next standing pass may begin; None: until there is news."""
        if self._passed or not (self.queries and self.config.active):
            self._ahead = None
            return None
        rate = self.config.max_rate
        interval = min(1 / rate, MAX_SECONDS) if rate > 0 else 0.0  # 1 / 5e-324 is infinite
        pause = self._last_pass + interval - time.monotonic()
        if pause > 0:
            self._ahead = None
            return pause
        not_begun = {job for job in self._in_hand if not (job.begun or job.done)}
        self._ahead = not_begun if self._ahead is None else self._ahead & not_begun
        return None if self._ahead else 0.0

    def close(self) -> list[Job]:
        """Let nothing in any more; the jobs that were waiting."""
        with self._lock:
            self.closed = True
            waiting = list(self._line)
            self._in_hand.difference_update(waiting)
            self._line.clear()
            self._request_came.notify_all()
            self._news.notify_all()
            return waiting

    # What others ask

    @property
    def waiting(self) -> int:
        """How many jobs wait for a thread."""
        return len(self._line)

    @property
    def in_hand(self) -> list[Job]:
        """The jobs that wait or are worked on."""
        with self._lock:
            return list(self._in_hand)

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
