"""Several servers and a model of this process -> the one that answers now, and back again.

The first that can be reached is asked. A thread looks whether those that could not be are back; it
lives while there are such, or all the time where a heartbeat is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from sphinx_ros.errors import Cancelled, SphinxError
from sphinx_ros.remote.link import Link

RETURN_SECONDS = 1.0
"""Between two looks whether a server is back."""

HEALTH_SECONDS = 2.0
"""For a server to say how it is."""


class Servers:
    """Links in the order of preference.

    load: makes the model of this process that answers while none can be reached; None for none.
    heartbeat: seconds between two looks at servers that are well; 0 for none.
    """

    def __init__(
        self, links: Sequence[Link], load: Callable[[], Any] | None, heartbeat: float = 0.0
    ):
        self.links, self.heartbeat = tuple(links), heartbeat
        self._load, self._local, self._loading = load, None, threading.Lock()
        self._changed = threading.Condition()
        self._watching = self._closed = False
        if heartbeat:
            self._watch()

    @property
    def has_local(self) -> bool:
        """Whether there is a model of this process to fall back on."""
        return self._load is not None

    @property
    def trouble(self) -> str:
        """Why nobody can answer; "" where somebody can."""
        if self.has_local or any(not link.trouble for link in self.links):
            return ""
        return "; ".join(link.trouble for link in self.links)

    def reachable(self) -> list[Link]:
        """Whom to ask, one after another; nobody where the model of this process is to answer."""
        well = [link for link in self.links if not link.trouble]
        return well if well or self.has_local else list(self.links)

    def failed(self) -> None:
        """One could not be reached: look for its return."""
        self._watch()

    def local(self) -> Any:
        """The model of this process, loaded now unless it is there. Raises why it can't be."""
        with self._loading:
            if self._closed:
                raise Cancelled("the connection was closed: connect again")
            if self._local is None:
                assert self._load is not None
                self._local = self._load()
            return self._local

    @property
    def loaded(self) -> Any:
        """The model of this process, None where it was never needed."""
        return self._local

    def look(self) -> None:
        """See how all servers are."""
        for link in self.links:
            link.health(HEALTH_SECONDS)

    def close(self) -> None:
        """Look no more, let all go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for link in self.links:
            link.close()
        with self._loading:
            local, self._local = self._local, None
        if local is not None:
            local.close()

    def _watch(self) -> None:
        with self._changed:
            if self._watching or self._closed:
                return
            self._watching = True
        threading.Thread(target=self._run, name="sphinx_ros servers", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._changed:
                away = [link for link in self.links if link.trouble]
                if self._closed or not (away or self.heartbeat):
                    self._watching = False
                    return
                self._changed.wait(RETURN_SECONDS if away else self.heartbeat)
                if self._closed:
                    return
            for link in self.links if self.heartbeat else away:
                try:
                    link.health(HEALTH_SECONDS)
                except SphinxError as error:  # pragma: no cover - health names what it meets
                    link.trouble = str(error)
