"""Camera bytes to RGB: the fields of an image message in, [H, W, 3] uint8 out.

Knows no ROS and no model. Every encoding that `sensor_msgs/image_encodings` names for colour,
grey, Bayer and YUV pictures is read here, so that cv_bridge, which breaks with NumPy 2, is not
needed.
"""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np

from sphinx_ros.errors import BadImage
from sphinx_ros.image import jpeg, png, yuv
from sphinx_ros.image.buffers import as_bytes, by_rows, rows, sized_bytes
from sphinx_ros.image.jpeg_damage import check_undamaged
from sphinx_ros.image.picture_size import MAX_PIXELS, SAMPLE_BITS

# name: (channels, numpy dtype of one sample, where red, green and blue stand in a pixel)
_PACKED = {
    "rgb8": (3, "u1", (0, 1, 2)),
    "rgba8": (4, "u1", (0, 1, 2)),
    "bgr8": (3, "u1", (2, 1, 0)),
    "bgra8": (4, "u1", (2, 1, 0)),
    "rgb16": (3, "u2", (0, 1, 2)),
    "rgba16": (4, "u2", (0, 1, 2)),
    "bgr16": (3, "u2", (2, 1, 0)),
    "bgra16": (4, "u2", (2, 1, 0)),
    "mono8": (1, "u1", (0, 0, 0)),
    "mono16": (1, "u2", (0, 0, 0)),
    # OpenCV's names say nothing about colour; cv_bridge's users mean BGR by them.
    "8uc1": (1, "u1", (0, 0, 0)),
    "8uc3": (3, "u1", (2, 1, 0)),
    "8uc4": (4, "u1", (2, 1, 0)),
    "16uc3": (3, "u2", (2, 1, 0)),
    "16uc4": (4, "u2", (2, 1, 0)),
}
_STRETCHED = {"16uc1": "u2", "32fc1": "f4"}  # mostly depth: shown from its nearest to its farthest
_BAYER = {  # ROS names the upper left 2x2 of the sensor, OpenCV the 2x2 one row and column later
    "bayer_rggb": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg": cv2.COLOR_BayerGB2RGB,
}

ENCODINGS = (
    *_PACKED,
    *_STRETCHED,
    *(f"{name}{bits}" for name in _BAYER for bits in (8, 16)),
    *yuv.ENCODINGS,
)
"""All that :func:`decode_image` reads; upper and lower case are the same."""


def decode_image(
    data: Any,
    width: int,
    height: int,
    encoding: str,
    step: int = 0,
    is_bigendian: bool = False,
    *,
    max_pixels: int = MAX_PIXELS,
    bits: int = 0,
) -> np.ndarray:
    """RGB picture [height, width, 3] uint8 from the plain fields of a sensor_msgs/Image.

    data: row after row, as anything that :func:`sphinx_ros.image.buffers.as_bytes` reads. step:
    bytes from one row to the next, padding included; 0 means no padding. is_bigendian: byte order
    of 16- and 32-bit samples. bits: how many of a 16-bit sample's bits the camera fills, 8 to 16,
    so that the brightest value is 2**bits - 1; 0 means all 16. It concerns mono16, Bayer and
    colour of 16 bits; see :func:`filled_bits`. YUV is read as BT.601 with video range, as cameras
    send it. 16UC1 and 32FC1 are scaled from the smallest to the largest valid value (not 0, not
    NaN, not infinite) of the picture, the rest black.

    For rgb8 and bgr8 the result is a view of `data`, padded rows and all: read it, don't write it.

    Raises:
        BadImage: with the value, the limit and a remedy.
    """
    buffer = sized_bytes(data, width, height, max_pixels)
    name = encoding.strip().lower()
    if name in _STRETCHED:
        kind = _STRETCHED[name]
        values = rows(buffer, width, height, 1, kind, step, name, is_bigendian)[:, :, 0]
        return _grey(_stretch(values))
    if name in yuv.ENCODINGS:
        return yuv.yuv(buffer, width, height, step, name)
    samples = _samples(buffer, width, height, name, step, is_bigendian)
    if samples is None:
        raise BadImage(
            f"the encoding {encoding!r} is not known; it must be one of {', '.join(ENCODINGS)}: "
            "set it in the camera's driver or convert the topic"
        )
    if name.startswith("bayer_"):
        return _bayer(samples[:, :, 0], name[:10], bits)
    return _pick(_eight_bits(samples, bits), _PACKED[name][2])


def decode_compressed(
    data: Any, format: str = "", *, max_pixels: int = MAX_PIXELS, bits: int = 0
) -> np.ndarray:
    """RGB picture [H, W, 3] uint8 from the bytes of a JPEG or PNG file.

    format: the field of a sensor_msgs/CompressedImage, such as "jpeg" or
    "rgb8; jpeg compressed bgr8"; the first half says what a single channel means (Bayer, 16 bits),
    the second, of a PNG, in which order its writer gave the channels to the compressor. A JPEG
    says itself what is red. bits: see :func:`decode_image`. An EXIF orientation is not applied, so
    that pixels stay the camera's own.

    Raises:
        BadImage: no JPEG or PNG, too large, cut off or damaged.
    """
    buffer = as_bytes(data)
    original, _, stored = format.lower().partition(";")
    if "compresseddepth" in stored.replace(" ", ""):
        raise BadImage(
            f"the format {format!r} is a compressed depth picture; "
            "subscribe to the camera's colour topic"
        )
    if buffer[:2].tobytes() == jpeg.START:
        picture, rgb = _jpeg(buffer.tobytes(), max_pixels), (0, 1, 2)
    elif buffer[:8].tobytes() == png.START:
        picture = _png(buffer.tobytes(), max_pixels)
        # OpenCV gives what a file holds as blue, green, red. ROS 1's image_transport handed PNGs
        # over in red, green, blue order, and says "compressed rgb8".
        rgb = (0, 1, 2) if re.search(r"compressed rgb", stored) else (2, 1, 0)
    else:
        raise BadImage(
            f"compressed data with the format {format!r} is neither JPEG nor PNG: "
            "set image_transport's format parameter to jpeg or png, or subscribe to the raw topic"
        )
    if picture.ndim == 3:
        return _pick(_eight_bits(picture, bits), rgb)
    height, width = picture.shape
    name = _single_channel(original.strip(), picture.dtype == np.uint16)
    return decode_image(picture, width, height, name, max_pixels=max_pixels, bits=bits)


def filled_bits(
    data: Any,
    width: int,
    height: int,
    encoding: str,
    step: int = 0,
    is_bigendian: bool = False,
) -> int:
    """How many bits of its 16-bit samples a picture fills: those of its largest value.

    10, 12 or 14 says that the camera has so many, and that ``bits`` of :func:`decode_image` should
    be set: the picture is nearly black without. 0 for encodings that ``bits`` does not concern.

    Raises:
        BadImage: the fields don't fit together.
    """
    name = encoding.strip().lower()
    samples = _samples(as_bytes(data), width, height, name, step, is_bigendian)
    if samples is None or samples.dtype.itemsize == 1:
        return 0
    return int(samples[:, :, :3].max()).bit_length()


def _samples(
    buffer: np.ndarray, width: int, height: int, name: str, step: int, is_bigendian: bool
) -> np.ndarray | None:
    """[height, width, channels] view of a packed or Bayer picture; None for other encodings."""
    if name in _PACKED:
        channels, dtype, _ = _PACKED[name]
    elif name.startswith("bayer_") and name in ENCODINGS:
        channels, dtype = 1, "u1" if name.endswith("8") else "u2"
    else:
        return None
    return rows(buffer, width, height, channels, dtype, step, name, is_bigendian)


def _jpeg(data: bytes, max_pixels: int) -> np.ndarray:
    """[H, W, 3] RGB or [H, W], uint8."""
    file = jpeg.read_jpeg(data, max_pixels)
    pixels = file.pixels()
    check_undamaged(file, pixels)
    return pixels


def _png(data: bytes, max_pixels: int) -> np.ndarray:
    """[H, W, 3 or 4] blue, green, red or [H, W], uint8 or uint16."""
    file = png.read_png(data, max_pixels)
    picture = cv2.imdecode(np.frombuffer(file.content, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.shape[:2] != (file.height, file.width):
        raise BadImage(f"the PNG of {len(data)} bytes is not a readable picture: it is damaged")
    return picture


def _single_channel(original: str, deep: bool) -> str:
    """The encoding of a file of one channel; the file's own depth decides."""
    usual = "mono16" if deep else "mono8"
    known = original.startswith("bayer_") or original in ("16uc1", "mono16", "mono8", "8uc1")
    fits = original in ENCODINGS and deep == original.endswith(("16", "16uc1"))
    return original if known and fits else usual


def _pick(pixels: np.ndarray, rgb: tuple[int, int, int]) -> np.ndarray:
    """Red, green and blue of each pixel, as a view where the order allows it."""
    if rgb == (0, 1, 2):
        return pixels[:, :, :3]
    if rgb == (2, 1, 0):
        return pixels[:, :, 2::-1]
    return np.repeat(pixels, 3, axis=2)


def _eight_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    """0..2**bits - 1 to 0..255, rounded; 8-bit pixels pass unchanged."""
    if pixels.dtype.itemsize == 1:
        return pixels
    low, high = SAMPLE_BITS
    if bits != 0 and not low <= bits <= high:
        raise BadImage(f"{bits} bits of a sample; give {low} to {high}, or 0 for all")
    brightest = 2 ** (bits or high) - 1

    def scaled(part: np.ndarray) -> np.ndarray:
        level = np.minimum(part.astype(np.uint32), brightest)
        return (level * 255 + brightest // 2) // brightest

    return by_rows(pixels, scaled)


def _grey(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _stretch(values: np.ndarray) -> np.ndarray:
    """[H, W] of any range to uint8: valid values from 1 to 255, invalid ones 0.

    In float64: the distance between two float32 may be too large, or too small, for a float32.
    """
    valid = np.isfinite(values) & (values != 0)
    if not valid.any():
        return np.zeros(values.shape, np.uint8)
    shown = values[valid]
    low = float(shown.min())
    span = float(shown.max()) - low or 1.0  # 1: all are the same

    def scaled(part: np.ndarray) -> np.ndarray:
        seen = np.isfinite(part) & (part != 0)
        level = (np.where(seen, part.astype(np.float64), low) - low) / span * 254 + 1
        return np.where(seen, np.rint(level), 0)

    return by_rows(values, scaled)


def _bayer(mosaic: np.ndarray, pattern: str, bits: int) -> np.ndarray:
    if min(mosaic.shape) < 2:
        raise BadImage(f"a Bayer picture of {mosaic.shape[1]}x{mosaic.shape[0]} has no 2x2 cell")
    native = np.ascontiguousarray(mosaic, mosaic.dtype.newbyteorder("="))
    return _eight_bits(cv2.cvtColor(native, _BAYER[pattern]), bits)
