"""config/sphinx.rviz and the names of a node -> the same layout for that node and its cameras.

Each camera has the displays of the file: its annotated picture, its own picture below the boxes,
the boxes, and the things in space. Knows no launch and no ROS.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sphinx_ros.ros.camera_names import read_cameras
from sphinx_ros.ros.dock_state import dock_state

NODE, IMAGE = "/sphinx", "/camera/image_raw"
"""The names in config/sphinx.rviz: of the node, whose outputs lie below, and of the pictures."""

CAMERA_DISPLAY = "rviz_default_plugins/Camera"
DOCKS = ("rviz_default_plugins/Image", CAMERA_DISPLAY)
"""Displays that have a dock of their own, from top to bottom."""


class View(NamedTuple):
    """One camera. name: "" for the only one. outputs: what its topics lie below. image: topic."""

    name: str
    outputs: str
    image: str


def views(node: str, namespace: str, image: str, parameters: Mapping[str, Any]) -> list[View]:
    """The cameras of a node.

    Args:
        node, namespace: of the node.
        image: topic of the camera without a name.
        parameters: of the node, by whole names: `cameras`, `front.image`.

    Raises:
        BadRequest: a camera can't have its name.
    """
    outputs = resolved(node, namespace)
    names = read_cameras(tuple(map(str, parameters.get("cameras") or ())))
    if not names:
        return [View("", outputs, resolved(image, namespace))]
    topics = {name: parameters.get(f"{name}.image") or f"{name}/image" for name in names}
    return [
        View(name, f"{outputs}/{name}", resolved(str(topics[name]), namespace, outputs))
        for name in names
    ]


def resolved(name: str, namespace: str, node: str = "") -> str:
    """A name as ROS resolves it: "image" in "robot" -> "/robot/image"."""
    if name.startswith("~/"):
        name = f"{node}/{name[2:]}"
    elif not name.startswith("/"):
        name = f"{namespace}/{name}"
    return "/" + "/".join(filter(None, name.split("/")))


def layout(text: str, cameras: Sequence[View], frame: str = "") -> str:
    """The layout for some cameras. text: config/sphinx.rviz. frame: fixed frame; "": its own."""
    made = yaml.safe_load(text)
    manager = made["Visualization Manager"]
    if frame:
        manager["Global Options"]["Fixed Frame"] = frame
    kept = manager["Displays"]
    own = [one for one in kept if "Topic" in one]
    shown = [display for view in cameras for display in _of_camera(own, view)]
    manager["Displays"] = shown + [one for one in kept if one not in own]
    names = [one["Name"] for one in manager["Displays"]]
    for display in shown:
        if display["Class"] == CAMERA_DISPLAY:
            others = {name: False for name in names if name != display["Name"]}
            display["Visibility"] = {**others, **display["Visibility"]}
    rows = [[one["Name"] for one in shown if one["Class"] == kind] for kind in DOCKS]
    made["Window Geometry"]["QMainWindow State"] = dock_state(rows)
    return yaml.safe_dump(made, sort_keys=False)


def _of_camera(displays: Iterable[dict[str, Any]], view: View) -> list[dict[str, Any]]:
    """The displays of a file, for one camera."""
    made = copy.deepcopy(list(displays))
    names = {one["Name"]: f"{one['Name']} {view.name}".strip() for one in made}
    for display in made:
        display["Name"] = names[display["Name"]]
        topic = display["Topic"]["Value"]
        if topic == IMAGE:
            display["Topic"]["Value"] = view.image
        else:
            display["Topic"]["Value"] = view.outputs + topic.removeprefix(NODE)
        if "Visibility" in display:
            seen = display["Visibility"]
            display["Visibility"] = {names.get(name, name): seen[name] for name in seen}
    return made


def parameters_in(path: Path, node: str, namespace: str) -> dict[str, Any]:
    """The parameters that a file has for a node, by whole names ("front.image").

    Those of all nodes ("/**") and of its name alone, with or without the namespace, are taken in
    the order of the file. A file that rcl would refuse gives what it can.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    whole = resolved(node, namespace)
    keys = {"/**", node, f"/{node}", whole, whole[1:], f"/**/{node}"}
    found: dict[str, Any] = {}
    for key, section in (content if isinstance(content, dict) else {}).items():
        if key in keys and isinstance(section, dict):
            found.update(_flat(section.get("ros__parameters")))
    return found


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {}
    found: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        found.update(_flat(value, f"{name}.") if isinstance(value, dict) else {name: value})
    return found
