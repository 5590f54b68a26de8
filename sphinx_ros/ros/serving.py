"""What waits -> what the model is asked: one request, or all standing queries of a frame at once.

A request is put to the model in a thread of its own and the standing queries in another, each when
:mod:`sphinx_ros.ros.waiting` says; to the model, what is asked at the same time is one batch.
"""

from __future__ import annotations

from collections.abc import Callable

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.ros.asking import Asker
from sphinx_ros.ros.job import Job
from sphinx_ros.ros.outcomes import Frame, Look
from sphinx_ros.ros.settling import Settling
from sphinx_ros.ros.state import Lifetime, State
from sphinx_ros.ros.waiting import Inbox


class Serving:
    """Takes from the inbox and settles. clock: the node's time in seconds.

    Attributes:
        asker: who asks the model; None while there is none. Set by the thread that loads it.
    """

    def __init__(self, inbox: Inbox, ending: Settling, life: Lifetime, clock: Callable[[], float]):
        self.asker: Asker | None = None
        self._inbox, self._ending, self._life, self._clock = inbox, ending, life, clock

    def ready_asker(self) -> Asker:
        """Who asks the model. Raises NOT_ACTIVE where there is none, CANCELLED at the end."""
        asker, problem = self.asker, self._life.problem()
        if problem is None and asker is not None:
            return asker
        raise problem or SphinxError("the model is being loaded anew", status=Status.NOT_ACTIVE)

    # Requests; several threads do this

    def requests(self) -> None:
        """Serve requests, one after another, until no more will come."""
        while self._next_request():
            pass  # nothing of the last one, such as its picture, is held while the next comes

    def _next_request(self) -> bool:
        job = self._inbox.take()
        if job is None:
            return False
        try:
            self._serve(job)
        except Exception as error:
            self._ending.fail(job, error)
        finally:  # even where a library ends the thread
            if not job.done:
                why = SphinxError("the worker's thread has ended", status=Status.INTERNAL)
                self._ending.fail(job, why)
            self._inbox.let_go(job)
        return True

    def _serve(self, job: Job) -> None:
        self._ending.check(job)
        asker = self.ready_asker()
        look = self._look(asker, job.frame or self._inbox.fresh_frame(self._clock()))
        self._ending.check(job)
        self._inbox.put_to_model(job)
        (outcome,) = asker.answer(
            look,
            [job],
            self._inbox.config.max_new_tokens,
            lambda: job.withdrawn or self._life.state is State.STOPPED,
        )
        self._ending.report(look, [self._ending.settle(job, outcome)], standing=False)

    # Standing queries; one thread does this

    def standing_pass(self) -> None:
        """Ask all standing queries of the newest frame, if it is their turn, and there is a model.

        They end together; where the node comes to rest meanwhile nobody is told.
        """
        asker = self.asker
        due = None if asker is None else self._inbox.begin_pass()
        if asker is None or due is None:
            return
        frame, queries = due
        asker.mind(queries)
        look = self._look(asker, frame)
        asker.looks.remember(look)
        config = self._inbox.config
        jobs = [Job(query, frame, config.default_timeout) for query in queries]
        for job in jobs:
            job.taken = job.asked
        outcomes = asker.answer(look, jobs, config.max_new_tokens, self._resting)
        if self._resting():
            return
        settled = [self._ending.settle(*one) for one in zip(jobs, outcomes, strict=True)]
        self._ending.report(look, settled, standing=True)

    def _resting(self) -> bool:
        """Whether nobody wants answers to standing queries."""
        return self._life.state is not State.READY or not self._inbox.config.active

    def _look(self, asker: Asker, frame: Frame) -> Look:
        self._inbox.seen(frame)
        return asker.looks.of(frame)
