"""A checkpoint -> its model, loaded by a thread, and how far that is. Knows no HTTP."""

from __future__ import annotations

import logging
import threading
from typing import Any

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.serve.work import Health

log = logging.getLogger("sphinx_ros")


class Lender:
    """A checkpoint that is loaded from the moment this is made. Calling it lends the model.

    checkpoint, options: as for :meth:`sphinx_ros.pipeline.Sphinx.from_pretrained`.
    """

    def __init__(self, checkpoint: str, **options: Any):
        self.checkpoint, self._options = checkpoint, options
        self._model: Any = None
        self._trouble, self._progress = "", (0, 0)
        self.settled = threading.Event()
        threading.Thread(target=self._load, name="sphinx_ros load", daemon=True).start()

    def _load(self) -> None:
        try:
            from sphinx_ros.pipeline import Sphinx

            self._model = Sphinx.from_pretrained(
                self.checkpoint, progress=self._note, **self._options
            )
        except Exception as error:  # the server lives, and says it
            if not isinstance(error, SphinxError):
                log.error("the model could not be loaded", exc_info=error)
            self._trouble = str(error) or type(error).__name__
        self.settled.set()

    def _note(self, done: int, whole: int) -> None:
        self._progress = done, whole

    def __call__(self) -> Any:
        """The model. Raises SphinxError, NOT_ACTIVE: it is loading, failed or lost."""
        health = self.health()
        if health.state != "ready":
            what = "the model is still loading" if health.state == "loading" else "no model"
            said = f"{what} ({health.message})" if health.message else what
            remedy = ": try again in a moment" if health.state == "loading" else ""
            raise SphinxError(said + remedy, status=Status.NOT_ACTIVE)
        return self._model

    def health(self) -> Health:
        """Whether there is a model now."""
        if self._trouble:
            return Health("failed", self._trouble, self.checkpoint)
        if self._model is None:
            done, whole = self._progress
            far = f"{done / 1e6:.0f} of {whole / 1e6:.0f} MB" if whole else ""
            return Health("loading", far, self.checkpoint)
        if self._model.trouble:
            return Health("failed", f"lost: {self._model.trouble}", self.checkpoint)
        return Health("ready", "", self.checkpoint, str(self._model.device))

    def close(self) -> None:
        """Let the model go: end the processes that share it."""
        if self._model is not None:
            self._model.close()
