"""Values by name -> the node's configuration, or the reason why not.

The rows are in :mod:`sphinx_ros.ros.parameter_table`; a node gets them by
:mod:`sphinx_ros.ros.declaring`. Knows no model and no ROS.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from sphinx_ros.errors import BadRequest
from sphinx_ros.ros.parameter_row import Parameter, When
from sphinx_ros.ros.parameter_table import CAMERA_ROWS, ROWS, TABLE, Config

__all__ = [
    "CAMERA_ROWS", "FOREIGN", "ROWS", "TABLE", "Config", "When", "camera_rows", "check", "read",
    "row_of", "unknown",
]  # fmt: skip

REMEDIES = {
    When.INACTIVE: "deactivate the node first (ros2 lifecycle set NODE deactivate)",
    When.UNCONFIGURED: "deactivate and clean up the node first (ros2 lifecycle set NODE "
    "deactivate, then cleanup), and configure it afterwards",
    When.START: "start the node with it",
}
"""What to do about a change that comes at the wrong time."""

FOREIGN = ("use_sim_time", "start_type_description_service", "qos_overrides")
"""First parts of the names of parameters that rclpy declares by itself."""


def read(values: Mapping[str, Any]) -> Config:
    """Values by name -> the configuration; what is not given is the default.

    A list that is None is empty: an empty one in a parameter file has no type, and rclpy takes it
    for a parameter that was not set. Of one camera alone, as "front.max_rate", None is "as for
    all".

    Raises:
        BadRequest: a value can't be used.
    """
    made: dict[str, Any] = {}
    for name, row in ROWS.items():
        if name in values:
            absent = row.kind is tuple and values[name] is None
            made[name] = () if absent else row.read(values[name])
    own: dict[str, dict[str, Any]] = {}
    if reason := _taken(made.get("cameras", ())):
        raise BadRequest(reason)
    for camera in made.get("cameras", ()):
        given = {name: values.get(f"{camera}.{name}") for name in CAMERA_ROWS}
        own[camera] = {
            name: _row_of(camera, name).read(value)
            for name, value in given.items()
            if value is not None
        }
    return Config(**made, own=own)


def _taken(cameras: Iterable[str]) -> str:
    """Why names can't be those of cameras, whose parameters begin with them; "" where they can."""
    for camera in cameras:
        if camera in ROWS or camera in FOREIGN:
            return f"cameras: {camera!r} is the name of a parameter; choose another"
    return ""


def row_of(name: str, cameras: Iterable[str] = ()) -> Parameter | None:
    """The row of a parameter, "front.max_rate" of a camera included; None where it is none."""
    camera, _, rest = name.partition(".")
    if camera in cameras and rest in CAMERA_ROWS:
        return _row_of(camera, rest)
    return ROWS.get(name)


def camera_rows(camera: str) -> list[Parameter]:
    """The parameters of one camera, under their whole names."""
    return [_row_of(camera, name) for name in CAMERA_ROWS]


def _row_of(camera: str, name: str) -> Parameter:
    return replace(CAMERA_ROWS[name], name=f"{camera}.{name}")


def check(
    changes: Iterable[Any],
    state: When = When.START,
    cameras: Iterable[str] = (),
    at_any_time: Collection[str] = (),
) -> str:
    """The first reason against a set of holders of ``name`` and ``value``; "" for none.

    None is refused for every row of the node: rclpy would undeclare what is set to it. Of one
    camera alone, as "front.max_rate", it is "as for all". state: what may be changed now: the
    latest of :class:`When` that the node's state allows. at_any_time: names that may be changed
    all the same.
    """
    stages, cameras = list(When), tuple(cameras)
    for change in changes:
        if not change.name:  # rclpy would take it, whatever is declared
            return "a parameter has an empty name: give the name of one (ros2 param list NODE)"
        row = row_of(change.name, cameras)
        if row is None:
            continue
        if stages.index(row.when) > stages.index(state) and row.name not in at_any_time:
            return f"{row.name} can be changed {row.when.value}: {REMEDIES[row.when]}"
        if change.value is None and row.name not in ROWS:
            continue
        reason = row.check(change.value)
        if not reason and row.name == "cameras":
            reason = _taken(change.value)
        if reason:
            return reason
    return ""


def unknown(names: Iterable[str], cameras: Iterable[str] = ()) -> list[str]:
    """A sentence for each name that is no parameter, with the nearest that is one.

    Raises:
        BadRequest: a name lies below a parameter, as "queries.detect": a list whose items YAML
            reads as mappings, which would be lost without a word.
    """
    sentences, cameras = [], tuple(cameras)
    for name in names:
        first, _, rest = name.partition(".")
        if first in FOREIGN or row_of(name, cameras):
            continue
        if first in ROWS:
            raise BadRequest(
                f"{name} is no parameter: {first} takes a list of strings; write the items with "
                f'quotation marks, as {first}: ["{rest.split(".")[0]}: mug"]'
            )
        known = [*ROWS, *(f"{camera}.{name}" for camera in cameras for name in CAMERA_ROWS)]
        near = get_close_matches(name, known, 1, 0.6)
        meant = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(ROWS)}"
        sentences.append(f"{name} is no parameter of this node and does nothing{meant}")
    return sentences
