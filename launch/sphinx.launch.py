"""Start the node on a camera: ros2 launch sphinx_ros sphinx.launch.py image:=/camera/image_raw"""

import json
import sys
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration, TextSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue

from sphinx_ros.ros import launch_arguments as words
from sphinx_ros.ros.environment import profile_variable, transport
from sphinx_ros.ros.launch_table import SPHINX as ARGUMENTS

CONFIG = Path(__file__).resolve().parent.parent / "config"


def pictures_through(profile: str) -> list:
    """What sets the transport of Fast DDS; nothing where the environment has one."""
    variable, value, said = transport(CONFIG)
    if not variable:
        return []
    if profile:
        return [SetEnvironmentVariable(profile_variable(), profile)]
    return [*([LogInfo(msg=said)] if said else []), SetEnvironmentVariable(variable, value)]


def typed(value):
    """A parameter for launch_ros, which would guess the type of a text or of a list."""
    if isinstance(value, str):
        return ParameterValue(value, value_type=str)
    if isinstance(value, tuple):  # ROS has no empty list without a type: "" stands for none
        text = TextSubstitution(text=json.dumps(list(value) or [""], ensure_ascii=False))
        return ParameterValue(text, value_type=list[str])
    return value


def start(context):
    """The transport and the node, after every argument was checked. Raises BadRequest."""
    words.check_names(ARGUMENTS, Path(__file__).name, sys.argv)
    said = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    overrides = {name: typed(value) for name, value in words.given(said).items()}
    overrides["use_sim_time"] = words.flag("use_sim_time", said["use_sim_time"])
    log_level = words.level(said["log_level"])
    file = words.parameter_file(said["params_file"], CONFIG / "sphinx.yaml")
    remappings = [("image", said["image"])]
    if said["camera_info"]:
        remappings.append(("camera_info", said["camera_info"]))
    node = Node(
        package="sphinx_ros",
        executable="sphinx_node",
        name=said["name"],
        namespace=said["namespace"],
        parameters=[ParameterFile(file, allow_substs=True), overrides],
        remappings=remappings,
        arguments=["--ros-args", "--log-level", log_level],
        output="screen",
        emulate_tty=True,
    )
    return [*pictures_through(said["fastdds_profile"]), node]


def generate_launch_description():
    """For launch."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
