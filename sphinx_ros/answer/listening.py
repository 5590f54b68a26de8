"""What is written, token by token -> pieces of text and finished items. Knows no thread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sphinx_ros.answer.plans import Ask
from sphinx_ros.answer.written import Written, written
from sphinx_ros.engine.answered import Answered
from sphinx_ros.engine.choosing import Choice
from sphinx_ros.engine.ending import Ending
from sphinx_ros.events import Found, Piece
from sphinx_ros.tasks import Answers
from sphinx_ros.types import Cost


class News(NamedTuple):
    """Something was written.

    number: of the query. part: of the query's questions, from 0 in the order of their answers.
    what: one more token of the answer, or all of it.
    """

    number: int
    part: int
    ask: Ask
    what: Choice | Written


class Listener:
    """News of one query -> events. Of several answers at a time the first is told to its end.

    ending: of the answers.
    """

    def __init__(self, ending: Ending, number: int):
        self._ending, self._number = ending, number
        self._parts: dict[int, _Part] = {}
        self._now = 0

    def events(self, news: News) -> Iterator[Piece | Found]:
        """What can be told now."""
        if news.part not in self._parts:
            self._parts[news.part] = _Part(self._ending, news.ask, "\n" if news.part else "")
        self._parts[news.part].waiting.append(news.what)
        while (part := self._parts.get(self._now)) is not None:
            for one in part.events():
                if isinstance(one, str):
                    yield Piece(one, self._number)
                else:
                    yield Found(one, self._number)
            if not part.ended:
                break
            self._now += 1


class _Part:
    """One answer of the model while it is written: texts and items.

    before: what stands between it and the answer before it.
    """

    def __init__(self, ending: Ending, ask: Ask, before: str):
        self._ending, self._ask, self._before = ending, ask, before
        self._choices: list[Choice] = []
        self._text = ""
        self._told: dict[int, int] = {}  # kind of item -> how many
        self.waiting: list[Choice | Written] = []
        self.ended = False

    def events(self) -> Iterator[Any]:
        """Of what has come since."""
        waiting, self.waiting = self.waiting, []
        for what in waiting:
            if isinstance(what, Written):
                self.ended = True
                yield from self._more(what.text.strip())
                yield from self._items(what)
            else:
                self._choices.append(what)
                yield from self._token()

    def _token(self) -> Iterator[Any]:
        ids = [choice.token for choice in self._choices]
        before = len(self._text)
        yield from self._more(self._ending.text_so_far(ids))
        grows = self._ask.task.row.answers is not Answers.PEOPLE  # joints find their person later
        if grows and "]" in self._text[before:]:
            probabilities = [choice.probability for choice in self._choices]
            shares = [choice.shares for choice in self._choices]
            answer = written(Answered(ids, probabilities, shares), self._ending, Cost())
            yield from self._items(answer)

    def _more(self, text: str) -> Iterator[str]:
        more, self._text = text[len(self._text) :], text
        if self._before and (more or self.ended):
            more, self._before = self._before + more, ""
        if more:
            yield more

    def _items(self, answer: Written) -> Iterator[Any]:
        for kind, items in enumerate(self._ask.items(answer)):
            yield from items[self._told.get(kind, 0) :]
            self._told[kind] = len(items)
