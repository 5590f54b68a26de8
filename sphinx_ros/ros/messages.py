"""Our values to ROS messages and back: the only module that names message classes.

Others take them from here. Knows no model and no thread. Headers are passed through untouched;
times become stamps here.
"""

from __future__ import annotations

import array
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterType,
    SetParametersResult,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header, String
from visualization_msgs.msg import Marker, MarkerArray

from sphinx_ros.action import Query as QueryAction
from sphinx_ros.errors import BadRequest
from sphinx_ros.image.decode import decode_compressed, decode_image, filled_bits
from sphinx_ros.msg import (
    Answer,
    BoundingBox,
    Detection,
    DetectionArray,
    Keypoint,
    PersonPose,
    PersonPoseArray,
    Status,
    Timing,
)
from sphinx_ros.msg import Query as QueryMessage
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros.outcomes import Frame, Outcome
from sphinx_ros.ros.params import Config
from sphinx_ros.srv import Ask, Detect, EstimatePose, Ground, SetQueries
from sphinx_ros.tasks import Answers, Task
from sphinx_ros.types import Answer as AnswerValue
from sphinx_ros.types import Box
from sphinx_ros.types import Detection as DetectionValue
from sphinx_ros.types import Keypoint as KeypointValue
from sphinx_ros.types import Pose as PoseValue

__all__ = [
    "Answer", "Ask", "BoundingBox", "CameraInfo", "CompressedImage", "Detect", "DetectionArray",
    "DiagnosticArray", "DiagnosticStatus", "EstimatePose", "FloatingPointRange", "Ground",
    "Header", "Image", "IntegerRange", "KeyValue", "Marker", "MarkerArray",
    "ParameterDescriptor", "ParameterType", "PersonPoseArray", "Point", "QueryAction",
    "QueryMessage", "SetParametersResult", "SetQueries", "Status", "String", "Time",
]  # fmt: skip

try:  # a standard mirror for other people's tools, where it is installed
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose
except ImportError:
    Detection2DArray = None

TASKS = {task.row.number: task for task in Task}
"""Constants of msg/Query.msg -> tasks."""

NAN = math.nan


# From messages


def seconds(stamp: Time) -> float:
    """Seconds since the epoch; NaN for the all-zero stamp, which means unknown."""
    return stamp.sec + 1e-9 * stamp.nanosec if stamp.sec or stamp.nanosec else NAN


def frame_of(
    message: Image | CompressedImage, received: float, config: Config, own: bool = False
) -> Frame:
    """A frame that decodes the message when it is looked at, not before."""
    limits: dict[str, Any] = {"max_pixels": config.max_image_pixels, "bits": config.image_bits}
    bits = None
    if isinstance(message, CompressedImage):
        decode = functools.partial(decode_compressed, message.data, message.format, **limits)
    else:
        fields = (
            message.data,
            message.width,
            message.height,
            message.encoding,
            message.step,
            bool(message.is_bigendian),
        )
        decode = functools.partial(decode_image, *fields, **limits)
        if not config.image_bits and "16" in message.encoding:
            bits = functools.partial(filled_bits, *fields)
    return Frame(decode, received, seconds(message.header.stamp), message.header, own, bits)


def frame_of_request(message: Image, received: float, config: Config) -> Frame | None:
    """The request's own picture; None where its data is empty, which means the newest one."""
    return frame_of(message, received, config, own=True) if len(message.data) else None


def box_of(message: BoundingBox) -> tuple[float, float, float, float] | None:
    """The box, None where all four are zero or NaN."""
    box = (message.x0, message.y0, message.x1, message.y1)
    return None if all(v == 0 or math.isnan(v) for v in box) else box


def query_of(message: QueryMessage) -> Query:
    """A query as it was asked, unchecked but for its task. Raises BadRequest."""
    if message.task not in TASKS:
        raise BadRequest(f"the task {message.task} is unknown; it must be 0..{max(TASKS)}")
    return Query(
        TASKS[message.task],
        message.text,
        box_of(message.box),
        message.max_new_tokens,
        message.id,
    )


# To messages


def time_message(value: float) -> Time:
    """Seconds to a stamp; all zero for NaN."""
    if math.isnan(value):
        return Time()
    whole = math.floor(value)
    return Time(sec=int(whole), nanosec=min(int((value - whole) * 1e9), 999_999_999))


def box_message(box: Box | None) -> BoundingBox:
    """Source pixels; four NaN for no box."""
    x0, y0, x1, y1 = (float(v) for v in box) if box is not None else (NAN,) * 4
    return BoundingBox(x0=x0, y0=y0, x1=x1, y1=y1)


def query_message(query: Query) -> QueryMessage:
    """The query as it goes out with every answer; no region is all zeros."""
    box = box_message(query.box) if query.box is not None else BoundingBox()
    return QueryMessage(
        id=query.id,
        task=query.task.row.number,
        text=query.text,
        box=box,
        # A refused request may hold more than the field can.
        max_new_tokens=min(max(query.max_new_tokens, 0), 65535),
    )


def status_message(status: int, text: str = "") -> Status:
    """A named outcome with a sentence."""
    return Status(code=int(status), text=text)


def detection_message(item: DetectionValue) -> Detection:
    """A :class:`sphinx_ros.types.Detection`, source pixels."""
    return Detection(
        label=item.label,
        box=box_message(item.box),
        score=float(item.score),
        score_source=int(item.score_source),
        sigma=[float(side) for side in item.sigma],
        presence=float(item.presence),
    )


def keypoint_message(item: KeypointValue) -> Keypoint:
    """A :class:`sphinx_ros.types.Keypoint`, source pixels; absent ones stay NaN."""
    return Keypoint(
        name=item.name,
        x=float(item.x),
        y=float(item.y),
        score=float(item.score),
        visibility=int(item.visibility),
    )


def pose_message(item: PoseValue) -> PersonPose:
    """A :class:`sphinx_ros.types.Pose` with its 17 joints."""
    return PersonPose(
        box=box_message(item.box),
        keypoints=[keypoint_message(k) for k in item.keypoints],
        score=float(item.score),
        score_source=int(item.score_source),
    )


def timing_message(outcome: Outcome) -> Timing:
    """Stamps and milliseconds of one query."""
    times = outcome.times
    return Timing(
        received=time_message(times.received),
        started=time_message(times.started),
        finished=time_message(times.finished),
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
    """The fields that all three kinds of answers share."""
    return dict(
        header=outcome.header if outcome.header is not None else Header(),
        image_width=outcome.width,
        image_height=outcome.height,
        query=query_message(outcome.query),
        status=status_message(outcome.status, outcome.text),
        raw_text=outcome.raw_text,
        unread=list(outcome.unread),
        timing=timing_message(outcome),
    )


def detections_message(outcome: Outcome) -> DetectionArray:
    """For the tasks that answer with boxes."""
    found = [detection_message(item) for item in outcome.boxes]
    denied = [detection_message(item) for item in getattr(outcome.result, "denied", ())]
    return DetectionArray(detections=found, denied=denied, **_common(outcome))


def poses_message(outcome: Outcome) -> PersonPoseArray:
    """For the tasks that answer with people."""
    people = [pose_message(item) for item in outcome.people]
    return PersonPoseArray(poses=people, **_common(outcome))


def answer_message(outcome: Outcome) -> Answer:
    """For the tasks that answer in words; of the others, status, boxes and times."""
    answer = Answer(score=NAN, **_common(outcome))
    answer.detections = [detection_message(item) for item in outcome.boxes]
    if isinstance(outcome.result, AnswerValue):
        answer.text = outcome.result.text
        answer.score = float(outcome.result.score)
        answer.keypoints = [keypoint_message(item) for item in outcome.result.keypoints]
    return answer


ANSWERS: dict[Answers, Callable[[Outcome], Any]] = {
    Answers.BOXES: detections_message,
    Answers.PEOPLE: poses_message,
    Answers.WORDS: answer_message,
}
"""What a task answers with -> the function that makes its message."""


def answer_to(outcome: Outcome) -> Any:
    """The message that belongs to the task of a query."""
    return ANSWERS[outcome.query.task.row.answers](outcome)


def mirror_message(outcome: Outcome) -> Any:
    """vision_msgs/Detection2DArray: class_id is the label, unknown scores are 0."""
    mirror = Detection2DArray(header=outcome.header or Header())
    for item in outcome.boxes:
        x0, y0, x1, y1 = item.box
        box = Detection2D(header=mirror.header, id=outcome.query.id)
        box.bbox.center.position.x, box.bbox.center.position.y = (x0 + x1) / 2, (y0 + y1) / 2
        box.bbox.size_x, box.bbox.size_y = x1 - x0, y1 - y0
        guess = ObjectHypothesisWithPose()
        guess.hypothesis.class_id = item.label
        guess.hypothesis.score = 0.0 if math.isnan(item.score) else float(item.score)
        box.results.append(guess)
        mirror.detections.append(box)
    return mirror


def image_message(rgb: np.ndarray, header: Header) -> Image:
    """[H, W, 3] uint8 RGB, in 1 ms where assigning the array itself would take 400."""
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(rgb).data.cast("B"))
    height, width = rgb.shape[:2]
    return Image(
        header=header, height=height, width=width, encoding="rgb8", step=3 * width, data=data
    )


def parameters_result(reason: str) -> SetParametersResult:
    """The answer to a change of parameters; refused where there is a reason."""
    return SetParametersResult(successful=not reason, reason=reason)
