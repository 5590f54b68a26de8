"""What became of a query -> the message that answers it, of whichever classes are given.

There is one kind of message for each of :class:`sphinx_ros.tasks.Answers`. Knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sphinx_ros.prompt.plain import plain
from sphinx_ros.ros.message_parts import Parts
from sphinx_ros.ros.outcomes import Outcome
from sphinx_ros.ros.positions import UNKNOWN, XYZ, Place
from sphinx_ros.tasks import Answers
from sphinx_ros.types import Answer, Detection, Keypoint, PointSource, Pose

NOWHERE = Place()


class AnswerMessages(Parts):
    """Makes answers, see :class:`sphinx_ros.ros.message_parts.Parts`."""

    def detection_message(self, item: Detection, place: Place = NOWHERE) -> Any:
        """A :class:`sphinx_ros.types.Detection`, source pixels, and where it is in space."""
        return self.m.Detection(
            label=item.label,
            box=self.box_message(item.box),
            score=float(item.score),
            score_source=int(item.score_source),
            sigma=[float(side) for side in item.sigma],
            presence=float(item.presence),
            position=self.point_message(place.position),
            size=self.extent_message(place.size),
        )

    def keypoint_message(self, item: Keypoint, position: XYZ = UNKNOWN) -> Any:
        """A :class:`sphinx_ros.types.Keypoint`, source pixels, NaN where absent. In space, m."""
        return self.m.Keypoint(
            name=item.name,
            x=float(item.x),
            y=float(item.y),
            score=float(item.score),
            visibility=int(item.visibility),
            position=self.point_message(position),
        )

    def pose_message(self, item: Pose, joints: Sequence[XYZ] = ()) -> Any:
        """A :class:`sphinx_ros.types.Pose` with its joints. joints: where they are, if known."""
        places = joints or [UNKNOWN] * len(item.keypoints)
        return self.m.PersonPose(
            box=self.box_message(item.box),
            keypoints=[
                self.keypoint_message(*one) for one in zip(item.keypoints, places, strict=True)
            ],
            score=float(item.score),
            score_source=int(item.score_source),
        )

    def timing_message(self, outcome: Outcome) -> Any:
        """Stamps and milliseconds of one query."""
        times = outcome.times
        return self.m.Timing(
            received=self.time_message(times.received),
            started=self.time_message(times.started),
            finished=self.time_message(times.finished),
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

    def _common(self, outcome: Outcome) -> dict:
        """The fields that all kinds of answers share."""
        return dict(
            header=outcome.header if outcome.header is not None else self.m.Header(),
            image_width=outcome.width,
            image_height=outcome.height,
            query=self.query_message(outcome.query, outcome.camera),
            status=self.status_message(outcome.status, outcome.text),
            raw_text=outcome.raw_text,
            unread=list(outcome.unread),
            reused=outcome.reused,
            position_frame=outcome.positions.frame,
            timing=self.timing_message(outcome),
        )

    def _located(self, outcome: Outcome) -> list[Any]:
        """The boxes, each with its place."""
        place = outcome.positions.box
        return [self.detection_message(item, place(i)) for i, item in enumerate(outcome.boxes)]

    def detections_message(self, outcome: Outcome) -> Any:
        """For the tasks that answer with boxes."""
        found = self._located(outcome)
        denied = [self.detection_message(item) for item in getattr(outcome.result, "denied", ())]
        return self.m.DetectionArray(detections=found, denied=denied, **self._common(outcome))

    def poses_message(self, outcome: Outcome) -> Any:
        """For the tasks that answer with people."""
        joints = outcome.positions.people or [()] * len(outcome.people)
        people = [self.pose_message(*one) for one in zip(outcome.people, joints, strict=True)]
        return self.m.PersonPoseArray(poses=people, **self._common(outcome))

    def _points(self, outcome: Outcome) -> list[Any]:
        """The points, each with its place."""
        where = outcome.positions.point
        return [self.keypoint_message(item, where(i)) for i, item in enumerate(outcome.points)]

    def points_message(self, outcome: Outcome) -> Any:
        """For the tasks that answer with points."""
        return self.m.PointArray(
            points=self._points(outcome),
            source=int(getattr(outcome.result, "source", PointSource.NONE)),
            detections=self._located(outcome),
            **self._common(outcome),
        )

    def answer_message(self, outcome: Outcome) -> Any:
        """For the tasks that answer in words; of the others, status, boxes, points and times."""
        answer = self.m.Answer(score=math.nan, **self._common(outcome))
        answer.detections, answer.keypoints = self._located(outcome), self._points(outcome)
        if isinstance(outcome.result, Answer):
            answer.text = plain(outcome.result.text)
            answer.score = float(outcome.result.score)
        return answer

    def answer_to(self, outcome: Outcome) -> Any:
        """The message that belongs to the task of a query."""
        make = {
            Answers.BOXES: self.detections_message,
            Answers.PEOPLE: self.poses_message,
            Answers.POINTS: self.points_message,
            Answers.WORDS: self.answer_message,
        }
        return make[outcome.query.task.row.answers](outcome)

    def mirror_message(self, outcome: Outcome) -> Any:
        """vision_msgs/Detection2DArray: class_id is the label, unknown scores are 0."""
        mirror = self.m.Detection2DArray(header=outcome.header or self.m.Header())
        for item in outcome.boxes:
            x0, y0, x1, y1 = item.box
            box = self.m.Detection2D(header=mirror.header, id=outcome.query.id)
            box.bbox.center.position.x, box.bbox.center.position.y = (x0 + x1) / 2, (y0 + y1) / 2
            box.bbox.size_x, box.bbox.size_y = x1 - x0, y1 - y0
            box.results.append(self._hypothesis(item))
            mirror.detections.append(box)
        return mirror

    def mirror_3d_message(self, outcome: Outcome) -> Any:
        """vision_msgs/Detection3DArray of the boxes whose place is known, in the positions' frame.

        The sides of a box are along the axes of the camera's optical frame, whatever its frame is.
        One without boxes, where no place is known, has the picture's frame.
        """
        where, header = outcome.positions, outcome.header or self.m.Header()
        frame = where.frame or header.frame_id
        mirror = self.m.Detection3DArray(header=self.m.Header(stamp=header.stamp, frame_id=frame))
        for number, item in enumerate(outcome.boxes):
            place = where.box(number)
            if not place.known:
                continue
            box = self.m.Detection3D(header=mirror.header, id=outcome.query.id)
            box.bbox.center.position = self.point_message(place.position)
            turn = box.bbox.center.orientation
            turn.x, turn.y, turn.z, turn.w = where.orientation
            box.bbox.size = self.extent_message(place.size)
            guess = self._hypothesis(item)
            guess.pose.pose = box.bbox.center
            box.results.append(guess)
            mirror.detections.append(box)
        return mirror

    def _hypothesis(self, item: Detection) -> Any:
        """vision_msgs/ObjectHypothesisWithPose of a box's label and score."""
        guess = self.m.ObjectHypothesisWithPose()
        guess.hypothesis.class_id = item.label
        guess.hypothesis.score = 0.0 if math.isnan(item.score) else float(item.score)
        return guess
