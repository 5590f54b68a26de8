"""Queries about any pictures of one checkpoint -> their results, as one batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sphinx_ros.answer.plans import Ask, Plan
from sphinx_ros.answer.subject import Subject
from sphinx_ros.answer.written import Written
from sphinx_ros.engine.choosing import Choice
from sphinx_ros.engine.watch import Deadline, Watch
from sphinx_ros.errors import BadRequest, SphinxError, quoted
from sphinx_ros.prompt.checks import checked_tokens
from sphinx_ros.prompt.queries import Query


class News(NamedTuple):
    """Something was written.

    number: of the query. part: of the query's questions, from 0 in the order of their answers.
    what: one more token of the answer, or all of it.
    """

    number: int
    part: int
    ask: Ask
    what: Choice | Written


def answer_together(
    pairs: Sequence[tuple[Subject, Query]],
    *,
    short: bool = True,
    verify: bool = True,
    coordinates: str = "",
    max_new_tokens: int | None = None,
    cancel: Callable[[], bool] | None = None,
    timeout: float | None = None,
    on_text: Callable[[int, str], None] | None = None,
    free: bool = False,
    heard: Callable[[News], None] | None = None,
    refuse: bool = True,
) -> list[Any]:
    """Answer queries; for options see :class:`sphinx_ros.seen.Seen`.

    heard: told what is written, by whichever thread makes the passes; it must take no time.
    refuse: False asks the others where one can't be asked.

    Returns:
        The results in order, and errors in the places of those that failed.

    Raises:
        BadRequest: one can't be asked; nothing was asked then.
    """
    for name, function in (("cancel", cancel), ("on_text", on_text)):
        if function is not None and not callable(function):
            raise BadRequest(f"{name} is {quoted(function)}: give a function")
    plans = [subject.plan(query, short, verify, coordinates) for subject, query in pairs]
    usual, deadline = checked_tokens(max_new_tokens or 0), Deadline(timeout)
    results: list[Any] = [None] * len(plans)
    waiting, parts = _begin(pairs, plans, results, refuse), [0] * len(plans)
    while waiting:
        questions, owners = [], []
        for number, asks in waiting.items():
            subject, query = pairs[number]
            for ask in asks:
                tell = told = None
                if not ask.presence:
                    if heard is not None:
                        tell = functools.partial(_tell, heard, number, parts[number], ask)
                    if on_text is not None:
                        told = functools.partial(on_text, number)
                    parts[number] += 1
                watch = Watch(subject.engine.ending, deadline, cancel, told, tell)
                limit = query.max_new_tokens or usual or ask.task.row.max_new_tokens
                questions.append(subject.question(ask, limit, watch, free))
                owners.append((number, ask, tell))
        rows = pairs[0][0].engine.answer(questions)
        answers: dict[int, list[Any]] = {number: [] for number in waiting}
        for (number, ask, tell), row in zip(owners, rows, strict=True):
            answer = pairs[number][0].read(ask, row)
            answers[number].append(answer)
            if tell is not None and isinstance(answer, Written):
                tell(answer)
        waiting = _go_on(plans, answers, results)
    return results


def answer_one(
    subject: Subject,
    query: Query,
    on_text: Callable[[str], None] | None = None,
    **options: Any,
) -> Any:
    """Answer one query; ``on_text`` is called with the text alone. Raises what ended it."""
    heard: Any = on_text
    if callable(on_text):
        heard = lambda _, text: on_text(text)  # noqa: E731 (a function of the text alone)
    (result,) = answer_together([(subject, query)], on_text=heard, **options)
    if isinstance(result, BaseException):
        raise result
    return result


def _tell(
    heard: Callable[[News], None], number: int, part: int, ask: Ask, what: Choice | Written
) -> None:
    heard(News(number, part, ask, what))


def _begin(
    pairs: Sequence[tuple[Subject, Query]], plans: Sequence[Plan], results: list[Any], refuse: bool
) -> dict[int, list[Ask]]:
    """The first questions of the plans; the errors of those that can't be asked are results."""
    asked: dict[int, list[Ask]] = {}
    for number, ((subject, _), plan) in enumerate(zip(pairs, plans, strict=True)):
        try:
            asked[number] = subject.askable(next(plan))
        except BadRequest as error:
            if refuse:
                raise
            results[number] = error
    return asked


def _go_on(
    plans: Sequence[Plan], answers: Mapping[int, list[Any]], results: list[Any]
) -> dict[int, list[Ask]]:
    """Tell the plans what was written; the next questions of those that have not ended."""
    following: dict[int, list[Ask]] = {}
    for number, parts in answers.items():
        failed = next((one for one in parts if isinstance(one, Exception)), None)
        try:
            if failed is None:
                following[number] = plans[number].send(parts)
            else:
                if isinstance(failed, SphinxError):  # what the others wrote is not lost
                    failed.partial_text = "\n".join(filter(None, map(_text, parts)))
                plans[number].throw(failed)
        except StopIteration as end:
            results[number] = end.value
        except Exception as error:
            results[number] = error
    return following


def _text(part: Written | Exception) -> str:
    return part.text if isinstance(part, Written) else getattr(part, "partial_text", "")
