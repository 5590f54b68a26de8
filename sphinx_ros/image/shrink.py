"""A picture -> its padded square at the model's size, without making the large square.

Pillow resizes along x, rounds to 8 bits, then resizes along y (``src/libImaging/Resample.c``).
Here Pillow does the longer side. Along the padded side only the lines that see the picture are
summed, with the integer weights that Pillow would use. The numbers are those of padding first;
time and memory follow the number of pixels.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from sphinx_ros.image.letterbox import PADDING, Letterbox, checked_picture

ONE = float(1 << 22)
"""The weights of a line have this sum: Pillow keeps 22 bits (``PRECISION_BITS``)."""

PILLOW_SIDE = 8_000_000
"""Pixels; Pillow's weights take 32 bytes for each pixel of a side, and are used up to here."""

GROUP = 8
"""Lines of the result that are summed in one matrix product, at most."""

BLOCK = 1 << 22
"""Samples that are held as float64 at a time."""


def shrunk_square(rgb: np.ndarray, size: int) -> np.ndarray:
    """``pad_to_square`` and Pillow's bicubic resize of the square, bit for bit.

    Args:
        rgb: [H, W, 3] uint8, any aspect ratio.
        size: side of the result in pixels.

    Returns:
        [size, size, 3] uint8.

    Raises:
        BadImage: ``rgb`` is not a non-empty [H, W, 3] uint8 array.
    """
    rgb = checked_picture(rgb)
    height, width = rgb.shape[:2]
    place = Letterbox.of(width, height)
    if width == height:
        return _resized(rgb, size, size)
    square = np.empty((size, size, 3), np.uint8)
    square[:] = PADDING
    if width > height:
        rows = _rows_that_see(place.y_origin, height, place.side, size)
        lines = _resized(rgb, size, height).reshape(height, -1)
        made = _across(lines, place.y_origin, place.side, size, rows)
        square[rows] = made.reshape(-1, size, 3)
    else:
        columns = _rows_that_see(place.x_origin, width, place.side, size)
        band = np.empty((height, len(columns), 3), np.uint8)
        step = max(1, BLOCK // (3 * width))
        for top in range(0, height, step):
            part = rgb[top : top + step]
            lines = part.transpose(1, 0, 2).reshape(width, -1)
            made = _across(lines, place.x_origin, place.side, size, columns)
            band[top : top + step] = made.reshape(-1, len(part), 3).transpose(1, 0, 2)
        square[:, columns] = _resized(band, len(columns), size)
    return square


def _resized(rgb: np.ndarray, width: int, height: int) -> np.ndarray:
    """[H, W, 3] uint8 -> [height, width, 3], by Pillow where its table of weights is small."""
    if max(rgb.shape) > PILLOW_SIDE:
        if rgb.shape[1] > rgb.shape[0]:
            return _resized(rgb.transpose(1, 0, 2), height, width).transpose(1, 0, 2)
        made = _across(rgb.reshape(len(rgb), -1), 0, len(rgb), height, np.arange(height))
        return made.reshape(height, width, 3)
    picture = Image.fromarray(np.ascontiguousarray(rgb))
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))


def _reach(side: int, size: int, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Centre, first and end of the source lines that lines of the result are made of."""
    scale = float(np.float32(side)) / size  # Pillow keeps the size of the source as a float
    support = 2.0 * max(scale, 1.0)
    centre = (rows + 0.5) * scale
    low = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    high = np.minimum((centre + support + 0.5).astype(np.int64), side)
    return centre, low, high


def _rows_that_see(before: int, length: int, side: int, size: int) -> np.ndarray:
    """Indices of the lines of the result that are not padding alone."""
    rows = np.arange(size)
    _, low, high = _reach(side, size, rows)
    return rows[(low < before + length) & (high > before)]


def _weights(side: int, size: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First source line [N] and weights [N, K] (whole numbers) of lines of the result."""
    centre, low, high = _reach(side, size, rows)
    at = low[:, None] + np.arange((high - low).max())
    x = np.abs((at - centre[:, None] + 0.5) * (1.0 / max(float(np.float32(side)) / size, 1.0)))
    near = ((1.5 * x - 2.5) * x) * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    weights[at >= high[:, None]] = 0.0
    weights /= np.add.accumulate(weights, axis=1)[:, -1:]  # summed in Pillow's order
    return low, np.trunc(weights * ONE + np.copysign(0.5, weights))


def _across(lines: np.ndarray, before: int, side: int, size: int, rows: np.ndarray) -> np.ndarray:
    """[N, M] uint8, ``before`` padding lines, lines of picture, padding -> [rows, M] uint8.

    M is a multiple of 3: RGB after RGB. All sums are whole numbers below 2**53, so float64 holds
    them exactly in any order.
    """
    outside = np.resize(np.asarray(PADDING, np.float64), lines.shape[1])
    made = np.empty((len(rows), lines.shape[1]), np.uint8)
    group = max(1, min(GROUP, BLOCK * size // (4 * side)))
    for start in range(0, len(rows), group):
        low, weights = _weights(side, size, rows[start : start + group])
        at = low[:, None] - before + np.arange(weights.shape[1])
        inside = (at >= 0) & (at < len(lines))
        first, end = at[inside].min(), at[inside].max() + 1
        matrix = np.zeros((len(weights), end - first))
        matrix[np.nonzero(inside)[0], at[inside] - first] = weights[inside]
        padding = weights.sum(axis=1) - matrix.sum(axis=1)
        total = matrix @ lines[first:end].astype(np.float64) + padding[:, None] * outside
        made[start : start + group] = np.clip(np.floor(total / ONE + 0.5), 0, 255)
    return made
