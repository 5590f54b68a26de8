"""What may end an exchange with a server before its answer: the caller, the clock, the closing.

A connection that is given up is cut, which ends the work on the server. Knows no HTTP.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from sphinx_ros.errors import BadRequest, Cancelled, SphinxError, TimedOut, quoted
from sphinx_ros.prompt.checks import LEAST_SECONDS, checked_seconds

PERIOD = 0.01
"""Seconds between two looks at all exchanges under way."""

GRACE = 0.2
"""Seconds beyond a time limit in which the server's own word on it is awaited."""


class Patience:
    """One exchange's. cancel: asked every few milliseconds; True ends it. timeout: seconds."""

    def __init__(self, cancel: Callable[[], bool] | None = None, timeout: float | None = None):
        if cancel is not None and not callable(cancel):
            raise BadRequest(f"cancel is {quoted(cancel)}: give a function")
        if timeout is not None:
            number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
            if number and timeout < LEAST_SECONDS:
                raise TimedOut(f"the time limit of {timeout:g} s is used up before the question")
            timeout = checked_seconds(timeout)
        self._cancel, self._seconds = cancel, timeout
        self._end = None if timeout is None else time.monotonic() + timeout
        self._why: Exception | None = None
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    @property
    def bounded(self) -> bool:
        """Whether anything but the closing can end it."""
        return self._cancel is not None or self._end is not None

    def left(self) -> float | None:
        """Seconds left, None without a limit."""
        return None if self._end is None else max(self._end - time.monotonic(), 0.0)

    def hold(self, connected: socket.socket) -> None:
        """Cut this connection when it is over; at once where it is."""
        with self._lock:
            self._socket = connected
            over = self._why is not None
        if over:
            self.end(self._why)

    def release(self) -> None:
        """The connection is somebody else's now."""
        with self._lock:
            self._socket = None

    def end(self, why: Exception | None) -> None:
        """It is over: cut the connection. From any thread."""
        with self._lock:
            self._why = self._why or why
            if self._socket is not None:
                with contextlib.suppress(OSError):  # the other side was faster
                    self._socket.shutdown(socket.SHUT_RDWR)

    def look(self) -> None:
        """See whether it is over."""
        if self._why is not None:
            return
        try:
            if self._cancel is not None and self._cancel():
                self.end(Cancelled("cancelled before the answer was complete"))
        except Exception as error:  # the caller's own
            self.end(error)
        if self._end is not None and time.monotonic() >= self._end + GRACE:
            self.end(self.late())

    def over(self) -> bool:
        """Whether it is over, for a model that asks."""
        self.look()
        return self._why is not None

    def late(self) -> TimedOut:
        """The error of the time limit."""
        return TimedOut(
            f"no complete answer within {self._seconds:.3g} s; allow more time or fewer tokens"
        )

    def check(self) -> None:
        """Raise what ended it, if it is over by now."""
        self.look()
        if self._why is None and self.left() == 0.0:
            self.end(self.late())
        if self._why is not None:
            raise self._why

    @property
    def why(self) -> Exception | None:
        """What ended it; None while it goes on."""
        return self._why

    def pause(self, seconds: float) -> None:
        """Wait. Raises what ends it meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, PERIOD))
        self.check()

    def wait(self, event: threading.Event) -> None:
        """Wait for an event. Raises what ends the exchange meanwhile."""
        while not event.wait(PERIOD):
            self.check()


class Overseer:
    """Looks at all exchanges under way, in a thread that lives while there are any."""

    IDLE = 5.0
    """Seconds without one after which the thread ends."""

    def __init__(self) -> None:
        self._watched: set[Patience] = set()
        self._changed = threading.Condition()
        self._running = self._closed = False

    def watch(self, patience: Patience) -> None:
        """Look at one until :meth:`leave`. Raises CANCELLED once closed."""
        with self._changed:
            if self._closed:
                raise Cancelled("the connection was closed: connect again")
            self._watched.add(patience)
            if patience.bounded and not self._running:
                self._running = True
                threading.Thread(target=self._run, name="sphinx_ros remote", daemon=True).start()
            self._changed.notify()

    def leave(self, patience: Patience) -> None:
        """It has ended."""
        with self._changed:
            self._watched.discard(patience)

    def close(self) -> None:
        """End all of them, CANCELLED."""
        with self._changed:
            self._closed = True
            watched = list(self._watched)
            self._changed.notify()
        why: SphinxError = Cancelled("the connection was closed while the server answered")
        for one in watched:
            one.end(why)

    def _run(self) -> None:
        while True:
            with self._changed:
                bounded = [one for one in self._watched if one.bounded]
                if not bounded and (self._closed or not self._changed.wait(self.IDLE)):
                    if not any(one.bounded for one in self._watched):
                        self._running = False
                        return
            for one in bounded:
                one.look()
            if bounded:
                time.sleep(PERIOD)
