"""Numbers in fractions of the padded square -> detections, keypoints and poses in source pixels.

Each box and point that was written is a result or is reported as unread: what lies outside the
picture, what is nobody's joint, and what was said before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.parse import Item, Parsed, Span
from sphinx_ros.prompt.people import People, join_bare_points, joint_index
from sphinx_ros.prompt.places import (
    REPEATED,
    Scorer,
    as_written,
    source_of,
    to_source_box,
    to_source_point,
    unknown,
)
from sphinx_ros.types import Box, Detection, Keypoint, Pose, same_box

__all__ = ["joint_index", "middles", "to_detections", "to_poses"]


def as_read(found: Detection, span: Span) -> Detection:
    """A box of which nothing else is known."""
    return found


def to_detections(
    parsed: Parsed,
    place: Letterbox,
    default_label: str = "",
    score: Scorer = unknown,
    finish: Callable[[Detection, Span], Detection] = as_read,
) -> tuple[tuple[Detection, ...], tuple[Keypoint, ...], tuple[str, ...]]:
    """All boxes and points in reading order, in source px.

    A model that writes in circles says a box again and again: the first one is the result.

    Args:
        default_label: label of boxes and points for which the model wrote no words of its own.
        score: score of the characters of one box or point.
        finish: what else is known of a box, by its characters.

    Returns:
        Detections, keypoints, and unread texts: those of ``parsed``, what lies outside the
        picture, and repetitions.
    """
    detections: list[Detection] = []
    said: list[tuple[str, Box]] = []  # as written: finish may move a box
    keypoints: list[Keypoint] = []
    unread = list(parsed.unread)
    for item in parsed.items:
        label = label_of(item, default_label)
        for box, span in zip(item.boxes, item.box_spans, strict=True):
            pixels = to_source_box(box, place)
            if pixels is None:
                unread.append(as_written(item.label, box))
            elif _said_before(label, pixels, said):
                unread.append(as_written(item.label, box) + REPEATED)
            else:
                said.append((label, pixels))
                value = score(span)
                read = Detection(label, pixels, value, source_of(value))
                detections.append(finish(read, span))
        for point, span in zip(item.points, item.point_spans, strict=True):
            spot = to_source_point(point, place)
            if spot is None:
                unread.append(as_written(item.label, point))
            elif any((one.name, one.x, one.y) == (label, *spot) for one in keypoints):
                unread.append(as_written(item.label, point) + REPEATED)
            else:
                keypoints.append(Keypoint(label, *spot, score=score(span)))
    return tuple(detections), tuple(keypoints), tuple(unread)


def middles(boxes: Iterable[Detection]) -> tuple[Keypoint, ...]:
    """The middle of each box, px, with its label and its score."""
    return tuple(
        Keypoint(
            box.label, (box.box[0] + box.box[2]) / 2, (box.box[1] + box.box[3]) / 2, box.score
        )
        for box in boxes
    )


def to_poses(
    parsed: Parsed, place: Letterbox, region: Box | None = None, score: Scorer = unknown
) -> tuple[tuple[Pose, ...], tuple[str, ...]]:
    """Named joints, or lists of 17 points in COCO order, -> poses in source px.

    :mod:`sphinx_ros.prompt.people` says which joint is whose.

    Args:
        region: box of the poses that come with none, source px.

    Returns:
        Poses with 17 keypoints each, and unread texts: those of ``parsed``, what lies outside the
        picture, points that are no joint, boxes without a joint, and people said again.
    """
    people = People(place, score)
    for item in join_bare_points(parsed.items):
        people.read(item)
    poses, unread = [], [*parsed.unread, *people.unread]
    for number, person in enumerate(people.found):
        if not person.joints:
            unread += person.written
        elif person.repeats(people.found, number):
            unread += [part + REPEATED for part in person.written]
        else:
            poses.append(person.pose(region))
    return tuple(poses), tuple(unread)


def label_of(item: Item, default: str) -> str:
    """What is in a bracket: the model's own words, else what was asked for.

    Words that only say a part of the question again ("the mug" for "the red mug") add nothing;
    others contradict it, and must not be lost: "unicorn" was asked for, a "white mug" was found.
    """
    if item.label or _said(item.words) <= _said(default):
        return item.label or default
    return item.words


def _said(words: str) -> set[str]:
    """The words of a phrase, whatever their case: "hat" is none of "what is that?"."""
    return {word.strip(".,:;!?\"'") for word in words.lower().split()}


def _said_before(label: str, box: Box, said: list[tuple[str, Box]]) -> bool:
    return any(name == label and same_box(other, box) for name, other in said)
