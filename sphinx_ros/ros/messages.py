"""Our values to ROS messages and back: the only module that names message classes.

Others take them from here; :mod:`sphinx_ros.ros.replies` makes answers of them. Knows no model and
no thread. Headers are passed through untouched; times become stamps here.
"""

from __future__ import annotations

import array
import functools
import math
from collections.abc import Sequence
from typing import Any

import cv2
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
from sphinx_ros.ros.outcomes import Frame
from sphinx_ros.ros.params import Config
from sphinx_ros.srv import Ask, Detect, EstimatePose, Ground, SetQueries
from sphinx_ros.srv import Point as PointRequest
from sphinx_ros.tasks import Task
from sphinx_ros.types import Box

__all__ = [
    "Answer", "Ask", "BoundingBox", "CameraInfo", "CircleAnnotation", "Color", "CompressedImage",
    "Detect", "Detection", "Detection2D", "Detection2DArray", "Detection3D", "Detection3DArray",
    "DetectionArray", "DiagnosticArray", "DiagnosticStatus", "EstimatePose", "FloatingPointRange",
    "Ground", "Header", "Image", "ImageAnnotations", "IntegerRange", "KeyValue", "Keypoint",
    "Marker", "MarkerArray", "ObjectHypothesisWithPose", "ParameterDescriptor", "ParameterType",
    "PersonPose", "PersonPoseArray", "Point", "Point2", "PointArray", "PointRequest",
    "PointsAnnotation", "QueryAction", "QueryMessage", "SetParametersResult", "SetQueries",
    "Status", "String", "TextAnnotation", "Time", "Timing", "Vector3", "VisionInfo",
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

JPEG_QUALITY = 85
"""Of the pictures that go out: lines and letters stay sharp."""


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
    header = message.header
    return Frame(decode, received, seconds(header.stamp), header, own, bits, camera, message.data)


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


def point_message(xyz: Sequence[float] | None = None) -> Point:
    """Metres; NaN where unknown."""
    x, y, z = (float(v) for v in xyz) if xyz is not None else (NAN,) * 3
    return Point(x=x, y=y, z=z)


def extent_message(xyz: Sequence[float] | None = None) -> Vector3:
    """Metres along x, y and z; NaN where unknown."""
    x, y, z = (float(v) for v in xyz) if xyz is not None else (NAN,) * 3
    return Vector3(x=x, y=y, z=z)


def query_message(query: Query, camera: str = "") -> QueryMessage:
    """The query as it goes out with every answer; no region is all zeros."""
    box = box_message(query.box) if query.box is not None else BoundingBox()
    return QueryMessage(
        id=query.id,
        task=query.task.row.number,
        text=query.text,
        box=box,
        camera=camera,
        # A refused request may hold more than the field can.
        max_new_tokens=min(max(query.max_new_tokens, 0), 65535),
    )


def vision_info(checkpoint: str) -> Any:
    """vision_msgs/VisionInfo: who answers, and that class ids are phrases, which no table has."""
    where = "open vocabulary: class_id is the phrase itself, there is no table of classes"
    return VisionInfo(method=f"SPHINX, checkpoint {checkpoint}", database_location=where)


def status_message(status: int, text: str = "") -> Status:
    """A named outcome with a sentence."""
    return Status(code=int(status), text=text)


def image_message(rgb: np.ndarray, header: Header) -> Image:
    """[H, W, 3] uint8 RGB, in 1 ms where assigning the array itself would take 400."""
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(rgb).data.cast("B"))
    height, width = rgb.shape[:2]
    return Image(
        header=header, height=height, width=width, encoding="rgb8", step=3 * width, data=data
    )


def compressed_message(rgb: np.ndarray, header: Header) -> CompressedImage:
    """[H, W, 3] uint8 RGB as JPEG; `format` is what image_transport writes of such a picture."""
    _, jpeg = cv2.imencode(".jpg", rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    data = array.array("B", jpeg.tobytes())
    return CompressedImage(header=header, format="rgb8; jpeg compressed bgr8", data=data)


def parameters_result(reason: str) -> SetParametersResult:
    """The answer to a change of parameters; refused where there is a reason."""
    return SetParametersResult(successful=not reason, reason=reason)
