"""Lines such as "ground: the red mug" to queries and back. Knows no message and no model.

One grammar serves the parameter `queries`, the service `~/set_queries` and the logs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.prompt.checks import (
    MAX_STANDING,
    checked_box,
    checked_task,
    checked_text,
    checked_tokens,
    read_box,
    written_box,
)
from sphinx_ros.tasks import Takes, Task
from sphinx_ros.types import Box

LINES = ", ".join(f'"{task.line}"' for task in Task)
"""An example of each kind of line, for documents and messages."""


_NUMBER = r"[-+0-9.e]+"
_ABOUT = re.compile(rf"(.*\S)\s+@\s*({_NUMBER}(?:\s*,\s*{_NUMBER}){{3}})\Z", re.DOTALL)
"""A question and the region that it is about: "what is this? @ 10,20,110,220". Four numbers behind
an @ at the end are a region and nothing else."""


@dataclass(frozen=True)
class Query:
    """What to ask of one picture.

    Attributes:
        task: what is asked for, also by its name.
        text: the words of a task that takes words.
        box: the region of a task that takes one, x0, y0, x1, y1 in source pixels.
        max_new_tokens: 0 leaves it to the one who answers.
        id: comes back with the answer.
    """

    task: Task
    text: str = ""
    box: Box | None = None
    max_new_tokens: int = 0
    id: str = ""

    def __post_init__(self) -> None:
        """Raises BadRequest where there is no such task."""
        object.__setattr__(self, "task", checked_task(self.task))

    def checked(self) -> Query:
        """This query with its text stripped. Raises BadRequest with value, limit and remedy."""
        takes, text, box = self.task.row.takes, "", None
        try:
            if takes.words:
                text = checked_text(self.text)
            if takes is Takes.BOX or (takes.region and self.box is not None):
                box = checked_box(self.box)
            tokens = checked_tokens(self.max_new_tokens)
        except BadRequest as error:
            raise BadRequest(f"{self.task.value}: {error}") from error
        return replace(self, text=text, box=box, max_new_tokens=tokens)

    def put_to(self, seen: Any, **options: Any) -> Any:
        """Ask a ``Seen``: the result of its method of the task's name. options: of the method."""
        method = getattr(seen, self.task.value)
        if self.task.row.takes.words:
            if self.box is not None:
                options["box"] = self.box
            return method(self.text, **options)
        if self.task.row.takes.region:
            return method(self.box, **options)
        return method(**options)

    @property
    def words(self) -> str:
        """What is asked beside the task: text, region, or text @ region."""
        region = [] if self.box is None else [written_box(self.box)]
        return " @ ".join([str(self.text), *region] if self.task.row.takes.words else region)

    def line(self) -> str:
        """The query as text, in the form that :func:`read_query` reads."""
        takes, words = self.task.row.takes, self.words
        return f"{self.task.value}: {words}" if words or takes.words else self.task.value


def read_query(line: str, id: str = "") -> Query:
    """One line to a checked query. Raises BadRequest that names the line and what was expected."""
    head, _, rest = line.partition(":")
    name, rest = head.strip().lower(), rest.strip()
    try:
        task = Task(name)
    except ValueError:
        near = get_close_matches(name, [task.value for task in Task], 1, 0.75)
        meant = f' (did you mean "{near[0]}"?)' if near else ""
        raise BadRequest(
            f"{quoted(line)} is not a query{meant}: write one of "
            f"{', '.join(task.value for task in Task)}, a colon and the text, "
            f'as in "{Task.GROUND.line}"'
        ) from None
    try:
        if task.row.takes is Takes.QUESTION and (parts := _ABOUT.match(rest)):
            return Query(task, parts[1], read_box(parts[2]), id=id).checked()
        if task.row.takes.region and not task.row.takes.words and rest:
            return Query(task, box=read_box(rest), id=id).checked()
        if not task.row.takes.words and rest:
            raise BadRequest(f"{name} takes no text")
        return Query(task, rest, id=id).checked()
    except BadRequest as error:
        raise BadRequest(f"{quoted(line)}: {error}") from error


def read_queries(lines: Iterable[str]) -> tuple[Query, ...]:
    """Standing queries with ids "standing/0", ...; blank lines are left out. Raises BadRequest."""
    kept = [line for line in lines if line.strip()]
    if len(kept) > MAX_STANDING:
        raise BadRequest(f"{len(kept)} standing queries; the limit is {MAX_STANDING}")
    return tuple(read_query(line, f"standing/{i}") for i, line in enumerate(kept))
