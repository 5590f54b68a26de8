"""The whole path without a robot: a simulated camera and the node on the demonstration model."""

import sys
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from sphinx_ros.ros import launch_arguments as words
from sphinx_ros.ros.camera_params import TABLE as CAMERA
from sphinx_ros.ros.launch_table import DEMO as ARGUMENTS
from sphinx_ros.ros.launch_table import DEMO_NODE as NODE

SHARE = Path(__file__).resolve().parent.parent  # launch/ and config/ lie there
FIXED = {
    "image": "/camera/image_raw",
    "camera_info": "",
    "depth": "/camera/depth/image_raw",
    "namespace": "",
    "name": "sphinx",
    "use_sim_time": "false",
    "rviz_frame": "",
}
"""Arguments of sphinx.launch.py that the camera leaves no choice of."""


def start(context):
    """Node, rviz and camera, after every argument was checked. Raises BadRequest."""
    words.check_names(ARGUMENTS, Path(__file__).name, sys.argv)
    said = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    words.given(said)  # the node's own launch file reads them again
    camera = {
        name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
        for name, value in words.given(said, CAMERA).items()
    }
    shown = ("rviz", "web")
    for name in shown:
        words.flag(name, said[name])
    # The node first, because its launch file also sets the transport that the camera needs.
    sphinx = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "sphinx.launch.py")),
        launch_arguments={**FIXED, **{name: said[name] for name in (*NODE, *shown)}}.items(),
    )
    return [
        sphinx,
        Node(
            package="sphinx_ros",
            executable="world_camera",
            namespace="camera",
            parameters=[camera],
            output="screen",
            emulate_tty=True,
        ),
    ]


def generate_launch_description():
    """For launch."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
