"""Requests of all clients -> one model in this process, a bounded number at a time.

Worker threads look and ask; the engine batches what they ask at the same time. Equal works are
done once. Knows no HTTP and no torch.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.image.picture_size import MAX_PIXELS
from sphinx_ros.remote.wire import error_of
from sphinx_ros.runtime.failures import logged
from sphinx_ros.serve.doing import Turns, doing
from sphinx_ros.serve.flight import Flight, Listener
from sphinx_ros.serve.shelf import Shelf
from sphinx_ros.serve.work import Busy, Health, Json, Work

DECODED = 4
"""Usual pictures that are decoded, or wait for their look, at a time, beside one of the large
ones: they take memory, and looks come one after another anyway."""

ENDING = "the server is ending, or put to rest: ask again when it is back"
"""What those are told whose works it ends: nobody of them has cancelled anything."""

LATELY = 0.2
"""How much the newest work counts in the mean time of a work, which says when to come again."""


@dataclass(frozen=True)
class Limits:
    """What a desk takes on.

    Attributes:
        slots: works that are done at a time. line: works that wait; more are refused.
        timeout: seconds of a request that says none. pixels: of a picture.
        pictures: bytes of picture files that are kept by name.
    """

    slots: int = 16
    line: int = 64
    timeout: float = 120.0
    pixels: int = MAX_PIXELS
    pictures: int = 256 << 20


class Desk:
    """The model of this process as a :class:`sphinx_ros.serve.work.Backend`.

    lend: the model; raises SphinxError (NOT_ACTIVE) while there is none. A model is what
        :meth:`Sphinx.from_pretrained` returns, or has its ``look`` and ``Seen.stream``. Called
        with the name of an adapter where a work has one.
    health: whether there is one.
    """

    def __init__(
        self, lend: Callable[..., Any], health: Callable[[], Health], limits: Limits | None = None
    ):
        self._lend, self._health, self.limits = lend, health, limits or Limits()
        self._shelf = Shelf(self.limits.pictures)
        self._flights: dict[tuple[int, Work], Flight] = {}
        self._era = 0  # which works are alike
        self._line: deque[Flight] = deque()
        self._lock = threading.Lock()
        self._called = threading.Condition(self._lock)
        self._taken: set[Flight] = set()
        self._idle = 0
        self._workers: list[threading.Thread] = []
        self._closed = False
        self._turns = Turns(threading.Semaphore(DECODED), threading.Lock())
        self._counts: Counter[str] = Counter()
        self._mean = 1.0

    def health(self) -> Health:
        """Whether it can answer now."""
        return self._health()

    def figures(self) -> Mapping[str, float]:
        """What was done so far, and what is under way."""
        counts = dict.fromkeys(("looks", "hits", "joined", "questions", "tokens", "passes"), 0.0)
        now = {"running": len(self._taken), "waiting": len(self._line)}
        kept = {"pictures": len(self._shelf), "picture_bytes": self._shelf.nbytes}
        return {**counts, **self._counts, **now, **kept}

    async def do(self, work: Work) -> AsyncIterator[Json]:
        """Answer: see :class:`sphinx_ros.serve.work.Backend`."""
        listener = Listener(work.options.timeout or self.limits.timeout)
        alike = replace(work, options=replace(work.options, timeout=None))  # each has its own
        flight = self._admit(alike, listener)
        try:
            async for event in flight.events(listener):
                yield event
        finally:
            self._leave(flight, listener)

    def separate(self) -> None:
        """Join no work that is under way with an equal one from now on: the model has changed."""
        with self._lock:
            self._era += 1

    def cancel(self) -> None:
        """End all works, NOT_ACTIVE, and take no more."""
        with self._called:
            self._closed = True
            for flight in {*self._flights.values(), *self._line}:
                flight.close(_ending())
            waiting = list(self._line)
            self._line.clear()
            self._called.notify_all()
        for flight in waiting:
            self._settle(flight, flight.stopped())

    def hung(self, seconds: float) -> list[Flight]:
        """The works that make no step for so many seconds."""
        with self._lock:
            least = time.monotonic() - seconds
            return [flight for flight in self._taken if flight.stepped < least]

    def give_up(self, why: SphinxError) -> None:
        """End all works with an error, also those whose threads hang, and take no more."""
        with self._lock:
            flights = {*self._flights.values(), *self._taken}
        for flight in flights:
            flight.end(why)
        self.cancel()

    def close(self, seconds: float) -> bool:
        """:meth:`cancel`; whether the works' threads ended within some seconds."""
        self.cancel()
        end = time.monotonic() + seconds
        for worker in self._workers:
            worker.join(max(0.0, end - time.monotonic()))
        return not any(worker.is_alive() for worker in self._workers)

    # Admission; in the loops' threads

    def _admit(self, work: Work, listener: Listener) -> Flight:
        """A flight for a work: a new one, or that of an equal work."""
        self._lend()  # without a model nothing waits
        with self._called:
            if self._closed:
                raise _ending()
            key = self._era, work
            flight = self._flights.get(key)
            if flight is not None and flight.join(listener):
                self._counts["joined"] += 1
                return flight
            if len(self._line) >= self.limits.line + self._idle_slots():
                raise self._busy()
            kept = self._shelf.take(work.picture, work.encoded)
            drafts = self._shelf.drafts(work.after)
            flight = Flight(replace(work, encoded=None), kept, drafts, self._era)
            flight.join(listener)
            self._flights[key] = flight
            self._line.append(flight)
            if len(self._line) > self._idle and len(self._workers) < self.limits.slots:
                name = f"sphinx_ros serve {len(self._workers)}"
                worker = threading.Thread(target=self._work, name=name, daemon=True)
                self._workers.append(worker)
                worker.start()
            self._called.notify()
            return flight

    def _idle_slots(self) -> int:
        return self.limits.slots - len(self._taken)

    def _busy(self) -> Busy:
        slots, taken, waiting = self.limits.slots, len(self._taken), len(self._line)
        seconds = math.ceil(min(max(self._mean * (waiting + slots) / slots, 1.0), 60.0))
        return Busy(
            f"{taken} requests are being answered and {waiting} wait, which is the limit: "
            f"try again in {seconds} s",
            seconds,
        )

    def _leave(self, flight: Flight, listener: Listener) -> None:
        """One who does not listen any more. A flight that nobody wants waits no longer."""
        flight.leave(listener)
        with self._called:
            waits = flight.closed and flight in self._line
            if waits:
                self._line.remove(flight)
        if waits:
            self._settle(flight, flight.stopped())

    # The work; in the workers' threads

    def _work(self) -> None:
        while self._next_flight():
            pass  # nothing of the last one, such as its picture, is held while the next comes

    def _next_flight(self) -> bool:
        with self._called:
            self._idle += 1
            while not self._line and not self._closed:
                self._called.wait()
            self._idle -= 1
            if self._closed:
                return False
            flight = self._line.popleft()
            self._taken.add(flight)
            flight.take()
        begun, error = time.monotonic(), None
        try:
            adapter = flight.work.model
            flight.model = self._lend(adapter) if adapter else self._lend()
            for told in doing(flight, self.limits.pixels, self._count, self._turns):
                flight.tell(told)
        except Exception as failure:
            # its traceback holds the picture and all that was made of it
            why = logged(failure, "the server's", "a request")
            error = error_of(why.status, str(why), why.partial_text)
            del why
        took = time.monotonic() - begun
        with self._called:
            self._taken.remove(flight)
            self._mean += LATELY * (took - self._mean)
        self._settle(flight, error)
        return True

    def _count(self, **more: int) -> None:
        """So much more of some figures."""
        with self._lock:
            self._counts.update(more)

    def _settle(self, flight: Flight, error: SphinxError | None) -> None:
        """The end of a flight, whatever it was."""
        with self._called:
            key = flight.era, flight.work
            if self._flights.get(key) is flight:
                del self._flights[key]
        bad = error is not None and error.status is Status.BAD_IMAGE
        self._shelf.give_back(flight.work.picture, bad)
        flight.end(error)


def _ending() -> SphinxError:
    return SphinxError(ENDING, status=Status.NOT_ACTIVE)
