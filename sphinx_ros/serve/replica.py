"""One of several models, each in a process of its own: works in, what is told of them out.

A replica of Ray Serve. What it can't begin it tells as an event, as errors lose their fields on
the way between processes. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

from ray import serve

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.remote.wire import error_of
from sphinx_ros.serve.desk import Desk, Limits
from sphinx_ros.serve.lending import Lender
from sphinx_ros.serve.reports import Report
from sphinx_ros.serve.work import Busy, Json, Work

PAUSE = 0.02
"""Seconds between two messages about one work, at least: a person does not see it."""
REFUSED = "refused"
"""The type of the event that tells an error."""


class Replica:
    """A model with its desk. checkpoint, options: see :class:`sphinx_ros.serve.lending.Lender`."""

    def __init__(self, checkpoint: str, options: Mapping[str, Any], limits: Limits):
        self._name = uuid.uuid4().hex
        self._model = Lender(checkpoint, **options)
        self._desk = Desk(self._model, self._model.health, limits)
        self._model.settled.wait()  # Ray sends nothing before this has returned
        self.check_health()

    async def do(self, work: Work, home: str) -> AsyncIterator[list[Json]]:
        """All events of a work, in lists: a message of Ray costs more than most of them.

        Ray cancels it when who asked has gone, and so the work. home: what the router reads.
        """
        if picture := serve.get_multiplexed_model_id():
            await self._has(picture)
        try:
            async with contextlib.aclosing(self._desk.do(work)) as events:  # type: ignore[type-var]
                async for several in bunched(events, PAUSE if work.tokens else None):
                    yield several
        except SphinxError as error:
            yield [refusal(error)]

    @serve.multiplexed(max_num_models_per_replica=1000)
    async def _has(self, picture: str) -> str:
        """Tells Ray to send what is about a picture here; used without a router of ours alone."""
        return picture

    async def report(self) -> Report:
        """What it is and has done."""
        return Report(self._name, self._desk.health(), self._desk.figures())

    def check_health(self) -> None:
        """Asked by Ray Serve every few seconds. Raises RuntimeError: it is to be replaced."""
        health = self._model.health()
        if health.state == "failed":
            raise RuntimeError(health.message)

    def __del__(self) -> None:  # called by Ray, when the last work is done or takes too long
        self._desk.close(1.0)
        self._model.close()


async def bunched(events: AsyncIterator[Json], pause: float | None) -> AsyncIterator[list[Json]]:
    """The first event at once, then lists of those that come within ``pause`` seconds.

    pause: None makes one list of all. Raises what ends the events, behind the last list.
    """
    bunch: list[Json] = []
    since, ended = -math.inf, None
    coming = asyncio.ensure_future(anext(events))
    try:
        while ended is None:
            left = max(0.0, since + pause - time.monotonic()) if bunch and pause else None
            await asyncio.wait({coming}, timeout=left)
            if coming.done():
                ended = coming.exception()
                if ended is None:
                    bunch.append(coming.result())
                    coming = asyncio.ensure_future(anext(events))
            if bunch and pause is not None and time.monotonic() >= since + pause:
                yield bunch
                bunch, since = [], time.monotonic()
        if bunch:
            yield bunch
        if not isinstance(ended, StopAsyncIteration):
            raise ended
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


def refusal(error: SphinxError) -> Json:
    """An error as an event."""
    return {
        "type": REFUSED,
        "status": error.status.name,
        "message": str(error),
        "partial_text": error.partial_text,
        "retry_after": getattr(error, "retry_after", 1),
    }


def refused(event: Json) -> SphinxError:
    """The error of :func:`refusal`."""
    status = Status[event["status"]]
    if status is Status.BUSY:
        return Busy(event["message"], event["retry_after"])
    return error_of(status, event["message"], event["partial_text"])
