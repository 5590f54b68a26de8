"""Messages of the node -> our values, for clients in Python. Knows no model."""

from __future__ import annotations

from typing import Any

from sphinx_ros.ros import messages as m
from sphinx_ros.types import Detection, Keypoint, Pose, ScoreSource, Visibility


def detections_of(message: m.DetectionArray | m.Answer) -> list[Detection]:
    """The boxes of an answer."""
    return [
        Detection(
            item.label,
            (item.box.x0, item.box.y0, item.box.x1, item.box.y1),
            item.score,
            ScoreSource(item.score_source),
        )
        for item in message.detections
    ]


def poses_of(messages: Any) -> list[Pose]:
    """The people of a PersonPoseArray's or a result's `poses`."""
    return [
        Pose(
            tuple(
                Keypoint(k.name, k.x, k.y, k.score, Visibility(k.visibility))
                for k in item.keypoints
            ),
            (item.box.x0, item.box.y0, item.box.x1, item.box.y1),
            item.score,
            ScoreSource(item.score_source),
        )
        for item in messages
    ]
