"""One server: requests of HTTP over kept-alive connections -> its JSON, or named errors.

Any number of threads may ask. What ends an exchange early is a :class:`Patience`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator, Mapping
from typing import Any

from sphinx_ros.errors import SphinxError, TimedOut
from sphinx_ros.remote.address import BUSY, SILENCE, Address
from sphinx_ros.remote.connections import BROKEN, Connections
from sphinx_ros.remote.failing import Unreachable, failure, inactive, reason
from sphinx_ros.remote.patience import Overseer, Patience
from sphinx_ros.remote.traffic import Traffic

Json = dict[str, Any]

CHUNK = 1 << 16

LATER = 1.0
"""Seconds behind a time limit at which a socket gives up by itself: the overseer is to do so."""

LARGEST = 64 << 20
"""Bytes of an answer, or of an event, at most: what sends more is no server of ours."""


class Link:
    """A server.

    token: of the bearer, "" for none. silence: seconds without a byte at most, where there is no
    time limit.

    Attributes:
        busy: seconds for which it is asked again while it has too much to do, where there is no
            time limit.
        trouble: why it could not be reached the last time; "" where it could.
        traffic: what went over it.
    """

    def __init__(
        self,
        address: Address,
        token: str,
        overseer: Overseer,
        silence: float = SILENCE,
        busy: float = BUSY,
    ):
        self.address, self.trouble, self.traffic, self.busy = address, "", Traffic(), busy
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._overseer, self._silence = overseer, silence
        self._connections = Connections(address)

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

    def soon(self, path: str, seconds: float) -> Json:
        """The whole answer to a GET that needs no model, within some seconds.

        Raises:
            Unreachable: there is none; also where it says nothing so long.
        """
        seconds = min(seconds, self._silence)
        try:
            return self.fetch(path, Patience(timeout=seconds))
        except TimedOut:
            self.trouble = f"the server {self.address} has said nothing for {seconds:g} s"
            raise Unreachable(self.trouble) from None

    def health(self, seconds: float) -> None:
        """Note in ``trouble`` whether the server can answer."""
        try:
            with self.traffic.ping():
                self.soon("/healthz", seconds)
        except SphinxError as error:
            self.trouble = str(error)

    def inactive(self, error: SphinxError) -> Unreachable:
        """The error of a question that it can't answer now; it is looked for from now on."""
        away = inactive(self.address, str(error))
        self.trouble = str(away)
        return away

    def pause(self, patience: Patience, seconds: float) -> None:
        """Wait before it is asked again. Raises what ends it meanwhile, the closing as well."""
        self._overseer.watch(patience)
        try:
            patience.pause(seconds)
        finally:
            self._overseer.leave(patience)

    def close(self) -> None:
        """Let all connections go."""
        self._connections.close()

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
            self._connections.keep(connection, reply)
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
            kept = self._connections.kept()
            connection = kept or self._connections.made(patience)
            try:
                left = patience.left()
                connection.sock.settimeout(self._silence if left is None else left + LATER)
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

    def _lost(self, error: Exception, patience: Patience) -> Exception:
        """What a broken connection means."""
        if patience.why is not None:
            return patience.why
        if isinstance(error, TimeoutError) and patience.left() is not None:
            return patience.late()
        if isinstance(error, TimeoutError):
            return TimedOut(
                f"the server {self.address} has sent nothing for {self._silence:g} s; is it "
                "overloaded? Ask with a time limit, or connect with a longer silence"
            )
        self.trouble = f"the server {self.address} was lost while it answered: {reason(error)}"
        return Unreachable(f"{self.trouble}; ask again")


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
