"""Plain values -> the parts that our messages share, of whichever classes are given.

A node gives the classes of rclpy, a recording those of a library that needs no ROS: the fields are
filled in here for both.
"""

from __future__ import annotations

import array
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from sphinx_ros.prompt.queries import Query
from sphinx_ros.types import Box

NAN = math.nan

JPEG_QUALITY = 85
"""Of the pictures that go out: lines and letters stay sharp."""


def plain_fields(image: Any) -> tuple[Any, int, int, str, int, bool]:
    """What :func:`sphinx_ros.image.decode.decode_image` takes of a sensor_msgs/Image."""
    size = image.width, image.height
    return image.data, *size, image.encoding, image.step, bool(image.is_bigendian)


class Parts:
    """Makes parts of messages.

    Args:
        m: has message classes by their names in :mod:`sphinx_ros.ros.messages`. A class
            takes some of its fields as keywords, and fills in the others.
    """

    def __init__(self, m: Any):
        self.m = m

    def time_message(self, value: float) -> Any:
        """Seconds to a stamp; all zero for NaN."""
        if math.isnan(value):
            return self.m.Time()
        whole = math.floor(value)
        return self.m.Time(sec=int(whole), nanosec=min(int((value - whole) * 1e9), 999_999_999))

    def box_message(self, box: Box | None) -> Any:
        """Source pixels; four NaN for no box."""
        x0, y0, x1, y1 = (float(v) for v in box) if box is not None else (NAN,) * 4
        return self.m.BoundingBox(x0=x0, y0=y0, x1=x1, y1=y1)

    def point_message(self, xyz: Sequence[float] | None = None) -> Any:
        """Metres; NaN where unknown."""
        x, y, z = (float(v) for v in xyz) if xyz is not None else (NAN,) * 3
        return self.m.Point(x=x, y=y, z=z)

    def extent_message(self, xyz: Sequence[float] | None = None) -> Any:
        """Metres along x, y and z; NaN where unknown."""
        x, y, z = (float(v) for v in xyz) if xyz is not None else (NAN,) * 3
        return self.m.Vector3(x=x, y=y, z=z)

    def query_message(self, query: Query, camera: str = "") -> Any:
        """The query as it goes out with every answer; no region is all zeros."""
        box = self.box_message(query.box) if query.box is not None else self.m.BoundingBox()
        return self.m.QueryMessage(
            id=query.id,
            task=query.task.row.number,
            text=query.text,
            box=box,
            camera=camera,
            # A refused request may hold more than the field can.
            max_new_tokens=min(max(query.max_new_tokens, 0), 65535),
        )

    def status_message(self, status: int, text: str = "") -> Any:
        """A named outcome with a sentence."""
        return self.m.Status(code=int(status), text=text)

    def compressed_message(self, rgb: np.ndarray, header: Any) -> Any:
        """[H, W, 3] uint8 RGB as JPEG; `format` is what image_transport writes of it."""
        _, jpeg = cv2.imencode(".jpg", rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        data = array.array("B", jpeg.tobytes())
        return self.m.CompressedImage(
            header=header, format="rgb8; jpeg compressed bgr8", data=data
        )
