"""The live tabletop -> a recording any ROS 2 tool plays (MCAP), and the truth beside it (JSON).

`python -m sphinx_ros.world.record [out.mcap]` writes the clip that comes with the package.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sphinx_ros.runtime.files import replaced, write_text
from sphinx_ros.world.camera_facts import FRAME_ID, JPEG_FORMAT, calibration
from sphinx_ros.world.clip import CLIP, IMAGE_TOPIC, INFO_TOPIC
from sphinx_ros.world.live import LiveWorld
from sphinx_ros.world.truth import Camera, Observation

START_NS = 1_700_000_000 * 10**9  # a round moment; no wall clock, so that recordings repeat


def frame_truth(observation: Observation, stamp: int) -> dict:
    """One JSON entry, as described in `clip.read_truth`."""
    objects = []
    for item in observation.objects:
        entry = {
            "kind": item.kind,
            "colour": item.colour,
            "size": item.size,
            "box": [round(v, 1) for v in item.box],
            "visible": round(item.visible, 3),
            "depth": round(item.depth, 4),
            "position": [round(v, 4) for v in item.position],
        }
        if item.keypoints is not None:
            entry["keypoints"] = [
                [round(float(x), 1), round(float(y), 1), int(v)] for x, y, v in item.keypoints
            ]
        objects.append(entry)
    return {"stamp": stamp, "objects": objects}


def _messages(types: Any, observation: Observation, stamp: int, quality: int) -> tuple[Any, Any]:
    """(CompressedImage, CameraInfo) for one observation."""
    kinds = types.types
    time = kinds["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    header = kinds["std_msgs/msg/Header"](stamp=time, frame_id=FRAME_ID)
    _, jpeg = cv2.imencode(
        ".jpg", observation.rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    image = kinds["sensor_msgs/msg/CompressedImage"](
        header=header, format=JPEG_FORMAT, data=jpeg.ravel()
    )
    return image, _camera_info(kinds, header, observation.camera)


def _camera_info(kinds: Any, header: Any, camera: Camera) -> Any:
    """CameraInfo, whose lists this library takes as arrays."""
    roi = kinds["sensor_msgs/msg/RegionOfInterest"](
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
    )
    fields = {
        name: np.array(value) if isinstance(value, list) else value
        for name, value in calibration(camera).items()
    }
    return kinds["sensor_msgs/msg/CameraInfo"](
        header=header, binning_x=0, binning_y=0, roi=roi, **fields
    )


def write_clip(
    path: Path, frames: Iterable[tuple[int, Observation]], about: Mapping[str, Any], quality: int
) -> Path:
    """Write `path` (MCAP) and the JSON beside it; -> the path. Overwrites both.

    frames: stamp in ns and what the camera sees then, in order. about: what the JSON says beside
    its frames. quality: of the JPEGs.
    """
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    types = get_typestore(Stores.LATEST)
    truth = []
    with tempfile.TemporaryDirectory() as folder:
        bag = Path(folder) / "bag"
        with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            image_line = writer.add_connection(
                IMAGE_TOPIC, "sensor_msgs/msg/CompressedImage", typestore=types
            )
            info_line = writer.add_connection(
                INFO_TOPIC, "sensor_msgs/msg/CameraInfo", typestore=types
            )
            for stamp, seen in frames:
                image, info = _messages(types, seen, stamp, quality)
                for line, message in ((image_line, image), (info_line, info)):
                    writer.write(line, stamp, types.serialize_cdr(message, line.msgtype))
                truth.append(frame_truth(seen, stamp))
        recorded = next(bag.glob("*.mcap"))
        with recorded.open("rb") as source, replaced(path) as target:
            shutil.copyfileobj(source, target)
    said = json.dumps({**about, "frames": truth}, separators=(",", ":"))
    write_text(path.with_suffix(".json"), said + "\n")
    return path


def stamp_of(number: int, rate: float) -> int:
    """When a frame is taken, ns, at so many frames per second."""
    return START_NS + round(number * 1e9 / rate)


def record(
    path: str | Path = CLIP,
    seed: int = 1,
    seconds: float = 8.0,
    rate: float = 10.0,
    width: int = 640,
    height: int = 480,
    quality: int = 85,
) -> Path:
    """The live tabletop as `write_clip` writes it; -> the path."""
    world = LiveWorld(seed, width, height)
    camera = world.stage(0.0).view.camera
    about = {
        "width": width,
        "height": height,
        "seed": seed,
        "rate": rate,
        "camera": {"fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy},
    }
    numbers = range(round(seconds * rate))
    frames = ((stamp_of(i, rate), world.observe(i / rate)) for i in numbers)
    made = write_clip(Path(path), frames, about, quality)
    world.close()
    return made


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="record the simulated tabletop as MCAP")
    parser.add_argument("path", nargs="?", default=str(CLIP))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rate", type=float, default=10.0)
    args = parser.parse_args()
    path = record(args.path, args.seed, args.seconds, args.rate)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
