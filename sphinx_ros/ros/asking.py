"""A look and queries to outcomes: as one batch where there are several. Knows no ROS.

The model is an object with ``look(rgb)``, and what that returns has a method for each task, as
:class:`sphinx_ros.seen.Seen`; several threads call at the same time. It may have more: ``answer``
takes all queries about a picture at once, ``look(rgb, after=...)`` an earlier picture whose
answers are guesses, and the methods may take ``verify`` and ``on_found``. No error leaves here:
each becomes an outcome with a name.
"""

from __future__ import annotations

import inspect
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from sphinx_ros.errors import Cancelled, Status
from sphinx_ros.prompt.checks import checked_box
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros.counts import Counts
from sphinx_ros.ros.job import Job
from sphinx_ros.ros.lettering import cut
from sphinx_ros.ros.looks import Looks
from sphinx_ros.ros.outcomes import Frame, Look, Outcome, Times, forget_traces, named
from sphinx_ros.ros.params import Config
from sphinx_ros.ros.repeating import Repeating
from sphinx_ros.ros.threshold import above
from sphinx_ros.types import Cost

log = logging.getLogger("sphinx_ros")

SENTENCES = {
    Status.NOT_FOUND: "the model sees no such thing in the picture",
    Status.PARSE_FAILED: "the model's answer holds no readable result; it is in raw_text",
}
"""What is said beside a status that a result carries."""

SHOWN = 80
"""Letters of a standing query that a refusal of it shows."""

LEAST_SECONDS = 0.001
"""Of a time limit that is handed to the model; one that has passed is told by the model."""


class Asker:
    """Asks one model. Any thread may call.

    model: what `Sphinx.from_pretrained` returns. clock: the node's time in seconds.
    on_look: called with each frame that is looked at.
    """

    def __init__(
        self,
        model: Any,
        clock: Callable[[], float],
        counts: Counts,
        on_look: Callable[[Frame], None] = lambda frame: None,
    ):
        self.model, self.looks = model, Looks(model, on_look)
        self.repeating = Repeating(model)
        self._clock, self._counts = clock, counts
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
        if queries != self._minded:
            self._minded = queries
            if reasons := "; ".join(self.unaskable(queries)):
                log.warning("standing queries that can't be asked: %s", reasons)

    def answer(
        self, look: Look, jobs: Sequence[Job], config: Config, cancel: Callable[[], bool]
    ) -> list[Outcome]:
        """Ask about a look what jobs want to know; their outcomes, in order.

        config: max_new_tokens, verify and threshold of it are followed. cancel: asked before each
        pass of the network; True ends them all.
        """
        if look.failure is not None:
            return [self._outcome(job, look, look.failure) for job in jobs]
        if len(jobs) > 1 and hasattr(look.seen, "answer"):
            outcomes = self._together(look, jobs, config, cancel)
        else:
            outcomes = [self._alone(look, job, config, cancel) for job in jobs]
        return [above(outcome, config.threshold) for outcome in outcomes]

    def repeat(
        self, look: Look, jobs: Sequence[Job], outcomes: Sequence[Outcome]
    ) -> list[Outcome]:
        """The same outcomes for a picture that was decoded and shows nothing new."""
        now, made = self._clock(), []
        for job, outcome in zip(jobs, outcomes, strict=True):
            times = replace(times_of(look.frame, job, now), decode_ms=look.decode_ms)
            made.append(replace(outcome, header=look.frame.header, times=times, reused=True))
        return made

    def _together(
        self, look: Look, jobs: Sequence[Job], config: Config, cancel: Callable[[], bool]
    ) -> list[Outcome]:
        """As one batch, whose limit is the earliest of the jobs'."""
        begun = time.monotonic()
        try:
            came = look.seen.answer(
                [job.query for job in jobs],
                return_errors=True,
                max_new_tokens=config.max_new_tokens or None,
                cancel=cancel,
                timeout=max(min(job.left for job in jobs), LEAST_SECONDS),
                **_taken(look.seen.answer, _unverified(config)),
            )
        except Exception as error:  # none of them could be asked
            came = [error] * len(jobs)
        took = 1e3 * (time.monotonic() - begun)
        return [self._outcome(job, look, one, took) for job, one in zip(jobs, came, strict=True)]

    def _alone(self, look: Look, job: Job, config: Config, cancel: Callable[[], bool]) -> Outcome:
        query, begun = job.query, time.monotonic()
        options: dict[str, Any] = {
            "max_new_tokens": query.max_new_tokens or config.max_new_tokens or None,
            "cancel": cancel,
            "timeout": max(job.left, LEAST_SECONDS),
        }
        if job.on_text is not None:
            options["on_text"] = job.on_text
        more = _unverified(config)
        if job.on_found is not None:
            more["on_found"] = job.on_found
        try:
            if cancel():
                raise Cancelled("the query was cancelled before the model began")
            if query.box is not None and look.rgb is not None:
                checked_box(query.box, (look.rgb.shape[1], look.rgb.shape[0]))
            method = getattr(look.seen, query.task.value)
            came = query.put_to(look.seen, **options, **_taken(method, more))
        except Exception as error:
            came = error
        return self._outcome(job, look, came, 1e3 * (time.monotonic() - begun))

    def _outcome(self, job: Job, look: Look, came: Any, took: float = math.nan) -> Outcome:
        """What became of a job. came: a result, an error, or its name and a sentence.

        took: milliseconds of the call; what a result says of its own time goes first.
        """
        result, raw = None, ""
        if isinstance(came, tuple):
            status, text = came
        elif isinstance(came, Exception):
            status, text = named(came)
            raw = getattr(came, "partial_text", "")
            forget_traces(came)
        else:
            result, status, raw = came, Status(came.status), came.raw_text
            text = SENTENCES.get(status, "")
        if status is Status.OUT_OF_MEMORY:
            self.looks.forget(look)
        own = getattr(result, "milliseconds", math.nan)
        cost = getattr(result, "cost", Cost())
        times = replace(
            times_of(look.frame, job, self._clock()),
            decode_ms=look.decode_ms,
            look_ms=look.look_ms,
            query_ms=own
            if math.isfinite(own)
            else took
            if result is not None or raw
            else math.nan,
            tokens=getattr(result, "tokens", 0) or 0,
            passes=cost.passes,
            accepted=cost.accepted,
            cached=cost.cached,
        )
        if result is not None:
            self._counts.keep(times)
        unread = tuple(result.unread) if result is not None else ()
        height, width = look.rgb.shape[:2] if look.rgb is not None else (0, 0)
        return Outcome(
            job.query,
            status,
            text,
            result,
            raw,
            unread,
            look.frame.header,
            width,
            height,
            times,
            camera=job.camera,
        )


def _unverified(config: Config) -> dict[str, Any]:
    """The keyword that leaves out the question whether a thing is there, where it is to be."""
    return {} if config.verify else {"verify": False}


def _taken(function: Callable, options: dict[str, Any]) -> dict[str, Any]:
    """Those of some keywords that a model's function takes."""
    if not options:
        return {}
    parameters = inspect.signature(function).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return options
    return {name: value for name, value in options.items() if name in parameters}


def times_of(frame: Frame | None, job: Job, now: float) -> Times:
    """The times that do not depend on the answer. now: the node's clock."""
    steady = time.monotonic()
    taken = steady if job.taken is None else job.taken
    begun = now - (steady - taken)
    return Times(
        received=frame.received if frame is not None else now - (steady - job.asked),
        started=begun,
        finished=now,
        image_age_ms=1e3 * (begun - frame.stamp) if frame is not None else math.nan,
        queue_ms=1e3 * (taken - job.asked),
    )
