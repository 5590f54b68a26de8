"""Frames and queries in, outcomes out: one thread that owns the model. Not even rclpy.

Only the newest frame is kept; requests go before standing queries; a query travels with the frame
it was asked about; whatever goes wrong comes out as a named status. A model that is lost is loaded
anew.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from sphinx_ros.errors import Cancelled, SphinxError, Status, TimedOut
from sphinx_ros.prompt.checks import checked_seconds
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros.asking import Asker
from sphinx_ros.ros.counts import Counts
from sphinx_ros.ros.outcomes import Frame, Look, Outcome
from sphinx_ros.ros.params import Config
from sphinx_ros.ros.settling import OnPass, Settling
from sphinx_ros.ros.state import Lifetime, State
from sphinx_ros.ros.waiting import Inbox, Job

__all__ = ["Job", "State", "Worker"]

log = logging.getLogger("sphinx_ros")

# Seconds that a running query gets to come back by itself after its limit, with its partial text,
# before it is given up. Only the encoding of a picture can't be stopped in the middle.
GRACE = 0.3


class Worker:
    """Owns the model and the thread it runs in.

    factory: makes the model, an object with `look(rgb)`. It is called in the worker's thread;
    requests are answered NOT_ACTIVE meanwhile. clock: the node's time in seconds. on_pass: called
    in the worker's thread with (look, outcomes, standing) after each pass of the standing queries
    and after each request that got as far as a picture. config: the parameters at the start.
    """

    def __init__(
        self,
        factory: Callable[[], object],
        *,
        clock: Callable[[], float] = time.time,
        on_pass: OnPass | None = None,
        config: Config | None = None,
        about_source: Callable[[], str] = lambda: "",
    ):
        self.counts = Counts()
        self.inbox = Inbox(config or Config(), self.counts, about_source)
        self.life = Lifetime(factory)
        self._clock, self._ending = clock, Settling(self.counts, self.life, clock, on_pass)
        self._asker: Asker | None = None
        self._running: Job | None = None
        self._thread = self._new_thread()

    # For the node's threads

    @property
    def state(self) -> State:
        """Where the model stands."""
        return self.life.state

    @property
    def trouble(self) -> str:
        """Why the model is not there; "" where it is."""
        return self.life.trouble

    @property
    def last_error(self) -> str:
        """The last thing that went wrong; "" where nothing did."""
        return self._ending.last_error

    @property
    def device(self) -> str:
        """Where the weights are, "" before they are loaded."""
        asker = self._asker
        return "" if asker is None else str(getattr(asker.model, "device", ""))

    def start(self) -> None:
        """Begin loading the model, then work."""
        self._thread.start()

    def watch(self) -> None:
        """Notice what is lost; to be called a few times a second.

        A model whose processes are gone is loaded anew by the worker's thread, and a thread that
        ended is replaced.
        """
        if self.state is State.STOPPED:
            return
        if self.life.lost(self._asker):
            self.inbox.nudge()
        if self._thread.ident is not None and not self._thread.is_alive():
            log.error("the worker's thread has ended; starting another")
            self._abandon(SphinxError("the worker ended", status=Status.INTERNAL))
            self._thread = self._new_thread()
            self._thread.start()

    def unaskable(self, queries: Iterable[Query]) -> str:
        """Why the model can't be asked some standing queries; "" where it can, or is not there."""
        asker = self._asker
        return "" if asker is None else "; ".join(asker.unaskable(queries))

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
        job = Job(query, frame, self.inbox.config.default_timeout, on_text)
        try:
            if timeout != 0:
                job.deadline = job.asked + checked_seconds(timeout)
            job.query = query.checked()
            asker = self._asker
            self.life.check(self.inbox.config.active)
            if asker is None:
                raise SphinxError("the model is being loaded anew", status=Status.NOT_ACTIVE)
            job.query = asker.check(query)
            self.inbox.put(job)
        except Exception as error:
            self._ending.fail(job, error)
        return job

    def result(self, job: Job) -> Outcome:
        """Wait for a job, but no longer than its limit and a short grace: then it is a TIMEOUT."""
        if not job.wait(job.left + GRACE):
            self.withdraw(job, TimedOut("the time limit ran out before the model was done"))
        assert job.outcome is not None
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
        self._ending.fail(job, why)

    def stop(self, seconds: float = 1.5) -> bool:
        """Cancel everything and end the thread; whether it ended within the seconds."""
        self.life.stop()
        why = Cancelled("the node is shutting down")
        for job in self.inbox.close():
            self._ending.fail(job, why)
        if self._thread.is_alive():
            self._thread.join(seconds)
        self._abandon(why)  # the picture's encoding takes longer than we may wait
        if self._asker is not None:
            self.life.close(self._asker.model)
        return not self._thread.is_alive()

    # In the worker's thread

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._run, name="sphinx-worker", daemon=True)

    def _run(self) -> None:
        while self.state is not State.STOPPED:
            if self.life.wanted:
                self._load()
            if not self.inbox.wait():
                return
            try:
                if self._asker is not None and not self._serve_waiting():
                    self._standing_pass()
            except Exception as error:  # a defect here must not leave the robot blind
                self._ending.defect(error, "the worker failed")
                self._abandon(error)
                time.sleep(0.01)  # a defect that repeats must not take the whole processor

    def _load(self) -> None:
        if self._asker is not None:
            self.life.close(self._asker.model)
        self._asker = None
        model = self.life.load()
        if model is None:
            return
        self._asker = asker = Asker(model, self._clock, self.counts)
        asker.mind(self.inbox.queries)
        if self.state is State.STOPPED:  # meanwhile; nobody else will
            self.life.close(model)

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
            self._ending.check(job)
            look = self._look(job.frame or self.inbox.fresh_frame(self._clock()))
            self._ending.check(job)
        except Exception as error:
            self._ending.fail(job, error, started)
            return
        outcome = self._answer(job.query, look, job, started)
        self._ending.settle(job, outcome)
        self._ending.report(look, [outcome], standing=False)

    def _standing_pass(self) -> None:
        """All standing queries on the newest frame; requests that come in go between them."""
        due = self.inbox.begin_pass()
        if due is None:  # the request that ended the wait was withdrawn meanwhile
            return
        frame, queries = due
        assert self._asker is not None
        self._asker.mind(queries)
        look, outcomes = self._look(frame), []
        for query in queries:
            self._serve_waiting()
            if self.state is not State.READY or not self.inbox.config.active:
                return
            job = Job(query, frame, self.inbox.config.default_timeout)
            outcome = self._answer(query, look, job, job.asked)
            self._ending.settle(job, outcome)
            outcomes.append(outcome)
        self._ending.report(look, outcomes, standing=True)

    def _look(self, frame: Frame) -> Look:
        assert self._asker is not None
        self.inbox.seen(frame)
        return self._asker.look(frame)

    def _answer(self, query: Query, look: Look, job: Job, started: float) -> Outcome:
        assert self._asker is not None
        options: dict[str, Any] = {
            "max_new_tokens": query.max_new_tokens or self.inbox.config.max_new_tokens or None,
            "cancel": lambda: job.withdrawn or self.state is State.STOPPED,
        }
        if job.on_text is not None:
            options["on_text"] = job.on_text
        outcome = self._asker.answer(query, look, job, started, options)
        if outcome.result is not None:
            self.counts.keep(outcome.times)
        return outcome

    def _abandon(self, why: Exception) -> None:
        """Settle the job that is being worked on, if there is one."""
        running = self._running
        if running is not None:
            self._ending.fail(running, why)
