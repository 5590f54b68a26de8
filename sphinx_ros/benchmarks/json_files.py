"""A JSON file, or one with an object a line -> plain values, or the reason why not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx_ros.errors import BadRequest, quoted

MOST_BYTES = 4 << 30
"""Of a file of annotations: that of all of COCO's people has 0.5 GB."""


def read_json(path: str | Path) -> Any:
    """The values of a JSON file.

    Raises:
        BadRequest: it can't be read, or is no JSON.
    """
    text = _text(Path(path))
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{path} is no JSON: {error}") from None


def read_lines(path: str | Path) -> Iterator[tuple[int, Any]]:
    """(number, value) of each line of a file with one JSON value a line; None: it is none.

    Raises:
        BadRequest: the file can't be read.
    """
    for number, line in enumerate(_text(Path(path)).split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, None


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadRequest(f"{path} has more than {MOST_BYTES >> 30} GiB; give a smaller part")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadRequest(f"{path} can't be read: {error.strerror}") from None
    except ValueError:
        raise BadRequest(f"{path} can't be read: it is not UTF-8") from None


def field(row: Any, name: str, kind: type | tuple[type, ...], empty: bool = False) -> Any:
    """A field of a row, of a type that is expected. empty: an empty text or list will do.

    Raises:
        BadRequest: the row is no object, or has no such field.
    """
    if not isinstance(row, dict):
        raise BadRequest(f"{quoted(row)} is no row with named fields")
    value = row.get(name)
    good = isinstance(value, kind) and (not isinstance(value, bool) or kind is bool)
    if not good or (not empty and value in ("", [], {})):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        said = " or ".join(one.__name__ for one in kinds)
        raise BadRequest(f"{name} is {quoted(value)}; expected {said}")
    return value


def field_list(values: Any, name: str, path: Path) -> list:
    """A list of rows below a name; or the whole, where it is the list. path: of the file.

    Raises:
        BadRequest: there is no list.
    """
    found = values.get(name) if isinstance(values, dict) else values
    if not isinstance(found, list):
        raise BadRequest(f"{path} has no list of {name}, but {quoted(values)}")
    return found


def read_list(path: Path, name: str = "rows") -> list:
    """The list of a JSON file: the whole, or what is below a name.

    Raises:
        BadRequest: the file can't be read, or has no such list.
    """
    return field_list(read_json(path), name, path)


def id_of(row: Any, name: str = "id") -> int | str | None:
    """The id of a row; None where it has none that rows could be found by."""
    found = row.get(name) if isinstance(row, dict) else None
    return found if isinstance(found, (int, str)) else None
