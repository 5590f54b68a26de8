"""What waits for the worker: each camera's newest frame, requests, queries; and who goes next.

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
from typing import NamedTuple

from sphinx_ros.errors import BadRequest, Cancelled, SphinxError, Status, quoted
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros.counts import Counts
from sphinx_ros.ros.job import Job
from sphinx_ros.ros.outcomes import Frame
from sphinx_ros.ros.params import Config
from sphinx_ros.ros.slot import Slot

LONGEST_PAUSE = 3600.0
"""Seconds of one wait at most: clocks and locks take no arbitrary number."""


class Due(NamedTuple):
    """A pass that may begin: the frame, what is asked of it, and its camera's parameters.

    age: seconds since the frame arrived.
    """

    frame: Frame
    queries: tuple[Query, ...]
    config: Config
    age: float


class Inbox:
    """A slot for each camera, the line of jobs, and who goes next.

    config: the node's parameters, with those of its cameras. about_source: takes the name of a
    camera and says where its pictures should come from, for the message of NO_IMAGE.
    """

    def __init__(
        self, config: Config, counts: Counts, about_source: Callable[[str], str] = lambda _: ""
    ):
        self.config, self.counts, self.about_source = config, counts, about_source
        self.slots: dict[str, Slot] = {}
        self.closed = False
        self._line: deque[Job] = deque()  # requests that wait for a thread
        self._in_hand: set[Job] = set()  # those and the ones that threads work on
        self._ahead: set[Job] | None = None  # that go before the pass that is due; None: none is
        self._nudged = False
        self._lock = threading.Lock()
        self._request_came = threading.Condition(self._lock)
        self._news = threading.Condition(self._lock)  # for who makes the passes
        self.change(config)

    # Cameras

    def offer(self, frame: Frame) -> None:
        """Keep a frame as the newest one of its camera, in place of the one before."""
        with self._lock:
            slot = self.slots.get(frame.camera)
            if slot is not None and slot.offer(frame):
                self._news.notify_all()

    def seen(self, frame: Frame) -> None:
        """Note that a frame was looked at."""
        with self._lock:
            slot = self.slots.get(frame.camera)
            if slot is not None and frame is slot.newest:
                slot.looked_at()

    def count_look(self, frame: Frame, kind: str = "looked") -> None:
        """Count a look at a frame, for the node and its camera. kind: "reused" where none was."""
        slot = None if frame.own else self.slots.get(frame.camera)
        (self.counts if slot is None else slot.counts).add(kind)

    def change(self, config: Config) -> None:
        """Replace the parameters, cameras and standing queries among them; all follow at once.

        A pass that has begun ends with the queries that it began with.
        """
        with self._lock:
            self.config, slots = config, {}
            for name in config.camera_names:
                slot = self.slots.get(name)
                if slot is None:
                    slot = Slot(name, config.of(name), self.counts)
                else:
                    slot.change(config.of(name))
                slots[name] = slot
            self.slots = slots  # whole at once: others go through them
            self._news.notify_all()

    def forget_frames(self) -> None:
        """Let all pictures go, as when the clock was set back or the cameras are not heard."""
        with self._lock:
            for slot in self.slots.values():
                slot.forget()

    def slot_of(self, camera: str) -> Slot:
        """The place of a camera; "" is the only one. Raises BAD_REQUEST with the names."""
        with self._lock:
            slots = self.slots
        if not camera and len(slots) == 1:
            return next(iter(slots.values()))
        if camera not in slots:
            known = ", ".join(slots) if any(slots) else "none by name; leave it empty"
            what = f"the camera {quoted(camera)} is unknown" if camera else "no camera is named"
            raise BadRequest(f"{what}; the node has {known} (parameter cameras)")
        return slots[camera]

    def fresh_frame(self, now: float, camera: str = "") -> Frame:
        """The newest frame of a camera. now: seconds of the node's clock.

        Raises BAD_REQUEST, NO_IMAGE or STALE_IMAGE.
        """
        return self.slot_of(camera).fresh_frame(now, self.about_source)

    @property
    def queries(self) -> tuple[Query, ...]:
        """The standing queries of all cameras."""
        return tuple(query for slot in self.slots.values() for query in slot.queries)

    def nudge(self) -> None:
        """Let the worker look around, though nothing has come in."""
        with self._lock:
            self._nudged = True
            self._news.notify_all()
            self._request_came.notify_all()

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

    def take(self, over: Callable[[], bool] = lambda: False) -> Job | None:
        """The job that has waited longest, as soon as there is one; None once all is closed.

        over: whether who asks is not to work any more; looked at after a nudge. Who takes a job
        calls :meth:`put_to_model` and, whatever happens, :meth:`let_go`.
        """
        with self._lock:
            while not (self._line or self.closed or over()):
                self._request_came.wait()
            if self.closed or over():
                return None
            job = self._line.popleft()
            job.take()
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

    def wait(self, passes: bool = True, over: Callable[[], bool] = lambda: False) -> bool:
        """Block until a standing pass may begin, or a nudge; False once closed.

        passes: False waits for a nudge alone. over: as for :meth:`take`.
        """
        with self._lock:
            while not (self.closed or self._nudged or over()):
                pause = self._until_pass() if passes else None
                if pause is not None and pause <= 0:
                    break
                self._news.wait(None if pause is None else min(pause, LONGEST_PAUSE))
            self._nudged = False
            return not self.closed

    def begin_pass(self, now: float = math.inf) -> Due | None:
        """What is due: of the cameras whose turn it is that which has waited longest.

        None: no pass may begin. now: seconds of the node's clock; without it the age of the frame
        is by the steady one.
        """
        with self._lock:
            pause = self._until_pass()
            if self.closed or pause is None or pause > 0:
                return None
            due = [slot for slot in self.slots.values() if _ripe(slot)]
            if not due:
                return None
            slot = min(due, key=lambda slot: slot.last_pass)
            slot.last_pass, slot.passed, self._ahead = time.monotonic(), True, None
            assert slot.newest is not None
            return Due(slot.newest, slot.queries, slot.config, slot.age(now))

    def _until_pass(self) -> float | None:
        """Seconds until the next standing pass may begin; None: until there is news."""
        pauses = [slot.until_pass() for slot in self.slots.values()]
        pause = min((one for one in pauses if one is not None), default=None)
        if pause is None or pause > 0:
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


def _ripe(slot: Slot) -> bool:
    pause = slot.until_pass()
    return slot.newest is not None and pause is not None and pause <= 0
