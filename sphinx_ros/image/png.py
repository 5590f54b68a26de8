"""A PNG file -> a plain file of its critical chunks, checked before it is decoded.

Each chunk has a checksum (PNG specification, section 5.3), so damage is found here. The rows are
inflated once, piece by piece, to see that all are there: what is allocated follows what is there.
Texts, colour profiles and animations are left out: what the decoder gets states one size and holds
one picture.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from sphinx_ros.errors import BadImage
from sphinx_ros.image.picture_size import checked_size

START = b"\x89PNG\r\n\x1a\n"

_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_RATIO = 1032  # the most that deflate makes of a byte
_PIECE = 1 << 18  # bytes that are inflated at a time
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""First column and row of each pass of an interlaced file, and the distances to the next."""


@dataclass(frozen=True)
class Png:
    """A checked file. content: a file of its critical chunks. exif: of an eXIf chunk, if any."""

    width: int
    height: int
    content: bytes
    exif: bytes = b""


def read_png(data: bytes, max_pixels: int) -> Png:
    """The checked file. Raises BadImage: too large, cut off or damaged."""
    at, kept, exif, packed = len(START), [START], b"", []
    size = checked_size(*_size(data), max_pixels)
    while True:
        if at + 12 > len(data):
            raise BadImage(f"the PNG of {len(data)} bytes is cut off: it has no end")
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        chunk = data[at : at + 12 + length]
        if len(chunk) < 12 + length:
            raise BadImage(f"the PNG of {len(data)} bytes is cut off in chunk {kind!r}")
        (checksum,) = struct.unpack(">I", chunk[-4:])
        if zlib.crc32(chunk[4:-4]) != checksum:
            raise BadImage(f"the PNG is damaged at byte {at}: the checksum of {kind!r} is wrong")
        if kind == b"IHDR" and at != len(START):
            raise BadImage("the PNG is damaged: it states two sizes")
        if kind in _KEPT:
            kept.append(chunk)
            packed += [chunk[8:-4]] if kind == b"IDAT" else []
        elif kind == b"eXIf":
            exif = chunk[8:-4]
        elif kind == b"IEND":
            break
        elif kind[:1].isupper():
            raise BadImage(f"the PNG has a chunk {kind!r} that no decoder knows: write it anew")
        at += len(chunk)
    _check_rows(data[16:29], packed)
    return Png(*size, b"".join([*kept, chunk]), exif)


def _size(data: bytes) -> tuple[int, int]:
    """(width, height) of the header, which must be the first chunk."""
    if len(data) < 33 or data[12:16] != b"IHDR" or data[8:12] != b"\0\0\0\x0d":
        raise BadImage("the PNG's header holds no picture size: it is cut off or damaged")
    return struct.unpack(">II", data[16:24])


def _check_rows(header: bytes, packed: list[bytes]) -> None:
    """Raises BadImage: what is compressed is damaged, or less than the picture's rows."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if colour not in _CHANNELS:
        raise BadImage(f"the PNG's header is damaged: there is no colour type {colour}")
    needed = 0
    for x, y, right, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -((x - width) // right), -((y - height) // down)
        bits = columns * depth * _CHANNELS[colour]
        needed += rows * (1 + -(-bits // 8)) if columns > 0 and rows > 0 else 0
    inflate, found = zlib.decompressobj(), 0
    if sum(map(len, packed)) * _RATIO >= needed:  # else it need not be tried
        try:
            for part in packed:
                while part and found <= needed:
                    found += len(inflate.decompress(part, _PIECE))
                    part = inflate.unconsumed_tail
        except zlib.error as error:
            raise BadImage(f"the PNG is damaged: {error}") from None
    if found < needed:
        raise BadImage(
            f"the PNG is cut off: it holds {found} of the {needed} bytes of its {width}x{height} "
            "pixels"
        )
