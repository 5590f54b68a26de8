"""What a process needs around it before rclpy starts, without a `source` step. Knows no node."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def prepare() -> None:
    """Name this Python environment as an ament prefix where it is one and nobody said so.

    ROS 2 from PyPI lies in the environment's root; the index of packages is searched along
    AMENT_PREFIX_PATH, which a normal installation's setup script sets.
    """
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    index = Path(sys.prefix) / "share" / "ament_index" / "resource_index" / "packages"
    if (index / "rclpy").exists() and sys.prefix not in prefixes:
        os.environ["AMENT_PREFIX_PATH"] = os.pathsep.join([*prefixes, sys.prefix])


def profile_variable() -> str:
    """The variable in which Fast DDS looks for its settings; the name changed with version 3."""
    old = os.environ.get("ROS_DISTRO", "") in ("humble", "iron", "jazzy")
    return "FASTRTPS_DEFAULT_PROFILES_FILE" if old else "FASTDDS_DEFAULT_PROFILES_FILE"
