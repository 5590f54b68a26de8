"""The arguments of the launch files: name -> default and description. Knows no launch, no ROS.

The Python launch files declare these, :mod:`sphinx_ros.ros.launch_twins` writes them into those in
XML and YAML. A row of a table of parameters is an argument by itself.
"""

from __future__ import annotations

from sphinx_ros.ros import launch_arguments as words
from sphinx_ros.ros.camera_params import TABLE as CAMERA
from sphinx_ros.ros.params import TABLE

Arguments = dict[str, tuple[str, str]]
"""Name -> (default, description)."""

_COMMON = {name: ("info" if name == "log_level" else "", s) for name, s in words.COMMON.items()}

RVIZ = ("false", "start rviz2 with config/sphinx.rviz, for these cameras, where it is installed")

USUAL_PORT = 8000
"""Of the page, where web:=true asks for it."""

WEB = ("false", f"serve the page on port {USUAL_PORT}; web_port:=N serves it on another one")

SPHINX: Arguments = {
    "image": ("image", "camera topic, sensor_msgs/Image; compressed pictures: <image>/compressed"),
    "camera_info": ("", "topic with the calibration; empty: camera_info beside the image topic"),
    "depth": ("depth", "topic of depth that is registered to the picture, sensor_msgs/Image"),
    "namespace": ("", "namespace of the node, for several cameras"),
    "name": ("sphinx", "name of the node, and of its topics and services"),
    "use_sim_time": ("false", "follow /clock: with a simulator, or a bag played with --clock"),
    "rviz": RVIZ,
    "rviz_frame": (
        "",
        "rviz's fixed frame, one that TF connects with that of the pictures or the "
        "same; empty: camera_optical_frame",
    ),
    "web": WEB,
    **_COMMON,
    **{row.name: ("", words.described(row)) for row in TABLE},
}
"""Of sphinx.launch. Parameters left empty are as the parameter file says."""

DEMO_OWN = {"queries": "['detect: objects', 'pose', 'ask: how many objects are there?']"}
"""Parameters of the node that have another default in the demonstration than on a robot."""

DEMO_NODE: Arguments = {
    **_COMMON,
    **{row.name: (DEMO_OWN.get(row.name, ""), words.described(row)) for row in TABLE},
}
"""Those of the demonstration that go to the node."""

DEMO: Arguments = {
    **{row.name: ("", "camera: " + words.described(row, "the default")) for row in CAMERA},
    "rviz": RVIZ,
    "web": WEB,
    **DEMO_NODE,
}
"""Of demo.launch."""
