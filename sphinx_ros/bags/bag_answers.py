"""The pictures of a bag and queries -> entries of a journal, and these -> outcomes as a node has.

What a recording gets depends on the pictures and the model alone: no time of this machine goes
into it, and all that an answer owes to those before it (guesses, what is known of how numbers are
written) stands in the journal. So a run that was killed ends with the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sphinx_ros.bags.bag_journal import Journal
from sphinx_ros.bags.bag_reader import SECOND, Every, Shot
from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.prompt.queries import Query
from sphinx_ros.remote.wire import answer_from_json, answer_to_json
from sphinx_ros.ros.asking import SENTENCES
from sphinx_ros.ros.outcomes import Outcome, Times, name_error
from sphinx_ros.ros.threshold import above
from sphinx_ros.runtime.failures import logged
from sphinx_ros.tasks import Task
from sphinx_ros.types import Answer, Results

Json = dict[str, Any]

GONE = (Status.NOT_ACTIVE, Status.BUSY, Status.CANCELLED)
"""Outcomes that say nothing of a picture: nobody has answered, and another run may."""

DOUBTFUL = (Status.INTERNAL, Status.OUT_OF_MEMORY, Status.TIMEOUT)
"""Outcomes that are the machine's or the server's, unless the same picture has them again."""


@dataclass(frozen=True)
class Earlier:
    """An earlier picture of a camera, as ``look(rgb, after=...)`` takes it.

    drafts: what was written about it, as :attr:`sphinx_ros.seen.Seen.drafts`.
    """

    drafts: Mapping[tuple[Task, str], tuple[int, ...]]

    def to_json(self) -> list:
        """Rows of task, words and token ids."""
        return [[task.value, words, list(ids)] for (task, words), ids in self.drafts.items()]

    @classmethod
    def from_json(cls, rows: list) -> Earlier:
        """From :meth:`to_json`."""
        return cls({(Task(task), words): tuple(ids) for task, words, ids in rows})


class Answering:
    """Asks a model about one picture after another.

    Args:
        sphinx: what ``Sphinx.from_pretrained`` returns.
        options: keywords of :meth:`sphinx_ros.seen.Seen.answer`.
    """

    def __init__(self, sphinx: Any, queries: Sequence[Query], options: Mapping[str, Any]):
        self._sphinx, self._queries, self._options = sphinx, queries, dict(options)
        own = [Status.TIMEOUT] if options.get("timeout") is not None else []
        self._doubtful = [status for status in DOUBTFUL if status not in own]
        self._earlier: dict[str, Earlier] = {}
        self._habits = _habits_of(sphinx)
        if self._habits is not None:  # of another bag, in this process
            self._habits.begin_with([])

    def entry(self, shot: Shot, doubtful: bool = True) -> Json:
        """What became of a picture. doubtful: also where that is one of :data:`DOUBTFUL`.

        Raises:
            SphinxError: the model can't be asked any more.
        """
        raised = GONE if doubtful else (*GONE, *self._doubtful)
        entry: Json = {"topic": shot.topic, "number": shot.number}
        try:
            rgb = shot.decode()
            entry |= {"width": rgb.shape[1], "height": rgb.shape[0]}
            seen = self._sphinx.look(rgb, after=self._earlier.get(shot.topic))
            came = seen.answer(list(self._queries), return_errors=True, **self._options)
        except SphinxError as error:
            came = [error] * len(self._queries)
        else:
            drafts = getattr(seen, "drafts", None)
            if isinstance(drafts, Mapping):
                entry["drafts"] = Earlier(drafts).to_json()
                self._earlier[shot.topic] = Earlier(drafts)
        for number, one in enumerate(came):
            if isinstance(one, Exception) and not isinstance(one, SphinxError):
                came[number] = one = logged(one, "this program's", "a question")
            if isinstance(one, SphinxError) and one.status in raised:
                raise one
        entry["answers"] = [
            answer_to_json(query.task, one) for query, one in zip(self._queries, came, strict=True)
        ]
        if self._habits is not None:
            entry["habits"] = self._habits.told()
        return entry

    def journaled(self, shot: Shot, journal: Journal) -> Json:
        """:meth:`entry`, for a journal that lacks it; it is not added yet.

        What may be the machine's doing ends the run, and is noted. Where it comes again at the
        same picture, when the run is gone on with, it is what became of the picture.

        Raises:
            SphinxError: the model can't be asked any more, or what it ended with is doubtful.
        """
        key = (shot.topic, shot.number)
        try:
            return self.entry(shot, doubtful=journal.noted(key))
        except SphinxError as error:
            if error.status in self._doubtful:
                journal.note(key)
            raise

    def remember(self, entry: Json) -> None:
        """Go on after a picture that was asked about earlier; of several in their order."""
        if "drafts" in entry:
            self._earlier[entry["topic"]] = Earlier.from_json(entry["drafts"])
        if self._habits is not None and "habits" in entry:
            self._habits.begin_with(entry["habits"])


def _habits_of(sphinx: Any) -> Any:
    """What a model has learnt of how it writes; None of one that is elsewhere."""
    try:
        return sphinx.engine.habits
    except (AttributeError, SphinxError):
        return None


def looked_at(shots: Iterator[Shot], every: float) -> Iterator[tuple[Shot, bool]]:
    """Each picture, and whether it is looked at."""
    chosen = Every(every)
    for shot in shots:
        yield shot, chosen.takes(shot)


def outcomes_of(
    entry: Json, shot: Shot, queries: Sequence[Query], camera: str, header: Any, threshold: float
) -> list[Outcome]:
    """What a node would have told about a picture. header: that of its message."""
    taken = shot.stamp / SECOND
    made = []
    for query, said in zip(queries, entry["answers"], strict=True):
        came = answer_from_json(said)
        times = Times(taken, taken, taken)
        text, raw, result = "", said["raw_text"], None
        if isinstance(came, SphinxError):
            status, text = name_error(came)
        else:
            result, status = came, came.status
            text, times = SENTENCES.get(status, ""), times_of(came, taken)
        outcome = Outcome(
            query,
            status,
            text,
            result,
            raw,
            tuple(said["unread"]),
            header,
            entry.get("width", 0),
            entry.get("height", 0),
            times,
            camera=camera,
        )
        made.append(above(outcome, threshold))
    return made


def times_of(result: Results | Answer, taken: float) -> Times:
    """Times of a picture that was asked about when it was taken; durations are not told.

    taken: seconds.
    """
    cost = result.cost
    return Times(
        taken, taken, taken, tokens=result.tokens, passes=cost.passes, accepted=cost.accepted
    )


def picture_of(shot: Shot) -> np.ndarray | None:
    """[H, W, 3] uint8 RGB; None where it can't be read."""
    try:
        return shot.decode()
    except SphinxError:
        return None
