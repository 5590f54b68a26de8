"""What a process needs around it before rclpy starts, without a `source` step. Knows no node."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
ROOMY = 256 << 20
"""Free bytes of shared memory from which a camera, the node, rviz and one more process get the
segment of 64 MiB that config/fastdds.xml gives each."""
NARROW = 48 << 20
"""The same for the 8 MiB of config/fastdds_small.xml."""
TRANSPORT_VARIABLES = (
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "FASTRTPS_DEFAULT_PROFILES_FILE",
    "FASTDDS_BUILTIN_TRANSPORTS",
)
"""Where one of these is set, the user has chosen a transport, and it stays."""
SEGMENTS = ("fastdds_", "fastrtps_")
"""How the names of its shared memory begin, from version 3 on and before."""
YOUNG = 10.0  # seconds


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
    """The variable in which Fast DDS looks for its settings; the name changed with version 3.

    A sourced installation says its distribution. ROS 2 from PyPI does not, and has the library of
    version 2 under its own name.
    """
    distribution = os.environ.get("ROS_DISTRO", "")
    second = (Path(sys.prefix) / "lib" / "libfastrtps.so").exists()
    old = distribution in ("humble", "iron", "jazzy") if distribution else second
    return "FASTRTPS_DEFAULT_PROFILES_FILE" if old else "FASTDDS_DEFAULT_PROFILES_FILE"


def transport(folder: Path) -> tuple[str, str, str]:
    """(variable, value, what to tell the user or "") that lets pictures through in Fast DDS.

    All are "" where nothing is to be set: the user has chosen, or the middleware is another one.
    A segment that does not fit into the shared memory costs red lines at every start and the
    speed of shared memory, so a container with the usual 64 MB gets smaller ones.

    folder: where fastdds.xml and fastdds_small.xml lie.
    """
    other = "fastrtps" not in os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    if other or any(os.environ.get(name) for name in TRANSPORT_VARIABLES):
        return "", "", ""
    free = free_shared_memory()
    if free is None or free >= ROOMY:
        return profile_variable(), str(folder / "fastdds.xml"), ""
    said = (
        f"{SHARED_MEMORY} has {free >> 20} MB free, {ROOMY >> 20} are wanted: {{}}. In a "
        "container: docker run --shm-size=512m"
    )
    if free >= NARROW:
        words = said.format("pictures above 7 MB travel in pieces and may be lost")
        return profile_variable(), str(folder / "fastdds_small.xml"), words
    return "FASTDDS_BUILTIN_TRANSPORTS", "UDPv4", said.format("pictures travel over UDP, slowly")


def free_shared_memory() -> int | None:
    """Bytes, None where the system has no such folder."""
    try:
        found = os.statvfs(SHARED_MEMORY)
    except (OSError, AttributeError):
        return None
    return found.f_bavail * found.f_frsize


def widen_transport(name: str) -> None:
    """Set what :func:`transport` says for this process and its children, and say it in a line.

    name: the command, for that line.
    """
    variable, value, said = transport(config_folder())
    if variable.endswith("_FILE") and not Path(value).exists():
        return
    if variable:
        os.environ[variable] = value
    if said:
        print(f"{name}: {said}", file=sys.stderr, flush=True)


def sweep_shared_memory(folder: Path = SHARED_MEMORY) -> None:
    """Remove what processes that were killed have left of Fast DDS, up to 70 MB for each.

    A process holds a lock on NAME_el as long as it lives and uses NAME; a lock that can be had is
    the middleware's own sign of a dead one. What is younger than :data:`YOUNG` is left alone: its
    process may be about to take the lock.
    """
    for lock in (path for start in SEGMENTS for path in folder.glob(f"{start}*_el")):
        if "port" in lock.name:  # shared by several processes, small, and cleaned by the next
            continue
        try:
            if time.time() - lock.stat().st_mtime < YOUNG:
                continue
            with lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lock.with_name(lock.name.removesuffix("_el")).unlink(missing_ok=True)
                lock.unlink()
        except OSError:  # alive, somebody else's, or gone by now
            continue


def config_folder() -> Path:
    """Where config/ of this package lies: beside the sources, or in the share folder."""
    beside = Path(__file__).resolve().parents[2] / "config"
    if (beside / "fastdds.xml").exists():
        return beside
    from ament_index_python.packages import get_package_share_directory

    return Path(get_package_share_directory("sphinx_ros")) / "config"
