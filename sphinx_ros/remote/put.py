"""A picture and what is asked of it -> the events of one server; the picture is sent once.

With its first question a picture is the body of the request, afterwards it goes by its name.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from sphinx_ros.errors import SphinxError
from sphinx_ros.prompt.checks import MAX_STANDING
from sphinx_ros.prompt.queries import Query
from sphinx_ros.remote.failing import Crowded, Forgotten
from sphinx_ros.remote.link import Link
from sphinx_ros.remote.patience import PERIOD, Patience
from sphinx_ros.remote.upload import Upload

Json = dict[str, Any]

LONGEST_ADDRESS = 4000
"""Characters behind "?" beside a picture; what is longer is asked behind it, by its name."""

TRIES, BUSY_SECONDS = 4, 30.0
"""How often a busy server is asked, and for how many seconds where there is no time limit."""

GROUP = MAX_STANDING
"""Queries of one request."""


def groups(queries: Sequence[Query]) -> list[list[int]]:
    """Numbers of queries that can be one request: with the same limit of tokens, not too many."""
    by_limit: dict[int, list[int]] = {}
    for number, query in enumerate(queries):
        by_limit.setdefault(query.max_new_tokens, []).append(number)
    return [
        numbers[first : first + GROUP]
        for numbers in by_limit.values()
        for first in range(0, len(numbers), GROUP)
    ]


def put(
    link: Link, upload: Upload, fields: Mapping[str, Any], patience: Patience, stream: bool
) -> Iterator[Json]:
    """The events of ``/v1/answer``; where they are not streamed, no pieces among them.

    A busy server is asked again, when it says and within the time limit.

    Raises:
        SphinxError: nothing was answered, or the rest is not.
    """
    told = False
    for tries in range(1, TRIES + 1):
        try:
            for event in _put(link, upload, fields, patience, stream):
                told = True
                yield event
            return
        except Forgotten:  # since the last question about it
            upload.known.discard(str(link.address))
            if told or tries == TRIES:
                raise
        except Crowded as error:
            left = patience.left()
            most = BUSY_SECONDS / TRIES if left is None else left
            if told or tries == TRIES or error.seconds >= most:
                raise
            patience.pause(error.seconds)


def _put(
    link: Link, upload: Upload, fields: Mapping[str, Any], patience: Patience, stream: bool
) -> Iterator[Json]:
    server = str(link.address)
    waits = False
    while server not in upload.known and not (waits := upload.sending.acquire(timeout=PERIOD)):
        patience.check()  # another thread sends it
    try:
        left = patience.left()
        limits = {} if left is None else {"timeout": max(left, 0.001)}
        asked = {**fields, **limits, "stream": stream}
        for event in _told(link, upload, asked, patience, stream, server in upload.known):
            upload.known.add(server)
            if waits:
                waits = False
                upload.sending.release()
            yield event
    finally:
        if waits:
            upload.sending.release()


def _told(
    link: Link, upload: Upload, asked: Json, patience: Patience, stream: bool, known: bool
) -> Iterator[Json]:
    path, body, kind = "/v1/answer", b"", "application/json"
    if not known:
        link.traffic.uploaded()
        address = urlencode([pair for name in asked for pair in _pairs(name, asked[name])])
        if len(address) <= LONGEST_ADDRESS:
            path, body, kind = f"{path}?{address}", upload.data, upload.kind
        else:
            yield look_of(link.fetch("/v1/pictures", patience, upload.data, upload.kind))
    if not body:
        body = json.dumps({**asked, "picture": upload.name}).encode()
    with link.traffic.answer():
        if stream:
            yield from link.stream(path, patience, body, kind)
            return
        said = link.fetch(path, patience, body, kind)
    yield look_of(said)
    for number, answer in enumerate(said.get("answers", ())):
        yield {"type": "finished", "number": number, "answer": answer}


def look_of(said: Mapping[str, Any]) -> Json:
    """The event of a look, out of an answer that came whole."""
    names = ("picture", "width", "height", "cached", "look_ms")
    return {"type": "look", **{name: said.get(name) for name in names}}


def _pairs(name: str, value: Any) -> list[tuple[str, Any]]:
    """A field as the address has it."""
    if isinstance(value, bool):
        return [(name, "true" if value else "false")]
    if isinstance(value, (list, tuple)):
        return [("query", one) for one in value]
    return [(name, value)]


def unfinished(error: Exception, text: str) -> Exception:
    """What ended a query of several, with its own words so far."""
    if not isinstance(error, SphinxError):
        return error
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    own.partial_text = text or error.partial_text
    return own
