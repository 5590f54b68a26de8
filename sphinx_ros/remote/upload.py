"""Pixels -> picture files as they are sent, each encoded once. Knows no HTTP."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import cv2
import numpy as np

from sphinx_ros.errors import BadImage
from sphinx_ros.image.letterbox import checked_picture
from sphinx_ros.remote.address import checked_quality

JPEG_SIDE = 65_500
"""Longest side that a JPEG can have (libjpeg's JPEG_MAX_DIMENSION)."""

REMEMBERED = 16
"""Pictures whose files are kept, so that the same pixels are neither encoded nor sent again."""


@dataclass(eq=False)
class Upload:
    """A picture as it is sent.

    Attributes:
        name: BLAKE2b-128 of the file, as the server names it. data: the file. kind: its type.
        width, height: pixels. after: name of an earlier picture of the same camera.
        known: addresses of the servers that have it, as far as we know.
        sending: held by who sends it for the first time.
    """

    name: str
    data: bytes
    kind: str
    width: int
    height: int
    after: str = ""
    known: set[str] = field(default_factory=set)
    sending: threading.Lock = field(default_factory=threading.Lock)


class Uploads:
    """The pictures that were looked at last. quality: as ``checked_quality`` takes it."""

    def __init__(self, quality: int | None):
        self.quality = checked_quality(quality)
        self._kept: OrderedDict[bytes, Upload] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, rgb: np.ndarray) -> tuple[Upload, bool]:
        """A picture as it is sent, and whether its pixels are those of one of the last.

        rgb: [H, W, 3] uint8, red first.

        Raises:
            BadImage: it is no picture, or can't be encoded.
        """
        pixels = np.ascontiguousarray(checked_picture(rgb))
        # SHA-256: processors have instructions for it, and it is twice as fast as BLAKE2b here
        content = hashlib.sha256(repr(pixels.shape).encode())
        content.update(pixels.data)
        key = content.digest()
        with self._lock:
            if (upload := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return upload, True
        data = encoded(pixels, self.quality)
        name = hashlib.blake2b(data, digest_size=16).hexdigest()
        kind = "image/png" if self.quality is None else "image/jpeg"
        upload = Upload(name, data, kind, pixels.shape[1], pixels.shape[0])
        with self._lock:
            kept = self._kept.setdefault(key, upload)  # another thread may have been faster
            while len(self._kept) > REMEMBERED:
                self._kept.popitem(last=False)
        return kept, kept is not upload


def encoded(rgb: np.ndarray, quality: int | None) -> bytes:
    """[H, W, 3] uint8, red first -> a JPEG of a quality, or a PNG. Raises BadImage."""
    if quality is not None and max(rgb.shape[:2]) > JPEG_SIDE:
        raise BadImage(
            f"a picture of {rgb.shape[1]}x{rgb.shape[0]} pixels; a JPEG has sides of at most "
            f'{JPEG_SIDE}: send PNG (quality "png"), or a smaller picture'
        )
    how = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    if quality is not None:
        how = [cv2.IMWRITE_JPEG_QUALITY, quality]
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".png" if quality is None else ".jpg", bgr, how)
    if not done:
        raise BadImage(f"OpenCV can't encode a picture of shape {rgb.shape}")
    return data.tobytes()
