"""`/v1/chat/completions` and `/v1/models`, as OpenAI's clients expect them. Knows no model.

What such clients have no name for stands in a field `sphinx`, which they pass over: boxes, points
and their scores in pixels of the picture, and what the answer took.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sphinx_ros import __version__
from sphinx_ros.errors import Status
from sphinx_ros.remote.wire import error_of
from sphinx_ros.serve.asked import read_json
from sphinx_ros.serve.asked_model import answering, asking, names
from sphinx_ros.serve.counting import Counting
from sphinx_ros.serve.description import FAILURES, REF
from sphinx_ros.serve.openai_asked import PATH, Chat, read_chat
from sphinx_ros.serve.openai_schema import ChatCompletion, ChatRequest, Model, Models
from sphinx_ros.serve.refusals import HTTP, Refused, error_json, raise_failed
from sphinx_ros.serve.schema import Failed
from sphinx_ros.serve.told import Stream, begun, gathered, unless_gone
from sphinx_ros.serve.work import Backend, Json

FOUND = {"detection": "boxes", "keypoint": "keypoints", "pose": "poses"}
"""What an event calls an item -> the list of the field `sphinx` that it belongs to."""

BODY = {"application/json": {"schema": {"$ref": REF + ChatRequest.__name__}}}


def add_openai(app: FastAPI, backend: Backend, counting: Counting) -> None:
    """Give an application these doors."""
    started = int(time.time())

    @app.post(
        PATH,
        summary="Go on with a conversation about a picture",
        response_model=ChatCompletion,
        responses={code: {"model": Failed, "description": why} for code, why in FAILURES.items()},
        openapi_extra={"requestBody": {"content": BODY, "required": True}},
    )
    async def completions(request: Request) -> Response:
        """Answer the last turn of a conversation, at once or while the answer is written."""
        chat = read_chat(read_json(await request.body()))
        health = backend.health()
        chat = replace(chat, work=asking(chat.work, health, lenient=True))
        telling = _Telling(chat, answering(chat.work, health))
        if not chat.stream:
            look, *events = await unless_gone(
                request, gathered(backend.do(chat.work), counting.saw)
            )
            (answer,) = (event["answer"] for event in events if event["type"] == "finished")
            raise_failed(answer)
            return JSONResponse(telling.whole(look, answer))
        telling.look, rest = await begun(request, backend.do(chat.work), counting.saw)
        try:
            first = await unless_gone(request, anext(rest))
            if first["type"] == "finished":
                raise_failed(first["answer"])
        except BaseException:
            await rest.aclose()  # type: ignore[attr-defined]
            raise
        return Stream(first, rest, telling.chunks)

    @app.get("/v1/models", summary="Names that can be asked", response_model=Models)
    async def models() -> Response:
        """The checkpoint by its name, and by a name that asks for tasks."""
        listed = [_model(name, started) for name in names(backend.health())]
        return JSONResponse({"object": "list", "data": listed})

    @app.get("/v1/models/{name:path}", summary="One of the names", response_model=Model)
    async def model(name: str) -> Response:
        """One of them, if it is there."""
        known = names(backend.health())
        if name not in known:
            raise Refused(
                f"there is no model {name!r}: this server has {', '.join(known)}",
                404,
                param="model",
            )
        return JSONResponse(_model(name, started))


def _model(name: str, created: int) -> Json:
    return {"id": name, "object": "model", "created": created, "owned_by": "sphinx_ros"}


class _Telling:
    """The events of one work -> a completion, or its chunks. look: the first event."""

    def __init__(self, chat: Chat, model: str):
        self._chat, self._role, self.look = chat, False, {}  # type: tuple[Chat, bool, Json]
        self._common: Json = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": f"sphinx_ros-{__version__}",
        }

    def whole(self, look: Json, answer: Json) -> Json:
        """A completion."""
        self.look = look
        message = {"role": "assistant", "content": answer["raw_text"].strip(), "refusal": None}
        choice = {
            "index": 0,
            "message": {**message, "sphinx": self._extra(answer)},
            "logprobs": None,
            "finish_reason": _reason(answer),
        }
        kind = {"object": "chat.completion"}
        return {**self._common, **kind, "choices": [choice], "usage": _usage(answer)}

    def chunks(self, event: Json) -> list[Json]:
        """The chunks of an event: role, text, items, the end."""
        told: list[Json] = []
        if not self._role:
            self._role = True
            told.append(self._chunk({"role": "assistant", "content": ""}))
        if event["type"] == "piece":
            told.append(self._chunk({"content": event["text"]}))
        elif event["type"] == "found":
            items = {kind: [event[name]] for name, kind in FOUND.items() if name in event}
            told.append({**self._chunk({}), "sphinx": items})
        elif event["type"] == "finished":
            told += self._end(event["answer"])
        return told

    def _end(self, answer: Json) -> list[Json]:
        status = Status[answer["status"]]
        if status in HTTP:  # the text so far has been told
            return [error_json(error_of(status, answer["message"]))]
        last = {**self._chunk({}, _reason(answer)), "sphinx": self._extra(answer)}
        if not self._chat.usage:
            return [last]
        return [last, {**self._chunk({}), "choices": [], "usage": _usage(answer)}]

    def _chunk(self, delta: Json, reason: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        usage = {"usage": None} if self._chat.usage else {}
        kind = {"object": "chat.completion.chunk"}
        return {**self._common, **kind, "choices": [choice], **usage}

    def _extra(self, answer: Json) -> Json:
        """The field `sphinx`."""
        look = {name: value for name, value in self.look.items() if name != "type"}
        same = ("task", "status", "score", "poses", "unread", "cost")
        return {
            **look,
            **{name: answer[name] for name in same},
            "boxes": answer["detections"],
            "keypoints": answer["points"],
            "seed": self._chat.work.options.seed,
        }


def _reason(answer: Json) -> str:
    return "length" if answer["cost"]["cut"] else "stop"


def _usage(answer: Json) -> dict[str, Any]:
    cost = answer["cost"]
    return {
        "prompt_tokens": cost["prompt_tokens"],
        "completion_tokens": answer["tokens"],
        "total_tokens": cost["prompt_tokens"] + answer["tokens"],
        "prompt_tokens_details": {"cached_tokens": cost["cached_tokens"]},
    }
