"""A task and what it is given -> the question in the official wording. Knows no token, no picture.

The wordings themselves are rows of :data:`sphinx_ros.tasks.ROWS`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from sphinx_ros.errors import BadRequest
from sphinx_ros.prompt.checks import checked_box, checked_text
from sphinx_ros.prompt.english import asked_kind, is_one, plural
from sphinx_ros.tasks import Takes, Task

EVERYTHING = "objects"
"""What DETECT looks for where nothing is said."""


def question(
    task: Task, text: str = "", box: Sequence[float] | None = None, *, decimals: int = 3
) -> str:
    """The Human text of a task in the official wording.

    Args:
        task: what is asked for, also by its name.
        text: GROUND: the expression; DETECT: what to look for ("" means "objects"): "mug", "mugs",
            "a mug" and "all mugs" are all mugs, "the tallest building" is one thing; ASK: the
            question, as it is.
        box: DESCRIBE and POSE: the region as (x0, y0, x1, y1) in fractions of the padded square.
        decimals: digits of the region's numbers. The published models read two as well as three.

    Raises:
        BadRequest: words or a region are missing where the task needs them.
    """
    task, text = Task(task), text.strip()
    row = task.row
    if row.takes in (Takes.TEXT, Takes.QUESTION):
        text = checked_text(text)
    if row.takes is Takes.BOX and box is None:
        checked_box(box)
    if "{text}." in row.wording:  # the wording brings its own stop
        text = text.rstrip(". ") or text
    if row.takes is Takes.KIND:
        text = asked_kind(text or EVERYTHING)
        wording = row.other_wording if is_one(text) else row.wording
        return wording.format(text=text, kinds=plural(text))
    if row.takes is Takes.MAYBE_BOX and box is None:
        return row.other_wording
    region = "" if box is None else format_box(box, decimals)
    return row.wording.format(text=text, region=region)


PRESENCE = "Is there {thing} in the image?"
"""The question of whether something is there at all: POPE's, which the models were trained on."""

_BEFORE = re.compile(
    r"^(?:(?:please )?(?:find|locate|show me|point (?:to|at)|where (?:is|are)) )?"
    r"(?:(?:the|an?|that|this|my|your) )?",
    re.IGNORECASE,
)
"""What stands before the noun of an expression: a request, an article."""


def presence_question(expression: str) -> str:
    """A referring expression -> the yes/no question of whether there is such a thing.

    "find the red mug" -> "Is there a red mug in the image?"; to be asked as a question (ASK).
    """
    words = " ".join(expression.split()).rstrip(".?! ")
    words = _BEFORE.sub("", words) or words
    article = "an" if words.lower().startswith(tuple("aeiou")) else "a"
    return PRESENCE.format(thing=f"{article} {words}")


_WHAT = re.compile(
    r"(?:what|who)(?: is|'s| are) (?:this|that|it|these|there)(?: thing| object)?"
    r"(?: in (?:this|that|the) (?:region|box))?\W*\Z",
    re.IGNORECASE,
)


def asks_what(text: str) -> bool:
    """Whether a question about a region wants to know what is in it, and nothing else."""
    return _WHAT.match(" ".join(text.split())) is not None


def format_box(box: Sequence[float], decimals: int = 3) -> str:
    """Box (x0, y0, x1, y1) in fractions of the square -> "[0.123,0.456,0.789,0.999]".

    Numbers are clamped to 0 .. 0.99...9, so that each is "0." and ``decimals`` digits.

    Raises:
        BadRequest: not four finite numbers.
    """
    if len(box) != 4 or not all(abs(value) < math.inf for value in box):  # not so of NaN
        raise BadRequest(f"box {tuple(box)}: need four finite numbers x0, y0, x1, y1")
    return "[" + ",".join(format_number(value, decimals) for value in box) + "]"


def format_number(value: float, decimals: int = 3) -> str:
    """A fraction of the square as the model writes it: "0." and ``decimals`` digits.

    Any number but NaN will do: it is clipped to 0 .. 1 before it is rounded, so that none is too
    large to be multiplied.
    """
    steps = 10**decimals
    return f"0.{min(round(min(max(value, 0), 1) * steps), steps - 1):0{decimals}d}"
