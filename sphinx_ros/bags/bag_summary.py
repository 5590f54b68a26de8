"""How many answers have which outcome -> a line of the bag that holds them, and back.

It stands where bags have room for words of others: in ``custom_data`` of rosbag2's metadata, which
is a record of the MCAP file. rosbags writes it, and reads that of folders only.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from sphinx_ros.errors import Status

KEY = "sphinx_ros"
"""Of the line in ``custom_data``."""

METADATA_INDEX, FOOTER = 0x0D, 0x02
"""Kinds of records of MCAP."""

FOOTER_SIZE = 9 + 20 + 8
"""Bytes: the record's kind and length, the record, and the file's last mark."""


def summary_line(statuses: Mapping[str, int]) -> str:
    """What is written: the same for the same outcomes. statuses: by their names."""
    return json.dumps({"statuses": dict(sorted(statuses.items()))})


def summary_of(path: Path) -> dict[str, int]:
    """How many answers of a bag have which outcome; {} where an MCAP file does not say it.

    Raises OSError: it can't be read.
    """
    import yaml

    with path.open("rb") as file:
        try:
            said = yaml.safe_load(_metadata(file))["custom_data"][KEY]
            counts = {str(name): int(n) for name, n in json.loads(said)["statuses"].items()}
        # of another program, or damaged
        except (struct.error, yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError):
            return {}
    return {name: count for name, count in counts.items() if name in Status.__members__}


def _metadata(file: BinaryIO) -> str:
    """rosbag2's metadata, as YAML. Raises ValueError, struct.error: there is none."""
    if file.seek(0, os.SEEK_END) < FOOTER_SIZE:
        raise ValueError("it is no MCAP file")
    file.seek(-FOOTER_SIZE, os.SEEK_END)
    kind, _, summary = struct.unpack("<BQQ", file.read(17))
    if kind != FOOTER or not summary:
        raise ValueError("it is no MCAP file, or has no summary")
    file.seek(summary)
    while True:
        kind, size = struct.unpack("<BQ", file.read(9))
        if kind == METADATA_INDEX:
            start, _ = struct.unpack("<QQ", file.read(16))
            break
        file.seek(size, os.SEEK_CUR)
    file.seek(start + 9)
    _string(file)  # the record's name
    file.read(4)  # bytes of what follows: one key with its value
    _string(file)
    return _string(file)


def _string(file: BinaryIO) -> str:
    (size,) = struct.unpack("<I", file.read(4))
    return file.read(size).decode()
