"""A picture file of any usual format -> RGB as viewers show it. Knows no ROS and no model.

Cameras send JPEG and PNG, which :mod:`sphinx_ros.image.decode` reads; here are the other formats
that people keep pictures in, and the orientation that a file says it is to be shown in.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import BmpImagePlugin, Image, ImageOps, PpmImagePlugin, TiffImagePlugin, WebPImagePlugin

from sphinx_ros.errors import BadImage
from sphinx_ros.image import jpeg, png
from sphinx_ros.image.decode import decode_compressed, decode_image
from sphinx_ros.image.picture_size import MAX_PIXELS, checked_size

ORIENTATION = 0x0112
"""The EXIF and TIFF tag."""

_OTHER = (
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
    (b"II", TiffImagePlugin.TiffImageFile),
    (b"MM", TiffImagePlugin.TiffImageFile),
    (b"P", PpmImagePlugin.PpmImageFile),
)
"""How the bytes of other formats begin, and who reads them."""

_WIDE = {"I;16": "mono16", "I;16B": "mono16", "I": "mono16", "F": "32fc1"}
"""Pillow's modes of more than 8 bits -> the encoding that says how they are shown."""

_BROKEN = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, KeyError, IndexError),
    *(struct.error, OverflowError, ZeroDivisionError, AttributeError),
)
"""What Pillow's readers raise on damaged files."""


def decode_file(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """[H, W, 3] uint8 RGB, turned upright, of a JPEG, PNG, BMP, WebP, TIFF or PNM file.

    Raises:
        BadImage: empty, of no known format, too large, cut off or damaged.
    """
    if not data:
        raise BadImage("it is empty")
    if data.startswith(jpeg.START):
        rgb = decode_compressed(data, max_pixels=max_pixels)
        return upright(rgb, jpeg.read_jpeg(data, max_pixels).exif)
    if data.startswith(png.START):
        rgb = decode_compressed(data, max_pixels=max_pixels)
        return upright(rgb, png.read_png(data, max_pixels).exif)
    for start, reader in _OTHER:
        if data.startswith(start):
            return _other(data, reader, max_pixels)
    raise BadImage(
        f"its {len(data)} bytes are of no known format (JPEG, PNG, BMP, WebP, TIFF, PNM)"
    )


def upright(rgb: np.ndarray, exif: bytes) -> np.ndarray:
    """Turn or mirror a picture as the orientation in EXIF data says."""
    found = Image.Exif()
    try:
        found.load(exif)
        orientation = found.get(ORIENTATION, 1)
    except _BROKEN:  # EXIF that can't be read asks for nothing
        return rgb
    quarter = {3: 2, 4: 2, 5: 3, 6: 3, 7: 1, 8: 1}.get(orientation, 0)  # counter-clockwise
    turned = np.rot90(rgb, quarter)
    return np.ascontiguousarray(turned[:, ::-1] if orientation in (2, 4, 5, 7) else turned)


def _other(data: bytes, reader: type, max_pixels: int) -> np.ndarray:
    """A file by one of Pillow's readers, which is what states the size that is checked."""
    try:
        picture = reader(io.BytesIO(data))
        width, height = picture.size
        checked_size(width, height, max_pixels)
        # Newer Pillows turn a TIFF upright while they load it, and then take its tag away.
        picture = ImageOps.exif_transpose(picture)
        if picture.mode not in _WIDE:
            return np.asarray(picture.convert("RGB"))
        values = np.asarray(picture)
    except BadImage:
        raise
    except _BROKEN as error:
        raise BadImage(f"its {len(data)} bytes can't be decoded: {error}") from None
    height, width = values.shape
    if picture.mode != "F":
        values = np.clip(values, 0, 65535).astype("<u2")
    return decode_image(values, width, height, _WIDE[picture.mode], max_pixels=max_pixels)
