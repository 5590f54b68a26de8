"""Queries about any pictures of one checkpoint -> their results, as one batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sphinx_ros.answer.listening import Listener, News
from sphinx_ros.answer.plans import Ask, Plan
from sphinx_ros.answer.subject import Subject
from sphinx_ros.answer.written import Written
from sphinx_ros.engine.choosing import Choice
from sphinx_ros.engine.watch import Deadline, Watch
from sphinx_ros.errors import BadRequest, SphinxError, quoted
from sphinx_ros.events import Found
from sphinx_ros.prompt.checks import checked_tokens
from sphinx_ros.prompt.queries import Query


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
    on_found: Callable[[int, Any], None] | None = None,
    free: bool = False,
    heard: Callable[[News], None] | None = None,
    refuse: bool = True,
    begun: str = "",
) -> list[Any]:
    """Answer queries; for options see :class:`sphinx_ros.seen.Seen`.

    heard: told what is written, by whichever thread makes the passes; it must take no time.
    refuse: False asks the others where one can't be asked. begun: how the answers begin.

    Returns:
        The results in order, and errors in the places of those that failed.

    Raises:
        BadRequest: one can't be asked; nothing was asked then.
    """
    for name, function in (("cancel", cancel), ("on_text", on_text), ("on_found", on_found)):
        if function is not None and not callable(function):
            raise BadRequest(f"{name} is {quoted(function)}: give a function")
    if on_found is not None:
        heard = _finder(pairs, on_found, heard)
    plans = [subject.plan(query, short, verify, coordinates) for subject, query in pairs]
    usual, deadline = checked_tokens(max_new_tokens or 0), Deadline(timeout)
    results: list[Any] = [None] * len(plans)
    waiting, parts = _begin(pairs, plans, results, refuse, begun), [0] * len(plans)
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
                watch = Watch(subject.ending, deadline, cancel, told, tell)
                limit = query.max_new_tokens or usual or ask.task.row.max_new_tokens
                questions.append(subject.question(ask, limit, watch, free, begun))
                owners.append((number, ask, tell))
        rows = pairs[0][0].engine.answer(questions)
        answers: dict[int, list[Any]] = {number: [] for number in waiting}
        for (number, ask, tell), row in zip(owners, rows, strict=True):
            answers[number].append(_told(pairs[number][0].read(ask, row), tell))
        waiting = _go_on(pairs, plans, answers, results, begun)
    return results


def answer_one(
    subject: Subject,
    query: Query,
    on_text: Callable[[str], None] | None = None,
    on_found: Callable[[Any], None] | None = None,
    **options: Any,
) -> Any:
    """Answer one query; the listeners are called without its number. Raises what ended it."""
    told: dict[str, Any] = {"on_text": _unnumbered(on_text), "on_found": _unnumbered(on_found)}
    (result,) = answer_together([(subject, query)], **told, **options)
    if isinstance(result, BaseException):
        raise result
    return result


def _unnumbered(function: Any) -> Any:
    """A function that is called with the number of a query, too. What is none stays."""
    return (lambda _, what: function(what)) if callable(function) else function


def _finder(
    pairs: Sequence[tuple[Subject, Query]],
    on_found: Callable[[int, Any], None],
    heard: Callable[[News], None] | None,
) -> Callable[[News], None]:
    """A listener that tells finished items, beside another listener."""
    listeners = [Listener(subject.ending, n) for n, (subject, _) in enumerate(pairs)]

    def hear(news: News) -> None:
        if heard is not None:
            heard(news)
        for event in listeners[news.number].events(news):
            if isinstance(event, Found):
                on_found(event.number, event.item)

    return hear


def _told(answer: Written | Exception, tell: Callable[[Any], None] | None) -> Written | Exception:
    """An answer after it was told; a listener's own error ends its query and no other."""
    if tell is not None and isinstance(answer, Written):
        try:
            tell(answer)
        except Exception as error:
            return error
    return answer


def _tell(
    heard: Callable[[News], None], number: int, part: int, ask: Ask, what: Choice | Written
) -> None:
    heard(News(number, part, ask, what))


def _begin(
    pairs: Sequence[tuple[Subject, Query]],
    plans: Sequence[Plan],
    results: list[Any],
    refuse: bool,
    begun: str,
) -> dict[int, list[Ask]]:
    """The first questions of the plans; the errors of those that can't be asked are results."""
    asked: dict[int, list[Ask]] = {}
    for number, ((subject, _), plan) in enumerate(zip(pairs, plans, strict=True)):
        try:
            asked[number] = subject.askable(next(plan), begun)
        except BadRequest as error:
            if refuse:
                raise
            results[number] = error
    return asked


def _go_on(
    pairs: Sequence[tuple[Subject, Query]],
    plans: Sequence[Plan],
    answers: Mapping[int, list[Any]],
    results: list[Any],
    begun: str,
) -> dict[int, list[Ask]]:
    """Tell the plans what was written; the next questions of those that have not ended.

    One that can't be asked ends its own plan.
    """
    following: dict[int, list[Ask]] = {}
    for number, parts in answers.items():
        failed = next((one for one in parts if isinstance(one, Exception)), None)
        try:
            if failed is None:
                asks = plans[number].send(parts)
                try:
                    following[number] = pairs[number][0].askable(asks, begun)
                except BadRequest as error:
                    plans[number].throw(error)
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
