"""Errors -> answers of HTTP, in the form that OpenAI's clients read. Knows no model."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.remote.wire import error_of
from sphinx_ros.serve.work import Json

HTTP = {
    Status.BAD_REQUEST: 400,
    Status.BAD_IMAGE: 400,
    Status.NO_IMAGE: 404,
    Status.STALE_IMAGE: 404,
    Status.BUSY: 429,
    Status.CANCELLED: 499,
    Status.INTERNAL: 500,
    Status.NOT_ACTIVE: 503,
    Status.OUT_OF_MEMORY: 503,
    Status.TIMEOUT: 504,
}
"""Status -> that of HTTP. Those that are not here are answers: OK, NOT_FOUND, PARSE_FAILED."""

AGAIN = {Status.BUSY: 1, Status.NOT_ACTIVE: 2}
"""Seconds after which a client may try again, where the error has no ``retry_after``."""

TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
"""What OpenAI's clients call an error, beside "invalid_request_error" and "server_error"."""


class Refused(SphinxError):
    """A request that has a status of HTTP of its own, such as 413 or 415.

    param: the field that is at fault, "" for none.
    """

    def __init__(
        self,
        message: str,
        http: int = 400,
        *,
        status: Status = Status.BAD_REQUEST,
        param: str = "",
        headers: dict[str, str] | None = None,
    ):
        super().__init__(message, status=status)
        self.http, self.param, self.headers = http, param, headers or {}


def http_status(error: SphinxError) -> int:
    """The status of HTTP of an error."""
    return getattr(error, "http", 0) or HTTP.get(error.status, 500)


def error_json(error: SphinxError) -> Json:
    """The body that says an error."""
    code = http_status(error)
    kind = TYPES.get(code) or ("invalid_request_error" if code < 500 else "server_error")
    said: dict[str, Any] = {
        "message": str(error),
        "type": kind,
        "code": error.status.name,
        "param": getattr(error, "param", "") or None,
    }
    if error.partial_text:
        said["partial_text"] = error.partial_text
    return {"error": said}


def error_response(error: SphinxError) -> JSONResponse:
    """The answer to a request that can't be answered."""
    headers = dict(getattr(error, "headers", {}))
    if http_status(error) in (408, 413):  # more of the body may be on its way
        headers["Connection"] = "close"
    seconds = getattr(error, "retry_after", AGAIN.get(error.status))
    if seconds is not None:
        headers["Retry-After"] = str(seconds)
    return JSONResponse(error_json(error), http_status(error), headers)


def raise_failed(answer: Json) -> None:
    """Raise what ended a question, if its answer says that anything did."""
    status = Status[answer["status"]]
    if status in HTTP:
        raise error_of(status, answer["message"], answer["raw_text"])
