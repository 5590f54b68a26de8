"""What is asked of a server -> a request to one of its doors; what that tells -> events as JSON.

The events are those of :class:`sphinx_ros.serve.work.Backend`, whichever door they come through.
Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sphinx_ros.dialogue import Turns
from sphinx_ros.prompt.checks import MAX_STANDING
from sphinx_ros.prompt.queries import Query
from sphinx_ros.tasks import Task

Json = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One request, but for its picture.

    Attributes:
        path: of the door. fields: what it is given. count: queries in it.
        bare: whether the picture may be the body, and the fields stand in the address.
        whole: what it answers at once -> events. part: an object of its stream -> events.
    """

    path: str
    fields: Mapping[str, Any]
    count: int
    bare: bool
    whole: Callable[[Json], Iterator[Json]]
    part: Callable[[Json], Iterator[Json]]


def queries_request(queries: Sequence[Query], options: Mapping[str, Any]) -> Request:
    """Queries with the same limit of tokens, to ``/v1/answer``. options: by the door's names."""
    limit = queries[0].max_new_tokens
    fields = {**options, **({"max_new_tokens": limit} if limit else {})}
    fields["queries"] = [query.line() for query in queries]
    return Request("/v1/answer", fields, len(queries), True, whole_answer, part_answer)


def groups(queries: Sequence[Query]) -> list[list[int]]:
    """Numbers of queries that can be one request: with the same limit of tokens, not too many."""
    by_limit: dict[int, list[int]] = {}
    for number, query in enumerate(queries):
        by_limit.setdefault(query.max_new_tokens, []).append(number)
    return [
        numbers[first : first + MAX_STANDING]
        for numbers in by_limit.values()
        for first in range(0, len(numbers), MAX_STANDING)
    ]


def turns_request(turns: Turns, asked: str, options: Mapping[str, Any]) -> Request:
    """The next question of a conversation, to the chat door; turns and question: Human texts."""
    messages = []
    for question, answer in turns:
        messages += [_message("user", question), _message("assistant", answer)]
    fields = {**options, "messages": [*messages, _message("user", asked)]}
    return Request("/v1/chat/completions", fields, 1, False, whole_chat, part_chat)


def _message(role: str, text: str) -> Json:
    return {"role": role, "content": text}


def whole_answer(said: Json) -> Iterator[Json]:
    """Of the task doors."""
    yield look_of(said)
    for number, answer in enumerate(said.get("answers", ())):
        yield {"type": "finished", "number": number, "answer": answer}


def part_answer(said: Json) -> Iterator[Json]:
    """Of their streams."""
    yield said


def look_of(said: Mapping[str, Any]) -> Json:
    """The event of a look, out of what has its fields among others."""
    names = ("picture", "width", "height", "cached", "look_ms")
    return {"type": "look", **{name: said.get(name) for name in names}}


def whole_chat(said: Json) -> Iterator[Json]:
    """Of the chat door: a completion."""
    message = said["choices"][0]["message"]
    yield look_of(message["sphinx"])
    yield _chat_end(message["sphinx"], message["content"])


def part_chat(said: Json) -> Iterator[Json]:
    """Of its stream: a chunk. The text of its last event is "": the pieces tell it."""
    own = said.get("sphinx", {})
    for choice in said.get("choices", ()):
        if text := choice["delta"].get("content"):
            yield {"type": "piece", "number": 0, "text": text}
        if choice.get("finish_reason"):
            yield look_of(own)
            yield _chat_end(own, "")
        else:
            for kind, name in (("boxes", "detection"), ("keypoints", "keypoint")):
                for item in own.get(kind, ()):
                    yield {"type": "found", "number": 0, name: item}


def _chat_end(own: Mapping[str, Any], text: str) -> Json:
    """The last event, out of the field `sphinx` of a completion."""
    cost = own["cost"]
    spent = [cost[name] for name in ("prefill_ms", "decode_ms")]
    answer = {
        **{name: own[name] for name in ("status", "score", "unread", "poses", "cost")},
        "task": Task.ASK.value,
        "message": "",
        "text": text,
        "raw_text": text,
        "detections": own["boxes"],
        "points": own["keypoints"],
        "point_source": None,
        "denied": [],
        "milliseconds": None if None in spent else sum(spent),
        "tokens": cost["tokens"],
    }
    return {"type": "finished", "number": 0, "answer": answer}
