"""Frames and queries in, outcomes out: one thread that owns the model. Not even rclpy.

Only the newest frame is kept; requests go before standing queries; a query travels with the frame
it was asked about; whatever goes wrong comes out as a named status.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum

from sphinx_ros.errors import BadRequest, Cancelled, SphinxError, Status, TimedOut
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros.asking import Asker, named, times_of
from sphinx_ros.ros.outcomes import Frame, Look, Outcome, Times
from sphinx_ros.ros.waiting import Inbox, Job, Settings

__all__ = ["Job", "Settings", "State", "Worker"]

log = logging.getLogger("sphinx_ros")

# Seconds that a running query gets to come back by itself after its limit, with its partial text,
# before it is given up. Only the encoding of a picture can't be stopped in the middle.
GRACE = 0.3


class State(str, Enum):
    """Where the model stands."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    STOPPED = "stopped"


class Worker:
    """Owns the model and the thread it runs in.

    factory: makes the model, an object with `look(rgb)`. It is called in the worker's thread;
    requests are answered NOT_ACTIVE meanwhile. clock: the node's time in seconds. on_pass: called
    in the worker's thread with (look, outcomes, standing) after each pass of the standing queries
    and after each request that got as far as a picture. max_pending: requests that may wait.
    """

    def __init__(
        self,
        factory: Callable[[], object],
        *,
        clock: Callable[[], float] = time.time,
        on_pass: Callable[[Look, Sequence[Outcome], bool], None] | None = None,
        max_pending: int = 8,
        settings: Settings | None = None,
    ):
        self.inbox = Inbox(max_pending, settings or Settings())
        self.state, self.trouble = State.LOADING, ""
        self.recent: deque[Times] = deque(maxlen=200)  # of answered queries
        self.last_error = ""
        self._factory, self._clock, self._on_pass = factory, clock, on_pass
        self._asker: Asker | None = None
        self._running: Job | None = None
        self._thread = threading.Thread(target=self._run, name="sphinx-worker", daemon=True)

    # For the node's threads

    def start(self) -> None:
        """Begin loading the model, then work."""
        self._thread.start()

    def submit(
        self,
        query: Query,
        frame: Frame | None = None,
        timeout: float = 0.0,
        on_text: Callable[[str], None] | None = None,
    ) -> Job:
        """Queue a request. It always comes back as a job, settled at once where it is refused.

        frame: the request's own picture, None for the newest one. timeout: seconds from now, 0 for
        the default. on_text: called in the worker's thread with the answer so far, token by token.
        """
        usable = math.isfinite(timeout) and timeout >= 0
        limit = timeout if usable and timeout else self.inbox.settings.default_timeout
        job = Job(query, frame, limit, on_text)
        try:
            if not usable:
                raise BadRequest(f"timeout is {timeout} s; it must be 0 or more")
            job.query = query.checked()
            self._admit()
            self.inbox.put(job)
        except SphinxError as error:
            self._settle(job, self._failure(job, error))
        return job

    def result(self, job: Job) -> Outcome:
        """Wait for a job, but no longer than its limit and a short grace: then it is a TIMEOUT."""
        if not job.wait(job.left + GRACE):
            self.withdraw(job, TimedOut("the time limit ran out before the model was done"))
        return job.outcome

    def cancel(self, job: Job) -> None:
        """Withdraw a job: a waiting one ends now, a running one within a token."""
        job.withdrawn = True
        if self.inbox.remove(job):
            self.withdraw(job, Cancelled("the query was cancelled while it waited"))

    def withdraw(self, job: Job, why: SphinxError) -> None:
        """Settle a job now, wherever it is, and let the model drop it."""
        job.withdrawn = True
        self.inbox.remove(job)
        self._settle(job, self._failure(job, why))

    def stop(self, seconds: float = 1.5) -> bool:
        """Cancel everything and end the thread; whether it ended within the seconds."""
        self.state = State.STOPPED
        why = Cancelled("the node is shutting down")
        for job in self.inbox.close():
            self._settle(job, self._failure(job, why))
        if self._thread.is_alive():
            self._thread.join(seconds)
        running = self._running
        if running is not None:  # the picture's encoding takes longer than we may wait
            self._settle(running, self._failure(running, why))
        return not self._thread.is_alive()

    # In the worker's thread

    def _run(self) -> None:
        try:
            self._asker = Asker(self._factory(), self._clock)
        except Exception as error:  # whatever it is, the node must live and say it
            self.trouble = f"{type(error).__name__}: {error}"
            if self.state is State.LOADING:
                self.state = State.FAILED
                log.debug("the model could not be loaded", exc_info=error)
            return
        if self.state is State.LOADING:
            self.state = State.READY
        while self.inbox.wait():
            if not self._serve_waiting():
                self._standing_pass()

    def _serve_waiting(self) -> int:
        """Serve all requests that wait; how many there were."""
        served = 0
        while (job := self.inbox.next_job()) is not None:
            self._running = job
            self._serve(job)
            self._running = None
            served += 1
        return served

    def _serve(self, job: Job) -> None:
        started = time.monotonic()
        try:
            self._check(job)
            look = self._look(job.frame or self.inbox.fresh_frame(self._clock()))
            self._check(job)
        except Exception as error:
            self._settle(job, self._failure(job, error, started))
            return
        outcome = self._answer(job.query, look, job, started)
        self._settle(job, outcome)
        self._report(look, [outcome], standing=False)

    def _standing_pass(self) -> None:
        """All standing queries on the newest frame; requests that come in go between them."""
        due = self.inbox.begin_pass()
        if due is None:  # the request that ended the wait was withdrawn meanwhile
            return
        frame, queries = due
        look, outcomes = self._look(frame), []
        for query in queries:
            self._serve_waiting()
            if self.state is not State.READY or not self.inbox.settings.active:
                return
            job = Job(query, frame, self.inbox.settings.default_timeout)
            outcome = self._answer(query, look, job, job.asked)
            self._settle(job, outcome)
            outcomes.append(outcome)
        self._report(look, outcomes, standing=True)

    def _look(self, frame: Frame) -> Look:
        self.inbox.looked_at(frame)
        return self._asker.look(frame)

    def _answer(self, query: Query, look: Look, job: Job, started: float) -> Outcome:
        outcome = self._asker.answer(
            query,
            look,
            job,
            started,
            stopped=lambda: job.withdrawn or self.state is State.STOPPED,
            max_new_tokens=self.inbox.settings.max_new_tokens,
            dropped=self.inbox.counts["dropped"],
        )
        if outcome.result is not None:
            self.recent.append(outcome.times)
        return outcome

    def _admit(self) -> None:
        """Raise the named error that keeps a request from being queued."""
        if self.state is State.STOPPED:
            raise Cancelled("the node is shutting down")
        problem = ""
        if self.state is State.LOADING:
            problem = "the model is still loading: try again in a moment"
        elif self.state is State.FAILED:
            problem = f"the model could not be loaded: {self.trouble}"
        elif not self.inbox.settings.active:
            problem = "the node is switched off: set its parameter active to true"
        if problem:
            raise SphinxError(problem, status=Status.NOT_ACTIVE)

    def _check(self, job: Job) -> None:
        if self.state is State.STOPPED:
            raise Cancelled("the node is shutting down")
        if job.withdrawn:
            raise Cancelled("the query was cancelled before the model began")
        if not job.left:
            raise TimedOut("the time limit ran out before the model began")

    def _failure(self, job: Job, error: Exception, started: float | None = None) -> Outcome:
        status, text = named(error)
        frame, dropped = job.frame, self.inbox.counts["dropped"]
        times = times_of(frame, job, started or time.monotonic(), self._clock(), dropped)
        header = frame.header if frame is not None else None
        raw = getattr(error, "partial_text", "")
        return Outcome(job.query, status, text, raw_text=raw, header=header, times=times)

    def _settle(self, job: Job, outcome: Outcome) -> None:
        if job.finish(outcome):
            self.inbox.counts[outcome.status.name] += 1
            if outcome.status not in (Status.OK, Status.NOT_FOUND):
                self.last_error = f"{outcome.status.name}: {outcome.text}"

    def _report(self, look: Look, outcomes: Sequence[Outcome], standing: bool) -> None:
        if self._on_pass is None:
            return
        try:
            self._on_pass(look, outcomes, standing)
        except Exception as error:  # publishing must not end the worker
            self.last_error = f"INTERNAL: {type(error).__name__}: {error}"
            if self.state is not State.STOPPED:
                log.error("publishing failed", exc_info=error)
