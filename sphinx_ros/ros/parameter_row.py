"""One parameter of a ROS node as a row: its default, its limits, and which values it can take.

Tables of rows: :mod:`sphinx_ros.ros.parameter_table` and
:mod:`sphinx_ros.ros.camera_params`. Knows no ROS.
"""

from __future__ import annotations

import array
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from sphinx_ros.errors import BadRequest
from sphinx_ros.ros.lettering import cut

SHOWN = 120
"""Letters of a refused value that its message shows."""

_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


class When(str, Enum):
    """When a value may be changed; the value is how documents say it."""

    RUNNING = "any time"
    INACTIVE = "while inactive"  # the cameras are not heard
    UNCONFIGURED = "while unconfigured"  # the model is not loaded
    START = "at the start"


def row_field(default: Any, description: str, **settings: Any) -> Any:
    """A row as a field of a dataclass. settings: other attributes of :class:`Parameter`."""
    return field(default=default, metadata={"description": description, **settings})


@dataclass(frozen=True)
class Parameter:
    """One row.

    Attributes:
        low, high: of a number, both included.
        or_zero: whether 0 is a value besides; it stands for "none" or "as usual".
        choices: of a text, in lower case.
        when: it may be changed. also: what of it may be changed at other times too, and when.
        per_camera: whether a camera may have a value of its own, as `front.max_rate`.
        unit: of a number, as "s"; "" for a count or none.
        heading: of the group that begins with this row, in documents; "" where none begins.
        more: what the parameter file and its page say beyond the description; lines that begin
            with spaces are an example.
        reads: of a list or a text, what raises BadRequest where it can't be used.
    """

    name: str
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    or_zero: bool = False
    choices: tuple[str, ...] = ()
    when: When = When.RUNNING
    also: str = ""
    per_camera: bool = False
    unit: str = ""
    heading: str = ""
    more: str = ""
    reads: Callable[[Any], Any] | None = None

    @property
    def kind(self) -> type:
        """bool, int, float, str, or tuple for a list of strings."""
        return type(self.default)

    @property
    def read_only(self) -> bool:
        """Whether it is set at the start and never again."""
        return self.when is When.START

    @property
    def changed(self) -> str:
        """When it may be changed, in words."""
        return "; ".join(filter(None, (self.when.value, self.also)))

    @property
    def loose(self) -> bool:
        """Whether rclpy's own check of types would refuse what people write: 2 for 2.0, []."""
        return self.kind in (float, tuple)

    @property
    def declared(self) -> Any:
        """The default as rclpy takes it: no list there can be empty, so "" stands for none."""
        return list(self.default) or [""] if self.kind is tuple else self.default

    def limits(self, between: str = "..") -> str:
        """What a number may be, as "0..1024" or "0 or 8..16"; "" where nothing limits it."""
        if self.low is None or self.high is None:
            return ""
        return "0 or " * self.or_zero + f"{self.low:.10g}{between}{self.high:.10g}"

    def read(self, value: Any) -> Any:
        """The value as a configuration holds it: lists without empty strings, choices as listed.

        value: whatever a client or a file gave, None for what has no type.

        Raises:
            BadRequest: it can't be used, with the value and what is allowed.
        """
        if self.kind is tuple:
            return self._read_list(value)
        kind: Any = (int, float) if self.kind is float else self.kind
        if not isinstance(value, kind) or (self.kind is not bool and isinstance(value, bool)):
            raise self._refusal(value, _NAMES[self.kind])
        if self.choices:
            if value.lower() not in self.choices:
                raise self._refusal(value, f"one of {', '.join(self.choices)}")
            return value.lower()
        if self.low is not None and self.high is not None:
            # False for NaN; before float(), which a whole number of 400 digits does not fit into
            if not (self.low <= value <= self.high or (self.or_zero and value == 0)):
                raise self._refusal(value, self.limits())
        if self.reads is not None and value:
            self._try(value)
        return float(value) if self.kind is float else value

    def _read_list(self, value: Any) -> tuple[str, ...]:
        # An empty list has no type of its own: ROS takes it for one of another type.
        items = list(value) if isinstance(value, (list, tuple, array.array)) else None
        if items is None or not all(isinstance(item, str) for item in items):
            raise self._refusal(value, "a list of strings")
        if self.reads is not None:
            self._try(tuple(items))
        return tuple(item for item in items if item.strip())

    def _try(self, value: Any) -> None:
        assert self.reads is not None
        try:
            self.reads(value)
        except BadRequest as error:
            raise BadRequest(f"{self.name}: {error}") from error

    def _refusal(self, value: Any, allowed: str) -> BadRequest:
        return BadRequest(f"{self.name} is {cut(repr(value), SHOWN)}; it must be {allowed}")

    def check(self, value: Any) -> str:
        """Why the value can't be used, "" when it can."""
        try:
            self.read(value)
        except BadRequest as error:
            return str(error)
        return ""
