"""Answers about pictures -> labels, sorted by what their scores are worth.

A box that scores enough is kept, one that scores too little is dropped, and a picture with a box
in between is put aside for a person: as long as one box is in doubt it can't be said that all
things of its kind are labelled.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sphinx_ros.errors import BadRequest, SphinxError
from sphinx_ros.prompt.english import singular
from sphinx_ros.prompt.queries import Query, read_query
from sphinx_ros.remote.wire import answer_from_json
from sphinx_ros.runtime.printable import one_line
from sphinx_ros.tasks import Task
from sphinx_ros.types import Answer, Box, same_box

TASKS = (Task.DETECT, Task.GROUND)
"""What can be labelled: what answers with boxes of a kind that is asked for."""

REVIEW, KEEP = 0.3, 0.7
"""Scores from which a box is put aside, and from which it is kept."""


@dataclass(frozen=True)
class Found:
    """A box with its kind.

    score: 0..1; NaN where unknown, which counts as in doubt. denied: the model, asked whether
    there is such a thing, says no: in doubt at best, whatever the score.
    """

    kind: str
    box: Box
    score: float
    denied: bool = False


@dataclass
class Sheet:
    """One picture and its labels.

    Attributes:
        name: of its file. size: width and height, pixels; 0 where it can't be read. kept,
        doubted: boxes by their score. dropped: how many scored too little or have no area.
        trouble: why nothing can be said of it; else "".
    """

    name: str
    size: tuple[int, int]
    kept: list[Found] = field(default_factory=list)
    doubted: list[Found] = field(default_factory=list)
    dropped: int = 0
    trouble: str = ""

    @property
    def sure(self) -> bool:
        """Whether nothing about it is in doubt."""
        return not self.doubted and not self.trouble

    @property
    def readable(self) -> bool:
        """Whether there is a picture, that a person could label."""
        return min(self.size) > 0


def checked_queries(lines: Sequence[str]) -> list[Query]:
    """Lines -> queries that give boxes of a kind. Raises BadRequest."""
    queries = [read_query(line) for line in lines]
    for line, query in zip(lines, queries, strict=True):
        if query.task not in TASKS or not kind_of(query):
            raise BadRequest(
                f"query {line!r} gives no boxes of one kind; ask detect: and a kind, or ground: "
                "and what describes one thing"
            )
    if not queries:
        raise BadRequest('there is no query; give one or more, as --query "detect: mug"')
    return queries


def kind_of(query: Query) -> str:
    """The kind that a query asks for: "all mugs" is mug, "the red mug" is red mug.

    It is written as :func:`sphinx_ros.teach.said.checked_kind` reads it from the files.
    """
    return singular(query.text.replace("_", " ").removeprefix("the ").strip())


def check_limits(keep: float, review: float) -> None:
    """Raises BadRequest where the scores are in the wrong order."""
    if review > keep:
        raise BadRequest(
            f"--review {review:g} is above --keep {keep:g}: what is put aside scores between them"
        )


def sheet_of(
    name: str, entry: Mapping[str, Any], queries: Sequence[Query], keep: float, review: float
) -> Sheet:
    """The labels of a picture, from what was answered about it.

    Args:
        name: of its file. entry: of :meth:`sphinx_ros.bags.bag_answers.Answering.entry`.
        queries: that were asked. keep, review: scores, as above.
    """
    sheet = Sheet(name, (entry.get("width", 0), entry.get("height", 0)))
    everything: list[Found] = []
    for query, said in zip(queries, entry["answers"], strict=True):
        came = answer_from_json(said)
        if isinstance(came, SphinxError) or not came.status.answered:
            why = one_line(came) if isinstance(came, SphinxError) else repr(came.raw_text)
            return Sheet(name, sheet.size, trouble=f"{query.line()}: {why}")
        kind = kind_of(query)
        without = () if isinstance(came, Answer) else came.denied
        for boxes, denied in ((came.detections, False), (without, True)):
            everything += [Found(kind, in_hundredths(d.box), d.score, denied) for d in boxes]
    for found in without_repeats(everything):
        if found.score < review or not has_area(found.box):
            sheet.dropped += 1
        elif found.score >= keep and not found.denied:
            sheet.kept.append(found)
        else:  # NaN too
            sheet.doubted.append(found)
    return sheet


def without_repeats(found: Sequence[Found]) -> list[Found]:
    """Each thing once, with its best score: "detect: mugs" and "ground: the mug" find the same."""
    taken: list[int] = []
    for number in sorted(range(len(found)), key=lambda n: _worth(found[n]), reverse=True):
        one = found[number]
        before = (found[other] for other in taken)
        if not any(one.kind == other.kind and same_box(one.box, other.box) for other in before):
            taken.append(number)
    return [found[number] for number in sorted(taken)]


def _worth(found: Found) -> float:
    return -1.0 if math.isnan(found.score) else found.score


def in_hundredths(box: Box) -> Box:
    """A box in the numbers of the files, so that what is equal there is equal here."""
    x0, y0, x1, y1 = (round(float(side), 2) for side in box)
    return x0, y0, x1, y1


def has_area(box: Box) -> bool:
    """Whether a box has an area."""
    return box[2] > box[0] and box[3] > box[1]


def counts(sheets: Iterable[Sheet]) -> dict[str, int]:
    """Boxes by what became of them: kept, in_doubt, dropped."""
    count = dict.fromkeys(("kept", "in_doubt", "dropped"), 0)
    for sheet in sheets:
        count["kept"] += len(sheet.kept)
        count["in_doubt"] += len(sheet.doubted)
        count["dropped"] += sheet.dropped
    return count
