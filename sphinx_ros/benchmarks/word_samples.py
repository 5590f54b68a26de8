"""A row that asks for words, as any layout has it -> a sample, checked for how it is scored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sphinx_ros.benchmarks.catalogue import Benchmark
from sphinx_ros.benchmarks.samples import Family, Picture, Sample
from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.prompt.checks import checked_text
from sphinx_ros.prompt.wording import LETTERS

LONGEST = 4000
"""Characters of a question and what is told before it."""


def word_sample(
    bench: Benchmark,
    split: str,
    id: object,
    picture: Picture,
    text: object,
    answers: object,
    *,
    choices: object = (),
    hint: object = "",
    key: str = "",
    group: str = "",
    family: Family | None = None,
) -> Sample:
    """The sample of a question. family: of the benchmark, where none is given.

    Raises:
        BadRequest: no words, or an answer that can't be scored.
    """
    family = family or bench.family
    words, told = checked_text(text), hint.strip() if isinstance(hint, str) else ""
    if len(words) + len(told) > LONGEST:
        raise BadRequest(f"the question has {len(words) + len(told)} characters; {LONGEST} fit")
    if isinstance(id, bool) or not isinstance(id, (str, int)) or id == "":
        raise BadRequest(f"the id is {quoted(id)}; expected a text or a whole number")
    true, options = answers_of(answers), choices_of(choices)
    if family is Family.CHOICE:
        true = (_letter(answers if isinstance(answers, int) else true, options),)
    elif family is Family.VQA and len(true) < 2:
        raise BadRequest(
            f"{quoted(true[0])} is the only answer; {bench.name} is scored against those of ten "
            "people: put its file of annotations beside this one (sphinx-ros eval --list)"
        )
    elif family in (Family.YES_NO, Family.PAIRS):
        true = tuple(one.strip().rstrip(".").lower() for one in true)
        if true not in (("yes",), ("no",)):
            raise BadRequest(f"the answer is {quoted(answers)}; expected yes or no")
    given = (split, str(id), picture, family, words)
    return Sample(
        bench.name, *given, answers=true, choices=options, hint=told, key=key, group=group
    )


def answers_of(given: object) -> tuple[str, ...]:
    """One answer, a list of them, or a list of rows with "answer" -> the words.

    Raises:
        BadRequest: there is none.
    """
    rows = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    found = []
    for row in rows:
        one = row.get("answer") if isinstance(row, Mapping) else row
        if isinstance(one, (int, float)) and not isinstance(one, bool):
            one = str(one)
        if not isinstance(one, str):
            raise BadRequest(f"the answer is {quoted(row)}; expected words")
        found.append(one)
    if not found:
        raise BadRequest("there is no answer")
    return tuple(found)


def choices_of(given: Any) -> tuple[str, ...]:
    """Choices as a list, or as JSON of one.

    Raises:
        BadRequest: they are none.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            raise BadRequest(f"the choices are {quoted(given)}; expected a list") from None
    listed = isinstance(given, Sequence) and all(isinstance(one, str) for one in given)
    if not listed or len(given) > len(LETTERS):
        raise BadRequest(f"the choices are {quoted(given)}; expected up to 26 texts")
    return tuple(checked_text(one) for one in given)


def _letter(right: int | tuple[str, ...], choices: tuple[str, ...]) -> str:
    """The letter of the right choice: its number from 0, or its words, its letter or number.

    A number is never taken for words: of the choices "2" and "1" the number 1 is the second.
    """
    number = 1 if isinstance(right, int) else len(right)
    if number != 1 or len(choices) < 2:
        raise BadRequest(f"{len(choices)} choices and {number} right ones; expected one of 2")
    letters = LETTERS[: len(choices)]
    if isinstance(right, int):
        if not 0 <= right < len(choices):
            raise BadRequest(f"the right answer {right} is none of the {len(choices)} choices")
        return letters[right]
    (true,) = right
    if true in choices:
        return letters[choices.index(true)]
    if len(true) == 1 and true.upper() in letters:
        return true.upper()
    if true.isdecimal() and int(true) < len(choices):
        return letters[int(true)]
    raise BadRequest(f"the right answer {quoted(true)} is none of the choices")
