"""Lines such as "ground: the red mug" to queries and back. Knows no message and no model.

One grammar serves the parameter `queries`, the service `~/set_queries` and the logs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sphinx_ros.errors import BadRequest
from sphinx_ros.tasks import Task
from sphinx_ros.types import Box

MAX_TEXT = 1000
MAX_STANDING = 32
MAX_TOKENS = 4096

_NEEDS_TEXT = (Task.GROUND, Task.DETECT, Task.ASK)
_TAKES_BOX = (Task.POSE, Task.DESCRIBE)


@dataclass(frozen=True)
class Query:
    """What to ask of one picture.

    text: the description, kind or question of GROUND, DETECT and ASK. box: the region of DESCRIBE
    and, optionally, POSE, in source pixels. max_new_tokens: 0 leaves it to the node. id: returned
    with the answer.
    """

    task: Task
    text: str = ""
    box: Box | None = None
    max_new_tokens: int = 0
    id: str = ""

    def checked(self) -> Query:
        """This query with its text stripped. Raises BadRequest with value, limit and remedy."""
        text = self.text.strip()
        if self.task in _NEEDS_TEXT:
            if not text:
                raise BadRequest(f"{self.task.value}: the text is empty; say what is asked for")
            if len(text) > MAX_TEXT:
                raise BadRequest(
                    f"{self.task.value}: the text has {len(text)} characters; "
                    f"the limit is {MAX_TEXT}: shorten it"
                )
            if "\x00" in text:
                raise BadRequest(f"{self.task.value}: the text holds a NUL character; remove it")
        if self.task is Task.DESCRIBE and self.box is None:
            raise BadRequest("describe: a box is needed: x0,y0,x1,y1 in pixels")
        if self.box is not None:
            _check_box(self.box)
        if not 0 <= self.max_new_tokens <= MAX_TOKENS:
            raise BadRequest(
                f"max_new_tokens is {self.max_new_tokens}; it must be 0..{MAX_TOKENS}"
            )
        return replace(self, text=text)

    def line(self) -> str:
        """The query as text, in the form that :func:`read_query` reads."""
        if self.task in _NEEDS_TEXT:
            return f"{self.task.value}: {self.text}"
        if self.box is not None:
            return f"{self.task.value}: " + ",".join(f"{value:g}" for value in self.box)
        return self.task.value


def read_query(line: str, id: str = "") -> Query:
    """One line to a checked query. Raises BadRequest that names the line and what was expected."""
    head, _, rest = line.partition(":")
    name, rest = head.strip().lower(), rest.strip()
    try:
        task = Task(name)
    except ValueError:
        tasks = ", ".join(task.value for task in Task)
        raise BadRequest(
            f"{_short(line)!r} is not a query: write one of {tasks}, a colon and the text, "
            'as in "ground: the red mug"'
        ) from None
    if task in _TAKES_BOX and rest:
        return Query(task, box=_read_box(rest, line), id=id).checked()
    if task not in _NEEDS_TEXT and rest:
        raise BadRequest(f"{_short(line)!r}: {name} takes no text")
    return Query(task, rest, id=id).checked()


def read_queries(lines: Iterable[str]) -> tuple[Query, ...]:
    """Standing queries with ids "standing/0", ...; blank lines are left out. Raises BadRequest."""
    kept = [line for line in lines if line.strip()]
    if len(kept) > MAX_STANDING:
        raise BadRequest(f"{len(kept)} standing queries; the limit is {MAX_STANDING}")
    return tuple(read_query(line, f"standing/{i}") for i, line in enumerate(kept))


def _read_box(text: str, line: str) -> Box:
    parts = text.strip("[]() ").replace(";", ",").split(",")
    try:
        x0, y0, x1, y1 = (float(part) for part in parts)
    except ValueError:
        raise BadRequest(
            f"{_short(line)!r}: a box is four numbers, x0,y0,x1,y1 in pixels"
        ) from None
    return x0, y0, x1, y1


def _check_box(box: Box) -> None:
    x0, y0, x1, y1 = box
    if not all(math.isfinite(value) for value in box) or x0 >= x1 or y0 >= y1:
        raise BadRequest(
            f"the box {box} is empty or not finite; it must be x0 < x1 and y0 < y1 in pixels"
        )


def _short(line: str) -> str:
    return line if len(line) <= 80 else line[:77] + "..."
