"""Whether there is a model: unloaded, loading, ready, failed, lost and loaded anew, stopped."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Any

from sphinx_ros.errors import Cancelled, SphinxError, Status, Unreachable
from sphinx_ros.ros.outcomes import name_error

log = logging.getLogger("sphinx_ros")

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between tries to load a model that was lost: doubled from the first to the longest."""

AWAY_PAUSE = 1.0
"""Seconds between tries to reach a server that is away."""


class State(str, Enum):
    """Where the model stands."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    STOPPED = "stopped"


class Lifetime:
    """The model's state; only the worker's thread loads, any thread may ask or stop.

    factory: makes the model. A first load that fails is not tried again, as its parameters are
    wrong. One that was there and is lost is: a process of a shared network ended, a step hung; so
    is a server that can't be reached, which comes back by itself.

    Attributes:
        working: whether requests are taken: the node is active.
        progress: (bytes read, bytes in all) of a load; (0, 0) where that is not known. Told by
        :meth:`read_so_far`.
        restarts: how often a model was lost.
        away: whether the server that has the model could not be reached the last time.
        final: whether the node was shut down for good: no transition leads out of that.
    """

    def __init__(self, factory: Callable[[], Any]):
        self._factory, self._lock = factory, threading.Lock()
        self.state, self.trouble, self.working = State.UNLOADED, "", False
        self.progress, self.restarts, self.final = (0, 0), 0, False
        self.away = False
        self._was_ready, self._pause, self._next_try = False, FIRST_PAUSE, 0.0
        self._settled = threading.Condition(self._lock)
        self._order = 0  # of a load: what was ordered before the newest order is not wanted
        self._loader = 0  # the thread that loads now
        self._moved = math.inf  # when the bytes of its load last moved

    @property
    def wanted(self) -> bool:
        """Whether the model is to be loaded now."""
        return self.state is State.LOADING and time.monotonic() >= self._next_try

    def want(self) -> None:
        """Have the model loaded, as if for the first time."""
        with self._lock:
            if self.state not in (State.STOPPED, State.READY):
                self._order += 1
                self.state, self.trouble, self.progress = State.LOADING, "", (0, 0)
                self.final = self.away = False
                self._was_ready, self._pause, self._next_try = False, FIRST_PAUSE, 0.0

    def await_load(self, seconds: float | None = None) -> bool:
        """Wait until a load has ended, one way or the other; whether the model is ready.

        One on a server that is away will be, when that is back: nobody waits for it here.
        """
        with self._settled:
            self._settled.wait_for(lambda: self.state is not State.LOADING or self.away, seconds)
            return self.state is State.READY or self.away

    def read_so_far(self, done: int, whole: int) -> None:
        """Note how many bytes the load has read, of how many; told by the thread that loads."""
        with self._lock:
            if threading.get_ident() != self._loader:  # a load that was given up and went on
                return
            if (done, whole) != self.progress:
                self.progress, self._moved = (done, whole), time.monotonic()

    def give_up_load(self, limit: float) -> bool:
        """Whether a load did not go on for so many seconds, which is its failure now.

        It counts from its first bytes: before these a checkpoint may be downloaded, and of a
        network that several processes read no bytes are told.
        """
        with self._settled:
            stuck = self.state is State.LOADING and limit < time.monotonic() - self._moved
            if not stuck:
                return False
            done, whole = (f"{size / 1e6:.0f}" for size in self.progress)
            self.trouble = f"no step for {limit:g} s in loading it, {done} of {whole} MB read"
            self._order += 1
            self._loader, self._moved, self.state = 0, math.inf, State.FAILED
            self._settled.notify_all()
        log.error("the load of the model is given up: %s", self.trouble)
        return True

    def drop(self) -> None:
        """There is no model any more, and none is wanted."""
        with self._lock:
            self._order += 1
        self._become(State.UNLOADED)

    def _become(self, state: State) -> None:
        with self._settled:
            if self.state is not State.STOPPED:
                self.state = state
            self._settled.notify_all()

    def load(self, install: Callable[[Any], None]) -> bool:
        """Whether there is a model now; the state tells what became of it.

        install: called with the model before the state says that it is ready. One that was
        dropped meanwhile is not wanted any more: the next may have other parameters.
        """
        with self._lock:
            order, self._loader, self._moved = self._order, threading.get_ident(), math.inf
        try:
            install(self._factory())
        except Exception as error:  # whatever it is, the node must live and say it
            _, text = name_error(error)
            log.debug("the model could not be loaded", exc_info=error)
            with self._settled:
                if order != self._order:
                    return False
                self.trouble, self._moved = text, math.inf
                self.away = isinstance(error, Unreachable)
                if self.state is State.LOADING and not (self._was_ready or self.away):
                    self.state = State.FAILED
                self._next_try = time.monotonic() + (AWAY_PAUSE if self.away else self._pause)
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
                self._settled.notify_all()
            return False
        with self._settled:
            if order != self._order:
                return False
            self.trouble, self._moved, self.away = "", math.inf, False
            self._pause, self._was_ready = FIRST_PAUSE, True
            if self.state is State.LOADING:
                self.state = State.READY
            self._settled.notify_all()
            return self.state is State.READY

    def lose(self, reason: str) -> bool:
        """Note that the model is lost and is to be loaded anew; whether that is news."""
        with self._lock:
            if self.state is not State.READY:
                return False
            self.state, self.trouble = State.LOADING, f"lost ({reason})"
            self.progress, self._next_try = (0, 0), time.monotonic()
            self.restarts += 1
        log.error("the model is lost: %s; loading it anew", reason)
        return True

    def lost(self, asker: Any) -> bool:
        """Whether the worker has something to load: notices a model that is lost, says it once."""
        if self.state is State.READY and asker is not None:
            reason = getattr(asker.model, "trouble", "")
            if reason:
                self.lose(reason)
        return self.wanted

    def problem(self) -> SphinxError | None:
        """Why a request can't be taken, None where it can."""
        with self._lock:
            state, trouble = self.state, self.trouble
        if state is State.STOPPED:
            return Cancelled("the node is shutting down")
        if self.final:
            text = "the node was shut down (finalized): start its process anew"
            return SphinxError(text, status=Status.NOT_ACTIVE)
        if state is State.UNLOADED:
            why = f" ({trouble})" if trouble else ""
            text = f"no model is loaded{why}: configure and activate the node (ros2 lifecycle set)"
            return SphinxError(text, status=Status.NOT_ACTIVE)
        if state is State.FAILED:
            text = f"the model could not be loaded: {trouble}"
        elif state is State.LOADING and self.away:
            text = f"{trouble}; it is tried again, and asked when it is there"
        elif state is State.LOADING and trouble:
            text = f"the model is being loaded anew: {trouble}"
        elif state is State.LOADING:
            text = f"the model is still loading{self._said()}: try again in a moment"
        elif not self.working:
            text = "the node is inactive: activate it (ros2 lifecycle set NODE activate)"
        else:
            return None
        return SphinxError(text, status=Status.NOT_ACTIVE)

    def _said(self) -> str:
        done, whole = self.progress
        return f" ({done / 1e6:.0f} of {whole / 1e6:.0f} MB)" if whole else ""

    def check(self, active: bool) -> None:
        """Raise the named error that keeps a request from being queued. active: the parameter."""
        problem = self.problem()
        if problem is None and not active:
            problem = SphinxError(
                "the node is switched off: set its parameter active to true",
                status=Status.NOT_ACTIVE,
            )
        if problem is not None:
            raise problem

    def stop(self) -> None:
        """Final: nothing is loaded any more."""
        self._become(State.STOPPED)

    def close(self, model: Any) -> None:
        """Let a model go: end the processes that share it."""
        end = getattr(model, "close", None)
        if end is not None:
            try:
                end()
            except Exception as error:  # it may be lost already
                log.warning("the model could not be closed: %s", error)
