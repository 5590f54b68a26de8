"""A picture and the boxes in it -> a part of it that holds them all. Knows no picture, no text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sphinx_ros.types import Box

MOST_CUT = (0.3, 1.0)
"""Range of the largest share that a crop takes of the room beside the things, drawn for each."""

Window = tuple[int, int, int, int]
"""x0, y0, x1, y1 in source pixels, of which x1 and y1 are outside."""


def drawn_window(boxes: Sequence[Box], size: tuple[int, int], draw: np.random.Generator) -> Window:
    """A part of a picture of (width, height) pixels that holds all boxes, or of one without any
    at least half of each side.
    """
    width, height = size
    keep = np.array([width / 4, height / 4, width * 3 / 4, height * 3 / 4])
    if boxes:
        sides = np.array(boxes)
        keep = np.array([*sides[:, :2].min(0), *sides[:, 2:].max(0)])
    room = np.array([keep[0], keep[1], width - keep[2], height - keep[3]])
    left, top, right, below = (draw.random(4) * room * draw.uniform(*MOST_CUT)).astype(int)
    return int(left), int(top), int(width - right), int(height - below)
