"""A camera's pictures -> whether one shows what the last picture looked at did not.

A picture shows something new where a block of it differs from the same block of the picture looked
at by more than the camera's noise (:mod:`sphinx_ros.image.camera_noise`), in blocks of three
sizes: small things of high contrast, large faint ones. The limit follows from the probability of
a false alarm, shared among all blocks of a picture. Slow changes add up, since the picture looked
at stays the measure until the next look. Knows no model and no ROS.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from sphinx_ros.image.camera_noise import BLOCKS, Blocks, Noise, gain
from sphinx_ros.image.letterbox import checked_picture

FLICKER = 0.05
"""Part of the brightness by which a whole channel may rise or fall, as lamps make it."""

MOST = 512
"""Cells along the longer side from which a picture is not divided further, whatever the model
sees: the pixels of a model of larger squares are compared in pairs or triples."""

FIRST, SIZE, AGE, LIGHT, CHANGE = "first", "size", "age", "light", "change"
"""Reasons for a look, as :meth:`Still.reason` gives them."""


class Still:
    """The pictures of one camera, in order. Not for several threads at a time.

    side: edge in pixels of the padded square that the model sees, its crops included
    (``ModelConfig.image_size``). seconds: age of the picture looked at from which a look is due
    whatever is seen; 0: never.
    """

    def __init__(self, side: int, seconds: float = 0.0):
        self.seconds = seconds
        self._side = min(side, MOST)
        self._noise = Noise()
        self._last: tuple[Blocks, float] | None = None
        self._looked: tuple[Blocks, float] | None = None

    def reason(self, rgb: np.ndarray, at: float) -> str:
        """Why the next picture needs a look, "" where it shows nothing new.

        rgb: [H, W, 3] uint8. at: seconds on any clock that only goes forward.

        Raises:
            BadImage: it is no picture.
        """
        blocks = reduced(checked_picture(rgb), self._side)
        self._last = blocks, at
        self._noise.add(blocks)
        if self._looked is None:
            return FIRST
        looked, when = self._looked
        if looked.size != blocks.size:
            return SIZE
        if self.seconds and at - when >= self.seconds:
            return AGE
        return self._difference(looked, blocks)

    def looked(self) -> None:
        """Take the picture given last as the one looked at."""
        self._looked = self._last

    def forget(self) -> None:
        """Have the next picture looked at: other questions are asked, say."""
        self._looked = None

    def _difference(self, looked: Blocks, blocks: Blocks) -> str:
        brighter = gain(looked, blocks)
        far = np.abs(brighter - 1)
        if far.max() > FLICKER:
            return LIGHT
        # A lamp's flicker reaches different things, and saturated pixels, to different degrees.
        slack = far[:, None] * np.arange(256)
        limits = self._noise.limits()
        for old, new, limit in zip(looked.levels, blocks.levels, limits, strict=True):
            if _exceeds(old, new, brighter, limit + slack):
                return CHANGE
        return ""


def reduced(rgb: np.ndarray, side: int) -> Blocks:
    """A picture as blocks whose smallest are no larger than a pixel of a square of that side.

    rgb: [H, W, 3] uint8, not empty. Blocks at the right and lower border repeat the border.
    """
    height, width = rgb.shape[:2]
    backwards = rgb.strides[2] < 0  # blue, green, red: turned when it is small
    fine = _means(rgb[:, :, ::-1] if backwards else rgb, max(1, max(width, height) // side))
    fine = np.ascontiguousarray(fine[:, :, ::-1] if backwards else fine)
    levels = [fine]
    for smaller, larger in pairwise(BLOCKS):
        levels.append(_means(levels[-1].astype(np.float32), larger // smaller))
    return Blocks((width, height), tuple(levels))


def _means(picture: np.ndarray, block: int) -> np.ndarray:
    """[H, W, 3] -> [ceil(H / block), ceil(W / block), 3]."""
    if block == 1:
        return picture
    height, width = picture.shape[:2]
    below, right = -height % block, -width % block
    if below or right:
        picture = cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REPLICATE)
    size = ((width + right) // block, (height + below) // block)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _exceeds(old: np.ndarray, new: np.ndarray, factor: np.ndarray, limit: np.ndarray) -> bool:
    """Whether a block differs by more than the limit of its level. limit: [3, 256] levels."""
    if old.dtype != np.uint8:
        table = limit[np.arange(3), old.astype(np.uint8)]
        return bool((np.abs(new - old * factor.astype(np.float32)) > table).any())
    levels = np.arange(256)[:, None] * factor

    def table_of(values: np.ndarray) -> np.ndarray:
        return values.clip(0, 255).astype(np.uint8)[None]  # [1, 256, 3], as OpenCV reads it

    far = cv2.absdiff(new, cv2.LUT(old, table_of(levels.round())))
    return bool(cv2.compare(far, cv2.LUT(old, table_of(limit.T)), cv2.CMP_GT).any())
