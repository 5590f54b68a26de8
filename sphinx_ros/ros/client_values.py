"""Messages of the node -> our values, for clients in Python. Knows no model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sphinx_ros.errors import Status
from sphinx_ros.remote.wire import error_of
from sphinx_ros.ros import messages as m
from sphinx_ros.tasks import Answers, Task
from sphinx_ros.types import (
    UNKNOWN_BOX,
    Answer,
    Box,
    Detection,
    Keypoint,
    Points,
    PointSource,
    Pose,
    Results,
    ScoreSource,
    Visibility,
)


def found_of(task: Task, result: Any) -> Results[Any] | Answer:
    """What a result of `~/query` holds, as :class:`sphinx_ros.seen.Seen` would give it.

    Raises:
        SphinxError: it is no answer; with the node's status and sentence.
    """
    answer = result.answer
    status = Status(answer.status.code)
    if not status.answered and status is not Status.PARSE_FAILED:
        raise error_of(status, answer.status.text, answer.raw_text)
    common: dict[str, Any] = {"raw_text": answer.raw_text, "status": status}
    common["unread"] = tuple(answer.unread)
    boxes, points = tuple(detections_of(answer)), tuple(points_of(answer.keypoints))
    kind = task.row.answers
    if kind is Answers.WORDS:
        return Answer(answer.text, boxes, points, score=answer.score, **common)
    if kind is Answers.POINTS:
        source = PointSource.BOX if boxes else PointSource.MODEL
        return Points(points, boxes=boxes, source=source if points else PointSource.NONE, **common)
    return Results(tuple(poses_of(result.poses)) if kind is Answers.PEOPLE else boxes, **common)


def detections_of(message: m.DetectionArray | m.Answer | m.PointArray) -> list[Detection]:
    """The boxes of an answer."""
    return [
        Detection(
            item.label,
            (item.box.x0, item.box.y0, item.box.x1, item.box.y1),
            item.score,
            ScoreSource(item.score_source),
            _sides(item.sigma),
            presence=math.nan if math.isnan(item.presence) else item.presence,
        )
        for item in message.detections
    ]


def _sides(values: Sequence[float]) -> Box:
    """Four numbers of a message; those that are unknown are equal to each other."""
    x0, y0, x1, y1 = map(float, values)
    return UNKNOWN_BOX if math.isnan(x0 + y0 + x1 + y1) else (x0, y0, x1, y1)


def points_of(messages: Any) -> list[Keypoint]:
    """The points of a PointArray's `points` or an answer's `keypoints`."""
    return [Keypoint(k.name, k.x, k.y, k.score, Visibility(k.visibility)) for k in messages]


def poses_of(messages: Any) -> list[Pose]:
    """The people of a PersonPoseArray's or a result's `poses`."""
    return [
        Pose(
            tuple(points_of(item.keypoints)),
            (item.box.x0, item.box.y0, item.box.x1, item.box.y1),
            item.score,
            ScoreSource(item.score_source),
        )
        for item in messages
    ]
