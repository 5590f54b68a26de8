"""A table with tabs, as VLMEvalKit keeps data sets -> its rows and where they are in the file.

Cells that hold quotation marks or line ends are quoted, as pandas writes them. Pictures stay in
the file: a row tells where it begins, and is read again when its picture is looked at.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from sphinx_ros.errors import BadRequest

MOST_BYTES = 256 << 20
"""Of one row: a picture of 64 megapixels and more."""


def header(path: str | Path) -> list[str]:
    """The names of the columns. Raises BadRequest: the file can't be read."""
    try:
        with open(path, "rb") as file:
            return cells(file.readline(MOST_BYTES))
    except OSError as error:
        raise BadRequest(f"{path} can't be read: {error.strerror}") from None


def cells(record: bytes) -> list[str]:
    """The cells of one row."""
    csv.field_size_limit(min(sys.maxsize, (1 << 31) - 1))
    text = record.decode("utf-8-sig", "replace")
    return next(csv.reader(io.StringIO(text, newline=""), delimiter="\t"), [])


def rows(path: str | Path) -> Iterator[tuple[int, int, dict[str, str]]]:
    """(place, size, cells by column) of each row; place and size in bytes.

    Raises:
        BadRequest: a row is longer than any picture, as when a quotation mark is never closed.
    """
    with open(path, "rb") as file:
        names = cells(file.readline(MOST_BYTES))
        while True:
            at = file.tell()
            record = file.readline(MOST_BYTES)
            if not record:
                return
            while record.count(b'"') % 2:
                more = file.readline(MOST_BYTES)
                record += more
                if not more or len(record) > MOST_BYTES:
                    raise BadRequest(f"{path}, byte {at}: a quotation mark is never closed")
            if record.strip():
                yield at, len(record), dict(zip(names, cells(record), strict=False))
