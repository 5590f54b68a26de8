"""Requests -> those that may come in: by token, Host and Origin, and with bodies of bounded size.

The middleware of ASGI around everything else. Knows no model and no file.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from sphinx_ros.errors import BadRequest, SphinxError, Status, quoted
from sphinx_ros.serve.page_files import FILES
from sphinx_ros.serve.refusals import Refused, error_response, http_status
from sphinx_ros.serve.work import Busy

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LOOPBACK = ("localhost", "127.0.0.1", "::1")
OPEN = ("/healthz", *FILES)
"""What needs no token: it tells nothing that is worth one."""

ANY = "*"
"""The allowed host that stands for all."""

BODIES_AT_ONCE = 8
"""Bodies of the largest size that may be in memory at the same time."""

DRAIN = 1.0
"""Seconds for which the rest of a body that is refused is read."""


class Guard:
    """An ASGI application in front of another one.

    token: what "Authorization: Bearer" must say, "" for nothing. hosts: names that a Host header
    may have beside addresses and those of loopback, as :func:`host_names` gives them. trusted:
    names whose pages may ask beside the server's own. max_body: bytes. body_seconds: in which a
    body must have come. on_refusal: told the reason and status of HTTP of each refusal.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        token: str = "",
        hosts: Iterable[str] = (),
        trusted: Iterable[str] = (),
        max_body: int = 32 << 20,
        body_seconds: float = 30.0,
        on_refusal: Callable[[str, int], None] = lambda reason, http: None,
    ):
        self._app, self._token = app, token.encode()
        self._hosts = {*LOOPBACK, *(one.lower() for one in hosts)}
        self._trusted = {one.lower() for one in trusted}
        self._max_body, self._seconds, self._on_refusal = max_body, body_seconds, on_refusal
        self._bytes = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One connection, request or message of the server's life."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD" and scope["path"] in OPEN:
            scope = {**scope, "method": "GET"}  # the server leaves out the body
        body = _Body(self, receive)
        try:
            self._check(scope)
        except SphinxError as error:
            self._on_refusal(getattr(error, "reason", error.status.name), http_status(error))
            if b"expect" not in dict(scope["headers"]):  # who waits to be asked sends nothing
                await body.drain()
            await error_response(error)(scope, receive, send)
            return
        try:
            await self._app(scope, body, send)
        finally:
            self._bytes -= body.size

    def _check(self, scope: Message) -> None:
        headers = _headers(scope)
        length = headers.get("content-length", "")
        if length.isdecimal() and len(length) < 20:
            self.check_size(int(length))
        coding = headers.get("content-encoding", "")
        if coding.lower() not in ("", "identity"):
            raise Refused(
                f"Content-Encoding is {quoted(coding)}; bodies are read as they are: send it "
                "without, as a picture file is compressed already",
                415,
                headers={"Accept-Encoding": "identity"},
            )
        host = headers.get("host", "")
        if not self._allowed(host):
            raise _refused(
                "host",
                f"the Host header is {quoted(host)}, which is no name of this server: use its "
                "address, or start it with --allow-host NAME",
            )
        origin = headers.get("origin")
        if origin is not None and not self._same(origin, host):
            raise _refused(
                "origin",
                f"the page comes from {quoted(origin)}, and this server answers to its own page "
                f"alone, that of {quoted(host)}: where a proxy in front of it changes the Host "
                "header, start it with --allow-host and the name that browsers use",
            )
        if not self._token or scope["path"] in OPEN:
            return
        kind, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip().encode("latin-1")  # the bytes that came
        if kind.lower() != "bearer" or not hmac.compare_digest(given, self._token):
            raise _refused(
                "token",
                'this server asks for its token: send the header "Authorization: Bearer TOKEN"',
                401,
                {"WWW-Authenticate": "Bearer"},
            )

    def _allowed(self, host: str) -> bool:
        """Whether a Host header names this server. An address can't be rebound; a name can."""
        name = _name(host)
        return bool(name) and (ANY in self._hosts or name in self._hosts or _is_address(name))

    def _same(self, origin: str, host: str) -> bool:
        """Whether an Origin is that of our page, with its port, or one that is trusted by name."""
        try:
            place = urlsplit(origin).netloc.lower()
        except ValueError:
            return False
        own = bool(place) and place == host.lower()
        return own or ANY in self._trusted or _name(place) in self._trusted

    def take(self, count: int, had: int) -> None:
        """So many more bytes of a body that had some. Raises: it is too large, or all are."""
        self.check_size(had + count)
        if self._bytes + count > BODIES_AT_ONCE * self._max_body:
            raise Busy("the bodies of all requests under way are too large together: try again")
        self._bytes += count

    def check_size(self, size: int) -> None:
        """Raises Refused: a body of so many bytes, or more, is too large."""
        if size > self._max_body:
            raise Refused(
                f"the body has {size} bytes or more; the limit is {self._max_body}: send a "
                "smaller picture, or start the server with a larger --max-body",
                413,
                status=Status.BAD_IMAGE,
            )

    @property
    def seconds(self) -> float:
        """In which a body must have come."""
        return self._seconds


class _Body:
    """The receiving side of one request: counts its body, and its time."""

    def __init__(self, guard: Guard, receive: Receive):
        self._guard, self._receive = guard, receive
        self._end = time.monotonic() + guard.seconds
        self._whole = False
        self.size = 0

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()
        message = await self._in_time()
        if message["type"] == "http.request":
            count = len(message.get("body", b""))
            try:
                self._guard.take(count, self.size)
            except SphinxError:
                await self.drain()
                raise
            self.size += count
            self._whole = not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read on for a moment, and throw it away: who is still sending reads no answer."""
        end = time.monotonic() + DRAIN
        with contextlib.suppress(asyncio.TimeoutError):
            while (left := end - time.monotonic()) > 0:
                message = await asyncio.wait_for(self._receive(), left)
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return

    async def _in_time(self) -> Message:
        try:
            return await asyncio.wait_for(self._receive(), max(self._end - time.monotonic(), 0.01))
        except asyncio.TimeoutError:
            raise Refused(
                f"the body did not come within {self._guard.seconds:g} s: {self.size} bytes of it",
                408,
            ) from None


def host_names(host: str, more: Iterable[str] = ()) -> list[str]:
    """The names that clients may use for a server that listens on a host.

    host: a name or an address; one that stands for all addresses adds the names of this machine.
    more: names that are allowed beside; "*" allows all. Raises BadRequest: one of them is none.
    """
    for one in more:
        if not one or (one != ANY and (_name(one) != one.lower() or "/" in one)):
            raise BadRequest(
                f"{quoted(one)} is no name of a host: write it without port, as robot"
            )
    names = [*more]
    if host in ("", "0.0.0.0", "::"):
        own = socket.gethostname()
        names += [own, own.partition(".")[0], f"{own.partition('.')[0]}.local"]
    else:
        names.append(host)
    return names


def _refused(reason: str, message: str, http: int = 403, headers: Any = None) -> Refused:
    error = Refused(message, http, headers=headers)
    error.reason = reason  # type: ignore[attr-defined]
    return error


def _headers(scope: Message) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _name(host: str) -> str:
    """The name in "name:port" or "[address]:port", in small letters; "" where there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
