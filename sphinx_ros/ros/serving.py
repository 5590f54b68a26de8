"""What waits -> what the model is asked: one request, or all standing queries of a frame at once.

A request is put to the model in a thread of its own and the standing queries in another, each when
:mod:`sphinx_ros.ros.waiting` says; to the model, what is asked at the same time is one batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.ros.asking import Asker
from sphinx_ros.ros.job import Job
from sphinx_ros.ros.outcomes import Frame, Look, Outcome, name_error
from sphinx_ros.ros.settling import Settling
from sphinx_ros.ros.slot import check_age
from sphinx_ros.ros.state import Lifetime, State
from sphinx_ros.ros.waiting import Due, Inbox


class Serving:
    """Takes from the inbox and settles. clock: the node's time in seconds.

    Attributes:
        asker: who asks the model; None while there is none.
        standing: the standing queries that are being answered.
        retired: whether another one has taken its place: its threads end as soon as they can.
    """

    def __init__(self, inbox: Inbox, ending: Settling, life: Lifetime, clock: Callable[[], float]):
        self.asker: Asker | None = None
        self.standing: tuple[Job, ...] = ()
        self.retired = False
        self._inbox, self._ending, self._life, self._clock = inbox, ending, life, clock
        self._guard = threading.Lock()  # of who asks

    @property
    def model(self) -> Any:
        """What is asked; None while there is none."""
        asker = self.asker  # another thread may let it go meanwhile
        return None if asker is None else asker.model

    def ready_asker(self) -> Asker:
        """Who asks the model. Raises NOT_ACTIVE where there is none, CANCELLED at the end."""
        asker, problem = self.asker, self._life.problem()
        if problem is None and asker is not None:
            return asker
        raise problem or SphinxError("the model is being loaded anew", status=Status.NOT_ACTIVE)

    def install(self, model: Any) -> None:
        """Ask a model from now on."""
        self.asker = self._asker(model)

    def exchange(self, make: Callable[[Any], Any]) -> None:
        """Ask another model from now on, which is made of the one that is asked.

        What has begun ends with the model that it began with; what waits is asked of the new one.

        Raises:
            SphinxError: there is no model, or it was let go meanwhile; and what ``make`` raises.
        """
        before = self.asker
        if before is None or self._life.state is not State.READY:
            raise SphinxError("no model is loaded", status=Status.NOT_ACTIVE)
        asker = self._asker(make(before.model))
        with self._guard:
            if self.asker is not before or self.retired:
                why = "the model was let go, or loaded anew, meanwhile: set it once more"
                raise SphinxError(why, status=Status.NOT_ACTIVE)
            self.asker = asker

    def let_go(self) -> None:
        """Ask nobody any more, and close the model."""
        with self._guard:
            asker, self.asker = self.asker, None
        if asker is not None:
            self._life.close(asker.model)

    def _asker(self, model: Any) -> Asker:
        made = Asker(model, self._clock, self._inbox.counts, self._inbox.count_look)
        made.mind(self._inbox.queries)
        return made

    def under_way(self) -> list[Job]:
        """The queries that threads work on, those nobody waits for any more included."""
        return [job for job in (*self._inbox.in_hand, *self.standing) if job.taken is not None]

    # Requests; several threads do this

    def requests(self) -> None:
        """Serve requests, one after another, until no more will come."""
        while not self.retired and self._next_request():
            pass  # nothing of the last one, such as its picture, is held while the next comes

    def _next_request(self) -> bool:
        job = self._inbox.take(lambda: self.retired)
        if job is None:
            return False
        try:
            self._serve(job)
        except Exception as error:
            self._ending.fail(job, error)
        finally:  # even where a library ends the thread
            try:
                if not job.done:
                    why = SphinxError("the worker's thread has ended", status=Status.INTERNAL)
                    self._ending.fail(job, why)
            finally:
                self._inbox.let_go(job)
        return True

    def _serve(self, job: Job) -> None:
        self._ending.check(job)
        asker = self.ready_asker()
        frame = job.frame or self._inbox.fresh_frame(self._clock(), job.camera)
        look = self._look(asker, frame)
        self._ending.check(job)
        self._inbox.put_to_model(job)
        config = self._inbox.config.of(job.camera)
        answered = asker.answer(look, [job], config, lambda: self._over(job))
        (outcome,) = self._ending.located(look, answered)
        settled = self._ending.settle(job, outcome)
        if job.outcome is settled:  # else who asked was told something else, as "cancelled"
            self._ending.report(look, [settled], False, lambda: not self._life.working)

    def _over(self, job: Job) -> bool:
        """Whether nobody wants the answer any more; asked before each pass of the network."""
        job.step()
        return job.withdrawn or self.retired or self._life.state is State.STOPPED

    # Standing queries; one thread does this

    def standing_pass(self) -> None:
        """Ask all standing queries of the frame that is due, if there is a model.

        They end together; where the node comes to rest meanwhile nobody is told.
        """
        asker = self.asker
        if asker is None or not self._life.working:
            return
        due = self._inbox.begin_pass(self._clock())
        if due is None:
            return
        limit, camera = due.config.default_timeout, due.frame.camera
        jobs = [Job(query, due.frame, limit, camera=camera) for query in due.queries]
        for job in jobs:
            job.take()
        self.standing = tuple(jobs)
        try:
            if not (self._refuse(asker, due, jobs) or self._repeat(asker, due, jobs)):
                self._pass(asker, due, jobs)
        finally:
            self.standing = ()

    def _refuse(self, asker: Asker, due: Due, jobs: list[Job]) -> bool:
        """Whether the frame is too old to be looked at, as where the camera has stopped.

        The refusal is published once, in place of an answer that would be taken for one about
        now. Stamps are not judged: recordings are played whose stamps are of another day.
        """
        try:
            check_age(due.age, due.config, due.frame.camera, self._inbox.about_source)
        except SphinxError as error:
            look = Look(due.frame, failure=name_error(error))
            self._settle(look, jobs, asker.answer(look, jobs, due.config, self._resting))
            return True
        return False

    def _repeat(self, asker: Asker, due: Due, jobs: list[Job]) -> bool:
        """Whether there is nothing to look at: the node rests, or the frame shows nothing new.

        Where it shows nothing new, the last answers are given once more.
        """
        frame, config = due.frame, due.config
        if not config.skip_still:
            asker.repeating.forget(frame.camera)
            return False
        look = asker.looks.glance(frame)
        if look.rgb is None:
            return False
        outcomes = asker.repeating.again(look.rgb, frame.camera, (due.queries, config))
        if self._resting():  # nobody wants a look either
            return True
        if not outcomes:
            return False
        self._inbox.seen(frame)
        self._inbox.count_look(frame, "reused")
        self._settle(look, jobs, asker.repeat(look, jobs, outcomes))
        return True

    def _pass(self, asker: Asker, due: Due, jobs: list[Job]) -> None:
        frame, config = due.frame, due.config
        asker.mind(self._inbox.queries)
        look = self._look(asker, frame)
        asker.looks.remember(look)

        def resting() -> bool:
            for job in jobs:
                job.step()
            return self._resting()

        outcomes = asker.answer(look, jobs, config, resting)
        if self._resting():
            return
        asker.repeating.keep(frame.camera, (due.queries, config), outcomes)
        self._settle(look, jobs, outcomes)

    def _settle(self, look: Look, jobs: list[Job], outcomes: Sequence[Outcome]) -> None:
        located = self._ending.located(look, outcomes)  # which may wait for depth and for TF
        if self._resting():
            return
        settled = [self._ending.settle(*one) for one in zip(jobs, located, strict=True)]
        self._ending.report(look, settled, True, self._resting)

    def _resting(self) -> bool:
        """Whether nobody wants answers to standing queries."""
        life = self._life
        ready = life.state is State.READY and life.working and not self.retired
        return not (ready and self._inbox.config.active)

    def _look(self, asker: Asker, frame: Frame) -> Look:
        self._inbox.seen(frame)
        return asker.looks.of(frame)
