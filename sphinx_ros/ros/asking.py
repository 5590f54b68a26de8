"""A frame and a query to an outcome, through `look` and the methods of what it returns.

The model is an object with `look(rgb)`. No error leaves here: each becomes an outcome with a
name. Knows no ROS.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sphinx_ros.errors import Status
from sphinx_ros.prompt.checks import checked_box
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros.counts import Counts
from sphinx_ros.ros.outcomes import Frame, Look, Outcome, Times, name_error
from sphinx_ros.ros.waiting import Job

log = logging.getLogger("sphinx_ros")

SENTENCES = {
    Status.NOT_FOUND: "the model sees no such thing in the picture",
    Status.PARSE_FAILED: "the model's answer holds no readable result; it stands in raw_text",
}
"""What is said beside a status that a result carries."""


class Asker:
    """Looks at frames and asks about them; keeps the last look, so that questions share it.

    model: what `Sphinx.from_pretrained` returns. clock: the node's time in seconds.
    """

    def __init__(self, model: Any, clock: Callable[[], float], counts: Counts):
        self.model, self._clock, self._counts = model, clock, counts
        self._last: Look | None = None

    def check(self, query: Query) -> Query:
        """The query, stripped. Raises BadRequest; the model can say more than the words show."""
        check = getattr(self.model, "check", None)
        return query.checked() if check is None else check(query)

    def look(self, frame: Frame) -> Look:
        """Decode and encode a frame, unless it is the last one. A bad one keeps its error."""
        if self._last is not None and self._last.frame is frame:
            return self._last
        self._last = None  # frees the last one's memory before the next is made
        rgb, seen, trouble, decoded = None, None, None, math.nan
        begun = time.monotonic()
        try:
            rgb = frame.decode()
            decoded = time.monotonic()
            self._counts.add("looked")
            seen = self.model.look(rgb)
        except Exception as error:
            trouble = error.with_traceback(None)  # which would keep the picture alive
        ended = time.monotonic()
        look = Look(frame, rgb, seen, trouble, 1e3 * (decoded - begun), 1e3 * (ended - decoded))
        self._last = look
        return look

    def answer(
        self, query: Query, look: Look, job: Job, started: float, options: dict[str, Any]
    ) -> Outcome:
        """Ask a look one query.

        started: steady clock, when the worker took it. options: of the methods of Seen.
        """
        begun = time.monotonic()
        result, text, raw, unread = None, "", "", ()
        try:
            if look.error is not None:
                raise look.error
            if query.box is not None and look.rgb is not None:
                checked_box(query.box, (look.rgb.shape[1], look.rgb.shape[0]))
            options = {**options, "timeout": max(job.left, 0.001)}
            result = query.put_to(look.seen, **options)
            status = Status(result.status)
            text = SENTENCES.get(status, "")
            raw, unread = result.raw_text, tuple(result.unread)
        except Exception as error:
            status, text = named(error)
            raw = getattr(error, "partial_text", "")
            if status is Status.OUT_OF_MEMORY:
                self._last = None
        asked_model = result is not None or raw
        times = replace(
            times_of(look.frame, job, started, self._clock()),
            decode_ms=look.decode_ms,
            look_ms=look.look_ms,
            query_ms=1e3 * (time.monotonic() - begun) if asked_model else math.nan,
            tokens=getattr(result, "tokens", 0) or 0,
        )
        height, width = look.rgb.shape[:2] if look.rgb is not None else (0, 0)
        header = look.frame.header
        return Outcome(query, status, text, result, raw, unread, header, width, height, times)


def named(error: Exception) -> tuple[Status, str]:
    """The named outcome of an error; one that was not foreseen leaves its trace in the log."""
    status, text = name_error(error)
    if status is Status.INTERNAL:
        log.error("a query failed: %s", text, exc_info=error)
    return status, text


def times_of(frame: Frame | None, job: Job, started: float, now: float) -> Times:
    """The times that do not depend on the answer. now: the node's clock, started: a steady one."""
    steady = time.monotonic()
    begun = now - (steady - started)
    return Times(
        received=frame.received if frame is not None else now - (steady - job.asked),
        started=begun,
        finished=now,
        image_age_ms=1e3 * (begun - frame.stamp) if frame is not None else math.nan,
        queue_ms=1e3 * (started - job.asked),
    )
