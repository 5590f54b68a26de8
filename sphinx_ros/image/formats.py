"""A picture file of any usual format -> RGB as viewers show it. Knows no ROS and no model.

Cameras send JPEG and PNG, which :mod:`sphinx_ros.image.decode` reads; here are the other formats
that people keep pictures in, and the orientation that a file says it is to be shown in.
"""

from __future__ import annotations

import io
import re
import struct

import numpy as np
from PIL import BmpImagePlugin, Image, ImageOps, PpmImagePlugin, TiffImagePlugin

from sphinx_ros.errors import BadImage
from sphinx_ros.image import jpeg, png, webp
from sphinx_ros.image.decode import decode_compressed, decode_image
from sphinx_ros.image.overheard import overheard
from sphinx_ros.image.picture_size import MAX_PIXELS, checked_size

ORIENTATION = 0x0112
"""The EXIF and TIFF tag."""

_OTHER = (
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"II", TiffImagePlugin.TiffImageFile),
    (b"MM", TiffImagePlugin.TiffImageFile),
    (b"P", PpmImagePlugin.PpmImageFile),
)
"""How the bytes of other formats begin, and who reads them."""

TILE = 1 << 20
"""Pixels that a tile of a TIFF may have, however small the picture: 1024x1024. A tile is decoded
whole. Larger ones may have four times the pixels of the picture: a usual picture fills them."""

_TILE_WIDTH, _TILE_HEIGHT = 322, 323
"""TIFF tags."""

_LIBTIFF = re.compile(r"^(?:\w+\.tif|\w*(?:TIFF|LZW|ZIP|JPEG|Fax|Log|PackBits|ZSTD)\w*)\b.*: ")
"""Lines of libtiff: the name that Pillow gives to a file, or a function's."""

_WIDE = {"I;16": "mono16", "I;16B": "mono16", "I": "mono16", "F": "32fc1"}
"""Pillow's modes of more than 8 bits -> the encoding that says how they are shown."""

_BROKEN = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, KeyError, IndexError),
    *(struct.error, OverflowError, ZeroDivisionError, AttributeError),
    *(Image.DecompressionBombError, AssertionError, NotImplementedError, RuntimeError),
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
    if data.startswith(webp.START):
        file = webp.read_webp(data, max_pixels)
        return upright(file.pixels(), file.exif)
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
    reason = ""
    with overheard(_LIBTIFF) as said:
        try:
            picture = reader(io.BytesIO(data))
            width, height = picture.size
            checked_size(width, height, max_pixels)
            if isinstance(picture, TiffImagePlugin.TiffImageFile):
                _check_tile(picture)
            # Newer Pillows turn a TIFF upright while they load it, and then take its tag away.
            picture = ImageOps.exif_transpose(picture)
            values = np.asarray(picture if picture.mode in _WIDE else picture.convert("RGB"))
        except BadImage:
            raise
        except _BROKEN as error:
            reason = str(error) or type(error).__name__
    if reason:
        raise BadImage(f"its {len(data)} bytes can't be decoded: {said() or reason}")
    if picture.mode not in _WIDE:
        return values
    height, width = values.shape
    if picture.mode != "F":
        values = np.clip(values, 0, 65535).astype("<u2")
    return decode_image(values, width, height, _WIDE[picture.mode], max_pixels=max_pixels)


def _check_tile(picture: TiffImagePlugin.TiffImageFile) -> None:
    """Raises BadImage: a tile, which is decoded whole, is much larger than the picture."""
    wide, high = (picture.tag_v2.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_HEIGHT))
    width, height = picture.size
    limit = max(TILE, 4 * width * height)
    if wide * high > limit:
        raise BadImage(
            f"the TIFF has tiles of {wide}x{high} pixels for a picture of {width}x{height}; the "
            f"limit is {limit} pixels of a tile: write it anew with smaller ones or in strips"
        )
