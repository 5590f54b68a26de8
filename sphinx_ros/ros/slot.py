"""What one camera has brought: its newest frame, its standing queries, and when they are due.

A slot is changed by :mod:`sphinx_ros.ros.waiting` under one lock; what only asks takes none. Knows
no model and no ROS.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.prompt.checks import MAX_SECONDS
from sphinx_ros.prompt.queries import read_queries
from sphinx_ros.ros.counts import Counts
from sphinx_ros.ros.outcomes import Frame
from sphinx_ros.ros.params import Config

LOOPED = 1.0
"""Seconds that a stamp lies before the newest one from which on it is no late picture: a recording
began anew, or the clock was set back."""

OLDER = 3
"""So many pictures in a row, each before the newest stamp, are a time of their own as well."""


class Slot:
    """One camera's place.

    Attributes:
        name: of the camera; "" for the only one. config: its parameters.
        newest: the frame that came last; None before. unseen: whether nobody has looked at it.
        passed: whether it is not to be asked the standing queries any more.
        arrived, last_pass: by a steady clock. counts: its own, beside those of the node.
    """

    def __init__(self, name: str, config: Config, counts: Counts):
        self.name, self.counts = name, Counts(counts)
        self.config, self.queries = config, read_queries(config.queries)
        self.newest: Frame | None = None
        self.unseen, self.passed = False, True
        self.arrived = self.last_pass = -math.inf
        self._older = 0
        self._arrivals: deque[float] = deque(maxlen=31)

    @property
    def rate(self) -> float:
        """Pictures per second that arrive, over the last ones; NaN where there are too few."""
        times = list(self._arrivals)
        if len(times) < 2:
            return math.nan
        return (len(times) - 1) / max(time.monotonic() - times[0], 1e-6)

    def change(self, config: Config) -> None:
        """Follow the camera's parameters."""
        if config.queries != self.config.queries:
            self.queries = read_queries(config.queries)
        self.config = config

    def offer(self, frame: Frame) -> bool:
        """Keep a frame as the newest one, in place of the one before; whether it was taken.

        One that was taken before the newest one comes late and is left out, and so is one that
        comes again: the same stamp and the same bytes.
        """
        self.counts.add("received")
        self.arrived = time.monotonic()
        self._arrivals.append(self.arrived)
        if against := self._against(frame):
            self.counts.add(against)
            return False
        if self.unseen:
            self.counts.add("dropped")
        self.newest, self.unseen, self.passed = frame, True, False
        return True

    def _against(self, frame: Frame) -> str:
        """Why a frame is left out: "late" or "repeated"; "" where it is not."""
        newest = self.newest
        if newest is None or math.isnan(frame.stamp - newest.stamp):
            return ""
        before = newest.stamp - frame.stamp
        if before == 0:
            return "repeated" if newest.same(frame) else ""
        self._older = self._older + 1 if before > 0 else 0
        if 0 < before < LOOPED and self._older < OLDER:
            return "late"
        self._older = 0
        return ""

    def looked_at(self) -> None:
        """Note that the newest frame was looked at: it does not count as dropped any more.

        Standing queries that come later begin with the next frame.
        """
        self.unseen = False
        self.passed = self.passed or not self.queries

    def forget(self) -> None:
        """Let the newest frame go: its time is over."""
        self.newest, self.unseen, self.passed = None, False, True
        self.arrived = -math.inf

    def until_pass(self) -> float | None:
        """Seconds until the next standing pass may begin; None: until there is news."""
        if self.passed or not (self.queries and self.config.active):
            return None
        rate = self.config.max_rate
        interval = min(1 / rate, MAX_SECONDS) if rate > 0 else 0.0  # 1 / 5e-324 is infinite
        return self.last_pass + interval - time.monotonic()

    def age(self, now: float) -> float:
        """Seconds since the newest frame arrived; infinite before it. now: the node's clock.

        By the node's clock, which a simulation may stop or slow, or by a steady one, which no
        correction of the time makes jump: what says less.
        """
        return self._age(self.newest, now)

    def _age(self, newest: Frame | None, now: float) -> float:
        if newest is None:
            return math.inf
        return min(now - newest.received, time.monotonic() - self.arrived)

    def fresh_frame(self, now: float, about_source: Callable[[str], str]) -> Frame:
        """The newest frame. Raises NO_IMAGE or STALE_IMAGE.

        now: seconds of the node's clock. about_source: takes the camera's name and says where its
        pictures should come from; called for a reason alone, since it looks through the graph.
        """
        frame, limit, name = self.newest, self.config.max_image_age, self.name
        of, topic = (f" of {name}", f"{name}/image") if name else ("", "image")
        if frame is None:
            raise SphinxError(
                f"no camera picture{of} has arrived yet{about_source(name)}: check the remapping "
                f"of the topic `{topic}`, or put a picture into the request",
                status=Status.NO_IMAGE,
            )
        # Of this one, whatever comes or is forgotten meanwhile.
        check_age(self._age(frame, now), self.config, name, about_source)
        if 0 < limit < now - frame.stamp:
            raise SphinxError(
                f"the newest picture{of} is {now - frame.stamp:.1f} s old by its stamp; the limit "
                f"is {limit:g} s: do the clocks agree, is use_sim_time needed? "
                "(parameter max_image_age)",
                status=Status.STALE_IMAGE,
            )
        return frame


def check_age(age: float, config: Config, name: str, about_source: Callable[[str], str]) -> None:
    """Raise STALE_IMAGE for a picture that arrived too long ago.

    age: seconds since then. config: of its camera, whose name is "" for the only one.
    about_source: as for :meth:`Slot.fresh_frame`.
    """
    limit = config.max_image_age
    if 0 < limit < age:
        of = f" of {name}" if name else ""
        raise SphinxError(
            f"the newest picture{of} arrived {age:.1f} s ago{about_source(name)}; the limit is "
            f"{limit:g} s: is the camera still running? (parameter max_image_age)",
            status=Status.STALE_IMAGE,
        )
