"""A bag and the words for a thing -> when it is seen, as spans of time on each topic."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sphinx_ros.bags.bag_answers import Answering, looked_at, outcomes_of, picture_of
from sphinx_ros.bags.bag_reader import SECOND, Bag, Shot
from sphinx_ros.errors import Status
from sphinx_ros.prompt.queries import Query
from sphinx_ros.tasks import Task
from sphinx_ros.types import Detection


@dataclass(frozen=True)
class Sighting:
    """A picture in which the thing is seen.

    Attributes:
        number: which of the topic's pictures it is, from 0. log: when it was recorded, ns. stamp:
            when it was taken, ns. found: the thing; of several the one with the best score.
    """

    number: int
    log: int
    stamp: int
    found: Detection


@dataclass(frozen=True)
class Span:
    """Pictures of a topic, one after another of those looked at, that all show the thing.

    Attributes:
        topic: of the pictures. first, last, best: the pictures; best has the highest score.
        pictures: how many of them there are.
    """

    topic: str
    first: Sighting
    last: Sighting
    best: Sighting
    pictures: int = 1

    @property
    def key(self) -> tuple[str, int]:
        """What tells it apart from the bag's other spans, also while it goes on."""
        return self.topic, self.first.number

    def and_then(self, next: Sighting) -> Span:
        """The span with one more picture."""
        best = next if score_of(next) > score_of(self.best) else self.best
        return replace(self, last=next, best=best, pictures=self.pictures + 1)


def score_of(sighting: Sighting) -> float:
    """What a sighting is compared by; one without a score counts least."""
    score = sighting.found.score
    return -1.0 if math.isnan(score) else score


class Search:
    """Looks for one thing in a bag.

    Args:
        text: what describes the thing. topics: where to look. every: least seconds between
            pictures that are looked at. threshold: of scores. options: keywords of
            :meth:`sphinx_ros.seen.Seen.answer`.
        on_best: called with a span and the picture of its best sighting, whenever that is
            another one.

    Attributes:
        statuses: how many pictures have which outcome. troubles: why a picture could not be read,
            by topic, the first reason of each. lacking: of a search that has ended, what
            :meth:`Bag.lacking` says.
    """

    def __init__(
        self,
        text: str,
        topics: Sequence[str],
        every: float = 0.0,
        threshold: float = 0.0,
        options: dict[str, Any] | None = None,
        on_best: Callable[[Span, np.ndarray], None] = lambda *_: None,
    ):
        self.query = Query(Task.GROUND, text).checked()
        self.topics, self.every, self.threshold = list(topics), every, threshold
        self.statuses: Counter[Status] = Counter()
        self.troubles: dict[str, str] = {}
        self.lacking: tuple[str, ...] = ()
        self._options, self._on_best = options or {}, on_best
        self._open: dict[str, Span] = {}

    def spans(self, bag: Bag, sphinx: Any, passed: Callable[[], None]) -> Iterator[Span]:
        """Each span as soon as it has ended. passed: called after each picture of the topics."""
        answering = Answering(sphinx, [self.query], self._options)
        came = dict.fromkeys(self.topics, 0)
        for shot, wanted in looked_at(bag.shots(self.topics), self.every):
            ended = self._look(shot, answering) if wanted else None
            came[shot.topic] += 1
            passed()
            if ended is not None:
                yield ended
        self.lacking = bag.lacking(came)
        last, self._open = self.going_on, {}
        yield from last

    @property
    def going_on(self) -> list[Span]:
        """The spans that have not ended, as far as was looked, in the order of time."""
        return sorted(self._open.values(), key=lambda span: span.first.log)

    def _look(self, shot: Shot, answering: Answering) -> Span | None:
        """Look at a picture; the span that it ends."""
        (outcome,) = outcomes_of(
            answering.entry(shot), shot, [self.query], "", None, self.threshold
        )
        self.statuses[outcome.status] += 1
        if outcome.status is Status.BAD_IMAGE:
            self.troubles.setdefault(shot.topic, f"number {shot.number}: {outcome.text}")
            return None  # it says nothing of whether the thing is there
        if outcome.status is not Status.OK or not outcome.boxes:
            return self._open.pop(shot.topic, None)
        boxes = [Sighting(shot.number, shot.log, shot.stamp, box) for box in outcome.boxes]
        sighting = max(boxes, key=score_of)
        before = self._open.get(shot.topic)
        span = before.and_then(sighting) if before else _alone(shot.topic, sighting)
        self._open[shot.topic] = span
        if span.best is sighting and (rgb := picture_of(shot)) is not None:
            self._on_best(span, rgb)
        return None


def _alone(topic: str, sighting: Sighting) -> Span:
    return Span(topic, sighting, sighting, sighting)


def since(bag: Bag, sighting: Sighting) -> float:
    """Seconds from the bag's first message to the picture."""
    return (sighting.log - bag.start) / SECOND
