"""A task and what it is given -> the question in the official wording. Knows no token, no picture.

The wordings themselves are rows of :data:`sphinx_ros.tasks.ROWS`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sphinx_ros.errors import BadRequest, Status, quoted
from sphinx_ros.prompt.checks import checked_box, checked_list, checked_task, checked_text
from sphinx_ros.prompt.english import asked_kind, is_one, plural, small_letters
from sphinx_ros.tasks import Takes, Task
from sphinx_ros.types import Answer

EVERYTHING = "objects"
"""What DETECT looks for where nothing is said."""


def usual_text(task: Task) -> str:
    """What a task is asked with where no words are given: "" where it takes none or needs some."""
    return EVERYTHING if task.row.takes is Takes.KIND else ""


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
    task, text = checked_task(task), text.strip()
    row = task.row
    if row.takes in (Takes.TEXT, Takes.QUESTION):
        text = checked_text(text)
    if row.takes is Takes.BOX and box is None:
        checked_box(box)
    if row.takes is Takes.TEXT:
        text = small_letters(text)
    if "{text}." in row.wording:  # the wording brings its own stop
        text = text.rstrip(". ") or text
    if row.takes is Takes.KIND:
        text = asked_kind(text or usual_text(task))
        wording = row.other_wording if is_one(text) else row.wording
        return wording.format(text=text, kinds=plural(text))
    if row.takes is Takes.MAYBE_BOX and box is None:
        return row.other_wording
    region = "" if box is None else format_box(box, decimals)
    return row.wording.format(text=text, region=region)


UNANSWERABLE = "{text} When the provided information is insufficient, respond with 'Unanswerable'."
"""VizWiz: what stands in place of the question, before the request for a short answer."""

TRUE_OR_FALSE = 'Is the following statement "{text}" true or false?'
"""VSR: a statement as a question, with nothing behind it."""

CHOOSE = 'Answer with the option"s letter from the given choices directly.'
"""The last line of a question with choices; the quotation mark is that of the official data."""

CHOOSING_BEGINS = " The answer is"
"""How the official evaluation lets the answer to a question of ScienceQA begin."""

NO_CONTEXT = "N/A"
"""What the official evaluation writes where nothing is told before a question with choices."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def short_answer(text: str) -> str:
    """A question that a word or a phrase is to answer, in the official wording."""
    return question(Task.ASK, text)


def checked_choices(choices: Iterable[str] | None) -> list[str]:
    """Answers to choose one of, in their order; none for None.

    Raises:
        BadRequest: one text, or a set, whose order is another each time.
    """
    what = f"2 to {len(LETTERS)} texts"
    if isinstance(choices, (set, frozenset)):
        raise BadRequest(
            f"choices is {quoted(choices)}, which has no order: give a list of {what}"
        )
    return [] if choices is None else checked_list(choices, "choices", what)


def multiple_choice(
    text: str, choices: Iterable[str], context: str = NO_CONTEXT, directly: bool = True
) -> str:
    """A question with choices, in the official wording; the answer is a letter.

    context: what is told before it; "" leaves its line empty. directly: ask for the letter alone
    (:data:`CHOOSE`).

    Raises:
        BadRequest: no words, or not 2 to 26 choices.
    """
    given = checked_choices(choices)
    if not 2 <= len(given) <= len(LETTERS):
        raise BadRequest(f"choices is {quoted(given)}: give 2 to {len(LETTERS)} of them")
    lettered = (
        f"{letter}. {checked_text(one)}" for letter, one in zip(LETTERS, given, strict=False)
    )
    lines = ("Context:", context.strip(), "Question:", checked_text(text), "Choices:")
    return "\n".join((*lines, *lettered, *([CHOOSE] if directly else [])))


_CHOSEN = re.compile(
    r"(?:(?:the )?(?:correct )?(?:answer|option|choice)(?: is)?:? *)?\(?([a-z])(?:[).:,]|\s*\Z)",
    re.IGNORECASE | re.ASCII,  # without ASCII two letters of other alphabets are [a-z], too
)


def chosen(answer: str, choices: Sequence[str]) -> int | None:
    """Which of the choices an answer names, by its letter or its words; None: none of them.

    "B", "b.", "(B)", "B. dog", "The answer is B", "dog". A letter beyond the choices names none.
    """
    said = answer.strip()
    found = _CHOSEN.match(said)
    if found and (number := LETTERS.index(found[1].upper())) < len(choices):
        return number
    plain = said.rstrip(".").casefold()
    same = [n for n, one in enumerate(choices) if one.strip().rstrip(".").casefold() == plain]
    return same[0] if len(same) == 1 else None


def as_chosen(answer: Answer, choices: Sequence[str]) -> Answer:
    """An answer to :func:`multiple_choice` whose text is the choice itself, as it was given.

    PARSE_FAILED where its words, which stay in ``raw_text``, name none of the choices.
    """
    number = chosen(answer.text, choices)
    if number is None:
        return replace(answer, status=Status.PARSE_FAILED)
    return replace(answer, text=choices[number])


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

    "find the red mug" -> "Is there a red mug in the image?"; to be asked as a question (ASK). In
    small letters, as the questions that the models learnt are: they know "RED MUG" less well.
    """
    words = " ".join(expression.split()).rstrip(".?! ").lower()
    words = _BEFORE.sub("", words) or words
    article = "an" if words.startswith(tuple("aeiou")) else "a"
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
