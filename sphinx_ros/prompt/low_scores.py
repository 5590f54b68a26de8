"""A result -> the same without what scores too low. Knows no model and no ROS."""

from __future__ import annotations

from dataclasses import replace

from sphinx_ros.errors import Status
from sphinx_ros.types import Answer, Detection, Keypoint, Points, PointSource, Pose, Results


def is_low(item: Detection | Keypoint | Pose, threshold: float) -> bool:
    """Whether an item scores below a threshold, 0..1; one without a score (NaN) does not."""
    return item.score < threshold


def without_low(result: Results | Answer, threshold: float) -> tuple[Results | Answer, str]:
    """A result without boxes, points and people whose score is below a threshold, 0..1.

    What has no score (NaN) is kept, and so is raw_text. Where nothing is left the status is
    NOT_FOUND; an answer in words keeps its own, as its words are the answer.

    Returns:
        The result, the same one where nothing of it is low, and why nothing is left, or "".
    """
    if isinstance(result, Answer):
        if threshold <= 0:
            return result, ""
        boxes = tuple(box for box in result.detections if not is_low(box, threshold))
        points = tuple(point for point in result.keypoints if not is_low(point, threshold))
        return replace(result, detections=boxes, keypoints=points), ""
    if not any(is_low(item, threshold) for item in result.items):
        return result, ""
    left = _kept(result, threshold)
    if left.items:
        return left, ""
    best = max(item.score for item in result.items)
    why = f"the best score is {best:.3g}, below the threshold of {threshold:g}"
    return replace(left, status=Status.NOT_FOUND), why


def _kept(result: Results, threshold: float) -> Results:
    """A result without what scores too low; a point goes with the box that it stands for."""
    keeps = [not is_low(item, threshold) for item in result.items]
    items = tuple(item for item, keep in zip(result.items, keeps, strict=True) if keep)
    if not isinstance(result, Points):
        return replace(result, items=items)
    boxes = result.boxes and tuple(
        box for box, keep in zip(result.boxes, keeps, strict=True) if keep
    )
    source = result.source if items else PointSource.NONE
    return replace(result, items=items, boxes=boxes, source=source)
