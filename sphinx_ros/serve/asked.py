"""A request for a task -> the work it asks for. Knows no model.

The picture is the body, a part of a form, or in JSON; everything else stands beside it, or behind
"?" in the address.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request

from sphinx_ros.errors import BadRequest, Status, quoted
from sphinx_ros.prompt.queries import Query, read_query
from sphinx_ros.serve.data_url import read_data_url
from sphinx_ros.serve.refusals import Refused
from sphinx_ros.serve.schema import Asked, Pictured, Question, Questions
from sphinx_ros.serve.work import Options, Work, picture_id
from sphinx_ros.tasks import Task

PICTURE_TYPES = ("image/", "application/octet-stream")
"""How the type of a body begins that is a picture."""

MOST_FIELDS = 64
"""Fields of a form."""

REPLACED = "\ufffd"
"""What stands in an address for bytes that are no text; asking with it asks something else."""

MOST_VALUES = 10_000
"""Values in JSON: many times what a conversation has. All others wait while they are checked."""

Fields = dict[str, Any]
T = TypeVar("T", bound=BaseModel)


async def read_question(request: Request, task: Task) -> tuple[Work, bool]:
    """The work of a task's door, and whether it is to be told while it is done."""
    fields, encoded = await _read(request)
    asked = checked(Question, fields, request.url.path)
    query = Query(task, asked.text, asked.box, asked.max_new_tokens).checked()
    _refuse_unused(task, asked)
    return _work(asked, encoded, (query,)), asked.stream


async def read_questions(request: Request) -> tuple[Work, bool]:
    """The work of ``/v1/answer``, and whether it is to be told while it is done."""
    fields, encoded = await _read(request, several=True)
    asked = checked(Questions, fields, request.url.path)
    queries = tuple(read_query(line) for line in asked.queries)
    return _work(asked, encoded, queries), asked.stream


async def read_picture(request: Request) -> Work:
    """The work of ``/v1/pictures``: a look."""
    fields, encoded = await _read(request)
    asked = checked(Pictured, fields, request.url.path)
    return Work(*named_picture(asked, encoded), model=asked.model or "")


def _work(asked: Asked, encoded: bytes | None, queries: tuple[Query, ...]) -> Work:
    options = Options(
        max_new_tokens=asked.max_new_tokens,
        timeout=asked.timeout,
        verify=asked.verify,
        free=asked.free,
        coordinates=asked.coordinates,
        threshold=asked.threshold,
        short=asked.short,
    )
    name, data = named_picture(asked, encoded)
    return Work(
        name,
        data,
        queries,
        options=options,
        tokens=asked.stream,
        model=asked.model or "",
        after=asked.after or "",
    )


def named_picture(asked: Pictured, encoded: bytes | None) -> tuple[str, bytes | None]:
    """The picture's name and, where it was sent, its bytes.

    encoded: where it is the body or a file. Raises Refused: there is none, or there are several.
    """
    if asked.image is not None:
        if encoded is not None:
            raise Refused("there are two pictures: send one", param="image")
        encoded = read_data_url(asked.image)
    if encoded is None:
        if asked.picture is None:
            raise Refused(
                "there is no picture: send it as the body with Content-Type image/jpeg, as the "
                'field image of a form or of JSON ("data:image/jpeg;base64,..."), or its name as '
                "picture",
                param="image",
            )
        return asked.picture, None
    name = picture_id(encoded)
    if asked.picture not in (None, name):
        raise Refused(
            f"picture is {asked.picture}, and the name of the picture that was sent is {name}: "
            "leave one of them out",
            param="picture",
        )
    return name, encoded


def _refuse_unused(task: Task, asked: Question) -> None:
    """Raises BadRequest: something was given that the task does not take."""
    takes = task.row.takes
    if asked.text and not takes.words:
        raise Refused(f"{task.value} takes no text, and it is {quoted(asked.text)}", param="text")
    if asked.box is not None and not takes.region:
        raise Refused(f"{task.value} takes no box: leave it out", param="box")


def checked(model: type[T], fields: Fields, path: str) -> T:
    """The fields as a model. Raises Refused that names the field, the value and the limit."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    name = ".".join(map(str, first["loc"])) or "the body"
    if first["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields)
        raise Refused(f"{path} has no field {quoted(name)}; it has {known}")
    if first["type"] == "missing":
        raise Refused(f"{path} needs the field {name}", param=name)
    said = first["msg"].removeprefix("Value error, ")
    said = said[:1].lower() + said[1:]
    raise Refused(f"{name} is {quoted(first['input'])}: {said}", param=name)


# Reading


async def _read(request: Request, several: bool = False) -> tuple[Fields, bytes | None]:
    """All fields of a request, and the picture where it is the body or a part of a form.

    several: `query` is a field that may be there several times, and is called queries.
    """
    fields = _listed(request.query_params.multi_items(), several)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        form, encoded = await _form(request, several)
        return {**fields, **form}, encoded
    body = await request.body()
    if kind == "application/json" or kind.endswith("+json"):
        return {**fields, **read_json(body)}, None
    if not body and not kind.startswith("image/"):
        return fields, None
    if not kind.startswith(PICTURE_TYPES):
        raise Refused(
            f"Content-Type is {quoted(kind)}: send a picture as image/jpeg or image/png, a form "
            "as multipart/form-data, or application/json",
            415,
            status=Status.BAD_IMAGE,
        )
    if not body:
        raise Refused("the picture is empty: no byte of it came", status=Status.BAD_IMAGE)
    return fields, body


def read_json(body: bytes) -> Fields:
    """The fields of a body. Raises BadRequest: it is no JSON object, or one of too many values."""
    if (commas := body.count(b",")) >= MOST_VALUES:  # between any two values stands one
        raise BadRequest(
            f"the body has {commas} commas; the limit is {MOST_VALUES} values: send less"
        )
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise BadRequest(f"the body is {quoted(fields)}: it must be an object, as {{...}}")
    return fields


async def _form(request: Request, several: bool) -> tuple[Fields, bytes | None]:
    """The fields of a form, and the file in its field image."""
    encoded, words = None, []
    try:
        form = await request.form(max_files=1, max_fields=MOST_FIELDS)
    except ValueError as error:  # of python-multipart, which not every starlette names
        raise BadRequest(f"the form can't be read: {error}") from None
    try:
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                words.append((name, value))
            elif name == "image":
                encoded = await value.read()
            else:
                raise Refused(
                    f"the form has a file in the field {quoted(name)}: its name must be image"
                )
    finally:
        await form.close()
    if encoded == b"":
        raise Refused("the picture is empty: no byte of it came", status=Status.BAD_IMAGE)
    return _listed(words, several), encoded


def _listed(pairs: Iterable[tuple[str, str]], several: bool) -> Fields:
    """Pairs by name. Raises Refused: one that is there twice."""
    fields: Fields = {}
    for name, value in pairs:
        if REPLACED in value:
            raise Refused(f"the field {quoted(name)} is not UTF-8: write it in UTF-8", param=name)
        if several and name == "query":
            fields.setdefault("queries", []).append(value)
        elif name in fields:
            raise Refused(f"the field {quoted(name)} is given twice: once is enough")
        else:
            fields[name] = value
    return fields
