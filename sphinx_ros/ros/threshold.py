"""An outcome -> the same without what scores too low. Knows no message and no model."""

from __future__ import annotations

from dataclasses import replace

from sphinx_ros.errors import Status
from sphinx_ros.ros.outcomes import Outcome
from sphinx_ros.types import Answer, Detection, Keypoint, Points, PointSource, Pose, Results


def above(outcome: Outcome, threshold: float) -> Outcome:
    """An outcome without boxes, points and people whose score is below a threshold, 0..1.

    What has no score (NaN) is kept, and so is raw_text. Where nothing is left the status is
    NOT_FOUND; an answer in words keeps its own, as its words are the answer.
    """
    result = outcome.result
    if isinstance(result, Answer) and threshold > 0:
        boxes = tuple(box for box in result.detections if not _low(box, threshold))
        points = tuple(point for point in result.keypoints if not _low(point, threshold))
        return replace(outcome, result=replace(result, detections=boxes, keypoints=points))
    if not isinstance(result, Results) or not any(_low(item, threshold) for item in result.items):
        return outcome
    left = _kept(result, threshold)
    if left.items:
        return replace(outcome, result=left)
    best = max(item.score for item in result.items)
    text = (
        f"the best score is {best:.3g}, below the threshold of {threshold:g}; lower the parameter "
        "threshold to see it"
    )
    left = replace(left, status=Status.NOT_FOUND)
    return replace(outcome, result=left, status=Status.NOT_FOUND, text=text)


def _low(item: Detection | Keypoint | Pose, threshold: float) -> bool:
    return item.score < threshold  # NaN is not


def _kept(result: Results, threshold: float) -> Results:
    """A result without what scores too low; a point goes with the box that it stands for."""
    keeps = [not _low(item, threshold) for item in result.items]
    items = tuple(item for item, keep in zip(result.items, keeps, strict=True) if keep)
    if not isinstance(result, Points):
        return replace(result, items=items)
    boxes = result.boxes and tuple(
        box for box, keep in zip(result.boxes, keeps, strict=True) if keep
    )
    source = result.source if items else PointSource.NONE
    return replace(result, items=items, boxes=boxes, source=source)
