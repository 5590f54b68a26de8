"""A query -> the questions that it needs, one after another -> its result. Knows no engine.

A plan is a generator: it yields questions that can be answered at the same time, is sent what was
written, and returns the result. So any number of plans share their passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any, NamedTuple

from sphinx_ros.answer.judge import Judge
from sphinx_ros.answer.written import Written
from sphinx_ros.errors import BadRequest, SphinxError, Status
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.checks import checked_box, checked_text, written_box
from sphinx_ros.prompt.english import singular
from sphinx_ros.prompt.parse import parse
from sphinx_ros.prompt.queries import Query
from sphinx_ros.prompt.results import middles, to_detections, to_poses
from sphinx_ros.prompt.wording import asks_what, presence_question, question
from sphinx_ros.tasks import Answers, Task
from sphinx_ros.types import (
    Answer,
    Box,
    Cost,
    Detection,
    Keypoint,
    Points,
    PointSource,
    Pose,
    Results,
)

Items = tuple[tuple[Detection, ...] | tuple[Keypoint, ...] | tuple[Pose, ...], ...]
"""What can be read of an answer: items of one kind in the order they were written, then those of
another.
"""


class Ask(NamedTuple):
    """One question.

    text: the Human text. key: what it has in common with the same question about another picture,
    whose answer may be the same. presence: only the probability of yes is wanted. items: what can
    be read of its answer; boxes and points, but not poses, also while it is written. earlier:
    turns of a conversation before it.
    """

    task: Task
    text: str
    key: str
    presence: bool = False
    items: Callable[[Written], Items] = lambda _: ()
    earlier: tuple[tuple[str, str], ...] = ()


Plan = Generator[list[Ask], list[Written], Any]


class Plans:
    """Plans for one picture.

    place: where it lies in its square. decimals: of numbers in a question. judge: what its boxes
    are worth.
    """

    def __init__(self, place: Letterbox, decimals: int, judge: Judge):
        self._place, self._decimals, self._judge = place, decimals, judge

    def of(self, query: Query, short: bool = True, verify: bool = True) -> Plan:
        """The plan of a query.

        short: ASK: for a word or phrase, in the official wording. verify: GROUND and POINT: ask
        as well whether there is such a thing.

        Raises:
            BadRequest: the query lacks something, or its box is not in the picture.
        """
        task = query.task
        if task is Task.POSE:
            return self._everybody() if query.box is None else self._pose(query.box)
        verify = verify and self._judge.asks
        if task is Task.POINT:
            return self._point(query.text, verify)
        if task is Task.GROUND and verify:
            return self._ground(query.text)
        if task.row.answers is Answers.BOXES:
            return self._boxes(task, query.text)
        return self._words(task, query, short)

    def _region(self, box: Box) -> Box:
        """A box in source pixels to fractions of the square."""
        size = self._place.width, self._place.height
        return self._place.box_to_square(checked_box(box, size))

    def _ground(self, text: str) -> Generator[list[Ask], list[Written], Results]:
        """A box, and whether there is such a thing, at the same time."""
        wanted = checked_text(text)
        asked = self._ask_boxes(Task.GROUND, wanted, wanted)
        written, presence, cost = yield from self._ask_verified(asked, wanted)
        found = self._found(written, wanted, presence)
        return self._judge.judged(replace(found, cost=cost))

    def _ask_verified(
        self, asked: Ask, wanted: str, verify: bool = True
    ) -> Generator[list[Ask], list[Written], tuple[Written, float, Cost]]:
        """An answer, the presence of what is wanted (NaN where it is not asked), and the cost."""
        if not verify:
            (written,) = yield [asked]
            return written, math.nan, written.cost
        there = question(Task.ASK, presence_question(wanted))
        written, answer = yield [asked, Ask(Task.ASK, there, wanted, presence=True)]
        return written, self._judge.presence(answer), written.cost + answer.cost

    def _point(self, text: str, verify: bool) -> Generator[list[Ask], list[Written], Points]:
        """The points that are written; else the middles of the boxes."""
        wanted = checked_text(text)

        def items(written: Written) -> Items:
            boxes, points, _ = self._detections(written, wanted, for_point=True)
            return points, () if points else middles(boxes)

        asked = Ask(Task.POINT, question(Task.POINT, wanted), wanted, items=items)
        written, presence, cost = yield from self._ask_verified(asked, wanted, verify)
        boxes, points, unread = self._detections(written, wanted, presence, for_point=True)
        if points:
            unread += tuple(f"{b.label} [{written_box(b.box)}] px" for b in boxes)
            made = Points(points, source=PointSource.MODEL, **written.report(True))
        else:
            source = PointSource.BOX if boxes else PointSource.NONE
            made = Points(
                middles(boxes), source=source, boxes=boxes, **written.report(bool(boxes))
            )
        return self._judge.judged_points(replace(made, unread=unread, cost=cost), presence)

    def _boxes(self, task: Task, text: str) -> Generator[list[Ask], list[Written], Results]:
        wanted = checked_text(text) if task.row.takes.words else ""
        label = singular(wanted) if task is Task.DETECT else wanted
        (written,) = yield [self._ask_boxes(task, wanted, label)]
        return self._found(written, label)

    def _ask_boxes(self, task: Task, wanted: str, label: str) -> Ask:
        def items(written: Written) -> Items:
            return self._detections(written, label)[:1]

        return Ask(task, question(task, wanted), wanted, items=items)

    def _found(self, written: Written, label: str, presence: float = math.nan) -> Results:
        found, points, unread = self._detections(written, label, presence)
        unread += tuple(f"{p.name} [{p.x:g},{p.y:g}] px" for p in points)  # a point is no box
        return Results(found, unread=unread, **written.report(bool(found)))

    def _detections(
        self,
        written: Written,
        label: str,
        presence: float = math.nan,
        for_point: bool = False,
    ) -> tuple:
        finish = self._judge.finish(written, self._place, presence, for_point=for_point)
        return to_detections(parse(written.text), self._place, label, written.score, finish)

    def _pose(self, given: Box) -> Plan:
        box = checked_box(given)
        (written,) = yield [self._ask_joints(box, "")]
        return self._joints(written, box)

    def _ask_joints(self, box: Box, key: str) -> Ask:
        asked = question(Task.POSE, box=self._region(box), decimals=self._decimals)

        def items(written: Written) -> Items:
            return self._poses(written, box)[:1]

        return Ask(Task.POSE, asked, key, items=items)

    def _poses(self, written: Written, box: Box) -> tuple:
        return to_poses(parse(written.text), self._place, box, score=written.score)

    def _joints(self, written: Written, box: Box) -> Results[Pose]:
        poses, unread = self._poses(written, box)
        return Results(poses, unread=unread, **written.report(bool(poses)))

    def _everybody(self) -> Plan:
        """People are detected first, then the joints of all of them at once."""
        people: Results[Detection] = yield from self._boxes(Task.DETECT, "person")
        if not people:
            return replace(people, items=())
        asks: list[Ask] = []
        boxes: list[Box] = []
        lost: list[str] = []
        for person in people:
            try:
                asks.append(self._ask_joints(person.box, str(len(asks))))
                boxes.append(person.box)
            except BadRequest:  # a box of no area: no region that could be asked about
                lost.append(f"{person.label} [{','.join(f'{v:g}' for v in person.box)}] px")
        try:
            answers = (yield asks) if asks else []
        except SphinxError as error:  # what was written before is not lost
            error.partial_text = f"{people.raw_text}\n{error.partial_text}"
            raise
        parts = [self._joints(one, box) for one, box in zip(answers, boxes, strict=True)]
        lost += [part.raw_text.strip() for part in parts if not part and not part.unread]
        return _joined([people, *parts], lost)

    def _words(
        self, task: Task, query: Query, short: bool
    ) -> Generator[list[Ask], list[Written], Answer]:
        if task is Task.ASK and query.box is not None:
            return (yield from self._about(query.text, query.box, short))
        if task is Task.ASK:
            text = checked_text(query.text)
            asked = question(task, text) if short else text
        elif query.box is not None:
            asked = question(task, box=self._region(query.box), decimals=self._decimals)
        else:
            asked = question(task)
        (written,) = yield [Ask(task, asked, query.text, items=self._items)]
        return self._answer(written)

    def _about(
        self, text: str, box: Box, short: bool
    ) -> Generator[list[Ask], list[Written], Answer]:
        """A question about a region: it is described first, and the question is the next turn.

        The models learnt the official words for a region, and hardly look at one that stands in
        other words. "What is this?" is answered by the description itself.
        """
        text, region = checked_text(text), self._region(box)
        key = f"{text} @ {written_box(box)}"
        describe = question(Task.DESCRIBE, box=region, decimals=self._decimals)
        (described,) = yield [Ask(Task.DESCRIBE, describe, key, items=self._items)]
        said = described.text.strip()
        if not said or asks_what(text):
            return self._answer(described)
        asked = question(Task.ASK, text) if short else text
        before = ((describe, said),)
        try:
            (written,) = yield [Ask(Task.ASK, asked, key, items=self._items, earlier=before)]
        except SphinxError as error:  # what was written before is not lost
            error.partial_text = f"{described.text}\n{error.partial_text}"
            raise
        cost = described.cost + written.cost
        return replace(
            self._answer(written),
            raw_text=f"{described.text}\n{written.text}",
            milliseconds=cost.prefill_ms + cost.decode_ms,
            tokens=cost.tokens,
            cost=cost,
        )

    def _items(self, written: Written) -> Items:
        return self._detections(written, "")[:2]

    def _answer(self, written: Written) -> Answer:
        found, points, unread = self._detections(written, "")
        text = written.text.strip()
        return Answer(
            text, found, points, unread=unread, score=written.mean, **written.report(bool(text))
        )


def _joined(parts: list[Results[Any]], lost: list[str]) -> Results[Pose]:
    """The people, then an answer for each of them, as one result. lost: what could not be read."""
    poses = tuple(pose for part in parts for pose in part.poses)
    return Results(
        poses,
        raw_text="\n".join(part.raw_text for part in parts),
        unread=(*(text for part in parts for text in part.unread), *lost),
        status=Status.OK if poses else Status.PARSE_FAILED,
        milliseconds=parts[0].milliseconds + max((p.milliseconds for p in parts[1:]), default=0),
        tokens=sum(part.tokens for part in parts),
        cost=reduce(add, (part.cost for part in parts)),
    )
