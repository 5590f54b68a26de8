"""Whether a JPEG's coded data ends where its picture ends: the sign that nothing is lost in it.

Huffman codes have no checksum. Where bytes are lost or wrong, a decoder gets out of step: it wants
data behind the end of a scan, or is done before it. libjpeg only warns of both, and no Python
interface passes the warning on. So the decoder is asked twice more: bytes that are appended to a
scan must change no pixel, and other bytes in the place of its last ones must change some.
"""

from __future__ import annotations

import random

import numpy as np

from sphinx_ros.errors import BadImage
from sphinx_ros.image.jpeg import Jpeg, Scan

TAIL = 4
"""Bytes at the end of an interval that are changed. Fewer that are too many stay unseen."""

LONG = 256
"""Bytes of an interval whose end is looked at. In short ones other bytes may say the same."""

BUDGET = 100_000_000
"""Pixels that are decoded to look at the ends of a progressive file's scans one by one."""

_RANDOM = random.Random(1)
_NOISE = bytes(_RANDOM.randrange(255) for _ in range(64))  # never 0xFF, which starts a marker
_PATTERNS = [bytes(_RANDOM.randrange(1, 255) for _ in range(16)) for _ in range(6)]


def check_undamaged(jpeg: Jpeg, pixels: np.ndarray) -> None:
    """Raises BadImage: the coded data is too short or too long for the picture.

    pixels: what ``jpeg.pixels()`` gave. Arithmetic and lossless coding are not looked at.
    """
    if jpeg.frame not in (0xC0, 0xC1, 0xC2):
        return
    with_more = jpeg.pixels(lambda scan, index, interval: interval + _NOISE)
    if not np.array_equal(with_more, pixels):
        raise BadImage("the JPEG is damaged: its coded data ends before the picture does")
    scans = jpeg.scans
    if len(scans) == 1 and scans[0].rich:
        whole = _single(jpeg, scans[0], pixels)
    else:
        known = [scan for scan in scans if scan.rich and len(scan.intervals[-1]) >= LONG]
        known = known[: BUDGET // pixels.size]
        whole = all(_changes(jpeg, scan, pixels) for scan in known)
    if not whole:
        raise BadImage("the JPEG is damaged: its picture ends before the coded data does")


def _single(jpeg: Jpeg, scan: Scan, pixels: np.ndarray) -> bool:
    """Whether each interval of the one scan is used to its end."""
    wide, high = jpeg.mcu
    across, down = -(-jpeg.width // wide), -(-jpeg.height // high)
    starts = np.arange(0, across * down, scan.restart or across * down)
    if len(starts) != len(scan.intervals):
        raise BadImage(
            f"the JPEG is damaged: {len(scan.intervals)} intervals, its size needs {len(starts)}"
        )
    used = np.array([len(interval) < LONG for interval in scan.intervals])
    for pattern in _PATTERNS if not used.all() else ():
        for odd in (0, 1) if len(starts) > 1 else (0,):  # neighbours may share the pixels between

            def change(
                of: Scan, index: int, interval: bytes, pattern: bytes = pattern, odd: int = odd
            ) -> bytes:
                return _other_end(interval, pattern) if index % 2 == odd else interval

            differ = jpeg.pixels(change) != pixels
            differ = differ.reshape(*differ.shape[:2], -1).any(axis=2)
            columns = np.logical_or.reduceat(differ, np.arange(0, jpeg.width, wide), axis=1)
            blocks = np.logical_or.reduceat(columns, np.arange(0, jpeg.height, high), axis=0)
            used[odd::2] |= np.logical_or.reduceat(blocks.reshape(-1), starts)[odd::2]
            if len(starts) == 1:
                used |= differ.any()
        if used.all():
            break
    return bool(used.all())


def _changes(jpeg: Jpeg, scan: Scan, pixels: np.ndarray) -> bool:
    """Whether the end of one scan among several has a say in the picture."""
    for pattern in _PATTERNS:

        def change(of: Scan, index: int, interval: bytes, pattern: bytes = pattern) -> bytes:
            last = of is scan and index == len(of.intervals) - 1
            return _other_end(interval, pattern) if last else interval

        if not np.array_equal(jpeg.pixels(change), pixels):
            return True
    return False


def _other_end(interval: bytes, pattern: bytes) -> bytes:
    """Coded data with other bytes in the place of its last ones, and more behind."""
    cut = max(0, len(interval) - TAIL)
    while cut and interval[cut - 1] == 0xFF:  # 0xFF and the zero behind it belong together
        cut -= 1
    other = bytes((b ^ p) % 255 for b, p in zip(interval[cut:], pattern, strict=False))
    return interval[:cut] + other + _NOISE
