"""Bytes of a picture -> checked views of them. Knows no format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sphinx_ros.errors import BadImage

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


def rows(
    buffer: np.ndarray, width: int, height: int, channels: int, dtype: str, step: int, name: str
) -> np.ndarray:
    """[height, width, channels] view of padded rows.

    step: bytes from one row to the next; 0 means no padding. name: of the encoding, for errors.

    Raises:
        BadImage: they don't fit into the buffer.
    """
    sample = np.dtype(dtype).itemsize
    tight = width * channels * sample
    step = step or tight
    if step < tight:
        raise BadImage(
            f"step is {step} bytes, but a row of {width} pixels in {name} has {tight}: "
            "the camera's driver fills the field wrongly"
        )
    check_bytes(buffer, step * (height - 1) + tight, f"{width}x{height} {name} with step {step}")
    strides = (step, channels * sample, sample)
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
