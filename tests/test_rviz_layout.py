"""The layouts for rviz and Foxglove show what a node publishes, for any names and cameras."""

import json
import struct

import pytest
import ros_support
import yaml

from sphinx_ros.errors import BadRequest
from sphinx_ros.ros.dock_state import dock_state
from sphinx_ros.ros.rviz_layout import View, layout, parameters_in, resolved, views

CONFIG = ros_support.ROOT / "config"
TEXT = (CONFIG / "sphinx.rviz").read_text(encoding="utf-8")
USUAL = [View("", "/sphinx", "/camera/image_raw")]


def displays(text):
    shown = yaml.safe_load(text)["Visualization Manager"]["Displays"]
    return {display["Name"]: display for display in shown}


def topics(text):
    return sorted({one["Topic"]["Value"] for one in displays(text).values() if "Topic" in one})


def test_the_file_is_what_the_launch_files_make_of_it_for_the_usual_names():
    assert yaml.safe_load(layout(TEXT, USUAL)) == yaml.safe_load(TEXT)
    assert topics(TEXT) == ["/camera/image_raw", "/sphinx/annotated", "/sphinx/markers"]


def test_the_camera_display_shows_boxes_alone_and_the_3d_view_things_as_well():
    shown = displays(TEXT)
    camera = shown["Camera with boxes"]
    assert camera["Image Rendering"] == "background", "laid over boxes it washes them out"
    visible = {name for name, seen in camera["Visibility"].items() if seen and name != "Value"}
    assert visible == {"Boxes"} and set(camera["Visibility"]) >= set(shown) - {camera["Name"]}
    pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")
    from sphinx_ros.ros.markers import REQUEST, STANDING

    every = {*STANDING, *REQUEST}
    for name, own in (("Boxes", {n.flat for n in (STANDING, REQUEST)}),
                      ("Things", {n.space for n in (STANDING, REQUEST)})):  # fmt: skip
        spaces = shown[name]["Namespaces"]
        assert set(spaces) == every and {one for one, seen in spaces.items() if seen} == own


def test_each_camera_by_name_has_its_own_displays():
    cameras = [View(name, f"/r/sphinx/{name}", f"/{name}/raw") for name in ("front", "wrist")]
    shown = displays(layout(TEXT, cameras, "base_link"))
    assert len(shown) == 2 * 4 + 1
    for name in ("front", "wrist"):
        other = "wrist" if name == "front" else "front"
        camera = shown[f"Camera with boxes {name}"]
        assert camera["Topic"]["Value"] == f"/{name}/raw"
        assert camera["Visibility"][f"Boxes {name}"] and not camera["Visibility"][f"Boxes {other}"]
        for display, topic in (("Annotated", "annotated"), ("Boxes", "markers")):
            value = shown[f"{display} {name}"]["Topic"]["Value"]
            assert value == f"/r/sphinx/{name}/{topic}"
    made = yaml.safe_load(layout(TEXT, cameras, "base_link"))
    assert made["Visualization Manager"]["Global Options"]["Fixed Frame"] == "base_link"
    state = bytes.fromhex(made["Window Geometry"]["QMainWindow State"])
    for name in shown:
        docked = name.startswith(("Annotated", "Camera with"))
        assert (name.encode("utf-16-be") in state) == docked


def docks(state):
    """Name -> (x, y, width, height) of the docks in Qt's saved state, as its reader goes."""
    data, found = bytes.fromhex(state), {}
    assert data[:9] == struct.pack(">IIB", 0xFF, 0, 0xFD)
    areas, left, width, height = struct.unpack_from(">IIII", data, 9)
    assert (areas, left) == (1, 0)

    def sequence(at, across, along):
        """across: (place, size) of the whole in the other direction."""
        assert data[at] == 0xFC
        vertical, number = struct.unpack_from(">BI", data, at + 1)
        at += 6
        for _ in range(number):
            if data[at] == 0xFC:
                place = struct.unpack_from(">II", data, at + 1)
                at = sequence(at + 17, place, across)
                continue
            length = struct.unpack_from(">I", data, at + 1)[0]
            name = data[at + 5 : at + 5 + length].decode("utf-16-be")
            at += 5 + length
            shown, place, size, _, _ = struct.unpack_from(">BIIII", data, at)
            assert shown == 1
            box = (across, (place, size)) if vertical == 2 else ((place, size), across)
            found[name] = tuple(pair[0] for pair in box) + tuple(pair[1] for pair in box)
            at += 17
        return at

    end = sequence(25, (0, width), (0, height))
    assert data[end : end + 4] == struct.pack(">I", 388)
    return found


def test_docks_share_the_window():
    """Tried with Qt 5 itself: `restoreState` takes these states and gives these sizes."""
    alone = docks(dock_state([["Annotated"], ["Camera with boxes"]]))
    assert alone == {"Annotated": (0, 62, 996, 447), "Camera with boxes": (0, 515, 996, 446)}
    grid = docks(dock_state([["A 1", "A 2", "A 3"], ["C 1", "C 2", "C 3"]]))
    assert grid["A 1"] == (0, 62, 328, 447) and grid["C 3"] == (668, 515, 328, 446)
    assert len(grid) == 6


def test_the_cameras_of_a_node_are_found_as_the_node_finds_them(tmp_path):
    assert views("sphinx", "", "image", {}) == [View("", "/sphinx", "/image")]
    assert views("eyes", "/robot/a", "cam/raw", {"cameras": [""]}) == [
        View("", "/robot/a/eyes", "/robot/a/cam/raw")
    ]
    path = tmp_path / "robot.yaml"
    path.write_text(
        "/**: {ros__parameters: {cameras: [front, wrist], max_rate: 1.0}}\n"
        "other: {ros__parameters: {cameras: [back]}}\n"
        "/robot/sphinx: {ros__parameters: {front: {image: /f/raw}, wrist.image: ~/w}}\n"
        "nonsense: 3\n"
    )
    filed = parameters_in(path, "sphinx", "robot")
    assert filed["max_rate"] == 1.0 and filed["front.image"] == "/f/raw"
    assert views("sphinx", "robot", "image", filed) == [
        View("front", "/robot/sphinx/front", "/f/raw"),
        View("wrist", "/robot/sphinx/wrist", "/robot/sphinx/w"),
    ]
    path.write_text("[1, 2]")
    assert parameters_in(path, "sphinx", "robot") == {}
    with pytest.raises(BadRequest, match="Front"):
        views("sphinx", "", "image", {"cameras": ["Front"]})
    assert resolved("image", "/robot/") == "/robot/image"


def test_the_file_of_parameters_that_is_shipped_names_no_cameras():
    filed = parameters_in(CONFIG / "sphinx.yaml", "sphinx", "")
    assert views("sphinx", "", "image", filed) == [View("", "/sphinx", "/image")]


# Foxglove

FOXGLOVE = json.loads((CONFIG / "sphinx_foxglove.json").read_text(encoding="utf-8"))


def panels(tree):
    """The identifiers in a tree of panels, from left to right."""
    if isinstance(tree, str):
        return [tree]
    assert set(tree) == {"first", "second", "direction", "splitPercentage"}
    assert tree["direction"] in ("row", "column") and 0 < tree["splitPercentage"] < 100
    return [*panels(tree["first"]), *panels(tree["second"])]


def texts(tree):
    """All texts in a JSON value, names of keys included."""
    if isinstance(tree, dict):
        return {*tree, *(text for value in tree.values() for text in texts(value))}
    if isinstance(tree, list):
        return {text for value in tree for text in texts(value)}
    return {tree} if isinstance(tree, str) else set()


def test_foxglove_s_layout_holds_each_panel_once_and_topics_that_are_there():
    shown = panels(FOXGLOVE["layout"])
    assert sorted(shown) == sorted(FOXGLOVE["configById"]) and len(set(shown)) == len(shown)
    kinds = {name.partition("!")[0] for name in shown}
    assert kinds == {"Image", "3D", "RawMessages", "DiagnosticSummary", "DiagnosticStatusPanel"}
    topics = {text for text in texts(FOXGLOVE["configById"]) if text.startswith("/")}
    assert topics == {
        "/camera/image_raw", "/camera/camera_info", "/diagnostics", "/sphinx/detections",
        "/sphinx/answers", "/sphinx/markers", "/sphinx/annotated/compressed",
        "/sphinx/image_annotations",
    }  # fmt: skip


def test_foxglove_s_3d_panel_shows_the_things_in_space_alone():
    pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")
    from sphinx_ros.ros.markers import REQUEST, STANDING

    spaces = FOXGLOVE["configById"]["3D!things"]["topics"]["/sphinx/markers"]["namespaces"]
    shown = {name for name, settings in spaces.items() if settings["visible"]}
    assert shown == {STANDING.space, REQUEST.space}
    assert set(spaces) == {*STANDING, *REQUEST}
