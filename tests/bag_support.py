"""Small bags, written by rosbags: any cameras, raw or compressed, whole or broken messages."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from small_network import picture

from sphinx_ros.bags.bag_kinds import type_store

START = 1_700_000_000 * 10**9
RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


def header(stamp: int, frame: str = "camera"):
    kinds = type_store().types
    time = kinds["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    return kinds["std_msgs/msg/Header"](stamp=time, frame_id=frame)


def raw_image(rgb: np.ndarray, stamp: int, **changed):
    """A sensor_msgs/Image of a picture; fields may be given other values."""
    fields = {
        "header": header(stamp), "height": rgb.shape[0], "width": rgb.shape[1],
        "encoding": "rgb8", "is_bigendian": 0, "step": 3 * rgb.shape[1], "data": rgb.reshape(-1),
    }  # fmt: skip
    return type_store().types[RAW](**{**fields, **changed})


def compressed_image(rgb: np.ndarray, stamp: int):
    """The same as PNG, which loses nothing."""
    data = cv2.imencode(".png", rgb[:, :, ::-1])[1].ravel()
    return type_store().types[COMPRESSED](header=header(stamp), format="png", data=data)


def write_bag(folder: Path, topics: dict, storage: StoragePlugin = StoragePlugin.MCAP) -> Path:
    """A bag. topics: name -> list of (ns, message or bytes), of one type each.

    Bytes are of a picture message of the type that the name's suffix says.
    """
    store = type_store()
    rows = []
    with Writer(folder, version=9, storage_plugin=storage) as writer:
        for name, messages in topics.items():
            kind = next(
                (m.__msgtype__ for _, m in messages if not isinstance(m, bytes)),
                COMPRESSED if name.endswith("compressed") else RAW,
            )
            line = writer.add_connection(name, kind, typestore=store)
            rows += [(log, line, message) for log, message in messages]
        for log, line, message in sorted(rows, key=lambda row: row[0]):
            raw = message
            if not isinstance(message, bytes):
                raw = store.serialize_cdr(message, line.msgtype)
            writer.write(line, log, raw)
    return folder


def shortened_bag(folder: Path, topics: dict, shorter: dict) -> Path:
    """A bag whose file holds less than its metadata.yaml counts."""
    whole = write_bag(folder, topics)
    (made,) = write_bag(folder.with_suffix(".short"), shorter).glob("*.mcap")
    made.replace(next(whole.glob("*.mcap")))
    return whole


def film(count: int, make=raw_image, rate: float = 10.0, first: int = 0) -> list:
    """Pictures of one camera, of 64x48, at a rate in 1/s."""
    stamps = [START + round(i * 1e9 / rate) for i in range(count)]
    return [(s, make(picture(64, 48, first + i), s)) for i, s in enumerate(stamps)]


def read_bag(path: Path, below: str = "") -> dict[str, list]:
    """Topic -> [(ns, message)] of all topics whose names begin so."""
    found: dict[str, list] = {}
    with Reader(path) as reader:
        lines = [line for line in reader.connections if line.topic.startswith(below)]
        for line, log, raw in reader.messages(lines):
            message = type_store().deserialize_cdr(raw, line.msgtype)
            found.setdefault(line.topic, []).append((log, message))
    return found


def raw_messages(path: Path) -> list[tuple[str, int, bytes]]:
    """(topic, ns, bytes) of all messages."""
    with Reader(path) as reader:
        return [(line.topic, log, bytes(raw)) for line, log, raw in reader.messages()]
