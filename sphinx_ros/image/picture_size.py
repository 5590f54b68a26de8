"""How large a picture may be, and how deep its samples are, for every door. Knows no format."""

from __future__ import annotations

from sphinx_ros.errors import BadImage

MAX_PIXELS = 64_000_000
"""Largest picture that is decoded unless the caller says otherwise, pixels."""

SAMPLE_BITS = (8, 16)
"""How few and how many bits of a 16-bit sample a camera may fill."""


class TooManyPixels(BadImage):
    """The picture is larger than the limit. Nothing was allocated for it."""


def checked_size(width: int, height: int, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(width, height) in pixels, before anything is allocated for them.

    Raises:
        TooManyPixels: there are more pixels than the limit.
        BadImage: a side is below one pixel.
    """
    if width <= 0 or height <= 0:
        raise BadImage(f"the picture is {width}x{height}; both sides must be at least 1 pixel")
    if width * height > max_pixels:
        raise TooManyPixels(
            f"the picture has {width}x{height} = {width * height} pixels; the limit is "
            f"{max_pixels}: let the camera send smaller ones or raise max_image_pixels"
        )
    return width, height
