"""Values by name -> the node's configuration, or the reason why not.

The rows are in :mod:`sphinx_ros.ros.parameter_table`; a node gets them by
:mod:`sphinx_ros.ros.declaring`. Knows no model and no ROS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from sphinx_ros.errors import BadRequest
from sphinx_ros.ros.parameter_table import ROWS, TABLE, Config

__all__ = ["FOREIGN", "ROWS", "TABLE", "Config", "check", "read", "unknown"]

FOREIGN = ("use_sim_time", "start_type_description_service", "qos_overrides")
"""First parts of the names of parameters that rclpy declares by itself."""


def read(values: Mapping[str, Any]) -> Config:
    """Values by name -> the configuration; what is not given is the default.

    A list that is None is empty: an empty one in a parameter file has no type, and rclpy takes it
    for a parameter that was not set.

    Raises:
        BadRequest: a value can't be used.
    """
    made: dict[str, Any] = {}
    for name, row in ROWS.items():
        if name in values:
            absent = row.kind is tuple and values[name] is None
            made[name] = () if absent else row.read(values[name])
    return Config(**made)


def check(changes: Iterable[Any]) -> str:
    """The first reason against a set of holders of ``name`` and ``value``; "" for none.

    None is refused for every row: rclpy would undeclare what is set to it.
    """
    for change in changes:
        row = ROWS.get(change.name)
        if row is not None and (reason := row.check(change.value)):
            return reason
    return ""


def unknown(names: Iterable[str]) -> list[str]:
    """A sentence for each name that is no parameter, with the nearest that is one.

    Raises:
        BadRequest: a name lies below a parameter, as "queries.detect": a list whose items YAML
            reads as mappings, which would be lost without a word.
    """
    sentences = []
    for name in names:
        first, _, rest = name.partition(".")
        if first in FOREIGN or name in ROWS:
            continue
        if first in ROWS:
            raise BadRequest(
                f"{name} is no parameter: {first} takes a list of strings; write the items with "
                f'quotation marks, as {first}: ["{rest.split(".")[0]}: mug"]'
            )
        near = get_close_matches(name, ROWS, 1, 0.6)
        meant = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(ROWS)}"
        sentences.append(f"{name} is no parameter of this node and does nothing{meant}")
    return sentences
