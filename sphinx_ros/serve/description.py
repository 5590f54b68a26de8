"""The doors and the types of what goes through them -> the OpenAPI description."""

from __future__ import annotations

import copy
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from sphinx_ros.serve.openai_schema import ChatRequest
from sphinx_ros.serve.schema import AnsweredAll, Failed, LookedAt, Pictured, Question, Questions
from sphinx_ros.tasks import Task

INPUTS: tuple[type[BaseModel], ...] = (Pictured, Question, Questions, ChatRequest)
"""Models of requests; the doors read those by hand, as a picture may be the body."""

FAILURES = {
    400: "something of the request can't be used",
    401: "the token is missing or another one",
    404: "the picture of that name is not known: send it",
    413: "the body is too large",
    415: "the body is no picture, form or JSON, or has a Content-Encoding",
    429: "too many requests are under way: come again after Retry-After",
    503: "the model is loading, failed, or out of memory; or the server ends",
    504: "the time limit ran out",
}

REF = "#/components/schemas/"


def answered(task: Task | None) -> dict[str, Any]:
    """What a route of a task says of itself; None: the door for several questions."""
    model = Questions if task is None else Question
    return _route(model, AnsweredAll, _unused(task))


def pictured() -> dict[str, Any]:
    """What the route for pictures says of itself."""
    return _route(Pictured, LookedAt, set())


def describe(app: FastAPI, token: bool) -> None:
    """Give an application its description, made once. token: it asks for a bearer token."""
    made: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        """The description, made at the first call."""
        if not made:
            made.update(
                get_openapi(
                    title=app.title, version=app.version, summary=app.summary, routes=app.routes
                )
            )
            schemas = made.setdefault("components", {}).setdefault("schemas", {})
            _, defined = models_json_schema(
                [(model, "validation") for model in INPUTS], ref_template=REF + "{model}"
            )
            schemas.update(defined["$defs"])
            if token:
                bearer = {"type": "http", "scheme": "bearer"}
                made["components"]["securitySchemes"] = {"token": bearer}
                made["security"] = [{"token": []}]
        return made

    app.openapi = openapi  # type: ignore[method-assign]


def _unused(task: Task | None) -> set[str]:
    if task is None:
        return set()
    takes = task.row.takes
    return {name for name, used in (("text", takes.words), ("box", takes.region)) if not used}


def _route(model: type[BaseModel], answer: type[BaseModel], unused: set[str]) -> dict[str, Any]:
    fields = model.model_json_schema(mode="validation")["properties"]
    properties = {name: one for name, one in fields.items() if name not in unused}
    form = copy.deepcopy(properties)
    form["image"] = {"type": "string", "format": "binary", "description": "the picture's file"}
    if "queries" in form:
        form["query"] = form.pop("queries")
    picture = {"schema": {"type": "string", "format": "binary"}}
    content = {
        "image/jpeg": picture,
        "image/png": picture,
        "application/octet-stream": picture,
        "multipart/form-data": {"schema": {"type": "object", "properties": form}},
        "application/json": {"schema": {"$ref": REF + model.__name__}},
    }
    parameters = [
        {"name": name, "in": "query", "required": False, "schema": one}
        for name, one in form.items()
        if name != "image"
    ]
    return {
        "response_model": answer,
        "responses": {code: {"model": Failed, "description": f} for code, f in FAILURES.items()},
        "openapi_extra": {
            "requestBody": {"content": content, "required": False},
            "parameters": parameters,
        },
    }
