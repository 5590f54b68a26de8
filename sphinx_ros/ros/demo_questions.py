"""What the demonstration asks, and how right an answer is. Knows no ROS and no model.

Objects are the dicts that the camera publishes on ~/truth: "kind", "colour", "box" in pixels
[x0, y0, x1, y1] and, of a person, "keypoints" 17 x [x, y, v].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sphinx_ros.errors import Status
from sphinx_ros.evaluate.metrics import FOUND_IOU, matched, mean, near_joints
from sphinx_ros.tasks import Task
from sphinx_ros.types import Detection, Pose, iou
from sphinx_ros.world.truth import KINDS

MOST = 0.8
"""Share of a person's joints that must be near for a right pose."""


@dataclass(frozen=True)
class Question:
    """One thing to ask: how ("service", "topic" or "action"), what, and which object it is about.

    expected: the right words for ASK, in lower case.
    """

    how: str
    task: Task
    text: str = ""
    about: tuple[str, str] | None = None  # colour, kind
    expected: str = ""

    @property
    def line(self) -> str:
        """As the table shows it, and as ~/set_queries reads it."""
        return f"{self.task.value}: {self.text}" if self.text else self.task.value


@dataclass(frozen=True)
class Reply:
    """The parts of an answer that are judged."""

    status: Status
    boxes: Sequence[Detection] = ()
    people: Sequence[Pose] = ()
    text: str = ""


def questions(objects: Sequence[dict]) -> list[Question]:
    """Questions that make sense for these objects, of which no two are alike."""
    things = [o for o in objects if o["kind"] != "person"]
    one, other, third, fourth = things[:4]
    absent = next(k for k in KINDS if all(k != o["kind"] for o in objects))
    return [
        Question("service", Task.GROUND, f"the {one['colour']} {one['kind']}", _key(one)),
        Question("service", Task.GROUND, f"the {other['colour']} {other['kind']}", _key(other)),
        Question("service", Task.DETECT, third["kind"]),
        Question("service", Task.DETECT, absent),
        Question("service", Task.POSE),
        Question(
            "service", Task.ASK, f"What color is the {fourth['kind']}?", expected=fourth["colour"]
        ),
        Question("service", Task.ASK, f"Is there a {absent} in the image?", expected="no"),
        Question("action", Task.CAPTION),
        Question("topic", Task.DETECT, "objects"),
        Question("topic", Task.POSE),
        Question("topic", Task.ASK, "How many objects are there?", expected=str(len(objects))),
    ]


def judge(question: Question, reply: Reply, objects: Sequence[dict]) -> tuple[str, str, bool]:
    """(the answer in words, how right it is, whether it is right), against one picture's truth."""
    if not reply.status.answered:
        return reply.status.name, "no answer", False
    if question.task is Task.GROUND:
        return _judge_box(question, reply, objects)
    if question.task is Task.POSE:
        return _judge_pose(reply, objects)
    if question.task is Task.ASK:
        said = reply.text.strip().rstrip(".").lower()
        right = said == question.expected
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
    if not reply.boxes:
        return reply.status.name, "wrong: it is there", False
    box = reply.boxes[0].box
    true = next(o["box"] for o in objects if _key(o) == question.about)
    value = iou(box, true)
    words = "[" + " ".join(f"{v:.0f}" for v in box) + "]"
    return words, f"IoU {value:.2f}", value >= FOUND_IOU


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
