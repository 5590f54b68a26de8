"""The node's model -> what answers over HTTP: its questions join the batch of the others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.ros.state import State
from sphinx_ros.ros.worker import AT_ONCE, Worker
from sphinx_ros.serve.desk import Desk, Limits
from sphinx_ros.serve.work import Health, Json, Work

PICTURES = 64 << 20
"""Bytes of clients' pictures that are kept by name."""


class Lent:
    """What answers over HTTP, a :class:`sphinx_ros.serve.work.Backend`: the worker's model.

    A node that comes to rest cancels what is asked here, too; the next desk begins anew.
    """

    def __init__(self, worker: Worker):
        self._worker = worker
        self._desk = self._opened()

    def _opened(self) -> Desk:
        return Desk(self._model, self.health, self._limits())

    def _limits(self) -> Limits:
        config = self._worker.inbox.config
        return Limits(
            slots=AT_ONCE,
            timeout=config.default_timeout,
            pixels=config.max_image_pixels,
            pictures=PICTURES,
        )

    def _model(self) -> Any:
        """The model. Raises NOT_ACTIVE where the node takes no requests."""
        self._worker.life.check(self._worker.inbox.config.active)
        model = self._worker.model
        if model is None:
            raise SphinxError("the model is being loaded anew", status=Status.NOT_ACTIVE)
        return model

    def health(self) -> Health:
        """Whether it can answer now."""
        config, life = self._worker.inbox.config, self._worker.life
        try:
            life.check(config.active)
        except SphinxError as error:
            state = "loading" if life.state is State.LOADING else "failed"
            return Health(state, str(error), config.checkpoint)
        return Health("ready", "", config.checkpoint, self._worker.device)

    def do(self, work: Work) -> AsyncIterator[Json]:
        """Answer."""
        self._desk.limits = self._limits()  # as the node's parameters are now
        return self._desk.do(work)

    def figures(self) -> Mapping[str, float]:
        """What was done since the node came to rest last, and what is under way."""
        return self._desk.figures()

    def separate(self) -> None:
        """Let nobody share an answer with those who asked the model before."""
        self._desk.separate()

    def cancel(self) -> None:
        """Cancel all works, and take no more."""
        self._desk.cancel()

    def watch(self) -> None:
        """Give up works that make no step for `hang_seconds`, and the model that they ask."""
        limit = self._worker.inbox.config.hang_seconds
        hung = self._desk.hung(limit) if limit > 0 else []
        if not hung:
            return
        before, self._desk = self._desk, self._opened()
        reason = f"no step for {limit:g} s in answering over HTTP"
        if any(flight.model is self._worker.model for flight in hung):  # not the one after it
            self._worker.give_up(reason)
        why = f"the model was given up: {reason}"
        before.give_up(SphinxError(why, status=Status.INTERNAL))

    def rest(self, seconds: float) -> bool:
        """Cancel all works; whether their threads let the model go within some seconds."""
        before, self._desk = self._desk, self._opened()
        return before.close(seconds)
