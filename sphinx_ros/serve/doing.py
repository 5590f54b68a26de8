"""A work and its model -> all that is told of it, as JSON. Knows no HTTP and no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any, NamedTuple

from sphinx_ros.errors import BadImage, Cancelled
from sphinx_ros.events import Event, Finished, Found
from sphinx_ros.image.formats import decode_file
from sphinx_ros.image.picture_size import TooManyPixels
from sphinx_ros.prompt.low_scores import is_low, without_low
from sphinx_ros.remote.wire import event_to_json
from sphinx_ros.runtime.failures import logged
from sphinx_ros.seen import handed_on
from sphinx_ros.serve.flight import Flight
from sphinx_ros.serve.turns import stream_turns
from sphinx_ros.serve.work import Json

Count = Callable[..., None]
"""Told of figures that grow, as keywords."""


LARGE = 1 << 23
"""Pixels of a usual picture, a frame of 3840x2160 included. Decoding takes up to 14 bytes each."""


class Turns(NamedTuple):
    """What is held while a picture is decoded and looked at.

    few: of a usual one. large: of a larger one; a file of 3 kB may take a gigabyte.
    """

    few: AbstractContextManager[Any]
    large: AbstractContextManager[Any]


def doing(flight: Flight, pixels: int, count: Count, turns: Turns) -> Iterator[Json]:
    """Look, ask, and tell what comes, see :class:`sphinx_ros.serve.work.Backend`.

    pixels: the largest picture. Raises what keeps all of the work from being answered.
    """
    if flight.over():
        raise flight.stopped()
    seen = _look(flight, pixels, turns)
    count(**{"hits" if seen.cached else "looks": 1})
    yield _looked(flight.work.picture, seen)
    if flight.over():
        raise flight.stopped()
    for event in _asked(seen, flight):
        if isinstance(event, Finished):
            yield _finished(event, flight, count)
        elif flight.work.tokens and not _is_low(event, flight.work.options.threshold):
            yield event_to_json(event, flight.work.tasks[event.number])
    flight.kept.drafts = handed_on(flight.kept.drafts, getattr(seen, "drafts", {}))


def _look(flight: Flight, pixels: int, turns: Turns) -> Any:
    """The picture as the model sees it, without decoding where the model remembers it."""
    kept, recall = flight.kept, getattr(flight.model, "recall", None)
    seen = recall(*kept.looked) if recall is not None and kept.looked else None
    if seen is not None:
        return seen
    try:
        try:
            seen = _look_anew(flight, min(pixels, LARGE), turns.few)
        except TooManyPixels:
            if pixels <= LARGE:
                raise
            seen = _look_anew(flight, pixels, turns.large)
    except BadImage as error:
        raise BadImage(f"the picture can't be used: {error}") from error
    kept.looked = (getattr(seen, "key", b""), seen.width, seen.height)
    return seen


def _look_anew(flight: Flight, pixels: int, turn: AbstractContextManager[Any]) -> Any:
    with turn:
        if flight.over():  # while it waited for the looks of others
            raise flight.stopped()
        rgb = decode_file(flight.kept.encoded, pixels)
        before = {"after": SimpleNamespace(drafts=flight.drafts)} if flight.drafts else {}
        return flight.model.look(rgb, **before)


def _looked(picture: str, seen: Any) -> Json:
    """The first event: the look. Its time is 0 where the picture had been looked at before."""
    spent = seen.timing.encode + seen.timing.prefill
    return {
        "type": "look",
        "picture": picture,
        "width": seen.width,
        "height": seen.height,
        "cached": seen.cached,
        "look_ms": 0.0 if seen.cached or not math.isfinite(spent) else spent,
    }


def _asked(seen: Any, flight: Flight) -> Iterator[Event]:
    """The model's own events; results alone where nobody wants the others."""
    work, options = flight.work, flight.work.options
    given: dict[str, Any] = {
        "max_new_tokens": options.max_new_tokens or None,
        "verify": options.verify,
        "short": options.short,
        "free": options.free,
        "coordinates": options.coordinates,
        "cancel": flight.over,
        "return_errors": True,
    }
    if work.turns:
        yield from stream_turns(seen, work, flight.over)
    elif work.queries and work.tokens:
        yield from seen.stream(work.queries, **given)
    elif work.queries:
        for number, result in enumerate(seen.answer(work.queries, **given)):
            yield Finished(result, number)


def _finished(event: Finished, flight: Flight, count: Count) -> Json:
    """The end of a question: without what scores too low, or the error that ended it."""
    result, why = event.result, ""
    if isinstance(result, Cancelled):  # by a client, or by the clock: the flight knows
        result = flight.stopped(result.partial_text)
    elif isinstance(result, Exception):
        result = logged(result, "the server's", "a request")
    else:
        count(tokens=result.tokens, passes=result.cost.passes)
        result, why = without_low(result, flight.work.options.threshold)
    count(questions=1)
    told = event_to_json(Finished(result, event.number), flight.work.tasks[event.number])
    if why:
        told["answer"]["message"] = f"{why}; lower threshold to see it"
    return told


def _is_low(event: Event, threshold: float) -> bool:
    return isinstance(event, Found) and is_low(event.item, threshold)
