"""What a server answers in place of a result -> a named error with its remedy."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Mapping
from typing import Any

from sphinx_ros.errors import BadRequest, SphinxError, Status, Unreachable, shortened
from sphinx_ros.remote.address import TOKEN, Address
from sphinx_ros.remote.wire import error_of

__all__ = ["Crowded", "Forgotten", "Unreachable", "failure", "inactive", "reason", "unreadable"]

GATEWAY = (502, 503, 504)
"""What a proxy says whose server is away."""

UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, StopIteration)
"""What the reading of an answer raises that is none of ours."""

SHOWN = 200
"""Characters of an answer that is none of ours, in a message."""


class Crowded(SphinxError):
    """The server has too much to do. seconds: until it says that another try is sensible."""

    status = Status.BUSY

    def __init__(self, message: str, seconds: float = 1.0):
        super().__init__(message)
        self.seconds = seconds


class Forgotten(SphinxError):
    """The server does not have the picture of that name any more: it is to be sent."""

    status = Status.NO_IMAGE


def failure(address: Address, code: int, headers: Mapping[str, Any], said: bytes) -> SphinxError:
    """The error that an answer is. code: of HTTP, 0 within a stream. headers: in small letters."""
    told: Any = None
    with contextlib.suppress(ValueError):
        told = json.loads(said)
    try:
        if "state" in told:  # of /healthz
            more = f": {told['message']}" if told.get("message") else ""
            return Unreachable(f"the model of the server {address} is {told['state']}{more}")
        told = told["error"]
        status, message = Status[told["code"]], str(told["message"])
    except (TypeError, KeyError, AttributeError):
        return _foreign(address, code, said)
    if code == 401:
        return BadRequest(
            f"the server {address} refuses the token: give the one that it was started with, as "
            f"token, or in the environment as {TOKEN}"
        )
    if status is Status.NO_IMAGE:
        return Forgotten(message)
    if status is Status.BUSY:
        return Crowded(f"the server {address} is busy: {message}", _seconds(headers))
    partial_text = str(told.get("partial_text") or "")
    if status is Status.NOT_ACTIVE:
        return inactive(address, message, partial_text)
    return error_of(status, message, partial_text)


def inactive(address: Address, message: str, partial_text: str = "") -> Unreachable:
    """The error of a server that says NOT_ACTIVE: another one may answer, or this one later."""
    said = f"the server {address} can't answer now: {message}"
    return Unreachable(said, partial_text=partial_text)


def _foreign(address: Address, code: int, said: bytes) -> SphinxError:
    """The error of an answer that is none of ours."""
    if code in GATEWAY:
        return Unreachable(f"what stands before {address} says that it is away (HTTP {code})")
    words = shortened(" ".join(said.decode("utf-8", "replace").split()), SHOWN)
    return BadRequest(
        f'{address} answers HTTP {code}, "{words}", as no `sphinx-ros serve` does: is the address '
        "right?"
    )


def unreadable(address: Address, error: Exception) -> SphinxError:
    """The error of an answer of ours that lacks something, as that of another version may."""
    return SphinxError(
        f"the server {address} tells what can't be read here ({type(error).__name__}: {error}): "
        "have the same version of sphinx_ros there"
    )


def _seconds(headers: Mapping[str, Any]) -> float:
    """Retry-After in seconds; 1 where it is not there or a date."""
    with contextlib.suppress(TypeError, ValueError):
        return min(max(float(headers.get("retry-after", 1)), 0.05), 3600.0)
    return 1.0


def reason(error: BaseException, seconds: float = 0.0) -> str:
    """Why a connection broke or did not come about, in a few words. seconds: that it was given."""
    if isinstance(error, TimeoutError):
        return f"no connection within {seconds:.3g} s" if seconds else "no answer"
    if isinstance(error, socket.gaierror):
        return "no machine of that name is known"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error})"
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return words[:1].lower() + words[1:]
