"""Numbers in fractions of the padded square -> detections, keypoints and poses in source pixels.

Orders inverted corners and clips to the picture. What lies outside the picture, and points that
are no known joint, are reported as unread text; nothing is dropped silently.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.parse import JOINTS_IN_A_LIST, Item, Parsed, Span
from sphinx_ros.types import (
    COCO_KEYPOINTS,
    Box,
    Detection,
    Keypoint,
    Pose,
    ScoreSource,
    Visibility,
)

Scorer = Callable[[Span], float]
"""Characters of the parsed text -> the score of what is written there, 0..1, NaN unknown."""

SLACK = 0.01  # points this far outside the picture are pulled in: two decimals are that coarse


def _unknown(span: Span) -> float:
    return math.nan


def _source(score: float) -> ScoreSource:
    return ScoreSource.NONE if math.isnan(score) else ScoreSource.TOKEN_PROBABILITY


def to_source_box(box: tuple[float, ...], place: Letterbox) -> Box | None:
    """A box in fractions -> px, corners ordered, clipped; None if it lies outside the picture."""
    x0, y0, x1, y1 = place.box_to_source(box)
    x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    if x1 < 0 or y1 < 0 or x0 > place.width or y0 > place.height:
        return None
    # A box that has an area must keep one: one that only touches the border lies outside.
    clipped = (max(x0, 0.0), max(y0, 0.0), min(x1, place.width), min(y1, place.height))
    if (x1 > x0 and clipped[2] <= clipped[0]) or (y1 > y0 and clipped[3] <= clipped[1]):
        return None
    return tuple(float(value) for value in clipped)


def to_source_point(point: tuple[float, float], place: Letterbox) -> tuple[float, float] | None:
    """A point in fractions -> px, pulled in from just outside; None if it is farther outside."""
    x, y = place.to_source(*point)
    slack = SLACK * place.side
    if not (-slack <= x <= place.width + slack and -slack <= y <= place.height + slack):
        return None
    return float(min(max(x, 0.0), place.width)), float(min(max(y, 0.0), place.height))


def _outside(label: str, values: tuple[float, ...]) -> str:
    """How an unusable box or point is reported: as the model would write it."""
    tag = f"<p>{label}</p>" if label else ""
    return f"{tag}[{','.join(f'{value:g}' for value in values)}]"


def to_detections(
    parsed: Parsed, place: Letterbox, default_label: str = "", score: Scorer = _unknown
) -> tuple[tuple[Detection, ...], tuple[Keypoint, ...], tuple[str, ...]]:
    """All boxes and points in reading order, in source px.

    Args:
        default_label: label of boxes and points that have none of their own.
        score: score of the characters of one box or point.

    Returns:
        Detections, keypoints, and unread texts: those of ``parsed`` and what lies outside.
    """
    detections, keypoints, unread = [], [], list(parsed.unread)
    for item in parsed.items:
        label = item.label or default_label
        for box, span in zip(item.boxes, item.box_spans, strict=True):
            pixels = to_source_box(box, place)
            if pixels is None:
                unread.append(_outside(item.label, box))
                continue
            value = score(span)
            detections.append(Detection(label, pixels, value, _source(value)))
        for point, span in zip(item.points, item.point_spans, strict=True):
            pixels = to_source_point(point, place)
            if pixels is None:
                unread.append(_outside(item.label, point))
            else:
                keypoints.append(Keypoint(label, *pixels, score(span)))
    return tuple(detections), tuple(keypoints), tuple(unread)


class _Person:
    """Joints of one person while they are collected."""

    def __init__(self, box: Box | None = None):
        self.box = box
        self.joints: dict[int, Keypoint] = {}

    def pose(self, region: Box | None) -> Pose:
        """The 17 joints, absent ones as NaN; the score is the joints' geometric mean."""
        absent = [
            Keypoint(name, math.nan, math.nan, math.nan, Visibility.ABSENT)
            for name in COCO_KEYPOINTS
        ]
        joints = tuple(self.joints.get(i, absent[i]) for i in range(len(COCO_KEYPOINTS)))
        scores = [joint.score for joint in self.joints.values()]
        value = math.nan
        if scores and not any(math.isnan(one) for one in scores):
            value = 0.0
            if min(scores) > 0:
                value = math.exp(sum(math.log(one) for one in scores) / len(scores))
        return Pose(joints, self.box or region, value, _source(value))


def joint_index(name: str) -> int | None:
    """Index of a joint in COCO order by its name: "left shoulder", "Left_Shoulder"; else None."""
    name = " ".join(name.lower().replace("_", " ").replace("-", " ").split())
    name = name.removeprefix("the ").removeprefix("person's ")
    return _INDEX.get(name)


_INDEX = {name: index for index, name in enumerate(COCO_KEYPOINTS)}


def to_poses(
    parsed: Parsed, place: Letterbox, region: Box | None = None, score: Scorer = _unknown
) -> tuple[tuple[Pose, ...], tuple[str, ...]]:
    """Named joints, or lists of 17 points in COCO order, -> poses in source px.

    A joint that comes again starts the next person; of several points in one bracket the n-th
    belongs to the n-th person. A box before the joints is the person's. In a list of 17 points
    (0, 0) stands for a joint that is not there.

    Args:
        region: box of the poses that come with none, source px.

    Returns:
        Poses with 17 keypoints each, and unread texts: those of ``parsed``, points outside the
        picture, and points that are no joint.
    """
    people: list[_Person] = []
    unread = list(parsed.unread)
    box: Box | None = None
    for item in _join_bare_points(parsed.items):
        if item.boxes:
            box = to_source_box(item.boxes[0], place)
            people += [_Person(box)] if box else []
            unread += [_outside(item.label, extra) for extra in item.boxes[0 if not box else 1 :]]
        index = joint_index(item.label)
        listed = index is None and len(item.points) == JOINTS_IN_A_LIST
        if listed and not (people and not people[-1].joints):
            people.append(_Person())
        for number, (point, span) in enumerate(zip(item.points, item.point_spans, strict=True)):
            if listed and point == (0.0, 0.0):
                continue
            joint = number if listed else index
            pixels = to_source_point(point, place)
            if joint is None or pixels is None:
                unread.append(_outside(item.label, point))
                continue
            several = len(item.points) > 1 and not listed
            person = people[-1] if listed else _owner(people, joint, number if several else None)
            keypoint = Keypoint(COCO_KEYPOINTS[joint], *pixels, score(span), Visibility.UNKNOWN)
            person.joints[joint] = keypoint
    return tuple(person.pose(region) for person in people if person.joints), tuple(unread)


def _owner(people: list[_Person], joint: int, number: int | None) -> _Person:
    """The person a joint belongs to, added to the list if it is a new one."""
    if number is None:
        number = len(people) - 1 if people and joint not in people[-1].joints else len(people)
    while len(people) <= number:
        people.append(_Person())
    return people[number]


def _join_bare_points(items: tuple[Item, ...]) -> list[Item]:
    """17 brackets of one bare point each -> one item with 17 points."""
    bare = [item for item in items if not item.label and not item.boxes and len(item.points) == 1]
    if len(bare) != JOINTS_IN_A_LIST or len(bare) != len(items):
        return list(items)
    points = tuple(item.points[0] for item in bare)
    spans = tuple(item.point_spans[0] for item in bare)
    return [Item("", (), points, (bare[0].span[0], bare[-1].span[1]), (), spans)]
