"""A camera of `bench/node.py`: pictures at a rate, and how long their answers take to come back.

    python bench/node_camera.py RECORD KIND WIDTH HEIGHT RATE COUNT

KIND is "raw" (bgr8) or "compressed" (JPEG of quality 85). Waits for the node, sends COUNT pictures
on /camera/image_raw (or .../compressed), hears /sphinx/detections, and writes RECORD, a JSON file:
{"sent": COUNT, "back_ms": [milliseconds from a picture's stamp, taken before it is published,
to its answer in this process]}.
"""

from __future__ import annotations

import array
import json
import sys
import time
from typing import Any

import cv2
import numpy as np
import rclpy
from rclpy.qos import QoSProfile

from sphinx_ros.image.decode import decode_compressed
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.running import release
from sphinx_ros.runtime.files import write_text
from sphinx_ros.world.clip import read_clip

PATIENCE = 30.0  # seconds until the node is there
REST = 2.0  # seconds in which the last answers come


def scene(width: int, height: int) -> np.ndarray:
    """[height, width, 3] uint8, blue, green, red: a picture of the clip, with a camera's noise."""
    _, jpeg, _ = next(iter(read_clip()))
    large = cv2.resize(decode_compressed(jpeg)[:, :, ::-1], (width, height))
    noise = np.random.default_rng(0).integers(-3, 4, large.shape, np.int16)
    return np.clip(large + noise, 0, 255).astype(np.uint8)


def picture(kind: str, width: int, height: int) -> tuple[Any, str]:
    """(message, its topic)."""
    bgr = scene(width, height)
    header = m.Header(frame_id="camera")
    if kind == "compressed":
        jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
        made = m.CompressedImage(header=header, format="jpeg", data=array.array("B", jpeg))
        return made, "/camera/image_raw/compressed"
    message = m.image_message(bgr, header)
    message.encoding = "bgr8"
    return message, "/camera/image_raw"


def main() -> int:
    """Send and listen."""
    record, kind, width, height, rate, count = sys.argv[1:]
    message, topic = picture(kind, int(width), int(height))
    rclpy.init()
    node = rclpy.create_node("bench_camera")
    publisher = node.create_publisher(type(message), topic, QoSProfile(depth=1))
    back: list[float] = []

    def on_answer(answer: Any) -> None:
        back.append(1e3 * (time.time() - m.seconds(answer.header.stamp)))

    node.create_subscription(m.DetectionArray, "/sphinx/detections", on_answer, 100)
    end = time.monotonic() + PATIENCE
    while not publisher.get_subscription_count():
        if time.monotonic() > end:
            raise RuntimeError(f"nobody listened to {topic} within {PATIENCE:g} s")
        rclpy.spin_once(node, timeout_sec=0.05)
    time.sleep(0.5)  # the answers' way back is found as well
    due, period = time.monotonic(), 1 / float(rate)
    for _ in range(int(count)):
        message.header.stamp = m.time_message(time.time())
        publisher.publish(message)
        due = max(due + period, time.monotonic() - period)
        while (left := due - time.monotonic()) > 0:
            rclpy.spin_once(node, timeout_sec=left)
    end = time.monotonic() + REST
    while time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.05)
    write_text(record, json.dumps({"sent": int(count), "back_ms": back}))
    release(node)
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
