"""The package as ROS and pip see it: manifest, index, interfaces, executables, constants."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from configparser import ConfigParser
from pathlib import Path

import pytest
from patience import PATIENCE

import sphinx_ros
from sphinx_ros.checkpoint.reference import REFERENCES
from sphinx_ros.errors import Status
from sphinx_ros.ros import start
from sphinx_ros.tasks import Task
from sphinx_ros.types import COCO_KEYPOINTS, ScoreSource, Visibility

ROOT = Path(__file__).resolve().parent.parent
INTERFACES = sorted(
    path for kind in ("msg", "srv", "action") for path in (ROOT / kind).glob(f"*.{kind}")
)


def manifest() -> ElementTree.Element:
    return ElementTree.parse(ROOT / "package.xml").getroot()


def names(tag: str) -> set[str]:
    return {element.text for element in manifest().findall(tag)}


def test_manifest_says_what_colcon_and_rosdep_ask():
    root = manifest()
    assert root.get("format") == "3" and root.findtext("name") == "sphinx_ros"
    assert root.findtext("version") == sphinx_ros.__version__
    assert root.findtext("license") == "Apache-2.0"
    assert root.findtext("export/build_type") == "ament_cmake"
    assert root.findtext("member_of_group") == "rosidl_interface_packages"
    wanted = {
        "rclpy",
        "cv_bridge",
        "vision_msgs",
        "python3-numpy",
        "python3-opencv",
        "python3-pytorch-pip",
    }
    assert wanted <= names("exec_depend")
    assert {"python3-timm-pip", "python3-transformers-pip"} <= names("test_depend")
    assert not names("test_depend") & names("exec_depend")


def test_what_the_encoders_are_compared_with_is_an_extra_that_make_installs():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    always, extras = (
        {re.match(r"[\w-]+", line)[0] for line in lines}
        for lines in (project["dependencies"], project["optional-dependencies"]["reference"])
    )
    assert {one.package for one in REFERENCES.values()} | {"torchvision"} == extras
    assert not always & extras
    made = re.search(r'^EXTRAS="(.*)"', (ROOT / "tools" / "setup.sh").read_text(), re.M)
    named = set(made[1].split(","))
    assert "reference" in named and named <= set(project["optional-dependencies"])


def test_manifest_names_every_package_that_the_interfaces_use():
    used = set()
    for path in INTERFACES:
        used |= set(re.findall(r"^(\w+)/\w+", path.read_text(), re.MULTILINE))
    assert used <= names("depend") | {"sphinx_ros"}


def test_changelog_ends_with_this_version():
    assert f"\n{sphinx_ros.__version__} (" in (ROOT / "CHANGELOG.rst").read_text()


@pytest.mark.parametrize("path", INTERFACES, ids=lambda p: p.name)
def test_every_field_is_explained(path):
    """A comment beside each field, above it, or above the run of fields of its type."""
    explained, kind, part = False, "", ""
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            explained, kind = True, ""
        elif not line.strip() or line == "---":
            explained = False
        elif "=" not in line:
            here, part = line.split()[:2]
            explained = explained and kind in ("", here)
            assert explained or "#" in line, f"{path.name}: {part} is not explained"
            kind = here
    assert part, f"{path.name} has no field"


rosidl = pytest.mark.skipif(
    not any((Path(folder) / "msg").is_dir() for folder in sphinx_ros.__path__),
    reason="the ROS interfaces are not built: `pip install .` with ROS 2, or colcon build",
)


@rosidl
def test_all_interfaces_import():
    import sphinx_ros.action
    import sphinx_ros.msg
    import sphinx_ros.srv

    assert len(INTERFACES) >= 16
    for path in INTERFACES:
        module = getattr(sphinx_ros, path.parent.name)
        assert hasattr(module, path.stem), f"{path.name} is not in the built package; build again"


@rosidl
def test_constants_of_messages_equal_those_of_python():
    from sphinx_ros.msg import Detection, Keypoint, Query
    from sphinx_ros.msg import Status as Message

    assert {s.name: s.value for s in Status} == {s.name: getattr(Message, s.name) for s in Status}
    for source in ScoreSource:
        assert getattr(Detection, f"SCORE_{source.name}") == source.value
    for visibility in Visibility:
        assert getattr(Keypoint, visibility.name) == visibility.value
    assert {task.name: task.row.number for task in Task} == {
        task.name: getattr(Query, task.name) for task in Task
    }


def test_status_message_lists_every_status():
    text = (ROOT / "msg" / "Status.msg").read_text()
    stated = {name: int(value) for name, value in re.findall(r"^uint8 (\w+)=(\d+)", text, re.M)}
    assert stated == {status.name: status.value for status in Status}


def test_pose_message_lists_the_joints_in_order():
    text = (ROOT / "msg" / "PersonPose.msg").read_text().replace("\n#", "")
    assert ", ".join(COCO_KEYPOINTS) in re.sub(r"\s+", " ", text)


@rosidl
def test_the_ament_index_knows_the_package_and_ros2_run_its_executables(monkeypatch):
    packages = pytest.importorskip("ament_index_python.packages")
    from sphinx_ros.ros.environment import prepare

    monkeypatch.setenv("AMENT_PREFIX_PATH", os.environ.get("AMENT_PREFIX_PATH", ""))
    prepare()
    prefix = Path(packages.get_package_prefix("sphinx_ros"))
    for name in ("sphinx_node", "world_camera"):
        executable = prefix / "lib" / "sphinx_ros" / name
        assert os.access(executable, os.X_OK), f"{executable} is not executable"
    share = Path(packages.get_package_share_directory("sphinx_ros"))
    for part in ("package.xml", "launch/sphinx.launch.py", "config/sphinx.yaml"):
        assert (share / part).is_file()
    pytest.importorskip("rclpy")
    bare = {k: v for k, v in os.environ.items() if k != "AMENT_PREFIX_PATH"}
    done = subprocess.run(
        [prefix / "lib" / "sphinx_ros" / "sphinx_node", "--ros-args", "-p", "dtype:=int3"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=bare,
        cwd="/",
    )
    assert done.returncode == 2 and "dtype is 'int3'" in done.stderr


def test_what_a_robot_without_a_model_installs_is_part_of_what_the_package_needs():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements" / "robot.txt").read_text().splitlines()
    few = {line for line in lines if line and not line.startswith("#")}
    assert few < set(project["dependencies"])
    assert not any(line.startswith(("torch", "sentencepiece")) for line in few)


def test_what_is_no_python_is_installed_as_well():
    """Every other file beside the modules is of a pattern of package-data."""
    said = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    row = re.search(r"^\[tool\.setuptools\.package-data\]\nsphinx_ros = (\[.*\])$", said, re.M)
    patterns = json.loads(row[1])
    inside = ROOT / "sphinx_ros"
    taken = {path for pattern in patterns for path in inside.glob(pattern)}
    tracked = subprocess.run(
        ["git", "ls-files", "sphinx_ros"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not tracked:
        pytest.skip("not a checkout")
    others = {ROOT / name for name in tracked if not name.endswith(".py")}
    assert others and others <= taken, others - taken


def test_colcon_installs_the_entry_points_that_pip_installs():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    copy = ConfigParser()
    copy.read(ROOT / "cmake" / "entry_points.txt")
    read = {group: dict(copy[group]) for group in copy.sections()}
    assert read == project["entry-points"], "scripts apart, which are executables there"
    for target in read["ros2cli.command"].values():
        module, name = target.split(":")
        source = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text()
        assert f"\nclass {name}(" in source


@pytest.mark.parametrize(
    "missing, remedy",
    [
        ("rclpy", r"pip install '\.\[world,ros\]'"),
        ("sphinx_ros.msg", "SPHINX_ROS_INTERFACES=on"),
    ],
)
def test_commands_say_what_is_not_installed(monkeypatch, missing, remedy):
    monkeypatch.setattr(sys, "argv", ["sphinx_node"])
    monkeypatch.setattr(start, "find_spec", lambda name: None if name == missing else name)
    for command in (start.node, start.camera):
        with pytest.raises(SystemExit, match=remedy):
            command()


def test_importing_the_package_loads_nothing_heavy():
    heavy = "('torch', 'cv2', 'rclpy')"
    code = f"import sphinx_ros, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr
