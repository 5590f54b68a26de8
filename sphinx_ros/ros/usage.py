"""The words after a ROS command: help from the tables of parameters, or a refusal by name.

Knows no rclpy, so that help is there where ROS 2 is not.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sphinx_ros.ros import camera_params, params
from sphinx_ros.ros.parameter_row import Parameter

WIDTH, INDENT = 96, " " * 6


@dataclass(frozen=True)
class Command:
    """One executable: what it does, an example of its words, and its parameters."""

    about: str
    example: str
    table: tuple[Parameter, ...]


COMMANDS = {
    "sphinx_node": Command(
        "The ROS 2 node that answers questions about what a camera sees.",
        "-r image:=/camera/image_raw -p \"queries:=['detect: mug', 'pose']\"",
        params.TABLE,
    ),
    "world_camera": Command(
        "A simulated camera: image_raw (and image_raw/compressed), camera_info, depth/image_raw "
        "and, as JSON on ~/truth, what is true in each picture.",
        "-r __ns:=/camera -p source:=clip -p rate:=5.0",
        camera_params.TABLE,
    ),
}


def answer_words(name: str, words: Sequence[str]) -> int | None:
    """Print help (0) or refuse a word that neither ROS nor the command knows (2); else None."""
    ours, ros = [], False
    for word in words:  # --ros-args begins what rcl reads, -- ends it
        if word == "--ros-args":
            ros = True
        elif word == "--":
            ros = False
        elif not ros:
            ours.append(word)
    if {"-h", "--help"} & set(ours):
        print(help_text(name))
        return 0
    if not ours:
        return None
    print(
        f"{name}: {ours[0]!r} is unknown; parameters and names are given as\n"
        f"  {name} --ros-args {COMMANDS[name].example}\n"
        f"{name} --help lists them",
        file=sys.stderr,
    )
    return 2


def help_text(name: str) -> str:
    """Usage, an example and every parameter with its default, limits and meaning."""
    command = COMMANDS[name]
    lines = [
        f"usage: {name} [-h] [--ros-args [-p PARAMETER:=VALUE] [-r NAME:=NEWNAME]",
        f"       {' ' * len(name)} [--params-file FILE] [--log-level LEVEL] ...]",
        "",
        textwrap.fill(command.about, WIDTH),
        "",
        f"  {name} --ros-args {command.example}",
        "",
        "parameters:",
    ]
    for row in command.table:
        lines.append(f"  {row.name} ({limits(row)})")
        changed = "Set" if row.read_only else "Changed"
        lines += textwrap.wrap(
            f"{row.description} {changed} {row.changed}.",
            WIDTH,
            initial_indent=INDENT,
            subsequent_indent=INDENT,
            break_on_hyphens=False,
        )
    if not all(row.read_only for row in command.table):
        lines += ["", "Changes are made by `ros2 param set NODE PARAMETER VALUE`."]
    return "\n".join(lines)


def limits(row: Parameter) -> str:
    """Default and limits of a parameter in words, as "default 0, 0..1024"."""
    parts = [f"default {spelled(row.default)}"]
    if row.choices:
        parts.append(" | ".join(row.choices))
    elif numbers := row.limits():
        parts.append(f"{numbers} {row.unit}".rstrip())
    return ", ".join(parts)


def spelled(value: Any) -> str:
    """A value as YAML and the command line write it; the empty list is a list of one ""."""
    if isinstance(value, str):
        return value or '""'
    if isinstance(value, (list, tuple)):
        return json.dumps([v for v in value if v])
    return json.dumps(value)
