"""One picture, asked about on a server: questions -> results. Knows no torch.

What can be asked is told by :class:`sphinx_ros.seen.Seen`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sphinx_ros.dialogue import Chat
from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.events import Event, Finished, Piece, ends
from sphinx_ros.prompt.queries import Query
from sphinx_ros.remote.route import Events, Route
from sphinx_ros.seen import Seen
from sphinx_ros.tasks import Task
from sphinx_ros.types import Answer, Timing


class Elsewhere(Seen):
    """A picture whose questions are answered on a server.

    It is sent with its first question: until then ``timing`` is unknown.
    """

    def __init__(self, route: Route):
        self.route = route
        self.width, self.height = route.upload.width, route.upload.height

    @property
    def cached(self) -> bool:  # type: ignore[override]
        """As :attr:`Seen.cached`."""
        return self.route.cached

    @property
    def timing(self) -> Timing:  # type: ignore[override]
        """As :attr:`Seen.timing`; both stages are one to a server."""
        return self.route.timing

    @property
    def drafts(self) -> Mapping[Any, Any]:
        """None: what was written is known to the server."""
        return {}

    def chat(self, turns: Sequence[tuple[str, str]] = ()) -> Chat:
        """As :meth:`Seen.chat`."""
        return ChatElsewhere(self.route, turns)

    def _one(self, query: Query, options: dict[str, Any]) -> Any:
        told = {name: _unnumbered(options.pop(name, None)) for name in ("on_text", "on_found")}
        (result,) = self._answer([query], refuse=True, **told, **options)
        if isinstance(result, BaseException):
            raise result
        return result

    def _answer(self, queries: list[Query], *, refuse: bool, **options: Any) -> list[Any]:
        on_text, on_found = options.pop("on_text", None), options.pop("on_found", None)
        listens = on_text is not None or on_found is not None
        events = self.route.events(queries, refuse, listens, **options)
        return gathered(events, len(queries), on_text, on_found)

    def _stream(
        self, queries: list[Query], return_errors: bool, options: dict[str, Any]
    ) -> Iterator[Event]:
        events = self.route.events(queries, not return_errors, True, **options)
        return ended(events, len(queries), return_errors)


class ChatElsewhere(Chat):
    """A conversation whose turns travel with each question; the server keeps what it has read."""

    def __init__(self, route: Route, turns: Sequence[tuple[str, str]] = ()):
        super().__init__(turns)
        self.route = route

    def _ask(self, asked: str, options: dict[str, Any]) -> Answer:
        told = [_unnumbered(options.pop(name, None)) for name in ("on_text", "on_found")]
        listens = any(one is not None for one in told)
        (result,) = gathered(self._events(asked, listens, options), 1, *told)
        if isinstance(result, BaseException):
            raise result
        return result

    def _stream(self, asked: str, return_errors: bool, options: dict[str, Any]) -> Iterator[Event]:
        return ended(self._events(asked, True, options), 1, return_errors)

    def _events(self, asked: str, listens: bool, options: dict[str, Any]) -> Events:
        limit = options.pop("max_new_tokens", None) or Task.ASK.row.max_new_tokens
        return self.route.turn(self._turns, asked, listens, max_new_tokens=limit, **options)

    def close(self) -> None:
        """Nothing is kept here."""


def gathered(events: Events, count: int, on_text: Any = None, on_found: Any = None) -> list[Any]:
    """The results of queries out of their events; errors are in the places of those that failed.

    on_text, on_found: called with the number of a query and its text so far, or an item. An error
    of theirs ends its query and no other. Raises BadRequest: one of them is no function.
    """
    for name, function in (("on_text", on_text), ("on_found", on_found)):
        if function is not None and not callable(function):
            raise BadRequest(f"{name} is {quoted(function)}: give a function")
    results: list[Any] = [None] * count
    texts = [""] * count
    with contextlib.closing(events):
        for event in events:
            number = event.number
            if results[number] is not None:
                continue
            try:
                if isinstance(event, Finished):
                    results[number] = event.result
                elif isinstance(event, Piece):
                    texts[number] += event.text
                    if on_text is not None:
                        on_text(number, texts[number])
                elif on_found is not None:
                    on_found(number, event.item)
            except Exception as error:
                results[number] = error
                if all(one is not None for one in results):
                    break  # nobody wants the rest: the server need not go on
    return results


def ended(events: Events, count: int, return_errors: bool) -> Iterator[Event]:
    """Events with the ends of all queries behind the others, in order.

    return_errors: tell what ended a query as its result, in place of raising the first such.
    """
    results: list[Any] = [None] * count
    with contextlib.closing(events):
        for event in events:
            if isinstance(event, Finished):
                results[event.number] = event.result
            else:
                yield event
    yield from ends(results, return_errors)


def _unnumbered(function: Any) -> Any:
    """A function that is called with the number of a query, too. What is none stays."""
    return (lambda _, what: function(what)) if callable(function) else function
