"""An outcome -> the same without what scores too low. Knows no message and no model."""

from __future__ import annotations

from dataclasses import replace

from sphinx_ros.prompt.low_scores import without_low
from sphinx_ros.ros.outcomes import Outcome


def above(outcome: Outcome, threshold: float) -> Outcome:
    """An outcome without boxes, points and people whose score is below a threshold, 0..1.

    See :func:`sphinx_ros.prompt.low_scores.without_low`.
    """
    if outcome.result is None:
        return outcome
    left, why = without_low(outcome.result, threshold)
    if left is outcome.result:
        return outcome
    if not why:
        return replace(outcome, result=left)
    text = f"{why}; lower the parameter threshold to see it"
    return replace(outcome, result=left, status=left.status, text=text)
