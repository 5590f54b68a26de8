"""A request of OpenAI's clients -> the conversation or the query that it asks for.

SPHINX looks first, wherever the picture stands in the messages. Its template has a system text of
its own, so that another one is put in front of the first question. Knows no model.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from sphinx_ros.errors import quoted
from sphinx_ros.prompt.checks import (
    MAX_TOKENS,
    checked_seed,
    checked_stop,
    checked_temperature,
    checked_text,
    checked_top_p,
    checked_unicode,
)
from sphinx_ros.prompt.conversation import SYSTEM
from sphinx_ros.prompt.queries import read_query
from sphinx_ros.serve.asked import Fields, checked, named_picture
from sphinx_ros.serve.asked_model import TASKS
from sphinx_ros.serve.data_url import read_data_url
from sphinx_ros.serve.openai_schema import ChatRequest, Message
from sphinx_ros.serve.refusals import Refused
from sphinx_ros.serve.work import Options, Work

PATH = "/v1/chat/completions"

MAX_DRAWN_SEED = 2**31 - 1
"""Largest seed that is given to a request without one; every client can hold it."""

NOT_TEXT = {
    "input_audio": "audio can't be heard",
    "audio": "audio can't be heard",
    "video_url": "videos can't be watched: send one picture",
    "file": "files can't be read: send the picture as image_url",
}
"""Kinds of content that are refused -> why."""


@dataclass(frozen=True)
class Chat:
    """What is asked. stream: told while it is written. usage: the stream ends with the tokens."""

    work: Work
    stream: bool
    usage: bool


@dataclass
class _Read:
    """Messages so far: system texts, turns by role, addresses of pictures."""

    system: list[str] = field(default_factory=list)
    turns: list[tuple[str, str]] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)


def read_chat(fields: Fields) -> Chat:
    """A request's fields, checked. Raises Refused and BadRequest that name what is at fault."""
    asked = checked(ChatRequest, fields, PATH)
    _refuse_unsupported(asked)
    read = _read(asked.messages)
    encoded = _picture(read.urls)
    if encoded is None and asked.image is None and asked.picture is None:
        raise _refused(
            "there is no picture: put it into a user message, as "
            '{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,..."}}'
        )
    name, data = named_picture(asked, encoded)
    stream = bool(asked.stream)
    usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
    limit = asked.max_completion_tokens or asked.max_tokens or 0
    limit = min(limit, MAX_TOKENS)  # more is never written
    options: dict[str, Any] = {"max_new_tokens": limit, "timeout": asked.timeout}
    turns, model = _turns(read), asked.model or ""
    how: dict[str, Any] = {"tokens": stream, "model": model.removesuffix(TASKS)}
    if model.endswith(TASKS):
        query = read_query(read.turns[-1][1])
        work = Work(name, data, (query,), options=Options(**options), **how)
    else:
        options |= _drawn(asked)
        work = Work(name, data, turns=turns, options=Options(**options), **how)
    return Chat(work, stream, usage)


def _drawn(asked: ChatRequest) -> dict[str, Any]:
    """Temperature, top-p, seed and stop texts, checked."""
    temperature = checked_temperature(asked.temperature or 0.0)
    seed = checked_seed(asked.seed)
    if not temperature:
        seed = None  # equal requests are the same work
    elif seed is None:  # so that equal requests are not
        seed = secrets.randbelow(MAX_DRAWN_SEED)
    return {
        "temperature": temperature,
        "top_p": checked_top_p(1.0 if asked.top_p is None else asked.top_p),
        "seed": seed,
        "stop": checked_stop(_listed(asked.stop or None)),
    }


def _listed(value: Any) -> list[Any]:
    """The items of a list; of all else, the value itself."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _refuse_unsupported(asked: ChatRequest) -> None:
    """Raises Refused: something is asked for whose absence would change the answer."""
    more = asked.model_extra or {}
    for name in ("tools", "functions"):
        if more.get(name):
            raise _refused(f"{name} are not supported: leave them out", name)
    form = more.get("response_format")
    if form and form != {"type": "text"}:
        raise _refused(
            f"response_format is {quoted(form)}; there is text alone: boxes and points stand in "
            "the field sphinx of the message",
            "response_format",
        )
    if more.get("logprobs") or more.get("top_logprobs"):
        raise _refused(
            "logprobs are not told: the field sphinx has a score for each box and for the answer",
            "logprobs",
        )
    if more.get("audio") or "audio" in _listed(more.get("modalities")):
        raise _refused("audio is not supported: leave it out, the answer is text", "audio")
    if asked.n not in (None, 1):
        raise _refused(f"n is {asked.n}; it must be 1: ask several times, with other seeds", "n")


def _read(messages: list[Message]) -> _Read:
    read = _Read()
    for message in messages:
        if (message.model_extra or {}).get("tool_calls") or message.role in ("tool", "function"):
            raise _refused("tools are not supported: leave their calls and results out")
        if message.role not in ("system", "developer", "user", "assistant"):
            raise _refused(
                f"the role {quoted(message.role)} is unknown: use system, user or assistant"
            )
        texts = []
        for kind, words in _parts(message.content):
            if kind == "text":
                texts.append(checked_unicode(words))
            elif message.role == "user":
                read.urls.append(words)
            else:
                raise _refused(f"a picture of {message.role}: put it into a user message")
        text = "\n".join(texts).strip()
        if message.role in ("user", "assistant"):
            read.turns.append((message.role, text))
        elif text not in ("", SYSTEM):
            read.system.append(text)
    return read


def _parts(content: Any) -> Iterator[tuple[str, str]]:
    """("text", words) and ("image_url", address) of a message's content, in order."""
    parts = content if isinstance(content, list) else [content]
    for part in (one for one in parts if one is not None):
        kind = part.get("type") if isinstance(part, dict) else None
        kind = kind if isinstance(kind, str) else None
        value = part if isinstance(part, str) else part.get(kind) if kind else None
        if kind == "image_url" and isinstance(value, dict):
            value = value.get("url")
        if isinstance(value, str) and (isinstance(part, str) or kind in ("text", "image_url")):
            yield "image_url" if kind == "image_url" else "text", value
            continue
        why = NOT_TEXT.get(str(kind), "it must be a text, or have the type text or image_url")
        raise _refused(f"the content {quoted(part)} can't be used: {why}")


def _picture(urls: list[str]) -> bytes | None:
    """The one picture; programs for chats send it again with each turn. Raises Refused."""
    different = list(dict.fromkeys(urls))
    if len(different) > 1:
        raise _refused(
            f"there are {len(different)} pictures; a conversation is about one: ask about each "
            "by itself"
        )
    return read_data_url(different[0]) if different else None


def _turns(read: _Read) -> tuple[tuple[str, str | None], ...]:
    """Questions and answers; messages of one role that follow each other are one."""
    merged = [
        (role, "\n".join(filter(None, (text for _, text in group))))
        for role, group in groupby(read.turns, key=lambda turn: turn[0])
    ]
    if not merged or merged[0][0] != "user" or merged[-1][0] != "user":
        raise _refused("the first and the last message beside system must be of the role user")
    asked, answered = [text for _, text in merged[::2]], [text for _, text in merged[1::2]]
    checked_text(asked[-1])
    asked[0] = "\n".join(filter(None, [*read.system, asked[0]]))
    return tuple(zip(asked, [*answered, None], strict=True))


def _refused(message: str, param: str = "messages") -> Refused:
    return Refused(message, param=param)
