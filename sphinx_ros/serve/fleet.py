"""Works -> replicas on Ray Serve, and what these tell back. Knows no model and no torch.

A replica may end at any moment, or say NOT_ACTIVE, as one does that is told to end. What it had
not answered is then asked of another one; where a part of an answer was already told, the query
ends with INTERNAL, or with what the replica says.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ray.exceptions import ObjectLostError, RayActorError, RayError
from ray.serve.exceptions import RayServeException

from sphinx_ros.errors import SphinxError, Status, first_line
from sphinx_ros.remote.wire import answer_to_json, error_of
from sphinx_ros.serve.desk import Limits
from sphinx_ros.serve.flight import GRACE, timed_out
from sphinx_ros.serve.rendezvous import Homes
from sphinx_ros.serve.replica import REFUSED, refused
from sphinx_ros.serve.reports import Report, Reports
from sphinx_ros.serve.shelf import Shelf
from sphinx_ros.serve.work import Health, Json, NoModel, Work

log = logging.getLogger("sphinx_ros")

LOST = (RayActorError, ObjectLostError)
"""What Ray raises when the process that was asked has ended or can't be reached."""
ATTEMPTS = 4
"""Replicas that a work is given to, one after another, when each of them ends."""
PERIOD, PATIENCE = 2.0, 5.0
"""Seconds between two questions to all replicas how they are, and until one that says nothing."""

INACTIVE = Status.NOT_ACTIVE.name


class Ended(SphinxError):
    """The replica that was asked has ended, or is about to: INTERNAL, or what it says itself."""


class FleetBackend:
    """A :class:`sphinx_ros.serve.work.Backend` of several replicas.

    replicas: the handle of their deployment. limits: of each. model: the checkpoint's name.
    sticky: whether Ray is to be told the picture's name as that of a model of `serve.multiplexed`.
    adapters: names of those that each replica has; None where the replicas are to tell it.
    """

    def __init__(
        self,
        replicas: Any,
        limits: Limits,
        model: str,
        sticky: bool = False,
        adapters: Iterable[str] | None = None,
    ):
        self._replicas, self._timeout, self._model = replicas, limits.timeout, model
        self._sticky, self._given = sticky, None if adapters is None else tuple(adapters)
        self._homes = Homes()
        self._shelf = Shelf(limits.pictures)  # for replicas that do not have a picture
        self._reports = Reports()
        self._closed = threading.Event()
        self._read_reports()
        threading.Thread(target=self._watch, name="sphinx_ros fleet", daemon=True).start()

    def close(self) -> None:
        """Ask the replicas no more how they are."""
        self._closed.set()

    # Answering

    async def do(self, work: Work) -> AsyncIterator[Json]:
        """Answer: see :class:`sphinx_ros.serve.work.Backend`."""
        if self._adapters() is None:  # the work may be meant for one of them
            said = "no replica has said yet which models it has: try again in a moment"
            raise NoModel(said)
        kept = None
        try:
            kept = self._shelf.take(work.picture, work.encoded)
        except SphinxError:
            pass  # a replica may have it
        bad, end = False, time.monotonic() + (work.options.timeout or self._timeout)
        try:
            told = _Told(work)
            for left in reversed(range(ATTEMPTS)):
                try:
                    async with contextlib.aclosing(self._ask(work)) as events:  # type: ignore[type-var]
                        async for event in events:
                            if told.is_new(event):
                                yield event
                    return
                except Ended as error:
                    log.warning("a replica ended while it answered: %s", error)
                    if told.begun() or not left:
                        for event in told.ended(error):
                            yield event
                        return
                    seconds = max(0.1, end - time.monotonic())  # what is left of the time limit
                    work = replace(work, options=replace(work.options, timeout=seconds))
                except SphinxError as error:
                    bad = error.status is Status.BAD_IMAGE
                    lacks = error.status is Status.NO_IMAGE and not work.encoded
                    if not lacks or kept is None or not left:
                        raise
                    work = replace(work, encoded=kept.encoded)
        finally:
            if kept is not None:
                self._shelf.give_back(work.picture, bad)

    async def _ask(self, work: Work) -> AsyncIterator[Json]:
        """What one replica tells, from its first event on.

        Raises:
            Ended: it is lost, or ends; what it had answered was told before. SphinxError: it, or
                Ray, refuses.
        """
        limit = (work.options.timeout or self._timeout) + 2 * GRACE
        home = self._homes.of(work.picture, work.after)
        given = {"multiplexed_model_id": home} if self._sticky else {}
        bunches = self._replicas.options(stream=True, **given).do.remote(work, home)
        gone = ""
        try:
            while True:
                # The replica keeps the time limit; this one is for a fleet without any.
                for event in await asyncio.wait_for(anext(bunches), limit):
                    if event["type"] == REFUSED:
                        raise _of_replica(refused(event))
                    if event["type"] == "finished" and event["answer"]["status"] == INACTIVE:
                        gone = event["answer"]["message"]
                    else:
                        yield event
        except StopAsyncIteration:
            if gone:
                raise Ended(gone, status=Status.NOT_ACTIVE) from None
        except SphinxError:
            raise
        except LOST as error:
            log.debug("a replica is lost: %s", first_line(error))
            raise Ended("the replica that answered has ended: ask again") from None
        except asyncio.TimeoutError:
            raise timed_out(limit) from None
        except RayServeException as error:
            said = f"no replica can answer: {first_line(error)}"
            raise SphinxError(said, status=Status.NOT_ACTIVE) from None
        except RayError as error:
            log.error("a replica failed: %s", error)
            raise SphinxError(f"a replica failed: {first_line(error)}") from None
        finally:
            bunches.cancel()  # who asked may have gone; of what has ended it is nothing

    # How the replicas are

    def health(self) -> Health:
        """Whether one of them can answer now."""
        said, adapters = "no replica is ready yet", self._adapters() or ()
        waiting = Health("loading", said, self._model, adapters=adapters)
        return self._reports.ready() or waiting

    def figures(self) -> Mapping[str, float]:
        """The sums over all replicas, and how many there are."""
        return self._reports.figures()

    def _adapters(self) -> tuple[str, ...] | None:
        """Names of those that can be asked, also while no replica is ready; None: unknown yet."""
        return self._reports.adapters() if self._given is None else self._given

    def _watch(self) -> None:
        """Ask all replicas how they are, again and again; in a thread."""
        while not self._closed.wait(PERIOD):
            self._read_reports()

    def _read_reports(self) -> None:
        said: list[Any] = []
        try:
            if hasattr(type(self._replicas), "broadcast"):
                asked = self._replicas.broadcast("report")
                said = asked.results(timeout_s=PATIENCE, return_exceptions=True)
            else:  # a Ray without this alpha interface
                said = [self._replicas.report.remote().result(timeout_s=PATIENCE)]
        except Exception as error:  # there is none, or none says anything
            log.debug("no replica says how it is: %s", first_line(error))
        self._reports.hear(one for one in said if isinstance(one, Report))


class _Told:
    """What was told of a work, so that another replica does not tell it again."""

    def __init__(self, work: Work):
        self._tasks = work.tasks
        self._looked = False
        self._written: dict[int, str] = {}
        self._finished: set[int] = set()

    def is_new(self, event: Json) -> bool:
        """Whether to tell it."""
        if event["type"] == "look":
            new, self._looked = not self._looked, True
            return new
        number = event["number"]
        if number in self._finished:
            return False
        if event["type"] == "finished":
            self._finished.add(number)
        else:
            self._written[number] = self._written.get(number, "") + event.get("text", "")
        return True

    def begun(self) -> bool:
        """Whether a part of an answer was told: another replica may divide it differently."""
        return bool(self._written.keys() - self._finished)

    def ended(self, error: Ended) -> Iterator[Json]:
        """The end of all queries that have none. Raises the error where nothing was told."""
        if not self._looked:
            raise error
        for number, task in enumerate(self._tasks):
            if number not in self._finished:
                own = error_of(error.status, str(error), self._written.get(number, ""))
                yield {"type": "finished", "number": number, "answer": answer_to_json(task, own)}


def _of_replica(error: SphinxError) -> SphinxError:
    """What a replica refuses a work with; another one may do it where this one is not active."""
    inactive = error.status is Status.NOT_ACTIVE
    return Ended(str(error), status=error.status) if inactive else error
