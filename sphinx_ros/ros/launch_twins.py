"""The arguments of our launch files -> the same files in XML and in YAML.

    python -m sphinx_ros.ros.launch_twins [FOLDER]    # launch/ of the checkout

A twin declares every argument with its default and description, so that it can be read and listed
like any other, and hands all of them to the Python file, which checks them and starts the
processes: one place for what happens. Knows no launch and no node.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.sax.saxutils import quoteattr

from sphinx_ros.ros.launch_table import DEMO, SPHINX, Arguments
from sphinx_ros.runtime.files import write_text

FOLDER = Path(__file__).resolve().parents[2] / "launch"

_HEAD = (
    "{what}",
    "The same arguments as {name}.launch.py, which checks them and starts the processes.",
    "Written by python -m sphinx_ros.ros.launch_twins from sphinx_ros/ros/launch_table.py.",
)
_WHAT = {
    "sphinx": "Start the node on a camera: ros2 launch sphinx_ros sphinx.launch.{kind} image:=/X",
    "demo": "A simulated camera and the node: ros2 launch sphinx_ros demo.launch.{kind}",
}


def xml(name: str, arguments: Arguments) -> str:
    """The text of NAME.launch.xml."""
    lines = ['<?xml version="1.0"?>', "<!--", *(f"  {line}" for line in _head(name, "xml")), "-->"]
    lines.append("<launch>")
    for argument, (default, description) in arguments.items():
        lines.append(f"  <arg name={quoteattr(argument)} default={quoteattr(default)}")
        lines.append(f"    description={quoteattr(description)}/>")
    lines.append(f'  <include file="$(dirname)/{name}.launch.py">')
    lines += [f'    <arg name="{one}" value="$(var {one})"/>' for one in arguments]
    return "\n".join([*lines, "  </include>", "</launch>", ""])


def yaml(name: str, arguments: Arguments) -> str:
    """The text of NAME.launch.yaml."""
    lines = [*(f"# {line}" for line in _head(name, "yaml")), "launch:"]
    for argument, (default, description) in arguments.items():
        lines += ["- arg:", f"    name: {argument}", f"    default: {_quoted(default)}"]
        lines.append(f"    description: {_quoted(description)}")
    lines += ["- include:", f'    file: "$(dirname)/{name}.launch.py"', "    arg:"]
    for argument in arguments:
        lines += [f"    - name: {argument}", f'      value: "$(var {argument})"']
    return "\n".join([*lines, ""])


def _head(name: str, kind: str) -> list[str]:
    return [line.format(what=_WHAT[name].format(kind=kind), name=name) for line in _HEAD]


def _quoted(text: str) -> str:
    """A double-quoted scalar of YAML, which JSON's strings are."""
    return json.dumps(text, ensure_ascii=False)


def twins() -> dict[str, str]:
    """File name -> text, of all twins."""
    tables = {"sphinx": SPHINX, "demo": DEMO}
    return {
        f"{name}.launch.{kind}": write(name, arguments)
        for name, arguments in tables.items()
        for kind, write in (("xml", xml), ("yaml", yaml))
    }


def main() -> None:
    """Write all twins into a folder, each whole."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name, text in twins().items():
        write_text(folder / name, text)


if __name__ == "__main__":
    main()
