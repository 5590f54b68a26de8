"""Boxes and joints in a picture -> questions about them, and the text that the checkpoint answers.

The wordings are those of the tasks; numbers are fractions of the centred padded square with the
checkpoint's decimals. What the model is asked at the robot is what it is taught here: detection,
a referring expression where a kind is there once, and whether it is there at all. Knows no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.checks import checked_text
from sphinx_ros.prompt.english import singular
from sphinx_ros.prompt.wording import format_box, format_number, presence_question, question
from sphinx_ros.tasks import Task
from sphinx_ros.teach.example import Rounds
from sphinx_ros.teach.shown import Thing
from sphinx_ros.types import COCO_KEYPOINTS, Box, iou

NONE_ANSWER = "There is no {} in the image."
"""How the models deny; :func:`sphinx_ros.prompt.denials.is_denial` reads it."""

SLACK = 1.0
"""Pixels by which a box may reach beyond its picture: who labels rounds."""

LEAST_JOINTS = 4
"""Joints of a person that make a pose."""

OWN_REGION = 0.6
"""Two people whose boxes overlap more are not told apart by a region."""

JOINT_DECIMALS = 2
"""Of joints: the demonstration model's habit, and that of the published samples."""


class Writing(NamedTuple):
    """How a checkpoint writes a box: digits behind the point, and what stands between numbers."""

    decimals: int = 3
    comma: str = ","


def box_text(box: Sequence[float], writing: Writing) -> str:
    """A box in fractions of the square -> "[0.12,0.34,0.56,0.78]", as the checkpoint does it."""
    return format_box(box, writing.decimals).replace(",", writing.comma)


def checked_kind(name: object) -> str:
    """The noun of a kind, as the model is asked for it. Raises BadRequest."""
    if not isinstance(name, str):
        raise BadRequest(f"the name of the kind is {quoted(name)}, expected a word as 'mug'")
    return singular(checked_text(name.replace("_", " ")))


def checked_inside(box: Sequence[float], width: int, height: int) -> Box:
    """A box, cut at the picture's border. Raises BadRequest where it is not in the picture."""
    x0, y0, x1, y1 = (float(value) for value in box)
    inside = min(x0, y0) >= -SLACK and x1 <= width + SLACK and y1 <= height + SLACK
    if not inside or not (x1 > x0 and y1 > y0):  # not so of NaN
        raise BadRequest(
            f"the box {x0:g},{y0:g},{x1:g},{y1:g} (x0,y0,x1,y1) is not in the picture of "
            f"{width}x{height} pixels, or has no area: give it in pixels of this picture"
        )
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))


def left_to_right(things: Sequence[Thing]) -> list[Thing]:
    """The order in which the models list things."""
    return sorted(things, key=lambda thing: (thing.box[0], thing.box[1]))


def rounds_about(
    things: Sequence[Thing],
    kinds: Sequence[str],
    size: tuple[int, int],
    writing: Writing,
    draw: np.random.Generator,
) -> list[Rounds]:
    """What is asked and answered about a picture whose things of some kinds are all labelled.

    Args:
        things: those that are there. kinds: all that were looked for. size: width and height of
            the picture, pixels. writing: the checkpoint's habit. draw: chooses, of the
            kinds that are not there, as many as there are others, at least one.
    """
    place, found = Letterbox.of(*size), left_to_right(things)
    there = list(dict.fromkeys(thing.kind for thing in found))
    missing = [kind for kind in kinds if kind not in there]
    chosen = draw.permutation(len(missing))[: max(1, len(there))]
    said: list[Rounds] = []
    for kind in there:
        said += about_kind(kind, [one for one in found if one.kind == kind], place, writing)
    for kind in (missing[i] for i in sorted(chosen)):
        said += about_kind(kind, [], place, writing)
    return said + poses(found, place, writing)


def about_kind(
    kind: str, found: Sequence[Thing], place: Letterbox, writing: Writing
) -> list[Rounds]:
    """Detection, grounding and presence of a kind. found: all of it, from left to right."""
    boxes = [box_text(place.box_to_square(thing.box), writing)[1:-1] for thing in found]
    denial = NONE_ANSWER.format(kind)
    all_of = f"<p>{kind}</p>[{';'.join(boxes)}]" if boxes else denial
    said = [((question(Task.DETECT, kind), all_of),)]
    if len(boxes) < 2:
        one = f"[{boxes[0]}]" if boxes else denial
        said.append(((question(Task.GROUND, f"the {kind}"), one),))
    asked = question(Task.ASK, presence_question(kind))
    return [*said, ((asked, "yes" if boxes else "no"),)]


def poses(found: Sequence[Thing], place: Letterbox, writing: Writing) -> list[Rounds]:
    """The joints of each person that a region tells from the others."""
    said: list[Rounds] = []
    for thing in found:
        joints = thing.joints
        if joints is None or (joints[:, 2] > 0).sum() < LEAST_JOINTS:
            continue
        others = (one for one in found if one is not thing)
        if any(iou(thing.box, one.box) >= OWN_REGION for one in others):
            continue
        region = place.box_to_square(thing.box)
        asked = question(Task.POSE, box=region, decimals=writing.decimals)
        said.append(((asked, joints_text(joints, place, writing)),))
    return said


def joints_text(joints: np.ndarray, place: Letterbox, writing: Writing) -> str:
    """[17, 3] joints in source pixels -> "<p>nose</p>[0.41,0.22]..." of those labelled."""
    parts = []
    for name, (x, y, visible) in zip(COCO_KEYPOINTS, joints.tolist(), strict=True):
        if visible > 0:
            u, v = place.to_square(x, y)
            numbers = (format_number(value, JOINT_DECIMALS) for value in (u, v))
            parts.append(f"<p>{name}</p>[{writing.comma.join(numbers)}]")
    return "".join(parts)


def about_expression(
    text: str, box: Box | None, size: tuple[int, int], writing: Writing
) -> list[Rounds]:
    """A referring expression, and whether such a thing is there. box: None where it is not."""
    asked, there = question(Task.GROUND, text), presence_question(text)
    answer = NONE_ANSWER.format(text.removeprefix("the "))
    if box is not None:
        place = Letterbox.of(*size)
        answer = box_text(place.box_to_square(checked_inside(box, *size)), writing)
    yes_no = "no" if box is None else "yes"
    return [((asked, answer),), ((question(Task.ASK, there), yes_no),)]
