"""The simulated camera as a ROS node: a live tabletop, or the recorded clip without OpenGL.

Publishes pictures, calibration, depth and, for checking answers, what is true in each picture as
JSON. Knows no model.
"""

from __future__ import annotations

if __name__ == "__main__":  # as the command does it: Ctrl-C while the rest loads is no trace
    import sys

    from sphinx_ros.ros.start import camera

    sys.exit(camera())

import array
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from rclpy.node import Node

from sphinx_ros.errors import SphinxError
from sphinx_ros.image.decode import decode_compressed
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.camera_params import TABLE
from sphinx_ros.ros.late_clients import send_again
from sphinx_ros.ros.parameter_row import Parameter
from sphinx_ros.ros.running import run
from sphinx_ros.ros.usage import limits
from sphinx_ros.world.camera_facts import FRAME_ID, JPEG_FORMAT, calibration, nanoseconds
from sphinx_ros.world.clip import read_clip, read_truth
from sphinx_ros.world.truth import Camera

JPEG_QUALITY = 90


@dataclass(frozen=True, eq=False)
class Shot:
    """One picture: rgb [H, W, 3] uint8, depth [H, W] float32 metres or None, what is true in it.

    objects: as in `world.clip.read_truth`. jpeg: the picture as it was recorded, None if it was
    not.
    """

    rgb: np.ndarray
    depth: np.ndarray | None
    objects: list[dict]
    camera: Camera
    jpeg: bytes | None = None


def live_shots(seed: int, width: int, height: int) -> Iterator[Shot]:
    """What the simulated camera sees at the moment it is asked; needs OpenGL (EGL)."""
    from sphinx_ros.world.live import LiveWorld
    from sphinx_ros.world.record import frame_truth

    world, begun = LiveWorld(seed, width, height), time.monotonic()
    while True:
        seen = world.observe(time.monotonic() - begun, depth=True)
        yield Shot(seen.rgb, seen.depth, frame_truth(seen, 0)["objects"], seen.camera)


def clip_shots() -> Iterator[Shot]:
    """The recorded clip over and over."""
    recorded = read_truth()
    camera = Camera(recorded["width"], recorded["height"], **recorded["camera"])
    for _, jpeg, truth in itertools.cycle(list(read_clip())):
        yield Shot(decode_compressed(jpeg), None, truth["objects"], camera, jpeg)


class WorldCamera(Node):
    """Node `world_camera`: image_raw (and compressed), camera_info, depth/image_raw, ~/truth."""

    def __init__(self, **options: Any):
        super().__init__("world_camera", **options)
        values = {row.name: self._declare(row) for row in TABLE}
        rate = values.pop("rate")
        self._shots = self._open(**values)
        # Reliable, as rviz asks for it; a reader that wants best effort is served as well.
        self._image = self.create_publisher(m.Image, "image_raw", 1)
        self._jpeg = self.create_publisher(m.CompressedImage, "image_raw/compressed", 1)
        self._info = self.create_publisher(m.CameraInfo, "camera_info", 1)
        self._depth = self.create_publisher(m.Image, "depth/image_raw", 1)
        self._truth = self.create_publisher(m.String, "~/truth", 100)
        self.create_timer(1 / rate, self.publish)
        send_again(self)

    def _declare(self, row: Parameter) -> Any:
        """The checked value of a parameter. A whole number stands for a float as well."""
        about = m.ParameterDescriptor(
            description=row.description,
            additional_constraints=limits(row),
            read_only=True,
            dynamic_typing=True,
        )
        return row.read(self.declare_parameter(row.name, row.default, about).value)

    def _open(self, source: str, seed: int, width: int, height: int) -> Iterator[Shot]:
        if source != "clip":
            try:
                shots = live_shots(seed, width, height)
                first = next(shots)
                self.get_logger().info(f"simulated tabletop {seed}, {width}x{height}")
                return itertools.chain([first], shots)
            except (ImportError, OSError, RuntimeError, SphinxError) as error:
                if source == "world":
                    raise
                self.get_logger().warning(f"no OpenGL here ({error}); showing the recorded clip")
        self.get_logger().info("recorded clip")
        return clip_shots()

    def publish(self) -> None:
        """One picture with everything that belongs to it, under one stamp."""
        shot = next(self._shots)
        header = m.Header(stamp=self.get_clock().now().to_msg(), frame_id=FRAME_ID)
        height, width = shot.rgb.shape[:2]
        truth = {
            "stamp": nanoseconds(header),
            "width": width,
            "height": height,
            "objects": shot.objects,
        }
        self._truth.publish(m.String(data=json.dumps(truth, separators=(",", ":"))))
        self._info.publish(m.CameraInfo(header=header, **calibration(shot.camera)))
        if self._image.get_subscription_count():
            self._image.publish(m.image_message(shot.rgb, header))
        if self._jpeg.get_subscription_count():
            self._jpeg.publish(jpeg_message(shot, header))
        if shot.depth is not None and self._depth.get_subscription_count():
            self._depth.publish(depth_message(shot.depth, header))


def jpeg_message(shot: Shot, header: m.Header) -> m.CompressedImage:
    """The recorded bytes, or the picture compressed now."""
    data = shot.jpeg
    if data is None:
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        data = cv2.imencode(".jpg", shot.rgb[:, :, ::-1], quality)[1].tobytes()
    return m.CompressedImage(header=header, format=JPEG_FORMAT, data=array.array("B", data))


def depth_message(depth: np.ndarray, header: m.Header) -> m.Image:
    """32FC1, metres along the optical axis (REP 118)."""
    height, width = depth.shape
    data = array.array("B", np.ascontiguousarray(depth, "<f4").tobytes())
    return m.Image(
        header=header, height=height, width=width, encoding="32FC1", step=4 * width, data=data
    )


def main(args: Sequence[str] | None = None) -> int:
    """Publish until SIGINT or SIGTERM. args: words after the command; see `running.run`."""
    return run("world_camera", WorldCamera, args)
