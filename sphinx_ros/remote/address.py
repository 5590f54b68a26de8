"""What is said about a server -> checked values: its address and token, how pictures go there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sphinx_ros.errors import BadRequest, quoted

TOKEN = "SPHINX_ROS_TOKEN"
"""Environment variable: the bearer token of servers, where none is given."""

QUALITY = 90
"""Of JPEG, where nothing is said."""

SILENCE = 120.0
"""Seconds without a byte after which a server is given up, where there is no time limit."""

SERVED = "served_model"
"""What files that tell of answers call the name that a server gives its model."""

BUSY = 30.0
"""Seconds for which a busy server is asked again, where there is no time limit."""

FORM = "write http://HOST:PORT, as http://gpu-box:8000"

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """Where a server is. path: in front of its doors, "" or as "/sphinx"."""

    scheme: str
    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"


def read_address(text: object) -> Address:
    """One address. Raises BadRequest: it is none of HTTP."""
    if not isinstance(text, str) or not text.strip():
        raise BadRequest(f"the server is {quoted(text)}: {FORM}")
    words = text.strip()
    shown = without_secrets(words)
    try:
        parts = urlsplit(words)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        why = f" ({error})" if shown == words else ""  # it may quote a part of a password
        raise BadRequest(f"the server {quoted(shown)} is no address{why}: {FORM}") from None
    if parts.scheme not in PORTS or not host or any(c.isspace() for c in words):
        raise BadRequest(f"the server {quoted(shown)} is no address of HTTP: {FORM}")
    if parts.query or parts.fragment or parts.username is not None:
        raise BadRequest(
            f"the server {quoted(shown)} holds more than an address: {FORM}, and the token apart"
        )
    return Address(parts.scheme, host, port or PORTS[parts.scheme], parts.path.rstrip("/"))


def without_secrets(address: str) -> str:
    """What can be repeated of an address: no name with its password, and nothing behind "?"."""
    return re.sub(r"(?s)[?#].*", "?...", re.sub(r"(?s)^(\w+://)?.*@", r"\1...@", address))


def read_addresses(servers: object) -> tuple[Address, ...]:
    """One address or several, in a list or with commas between, the preferred one first.

    Raises BadRequest.
    """
    if isinstance(servers, str):
        servers = servers.split(",")
    if not isinstance(servers, Iterable):
        raise BadRequest(f"the server is {quoted(servers)}: {FORM}")
    found = tuple(dict.fromkeys(read_address(one) for one in servers))
    if not found:
        raise BadRequest(f"no server is given: {FORM}")
    return found


def chosen_token(token: str | None) -> str:
    """The token that is given, else that of the environment; "" for none.

    Raises:
        BadRequest: it can't be sent in a header.
    """
    chosen = (os.environ.get(TOKEN, "") if token is None else token).strip()
    if not chosen.isascii() or not chosen.isprintable():
        raise BadRequest("the token holds characters that no header can hold: use ASCII letters")
    return chosen


def demanded_token(token: str | None) -> str:
    """The token that a server asks its clients for, as :func:`chosen_token` has it.

    Raises:
        BadRequest: no client can send it, or it is blank and would guard nothing.
    """
    if not (chosen := chosen_token(token)) and (os.environ.get(TOKEN) if token is None else token):
        raise BadRequest("the token is blank: give one of ASCII letters, or none at all")
    return chosen


def checked_quality(quality: Any) -> int | None:
    """The quality of JPEG, 1..100; None for PNG, which "png" and 0 mean as well.

    Raises:
        BadRequest: another value.
    """
    if quality is None or quality == "png" or (quality == 0 and quality is not False):
        return None
    if not isinstance(quality, int) or isinstance(quality, bool) or not 1 <= quality <= 100:
        raise BadRequest(
            f'quality is {quoted(quality)}; it must be 1..100 for JPEG, or "png" for PNG, which '
            "loses nothing and is ten times as large"
        )
    return quality
