"""Parquet files of the hub's data sets -> their rows, and later the bytes of their pictures.

pyarrow reads them (extra `eval`); it is imported when a file is opened.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sphinx_ros.errors import BadRequest
from sphinx_ros.runtime.extras import extra

TOGETHER = 256
"""Rows that are read at a time."""


def columns(path: Path) -> dict[str, str]:
    """The names of the columns, each with "text" where it holds texts, else "". Raises BadRequest.

    A column of pictures that holds texts has the names of files.
    """
    schema = _open(path).schema_arrow
    return {one.name: "text" if "string" in str(one.type) else "" for one in schema}


def rows(path: Path, wanted: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number, values by column) of each row, of those columns that there are.

    wanted: "image.path" reads this part of what is in "image".

    Raises:
        BadRequest: pyarrow is not installed, or the file is damaged.
    """
    file = _open(path)
    known = [name for name in wanted if name.partition(".")[0] in file.schema_arrow.names]
    number = 0
    try:
        for batch in file.iter_batches(TOGETHER, columns=known):
            for row in batch.to_pylist():
                yield number, row
                number += 1
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise BadRequest(f"{path} is damaged after row {number}: {error}") from None


def picture_bytes(path: Path, column: str, number: int) -> bytes:
    """The picture in a row: bytes, or as the hub keeps pictures, {"bytes", "path"}.

    Raises BadRequest: there is no such row, or no picture in it.
    """
    start = 0
    file = _open(path)
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        if number < start + size:
            value = _column(path, column, group)[number - start].as_py()
            data = value.get("bytes") if isinstance(value, dict) else value
            if not isinstance(data, bytes):
                raise BadRequest(f"{path}, row {number}: {column} holds no picture")
            return data
        start += size
    raise BadRequest(f"{path} has {start} rows and no row {number}")


@functools.lru_cache(maxsize=2)
def _column(path: Path, column: str, group: int) -> Any:
    """One column of a row group; neighbouring rows are asked for one after another."""
    try:
        return _open(path).read_row_group(group, columns=[column]).column(0)
    except (OSError, ValueError) as error:
        raise BadRequest(f"{path} is damaged: {error}") from None


@functools.lru_cache(maxsize=16)
def _open(path: Path) -> Any:
    with extra("eval", str(path)):
        from pyarrow.parquet import ParquetFile
    try:
        return ParquetFile(path)
    except (OSError, ValueError) as error:
        raise BadRequest(f"{path} is no parquet file: {error}") from None
