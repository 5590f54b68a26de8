"""RGB -> the pixels the network reads. Knows no tower and no file.

The official transform (LLaMA2-Accessory, ``accessory/data/transform.py``, ``padded_resize``): pad
to a square, Pillow's bicubic resize on 8-bit values, then normalise with the CLIP statistics. The
resize must be Pillow's: a bicubic resize of tensors moves the logits by 7e-2.
"""

from __future__ import annotations

import numpy as np

from sphinx_ros.image.shrink import shrunk_square
from sphinx_ros.model.config import CLIP_MEAN, CLIP_STD


def preprocess(rgb: np.ndarray, size: int) -> np.ndarray:
    """Picture -> normalised pixels of the padded square.

    Args:
        rgb: [H, W, 3] uint8, any aspect ratio.
        size: side S of the result in pixels (``ModelConfig.image_size``).

    Returns:
        [3, S, S] float32, RGB, ``(value / 255 - mean) / std`` with the CLIP statistics.

    Raises:
        BadImage: ``rgb`` is not a non-empty [H, W, 3] uint8 array.
    """
    scaled = shrunk_square(rgb, size).astype(np.float32) / np.float32(255)
    mean, std = np.asarray(CLIP_MEAN, np.float32), np.asarray(CLIP_STD, np.float32)
    return np.ascontiguousarray(((scaled - mean) / std).transpose(2, 0, 1))
