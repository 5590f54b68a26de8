"""An application and an address -> a server that answers until it is to end. Knows no model."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sphinx_ros.errors import BadRequest

BACKLOG = 512
"""Connections that may wait to be accepted."""

HEAD_SECONDS, HEAD_BYTES = 30.0, 64 << 10
"""In which the head of a request must have come, and its size."""

STALL_SECONDS = 60.0
"""In which a client must read some of what waits for it, 64 KiB or more."""

LAST_WORDS = 1
"""Seconds in which answers under way may leave after the end was asked for."""


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens. port 0: one that the system chooses.

    Raises:
        BadRequest: the host is unknown or not of this machine, or the port is taken.
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise BadRequest(
            f"the host {host!r} is unknown ({_reason(error)}): use 127.0.0.1"
        ) from None
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        remedy = (
            "use 127.0.0.1, or 0.0.0.0 for all addresses of this machine"
            if error.errno == errno.EADDRNOTAVAIL
            else "choose another port"
        )
        raise BadRequest(f"{host}:{port} can't be used ({_reason(error)}): {remedy}") from None
    return listening


def address_of(listening: socket.socket) -> str:
    """http://host:port of a socket, by which this machine reaches it."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Connection(H11Protocol):
    """A connection on which the head of a request must come in time, and answers must be read.

    Of h11, which bounds its size; httptools, which uvicorn takes where it is installed, does not.
    """

    _late: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client has come: the time for its head begins."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """More of a head, or of a body."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there: nothing is waited for."""
        super().connection_lost(exc)
        self._watch(over=True)
        self._read_on()

    def pause_writing(self) -> None:
        """Much waits to be read by the client."""
        super().pause_writing()
        self._stalled = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It was read."""
        super().resume_writing()
        self._read_on()

    def _read_on(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _watch(self, over: bool = False) -> None:
        """Begin to wait for the rest of a head, or end it: it is whole, or nobody is there."""
        waiting = not over and self.conn.their_state is h11.IDLE
        if waiting and self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)
        elif not waiting and self._late is not None:
            self._late.cancel()
            self._late = None


class Server(uvicorn.Server):
    """uvicorn's server that leaves signals alone and tells when it ends.

    on_end: called in the server's thread before it waits for the answers under way.
    patience: seconds that it waits for them. over: whether there is no use in going on; asked ten
    times a second, and where it is true the server ends.
    """

    def __init__(
        self,
        app: Any,
        on_end: Callable[[], None] = lambda: None,
        patience: int = LAST_WORDS,
        over: Callable[[], bool] = lambda: False,
    ):
        logging.getLogger("python_multipart").setLevel(logging.ERROR)  # nor do broken forms
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="error",  # who sends nonsense fills no log
                access_log=False,
                ws="none",
                lifespan="on",
                server_header=False,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=patience,
                http=_Connection,
                h11_max_incomplete_event_size=HEAD_BYTES,
            )
        )
        self._on_end, self._over = on_end, over

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Whoever runs this server heeds them."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Whether it is to end."""
        return await super().on_tick(counter) or self._over()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: no new connections; those under way get their last words."""
        self._on_end()
        await super().shutdown(sockets)

    def run_until_signal(self, listening: socket.socket, said: str) -> None:
        """Answer on a socket until SIGINT or SIGTERM, or until it is over; in the main thread.

        said: before, on standard error; "{address}" in it is the socket's.
        """
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {one: signal.signal(one, lambda *_: self.end()) for one in numbers}
        try:
            told = said.replace("{address}", address_of(listening))
            print(told, file=sys.stderr, flush=True)
            self.run_on(listening)
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def end(self) -> None:
        """Have it end, the second time without waiting for anything; from any thread."""
        self.force_exit = self.should_exit
        self.should_exit = True

    def run_on(self, listening: socket.socket) -> None:
        """Answer on a socket until :meth:`end`; in any thread."""
        asyncio.run(self.serve([listening]))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
