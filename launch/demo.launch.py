"""The whole path without a robot: a simulated camera and the node on the demonstration model."""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

SHARE = get_package_share_directory("sphinx_ros")
QUERIES = "['detect: objects', 'pose', 'ask: how many objects are there?']"

ARGUMENTS = (
    ("source", "auto", "camera: world (simulated, needs OpenGL), clip (recorded) or auto"),
    ("seed", "1", "which simulated tabletop"),
    ("rate", "10", "pictures per second, a whole number"),
    ("rviz", "false", "start rviz2 with config/sphinx.rviz, where it is installed"),
    # Declared again here, because the demonstration has other defaults than a robot.
    ("queries", QUERIES, "standing queries as a YAML list"),
    ("image_transport", "raw", "raw or compressed pictures between camera and node"),
)
CHOICES = {
    "source": ["auto", "world", "clip"],
    "rviz": ["true", "false"],
    "image_transport": ["raw", "compressed"],
}


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(
            name, default_value=default, description=description, choices=CHOICES.get(name)
        )
        for name, default, description in ARGUMENTS
    ]
    # First, because it also sets the transport that the camera needs.
    sphinx = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(os.path.join(SHARE, "launch", "sphinx.launch.py")),
        launch_arguments={
            "image": "/camera/image_raw",
            "image_transport": LaunchConfiguration("image_transport"),
            "queries": LaunchConfiguration("queries"),
        }.items(),
    )
    camera = Node(
        package="sphinx_ros",
        executable="world_camera",
        namespace="camera",
        parameters=[
            {
                "source": LaunchConfiguration("source"),
                "seed": ParameterValue(LaunchConfiguration("seed"), value_type=int),
                "rate": ParameterValue(LaunchConfiguration("rate"), value_type=int),
            }
        ],
        output="screen",
        emulate_tty=True,
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", os.path.join(SHARE, "config", "sphinx.rviz")],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return LaunchDescription([*declared, sphinx, camera, rviz])
