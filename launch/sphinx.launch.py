"""Start the node on a camera: ros2 launch sphinx_ros sphinx.launch.py image:=/camera/image_raw"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue

from sphinx_ros.ros.environment import profile_variable

SHARE = get_package_share_directory("sphinx_ros")

# name, default, description. An empty default leaves the value to the parameter file.
ARGUMENTS = (
    ("image", "image", "camera topic, sensor_msgs/Image; compressed pictures: <image>/compressed"),
    ("camera_info", "", "topic with the calibration; empty: camera_info beside the image topic"),
    ("image_transport", "", "raw or compressed pictures; empty: as params_file says"),
    (
        "checkpoint",
        "",
        "demo, a published name such as sphinx-tiny-1k (downloaded when it is not there), "
        "hf://owner/repo/folder, or a folder; empty: as params_file says",
    ),
    ("device", "", "auto, cpu, cuda, cuda:1, ...; empty: as params_file says"),
    ("devices", "", "several that share it, \"['cuda:0', 'cuda:1']\"; empty: as params_file says"),
    ("quantise", "", "none, int8, int4 or nf4, for the decoder; empty: as params_file says"),
    ("queries", "", "standing queries, \"['detect: mug', 'pose']\"; empty: as params_file"),
    ("params_file", os.path.join(SHARE, "config", "sphinx.yaml"), "all parameters, commented"),
    ("namespace", "", "namespace of the node, for several cameras"),
    ("name", "sphinx", "name of the node, and of its topics and services"),
    ("use_sim_time", "false", "follow /clock: with a simulator, or a bag played with --clock"),
    ("log_level", "info", "debug, info, warn or error"),
    (
        "fastdds_profile",
        os.path.join(SHARE, "config", "fastdds.xml"),
        "transport settings for large pictures in Fast DDS; used unless the environment has some. "
        "The camera's process needs them too: export FASTDDS_DEFAULT_PROFILES_FILE there",
    ),
)
CHOICES = {
    "image_transport": ["", "raw", "compressed"],
    "quantise": ["", "none", "int8", "int4", "nf4"],
    "use_sim_time": ["true", "false"],
    "log_level": ["debug", "info", "warn", "error"],
}


def transport():
    """The variable that Fast DDS reads. What the user has set stays; others ignore it."""
    name = profile_variable()
    own = LaunchConfiguration("fastdds_profile")
    return SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=own))


def sphinx_node(context):
    """The node with the arguments that were given; those left empty fall to the file."""
    given = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    overrides = {"use_sim_time": given["use_sim_time"] == "true"}
    for name, kind in (
        ("checkpoint", str),
        ("device", str),
        ("devices", list[str]),
        ("quantise", str),
        ("image_transport", str),
        ("queries", list[str]),
    ):
        if given[name]:
            overrides[name] = ParameterValue(LaunchConfiguration(name), value_type=kind)
    remappings = [("image", given["image"])]
    if given["camera_info"]:
        remappings.append(("camera_info", given["camera_info"]))
    return [
        Node(
            package="sphinx_ros",
            executable="sphinx_node",
            name=given["name"],
            namespace=given["namespace"],
            parameters=[ParameterFile(given["params_file"], allow_substs=True), overrides],
            remappings=remappings,
            arguments=["--ros-args", "--log-level", given["log_level"]],
            output="screen",
            emulate_tty=True,
        )
    ]


def generate_launch_description():
    declared = [
        DeclareLaunchArgument(
            name, default_value=default, description=description, choices=CHOICES.get(name)
        )
        for name, default, description in ARGUMENTS
    ]
    return LaunchDescription([*declared, transport(), OpaqueFunction(function=sphinx_node)])
