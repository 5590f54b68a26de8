"""The files of the page -> answers of HTTP, with a policy under which nothing else runs in it.

Knows no model. The page itself is ``page/index.html``: one file, with no address outside of it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from importlib.resources import files

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from sphinx_ros.serve.refusals import Refused

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/example.jpg": ("example.jpg", "image/jpeg"),
}
"""Address -> name below ``page/`` and type. They need no token: they are the same everywhere."""


def add_page(app: FastAPI) -> None:
    """The addresses of the page and of its example picture."""
    for address, (name, kind) in FILES.items():
        app.add_api_route(address, _door(name, kind), methods=["GET"], include_in_schema=False)


def _door(name: str, kind: str) -> Callable[[Request], Response]:
    def file(request: Request) -> Response:
        """The file, or 304 where the browser has this very one."""
        data = read(name)
        headers = {
            "Cache-Control": "no-cache",
            "ETag": f'"{hashlib.sha256(data).hexdigest()[:32]}"',
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        if kind.startswith("text/html"):
            headers["Content-Security-Policy"] = policy(data)
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=kind, headers=headers)

    return file


def read(name: str) -> bytes:
    """A file of the page. Raises Refused, 404: this installation lacks it."""
    found = files("sphinx_ros.serve") / "page" / name
    if not found.is_file():
        raise Refused(f"this installation has no {name}: install sphinx_ros[serve] anew", 404)
    return found.read_bytes()


def policy(page: bytes) -> str:
    """The Content-Security-Policy of a page: its own script and style alone, by their hashes.

    It may ask this server alone, show pictures that it made itself, and stand in no frame.
    """
    allowed = {
        tag: " ".join(f"'sha256-{_digest(text)}'" for text in _inline(page, tag))
        for tag in (b"script", b"style")
    }
    rules = {
        "default-src": "'none'",
        "script-src": allowed[b"script"],
        "style-src": allowed[b"style"],
        "img-src": "'self' blob: data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _inline(page: bytes, tag: bytes) -> list[bytes]:
    return re.findall(b"<%b>(.*?)</%b>" % (tag, tag), page, re.DOTALL)


def _digest(text: bytes) -> str:
    return base64.b64encode(hashlib.sha256(text).digest()).decode()
