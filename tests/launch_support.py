"""Launch files that are really launched, apart from everything else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ros_support

WHY = "launch and launch_ros are not installed (they are not on PyPI; part of every ROS 2)"
LAUNCH = ros_support.ROOT / "launch"

RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import AnyLaunchDescriptionSource
arguments = [tuple(a.split(":=", 1)) for a in sys.argv[2:]]
service = LaunchService(noninteractive=True)  # so that it passes our SIGINT on
service.include_launch_description(LaunchDescription([
    IncludeLaunchDescription(AnyLaunchDescriptionSource(sys.argv[1]),
                             launch_arguments=arguments)]))
sys.exit(service.run())
"""
"""A program: FILE NAME:=VALUE ..."""


def set_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of a test's processes for this one; skips where launch is missing."""
    pytest.importorskip("launch.launch_service", reason=WHY)
    pytest.importorskip("launch_ros.actions", reason=WHY)
    pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")
    from sphinx_ros.ros.environment import prepare

    for name, value in ros_support.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.environ.get("AMENT_PREFIX_PATH", ""))
    prepare()


def arguments_of(file: str) -> dict:
    """Name -> argument, of a launch file that is loaded and not started."""
    from launch.launch_description_sources import AnyLaunchDescriptionSource

    source = AnyLaunchDescriptionSource(str(LAUNCH / file))
    description = source.try_get_launch_description_without_context()
    return {argument.name: argument for argument in description.get_launch_arguments()}


def launch(file: str, *given: str, log: Path) -> subprocess.Popen:
    """A launch file of this checkout in a process; all that it says goes into the log."""
    with log.open("w") as out:
        return subprocess.Popen(
            [sys.executable, "-c", RUN, str(LAUNCH / file), *given],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(os.environ),
            cwd=log.parent,
        )
