"""Positions in the camera's frame -> in another one, by TF at the picture's stamp.

The only module that names tf2; where tf2_ros is not installed nothing else changes. Knows no
message: whatever has the fields of geometry_msgs/Transform will do.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.time import Time

from sphinx_ros.ros.positions import XYZ, Place, Positions

try:
    import tf2_ros
except ImportError:  # not among the wheels of PyPI
    tf2_ros = None

PATIENCE = 0.1
"""Seconds that a transform is waited for: TF of a moving robot comes a little after a picture."""

PAUSE = 0.005
"""Seconds between two questions for a transform."""

BACKWARD = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True)
"""Jumps of simulated time after which transforms are of another time; tf2's own threshold."""


def moved(positions: Positions, transform: Any, frame: str) -> Positions:
    """Positions in another frame.

    Points are turned and shifted. Sizes stay along the axes of the optical frame, which
    ``orientation`` turns into the new one.

    Args:
        transform: geometry_msgs/Transform that takes points of their frame into ``frame``.
    """
    q, t = transform.rotation, transform.translation
    turn = np.array([q.x, q.y, q.z, q.w], float)
    turn /= np.linalg.norm(turn)
    matrix, shift = rotation(turn), np.array([t.x, t.y, t.z], float)

    def to(point: XYZ) -> XYZ:
        """A point in the new frame, m."""
        x, y, z = matrix @ point + shift
        return float(x), float(y), float(z)

    def places(place: Place) -> Place:
        """A place in the new frame."""
        return replace(place, position=to(place.position), surface=to(place.surface))

    x, y, z, w = map(float, turn)
    return Positions(
        frame,
        (x, y, z, w),
        tuple(map(places, positions.boxes)),
        tuple(map(to, positions.points)),
        tuple(tuple(map(to, joints)) for joints in positions.people),
    )


def rotation(quaternion: np.ndarray) -> np.ndarray:
    """[3, 3] of a unit quaternion (x, y, z, w)."""
    axis, w = quaternion[:3], quaternion[3]
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * (w * cross + cross @ cross)


class Transforms:
    """What a node hears of TF. Nothing is heard before a frame is asked for by :meth:`listen`.

    The buffer is not told of the node: it would offer a service, tf2_frames, and hold on to the
    node's clock, both for as long as the node lives. So the jumps of that clock are heard here.
    """

    def __init__(self, node: Any):
        self._node = node
        self._buffer: Any = None
        self._heard: list[Any] = []  # methods that end what `listen` began

    def listen(self) -> None:
        """Begin to hear /tf and /tf_static, where tf2_ros is installed."""
        if self._buffer is not None or tf2_ros is None:
            return
        buffer = tf2_ros.Buffer()
        clock = self._node.get_clock()
        jumps = clock.create_jump_callback(BACKWARD, post_callback=lambda _: buffer.clear())
        own = getattr(buffer, "jump_handle", None)  # from Jazzy on: it would keep the buffer
        listener = tf2_ros.TransformListener(buffer, self._node)
        self._heard = [one.unregister for one in (listener, jumps, own) if one is not None]
        self._buffer = buffer

    def close(self) -> None:
        """Hear TF no more."""
        heard, self._heard, self._buffer = self._heard, [], None
        for end in heard:
            end()

    def into(self, frame: str, source: str, stamp: Any) -> tuple[Any, str]:
        """The geometry_msgs/Transform from a frame into another one at a stamp, or why not.

        Waits :data:`PATIENCE` at most, by a steady clock: simulated time may stand still. To be
        called from a thread that handles no callbacks.
        """
        if tf2_ros is None:
            return None, (
                "target_frame needs tf2_ros, which is not installed: install it "
                "(apt install ros-$ROS_DISTRO-tf2-ros-py), or leave target_frame empty"
            )
        buffer, end = self._buffer, time.monotonic() + PATIENCE
        while buffer is not None:
            try:
                at = buffer.lookup_transform(frame, source, Time.from_msg(stamp))
                return at.transform, ""
            except tf2_ros.TransformException as error:
                if time.monotonic() > end:
                    return None, f"no transform from {source!r} to {frame!r}: {error}"
            time.sleep(PAUSE)
        return None, "TF is not heard yet"
