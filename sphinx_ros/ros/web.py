"""The node's model and cameras over HTTP: the page and the doors of docs/serve.md, in a thread.

What serves is imported where a port is set, and not before.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from sphinx_ros.errors import BadRequest
from sphinx_ros.remote.address import demanded_token
from sphinx_ros.ros.params import Config
from sphinx_ros.ros.worker import Worker
from sphinx_ros.runtime.extras import extra

log = logging.getLogger("sphinx_ros")

LOOPBACK = ("127.", "::1", "localhost")


class Web:
    """The server of a node, from :meth:`open` to :meth:`close`; nothing where no port is set.

    tell: called with what people are to know, a line.

    Attributes:
        address: "http://127.0.0.1:8000"; "" while it is not served. trouble: why not, or "".
    """

    def __init__(self, worker: Worker, tell: Callable[[str], None]):
        self.address = self.trouble = ""
        self._tell = tell
        self._worker = worker
        self._lent: Any = None
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
        with extra("serve", "the page", "set web_port to 0"):
            from sphinx_ros.ros.web_cameras import WebCameras
            from sphinx_ros.ros.web_model import Lent
            from sphinx_ros.serve.app import Settings, application
            from sphinx_ros.serve.guard import host_names
            from sphinx_ros.serve.server import Server, address_of, bound
        cameras, hosts = WebCameras(self._worker.inbox), tuple(host_names(config.web_host))
        token = demanded_token(config.web_token)
        listening = bound(config.web_host, config.web_port)
        lent = self._lent = Lent(self._worker)
        app = application(lent, Settings(token, hosts, cameras=cameras))

        def end() -> None:
            cameras.close()
            lent.cancel()

        self._server = Server(app, on_end=end)
        self._thread = threading.Thread(
            target=self._server.run_on, args=[listening], name="sphinx-web", daemon=True
        )
        self._thread.start()
        self.address = address_of(listening)

    def watch(self) -> None:
        """Give up what hangs; to be called a few times a second."""
        if self._lent is not None:
            self._lent.watch()

    def separate(self) -> None:
        """The model answers otherwise from now on."""
        if self._lent is not None:
            self._lent.separate()

    def rest(self, seconds: float = 2.0) -> None:
        """Cancel what is asked, as the node comes to rest; others may ask when it works again."""
        if self._lent is not None:
            self._lent.rest(seconds)

    def close(self, seconds: float = 2.0) -> None:
        """End."""
        if self._server is not None and self._thread is not None:
            self._server.end()
            self._thread.join(seconds)
            self._server, self.address = None, ""
