"""Camera bytes to RGB: the fields of an image message in, [H, W, 3] uint8 out.

Knows numpy and OpenCV's colour conversions, no ROS type and no model. Every encoding that
`sensor_msgs/image_encodings` names for colour, grey, Bayer and YUV pictures is read here, so that
cv_bridge, which breaks with NumPy 2, is not needed.
"""

from __future__ import annotations

import re
import struct

import cv2
import numpy as np

from sphinx_ros.errors import BadImage

MAX_PIXELS = 64_000_000
"""Largest picture that is decoded unless the caller says otherwise, pixels."""

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
_YUV422 = {
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
}
_YUV420 = {
    "nv12": cv2.COLOR_YUV2RGB_NV12,
    "nv21": cv2.COLOR_YUV2RGB_NV21,
    "i420": cv2.COLOR_YUV2RGB_I420,
}

ENCODINGS = (
    *_PACKED,
    *_STRETCHED,
    *(f"{name}{bits}" for name in _BAYER for bits in (8, 16)),
    *_YUV422,
    *_YUV420,
    "nv24",
)
"""All that :func:`decode_image` reads; upper and lower case are the same."""


def decode_image(
    data,
    width: int,
    height: int,
    encoding: str,
    step: int = 0,
    is_bigendian: bool = False,
    *,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """RGB picture [height, width, 3] uint8 from the plain fields of a sensor_msgs/Image.

    data: bytes, bytearray, array.array or ndarray, row after row. step: bytes from one row to the
    next, padding included; 0 means no padding. is_bigendian: byte order of 16- and 32-bit samples.
    YUV is read as BT.601 with video range, as cameras send it. 16-bit colour is scaled from
    0..65535; 16UC1 and 32FC1 from the smallest to the largest valid value (not 0, not NaN, not
    infinite) of the picture, the rest black.

    For rgb8 and bgr8 the result is a view of `data`, padded rows and all: read it, don't write it.
    Raises BadImage with the value, the limit and a remedy.
    """
    buffer = _as_bytes(data)
    _check_size(width, height, max_pixels)
    name = encoding.strip().lower()
    order = ">" if is_bigendian else "<"
    if name in _PACKED:
        channels, dtype, rgb = _PACKED[name]
        pixels = _rows(buffer, width, height, channels, order + dtype, step, name)
        return _eight_bits(_pick(pixels, rgb))
    if name in _STRETCHED:
        pixels = _rows(buffer, width, height, 1, order + _STRETCHED[name], step, name)
        return _grey(_stretch(pixels[:, :, 0]))
    if name.startswith("bayer_") and name in ENCODINGS:
        pattern, bits = name[:10], name[10:]
        dtype = order + ("u1" if bits == "8" else "u2")
        return _bayer(_rows(buffer, width, height, 1, dtype, step, name)[:, :, 0], pattern)
    if name in _YUV422:
        _check_even(width, 2, name)
        pixels = _rows(buffer, width, height, 2, "u1", step, name)
        return cv2.cvtColor(np.ascontiguousarray(pixels), _YUV422[name])
    if name in _YUV420:
        return _yuv420(buffer, width, height, step, name)
    if name == "nv24":
        return _nv24(buffer, width, height, step)
    raise BadImage(
        f"the encoding {encoding!r} is not known; it must be one of {', '.join(ENCODINGS)}: "
        "set it in the camera's driver or convert the topic"
    )


def decode_compressed(data, format: str = "", *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """RGB picture [H, W, 3] uint8 from the bytes of a JPEG or PNG file.

    format: the field of a sensor_msgs/CompressedImage, such as "jpeg" or
    "rgb8; jpeg compressed bgr8"; the second half says in which order the writer gave its channels
    to the compressor, the first what a single channel means (Bayer, 16 bits). An EXIF orientation
    is not applied, so that pixels stay the camera's own. Raises BadImage.
    """
    buffer = _as_bytes(data)
    original, _, stored = format.lower().partition(";")
    if "compresseddepth" in stored.replace(" ", ""):
        raise BadImage(
            f"the format {format!r} is a compressed depth picture; "
            "subscribe to the camera's colour topic"
        )
    head = buffer[: 1 << 20].tobytes()
    _check_size(*_stated_size(head, format), max_pixels)
    if head.startswith(b"\xff\xd8") and buffer.tobytes().rfind(b"\xff\xd9") < 4:
        raise BadImage(f"the JPEG of {buffer.size} bytes is cut off: it has no end marker")
    picture = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise BadImage(f"{buffer.size} bytes of format {format!r} are not a readable picture")
    height, width = picture.shape[:2]
    if picture.ndim == 2:
        name = original.strip()
        single = name.startswith("bayer_") or name in ("16uc1", "mono16", "mono8", "8uc1")
        wanted = name if single else ("mono16" if picture.dtype == np.uint16 else "mono8")
        if (picture.dtype == np.uint16) != wanted.endswith(("16", "16uc1")):
            wanted = "mono16" if picture.dtype == np.uint16 else "mono8"
        return decode_image(picture, width, height, wanted, max_pixels=max_pixels)
    # cv2 gives what a conforming file holds as blue, green, red. A writer that handed its pixels
    # over in red, green, blue order says "compressed rgb8".
    rgb = (0, 1, 2) if re.search(r"compressed rgb", stored) else (2, 1, 0)
    return _eight_bits(_pick(picture, rgb))


def _as_bytes(data) -> np.ndarray:
    """[N] uint8 view of whatever the picture came in. Raises BadImage when it is empty."""
    if isinstance(data, np.ndarray):
        buffer = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    else:
        try:
            buffer = np.frombuffer(data, np.uint8)
        except (TypeError, ValueError) as error:
            raise BadImage(f"image data of type {type(data).__name__}: {error}") from error
    if buffer.size == 0:
        raise BadImage("the picture has no data: look at the camera with `ros2 topic echo --once`")
    return buffer


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width <= 0 or height <= 0:
        raise BadImage(f"the picture is {width}x{height}; both sides must be at least 1 pixel")
    if width * height > max_pixels:
        raise BadImage(
            f"the picture has {width}x{height} = {width * height} pixels; the limit is "
            f"{max_pixels}: let the camera send smaller ones or raise max_image_pixels"
        )


def _check_even(value: int, divisor: int, name: str) -> None:
    if value % divisor:
        raise BadImage(f"{name} needs sides that are multiples of {divisor}, not {value}")


def _rows(buffer, width, height, channels, dtype, step, name) -> np.ndarray:
    """[height, width, channels] view of padded rows. Raises BadImage when they don't fit."""
    sample = np.dtype(dtype).itemsize
    tight = width * channels * sample
    step = step or tight
    if step < tight:
        raise BadImage(
            f"step is {step} bytes, but a row of {width} pixels in {name} has {tight}: "
            "the camera's driver fills the field wrongly"
        )
    _check_bytes(buffer, step * (height - 1) + tight, f"{width}x{height} {name} with step {step}")
    strides = (step, channels * sample, sample)
    return np.ndarray((height, width, channels), dtype, buffer, 0, strides)


def _check_bytes(buffer: np.ndarray, needed: int, what: str) -> None:
    if buffer.size < needed:
        raise BadImage(
            f"{what} needs {needed} bytes, but the picture has {buffer.size}: "
            "size, encoding or step is wrong"
        )


def _pick(pixels: np.ndarray, rgb: tuple[int, int, int]) -> np.ndarray:
    """Red, green and blue of each pixel, as a view where the order allows it."""
    if rgb == (0, 1, 2):
        return pixels[:, :, :3]
    if rgb == (2, 1, 0):
        return pixels[:, :, 2::-1]
    return np.repeat(pixels, 3, axis=2)


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    """0..65535 to 0..255, rounded; 8-bit pixels pass unchanged."""
    if pixels.dtype.itemsize == 1:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _grey(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _stretch(values: np.ndarray) -> np.ndarray:
    """[H, W] of any range to uint8: valid values from 1 to 255, invalid ones 0."""
    values = values.astype(np.float32)
    valid = np.isfinite(values) & (values != 0)
    if not valid.any():
        return np.zeros(values.shape, np.uint8)
    low, high = float(values[valid].min()), float(values[valid].max())
    scaled = (np.where(valid, values, low) - low) / max(high - low, 1e-12) * 254 + 1
    return np.where(valid, np.rint(scaled), 0).astype(np.uint8)


def _bayer(mosaic: np.ndarray, pattern: str) -> np.ndarray:
    if min(mosaic.shape) < 2:
        raise BadImage(f"a Bayer picture of {mosaic.shape[1]}x{mosaic.shape[0]} has no 2x2 cell")
    native = np.ascontiguousarray(mosaic, mosaic.dtype.newbyteorder("="))
    return _eight_bits(cv2.cvtColor(native, _BAYER[pattern]))


def _yuv420(buffer, width, height, step, name) -> np.ndarray:
    """A plane of brightness, then colour at half the resolution in both directions."""
    _check_even(width, 2, name)
    _check_even(height, 2, name)
    step = step or width
    if name != "i420":
        # One more half of rows of the same length holds the colour pairs.
        planes = _rows(buffer, width, height * 3 // 2, 1, "u1", step, name)
        return cv2.cvtColor(np.ascontiguousarray(planes), _YUV420[name])
    half_w, half_h, half_step = width // 2, height // 2, step // 2
    needed = step * height + half_step * (2 * half_h - 1) + half_w
    _check_bytes(buffer, needed, f"{width}x{height} {name} with step {step}")
    luma = _rows(buffer, width, height, 1, "u1", step, name)
    rest = buffer[step * height :]
    blue = _rows(rest, half_w, half_h, 1, "u1", half_step, name)
    red = _rows(rest[half_step * half_h :], half_w, half_h, 1, "u1", half_step, name)
    packed = np.concatenate([np.ascontiguousarray(p).reshape(-1) for p in (luma, blue, red)])
    return cv2.cvtColor(packed.reshape(height * 3 // 2, width), _YUV420[name])


def _nv24(buffer, width, height, step) -> np.ndarray:
    """A plane of brightness, then colour pairs at full resolution (rows of twice the step)."""
    step = step or width
    needed = step * (height + 2 * (height - 1)) + 2 * width
    _check_bytes(buffer, needed, f"{width}x{height} nv24 with step {step}")
    luma = _rows(buffer, width, height, 1, "u1", step, "nv24")[:, :, 0]
    chroma = _rows(buffer[step * height :], width, height, 2, "u1", 2 * step, "nv24")
    y = 1.164383 * np.maximum(luma.astype(np.float32) - 16, 0)
    u, v = (chroma[:, :, i].astype(np.float32) - 128 for i in (0, 1))
    rgb = np.stack([y + 1.596027 * v, y - 0.391762 * u - 0.812968 * v, y + 2.017232 * u], axis=2)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def _stated_size(head: bytes, format: str) -> tuple[int, int]:
    """(width, height) from a JPEG's or PNG's header, read before anything is decompressed."""
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        return struct.unpack(">II", head[16:24])
    if head.startswith(b"\xff\xd8"):
        at = 2
        while at + 9 <= len(head):
            if head[at] != 0xFF:
                break
            marker = head[at + 1]
            if marker == 0xFF:  # fill byte
                at += 1
            elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
                height, width = struct.unpack(">HH", head[at + 5 : at + 9])
                return width, height
            else:
                at += 2 + struct.unpack(">H", head[at + 2 : at + 4])[0]
        raise BadImage("the JPEG's header holds no picture size: it is cut off or damaged")
    raise BadImage(
        f"compressed data with the format {format!r} is neither JPEG nor PNG: "
        "set image_transport's format parameter to jpeg or png, or subscribe to the raw topic"
    )
