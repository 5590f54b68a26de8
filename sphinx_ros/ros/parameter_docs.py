"""The tables of parameters -> config/sphinx.yaml, docs/parameters.md and the launch files' twins.

    python -m sphinx_ros.ros.parameter_docs [FOLDER]    # the checkout

Whoever changes a row runs this and nothing else. Knows no node and no model.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from sphinx_ros.ros import camera_params, launch_twins
from sphinx_ros.ros.camera_topics import TOPICS
from sphinx_ros.ros.parameter_row import Parameter, When
from sphinx_ros.ros.parameter_table import TABLE
from sphinx_ros.ros.params import REMEDIES
from sphinx_ros.ros.usage import spelled
from sphinx_ros.runtime.files import write_text

ROOT = Path(__file__).resolve().parents[2]

COMMAND = "python -m sphinx_ros.ros.parameter_docs"

WIDTH = 100
"""Columns of the parameter file."""

_KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text", tuple: "list"}

_YAML_HEAD = f"""\
# Parameters of sphinx_node, with their defaults. Copy this file, change what you need and start
#   ros2 launch sphinx_ros sphinx.launch.py params_file:=/path/to/yours.yaml
# `ros2 param describe /sphinx NAME` says the same at run time. Behind each comment stand what the
# value may be, its unit, and when it may be changed; "per camera": also below a camera's name.
# Written by {COMMAND} from sphinx_ros/ros/parameter_table.py.

/**:
  ros__parameters:
"""

_PAGE_HEAD = f"""\
# Parameters

Written by `{COMMAND}` from `sphinx_ros/ros/parameter_table.py`.

The parameters of `sphinx_node`. The same names are arguments of the launch files, and
[config/sphinx.yaml](../config/sphinx.yaml) is a file with all of them to start from. A value that
can't be used is refused with the reason, and of several that are set at once none is changed then.
[ros.md](ros.md#parameters) says what is common to all.

| changed | what to do |
|---|---|
"""

_CAMERA = """\
## A camera by name

Below the name of each camera, as `front.image`, beside all that is marked above:"""

_SIMULATED = """\
## The simulated camera

The parameters of `world_camera`, and arguments of demo.launch:"""

_PAGE_TABLE = """\
| parameter | default | range or choices | unit | changed | per camera | |
|---|---|---|---|---|---|---|
"""


def groups(table: tuple[Parameter, ...] = TABLE) -> list[tuple[str, list[Parameter]]]:
    """(heading, rows) in the order of the table."""
    made: list[tuple[str, list[Parameter]]] = []
    for row in table:
        if row.heading or not made:
            made.append((row.heading, []))
        made[-1][1].append(row)
    return made


def parameter_file(table: tuple[Parameter, ...] = TABLE) -> str:
    """The text of config/sphinx.yaml."""
    lines = [_YAML_HEAD.rstrip("\n")]
    for heading, rows in groups(table):
        lines += ["", f"    # --- {heading} ---"]
        for row in rows:
            lines += ["", *_comment(row), f"    {row.name}: {spelled(row.default)}"]
    return "\n".join([*lines, ""])


def _comment(row: Parameter) -> Iterator[str]:
    facts = [_allowed(row, ".."), row.unit, row.changed, "per camera" * row.per_camera]
    paragraphs = [
        *_paragraphs(f"{row.description} {row.more}"),
        f"[{', '.join(filter(None, facts))}]",
    ]
    for text in paragraphs:
        if text.startswith(" "):
            yield f"    # {text}"
        else:
            yield from textwrap.wrap(
                text,
                WIDTH,
                initial_indent="    # ",
                subsequent_indent="    # ",
                break_on_hyphens=False,
                break_long_words=False,
            )


def _paragraphs(text: str) -> list[str]:
    return [line for line in text.rstrip().split("\n") if line]


def _allowed(row: Parameter, between: str) -> str:
    """The limits or choices of a row, else its kind."""
    return " | ".join(row.choices) or row.limits(between) or _KINDS[row.kind]


def page() -> str:
    """The text of docs/parameters.md."""
    legend = [f"| {when.value} | {REMEDIES.get(when, '`ros2 param set`')} |" for when in When]
    parts = [_PAGE_HEAD + "\n".join(legend)]
    for heading, rows in groups():
        parts.append(f"## {heading}\n\n{_rows(rows)}")
        parts += [_about(row) for row in rows if row.more]
    parts += [_CAMERA, _rows(list(TOPICS.values())), _SIMULATED, _rows(list(camera_params.TABLE))]
    return "\n\n".join(parts) + "\n"


def _rows(rows: list[Parameter]) -> str:
    return _PAGE_TABLE + "\n".join(_row(row) for row in rows)


def _row(row: Parameter) -> str:
    kind = _allowed(row, " to ").replace(" | ", ", ")
    own = "yes" if row.per_camera else ""
    cells = (f"`{row.name}`", f"`{spelled(row.default)}`", kind, row.unit, row.changed, own)
    return f"| {' | '.join(cells)} | {row.description} |".replace("|  |", "| |")


def _about(row: Parameter) -> str:
    """What is to be said beyond the table; an example is indented as code."""
    lines = [f"`{row.name}`:"]
    for text in _paragraphs(row.more):
        if text.startswith(" "):
            lines += ["", f"  {text}"] if not lines[-1].startswith("   ") else [f"  {text}"]
        else:
            lines[-1] += f" {text}"
    return "\n".join(lines)


def documents() -> dict[str, str]:
    """Path in the checkout -> text, of all files that follow from the tables."""
    twins = {f"launch/{name}": text for name, text in launch_twins.twins().items()}
    return {"config/sphinx.yaml": parameter_file(), "docs/parameters.md": page(), **twins}


def main() -> None:
    """Write all of them, each whole."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    for name, text in documents().items():
        write_text(folder / name, text)


if __name__ == "__main__":
    main()
