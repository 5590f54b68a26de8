"""A WebP file -> a plain file of its first picture, whose size is checked before it is decoded.

The container is read chunk by chunk (RFC 9649). Libraries that read animations allocate the whole
canvas several times, whatever small pictures stand on it; here one picture is decoded, and put
into its place. Transparency, colour profiles and later pictures are left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from sphinx_ros.errors import BadImage
from sphinx_ros.image.picture_size import checked_size

START = b"RIFF"

_FRAME = 16  # bytes of an animation's frame before its picture


@dataclass(frozen=True)
class WebP:
    """A checked file.

    width, height: of the canvas, px. place: upper left corner and size (x, y, w, h) of the first
    picture on it. content: that picture as a file of its own. exif: of an EXIF chunk, if any.
    """

    width: int
    height: int
    place: tuple[int, int, int, int]
    content: bytes
    exif: bytes = b""

    def pixels(self) -> np.ndarray:
        """[height, width, 3] uint8 RGB; black around the picture. Raises BadImage."""
        x, y, wide, high = self.place
        coded = np.frombuffer(self.content, np.uint8)
        picture = cv2.imdecode(coded, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if picture is None or picture.shape[:2] != (high, wide):
            raise BadImage("the WebP file can't be decoded: it is damaged")
        rgb = picture[:, :, ::-1]
        if (wide, high) == (self.width, self.height):
            return np.ascontiguousarray(rgb)
        canvas = np.zeros((self.height, self.width, 3), np.uint8)
        canvas[y : y + high, x : x + wide] = rgb
        return canvas


def read_webp(data: bytes, max_pixels: int) -> WebP:
    """The checked file. Raises BadImage: too large, cut off or damaged."""
    if data[8:12] != b"WEBP":
        raise BadImage("the RIFF file is no WebP picture")
    size: tuple[int, int] | None = None
    content, exif, corner = b"", b"", (0, 0)
    for kind, body in _chunks(data, 12):
        if kind == b"VP8X" and len(body) >= 10 and size is None:
            size = checked_size(_three(body, 4) + 1, _three(body, 7) + 1, max_pixels)
        elif kind == b"ANMF" and len(body) >= _FRAME and not content:
            corner = (2 * _three(body, 0), 2 * _three(body, 3))
            content = _picture(_chunks(body, _FRAME))
        elif kind in (b"VP8 ", b"VP8L") and not content:
            content = _picture(iter([(kind, body)]))
        elif kind == b"EXIF":
            exif = body
    if not content:
        raise BadImage(f"the WebP file of {len(data)} bytes holds no picture")
    wide, high = checked_size(*_size(content), max_pixels)
    width, height = size or (wide, high)
    if corner[0] + wide > width or corner[1] + high > height:
        raise BadImage(
            f"the WebP file is damaged: its first picture of {wide}x{high} pixels at "
            f"{corner[0]},{corner[1]} reaches out of the {width}x{height} that it states"
        )
    return WebP(width, height, (*corner, wide, high), content, exif)


def _chunks(data: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the chunks from a place on. Raises BadImage: cut off."""
    while at + 8 <= len(data):
        kind, length = struct.unpack("<4sI", data[at : at + 8])
        if at + 8 + length > len(data):
            raise BadImage(f"the WebP file is cut off or damaged in chunk {kind!r}")
        yield kind, data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _picture(chunks: Iterator[tuple[bytes, bytes]]) -> bytes:
    """The first coded picture among some chunks, as a file of its own; b"" for none."""
    for kind, body in chunks:
        if kind in (b"VP8 ", b"VP8L"):
            chunk = struct.pack("<4sI", kind, len(body)) + body + bytes(len(body) % 2)
            return START + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk
    return b""


def _size(content: bytes) -> tuple[int, int]:
    """Width and height that a file of :func:`_picture` states. Raises BadImage."""
    kind, body = content[12:16], content[20:30]
    if kind == b"VP8 " and len(body) == 10 and body[3:6] == b"\x9d\x01\x2a":  # RFC 6386, 9.1
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise BadImage("the WebP file's header holds no picture size: it is damaged")


def _three(body: bytes, at: int) -> int:
    return int.from_bytes(body[at : at + 3], "little")
