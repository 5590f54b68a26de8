"""Whether there is a model: loading, ready, failed, lost and loaded anew, stopped."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Any

from sphinx_ros.errors import Cancelled, SphinxError, Status
from sphinx_ros.ros.outcomes import name_error

log = logging.getLogger("sphinx_ros")

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between tries to load a model that was lost: doubled from the first to the longest."""


class State(str, Enum):
    """Where the model stands."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    STOPPED = "stopped"


class Lifetime:
    """The model's state; only the worker's thread loads, any thread may ask or stop.

    factory: makes the model. A first load that fails is final, since its parameters are wrong; a
    model that was there and is lost (a process of a shared network ended) is loaded again.
    """

    def __init__(self, factory: Callable[[], Any]):
        self._factory, self._lock = factory, threading.Lock()
        self.state, self.trouble = State.LOADING, ""
        self._was_ready, self._pause, self._next_try = False, FIRST_PAUSE, 0.0

    @property
    def wanted(self) -> bool:
        """Whether the model is to be loaded now."""
        return self.state is State.LOADING and time.monotonic() >= self._next_try

    def load(self) -> Any:
        """The model, None where it can't be loaded. The state tells what became of it."""
        try:
            model = self._factory()
        except Exception as error:  # whatever it is, the node must live and say it
            _, text = name_error(error)
            log.debug("the model could not be loaded", exc_info=error)
            with self._lock:
                self.trouble = text
                if self.state is State.LOADING and not self._was_ready:
                    self.state = State.FAILED
                self._next_try = time.monotonic() + self._pause
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
            return None
        with self._lock:
            self.trouble, self._pause, self._was_ready = "", FIRST_PAUSE, True
            if self.state is State.LOADING:
                self.state = State.READY
        return model

    def lost(self, asker: Any) -> bool:
        """Whether the worker has something to load: notices a model that is lost, says it once."""
        if self.state is State.READY and asker is not None:
            reason = getattr(asker.model, "trouble", "")
            if reason:
                with self._lock:
                    if self.state is State.READY:
                        self.state, self.trouble = State.LOADING, f"lost ({reason})"
                        self._next_try = time.monotonic()
                log.error("the model is lost: %s; loading it anew", reason)
        return self.wanted

    def problem(self) -> SphinxError | None:
        """Why a request can't be taken, None where it can."""
        with self._lock:
            state, trouble = self.state, self.trouble
        if state is State.STOPPED:
            return Cancelled("the node is shutting down")
        if state is State.FAILED:
            text = f"the model could not be loaded: {trouble}"
        elif state is State.LOADING and trouble:
            text = f"the model is being loaded anew: {trouble}"
        elif state is State.LOADING:
            text = "the model is still loading: try again in a moment"
        else:
            return None
        return SphinxError(text, status=Status.NOT_ACTIVE)

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
        with self._lock:
            self.state = State.STOPPED

    def close(self, model: Any) -> None:
        """Let a model go: end the processes that share it."""
        end = getattr(model, "close", None)
        if end is not None:
            try:
                end()
            except Exception as error:  # it may be lost already
                log.warning("the model could not be closed: %s", error)
