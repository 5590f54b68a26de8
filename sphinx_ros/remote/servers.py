"""Several servers and a model of this process -> the one that answers now, and back again.

The first that can be reached is asked. A thread looks whether those that could not be are back; it
lives while there are such, or all the time where a heartbeat is asked for.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from sphinx_ros.errors import Unreachable
from sphinx_ros.remote.link import Link
from sphinx_ros.remote.patience import Patience
from sphinx_ros.remote.spare import Spare

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
        self._spare = Spare(load)
        self._lock, self._over = threading.Lock(), threading.Event()
        self._watching = False
        if heartbeat:
            self.failed()

    @property
    def has_local(self) -> bool:
        """Whether there is a model of this process to fall back on."""
        return self._spare.there

    @property
    def trouble(self) -> str:
        """Why nobody can answer; "" where somebody can."""
        if self.has_local or any(not link.trouble for link in self.links):
            return ""
        troubles = [*(link.trouble for link in self.links), self._spare.trouble]
        return "; ".join(filter(None, troubles))

    def reachable(self) -> list[Link]:
        """Whom to ask, one after another; nobody where the model of this process is to answer."""
        well = [link for link in self.links if not link.trouble]
        return well if well or self.has_local else list(self.links)

    def failed(self) -> None:
        """One could not be reached: look for its return."""
        with self._lock:
            if self._watching or self._over.is_set():
                return
            self._watching = True
        watched = (weakref.ref(self), self._over)
        threading.Thread(
            target=_watch, args=watched, name="sphinx_ros servers", daemon=True
        ).start()

    def pause(self) -> float | None:
        """Seconds until servers are looked at again; None: there is nothing to look for."""
        with self._lock:
            if any(link.trouble for link in self.links):
                return RETURN_SECONDS
            self._watching = bool(self.heartbeat)
            return self.heartbeat or None

    def look(self) -> None:
        """See how the servers are that were away; with a heartbeat the others as well."""
        for link in self.links:
            if self.heartbeat or link.trouble:
                link.health(HEALTH_SECONDS)

    def local(self, patience: Patience) -> Any:
        """The model of this process, loaded now unless it is there.

        Raises:
            Unreachable: it can't be loaded; it is not tried again. Cancelled: closed meanwhile.
            What ends the patience.
        """
        try:
            return self._spare.get(patience)
        except Unreachable as error:
            raise Unreachable(self.trouble or str(error)) from error

    @property
    def loaded(self) -> Any:
        """The model of this process, None where it was never needed."""
        return self._spare.model

    def close(self) -> None:
        """Look no more, let all go."""
        self._over.set()
        for link in self.links:
            link.close()
        self._spare.close()


def _watch(servers: weakref.ref[Servers], over: threading.Event) -> None:
    """Look at servers now and then, as long as somebody holds them and something is away."""
    pause: float | None = RETURN_SECONDS
    while pause is not None and not over.wait(pause):
        held = servers()
        if held is None:
            return
        held.look()
        pause = held.pause()
        del held
