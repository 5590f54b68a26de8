"""Bad and odd inputs of `bench/soak.py`: pictures of broken drivers, words, parameters."""

from __future__ import annotations

import array
import random
from typing import Any

import numpy as np

from sphinx_ros.ros import messages as m

PIXELS = bytes(range(256)) * 4

WORDS = (
    "",
    " \t",
    "x" * 100_000,
    "\x00\x01\x1b[2J\x7f",
    "mug\nmug\r\nmug",
    "\U0001f916" * 300,
    "<s>",
)

GOOD = ("the red mug", "the person", "mug", "the blue ball", "how many objects are there?")

LINES = (
    ["detect: objects"],
    ["pose", "ground: the red mug"],
    [],
    ["make coffee"],
    ["detect:"],
    ["x" * 5000],
)

PARAMETERS: tuple[tuple[str, Any], ...] = (
    ("max_rate", 5.0),
    ("max_rate", -1.0),
    ("max_rate", float("nan")),
    ("front.max_rate", 2.0),
    ("default_timeout", 30.0),
    ("default_timeout", 1e300),
    ("max_new_tokens", 64),
    ("max_new_tokens", -5),
    ("max_new_tokens", 0),
    ("marker_depth", "far"),
    ("queries", ["bogus"]),
    ("front.queries", ["detect: objects"]),
    ("checkpoint", "other"),
    ("max_pending", 3),
    ("image_bits", 99),
    ("no_such_parameter", 1),
    ("max_image_age", 5.0),
)


def malformed(draw: random.Random) -> m.Image:
    """A picture as a broken driver sends it."""
    fields: dict[str, Any] = draw.choice(
        (
            dict(width=16, height=16, encoding="rgb8", step=5),
            dict(width=16, height=16, encoding="rgb8", step=4_000_000_000),
            dict(width=400, height=400, encoding="rgb8", step=1200),
            dict(width=16, height=16, encoding="no such thing", step=48),
            dict(width=16, height=16, encoding="", step=48),
            dict(width=0, height=0, encoding="rgb8", step=0),
            dict(width=20_000, height=20_000, encoding="rgb8", step=60_000),
            dict(width=2**32 - 1, height=2**32 - 1, encoding="mono8", step=0),
            dict(width=3, height=3, encoding="yuv422_yuy2", step=6),
            dict(width=1, height=1, encoding="bayer_rggb8", step=1),
        )
    )
    return m.Image(data=array.array("B", PIXELS), **fields)


def nothing_known() -> m.Image:
    """A depth picture of NaN alone: well-formed, and black."""
    data = np.full((16, 16), np.nan, "<f4").tobytes()
    return m.Image(width=16, height=16, encoding="32FC1", step=64, data=array.array("B", data))
