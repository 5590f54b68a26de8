"""Our values to ROS messages and back: the only module that names message classes.

Others take them from here; :mod:`sphinx_ros.ros.replies` makes answers of them. Knows no model and
no thread. Headers are passed through untouched.
"""

from __future__ import annotations

import array
import functools
import math
import sys
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point, Vector3
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterType,
    SetParametersResult,
)
from rcl_interfaces.srv import GetParameters
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
    PointArray,
    Status,
    Timing,
)
from sphinx_ros.msg import Query as QueryMessage
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros.message_parts import Parts, plain_fields
from sphinx_ros.ros.outcomes import Frame
from sphinx_ros.ros.params import Config
from sphinx_ros.srv import Ask, Detect, EstimatePose, Ground, SetQueries
from sphinx_ros.srv import Point as PointRequest
from sphinx_ros.tasks import Task

__all__ = [
    "Answer", "Ask", "BoundingBox", "CameraInfo", "CircleAnnotation", "Color", "CompressedImage",
    "Detect", "Detection", "Detection2D", "Detection2DArray", "Detection3D", "Detection3DArray",
    "DetectionArray", "DiagnosticArray", "DiagnosticStatus", "EstimatePose", "FloatingPointRange",
    "GetParameters", "Ground", "Header", "Image", "ImageAnnotations", "IntegerRange", "KeyValue",
    "Keypoint", "Marker", "MarkerArray", "ObjectHypothesisWithPose", "ParameterDescriptor",
    "ParameterType", "PersonPose", "PersonPoseArray", "Point", "Point2", "PointArray",
    "PointRequest", "PointsAnnotation", "QueryAction", "QueryMessage", "SetParametersResult",
    "SetQueries", "Status", "String", "TextAnnotation", "Time", "Timing", "Vector3", "VisionInfo",
]  # fmt: skip

try:  # what Foxglove draws into pictures, where it is installed
    from foxglove_msgs.msg import (
        CircleAnnotation,
        Color,
        ImageAnnotations,
        Point2,
        PointsAnnotation,
        TextAnnotation,
    )
except ImportError:
    CircleAnnotation = Color = ImageAnnotations = None
    Point2 = PointsAnnotation = TextAnnotation = None

try:  # a standard mirror for other people's tools, where it is installed
    from vision_msgs.msg import (
        Detection2D,
        Detection2DArray,
        Detection3D,
        Detection3DArray,
        ObjectHypothesisWithPose,
        VisionInfo,
    )
except ImportError:
    Detection2D = Detection2DArray = ObjectHypothesisWithPose = VisionInfo = None
    Detection3D = Detection3DArray = None

TASKS = {task.row.number: task for task in Task}
"""Constants of msg/Query.msg -> tasks."""

NAN = math.nan


# From messages


def seconds(stamp: Time) -> float:
    """Seconds since the epoch; NaN for the all-zero stamp, which means unknown."""
    return stamp.sec + 1e-9 * stamp.nanosec if stamp.sec or stamp.nanosec else NAN


def frame_of(
    message: Image | CompressedImage,
    received: float,
    config: Config,
    own: bool = False,
    camera: str = "",
) -> Frame:
    """A frame that decodes the message when it is looked at, not before."""
    limits: dict[str, Any] = {"max_pixels": config.max_image_pixels, "bits": config.image_bits}
    bits = None
    if isinstance(message, CompressedImage):
        decode = functools.partial(decode_compressed, message.data, message.format, **limits)
    else:
        fields = plain_fields(message)
        decode = functools.partial(decode_image, *fields, **limits)
        if not config.image_bits and "16" in message.encoding:
            bits = functools.partial(filled_bits, *fields)
    header = message.header
    return Frame(
        decode,
        received,
        seconds(header.stamp),
        header,
        own,
        bits,
        camera,
        message.data,
        compressed=isinstance(message, CompressedImage),
    )


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

PARTS = Parts(sys.modules[__name__])
"""Makes parts of messages of these classes."""

time_message = PARTS.time_message
box_message = PARTS.box_message
point_message = PARTS.point_message
extent_message = PARTS.extent_message
query_message = PARTS.query_message
status_message = PARTS.status_message
compressed_message = PARTS.compressed_message


def vision_info(checkpoint: str) -> Any:
    """vision_msgs/VisionInfo: who answers, and that class ids are phrases, which no table has."""
    where = "open vocabulary: class_id is the phrase itself, there is no table of classes"
    return VisionInfo(method=f"SPHINX, checkpoint {checkpoint}", database_location=where)


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
