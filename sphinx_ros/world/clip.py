"""The recorded clip (MCAP and its JSON) -> pictures with what is true in them. Knows no renderer.

The MCAP holds `camera/image_raw/compressed` and `camera/camera_info` as any ROS 2 recording
does; the JSON holds one entry per picture, found by its stamp.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx_ros.errors import BadRequest
from sphinx_ros.world.camera_facts import nanoseconds

IMAGE_TOPIC = "camera/image_raw/compressed"
INFO_TOPIC = "camera/camera_info"
CLIP = Path(__file__).resolve().parent.parent / "assets" / "tabletop.mcap"


def read_truth(path: str | Path = CLIP) -> dict:
    """The JSON beside a clip: "width", "height", "camera" (fx, fy, cx, cy), "frames".

    A frame: "stamp" ns, "objects": dicts of "kind" "colour" "size" "box" [x0, y0, x1, y1] px
    "visible" "depth" m "position" [x, y, z] m in the optical frame, and of a person "keypoints"
    17 x [x px, y px, v].
    """
    beside = Path(path).with_suffix(".json")
    if not beside.exists():
        raise BadRequest(
            f"no ground truth beside the clip: {beside} is missing; "
            "record it again with python -m sphinx_ros.world.record"
        )
    return json.loads(beside.read_text(encoding="utf-8"))


def read_clip(path: str | Path = CLIP) -> Iterator[tuple[int, bytes, dict]]:
    """(stamp in ns, JPEG bytes, frame as in `read_truth`) of every picture, in order.

    Raises BadRequest when the clip or its JSON is missing, or a picture has no entry.
    """
    from rosbags.rosbag2 import Reader
    from rosbags.typesys import Stores, get_typestore

    path = Path(path)
    if not path.exists():
        raise BadRequest(f"no clip at {path}; record one with python -m sphinx_ros.world.record")
    frames = {frame["stamp"]: frame for frame in read_truth(path)["frames"]}
    types = get_typestore(Stores.LATEST)
    with Reader(path) as reader:
        wanted = [c for c in reader.connections if c.topic.lstrip("/") == IMAGE_TOPIC]
        for connection, _, raw in reader.messages(connections=wanted):
            message: Any = types.deserialize_cdr(raw, connection.msgtype)
            stamp = nanoseconds(message.header)
            if stamp not in frames:
                raise BadRequest(
                    f"picture with stamp {stamp} of {path.name} has no entry in "
                    f"{path.with_suffix('.json').name}; record both together"
                )
            yield stamp, message.data.tobytes(), frames[stamp]
