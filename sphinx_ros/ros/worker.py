"""Frames and queries in, outcomes out: the threads that ask the model. Not even rclpy.

One thread loads the model and asks the standing queries of a frame as one batch; a few others
answer requests, which join that batch wherever it is. A query travels with the frame it was asked
about; whatever goes wrong comes out as a named status. A model that is lost is loaded anew.
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
from sphinx_ros.ros.counts import Counts
from sphinx_ros.ros.job import Job
from sphinx_ros.ros.outcomes import Frame, Outcome
from sphinx_ros.ros.params import Config
from sphinx_ros.ros.serving import Serving
from sphinx_ros.ros.settling import Locate, OnPass, Settling
from sphinx_ros.ros.state import Lifetime, State
from sphinx_ros.ros.threads import Threads
from sphinx_ros.ros.waiting import Inbox
from sphinx_ros.runtime.allocator import give_back

__all__ = ["Job", "State", "Worker"]

log = logging.getLogger("sphinx_ros")

GRACE = 0.3
"""Seconds that a query gets to come back by itself after its limit, with its partial text."""

AT_ONCE = 4
"""Requests that are answered at the same time: each may hold the memory of a picture's prefix."""


class Worker:
    """Owns the model and the threads that use it.

    factory: makes the model, an object as :mod:`sphinx_ros.ros.asking` needs it. It is called in
    the worker's thread; requests are answered NOT_ACTIVE meanwhile. clock: the node's time in
    seconds. on_pass: called with (look, outcomes, standing) after each pass of the standing
    queries and after each request that got as far as a picture and was not given up before, from
    one thread at a time. locate: adds positions to a look's outcomes before anybody is answered,
    called by the threads that asked. config: the parameters at the start. prepare: called in the
    worker's thread before all else.
    """

    def __init__(
        self,
        factory: Callable[[], object],
        *,
        clock: Callable[[], float] = time.time,
        on_pass: OnPass | None = None,
        config: Config | None = None,
        about_source: Callable[[str], str] = lambda _: "",
        prepare: Callable[[], None] = lambda: None,
        locate: Locate | None = None,
    ):
        self.counts = Counts()
        self.inbox = Inbox(config or Config(), self.counts, about_source)
        self.life = Lifetime(factory)
        self._clock = clock
        self._ending = Settling(self.counts, self.life, clock, on_pass, locate)
        self._prepare = prepare
        self._renewing, self._exchanging = threading.Lock(), threading.Lock()
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Threads that have nothing in common with those before."""
        serving = self._serving = Serving(self.inbox, self._ending, self.life, self._clock)
        names = [f"sphinx-request-{number}" for number in range(1, AT_ONCE + 1)]
        requests = dict.fromkeys(names, serving.requests)
        self._threads = Threads({"sphinx-worker": lambda: self._run(serving), **requests})

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
        return str(getattr(self.model, "device", ""))

    @property
    def model(self) -> Any:
        """What answers now; None while there is none."""
        return self._serving.model

    def start(self) -> None:
        """Begin loading the model, then work."""
        self.life.want()
        self.life.working = True
        self.open()

    def open(self) -> None:
        """Start the threads, once; without a model they have nothing to do."""
        self._threads.start()

    def load(self, seconds: float | None = None) -> bool:
        """Load the model in the worker's thread and wait for it: see `Lifetime.await_load`."""
        self.open()
        self.life.want()
        self.inbox.nudge()
        return self.life.await_load(seconds)

    def work(self) -> None:
        """Take requests, and ask standing queries."""
        self.life.working = True
        self.inbox.nudge()

    def offer(self, frame: Frame) -> None:
        """Take a camera's picture, unless the node rests.

        A callback may still run when the cameras are heard no more; its picture must not stay.
        """
        self.inbox.offer(frame)
        if not self.life.working:
            self.inbox.forget_frames()

    def rest(self, why: str = "the node was deactivated") -> None:
        """Take no more requests; those that wait or are answered are cancelled.

        When this returns nothing is published any more.
        """
        self.life.working = False
        for job in self.inbox.in_hand:
            self.withdraw(job, Cancelled(why))
        self.inbox.forget_frames()
        self._ending.await_reports()

    def unload(self, seconds: float = 10.0) -> bool:
        """Let the model go and give its memory back; whether nobody holds it any more.

        Threads that work on something get so many seconds to come back.
        """
        self.rest()
        self.life.drop()
        end = time.monotonic() + seconds
        while self._serving.under_way() and time.monotonic() < end:
            time.sleep(0.01)
        free = not self._serving.under_way()
        if not free:
            self._renew()
        self._serving.let_go()
        give_back()
        return free

    def watch(self) -> None:
        """Notice what is lost; to be called a few times a second.

        A model whose processes are gone is loaded anew by the worker's thread, one whose work or
        load does not go on is given up with its threads, and a thread that ended is replaced.
        """
        if self.state is State.STOPPED:
            return
        limit, now = self.inbox.config.hang_seconds, time.monotonic()
        if limit > 0 and self.life.give_up_load(limit):
            self._renew()
        hung = [job for job in self._serving.under_way() if 0 < limit < now - job.stepped]
        if hung:
            self.give_up(f"no step for {limit:g} s in answering {hung[0].query.line()!r}")
        if self.life.lost(self._serving.asker):
            self.inbox.nudge()
        for name in self._threads.mend():
            log.error("the thread %s has ended; starting another", name)

    def give_up(self, reason: str) -> None:
        """Let a model go that hangs, with the threads that ask it, and load it anew."""
        if self.life.lose(reason):
            self._renew(f"the model was given up: {reason}")

    def _renew(self, why: str = "the work on it did not end") -> None:
        """Go on with new threads: those that hang keep what they hold, and end when they can."""
        with self._renewing:
            old, self._serving.retired = self._serving, True
            held = self._serving.under_way()
            for job in held:
                self.withdraw(job, SphinxError(why, status=Status.INTERNAL))
                self.inbox.let_go(job)
            self._begin_anew()
            self._threads.start()
        self.inbox.nudge()  # those of before that wait end now
        if old.asker is not None:  # ending its processes may hang as well
            threading.Thread(target=old.let_go, daemon=True).start()

    def exchange(self, make: Callable[[Any], Any]) -> None:
        """Have another model answer from now on: see `Serving.exchange`. One after another."""
        with self._exchanging:
            self._serving.exchange(make)
            give_back()

    def unaskable(self, queries: Iterable[Query]) -> str:
        """Why the model can't be asked some standing queries; "" where it can, or is not there."""
        asker = self._serving.asker
        return "" if asker is None else "; ".join(asker.unaskable(queries))

    def submit(
        self,
        query: Query,
        frame: Frame | None = None,
        timeout: float = 0.0,
        on_text: Callable[[str], None] | None = None,
        on_found: Callable[[Any], None] | None = None,
        camera: str = "",
    ) -> Job:
        """Queue a request. It always comes back as a job, settled at once where it is refused.

        frame: the request's own picture, None for the newest one of the camera. timeout: seconds
        from now, 0 for the default. on_text: called with the answer so far, token by token;
        on_found: with each finished box and point. Both in whichever thread makes the passes of
        the network; all that are being answered wait for it.
        """
        job = Job(query, frame, self.inbox.config.default_timeout, on_text, on_found, camera)
        try:
            if timeout != 0:
                job.deadline = job.asked + checked_seconds(timeout)
            job.query = query.checked()
            self.life.check(self.inbox.config.active)
            if camera or frame is None:
                job.camera = self.inbox.slot_of(camera).name
            job.query = self._serving.ready_asker().check(query)
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
        """Withdraw a job: it ends now, or within a pass where the model is being asked."""
        job.withdrawn = True
        if not job.begun:
            self.withdraw(job, Cancelled("the query was cancelled before the model began"))

    def withdraw(self, job: Job, why: SphinxError) -> None:
        """Settle a job now, wherever it is, and let the model drop it."""
        job.withdrawn = True
        self._ending.fail(job, why)
        self.inbox.remove(job)

    def stop(self, seconds: float = 1.5) -> bool:
        """Cancel everything and end the threads; whether they ended within the seconds."""
        self.life.stop()
        why = Cancelled("the node is shutting down")
        for job in self.inbox.close():
            self._ending.fail(job, why)
        ended = self._threads.join(seconds)
        for job in self.inbox.in_hand:  # a picture's encoding takes longer than we may wait
            self._ending.fail(job, why)
        self._serving.let_go()
        return ended

    # In the worker's thread

    def _run(self, serving: Serving) -> None:
        try:
            self._prepare()
        except Exception as error:  # the load fails of the same, and its failure has a state
            log.debug("what a model needs could not be prepared", exc_info=error)
        while self.state is not State.STOPPED and not serving.retired:
            if self.life.wanted:
                self._load(serving)
            passes = serving.asker is not None and self.life.working
            if not self.inbox.wait(passes, lambda: serving.retired):
                return
            try:
                serving.standing_pass()
            except Exception as error:  # a defect here must not leave the robot blind
                self._ending.defect(error, "the worker failed")
                time.sleep(0.01)  # a defect that repeats must not take the whole processor

    def _load(self, serving: Serving) -> None:
        serving.let_go()
        if not self.life.load(serving.install) or serving.retired:
            serving.let_go()  # nobody else will
            give_back()  # what was read of it
