"""YUV pictures of cameras -> RGB: BT.601 with video range, as cameras send it."""

from __future__ import annotations

import cv2
import numpy as np

from sphinx_ros.image.buffers import by_rows, check_bytes, check_even, rows

PAIRS, PLANES, FULL = "pairs", "planes", "full"
"""Where colour lies behind the plane of brightness: in pairs or in two planes at half the
resolution in both directions, or in pairs at full resolution."""

YUV422 = {
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
}
"""Two pixels in four bytes -> OpenCV's conversion."""

PLANAR = {
    "nv12": (cv2.COLOR_YUV2RGB_NV12, PAIRS),
    "nv21": (cv2.COLOR_YUV2RGB_NV21, PAIRS),
    "i420": (cv2.COLOR_YUV2RGB_I420, PLANES),
    "nv24": (None, FULL),
}
"""A plane of brightness first -> OpenCV's conversion, and how colour follows."""

ENCODINGS = (*YUV422, *PLANAR)


def yuv(buffer: np.ndarray, width: int, height: int, step: int, name: str) -> np.ndarray:
    """[height, width, 3] uint8 RGB of an encoding in :data:`ENCODINGS`. Raises BadImage."""
    if name in YUV422:
        check_even(width, 2, name)
        pixels = rows(buffer, width, height, 2, "u1", step, name)
        return cv2.cvtColor(np.ascontiguousarray(pixels), YUV422[name])
    step = step or width
    code, colour = PLANAR[name]
    if colour == FULL or code is None:
        return _full(buffer, width, height, step, name)
    check_even(width, 2, name)
    check_even(height, 2, name)
    if colour == PAIRS:  # one more half of rows of the same length
        both = rows(buffer, width, height * 3 // 2, 1, "u1", step, name)
        return cv2.cvtColor(np.ascontiguousarray(both), code)
    return cv2.cvtColor(_tight_planes(buffer, width, height, step, name), code)


def _tight_planes(buffer: np.ndarray, width: int, height: int, step: int, name: str) -> np.ndarray:
    """[height * 3 / 2, width]: brightness and the two planes of colour, without row padding."""
    half_w, half_h, half_step = width // 2, height // 2, step // 2
    needed = step * height + half_step * (2 * half_h - 1) + half_w
    check_bytes(buffer, needed, f"{width}x{height} {name} with step {step}")
    luma = rows(buffer, width, height, 1, "u1", step, name)
    rest = buffer[step * height :]
    first = rows(rest, half_w, half_h, 1, "u1", half_step, name)
    second = rows(rest[half_step * half_h :], half_w, half_h, 1, "u1", half_step, name)
    packed = np.concatenate([np.ascontiguousarray(p).reshape(-1) for p in (luma, first, second)])
    return packed.reshape(height * 3 // 2, width)


def _full(buffer: np.ndarray, width: int, height: int, step: int, name: str) -> np.ndarray:
    """Colour pairs in rows of twice the step; OpenCV has no conversion for it."""
    needed = step * (height + 2 * (height - 1)) + 2 * width
    check_bytes(buffer, needed, f"{width}x{height} {name} with step {step}")
    luma = rows(buffer, width, height, 1, "u1", step, name)
    chroma = rows(buffer[step * height :], width, height, 2, "u1", 2 * step, name)
    return by_rows(np.concatenate([luma, chroma], axis=2), _bt601)


def _bt601(yuv: np.ndarray) -> np.ndarray:
    """[..., 3] uint8 Y, U, V -> RGB."""
    y = 1.164383 * np.maximum(yuv[..., 0].astype(np.float32) - 16, 0)
    u, v = (yuv[..., i].astype(np.float32) - 128 for i in (1, 2))
    rgb = np.stack([y + 1.596027 * v, y - 0.391762 * u - 0.812968 * v, y + 2.017232 * u], axis=-1)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
