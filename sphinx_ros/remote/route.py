"""Queries about a picture -> the events of whoever answers: a server, another, or a model here.

Where no server can be reached, and nothing has been told yet, a model of this process is asked the
same, if there is one. Knows no torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sphinx_ros.dialogue import Turns
from sphinx_ros.errors import BadRequest, SphinxError, Unreachable
from sphinx_ros.events import Event, Finished, Found, Piece
from sphinx_ros.image.formats import decode_file
from sphinx_ros.prompt.checks import (
    checked_box,
    checked_seed,
    checked_stop,
    checked_temperature,
    checked_tokens,
    checked_top_p,
)
from sphinx_ros.prompt.queries import Query
from sphinx_ros.remote.failing import UNREADABLE, unreadable
from sphinx_ros.remote.heard import Events, Heard
from sphinx_ros.remote.link import Link
from sphinx_ros.remote.patience import Patience
from sphinx_ros.remote.put import put
from sphinx_ros.remote.requests import Request, groups, queries_request, turns_request
from sphinx_ros.remote.servers import Servers
from sphinx_ros.remote.upload import Upload
from sphinx_ros.remote.wire import event_from_json
from sphinx_ros.seen import Seen
from sphinx_ros.types import Timing

Here = Callable[[Seen, dict[str, Any]], Iterator[Event]]
"""Asks the same of a model of this process; the options are the time limit and the cancelling."""


class Route:
    """The way to whoever answers about one picture. model: which of a server's, "" for the usual.

    Attributes:
        cached, timing: as of :class:`Seen`, as soon as a question was asked.
    """

    def __init__(self, servers: Servers, upload: Upload, cached: bool, model: str = ""):
        self.servers, self.upload, self._model = servers, upload, model
        self.cached, self.timing = cached, Timing(np.nan, np.nan)
        self._here: Seen | None = None

    def events(
        self,
        queries: list[Query],
        refuse: bool,
        listens: bool,
        *,
        short: bool = True,
        verify: bool = True,
        coordinates: str = "",
        free: bool = False,
        max_new_tokens: int | None = None,
        cancel: Callable[[], bool] | None = None,
        timeout: float | None = None,
    ) -> Events:
        """All events, each query's :class:`Finished` among them, with the error that ended it."""
        patience = Patience(cancel, timeout)
        usual = {
            "short": (short, True),
            "verify": (verify, True),
            "free": (free, False),
            "coordinates": (coordinates, ""),
            "max_new_tokens": (checked_tokens(max_new_tokens or 0), 0),
        }
        fields = {name: value for name, (value, default) in usual.items() if value != default}
        asked, sound = [], []
        for number, query in enumerate(queries):
            try:
                asked.append(self._checked(query))
                sound.append(number)
            except BadRequest as error:
                if refuse:
                    raise
                yield Finished(error, number)
        for part in groups(asked):
            those = [asked[one] for one in part]
            request = queries_request(those, fields)

            def here(seen: Seen, options: dict[str, Any], those: Any = those) -> Iterator[Event]:
                """The same turn, by the model of this process."""
                return seen._stream(those, True, {**fields, **options})

            with contextlib.closing(self._request(request, patience, listens, here)) as told:
                for event in told:
                    yield _renumbered(event, sound[part[event.number]])

    def turn(
        self,
        turns: Turns,
        asked: str,
        listens: bool,
        *,
        cancel: Callable[[], bool] | None = None,
        timeout: float | None = None,
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        top_p: float = 0.95,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
    ) -> Events:
        """The events of a question behind the turns of a conversation."""
        limit = checked_tokens(max_new_tokens or 0)
        fields: dict[str, Any] = {
            "temperature": checked_temperature(temperature),
            "top_p": checked_top_p(top_p),
            "seed": checked_seed(seed),
            "stop": list(checked_stop(stop)),
        }
        request = turns_request(
            turns, asked, {**fields, **({"max_tokens": limit} if limit else {})}
        )

        def here(seen: Seen, options: dict[str, Any]) -> Iterator[Event]:
            """The same questions, to the model of this process."""
            with seen.chat(turns) as chat:
                given = {**fields, **options, "max_new_tokens": limit or None}
                yield from chat._stream(asked, True, given)

        yield from self._request(request, Patience(cancel, timeout), listens, here)

    def _checked(self, query: Query) -> Query:
        if query.box is not None:
            checked_box(query.box, (self.upload.width, self.upload.height))
        return query

    def _request(self, request: Request, patience: Patience, listens: bool, here: Here) -> Events:
        """The events of one request; what ends it early ends each query that is not answered.

        A query that nobody has heard anything of goes on to the next server where one is lost.
        Pieces are wanted by who listens, and by who may stop it: what was written is not lost.
        """
        if self._model:
            request = replace(request, fields={**request.fields, "model": self._model})
        heard = Heard(request.count, listens)
        error: SphinxError = Unreachable(self.servers.trouble)
        for link in self.servers.reachable():
            try:
                told = self._events(link, request, patience, listens or patience.bounded)
                if (gone := (yield from heard.new(told))) is not None:
                    raise link.inactive(gone)
                error = SphinxError("the server left a question without an answer")
                break
            except Unreachable as away:
                error = away
                self.servers.failed()
                yield from heard.ended(error, heard.begun)
                if not heard.left:
                    return
            except SphinxError as ended:
                error = ended
                break
        if isinstance(error, Unreachable) and self.servers.has_local:
            try:
                gone = yield from heard.new(self._from_here(patience, here))
                error = gone or error
            except SphinxError as ended:
                error = ended
        yield from heard.ended(error, heard.left)

    def _events(self, link: Link, request: Request, patience: Patience, stream: bool) -> Events:
        """What one server tells."""
        for said in put(link, self.upload, request, patience, stream):
            event = None
            try:
                if said["type"] == "look":
                    spent = said["look_ms"]
                    self.cached = bool(said["cached"])
                    self.timing = Timing(np.nan if spent is None else float(spent), 0.0)
                else:
                    event = event_from_json(said)
            except UNREADABLE as error:
                raise unreadable(link.address, error) from error
            if event is not None:
                yield event

    def _from_here(self, patience: Patience, here: Here) -> Iterator[Event]:
        """What the model of this process tells. What ends a query is its result."""
        if self._here is None:
            # what was sent, as the caller may have written into the picture since
            self._here = self.servers.local(patience).look(decode_file(self.upload.data))
            self.cached, self.timing = self._here.cached, self._here.timing
        patience.check()
        yield from here(self._here, {"cancel": patience.over, "timeout": patience.left()})


def _renumbered(event: Any, number: int) -> Any:
    """An event of a query that has another number among all."""
    if event.number == number:
        return event
    if isinstance(event, Piece):
        return Piece(event.text, number)
    if isinstance(event, Found):
        return Found(event.item, number)
    return Finished(event.result, number)
