"""A picture and what is asked of it -> the events of one server; the picture is sent once.

With its first question a picture is the body of the request, afterwards it goes by its name. A
server that has forgotten it is sent it once more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

from sphinx_ros.prompt.checks import LEAST_SECONDS
from sphinx_ros.remote.failing import UNREADABLE, Crowded, Forgotten, unreadable
from sphinx_ros.remote.link import Link
from sphinx_ros.remote.patience import PERIOD, Patience
from sphinx_ros.remote.requests import Request, look_of
from sphinx_ros.remote.upload import Upload

Json = dict[str, Any]

LONGEST_ADDRESS = 4000
"""Characters behind "?" beside a picture; what is longer is asked behind it, by its name."""

TRIES = 4
"""How often a picture is sent that the server has forgotten each time."""


def put(
    link: Link, upload: Upload, request: Request, patience: Patience, stream: bool
) -> Iterator[Json]:
    """The events of a request; where they are not streamed, no pieces among them.

    The look is told once, as it was the first time. A busy server is asked again, when it says:
    within the time limit, or for ``link.busy`` seconds, and once whatever it says.

    Raises:
        SphinxError: nothing was answered, or the rest is not.
    """
    looked, told, forgotten, waited = False, False, 0, 0.0
    while True:
        try:
            for event in _put(link, upload, request, patience, stream):
                is_look = event.get("type") == "look"
                if is_look and looked:
                    continue
                looked, told = looked or is_look, told or not is_look
                yield event
            return
        except Forgotten:  # since the last question about it
            upload.known.discard(str(link.address))
            forgotten += 1
            if told or forgotten == TRIES:
                raise
        except Crowded as error:
            left = patience.left()
            most = link.busy - waited if left is None else left
            first = left is None and not waited
            if told or (error.seconds >= most and not first):
                raise
            link.pause(patience, error.seconds)
            waited += error.seconds


def _put(
    link: Link, upload: Upload, request: Request, patience: Patience, stream: bool
) -> Iterator[Json]:
    server = str(link.address)
    waits = False
    while server not in upload.known and not (waits := upload.sending.acquire(timeout=PERIOD)):
        patience.check()  # another thread sends it
    try:
        for event in _told(link, upload, request, patience, stream):
            upload.known.add(server)
            if waits:
                waits = False
                upload.sending.release()
            yield event
    finally:
        if waits:
            upload.sending.release()


def _told(
    link: Link, upload: Upload, request: Request, patience: Patience, stream: bool
) -> Iterator[Json]:
    left = patience.left()
    limits = {} if left is None else {"timeout": max(left, LEAST_SECONDS)}
    asked = {**request.fields, **limits, "stream": stream}
    path, body, kind = request.path, b"", "application/json"
    if str(link.address) not in upload.known:
        if request.bare and upload.after:
            asked["after"] = upload.after
        link.traffic.uploaded()
        address = urlencode([pair for name in asked for pair in _pairs(name, asked[name])])
        if request.bare and len(address) <= LONGEST_ADDRESS:
            path, body, kind = f"{path}?{address}", upload.data, upload.kind
        else:
            yield look_of(link.fetch("/v1/pictures", patience, upload.data, upload.kind))
    if not body:
        body = json.dumps({**asked, "picture": upload.name}).encode()
    with link.traffic.answer():
        if not stream:
            yield from _events(link, request.whole, link.fetch(path, patience, body, kind))
            return
        for said in link.stream(path, patience, body, kind):
            yield from _events(link, request.part, said)


def _events(link: Link, read: Callable[[Json], Iterator[Json]], said: Json) -> list[Json]:
    """What an object holds. Raises SphinxError: it is of another version."""
    try:
        return list(read(said))
    except UNREADABLE as error:
        raise unreadable(link.address, error) from error


def _pairs(name: str, value: Any) -> list[tuple[str, Any]]:
    """A field as the address has it."""
    if isinstance(value, bool):
        return [(name, "true" if value else "false")]
    if isinstance(value, (list, tuple)):
        return [("query", one) for one in value]
    return [(name, value)]
