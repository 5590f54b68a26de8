"""Depth bytes to metres: the fields of a depth message in, distances of any cut-out out.

Depth is the distance along the optical axis, as REP 118 has it: 32FC1 in metres, with NaN or
infinity where nothing was measured, and 16UC1 in millimetres, with 0 there. Knows no ROS and no
model.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sphinx_ros.errors import BadImage
from sphinx_ros.image.buffers import rows, sized_bytes
from sphinx_ros.image.picture_size import MAX_PIXELS

_ENCODINGS = {
    "32fc1": ("f4", 1.0),
    "16uc1": ("u2", 1e-3),
    "mono16": ("u2", 1e-3),  # what some drivers call 16UC1
}
"""Name -> type of one sample, metres of its unit."""

ENCODINGS = tuple(_ENCODINGS)
"""All that :class:`DepthPicture` reads; upper and lower case are the same."""

FARTHEST = 1000.0
"""Metres beyond which a number is taken for no measurement: farther than depth cameras and lidars
reach. REP 117 has infinity for what is too far away."""

ASPECT_SLACK = 0.01
"""How far the aspect of a depth picture may be off that of the picture that it belongs to."""


class DepthPicture:
    """A depth message's samples; only what is asked for becomes metres.

    Args:
        data: bytes, bytearray, array.array, ndarray or any other buffer, which is not copied.
        step: bytes from one row to the next, padding included; 0 means no padding.
        is_bigendian: byte order of the samples.

    Raises:
        BadImage: with the value, the limit and a remedy.
    """

    def __init__(
        self,
        data: Any,
        width: int,
        height: int,
        encoding: str,
        step: int = 0,
        is_bigendian: bool = False,
        *,
        max_pixels: int = MAX_PIXELS,
    ):
        name = encoding.strip().lower()
        if name not in _ENCODINGS:
            raise BadImage(
                f"the encoding {encoding!r} is no depth; it must be 32FC1 (metres) or 16UC1 "
                "(millimetres): take the topic of the depth picture, not of its colours"
            )
        kind, self._unit = _ENCODINGS[name]
        buffer = sized_bytes(data, width, height, max_pixels)
        self.width, self.height = width, height
        samples = rows(buffer, width, height, 1, kind, step, name, is_bigendian)
        self._samples = samples[:, :, 0]

    def check_range(self) -> None:
        """Raises BadImage: most of what was measured lies beyond :data:`FARTHEST`."""
        sampled = self._samples[:: self.height // 32 or 1, :: self.width // 32 or 1]
        values = sampled.astype(np.float64) * self._unit
        known = values[np.isfinite(values) & (values > 0)]
        if known.size and (middle := float(np.median(known))) > FARTHEST:
            raise BadImage(
                f"the depth is {middle:.3g} m in the median; up to {FARTHEST:g} m is believed: "
                "32FC1 is in metres, millimetres are sent as 16UC1"
            )

    def check_fits(self, width: int, height: int) -> None:
        """Raises BadImage: its shape is not that of a picture of these sides, scaled or not."""
        if abs(self.width * height / (self.height * width) - 1) > ASPECT_SLACK:
            raise BadImage(
                f"the depth is {self.width}x{self.height} and the picture {width}x{height}; they "
                "must show the same: take depth that is registered to the picture "
                "(depth_image_proc register, align_depth)"
            )

    def metres(self, top: int, bottom: int, left: int, right: int, most: int = 0) -> np.ndarray:
        """[n, m] float32 distances of a cut-out, NaN where nothing was measured up to FARTHEST.

        Rows top to bottom and columns left to right, each without the last, clipped to the
        picture; [0, 0] where nothing of it is inside. most: samples along a side; of a larger
        cut-out evenly spread ones are taken. 0: all.
        """
        top, left = max(top, 0), max(left, 0)
        cut = self._samples[top : max(bottom, top), left : max(right, left)]
        if most:
            cut = cut[:: -(-cut.shape[0] // most) or 1, :: -(-cut.shape[1] // most) or 1]
        values = cut.astype(np.float32) * np.float32(self._unit)
        values[~((values > 0) & (values <= FARTHEST))] = np.nan  # NaN, too
        return values
