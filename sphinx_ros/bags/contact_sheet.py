"""Small pictures with things marked and words below -> one sheet of them, in rows."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from sphinx_ros.draw import draw
from sphinx_ros.types import Detection

WIDTH = 320
"""Of a picture on the sheet, px."""

GAP = 8
"""Between pictures, px."""

PAPER = 245
"""Grey of the sheet."""

LETTERS = 0.5
"""Size of the letters, see :func:`sphinx_ros.draw.draw`."""


@dataclass(frozen=True)
class Tile:
    """A picture on the sheet. rgb: [H, 320, 3] uint8. scale: of it against the original."""

    rgb: np.ndarray
    scale: float

    @classmethod
    def of(cls, rgb: np.ndarray) -> Tile:
        """Make a picture [H, W, 3] uint8 small."""
        height, width = rgb.shape[:2]
        scale = WIDTH / width
        size = WIDTH, max(1, round(height * scale))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        return cls(cv2.resize(rgb, size, interpolation=how), scale)

    def drawn(self, found: Detection, captions: Sequence[str]) -> np.ndarray:
        """[H', 320, 3] uint8: with a thing marked, and lines of words below.

        found: its box is in pixels of the original.
        """
        x0, y0, x1, y1 = (side * self.scale for side in found.box)
        small = Detection(found.label, (x0, y0, x1, y1), found.score)
        return draw(self.rgb, [small], captions=captions, scale=LETTERS)


class Best:
    """The small pictures with the best scores; no more are kept, however long a recording is.

    most: how many. Attributes: tiles: by the keys that they were given.
    """

    def __init__(self, most: int):
        self._most = most
        self._scores: dict[Hashable, float] = {}
        self.tiles: dict[Hashable, Tile] = {}

    def add(self, key: Hashable, score: float, rgb: np.ndarray) -> None:
        """A picture [H, W, 3] uint8, in place of an earlier one of the same key."""
        self._scores[key], self.tiles[key] = score, Tile.of(rgb)
        if len(self.tiles) > self._most:
            worst = min(self._scores, key=self._scores.__getitem__)
            del self._scores[worst], self.tiles[worst]


def sheet(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """The pictures [H, 320, 3] uint8, in about as many rows as columns."""
    columns = max(1, math.ceil(math.sqrt(len(tiles))))
    rows = [tiles[at : at + columns] for at in range(0, len(tiles), columns)]
    width = GAP + sum(GAP + WIDTH for _ in rows[0])
    heights = [max(one.shape[0] for one in row) for row in rows]
    paper = np.full((GAP + sum(GAP + high for high in heights), width, 3), PAPER, np.uint8)
    top = GAP
    for row, high in zip(rows, heights, strict=True):
        for column, one in enumerate(row):
            left = GAP + column * (GAP + WIDTH)
            paper[top : top + one.shape[0], left : left + one.shape[1]] = one
        top += high + GAP
    return paper
