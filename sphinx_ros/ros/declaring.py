"""Rows of a table -> parameters of a node, described and with ranges, and their values back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sphinx_ros.errors import BadRequest
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.parameter_row import Parameter
from sphinx_ros.ros.params import ROWS, TABLE, Config, read, unknown


def declare(node: Any) -> Config:
    """Declare the node's table. Raises ValueError with a reason.

    Names that are no parameters are warned about in the node's log.
    """
    try:
        # rclpy has no public way to the names that were given and never declared
        for sentence in unknown(getattr(node, "_parameter_overrides", ())):
            node.get_logger().warning(sentence)
        for row in TABLE:
            value = node.declare_parameter(row.name, row.declared, described(row)).value
            read({row.name: value})  # names the first that can't be used
        return read_node(node)
    except BadRequest as error:
        raise ValueError(f"parameter {error}") from error


def described(row: Parameter) -> m.ParameterDescriptor:
    """What `ros2 param describe` shows of a row, and rclpy checks by itself."""
    about = m.ParameterDescriptor(description=row.description, read_only=row.read_only)
    about.dynamic_typing = row.loose
    if row.choices:
        about.additional_constraints = f"one of: {', '.join(row.choices)}"
    elif row.or_zero:
        about.additional_constraints = row.limits()
    low = 0 if row.or_zero else row.low
    if row.kind is float:
        about.floating_point_range = [m.FloatingPointRange(from_value=low, to_value=row.high)]
    elif row.kind is int:
        about.integer_range = [m.IntegerRange(from_value=low, to_value=row.high, step=1)]
    return about


def read_node(node: Any, changes: Mapping[str, Any] | None = None) -> Config:
    """All parameters of a node as they are now. changes: values that it has not stored yet."""
    return read({**{name: node.get_parameter(name).value for name in ROWS}, **(changes or {})})
