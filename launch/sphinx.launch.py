"""Start the node on a camera: ros2 launch sphinx_ros sphinx.launch.py image:=/camera/image_raw"""

import json
import sys
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.logging import launch_config
from launch.substitutions import LaunchConfiguration, TextSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue

from sphinx_ros.ros import launch_arguments as words
from sphinx_ros.ros import rviz_layout
from sphinx_ros.ros.environment import profile_variable, transport
from sphinx_ros.ros.launch_table import SPHINX as ARGUMENTS
from sphinx_ros.ros.launch_table import USUAL_PORT

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


def rviz(said, parameters):
    """rviz2 on this node's cameras, or a message where it is not installed.

    parameters: of the node, from its file and the command line. The layout is written beside the
    log of the launch.
    """
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return LogInfo(
            msg="rviz2 is not installed (apt install ros-$ROS_DISTRO-rviz2): starting without it"
        )
    usual, node = CONFIG / "sphinx.rviz", (said["name"], said["namespace"])
    cameras = rviz_layout.views(*node, said["image"], parameters)
    text = rviz_layout.layout(usual.read_text("utf-8"), cameras, said["rviz_frame"])
    whole = rviz_layout.resolved(*node).strip("/").replace("/", "_")
    path = Path(launch_config.log_dir) / f"{whole}.rviz"
    path.write_text(text, "utf-8")
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(path)],
        parameters=[{"use_sim_time": words.flag("use_sim_time", said["use_sim_time"])}],
    )


def start(context):
    """The transport, the node and rviz, after every argument was checked. Raises BadRequest."""
    words.check_names(ARGUMENTS, Path(__file__).name, sys.argv)
    said = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    given = words.given(said)
    file = words.parameter_file(said["params_file"], CONFIG / "sphinx.yaml")
    filed = rviz_layout.parameters_in(Path(file), said["name"], said["namespace"])
    if words.flag("web", said["web"]):
        given = {"web_port": filed.get("web_port") or USUAL_PORT, **given}
    overrides = {name: typed(value) for name, value in given.items()}
    overrides["use_sim_time"] = words.flag("use_sim_time", said["use_sim_time"])
    log_level = words.level(said["log_level"])
    remappings = [("image", said["image"]), ("depth", said["depth"])]
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
    shown = []
    if words.flag("rviz", said["rviz"]):
        shown = [rviz(said, {**filed, **given})]
    return [*pictures_through(said["fastdds_profile"]), node, *shown]


def generate_launch_description():
    """For launch."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])
