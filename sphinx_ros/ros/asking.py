"""A frame and a query to an outcome, through `look` and the methods of what it returns.

The model is an object with `look(rgb)`. No error leaves here: each becomes an outcome with a
name. Knows no ROS.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from sphinx_ros.errors import Status
from sphinx_ros.prompt.checks import checked_box
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros.counts import Counts
from sphinx_ros.ros.lettering import cut
from sphinx_ros.ros.outcomes import Frame, Look, Outcome, Times, name_error
from sphinx_ros.ros.waiting import Job
from sphinx_ros.types import Cost

log = logging.getLogger("sphinx_ros")

SENTENCES = {
    Status.NOT_FOUND: "the model sees no such thing in the picture",
    Status.PARSE_FAILED: "the model's answer holds no readable result; it stands in raw_text",
}
"""What is said beside a status that a result carries."""

SHOWN = 80
"""Letters of a standing query that a refusal of it shows."""


class Asker:
    """Looks at frames and asks about them; keeps the last look, so that questions share it.

    model: what `Sphinx.from_pretrained` returns. clock: the node's time in seconds.
    """

    def __init__(self, model: Any, clock: Callable[[], float], counts: Counts):
        self.model, self._clock, self._counts = model, clock, counts
        self._last: Look | None = None
        self._minded: tuple[Query, ...] = ()

    def check(self, query: Query) -> Query:
        """The query, stripped. Raises BadRequest; the model can say more than the words show."""
        check = getattr(self.model, "check", None)
        return query.checked() if check is None else check(query)

    def unaskable(self, queries: Iterable[Query]) -> list[str]:
        """A sentence for each of some standing queries that no picture can be asked."""
        reasons = []
        for query in queries:
            try:
                self.check(query)
            except Exception as error:
                reasons.append(f'"{cut(query.line(), SHOWN)}": {named(error)[1]}')
        return reasons

    def mind(self, queries: tuple[Query, ...]) -> None:
        """Say once that standing queries can't be asked: they came when no model could tell."""
        if queries is not self._minded:
            self._minded = queries
            if reasons := "; ".join(self.unaskable(queries)):
                log.warning("standing queries that can't be asked: %s", reasons)

    def look(self, frame: Frame) -> Look:
        """Decode and encode a frame, unless it is the last one. A bad one keeps the reason."""
        if self._last is not None and self._last.frame is frame:
            return self._last
        self._last = None  # frees the last one's memory before the next is made
        rgb, seen, failure, decoded = None, None, None, math.nan
        begun = time.monotonic()
        try:
            rgb = frame.decode()
            decoded = time.monotonic()
            self._counts.add("looked")
            seen = self.model.look(rgb)
        except Exception as error:
            failure = named(error)
            forget_traces(error)
        ended = time.monotonic()
        look = Look(frame, rgb, seen, failure, 1e3 * (decoded - begun), 1e3 * (ended - decoded))
        self._last = look
        return look

    def answer(
        self, query: Query, look: Look, job: Job, started: float, options: dict[str, Any]
    ) -> Outcome:
        """Ask a look one query.

        started: steady clock, when the worker took it. options: of the methods of Seen.
        """
        begun = time.monotonic()
        result, raw = None, ""
        if look.failure is not None:
            status, text = look.failure
        else:
            try:
                result = self._ask(query, look, {**options, "timeout": max(job.left, 0.001)})
                status, raw = Status(result.status), result.raw_text
                text = SENTENCES.get(status, "")
            except Exception as error:
                status, text = named(error)
                raw = getattr(error, "partial_text", "")
                forget_traces(error)
        if status is Status.OUT_OF_MEMORY:
            self._last = None
        unread = tuple(result.unread) if result is not None else ()
        asked_model = result is not None or raw
        cost = getattr(result, "cost", Cost())
        times = replace(
            times_of(look.frame, job, started, self._clock()),
            decode_ms=look.decode_ms,
            look_ms=look.look_ms,
            query_ms=1e3 * (time.monotonic() - begun) if asked_model else math.nan,
            tokens=getattr(result, "tokens", 0) or 0,
            passes=cost.passes,
            accepted=cost.accepted,
            cached=cost.cached,
        )
        height, width = look.rgb.shape[:2] if look.rgb is not None else (0, 0)
        header = look.frame.header
        return Outcome(query, status, text, result, raw, unread, header, width, height, times)

    @staticmethod
    def _ask(query: Query, look: Look, options: dict[str, Any]) -> Any:
        assert look.rgb is not None, "a look without a failure has its picture"
        if query.box is not None:
            checked_box(query.box, (look.rgb.shape[1], look.rgb.shape[0]))
        return query.put_to(look.seen, **options)


def named(error: Exception) -> tuple[Status, str]:
    """The named outcome of an error; one that was not foreseen leaves its trace in the log."""
    status, text = name_error(error)
    if status is Status.INTERNAL:
        log.error("a query failed: %s", text, exc_info=error)
    return status, text


def forget_traces(error: BaseException | None) -> None:
    """Take its trace, and those of the errors behind it, from an error that has been named.

    A trace holds the variables of all functions it went through, pictures among them; one that
    also holds its error would keep them until Python looks for cycles.
    """
    while error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


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
