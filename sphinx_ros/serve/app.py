"""A backend -> the HTTP application: the doors for tasks, the page, cameras, health and figures.

Knows no model: what answers is a :class:`sphinx_ros.serve.work.Backend`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from sphinx_ros import __version__
from sphinx_ros.errors import Cancelled, SphinxError
from sphinx_ros.runtime.failures import logged
from sphinx_ros.serve.asked import read_picture, read_question, read_questions
from sphinx_ros.serve.asked_model import answering, asking
from sphinx_ros.serve.cameras import add_cameras
from sphinx_ros.serve.counting import OTHER, Counting
from sphinx_ros.serve.description import answered, describe, pictured
from sphinx_ros.serve.guard import Guard
from sphinx_ros.serve.openai_door import add_openai
from sphinx_ros.serve.page_files import add_page
from sphinx_ros.serve.refusals import Refused, error_response, raise_failed
from sphinx_ros.serve.schema import Healthy, Info
from sphinx_ros.serve.told import Stream, begun, gathered, unless_gone
from sphinx_ros.serve.work import Backend, Json, Work
from sphinx_ros.tasks import Task


@dataclass(frozen=True)
class Settings:
    """How an application is served.

    Attributes:
        token: of the bearer, "" for none. hosts: names of this server, see
        :func:`sphinx_ros.serve.guard.host_names`. trusted: names whose pages may ask beside this
        server's own. max_body: bytes. body_seconds: in which a body must have come. limits:
        numbers that /v1/info tells beside these.
        cameras: an object with ``names()`` and ``picture(name)``, see
        :mod:`sphinx_ros.serve.cameras`; None for none.
    """

    token: str = ""
    hosts: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    max_body: int = 32 << 20
    body_seconds: float = 30.0
    limits: dict[str, float] = field(default_factory=dict)
    cameras: Any = None


def application(backend: Backend, settings: Settings | None = None) -> FastAPI:
    """The application. Its ``state`` has ``backend``, ``counting`` and ``settings``."""
    settings = settings or Settings()
    counting = Counting(backend.figures)

    app = FastAPI(
        title="sphinx_ros",
        version=__version__,
        summary="Ask a picture: boxes, keypoints and text answers from SPHINX.",
        # FastAPI's viewers load scripts from a CDN: nothing where there is no internet, and
        # elsewhere scripts of others in the origin in which the page keeps its token.
        docs_url=None,
        redoc_url=None,
    )
    app.state.backend, app.state.counting, app.state.settings = backend, counting, settings
    _add_errors(app, counting)
    _add_state(app, backend, counting, settings)
    _add_tasks(app, backend, counting)
    add_openai(app, backend, counting)
    add_cameras(app, settings.cameras)
    add_page(app)
    describe(app, bool(settings.token))
    app.add_middleware(_Counted, counting=counting)
    app.add_middleware(
        Guard,
        token=settings.token,
        hosts=settings.hosts,
        trusted=settings.trusted,
        max_body=settings.max_body,
        body_seconds=settings.body_seconds,
        on_refusal=counting.turned_away,
    )
    return app


class _Counted:
    """Counts requests and their statuses, by the path of their route; answers defects."""

    def __init__(self, app: Any, counting: Counting):
        self._app, self._counting = app, counting

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        http = 0

        async def told(message: Any) -> None:
            nonlocal http
            if message["type"] == "http.response.start":
                http = message["status"]
            await send(message)

        with self._counting.under_way():
            try:
                await self._app(scope, receive, told)
            except Exception as error:
                if http:  # it has begun to be answered
                    raise
                found = logged(error, "the server's", "a request")
                self._counting.refused(found)
                await error_response(found)(scope, receive, told)
            finally:
                route = getattr(scope.get("route"), "path", OTHER)
                self._counting.answered(http, route)


def _add_errors(app: FastAPI, counting: Counting) -> None:
    async def named(request: Request, error: Any) -> Response:
        counting.refused(error)
        return error_response(error)

    async def http(request: Request, error: Any) -> Response:
        """An error of the protocol, in this server's words and form."""
        said = {
            404: f"there is nothing at {request.url.path}: GET /openapi.json says what there is",
            405: f"{request.method} is not for {request.url.path}: GET /openapi.json says what is",
        }.get(error.status_code, str(error.detail))
        headers = dict(error.headers or {})
        refused = Refused(said, error.status_code, headers=headers)
        return await named(request, refused)

    async def invalid(request: Request, error: Any) -> Response:
        return await named(request, Refused(str(error)))

    async def gone(request: Request, error: Any) -> Response:
        return await named(request, Cancelled("the client has gone"))

    app.add_exception_handler(SphinxError, named)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(ClientDisconnect, gone)


def _add_state(app: FastAPI, backend: Backend, counting: Counting, settings: Settings) -> None:
    @app.get("/healthz", summary="Whether it can answer", responses={200: {"model": Healthy}})
    async def healthz() -> Response:
        health = backend.health()
        return JSONResponse(asdict(health), 200 if health.state == "ready" else 503)

    @app.get("/metrics", summary="Figures for Prometheus", response_class=Response)
    def metrics() -> Response:
        return Response(counting.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/info", summary="The model, the tasks and the limits", response_model=Info)
    async def info() -> Response:
        """The model, each task with what it takes, and the limits."""
        tasks = [
            {
                "name": task.value,
                "takes": task.row.takes.value,
                "answers": task.row.answers.value,
                "max_new_tokens": task.row.max_new_tokens,
                "about": task.row.about,
                "example": task.row.example,
            }
            for task in Task
        ]
        limits = {**settings.limits, "body_bytes": settings.max_body}
        health = asdict(backend.health())
        return JSONResponse({**health, "version": __version__, "tasks": tasks, "limits": limits})


def _add_tasks(app: FastAPI, backend: Backend, counting: Counting) -> None:
    for task in Task:
        app.add_api_route(
            f"/v1/{task.value}",
            _door(task, backend, counting),
            methods=["POST"],
            summary=task.row.about,
            operation_id=task.value,
            **answered(task),
        )

    @app.post("/v1/answer", summary="Several questions, one picture", **answered(None))
    async def answer(request: Request) -> Response:
        work, stream = await read_questions(request)
        return await _answer(request, work, stream, backend, counting)

    @app.post("/v1/pictures", summary="Look at a picture now, ask later", **pictured())
    async def pictures(request: Request) -> Response:
        work = await read_picture(request)
        return await _answer(request, work, False, backend, counting)


def _door(
    task: Task, backend: Backend, counting: Counting
) -> Callable[[Request], Awaitable[Response]]:
    async def ask(request: Request) -> Response:
        work, stream = await read_question(request, task)
        return await _answer(request, work, stream, backend, counting, single=True)

    return ask


async def _answer(
    request: Request,
    work: Work,
    stream: bool,
    backend: Backend,
    counting: Counting,
    single: bool = False,
) -> Response:
    """Do a work and tell it. single: what ended its one question is an error of HTTP."""
    work = asking(work, backend.health())
    if stream:
        first, rest = await begun(request, backend.do(work), counting.saw)
        return Stream(first, rest)
    told = await unless_gone(request, gathered(backend.do(work), counting.saw))
    said = whole(told, answering(work, backend.health()))
    if single:
        raise_failed(said["answers"][0])
    return JSONResponse(said)


def whole(told: list[Json], model: str) -> Json:
    """All events of a work as one object."""
    look, *rest = told
    answers = [event["answer"] for event in rest if event["type"] == "finished"]
    said = {name: value for name, value in look.items() if name != "type"}
    return {**said, "model": model, **({"answers": answers} if answers else {})}
