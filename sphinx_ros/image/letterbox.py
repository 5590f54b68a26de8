"""Picture size -> the centred square the model sees, and points back again. Knows no model.

SPHINX pads a picture to a square of its longer side before it scales it (official code,
``accessory/data/transform.py``); every coordinate the model reads or writes is a fraction of that
square. The picture sits in the middle, half a pixel up or left where the padding is odd.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sphinx_ros.errors import BadImage

PADDING = (122, 116, 104)
"""RGB of the border: the mean of CLIP's training pictures times 255, rounded down."""


@dataclass(frozen=True)
class Letterbox:
    """Where a picture of ``width`` x ``height`` pixels lies in its square.

    side: edge of the square in source pixels. x_origin, y_origin: pixels between the square's
    upper left corner and the picture's.
    """

    width: int
    height: int
    side: int
    x_origin: int
    y_origin: int

    @classmethod
    def of(cls, width: int, height: int) -> Letterbox:
        """The letterbox of a picture size in pixels.

        Raises:
            BadImage: a side is smaller than one pixel.
        """
        if width < 1 or height < 1:
            raise BadImage(
                f"picture size {width} x {height} px: both sides must be at least 1 px; "
                "pass a picture with pixels in it"
            )
        side = max(width, height)
        return cls(width, height, side, (side - width) // 2, (side - height) // 2)

    def to_source(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Fractions of the square -> source pixels, not clipped. Numbers or arrays, float out."""
        return x * self.side - self.x_origin, y * self.side - self.y_origin

    def to_square(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Source pixels -> fractions of the square, not clipped. Numbers or arrays, float out."""
        return (x + self.x_origin) / self.side, (y + self.y_origin) / self.side

    def box_to_square(self, box: Sequence[float]) -> tuple[float, float, float, float]:
        """A box (x0, y0, x1, y1) in source pixels -> the same in fractions of the square."""
        x0, y0, x1, y1 = box
        return (*self.to_square(x0, y0), *self.to_square(x1, y1))

    def box_to_source(self, box: Sequence[float]) -> tuple[float, float, float, float]:
        """A box (x0, y0, x1, y1) in fractions of the square -> source pixels, not clipped."""
        x0, y0, x1, y1 = box
        return (*self.to_source(x0, y0), *self.to_source(x1, y1))


def checked_picture(rgb: np.ndarray) -> np.ndarray:
    """The array itself, if it is a picture.

    Raises:
        BadImage: it is not [H, W, 3] uint8 or holds no pixel.
    """
    if not isinstance(rgb, np.ndarray):  # None is what OpenCV's imread gives for a missing file
        raise BadImage(f"the picture is {type(rgb).__name__}, need an array [H, W, 3] uint8 RGB")
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise BadImage(
            f"picture array of shape {rgb.shape} and type {rgb.dtype}: need [H, W, 3] uint8 RGB; "
            "convert it first"
        )
    Letterbox.of(rgb.shape[1], rgb.shape[0])
    return rgb


def pad_to_square(rgb: np.ndarray) -> np.ndarray:
    """[H, W, 3] uint8 RGB -> [S, S, 3] uint8 RGB, S = max(H, W), border in :data:`PADDING`.

    Memory grows with S * S; :func:`sphinx_ros.image.shrink.shrunk_square` gives the square at the
    model's size without that.

    Raises:
        BadImage: the array is not [H, W, 3] uint8 or holds no pixel.
    """
    height, width = checked_picture(rgb).shape[:2]
    place = Letterbox.of(width, height)
    if width == height:
        return np.ascontiguousarray(rgb)
    square = np.empty((place.side, place.side, 3), np.uint8)
    square[:] = PADDING
    square[place.y_origin : place.y_origin + height, place.x_origin : place.x_origin + width] = rgb
    return square
