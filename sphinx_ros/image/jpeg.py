"""A JPEG file -> its parts, a plain file made of them, and its pixels.

The file is read marker by marker (ITU-T T.81, annex B). What the decoder gets is written anew from
the parts that matter, with one frame header, so that the size that was checked is the size that is
decoded. Comments, EXIF, colour profiles and previews are left out.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin

from sphinx_ros.errors import BadImage
from sphinx_ros.image.picture_size import checked_size

START, END = b"\xff\xd8", b"\xff\xd9"

MAX_SCANS = 30
"""Scans of a file; usual progressive files have 10. Each scan costs time for the whole picture."""

_ALONE = {0x01, *range(0xD0, 0xD8)}  # TEM and RST0..7 have no length
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_KEPT = {0xC4, 0xCC, 0xDB, 0xDD, 0xE0, 0xEE}  # DHT, DAC, DQT, DRI, JFIF and Adobe's colour space
_MARKER_IN_SCAN = re.compile(rb"\xff+([^\x00\xff])")


@dataclass
class Scan:
    """One scan. header: its SOS segment. intervals: coded data between restart markers."""

    header: bytes
    intervals: list[bytes] = field(default_factory=list)
    restart: int = 0  # MCUs of an interval; 0: the scan is one interval
    rich: bool = True  # the codes have so many symbols that changed bits change pixels


@dataclass
class Jpeg:
    """The parts of a file.

    frame: marker of the frame header (0xC0: baseline ...). samplings: (horizontal, vertical) of
    each component. parts: segments and scans in their order. exif: the APP1 segment, if any.
    """

    frame: int = 0
    width: int = 0
    height: int = 0
    samplings: tuple[tuple[int, int], ...] = ()
    parts: list[bytes | Scan] = field(default_factory=list)
    exif: bytes = b""

    @property
    def scans(self) -> list[Scan]:
        """The scans alone."""
        return [part for part in self.parts if isinstance(part, Scan)]

    @property
    def mcu(self) -> tuple[int, int]:
        """Width and height in pixels of what an interleaved scan codes at a time."""
        if len(self.samplings) == 1:
            return 8, 8
        return 8 * max(h for h, _ in self.samplings), 8 * max(v for _, v in self.samplings)

    def file(self, change: Callable[[Scan, int, bytes], bytes] | None = None) -> bytes:
        """A plain file of the parts. change: (scan, index, interval) -> other coded data."""
        out = [START]
        for part in self.parts:
            if isinstance(part, bytes):
                out.append(part)
                continue
            out.append(part.header)
            for index, interval in enumerate(part.intervals):
                if index:
                    out.append(bytes((0xFF, 0xD0 + (index - 1) % 8)))
                out.append(change(part, index, interval) if change else interval)
        return b"".join([*out, END])

    def pixels(
        self, change: Callable[[Scan, int, bytes], bytes] | None = None, rows: int = 0
    ) -> np.ndarray:
        """[H, W, 3] or, for a grey file, [H, W], uint8; red, green, blue. Raises BadImage.

        change: as in :meth:`file`. rows: the lowest rows alone, so many; 0 is all.
        """
        try:
            picture: Image.Image = JpegImagePlugin.JpegImageFile(io.BytesIO(self.file(change)))
            if picture.size == (self.width, self.height):
                if 0 < rows < self.height:
                    picture = picture.crop((0, self.height - rows, self.width, self.height))
                return np.asarray(picture.convert("RGB") if picture.mode == "CMYK" else picture)
        except (OSError, SyntaxError, ValueError, struct.error, IndexError, KeyError) as error:
            raise BadImage(f"the JPEG can't be decoded: {error or type(error).__name__}") from None
        raise BadImage("the JPEG's header is damaged: it states two sizes")


def read_jpeg(data: bytes, max_pixels: int) -> Jpeg:
    """The parts of a file. Raises BadImage: too large, cut off, or markers that are damaged."""
    jpeg, at, restart = Jpeg(), 2, 0
    tables: dict[Any, Any] = {}
    while True:
        code, at = _marker(data, at)
        if code == 0xD9:
            break
        if code in _ALONE:
            continue
        segment, at = _segment(data, code, at)
        body = segment[4:]
        if code in _FRAMES:
            _frame(jpeg, code, body)
            checked_size(jpeg.width, jpeg.height, max_pixels)
            jpeg.parts.append(segment)
        elif code == 0xDA:
            scan = Scan(segment, restart=restart, rich=_rich(body, tables))
            at = _intervals(data, at, scan)
            jpeg.parts.append(scan)
        elif code in _KEPT:
            jpeg.parts.append(segment)
        elif code == 0xE1 and body.startswith(b"Exif\0") and not jpeg.exif:
            jpeg.exif = body
        if code == 0xDD and len(body) == 2:
            restart = int.from_bytes(body, "big")
        if code == 0xC4:
            tables.update(_tables(body))
    _check_whole(jpeg, data)
    return jpeg


def _marker(data: bytes, at: int) -> tuple[int, int]:
    """The marker at a place, fill bytes skipped, and where its segment goes on."""
    if at < len(data) and data[at] != 0xFF:
        raise BadImage(f"the JPEG is damaged at byte {at}: there is no marker where one must be")
    while at < len(data) and data[at] == 0xFF:
        at += 1
    if at >= len(data):
        raise BadImage(f"the JPEG of {len(data)} bytes is cut off: it has no end marker")
    if data[at] in (0x00, 0xD8):
        raise BadImage(f"the JPEG is damaged at byte {at}: marker ff{data[at]:02x} has no place")
    return data[at], at + 1


def _segment(data: bytes, code: int, at: int) -> tuple[bytes, int]:
    length = int.from_bytes(data[at : at + 2], "big")
    if at + max(length, 2) > len(data):
        raise BadImage(f"the JPEG of {len(data)} bytes is cut off in segment ff{code:02x}")
    if length < 2:
        raise BadImage(f"the JPEG is damaged at byte {at}: a segment of {length} bytes")
    return b"\xff" + bytes((code,)) + data[at : at + length], at + length


def _frame(jpeg: Jpeg, code: int, body: bytes) -> None:
    """Take up a frame header: the size, and how the components are sampled."""
    if jpeg.frame:
        raise BadImage("the JPEG's header is damaged: it states two sizes")
    if len(body) < 6 or len(body) != 6 + 3 * body[5] or not body[5]:
        raise BadImage("the JPEG's header holds no picture size: it is damaged")
    jpeg.frame = code
    jpeg.height, jpeg.width = struct.unpack(">HH", body[1:5])
    jpeg.samplings = tuple((s >> 4, s & 15) for s in body[7::3])
    if not all(1 <= v <= 4 for sampling in jpeg.samplings for v in sampling):
        raise BadImage("the JPEG's header is damaged: a component has no sampling")


def _intervals(data: bytes, at: int, scan: Scan) -> int:
    """Collect the coded data of a scan; returns where the next marker is."""
    for found in _MARKER_IN_SCAN.finditer(data, at):
        code = found[1][0]
        scan.intervals.append(data[at : found.start()])
        if not 0xD0 <= code <= 0xD7:
            return found.start()
        if not scan.restart or code != 0xD0 + (len(scan.intervals) - 1) % 8:
            raise BadImage(f"the JPEG is damaged at byte {found.start()}: a stray restart marker")
        at = found.end()
    raise BadImage(f"the JPEG of {len(data)} bytes is cut off: it has no end marker")


def _tables(body: bytes) -> dict[int, int]:
    """Number of symbols by class and number of the Huffman tables in a DHT segment."""
    found, at = {}, 0
    while at + 17 <= len(body):
        found[body[at]] = sum(body[at + 1 : at + 17])
        at += 17 + found[body[at]]
    return found


def _rich(body: bytes, tables: dict[int, int]) -> bool:
    """Whether a scan's codes have other symbols to offer where its bits are changed."""
    if len(body) < 1 or len(body) < 4 + 2 * body[0]:
        raise BadImage("the JPEG is damaged: the header of a scan is cut off")
    first, last, approximation = body[-3:]
    if approximation >> 4:  # a later pass of a progressive file: bits too small to be seen
        return False
    used = []
    for number in body[2 : 2 + 2 * body[0] : 2]:
        used += [number >> 4] if first == 0 else []
        used += [0x10 | (number & 15)] if last > 0 else []
    return any(tables.get(n, 12) > 4 for n in used)  # without a table: the usual one of 12


def _check_whole(jpeg: Jpeg, data: bytes) -> None:
    """Raises BadImage: there is less data than the smallest file of this size has."""
    if not jpeg.frame:
        raise BadImage("the JPEG's header holds no picture size: it is cut off or damaged")
    if not jpeg.scans or len(jpeg.scans) > MAX_SCANS:
        raise BadImage(
            f"the JPEG has {len(jpeg.scans)} scans; 1 to {MAX_SCANS} are read: write it anew"
        )
    wide, high = (max(s[i] for s in jpeg.samplings) for i in (0, 1))
    blocks = sum(
        -(-jpeg.width * h // (8 * wide)) * -(-jpeg.height * v // (8 * high))
        for h, v in jpeg.samplings
    )
    huffman, bits = jpeg.frame in (0xC0, 0xC1, 0xC2), 1 if jpeg.frame == 0xC2 else 2
    coded = sum(len(interval) for scan in jpeg.scans for interval in scan.intervals)
    if huffman and 8 * coded < bits * blocks:
        raise BadImage(
            f"the JPEG of {len(data)} bytes is cut off: {coded} bytes can't hold the "
            f"{jpeg.width}x{jpeg.height} pixels of its header"
        )
