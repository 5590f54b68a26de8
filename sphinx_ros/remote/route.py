"""Queries about a picture -> the events of whoever answers: a server, another, or a model here.

Where no server can be reached, and nothing has been told yet, a model of this process is asked the
same, if there is one. Knows no torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import numpy as np

from sphinx_ros.errors import BadRequest, SphinxError, Unreachable
from sphinx_ros.events import Event, Finished, Found, Piece
from sphinx_ros.prompt.checks import checked_box, checked_tokens
from sphinx_ros.prompt.queries import Query
from sphinx_ros.remote.patience import Patience
from sphinx_ros.remote.put import groups, put, unfinished
from sphinx_ros.remote.servers import Servers
from sphinx_ros.remote.upload import Upload
from sphinx_ros.remote.wire import event_from_json
from sphinx_ros.seen import Seen
from sphinx_ros.types import Timing

Events = Generator[Event, None, None]


class Route:
    """The way to whoever answers about one picture.

    rgb: the picture, where a model of this process may be asked; else None.

    Attributes:
        cached, timing: as of :class:`Seen`, as soon as a question was asked.
    """

    def __init__(self, servers: Servers, upload: Upload, rgb: np.ndarray | None, cached: bool):
        self.servers, self.upload, self._rgb = servers, upload, rgb
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
            more = {"max_new_tokens": n} if (n := those[0].max_new_tokens) else {}
            told = self._part(those, {**fields, **more}, patience, listens)
            with contextlib.closing(told):
                for event in told:
                    yield _renumbered(event, sound[part[event.number]])

    def _checked(self, query: Query) -> Query:
        if query.box is not None:
            checked_box(query.box, (self.upload.width, self.upload.height))
        return query

    def _part(
        self,
        queries: Sequence[Query],
        fields: dict[str, Any],
        patience: Patience,
        listens: bool,
    ) -> Events:
        """The events of one request; what ends it early ends each query that is not answered.

        Pieces are wanted by who listens, and by who may stop it: what was written is not lost.
        """
        texts, open_ones = [""] * len(queries), set(range(len(queries)))
        told = False
        try:
            for event in self._from_servers(queries, fields, patience, listens):
                if isinstance(event, Piece):
                    texts[event.number] += event.text
                if isinstance(event, Finished):
                    open_ones.discard(event.number)
                    told = True
                elif not listens:
                    continue
                told = True
                yield event
            error: Exception = SphinxError("the server left a question without an answer")
        except Unreachable as away:
            self.servers.failed()
            if self.servers.has_local and not told:
                yield from self._from_here(queries, fields, patience)
                return
            error = away
        except SphinxError as ended:
            error = ended
        for number in sorted(open_ones):
            yield Finished(unfinished(error, texts[number]), number)

    def _from_servers(
        self,
        queries: Sequence[Query],
        fields: dict[str, Any],
        patience: Patience,
        listens: bool,
    ) -> Events:
        """The events of the first server that can be reached. Raises Unreachable."""
        asked = {**fields, "queries": [query.line() for query in queries]}
        streams = listens or patience.bounded
        away = Unreachable(self.servers.trouble)
        for link in self.servers.reachable():
            told = False
            try:
                for said in put(link, self.upload, asked, patience, streams):
                    told = True
                    if said["type"] == "look":
                        self._looked(said)
                    elif (event := event_from_json(said)) is not None:
                        yield event
                return
            except Unreachable as error:
                self.servers.failed()
                if told:
                    raise
                away = error
        raise away

    def _looked(self, said: Mapping[str, Any]) -> None:
        self.cached, spent = bool(said["cached"]), said["look_ms"]
        self.timing = Timing(np.nan if spent is None else spent, 0.0)

    def _from_here(
        self, queries: Sequence[Query], fields: dict[str, Any], patience: Patience
    ) -> Events:
        """The events of a model of this process. What ends a query is its result."""
        if self._here is None:
            assert self._rgb is not None
            self._here = self.servers.local().look(self._rgb)
            self.cached, self.timing = self._here.cached, self._here.timing
        patience.check()
        yield from self._here._stream(
            list(queries),
            True,
            {**fields, "cancel": patience.over, "timeout": patience.left()},
        )


def _renumbered(event: Any, number: int) -> Any:
    """An event of a query that has another number among all."""
    if event.number == number:
        return event
    if isinstance(event, Piece):
        return Piece(event.text, number)
    if isinstance(event, Found):
        return Found(event.item, number)
    return Finished(event.result, number)
