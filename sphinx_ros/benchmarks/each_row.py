"""Rows of a data set's file -> samples, one row after another; what can't be used is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sphinx_ros.benchmarks.samples import Reading, Sample
from sphinx_ros.errors import BadRequest, shortened

UNUSABLE = (BadRequest, LookupError, TypeError, ValueError, ArithmeticError, AttributeError)
"""What a row raises that holds values nobody expects: a list for a name, 10**400 for a side."""

Made = Sample | Exception
"""A sample, or one of :data:`UNUSABLE` in its place."""


def each(
    path: Path,
    rows: Iterable[tuple[object, Any]],
    make: Callable[[Any], Made | Iterable[Made]],
    into: Reading,
    what: str = "row",
) -> None:
    """The sample of each numbered row, or its samples.

    make: raises one of :data:`UNUSABLE` where nothing of a row can be used. An exception in the
    place of a sample, see :func:`tried`, stands for a part of the row; its other parts are taken.
    what: rows are called in what is told of them.
    """
    for number, row in rows:
        where = f"{path.name}, {what} {number}"
        try:
            made = make(row)
            parts = [made] if isinstance(made, (Sample, Exception)) else list(made)
        except UNUSABLE as error:
            parts = [error]
        for place, part in enumerate(parts):
            if isinstance(part, Sample):
                into.add(part)
            else:
                within = f", part {place}" if len(parts) > 1 else ""
                into.refuse(trouble(part), f"{where}{within}: {why(part)}")


def tried(make: Callable[..., Sample], *given: Any, **named: Any) -> Made:
    """What a call gives, or why there is no sample: other parts of its row go on."""
    try:
        return make(*given, **named)
    except UNUSABLE as error:
        return error


def why(error: Exception) -> str:
    """What an error says; of one that Python raises with its name."""
    said = str(error)
    return said if isinstance(error, BadRequest) else shortened(f"{type(error).__name__} {said}")


def trouble(error: Exception) -> str:
    """What kind of trouble a row has, for the count."""
    said = str(error) if isinstance(error, BadRequest) else ""
    if "is missing" in said or "leads out of" in said:
        return "missing picture"
    return "wrong box" if "the box" in said else "unreadable row"
