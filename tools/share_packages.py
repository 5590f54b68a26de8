"""Packages of one virtual environment -> links to them in the one that runs this, ROS left out.

    .venv-jazzy/bin/python tools/share_packages.py .venv

An environment for another ROS 2 distribution needs PyTorch and the rest as well, which are 6 GB.
It gets a folder of links, behind its own packages in the search path. pip takes what is linked for
installed, and removes nothing that lies in another environment. ROS packages are not linked: those
of two distributions do not fit together in one process.
"""

from __future__ import annotations

import re
import shutil
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

OWN = ("catkin-pkg", "pip", "setuptools", "sphinx-ros", "wheel")
"""Each environment has these for itself, like the packages whose names begin with "ros-"."""


def shared_names(packages: Path) -> set[str]:
    """Names of what is to be linked in a folder of packages: modules, folders, their metadata."""
    found: set[str] = set()
    for one in distributions(path=[str(packages)]):
        name = re.sub(r"[-_.]+", "-", one.metadata["Name"] or "ros-").lower()
        if name in OWN or name.startswith("ros-"):
            continue
        tops = {Path(file).parts[0] for file in one.files or ()}
        found |= {top for top in tops if top not in ("..", "__pycache__")}
    return {top for top in found if not top.endswith(".pth")}


def share(base: Path, folder: Path, site: Path) -> int:
    """Fill a folder with links to the packages of an environment, and put it into a search path.

    Args:
        base: the other environment.
        folder: for the links; what it held is removed.
        site: the packages of the environment that gets them.

    Returns:
        The number of links; 0 where the other environment has another Python.
    """
    packages = base.resolve() / site.relative_to(site.parents[2])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if not packages.is_dir():
        return 0
    names = [name for name in shared_names(packages) if (packages / name).exists()]
    for name in names:
        (folder / name).symlink_to(packages / name)
    (site / "shared_packages.pth").write_text(f"{folder}\n", encoding="utf-8")
    return len(names)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: share_packages.py ENVIRONMENT")
    number = share(
        Path(sys.argv[1]), Path(sys.prefix) / "shared", Path(sysconfig.get_path("purelib"))
    )
    print(f"{number} packages and files are shared with {sys.argv[1]}")
