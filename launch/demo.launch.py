"""The whole path without a robot: a simulated camera and the node on the demonstration model."""

import sys
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
)
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
    "namespace": "",
    "name": "sphinx",
    "use_sim_time": "false",
}
"""Arguments of sphinx.launch.py that the camera and config/sphinx.rviz leave no choice of."""


def rviz():
    """rviz2 on our configuration, or a message where it is not installed."""
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return LogInfo(
            msg="rviz2 is not installed (apt install ros-$ROS_DISTRO-rviz2): starting without it"
        )
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(SHARE / "config" / "sphinx.rviz")],
    )


def start(context):
    """Node, camera and rviz, after every argument was checked. Raises BadRequest."""
    words.check_names(ARGUMENTS, Path(__file__).name, sys.argv)
    said = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    words.given(said)  # the node's own launch file reads them again
    camera = {
        name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
        for name, value in words.given(said, CAMERA).items()
    }
    shown = [rviz()] if words.flag("rviz", said["rviz"]) else []
    # The node first, because its launch file also sets the transport that the camera needs.
    sphinx = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(SHARE / "launch" / "sphinx.launch.py")),
        launch_arguments={**FIXED, **{name: said[name] for name in NODE}}.items(),
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
        *shown,
    ]


def generate_launch_description():
    """For launch."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
