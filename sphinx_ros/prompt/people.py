"""Boxes and joints of an answer -> whose they are.

A box begins a person. A joint goes to the first person of those begun last who does not have it
yet, and whose box it lies in if several wait; if all of them have it, it begins the next person.
Of several points in one bracket the n-th belongs to the n-th person. In a list of 17 points (0, 0)
stands for a joint that is not there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.parse import JOINTS, Item, Span
from sphinx_ros.prompt.places import (
    Scorer,
    as_written,
    source_of,
    to_source_box,
    to_source_point,
)
from sphinx_ros.prompt.scores import geometric_mean
from sphinx_ros.types import COCO_KEYPOINTS, Box, Keypoint, Pose, Visibility

Point = tuple[float, float]

_INDEX = {name: index for index, name in enumerate(COCO_KEYPOINTS)}


def joint_index(name: str) -> int | None:
    """Index of a joint in COCO order by its name: "left shoulder", "Left_Shoulder"; else None."""
    name = " ".join(name.lower().replace("_", " ").replace("-", " ").split())
    return _INDEX.get(name.removeprefix("the ").removeprefix("person's "))


@dataclass
class Person:
    """What was said of one person. written: all of it, as the model would write it."""

    box: Box | None = None
    joints: dict[int, Keypoint] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)

    def holds(self, x: float, y: float) -> bool:
        """Whether a point may be this person's: it lies in the box, if there is one."""
        if self.box is None:
            return True
        return self.box[0] <= x <= self.box[2] and self.box[1] <= y <= self.box[3]

    def repeats(self, people: list[Person], number: int) -> bool:
        """Whether people[number], this one, says nothing that another one does not say."""
        return any(
            index != number
            and self.box in (None, other.box)
            and self._places().items() <= other._places().items()
            and (index < number or len(other.joints) > len(self.joints))
            for index, other in enumerate(people)
        )

    def _places(self) -> dict[int, tuple[float, float]]:
        return {index: (joint.x, joint.y) for index, joint in self.joints.items()}

    def pose(self, region: Box | None) -> Pose:
        """The 17 joints, absent ones as NaN; the score is the joints' geometric mean."""
        absent = Keypoint("", math.nan, math.nan, math.nan, Visibility.ABSENT)
        joints = tuple(
            self.joints.get(index, replace(absent, name=name))
            for index, name in enumerate(COCO_KEYPOINTS)
        )
        value = geometric_mean([joint.score for joint in self.joints.values()])
        return Pose(joints, self.box or region, value, source_of(value))


class People:
    """The people of an answer while it is read in order.

    found: all of them. first: index of the first of those who may still get a single joint.
    unread: boxes and points that are nobody's.
    """

    def __init__(self, place: Letterbox, score: Scorer):
        self.place, self.score = place, score
        self.found: list[Person] = []
        self.unread: list[str] = []
        self.first = 0

    def read(self, item: Item) -> None:
        """Take the boxes and the joints of one bracket."""
        joint = joint_index(item.label or item.words)
        for box in item.boxes:
            self._begin(item, box, is_joint=joint is not None)
        if joint is not None:
            self._named(item, joint)
        elif len(item.points) % JOINTS == 0:
            for start in range(0, len(item.points), JOINTS):
                self._listed(item, start)
        else:
            self.unread += [as_written(item.label, point) for point in item.points]

    def _begin(self, item: Item, box: Box, is_joint: bool) -> None:
        """A box begins a person, unless it is around a joint or outside the picture."""
        pixels = None if is_joint else to_source_box(box, self.place)
        written = as_written(item.label, box)
        if pixels is None:
            self.unread.append(written)
            return
        if any(person.joints for person in self.found[self.first :]):
            self.first = len(self.found)
        self.found.append(Person(pixels, written=[written]))

    def _named(self, item: Item, joint: int) -> None:
        """A named joint: of one person, or of several in the order of the people."""
        several = len(item.points) > 1
        if several:
            there = self.found[self.first : self.first + len(item.points)]
            if any(joint in person.joints for person in there):
                self.first = len(self.found)
        for number, (point, span) in enumerate(zip(item.points, item.point_spans, strict=True)):
            pixels = to_source_point(point, self.place)
            if pixels is None:
                self.unread.append(as_written(item.label, point))
                continue
            person = self._nth(number) if several else self._next(joint, *pixels)
            self._put(person, joint, pixels, span, as_written(item.label, point))

    def _listed(self, item: Item, start: int) -> None:
        """17 points of one person, who is new or has only a box so far."""
        points = item.points[start : start + JOINTS]
        if not any(any(point) for point in points):
            self.unread.append(as_written(item.label, sum(points, ())))
            return
        waiting = [person for person in self.found[self.first :] if not person.joints]
        person = waiting[0] if waiting else self._new()
        for joint, point in enumerate(points):
            if point == (0.0, 0.0):
                continue
            written, pixels = as_written(item.label, point), to_source_point(point, self.place)
            if pixels is None:
                self.unread.append(written)
            else:
                self._put(person, joint, pixels, item.point_spans[start + joint], written)

    def _put(self, person: Person, joint: int, pixels: Point, span: Span, written: str) -> None:
        name, score = COCO_KEYPOINTS[joint], self.score(span)
        person.joints[joint] = Keypoint(name, *pixels, score, Visibility.UNKNOWN)
        person.written.append(written)

    def _new(self) -> Person:
        self.first = len(self.found)
        self.found.append(Person())
        return self.found[-1]

    def _nth(self, number: int) -> Person:
        while len(self.found) <= self.first + number:
            self.found.append(Person())
        return self.found[self.first + number]

    def _next(self, joint: int, x: float, y: float) -> Person:
        """Who a single joint belongs to."""
        free = [person for person in self.found[self.first :] if joint not in person.joints]
        inside = [person for person in free if person.holds(x, y)]
        candidates = inside or free
        return candidates[0] if candidates else self._new()


def join_bare_points(items: tuple[Item, ...]) -> list[Item]:
    """Brackets of one bare point each, 17 for each person, -> one item with all points."""
    bare = [item for item in items if _is_bare(item)]
    if not bare or len(bare) % JOINTS or len(bare) != len(items):
        return list(items)
    points = tuple(item.points[0] for item in bare)
    spans = tuple(item.point_spans[0] for item in bare)
    return [Item("", (), points, (bare[0].span[0], bare[-1].span[1]), (), spans)]


def _is_bare(item: Item) -> bool:
    named = item.label or joint_index(item.words) is not None
    return not named and not item.boxes and len(item.points) == 1
