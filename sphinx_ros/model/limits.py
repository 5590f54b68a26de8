"""Numbers out of a file -> numbers that a network can have, or an error that names key and range.

A size stands in its dataclass with its range (``dim: int = whole(512, most=65536)``), and
:func:`check` compares all of them. Imports no torch, so that nothing is built from a wrong number.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from sphinx_ros.errors import CheckpointError


@dataclass(frozen=True)
class Range:
    """Numbers from ``least`` to ``most``, both included; ``count``: how many a list has."""

    kind: type
    least: float
    most: float
    count: int | None = None

    def __str__(self) -> str:
        what = "whole number" if self.kind is int else "number"
        many = f"a list of {self.count} {what}s" if self.count else f"a {what}"
        return f"{many} in {self.least:g}..{self.most:.15g}"

    def holds(self, value: object) -> bool:
        """Whether a value is of this kind and in this range; NaN, infinity and booleans never."""
        if self.count is not None:
            one = Range(self.kind, self.least, self.most)
            return (
                isinstance(value, tuple)
                and len(value) == self.count
                and all(map(one.holds, value))
            )
        kinds = int if self.kind is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            return False
        return self.least <= value <= self.most


def whole(default: Any, *, least: int = 1, most: int, count: int | None = None) -> Any:
    """A dataclass field for a whole number, or for ``count`` of them."""
    return dataclasses.field(default=default, metadata={"range": Range(int, least, most, count)})


def real(default: Any, *, least: float, most: float) -> Any:
    """A dataclass field for a real number."""
    return dataclasses.field(default=default, metadata={"range": Range(float, least, most)})


def check(sizes: Any, place: str = "") -> None:
    """Compare the fields of a dataclass with their ranges; None passes where it is the default.

    place: in front of a field's name, as "towers.clip.".

    Raises:
        CheckpointError: the first that is outside, with its name, its value and the range.
    """
    for field in dataclasses.fields(sizes):
        value, limits = getattr(sizes, field.name), field.metadata.get("range")
        if limits is None or (value is None and field.default is None):
            continue
        if not limits.holds(value):
            raise CheckpointError(
                f"key {place + field.name!r} is {shown(value)}, expected {limits}"
            )


def divides(place: str, whole_name: str, whole: int, part_name: str, part: int) -> None:
    """Refuse heads that do not share a width equally."""
    if whole % part:
        raise CheckpointError(
            f"key {place + part_name!r} is {part}, expected a divisor of {whole_name} {whole}"
        )


def shown(value: object) -> str:
    """A value in an error: as Python writes it, cut where it is long."""
    try:
        text = repr(list(value) if isinstance(value, tuple) else value)
    except ValueError:  # a whole number of more digits than Python prints
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def table(place: str, value: object) -> dict:
    """A value of ``config.json`` that must be an object; nothing given is an empty one.

    Raises:
        CheckpointError: it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CheckpointError(f"key {place!r} is {shown(value)}, expected a JSON object")
    return dict(value)
