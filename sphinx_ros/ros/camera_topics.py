"""The topics of a camera by name, as parameters below its name: `front.image`. Knows no ROS."""

from __future__ import annotations

from sphinx_ros.ros.camera_names import read_topic
from sphinx_ros.ros.parameter_row import Parameter, When

TOPICS = {
    row.name: row
    for row in (
        Parameter(
            "image",
            "",
            "Topic of the camera's pictures; empty: `<camera>/image`, which can be remapped.",
            when=When.INACTIVE,
            per_camera=True,
            reads=read_topic,
        ),
        Parameter(
            "camera_info",
            "",
            "Topic of the camera's calibration; empty: camera_info beside its pictures.",
            when=When.INACTIVE,
            per_camera=True,
            reads=read_topic,
        ),
        Parameter(
            "depth",
            "",
            "Topic of the camera's depth; empty: `<camera>/depth`, which can be remapped.",
            when=When.INACTIVE,
            per_camera=True,
            reads=read_topic,
        ),
    )
}
"""What a camera by name has besides, below its name: `front.image`."""
