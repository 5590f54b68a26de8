"""A job and what became of it -> its one outcome, counted, and passed on to those who publish.

Knows no model and no message. May be used from any thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from sphinx_ros.errors import Cancelled, TimedOut, encodable
from sphinx_ros.ros.asking import times_of
from sphinx_ros.ros.counts import Counts
from sphinx_ros.ros.job import Job
from sphinx_ros.ros.outcomes import Look, Outcome, named
from sphinx_ros.ros.state import Lifetime, State

log = logging.getLogger("sphinx_ros")

OnPass = Callable[[Look, Sequence[Outcome], bool], None]
"""What is called with (look, outcomes, standing) when there is something to publish."""

LONGEST_REPORT = 2.0
"""Seconds that :meth:`Settling.await_reports` waits at most."""

Locate = Callable[[Look, Sequence[Outcome]], Sequence[Outcome]]
"""What adds to a look's outcomes where their things are in space."""


class Settling:
    """How jobs end. last_error: the last thing that went wrong, for the diagnostics; "" for none.

    clock: the node's time in seconds. life: whether the node is ending.
    """

    def __init__(
        self,
        counts: Counts,
        life: Lifetime,
        clock: Callable[[], float],
        on_pass: OnPass | None,
        locate: Locate | None = None,
    ):
        self.last_error = ""
        self._counts, self._life, self._clock, self._on_pass = counts, life, clock, on_pass
        self._locate = locate
        self._publishing = threading.Lock()

    def located(self, look: Look, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """The outcomes with positions, where these are known; to be called before they settle."""
        if self._locate is None:
            return outcomes
        try:
            return self._locate(look, outcomes)
        except Exception as error:  # an answer without positions is better than none
            self.defect(error, "positions could not be worked out")
            return outcomes

    def settle(self, job: Job, outcome: Outcome) -> Outcome:
        """Give a job its outcome, which is returned as it goes out; the first one counts."""
        times = replace(outcome.times, frames_dropped=self._counts["dropped"])
        outcome = replace(outcome, times=times)
        if job.finish(outcome):
            self._counts.add(outcome.status.name)
            if not outcome.status.answered:
                self.last_error = f"{outcome.status}: {outcome.text}"
        return outcome

    def fail(self, job: Job, error: Exception) -> None:
        """Settle a job with an error's name."""
        status, text = named(error)
        frame = job.frame
        times = times_of(frame, job, self._clock())
        header = frame.header if frame is not None else None
        raw = getattr(error, "partial_text", "")
        outcome = Outcome(
            job.query, status, text, raw_text=raw, header=header, times=times, camera=job.camera
        )
        self.settle(job, outcome)

    def defect(self, error: Exception, what: str) -> None:
        """Log an error that must not end the worker, with its trace. what: "the worker failed"."""
        self.last_error = encodable(f"INTERNAL: {type(error).__name__}: {error}")
        log.error("%s: %s", what, error, exc_info=error)

    def report(
        self,
        look: Look,
        outcomes: Sequence[Outcome],
        standing: bool,
        unwanted: Callable[[], bool],
    ) -> None:
        """Hand outcomes to who publishes them, one call at a time.

        standing: they are those of standing queries. unwanted: asked last; True keeps them back.
        """
        if self._on_pass is None:
            return
        try:
            with self._publishing:
                if not unwanted():
                    self._on_pass(look, outcomes, standing)
        except Exception as error:  # publishing must not end the worker
            if self._life.state is not State.STOPPED:
                self.defect(error, "publishing failed")

    def await_reports(self) -> None:
        """Wait until what is being published has gone out; what is unwanted by now never will.

        No longer than :data:`LONGEST_REPORT`: a middleware may hang.
        """
        if self._publishing.acquire(timeout=LONGEST_REPORT):
            self._publishing.release()

    def check(self, job: Job) -> None:
        """Raise the named error of a job that is over before it began."""
        if self._life.state is State.STOPPED:
            raise Cancelled("the node is shutting down")
        if job.withdrawn:
            raise Cancelled("the query was cancelled before the model began")
        if not job.left:
            raise TimedOut("the time limit ran out before the model began")
