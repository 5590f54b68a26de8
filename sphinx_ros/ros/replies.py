"""What became of a query -> the node's message that answers it. Knows no model."""

from __future__ import annotations

from sphinx_ros.ros import messages
from sphinx_ros.ros.answer_messages import AnswerMessages

REPLIES = AnswerMessages(messages)
"""Makes answers of the classes that the node publishes."""

detection_message = REPLIES.detection_message
keypoint_message = REPLIES.keypoint_message
pose_message = REPLIES.pose_message
timing_message = REPLIES.timing_message
detections_message = REPLIES.detections_message
poses_message = REPLIES.poses_message
points_message = REPLIES.points_message
answer_message = REPLIES.answer_message
answer_to = REPLIES.answer_to
mirror_message = REPLIES.mirror_message
mirror_3d_message = REPLIES.mirror_3d_message
