"""A frame and a query to an outcome, through `look` and the methods of what it returns.

Knows the model only as an object with `look(rgb)`, and neither threads nor ROS. No error leaves
here: each becomes an outcome with a name.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace

from sphinx_ros.errors import BadRequest, Status
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros.outcomes import Frame, Look, Outcome, Times, name_error
from sphinx_ros.ros.waiting import Job
from sphinx_ros.tasks import Task

log = logging.getLogger("sphinx_ros")


class Asker:
    """Looks at frames and asks about them; keeps the last look, so that questions share it.

    model: what `Sphinx.from_pretrained` returns. clock: the node's time in seconds.
    """

    def __init__(self, model, clock: Callable[[], float]):
        self._model, self._clock = model, clock
        self._last: Look | None = None

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
            seen = self._model.look(rgb)
        except Exception as error:
            trouble = error
        ended = time.monotonic()
        look = Look(frame, rgb, seen, trouble, 1e3 * (decoded - begun), 1e3 * (ended - decoded))
        self._last = look
        return look

    def answer(
        self,
        query: Query,
        look: Look,
        job: Job,
        started: float,
        *,
        stopped: Callable[[], bool],
        max_new_tokens: int,
        dropped: int,
    ) -> Outcome:
        """Ask a look one query. started: steady clock, when the worker took it."""
        begun = time.monotonic()
        result, text, raw, unread = None, "", "", ()
        try:
            if look.error is not None:
                raise look.error
            _check_inside(query, look.rgb)
            result = _call(query, look.seen, job, stopped, max_new_tokens)
            status, text = _status_of(result)
            raw, unread = result.raw_text, tuple(result.unread)
        except Exception as error:
            status, text = named(error)
            raw = getattr(error, "partial_text", "")
            if status is Status.OUT_OF_MEMORY:
                self._last = None
        asked_model = result is not None or raw
        times = replace(
            times_of(look.frame, job, started, self._clock(), dropped),
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
        log.error("a query failed", exc_info=error)
    return status, text


def times_of(frame: Frame | None, job: Job, started: float, now: float, dropped: int) -> Times:
    """The times that do not depend on the answer. now: the node's clock, started: a steady one."""
    steady = time.monotonic()
    begun = now - (steady - started)
    return Times(
        received=frame.received if frame is not None else now - (steady - job.asked),
        started=begun,
        finished=now,
        image_age_ms=1e3 * (begun - frame.stamp) if frame is not None else math.nan,
        queue_ms=1e3 * (started - job.asked),
        frames_dropped=dropped,
    )


def _call(query: Query, seen, job: Job, stopped: Callable[[], bool], max_new_tokens: int):
    options = {
        "max_new_tokens": query.max_new_tokens or max_new_tokens or None,
        "cancel": stopped,
        "timeout": max(job.left, 0.001),
    }
    if job.on_text is not None:
        options["on_text"] = job.on_text
    method = getattr(seen, query.task.value)
    if query.task in (Task.GROUND, Task.DETECT, Task.ASK):
        return method(query.text, **options)
    if query.task is Task.DESCRIBE:
        return method(query.box, **options)
    if query.task is Task.POSE:
        return method(box=query.box, **options)
    return method(**options)


def _status_of(result) -> tuple[Status, str]:
    """The status that a result carries, and a sentence where it is not OK."""
    status = Status(result.status)
    if status is Status.OK:
        return status, ""
    if status is Status.NOT_FOUND:
        return status, "the model sees no such thing in the picture"
    if status is Status.PARSE_FAILED:
        return status, "the model's answer holds no readable result; it stands in raw_text"
    return status, status.name


def _check_inside(query: Query, rgb) -> None:
    if query.box is None:
        return
    (height, width), (x0, y0, x1, y1) = rgb.shape[:2], query.box
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        raise BadRequest(
            f"the box {query.box} lies outside the picture of {width}x{height} pixels"
        )
