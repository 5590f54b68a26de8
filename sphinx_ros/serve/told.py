"""Events of a work -> an answer of HTTP: whole, or as server-sent events; and who left meanwhile.

For every door. A client that goes away ends its work. Knows no model.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from sphinx_ros.errors import Cancelled, SphinxError
from sphinx_ros.runtime.failures import logged
from sphinx_ros.serve.refusals import error_json
from sphinx_ros.serve.work import Json

T = TypeVar("T")

DONE = "[DONE]"
"""The last line of a stream, as OpenAI's clients expect it."""


async def unless_gone(request: Request, doing: Awaitable[T]) -> T:
    """What a coroutine gives, cancelled when the client goes away. The body must have been read.

    Raises:
        Cancelled: the client has gone.
    """
    work = asyncio.ensure_future(doing)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Cancelled("the client has gone")
        return work.result()
    finally:
        for one in (work, gone):
            if not one.done():
                one.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def gathered(events: AsyncIterator[Json], saw: Callable[[Json], None]) -> list[Json]:
    """All events of a work."""
    told = []
    async with aclosing(events) as each:  # type: ignore[type-var]
        async for event in each:
            saw(event)
            told.append(event)
    return told


class Stream(Response):
    """Events of a work as server-sent events, while they come.

    The first has been awaited, so that what can't be begun is an error of HTTP. When the client
    goes away, or at the end, the events are closed.

    first: the first event. rest: those behind it. write: an event -> the objects that are sent for
    it, each a line "data: {...}".
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        first: Json,
        rest: AsyncIterator[Json],
        write: Callable[[Json], list[Json]] = lambda event: [event],
    ):
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._first, self._rest, self._write = first, rest, write

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send them."""
        gone = asyncio.ensure_future(_gone(Request(scope, receive)))
        sending = asyncio.ensure_future(self._send(send))
        try:
            await asyncio.wait({gone, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (gone, sending):
                one.cancel()
            await asyncio.gather(gone, sending, return_exceptions=True)
            await self._rest.aclose()  # type: ignore[attr-defined]

    async def _send(self, send: Any) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)

        async def say(lines: list[Any]) -> None:
            if lines:
                text = "".join(f"data: {_line(one)}\n\n" for one in lines)
                part = {"type": "http.response.body", "body": text.encode(), "more_body": True}
                await send(part)
                await asyncio.sleep(0)  # in a burst, too, a client's end is seen, and others go on

        try:
            await say(self._write(self._first))
            async for event in self._rest:
                await say(self._write(event))
        except SphinxError as error:
            await say([error_json(error)])
        except Exception as error:
            await say([error_json(logged(error, "the server's", "a stream"))])
        await say([DONE])
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _line(one: Any) -> str:
    return one if isinstance(one, str) else json.dumps(one, allow_nan=False)


async def begun(
    request: Request, events: AsyncIterator[Json], saw: Callable[[Json], None]
) -> tuple[Json, AsyncIterator[Json]]:
    """The first event of a work, and the others. Raises what keeps it from being begun."""

    async def seen() -> AsyncIterator[Json]:
        """The events, each counted as it passes; closed with whoever reads them."""
        async with aclosing(events) as each:  # type: ignore[type-var]
            async for event in each:
                saw(event)
                yield event

    each = seen()
    return await unless_gone(request, anext(each)), each
