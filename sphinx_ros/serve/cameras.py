"""A robot's cameras -> their pictures over HTTP, where a node serves. Knows no ROS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, Protocol

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.serve.refusals import Refused

BOUNDARY = "picture"
"""Between the parts of a stream."""

PACE = 1 / 15
"""Seconds between two looks for a newer picture: people who watch need no more."""


class CameraPicture(NamedTuple):
    """A picture of a camera. jpeg: its file. stamp: seconds, of the camera's clock."""

    jpeg: bytes
    stamp: float


class Cameras(Protocol):
    """What a node lends."""

    def names(self) -> list[str]:
        """The cameras' names. Called in the server's thread: it must take no time."""
        ...

    def picture(self, name: str) -> CameraPicture | None:
        """The newest picture, the same object as long as it is; None before the first.

        Called in threads beside the server's, as it may have to be encoded. Raises BadImage.
        """
        ...


def add_cameras(app: FastAPI, cameras: Cameras | None) -> None:
    """The addresses of cameras; without any there is an empty list."""

    async def newest(name: str) -> CameraPicture | None:
        """Its newest picture. Raises Refused: there is no such camera."""
        names = [] if cameras is None else cameras.names()
        if cameras is None or name not in names:
            known = f"there are {', '.join(names)}" if names else "there are none"
            raise Refused(f"there is no camera {name!r}; {known}", 404, param="name")
        return await run_in_threadpool(cameras.picture, name)

    @app.get("/v1/cameras", summary="Names of the robot's cameras", response_model=list[str])
    async def list_cameras() -> Response:
        """The names, in the order that the node has them."""
        return JSONResponse([] if cameras is None else cameras.names())

    @app.get("/v1/cameras/{name}/picture", summary="Its newest picture", response_class=Response)
    async def picture(name: str) -> Response:
        """A JPEG file; X-Stamp says when it was taken, seconds of the camera's clock."""
        found = await newest(name)
        if found is None:
            raise SphinxError(
                f"no picture of {name} has come yet: is the camera running?",
                status=Status.NO_IMAGE,
            )
        headers = {"X-Stamp": f"{found.stamp:.9f}", "Cache-Control": "no-store"}
        return Response(found.jpeg, media_type="image/jpeg", headers=headers)

    @app.get("/v1/cameras/{name}/stream", summary="Its pictures", response_class=Response)
    async def stream(name: str) -> Response:
        """JPEG files, one after another, as browsers show them in place of each other."""
        await newest(name)
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        return StreamingResponse(parts(name), media_type=kind)

    async def parts(name: str) -> AsyncIterator[bytes]:
        """Each new picture as a part of the stream."""
        last: Any = None
        while True:
            try:
                found: Any = await newest(name)
            except Refused:  # the camera was taken away
                return
            except SphinxError:  # a picture that can't be shown; the next may be better
                found = None
            if found is not None and found is not last:
                last = found
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nX-Stamp: {found.stamp:.9f}"
                head += f"\r\nContent-Length: {len(found.jpeg)}\r\n\r\n"
                yield head.encode() + found.jpeg + b"\r\n"
            await asyncio.sleep(PACE)
