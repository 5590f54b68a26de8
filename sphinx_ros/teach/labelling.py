"""Pictures and queries -> what the model finds in them, sorted by what its scores are worth.

A box that scores enough is kept, one that scores too little is dropped, and a picture with a box
in between is put aside for a person: as long as one box is in doubt it can't be said that all
things of its kind are labelled.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sphinx_ros.errors import BadRequest, SphinxError, Status
from sphinx_ros.prompt.english import singular
from sphinx_ros.prompt.queries import Query, read_query
from sphinx_ros.runtime.printable import one_line
from sphinx_ros.tasks import Task
from sphinx_ros.types import Box

if TYPE_CHECKING:
    import numpy as np

TASKS = (Task.DETECT, Task.GROUND)
"""What can be labelled: what answers with boxes of a kind that is asked for."""

REVIEW, KEEP = 0.3, 0.7
"""Scores from which a box is put aside, and from which it is kept."""


@dataclass(frozen=True)
class Found:
    """A box with its kind. score: 0..1; NaN where unknown, which counts as in doubt."""

    kind: str
    box: Box
    score: float


@dataclass
class Sheet:
    """One picture and its labels.

    Attributes:
        name: of its file. size: width and height, pixels. kept, doubted: boxes by their score.
    """

    name: str
    size: tuple[int, int]
    kept: list[Found] = field(default_factory=list)
    doubted: list[Found] = field(default_factory=list)

    @property
    def sure(self) -> bool:
        """Whether nothing about it is in doubt."""
        return not self.doubted


def checked_queries(lines: Sequence[str]) -> list[Query]:
    """Lines -> queries that give boxes of a kind. Raises BadRequest."""
    queries = [read_query(line) for line in lines]
    for line, query in zip(lines, queries, strict=True):
        if query.task not in TASKS or not query.text:
            raise BadRequest(
                f"query {line!r} gives no boxes of one kind; ask detect: and a kind, or ground: "
                "and what describes one thing"
            )
    if not queries:
        raise BadRequest('there is no query; give one or more, as --query "detect: mug"')
    return queries


def kind_of(query: Query) -> str:
    """The kind that a query asks for: "all mugs" is mug, "the red mug" is red mug."""
    return singular(query.text.removeprefix("the ").strip())


class Labeller:
    """Asks a model, and sorts what it answers.

    Args:
        sphinx: the model. queries: see :func:`checked_queries`. keep, review: scores.

    Attributes:
        counts: boxes by what became of them (kept, review, dropped), and answers that could not
            be used (failed). troubles: why, the first of each picture.
    """

    def __init__(
        self,
        sphinx: Any,
        queries: Sequence[Query],
        keep: float = KEEP,
        review: float = REVIEW,
    ):
        if review > keep:
            raise BadRequest(
                f"--review {review:g} is above --keep {keep:g}: what is put aside scores between "
                "them"
            )
        self.sphinx, self.queries, self.keep, self.review = sphinx, list(queries), keep, review
        self.counts: Counter[str] = Counter(kept=0, review=0, dropped=0, failed=0)
        self.troubles: list[str] = []
        self.kinds = list(dict.fromkeys(map(kind_of, queries)))

    def sheet(self, name: str, rgb: np.ndarray) -> Sheet | None:
        """The labels of a picture [H, W, 3] uint8; None where an answer failed."""
        height, width = rgb.shape[:2]
        sheet = Sheet(name, (width, height))
        try:
            answers = self.sphinx.look(rgb).answer(self.queries, return_errors=True)
            for query, answer in zip(self.queries, answers, strict=True):
                if isinstance(answer, Exception):
                    raise answer
                if not answer.status.answered:
                    raise SphinxError(f"{query.line()}: {answer.text!r}", status=answer.status)
                self._sort(sheet, query, answer if answer.status is Status.OK else ())
        except SphinxError as error:
            self.counts["failed"] += 1
            self.troubles.append(f"{name}: {one_line(error)}")
            return None
        return sheet

    def _sort(self, sheet: Sheet, query: Query, boxes: Iterable[Any]) -> None:
        for one in boxes:
            found = Found(kind_of(query), one.box, one.score)
            if one.score >= self.keep:
                sheet.kept.append(found)
                self.counts["kept"] += 1
            elif one.score < self.review:
                self.counts["dropped"] += 1
            else:  # NaN too
                sheet.doubted.append(found)
                self.counts["review"] += 1


def known(score: float) -> float | None:
    """A score as JSON has it: None where unknown."""
    return None if math.isnan(score) else round(score, 4)
