"""One picture, asked about on a server: questions -> results. Knows no torch.

What can be asked is told by :class:`sphinx_ros.seen.Seen`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.events import Event, Finished, Piece
from sphinx_ros.prompt.queries import Query
from sphinx_ros.remote.route import Route
from sphinx_ros.seen import Chat, Seen
from sphinx_ros.types import Timing


class Elsewhere(Seen):
    """A picture whose questions are answered on a server.

    It is sent with its first question: until then ``timing`` is unknown.
    """

    def __init__(self, route: Route):
        self._route = route
        self.width, self.height = route.upload.width, route.upload.height

    @property
    def cached(self) -> bool:  # type: ignore[override]
        """As :attr:`Seen.cached`."""
        return self._route.cached

    @property
    def timing(self) -> Timing:  # type: ignore[override]
        """As :attr:`Seen.timing`; both stages are one to a server."""
        return self._route.timing

    @property
    def drafts(self) -> Mapping[Any, Any]:
        """None: what was written is known to the server."""
        return {}

    def chat(self) -> Chat:
        """As :meth:`Seen.chat`."""
        raise NotImplementedError

    def _one(self, query: Query, options: dict[str, Any]) -> Any:
        told = {name: _unnumbered(options.pop(name, None)) for name in ("on_text", "on_found")}
        (result,) = self._answer([query], refuse=True, **told, **options)
        if isinstance(result, BaseException):
            raise result
        return result

    def _answer(
        self,
        queries: list[Query],
        *,
        refuse: bool,
        on_text: Callable[[int, str], None] | None = None,
        on_found: Callable[[int, Any], None] | None = None,
        **options: Any,
    ) -> list[Any]:
        for name, function in (("on_text", on_text), ("on_found", on_found)):
            if function is not None and not callable(function):
                raise BadRequest(f"{name} is {quoted(function)}: give a function")
        results: list[Any] = [None] * len(queries)
        texts = [""] * len(queries)
        listens = on_text is not None or on_found is not None
        for event in self._route.events(queries, refuse, listens, **options):
            number = event.number
            try:
                if isinstance(event, Finished):
                    if results[number] is None:
                        results[number] = event.result
                elif isinstance(event, Piece):
                    texts[number] += event.text
                    if on_text is not None and results[number] is None:
                        on_text(number, texts[number])
                elif on_found is not None and results[number] is None:
                    on_found(number, event.item)
            except Exception as error:  # of a listener: it ends its query and no other
                results[number] = error
        return results

    def _stream(
        self, queries: list[Query], return_errors: bool, options: dict[str, Any]
    ) -> Iterator[Event]:
        results: list[Any] = [None] * len(queries)
        with contextlib.closing(
            self._route.events(queries, not return_errors, True, **options)
        ) as events:
            for event in events:
                if isinstance(event, Finished):
                    results[event.number] = event.result
                else:
                    yield event
        for number, result in enumerate(results):
            if return_errors or not isinstance(result, BaseException):
                yield Finished(result, number)
        for result in results:
            if isinstance(result, BaseException) and not return_errors:
                raise result


def _unnumbered(function: Any) -> Any:
    """A function that is called with the number of a query, too. What is none stays."""
    return (lambda _, what: function(what)) if callable(function) else function
