"""A PNG file -> a plain file of its palette and its rows, checked before it is decoded.

All that libpng would complain of is looked for here, because it writes its complaints to standard
error itself. Each chunk has a checksum (PNG specification, section 5.3). The rows are inflated
once, piece by piece, to see that all are there: what is allocated follows what is there. Texts,
transparency, colour profiles and animations are left out: the decoder gets one size, one picture.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sphinx_ros.errors import BadImage
from sphinx_ros.image.picture_size import checked_size

START = b"\x89PNG\r\n\x1a\n"

MAX_SIDE = 1_000_000
"""Pixels of a side that libpng reads (its ``PNG_USER_WIDTH_MAX``)."""

_PALETTE = 3
_COLOURS = {
    0: (1, (1, 2, 4, 8, 16)),
    2: (3, (8, 16)),
    _PALETTE: (1, (1, 2, 4, 8)),
    4: (2, (8, 16)),
    6: (4, (8, 16)),
}
"""Colour type -> samples of a pixel, bits that a sample may have (section 11.2.2)."""

_FILTERS = 5  # types of filters, 0 to 4
_RATIO = 1032  # the most that deflate makes of a byte
_PIECE = 1 << 18  # bytes that are made at a time
_PART = 1 << 16  # bytes that are inflated at a time
_IDAT = 1 << 20  # bytes of a chunk that is written
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
    """A checked file. content: what the decoder gets. exif: of an eXIf chunk, if any."""

    width: int
    height: int
    content: bytes
    exif: bytes = b""


@dataclass(frozen=True)
class _Header:
    """The fields of the IHDR chunk."""

    width: int
    height: int
    depth: int
    colour: int
    compression: int
    filtering: int
    interlaced: int

    def check(self, max_pixels: int) -> None:
        """Raises BadImage: too large, or a field has no meaning."""
        checked_size(self.width, self.height, max_pixels)
        if max(self.width, self.height) > MAX_SIDE:
            raise BadImage(
                f"the PNG has {self.width}x{self.height} pixels; a side may have {MAX_SIDE}: cut "
                "the picture or write another format"
            )
        if self.depth not in _COLOURS.get(self.colour, (0, ()))[1]:
            wrong = f"pixel of {self.depth} bits a sample with colour type {self.colour}"
        elif self.compression or self.filtering:
            wrong = f"compression {self.compression} with filter method {self.filtering}"
        elif self.interlaced > 1:
            wrong = f"interlace method {self.interlaced}"
        else:
            return
        raise BadImage(f"the PNG's header is damaged: there is no {wrong}")

    def passes(self) -> list[tuple[int, int]]:
        """(rows, bytes of a row with its filter byte) of what is written one after another."""
        bits, found = self.depth * _COLOURS[self.colour][0], []
        for x, y, right, down in _ADAM7 if self.interlaced else ((0, 0, 1, 1),):
            columns, rows = -((x - self.width) // right), -((y - self.height) // down)
            if columns > 0 and rows > 0:
                found.append((rows, 1 + -(-columns * bits // 8)))
        return found


def read_png(data: bytes, max_pixels: int) -> Png:
    """The checked file. Raises BadImage: too large, cut off or damaged."""
    header = _header(data)
    header.check(max_pixels)
    palette, exif, packed = b"", b"", []
    for kind, content in _chunks(data):
        if kind == b"IDAT":
            packed.append(content)
        elif kind == b"PLTE" and header.colour == _PALETTE and not packed:
            palette = _palette(content, header.depth)
        elif kind == b"eXIf":
            exif = content
    if header.colour == _PALETTE and not palette:
        raise BadImage("the PNG is damaged: it has no palette before its pixels")
    rows = memoryview(b"".join(packed))
    rows = rows[: _check_rows(header, rows)]
    parts = [START, data[len(START) : len(START) + 25], _chunk(b"PLTE", palette)]
    parts += [_chunk(b"IDAT", rows[at : at + _IDAT]) for at in range(0, len(rows), _IDAT)]
    plain = b"".join([*(part for part in parts if part), _chunk(b"IEND")])
    return Png(header.width, header.height, plain, exif)


def _header(data: bytes) -> _Header:
    """The first chunk, which must be the header."""
    if len(data) < 33 or data[12:16] != b"IHDR" or data[8:12] != b"\0\0\0\x0d":
        raise BadImage("the PNG's header holds no picture size: it is cut off or damaged")
    return _Header(*struct.unpack(">IIBBBBB", data[16:29]))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the chunks up to the end. Raises BadImage: cut off or damaged."""
    at = len(START)
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
        if kind == b"IEND":
            return
        if kind[:1].isupper() and kind not in (b"IHDR", b"PLTE", b"IDAT"):
            raise BadImage(f"the PNG has a chunk {kind!r} that no decoder knows: write it anew")
        yield kind, chunk[8:-4]
        at += len(chunk)


def _chunk(kind: bytes, content: bytes | memoryview = b"") -> bytes:
    """A chunk as it is written; none for an empty one that is not the end."""
    if not content and kind != b"IEND":
        return b""
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return b"".join(
        (struct.pack(">I4s", len(content), kind), content, struct.pack(">I", checksum))
    )


def _palette(content: bytes, depth: int) -> bytes:
    """A colour for each number that a pixel may have; black where the file has none."""
    if not content or len(content) % 3:
        raise BadImage(f"the PNG is damaged: a palette of {len(content)} bytes, 3 for each colour")
    whole = 3 << depth
    return content[:whole].ljust(whole, b"\0")


def _check_rows(header: _Header, packed: memoryview) -> int:
    """How many bytes of what is compressed are the picture. Raises BadImage: damaged, cut off."""
    passes = header.passes()
    needed = sum(rows * length for rows, length in passes)
    inflate, found, read = zlib.decompressobj(), 0, 0
    try:
        while len(packed) * _RATIO >= needed and not inflate.eof and found <= needed:
            given = inflate.unconsumed_tail or packed[read : read + _PART]
            read += 0 if inflate.unconsumed_tail else len(given)
            piece = inflate.decompress(given, _PIECE)
            if not given and not piece:
                break
            _check_filters(piece, found, passes)
            found += len(piece)
    except zlib.error as error:
        raise BadImage(f"the PNG is damaged: {error}") from None
    size = f"{header.width}x{header.height}"
    if found > needed:
        raise BadImage(f"the PNG is damaged: its rows go on behind its {size} pixels")
    if found < needed or not inflate.eof:
        held = f"{found} of the {needed} bytes" if found < needed else "no end"
        raise BadImage(f"the PNG is cut off: it holds {held} of its {size} pixels")
    return read - len(inflate.unused_data)


def _check_filters(piece: bytes, begin: int, passes: list[tuple[int, int]]) -> None:
    """Raises BadImage: a row names a filter that there is not. begin: where the piece lies."""
    values, start = np.frombuffer(piece, np.uint8), 0
    for rows, length in passes:
        end = start + rows * length
        if start < begin + len(piece) and begin < end:
            first = max(start, begin + (start - begin) % length) - begin
            used = values[first : end - begin : length]
            if used.size and int(used.max()) >= _FILTERS:
                raise BadImage(
                    f"the PNG is damaged: a row has filter {used.max()}, of 0..{_FILTERS - 1}"
                )
        start = end
