"""Pictures of the recorded clip with the things in them, without ROS and without OpenCV."""

from __future__ import annotations

import io
import re

import numpy as np
from PIL import Image

from sphinx_ros.world.clip import CLIP, read_truth

JPEG = re.compile(rb"\xff\xd8\xff.*?\xff\xd9", re.DOTALL)
"""A whole JPEG file: inside it no 255 is followed by 217, as what looks like a mark is escaped."""


def recorded(number: int) -> list[tuple[np.ndarray, list[dict]]]:
    """So many pictures, [480, 640, 3] uint8 RGB, spread over the clip, each with its things:
    "kind" and "colour", as :func:`sphinx_ros.world.clip.read_truth` tells them.

    The recording is not compressed: its pictures lie in it as they are.
    """
    files, frames = JPEG.findall(CLIP.read_bytes()), read_truth()["frames"]
    if len(files) != len(frames):
        raise ValueError(f"{CLIP}: {len(files)} pictures, and {len(frames)} are described")
    chosen = np.linspace(0, len(files) - 1, number).astype(int)
    return [
        (np.asarray(Image.open(io.BytesIO(files[i])).convert("RGB")), frames[i]["objects"])
        for i in chosen
    ]


def questions(things: list[dict], number: int) -> list[str]:
    """So many lines that ask for the box of a thing that is there."""
    lines = [f"ground: the {one['colour']} {one['kind']}" for one in things]
    return (lines * -(-number // len(lines)))[:number]
