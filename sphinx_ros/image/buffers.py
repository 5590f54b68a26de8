"""Bytes of a picture -> checked views of them. Knows no format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sphinx_ros.errors import BadImage
from sphinx_ros.image.picture_size import MAX_PIXELS, checked_size

HOST = (1, 3, 11)
"""Kinds of memory that the processor reads, by DLPack's numbers: its own, and pages of it that are
pinned for CUDA or ROCm (``DLDeviceType`` in dlpack.h)."""


def as_bytes(data: Any) -> np.ndarray:
    """[N] uint8 view of whatever the picture came in, in its order of rows.

    data: an array, or any object with the buffer protocol (bytes, array.array, memoryview) or with
    ``__dlpack__`` (tensors, and buffers of newer ROS distributions). Nothing is copied but what
    lies in the memory of another device, once, and what does not lie in one piece.

    Raises:
        BadImage: it is empty, or none of these.
    """
    try:
        values = _array(data)
    except (TypeError, ValueError, RuntimeError, BufferError, AttributeError) as error:
        raise BadImage(f"image data of type {type(data).__name__}: {error}") from error
    buffer = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    if buffer.size == 0:
        raise BadImage("the picture has no data: look at the camera with `ros2 topic echo --once`")
    return buffer


def _array(data: Any) -> np.ndarray:
    """The array that an object's memory is."""
    if isinstance(data, np.ndarray):
        return data
    try:
        return np.asarray(memoryview(data))
    except TypeError:
        if not hasattr(data, "__dlpack__"):
            raise
    if data.__dlpack_device__()[0] in HOST:
        return np.from_dlpack(data)
    if hasattr(data, "cpu"):  # as tensors copy themselves
        return np.from_dlpack(data.cpu())
    return np.from_dlpack(data, device="cpu")


def check_even(value: int, divisor: int, name: str) -> None:
    """Raises BadImage: a side is no multiple of the divisor."""
    if value % divisor:
        raise BadImage(f"{name} needs sides that are multiples of {divisor}, not {value}")


def check_bytes(buffer: np.ndarray, needed: int, what: str) -> None:
    """Raises BadImage: the buffer is shorter than needed."""
    if buffer.size < needed:
        raise BadImage(
            f"{what} needs {needed} bytes, but the picture has {buffer.size}: "
            "size, encoding or step is wrong"
        )


def sized_bytes(data: Any, width: int, height: int, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """:func:`as_bytes` of a picture whose sides were checked. Raises BadImage."""
    checked_size(width, height, max_pixels)
    return as_bytes(data)


def rows(
    buffer: np.ndarray,
    width: int,
    height: int,
    channels: int,
    sample: str,
    step: int,
    name: str,
    is_bigendian: bool = False,
) -> np.ndarray:
    """[height, width, channels] view of padded rows.

    sample: numpy's name of a sample's type without its byte order, as "u2". step: bytes from one
    row to the next; 0 means no padding. name: of the encoding, for errors.

    Raises:
        BadImage: they don't fit into the buffer.
    """
    dtype = np.dtype((">" if is_bigendian else "<") + sample)
    tight = width * channels * dtype.itemsize
    step = step or tight
    if step < tight:
        raise BadImage(
            f"step is {step} bytes, but a row of {width} pixels in {name} has {tight}: "
            "the camera's driver fills the field wrongly"
        )
    check_bytes(buffer, step * (height - 1) + tight, f"{width}x{height} {name} with step {step}")
    strides = (step, channels * dtype.itemsize, dtype.itemsize)
    return np.ndarray((height, width, channels), dtype, buffer, 0, strides)


def by_rows(
    pixels: np.ndarray, convert: Callable[[np.ndarray], np.ndarray], samples: int = 1 << 22
) -> np.ndarray:
    """``convert`` (any dtype -> uint8, the same shape) on some rows at a time, to save memory."""
    made = np.empty(pixels.shape, np.uint8)
    step = max(1, samples // max(1, pixels[0].size))
    for top in range(0, len(pixels), step):
        made[top : top + step] = convert(pixels[top : top + step])
    return made
