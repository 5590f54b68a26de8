"""What several tell of one request, one after another -> each query's events and its end, once.

Knows no HTTP.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator
from dataclasses import replace

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.events import Event, Finished, Piece
from sphinx_ros.types import Answer

Events = Generator[Event, None, None]


class Heard:
    """What was told of the queries of one request.

    count: of the queries. listens: whether anybody wants more of them than their ends.

    Attributes:
        left: the numbers of those that have no end yet.
    """

    def __init__(self, count: int, listens: bool):
        self.left, self._listens = set(range(count)), listens
        self._texts, self._told = [""] * count, set[int]()

    @property
    def begun(self) -> set[int]:
        """Those of them of which a part was told: another one may answer in other words."""
        return self.left & self._told

    def new(self, events: Iterator[Event]) -> Generator[Event, None, SphinxError | None]:
        """The events of one that answers, but for queries that have their end.

        Returns:
            The error of a query that it can't answer now, NOT_ACTIVE: it is no end, as another
            one may answer. None where there is no such query.
        """
        self._texts = [""] * len(self._texts)
        gone: SphinxError | None = None
        for event in events:
            number = event.number
            if number not in self.left:
                continue
            if isinstance(event, Finished):
                result = event.result
                if isinstance(result, SphinxError) and result.status is Status.NOT_ACTIVE:
                    gone, self._texts[number] = result, result.partial_text
                    continue
                self.left.discard(number)
                event = _with_text(event, self._texts[number])
            else:
                if isinstance(event, Piece):
                    self._texts[number] += event.text
                if not self._listens:
                    continue
            self._told.add(number)
            yield event
        return gone

    def ended(self, error: SphinxError, numbers: set[int]) -> Events:
        """The end of some queries by an error, each with its own words so far."""
        for number in sorted(numbers):
            self.left.discard(number)
            yield Finished(_own(error, self._texts[number]), number)


def _with_text(event: Finished, text: str) -> Finished:
    """The end of an answer whose text was told in pieces alone."""
    result = event.result
    if isinstance(result, Answer) and not result.raw_text:
        return Finished(replace(result, text=text.strip(), raw_text=text.strip()), event.number)
    return event


def _own(error: SphinxError, text: str) -> SphinxError:
    """What ended a query of several, with its own words so far."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    own.partial_text = text or error.partial_text
    return own
