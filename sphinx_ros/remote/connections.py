"""Connections of HTTP to one server, kept alive while nobody uses them, for any thread."""

from __future__ import annotations

import http.client
import select
import socket
import threading

from sphinx_ros.remote.address import Address
from sphinx_ros.remote.failing import Unreachable, reason
from sphinx_ros.remote.patience import Patience

CONNECT_SECONDS = 3.0
"""For a connection to come about."""

IDLE = 16
"""Connections of one server that are kept while nobody uses them."""

BROKEN = (OSError, http.client.HTTPException, ValueError)
"""What a connection raises that is no good any more: ValueError where TLS was cut."""


class Connections:
    """Those to one server. address: where it is."""

    def __init__(self, address: Address):
        self._address = address
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._closed = False

    def kept(self) -> http.client.HTTPConnection | None:
        """A connection that is kept and still there."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not _speaks(connection.sock):  # else its end has come
                return connection
            connection.close()

    def made(self, patience: Patience) -> http.client.HTTPConnection:
        """A new connection. Raises Unreachable."""
        secure = self._address.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        left = patience.left()
        seconds = CONNECT_SECONDS if left is None else min(CONNECT_SECONDS, max(left, 0.01))
        connection = kind(self._address.host, self._address.port, timeout=seconds)
        try:
            connection.connect()
        except BROKEN as error:
            connection.close()
            patience.check()
            raise Unreachable(
                f"the server {self._address} can't be reached: {reason(error, seconds)}; is "
                "`sphinx-ros serve` running there?"
            ) from error
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection

    def keep(
        self, connection: http.client.HTTPConnection, reply: http.client.HTTPResponse
    ) -> None:
        """Keep one whose answer was read, or let it go."""
        with self._lock:
            keep = reply.isclosed() and not reply.will_close and len(self._idle) < IDLE
            if keep and not self._closed and connection.sock is not None:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Let all go, and keep none any more."""
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
        for one in idle:
            one.close()


def _speaks(connected: socket.socket) -> bool:
    """Whether there is something to read, unasked. select() takes no more than 1024 files."""
    polled = select.poll()
    polled.register(connected, select.POLLIN)
    return bool(polled.poll(0))
