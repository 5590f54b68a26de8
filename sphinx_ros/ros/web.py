"""The node's model and cameras over HTTP: the page and the doors of docs/serve.md, in a thread.

The model is the worker's: questions from here join the batch of the others.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from sphinx_ros.errors import BadRequest, SphinxError, Status
from sphinx_ros.ros.params import Config
from sphinx_ros.ros.state import State
from sphinx_ros.ros.worker import AT_ONCE, Worker
from sphinx_ros.serve.desk import Desk, Limits
from sphinx_ros.serve.work import Health, Json, Work

log = logging.getLogger("sphinx_ros")

PICTURES = 64 << 20
"""Bytes of clients' pictures that are kept by name."""

LOOPBACK = ("127.", "::1", "localhost")


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


class Web:
    """The server of a node, from :meth:`open` to :meth:`close`; nothing where no port is set.

    tell: called with what people are to know, a line.

    Attributes:
        address: "http://127.0.0.1:8000"; "" while it is not served. trouble: why not, or "".
    """

    def __init__(self, worker: Worker, tell: Callable[[str], None]):
        self.address = self.trouble = ""
        self._tell = tell
        self._worker, self._lent = worker, Lent(worker)
        self._server: Any = None
        self._thread: threading.Thread | None = None

    def open(self, config: Config) -> None:
        """Begin to serve. What keeps it from it is one line of the log, and the node lives on."""
        if not config.web_port:
            return
        try:
            self._begin(config)
        except BadRequest as error:
            self.trouble = str(error)
            log.error("web_port: %s", error)
            return
        self._tell(f"the page is at {self.address}")
        if not (config.web_token or config.web_host.startswith(LOOPBACK)):
            log.warning("whoever reaches %s can ask: set web_token", self.address)

    def _begin(self, config: Config) -> None:
        try:
            from sphinx_ros.ros.web_cameras import WebCameras
            from sphinx_ros.serve.app import Settings, application
            from sphinx_ros.serve.guard import host_names
            from sphinx_ros.serve.server import Server, address_of, bound
        except ImportError as error:
            raise BadRequest(
                f"{error.name} is missing, which the page needs: "
                'pip install "sphinx_ros[serve]", or set web_port to 0'
            ) from error
        cameras, hosts = WebCameras(self._worker.inbox), tuple(host_names(config.web_host))
        app = application(self._lent, Settings(config.web_token, hosts, cameras=cameras))
        listening = bound(config.web_host, config.web_port)

        def end() -> None:
            cameras.close()
            self._lent.cancel()

        self._server = Server(app, on_end=end)
        self._thread = threading.Thread(
            target=self._server.run_on, args=[listening], name="sphinx-web", daemon=True
        )
        self._thread.start()
        self.address = address_of(listening)

    def watch(self) -> None:
        """Give up what hangs; to be called a few times a second."""
        self._lent.watch()

    def separate(self) -> None:
        """The model answers otherwise from now on."""
        self._lent.separate()

    def rest(self, seconds: float = 2.0) -> None:
        """Cancel what is asked, as the node comes to rest; others may ask when it works again."""
        self._lent.rest(seconds)

    def close(self, seconds: float = 2.0) -> None:
        """End."""
        if self._server is not None and self._thread is not None:
            self._server.end()
            self._thread.join(seconds)
            self._server, self.address = None, ""
