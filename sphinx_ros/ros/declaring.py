"""Rows of a table -> parameters of a node, described and with ranges, and their values back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sphinx_ros.errors import BadRequest
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.parameter_row import Parameter
from sphinx_ros.ros.params import (
    CAMERA_ROWS,
    FOREIGN,
    ROWS,
    TABLE,
    Config,
    camera_rows,
    read,
    row_of,
    unknown,
)


def declare(node: Any) -> Config:
    """Declare the node's table, and that of its cameras. Raises ValueError with a reason.

    Names that are no parameters are warned about in the node's log.
    """
    try:
        for row in TABLE:
            value = node.declare_parameter(row.name, row.declared, described(row)).value
            read({row.name: value})  # names the first that can't be used
        config = read_node(node)
        declare_cameras(node, config)
        # rclpy has no public way to the names that were given and never declared
        given = getattr(node, "_parameter_overrides", ())
        for sentence in unknown(given, config.cameras):
            node.get_logger().warning(sentence)
        return read_node(node)
    except BadRequest as error:
        raise ValueError(f"parameter {error}") from error


def declare_cameras(node: Any, config: Config) -> None:
    """Declare what each camera can have of its own, and no more what cameras had that are gone."""
    rows = {row.name: row for camera in config.cameras for row in camera_rows(camera)}
    for name in list(getattr(node, "_parameters", ())):
        first, _, rest = name.partition(".")
        if rest in CAMERA_ROWS and first not in FOREIGN and name not in rows:
            node.undeclare_parameter(name)
    for name, row in rows.items():
        if not node.has_parameter(name):
            _declare_unset(node, row)


def declare_again(node: Any, changes: Iterable[Any], cameras: Iterable[str]) -> None:
    """Declare what a change has taken back of a camera: rclpy undeclares what is not set."""
    for change in changes:
        row = row_of(change.name, cameras)
        if change.value is None and row is not None and not node.has_parameter(row.name):
            _declare_unset(node, row, ignore_override=True)


def _declare_unset(node: Any, row: Parameter, **options: Any) -> None:
    """A camera's own value, which is as for all cameras unless it was given at the start."""
    about = described(row)
    about.dynamic_typing = True  # not set: as for all cameras
    about.floating_point_range, about.integer_range = [], []
    if limits := row.limits():
        about.additional_constraints = f"{limits}; {about.additional_constraints}"
    node.declare_parameter(row.name, None, about, **options)


def described(row: Parameter) -> m.ParameterDescriptor:
    """What `ros2 param describe` shows of a row, and rclpy checks by itself."""
    about = m.ParameterDescriptor(description=row.description, read_only=row.read_only)
    about.dynamic_typing = row.loose
    words = [f"one of: {', '.join(row.choices)}" if row.choices else row.limits() * row.or_zero]
    words += [f"unit: {row.unit}" if row.unit else "", f"changed {row.changed}"]
    about.additional_constraints = "; ".join(filter(None, words))
    low = 0 if row.or_zero else row.low
    if row.kind is float:
        about.floating_point_range = [m.FloatingPointRange(from_value=low, to_value=row.high)]
    elif row.kind is int:
        about.integer_range = [m.IntegerRange(from_value=low, to_value=row.high, step=1)]
    return about


def against(node: Any, changes: Mapping[str, Any]) -> str:
    """Why values can't be used with those that stay, as of a camera that is named anew; or ""."""
    try:
        read_node(node, changes)
    except BadRequest as error:
        return str(error)
    return ""


def read_node(node: Any, changes: Mapping[str, Any] | None = None) -> Config:
    """All parameters of a node as they are now. changes: values that it has not stored yet."""
    values = {name: node.get_parameter(name).value for name in ROWS}
    values.update(changes or {})
    cameras = read({"cameras": values["cameras"]}).cameras
    for row in (row for camera in cameras for row in camera_rows(camera)):
        if row.name not in values and node.has_parameter(row.name):
            values[row.name] = node.get_parameter(row.name).value
    return read(values)
