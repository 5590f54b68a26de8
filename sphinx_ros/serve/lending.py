"""A checkpoint -> its model, loaded by a thread, and how far that is. Knows no HTTP."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from sphinx_ros.errors import SphinxError
from sphinx_ros.serve.work import Health, NoModel

log = logging.getLogger("sphinx_ros")


class Lender:
    """A checkpoint that is loaded from the moment this is made. Calling it lends the model.

    checkpoint, options: as for :meth:`sphinx_ros.pipeline.Sphinx.from_pretrained`. adapters: name
    -> folder of an adapter of the checkpoint, whose model can be lent as well.

    Attributes:
        failure: what kept the model from being loaded; there will be none. settled: whether it is
            known how the load ended.
    """

    def __init__(
        self, checkpoint: str, *, adapters: Mapping[str, str] | None = None, **options: Any
    ):
        self.checkpoint, self._options = checkpoint, options
        self._adapters = dict(adapters or {})
        self._model: Any = None
        self._adapted: dict[str, Any] = {}
        self.failure: Exception | None = None
        self._progress = 0, 0
        self.settled = threading.Event()
        threading.Thread(target=self._load, name="sphinx_ros load", daemon=True).start()

    def _load(self) -> None:
        try:
            from sphinx_ros.pipeline import Sphinx

            model = Sphinx.from_pretrained(self.checkpoint, progress=self._note, **self._options)
            for name, folder in self._adapters.items():
                self._adapted[name] = model.adapt(folder)
            self._model = model
        except Exception as error:  # told by whoever serves the model
            if not isinstance(error, SphinxError):
                log.error("the model could not be loaded", exc_info=error)
            self.failure = error
        self.settled.set()

    def _note(self, done: int, whole: int) -> None:
        self._progress = done, whole

    def __call__(self, adapter: str = "") -> Any:
        """The model, or that of an adapter by its name. Raises NoModel: it is loading, failed or
        lost.
        """
        health = self.health()
        far = f" ({health.message})" if health.message else ""
        if health.state == "loading":
            raise NoModel(f"the model is still loading{far}: try again in a moment")
        if health.state != "ready":
            raise NoModel(f"no model{far}", None)
        return self._adapted[adapter] if adapter else self._model

    def health(self) -> Health:
        """Whether there is a model now."""
        if self.failure is not None:
            return self._health("failed", str(self.failure) or type(self.failure).__name__)
        if self._model is None:
            done, whole = self._progress
            far = f"{done / 1e6:.0f} of {whole / 1e6:.0f} MB" if whole else ""
            return self._health("loading", far)
        if self._model.trouble:
            return self._health("failed", f"lost: {self._model.trouble}")
        return self._health("ready", "", str(self._model.device))

    def _health(self, state: str, message: str, device: str = "") -> Health:
        return Health(state, message, self.checkpoint, device, tuple(self._adapters))

    def close(self) -> None:
        """Let the model go: end the processes that share it."""
        if self._model is not None:
            self._model.close()
