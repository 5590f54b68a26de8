"""One work while it is done: what is told of it, and all who asked for the same. Knows no HTTP.

A worker thread tells; any number of asyncio tasks listen, each from the first event on.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from sphinx_ros.errors import Cancelled, SphinxError, Status, TimedOut
from sphinx_ros.remote.wire import answer_to_json, error_of
from sphinx_ros.serve.shelf import Kept
from sphinx_ros.serve.work import Json, Work

GRACE = 0.5
"""Seconds beyond a time limit in which the model's own word on it, with the text so far, is
awaited: a pass of the network may last that long."""


class Listener:
    """One who asked. seconds: until its time limit runs out."""

    def __init__(self, seconds: float):
        self.seconds, self.deadline = seconds, time.monotonic() + seconds
        self.loop, self.wake = asyncio.get_running_loop(), asyncio.Event()

    def call(self) -> None:
        """There is something new; from any thread."""
        with contextlib.suppress(RuntimeError):  # its loop has ended, and it with it
            self.loop.call_soon_threadsafe(self.wake.set)


class Flight:
    """A work that waits or is done.

    Attributes:
        kept: its picture. drafts: what may be written again. era: an equal work of another one is
        not the same.
        told: all events so far. error: what ended all of it, or None.
        ended: nothing more will be told. closed: nobody wants it any more, or is to have it.
        taken: when a worker began, seconds of the steady clock; None while it waits.
        stepped: when its work last went on. model: what is asked; None before.
    """

    def __init__(
        self, work: Work, kept: Kept, drafts: Mapping[Any, Any] | None = None, era: int = 0
    ):
        self.work, self.kept, self.drafts, self.era = work, kept, drafts or {}, era
        self.told: list[Json] = []
        self.error: SphinxError | None = None
        self.ended = self.closed = False
        self.taken: float | None = None
        self.stepped, self.model = 0.0, None  # type: float, Any
        self._deadline, self._why = 0.0, None  # type: float, SphinxError | None
        self._listeners: tuple[Listener, ...] = ()
        self._lock = threading.Lock()

    def join(self, listener: Listener) -> bool:
        """One more who wants it; False where it is given up already, or about to be."""
        with self._lock:
            if self.closed or (self._listeners and time.monotonic() >= self._deadline):
                return False
            self._listeners += (listener,)
            self._deadline = max(self._deadline, listener.deadline)
            return True

    def leave(self, listener: Listener) -> None:
        """One who wants it no more; the last one cancels it."""
        with self._lock:
            self._listeners = tuple(one for one in self._listeners if one is not listener)
            self.closed = self.closed or not self._listeners

    def close(self, why: SphinxError | None = None) -> None:
        """Nobody is to have it: it ends before the next pass, CANCELLED or with this error."""
        self._why = self._why or why
        self.closed = True

    def take(self) -> None:
        """A worker begins."""
        self.taken = self.stepped = time.monotonic()

    def over(self) -> bool:
        """Whether to stop: asked before every pass of the network, which is a step."""
        self.stepped = time.monotonic()
        return self._over()

    def _over(self) -> bool:
        return self.closed or time.monotonic() >= self._deadline

    def stopped(self, partial_text: str = "") -> SphinxError:
        """Why it is :meth:`over`."""
        if self._why is not None:
            return error_of(self._why.status, str(self._why), partial_text)
        if self.closed:
            return Cancelled("cancelled", partial_text=partial_text)
        seconds = max((one.seconds for one in self._listeners), default=0.0)
        return timed_out(seconds, partial_text)

    # The worker's side

    def tell(self, event: Json) -> None:
        """An event for all who listen."""
        self.told.append(event)
        self._call()

    def end(self, error: SphinxError | None = None) -> None:
        """Nothing more will be told. error: what kept it from being answered, the first one."""
        if not self.ended:
            self.error, self.ended = error, True
        self._call()

    def _call(self) -> None:
        # Who joins meanwhile looks at what was told after it has joined: nothing is missed.
        for listener in self._listeners:
            listener.call()

    # The listener's side

    async def events(self, listener: Listener) -> AsyncIterator[Json]:
        """All events, those told before first. Raises the error that ended it."""
        read, patience = 0, listener.deadline
        timer = listener.loop.call_later(listener.seconds, listener.wake.set)
        try:
            while True:
                listener.wake.clear()
                ended = self.ended
                while read < len(self.told):
                    read += 1
                    yield self.told[read - 1]
                if ended:
                    break
                now = time.monotonic()
                waited = patience > listener.deadline or self.taken is None
                if now >= patience and (waited or not self._over()):
                    for event in self._late(listener, read):
                        yield event
                    return
                if now >= patience:
                    patience = now + GRACE
                    timer = listener.loop.call_later(GRACE + 0.01, listener.wake.set)
                await listener.wake.wait()
        finally:
            timer.cancel()
        if self.error is not None:
            error = self.error
            raise error_of(error.status, str(error), error.partial_text)

    def _late(self, listener: Listener, read: int) -> list[Json]:
        """What one is told whose time is over while the work goes on. Raises TimedOut."""
        told = self.told[:read]
        if not told:
            raise timed_out(listener.seconds)
        finished = {event["number"] for event in told if event["type"] == "finished"}
        late = []
        for number, task in enumerate(self.work.tasks):
            if number in finished:
                continue
            pieces = (e["text"] for e in told if e["type"] == "piece" and e["number"] == number)
            answer = answer_to_json(task, timed_out(listener.seconds, "".join(pieces)))
            late.append({"type": "finished", "number": number, "answer": answer})
        return late


def timed_out(seconds: float, partial_text: str = "") -> TimedOut:
    """The error of a time limit."""
    return TimedOut(
        f"no complete answer within {seconds:.3g} s; allow more time or fewer tokens",
        status=Status.TIMEOUT,
        partial_text=partial_text,
    )
