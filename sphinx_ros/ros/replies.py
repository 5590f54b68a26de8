"""What became of a query -> the message that answers it. Knows no model.

There is one kind of message for each of :class:`sphinx_ros.tasks.Answers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from sphinx_ros.prompt.plain import plain
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.outcomes import Outcome
from sphinx_ros.ros.positions import UNKNOWN, XYZ, Place
from sphinx_ros.tasks import Answers
from sphinx_ros.types import Answer, Detection, Keypoint, PointSource, Pose

NOWHERE = Place()


def detection_message(item: Detection, place: Place = NOWHERE) -> m.Detection:
    """A :class:`sphinx_ros.types.Detection`, source pixels, and where it is in space."""
    return m.Detection(
        label=item.label,
        box=m.box_message(item.box),
        score=float(item.score),
        score_source=int(item.score_source),
        sigma=[float(side) for side in item.sigma],
        presence=float(item.presence),
        position=m.point_message(place.position),
        size=m.extent_message(place.size),
    )


def keypoint_message(item: Keypoint, position: XYZ = UNKNOWN) -> m.Keypoint:
    """A :class:`sphinx_ros.types.Keypoint`, source pixels; absent ones stay NaN. In space, m."""
    return m.Keypoint(
        name=item.name,
        x=float(item.x),
        y=float(item.y),
        score=float(item.score),
        visibility=int(item.visibility),
        position=m.point_message(position),
    )


def pose_message(item: Pose, joints: Sequence[XYZ] = ()) -> m.PersonPose:
    """A :class:`sphinx_ros.types.Pose` with its 17 joints. joints: where they are, if known."""
    places = joints or [UNKNOWN] * len(item.keypoints)
    return m.PersonPose(
        box=m.box_message(item.box),
        keypoints=[keypoint_message(*one) for one in zip(item.keypoints, places, strict=True)],
        score=float(item.score),
        score_source=int(item.score_source),
    )


def timing_message(outcome: Outcome) -> m.Timing:
    """Stamps and milliseconds of one query."""
    times = outcome.times
    return m.Timing(
        received=m.time_message(times.received),
        started=m.time_message(times.started),
        finished=m.time_message(times.finished),
        image_age_ms=times.image_age_ms,
        queue_ms=times.queue_ms,
        decode_ms=times.decode_ms,
        look_ms=times.look_ms,
        query_ms=times.query_ms,
        tokens=times.tokens,
        passes=times.passes,
        accepted=times.accepted,
        cached=times.cached,
        frames_dropped=times.frames_dropped,
    )


def _common(outcome: Outcome) -> dict:
    """The fields that all kinds of answers share."""
    return dict(
        header=outcome.header if outcome.header is not None else m.Header(),
        image_width=outcome.width,
        image_height=outcome.height,
        query=m.query_message(outcome.query, outcome.camera),
        status=m.status_message(outcome.status, outcome.text),
        raw_text=outcome.raw_text,
        unread=list(outcome.unread),
        reused=outcome.reused,
        position_frame=outcome.positions.frame,
        timing=timing_message(outcome),
    )


def _located(outcome: Outcome) -> list[m.Detection]:
    """The boxes, each with its place."""
    place = outcome.positions.box
    return [detection_message(item, place(i)) for i, item in enumerate(outcome.boxes)]


def detections_message(outcome: Outcome) -> m.DetectionArray:
    """For the tasks that answer with boxes."""
    found = _located(outcome)
    denied = [detection_message(item) for item in getattr(outcome.result, "denied", ())]
    return m.DetectionArray(detections=found, denied=denied, **_common(outcome))


def poses_message(outcome: Outcome) -> m.PersonPoseArray:
    """For the tasks that answer with people."""
    joints = outcome.positions.people or [()] * len(outcome.people)
    people = [pose_message(*one) for one in zip(outcome.people, joints, strict=True)]
    return m.PersonPoseArray(poses=people, **_common(outcome))


def _points(outcome: Outcome) -> list[m.Keypoint]:
    """The points, each with its place."""
    where = outcome.positions.point
    return [keypoint_message(item, where(i)) for i, item in enumerate(outcome.points)]


def points_message(outcome: Outcome) -> m.PointArray:
    """For the tasks that answer with points."""
    return m.PointArray(
        points=_points(outcome),
        source=int(getattr(outcome.result, "source", PointSource.NONE)),
        detections=_located(outcome),
        **_common(outcome),
    )


def answer_message(outcome: Outcome) -> m.Answer:
    """For the tasks that answer in words; of the others, status, boxes, points and times."""
    answer = m.Answer(score=math.nan, **_common(outcome))
    answer.detections, answer.keypoints = _located(outcome), _points(outcome)
    if isinstance(outcome.result, Answer):
        answer.text = plain(outcome.result.text)
        answer.score = float(outcome.result.score)
    return answer


ANSWERS: dict[Answers, Callable[[Outcome], Any]] = {
    Answers.BOXES: detections_message,
    Answers.PEOPLE: poses_message,
    Answers.POINTS: points_message,
    Answers.WORDS: answer_message,
}
"""What a task answers with -> the function that makes its message."""


def answer_to(outcome: Outcome) -> Any:
    """The message that belongs to the task of a query."""
    return ANSWERS[outcome.query.task.row.answers](outcome)


def mirror_message(outcome: Outcome) -> Any:
    """vision_msgs/Detection2DArray: class_id is the label, unknown scores are 0."""
    mirror = m.Detection2DArray(header=outcome.header or m.Header())
    for item in outcome.boxes:
        x0, y0, x1, y1 = item.box
        box = m.Detection2D(header=mirror.header, id=outcome.query.id)
        box.bbox.center.position.x, box.bbox.center.position.y = (x0 + x1) / 2, (y0 + y1) / 2
        box.bbox.size_x, box.bbox.size_y = x1 - x0, y1 - y0
        box.results.append(_hypothesis(item))
        mirror.detections.append(box)
    return mirror


def mirror_3d_message(outcome: Outcome) -> Any:
    """vision_msgs/Detection3DArray of the boxes whose place is known, in the positions' frame.

    The sides of a box are along the axes of the camera's optical frame, in whatever frame it is.
    """
    where, header = outcome.positions, outcome.header or m.Header()
    mirror = m.Detection3DArray(header=m.Header(stamp=header.stamp, frame_id=where.frame))
    for number, item in enumerate(outcome.boxes):
        place = where.box(number)
        if not place.known:
            continue
        box = m.Detection3D(header=mirror.header, id=outcome.query.id)
        box.bbox.center.position = m.point_message(place.position)
        turn = box.bbox.center.orientation
        turn.x, turn.y, turn.z, turn.w = where.orientation
        box.bbox.size = m.extent_message(place.size)
        guess = _hypothesis(item)
        guess.pose.pose = box.bbox.center
        box.results.append(guess)
        mirror.detections.append(box)
    return mirror


def _hypothesis(item: Detection) -> Any:
    """vision_msgs/ObjectHypothesisWithPose of a box's label and score."""
    guess = m.ObjectHypothesisWithPose()
    guess.hypothesis.class_id = item.label
    guess.hypothesis.score = 0.0 if math.isnan(item.score) else float(item.score)
    return guess
