"""What the model writes of a goal -> the goal's feedback. Knows no model."""

from __future__ import annotations

from typing import Any

from sphinx_ros.ros import messages as m
from sphinx_ros.ros.replies import detection_message, keypoint_message
from sphinx_ros.types import Detection, Keypoint, Pose

Feedback = m.QueryAction.Feedback


class GoalFeedback:
    """Tells the client of one goal of ~/query, from the thread in which each thing is written.

    handle: of the goal; it is told at once that it waits.
    """

    def __init__(self, handle: Any):
        self._handle, self._text = handle, ""
        handle.publish_feedback(Feedback(stage=Feedback.WAITING))

    def on_text(self, so_far: str) -> None:
        """Tell what was written since the last time. so_far: all of the answer."""
        new = so_far[len(self._text) :] if so_far.startswith(self._text) else so_far
        self._text = so_far
        self._tell(text=new)

    def on_found(self, item: Detection | Keypoint | Pose) -> None:
        """Tell a box or a point, source pixels; the people come with the result."""
        if isinstance(item, Detection):
            self._tell(detections=[detection_message(item)])
        elif isinstance(item, Keypoint):
            self._tell(keypoints=[keypoint_message(item)])

    def _tell(self, **fields: Any) -> None:
        told = Feedback(stage=Feedback.WRITING, text_so_far=self._text, **fields)
        self._handle.publish_feedback(told)
