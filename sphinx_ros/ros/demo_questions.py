"""What the demonstration asks, and how right an answer is. Knows no ROS and no model.

Objects are the dicts that the camera publishes on ~/truth: "kind", "colour", "box" in pixels
[x0, y0, x1, y1], "position" of the middle in the camera's optical frame, metres, and, of a person,
"keypoints" 17 x [x, y, v].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sphinx_ros.errors import Status
from sphinx_ros.evaluate.metrics import FOUND_IOU, matched, mean, near_joints
from sphinx_ros.tasks import Task
from sphinx_ros.types import Detection, Keypoint, Pose, iou
from sphinx_ros.world.truth import KINDS

MOST = 0.8
"""Share of a person's joints that must be near for a right pose."""


FRONT, WRIST = CAMERAS = "front", "wrist"
"""The two cameras of the demonstration."""


@dataclass(frozen=True)
class Question:
    """One thing to ask: how ("service", "topic" or "action"), what, and which object it is about.

    about: colour and kind of the object. expected: the right words for ASK, in lower case. region:
    whether the question is about the object's box. camera: whose picture is asked.
    """

    how: str
    task: Task
    text: str = ""
    about: tuple[str, str] | None = None
    expected: str = ""
    region: bool = False
    camera: str = FRONT

    @property
    def line(self) -> str:
        """As ~/set_queries reads it."""
        return f"{self.task.value}: {self.text}" if self.text else self.task.value

    @property
    def shown(self) -> str:
        """As the table shows it."""
        return f"{self.line} (in a box)" if self.region else self.line


@dataclass(frozen=True)
class Reply:
    """The parts of an answer that are judged.

    places: of the boxes or points in space, metres in the optical frame; NaN where unknown.
    """

    status: Status
    boxes: Sequence[Detection] = ()
    people: Sequence[Pose] = ()
    text: str = ""
    points: Sequence[Keypoint] = ()
    places: Sequence[Sequence[float]] = ()


def questions(objects: Sequence[dict], beside: Sequence[dict] = ()) -> list[Question]:
    """Questions that make sense for these objects, of which no two are alike.

    beside: what the other camera sees.
    """
    things = [o for o in objects if o["kind"] != "person"]
    one, other, third, fourth = things[:4]
    absent = next(k for k in KINDS if all(k != o["kind"] for o in objects))
    return [
        Question("service", Task.GROUND, f"the {one['colour']} {one['kind']}", _key(one)),
        Question("service", Task.GROUND, f"the {other['colour']} {other['kind']}", _key(other)),
        Question("service", Task.GROUND, f"the {one['colour']} {absent}"),
        Question("service", Task.POINT, f"the {third['colour']} {third['kind']}", _key(third)),
        Question("service", Task.DETECT, third["kind"]),
        Question("service", Task.DETECT, absent),
        Question("service", Task.POSE),
        Question(
            "service", Task.ASK, f"What color is the {fourth['kind']}?", expected=fourth["colour"]
        ),
        Question(
            "service", Task.ASK, "What is this?", _key(other), expected=other["kind"], region=True
        ),
        Question("service", Task.ASK, f"Is there a {absent} in the image?", expected="no"),
        Question("action", Task.CAPTION),
        Question("topic", Task.DETECT, "objects"),
        Question("topic", Task.POSE),
        Question("topic", Task.ASK, "How many objects are there?", expected=str(len(objects))),
        *(
            Question("service", Task.GROUND, f"the {_said(thing)}", _key(thing), camera=WRIST)
            for thing in [o for o in beside if o["kind"] != "person"][:1]
        ),
        *([Question("topic", Task.DETECT, "objects", camera=WRIST)] if beside else []),
    ]


def _said(thing: dict) -> str:
    return f"{thing['colour']} {thing['kind']}"


def judge(question: Question, reply: Reply, objects: Sequence[dict]) -> tuple[str, str, bool]:
    """(the answer in words, how right it is, whether it is right), against one picture's truth."""
    if not reply.status.answered:
        return reply.status.name, "no answer", False
    if question.task is Task.GROUND:
        return _judge_box(question, reply, objects)
    if question.task is Task.POINT:
        return _judge_point(question, reply, objects)
    if question.task is Task.POSE:
        return _judge_pose(reply, objects)
    if question.task is Task.ASK:
        said = reply.text.strip().rstrip(".").lower()
        right = question.expected in said if question.region else said == question.expected
        return reply.text, "right" if right else f"wrong: {question.expected}", right
    wanted = objects
    if question.task is Task.DETECT and question.text != "objects":
        wanted = [o for o in objects if o["kind"] == question.text]
        if not wanted:
            right = not reply.boxes and reply.status is Status.NOT_FOUND
            said = _count(reply) if reply.boxes else reply.status.name
            return said, "right" if right else "wrong: there is none", right
    return _judge_boxes(reply, wanted)


def _key(thing: dict) -> tuple[str, str]:
    return thing["colour"], thing["kind"]


def _count(reply: Reply) -> str:
    return f"{len(reply.boxes)} box" + "es" * (len(reply.boxes) != 1)


def _judge_box(question: Question, reply: Reply, objects: Sequence[dict]) -> tuple[str, str, bool]:
    if question.about is None:
        right = not reply.boxes and reply.status is Status.NOT_FOUND
        said = _count(reply) if reply.boxes else reply.status.name
        return said, "right" if right else "wrong: there is none", right
    if not reply.boxes:
        return reply.status.name, "wrong: it is there", False
    box, thing = reply.boxes[0].box, _thing(question, objects)
    value = iou(box, thing["box"])
    words = "[" + " ".join(f"{v:.0f}" for v in box) + "]"
    return words, f"IoU {value:.2f}{_off(reply, thing)}", value >= FOUND_IOU


def _judge_point(
    question: Question, reply: Reply, objects: Sequence[dict]
) -> tuple[str, str, bool]:
    if not reply.points:
        return reply.status.name, "wrong: it is there", False
    point, thing = reply.points[0], _thing(question, objects)
    x0, y0, x1, y1 = thing["box"]
    right = x0 <= point.x <= x1 and y0 <= point.y <= y1
    words = f"({point.x:.0f}, {point.y:.0f})"
    return words, ("in its box" if right else "beside it") + _off(reply, thing), right


def _thing(question: Question, objects: Sequence[dict]) -> dict:
    return next(o for o in objects if _key(o) == question.about)


def _off(reply: Reply, thing: dict) -> str:
    """How far the place in space is from the middle of the thing; "" where either is unknown."""
    if not reply.places or "position" not in thing or not all(map(math.isfinite, reply.places[0])):
        return ""
    return f", {100 * math.dist(reply.places[0], thing['position']):.1f} cm off"


def _judge_boxes(reply: Reply, wanted: Sequence[dict]) -> tuple[str, str, bool]:
    """The labels may be longer than the kinds that they name, as "red mug"."""
    named = [(next((k for k in KINDS if k in b.label), b.label), b.box) for b in reply.boxes]
    overlaps = matched(named, [(o["kind"], o["box"]) for o in wanted])
    right = len(overlaps) == len(wanted) == len(reply.boxes)
    words = f", mean IoU {mean(overlaps):.2f}" if overlaps else ""
    return _count(reply), f"{len(overlaps)} of {len(wanted)}{words}", right


def _judge_pose(reply: Reply, objects: Sequence[dict]) -> tuple[str, str, bool]:
    person = next(o for o in objects if o["kind"] == "person")
    joints = np.array(person["keypoints"], float)
    pose = reply.people[0] if reply.people else None
    known = joints[:, 2] > 0
    near = int(near_joints(pose, joints[:, :2], person["box"])[known].sum())
    placed = sum(math.isfinite(joint.x) for joint in pose.keypoints) if pose else 0
    share = near / known.sum() if known.any() else 0.0
    return f"{placed} joints", f"{near} of {known.sum()} near", share >= MOST
