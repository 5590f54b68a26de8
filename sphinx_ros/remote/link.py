"""One server: requests of HTTP over kept-alive connections -> its JSON, or named errors.

Any number of threads may ask. What ends an exchange early is a :class:`Patience`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from sphinx_ros.errors import SphinxError, TimedOut
from sphinx_ros.remote.address import Address
from sphinx_ros.remote.failing import Unreachable, failure, reason
from sphinx_ros.remote.patience import Overseer, Patience
from sphinx_ros.remote.traffic import Traffic

Json = dict[str, Any]

CONNECT_SECONDS = 3.0
"""For a connection to come about."""

IDLE = 16
"""Connections of one server that are kept while nobody uses them."""

CHUNK = 1 << 16

LARGEST = 64 << 20
"""Bytes of an answer, or of an event, at most: what sends more is no server of ours."""

BROKEN = (OSError, http.client.HTTPException, ValueError)
"""What a connection raises that is no good any more: ValueError where TLS was cut."""


class Link:
    """A server. token: of the bearer, "" for none. silence: seconds without a byte at most.

    Attributes:
        trouble: why it could not be reached the last time; "" where it could.
        traffic: what went over it.
    """

    def __init__(self, address: Address, token: str, overseer: Overseer, silence: float):
        self.address, self.trouble, self.traffic = address, "", Traffic()
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._overseer, self._silence = overseer, silence
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._closed = False

    def fetch(self, path: str, patience: Patience, body: bytes = b"", kind: str = "") -> Json:
        """The whole answer to a GET, or to a POST where there is a body of a kind."""
        with self._exchange(path, patience, body, kind) as reply:
            return _object(self._whole(reply), self.address)

    def stream(self, path: str, patience: Patience, body: bytes, kind: str) -> Iterator[Json]:
        """The events of an answer to a POST, as they come, up to "[DONE]".

        Raises:
            SphinxError: what the server says in place of the rest; Unreachable: it was lost.
        """
        with self._exchange(path, patience, body, kind) as reply:
            rest, over = b"", False
            while chunk := reply.read1(CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                self._check_size(rest)
                for line in lines:
                    said = line.removeprefix(b"data:").strip()
                    over = over or said == b"[DONE]"
                    if said and not over and line.startswith(b"data:"):
                        yield _object(said, self.address)
            if not over:
                raise http.client.IncompleteRead(rest)

    def health(self, seconds: float) -> None:
        """Note in ``trouble`` whether the server can answer."""
        try:
            with self.traffic.ping():
                self.fetch("/healthz", Patience(timeout=seconds))
        except SphinxError as error:
            silent = isinstance(error, TimedOut)
            said = f"the server {self.address} has said nothing for {seconds:g} s"
            self.trouble = said if silent else str(error)

    def close(self) -> None:
        """Let all connections go."""
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
        for one in idle:
            one.close()

    # One exchange

    @contextlib.contextmanager
    def _exchange(
        self, path: str, patience: Patience, body: bytes, kind: str
    ) -> Iterator[http.client.HTTPResponse]:
        """The beginning of an answer. Raises what :func:`failure` makes of all but 200."""
        self._overseer.watch(patience)
        connection = None
        try:
            connection, reply = self._asked(path, patience, body, kind)
            refused = None
            if reply.status == 200:
                self.trouble = ""
                yield reply
            else:
                headers = {name.lower(): value for name, value in reply.headers.items()}
                refused = failure(self.address, reply.status, headers, self._whole(reply))
            patience.release()
            self._keep(connection, reply)
            connection = None
            if refused is not None:
                raise refused
        except SphinxError as error:
            if isinstance(error, Unreachable):
                self.trouble = str(error)
            raise
        except BROKEN as error:
            raise self._lost(error, patience) from error
        finally:
            patience.release()
            if connection is not None:
                connection.close()
            self._overseer.leave(patience)

    def _whole(self, reply: http.client.HTTPResponse) -> bytes:
        """All of an answer. Raises IncompleteRead: it was cut; BadRequest: it is too large."""
        said = reply.read(LARGEST + 1)
        self._check_size(said)
        if reply.length:  # a bounded read does not tell
            raise http.client.IncompleteRead(said, reply.length)
        reply.read()  # the end, so that the connection can be kept
        return said

    def _check_size(self, said: bytes) -> None:
        if len(said) > LARGEST:
            raise failure(self.address, 200, {}, said[:CHUNK])

    def _asked(
        self, path: str, patience: Patience, body: bytes, kind: str
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Send a request; on a new connection where a kept one turns out to be closed."""
        headers = {**self._headers, **({"Content-Type": kind} if kind else {})}
        while True:
            patience.check()
            kept = self._kept()
            connection = kept or self._connected(patience)
            try:
                patience.hold(connection.sock)
                method, place = "POST" if kind else "GET", self.address.path + path
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    # a body that is too large may be refused before all of it was sent
                    connection.request(method, place, body or None, headers)
                self.traffic.sent(len(body))
                return connection, connection.getresponse()
            except BROKEN as error:
                patience.release()
                connection.close()
                silent = isinstance(error, TimeoutError)
                if kept is None or silent or patience.why is not None:
                    raise

    def _kept(self) -> http.client.HTTPConnection | None:
        """A connection that is kept and still there."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not _speaks(connection.sock):  # else its end has come
                return connection
            connection.close()

    def _connected(self, patience: Patience) -> http.client.HTTPConnection:
        """A new connection. Raises Unreachable."""
        secure = self.address.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        left = patience.left()
        seconds = CONNECT_SECONDS if left is None else min(CONNECT_SECONDS, max(left, 0.01))
        connection = kind(self.address.host, self.address.port, timeout=seconds)
        try:
            connection.connect()
        except BROKEN as error:
            connection.close()
            patience.check()
            raise Unreachable(
                f"the server {self.address} can't be reached: {reason(error, seconds)}; is "
                "`sphinx-ros serve` running there?"
            ) from error
        connection.sock.settimeout(self._silence)
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection

    def _keep(
        self, connection: http.client.HTTPConnection, reply: http.client.HTTPResponse
    ) -> None:
        with self._lock:
            keep = reply.isclosed() and not reply.will_close and len(self._idle) < IDLE
            if keep and not self._closed and connection.sock is not None:
                self._idle.append(connection)
                return
        connection.close()

    def _lost(self, error: Exception, patience: Patience) -> Exception:
        """What a broken connection means."""
        if patience.why is not None:
            return patience.why
        if isinstance(error, TimeoutError):
            return TimedOut(
                f"the server {self.address} has sent nothing for {self._silence:g} s; is it "
                "overloaded? Ask with a time limit, or connect with a longer silence"
            )
        self.trouble = f"the server {self.address} was lost while it answered: {reason(error)}"
        return Unreachable(f"{self.trouble}; ask again")


def _speaks(connected: socket.socket) -> bool:
    """Whether there is something to read, unasked. select() takes no more than 1024 files."""
    polled = select.poll()
    polled.register(connected, select.POLLIN)
    return bool(polled.poll(0))


def _object(said: bytes, address: Address) -> Json:
    """An object of JSON. Raises what an error in it says."""
    try:
        found = json.loads(said)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise failure(address, 200, {}, said)
    if isinstance(found.get("error"), Mapping):
        raise failure(address, 0, {}, said)
    return found
