"""The launch files, really launched: where the packages launch and launch_ros are installed."""

import importlib.util
import os
import signal
import subprocess
import sys
import time

import pytest

WHY = "launch and launch_ros are not installed (they are not on PyPI; part of every ROS 2)"
pytest.importorskip("launch.launch_service", reason=WHY)
pytest.importorskip("launch_ros.actions", reason=WHY)
pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")

import ros_support  # noqa: E402
from ros_support import Client  # noqa: E402

from sphinx_ros.errors import Status  # noqa: E402
from sphinx_ros.ros import messages as m  # noqa: E402
from sphinx_ros.ros.environment import prepare  # noqa: E402

pytestmark = pytest.mark.ros

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


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    for name, value in ros_support.environment().items():
        monkeypatch.setenv(name, value)
    prepare()


def description(name):
    spec = importlib.util.spec_from_file_location(name, LAUNCH / f"{name}.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


@pytest.mark.parametrize("name", ["sphinx", "demo"])
def test_every_argument_is_described_and_has_a_default(name):
    arguments = description(name).get_launch_arguments()
    assert len(arguments) >= 10
    for argument in arguments:
        assert argument.default_value is not None, argument.name
        assert len(argument.description) > 10, argument.name


def test_demo_launch_starts_camera_and_node_and_ends_them(tmp_path):
    """With a checkpoint that does not exist, as only the wiring is in question here."""
    log = tmp_path / "launch.log"
    with log.open("w") as out:
        launched = subprocess.Popen(
            [
                sys.executable,
                "-c",
                RUN,
                str(LAUNCH / "demo.launch.py"),
                "source:=clip",
                "checkpoint:=/no/such/folder",
                "queries:=['detect: mug', 'pose']",
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(os.environ),
            cwd=tmp_path,
        )
    client = Client("launch")
    try:
        truths = client.listen(m.String, "/camera/world_camera/truth")
        result = client.ground(text="the red mug")
        assert result.status.code == Status.NOT_ACTIVE
        assert client.until(lambda: truths, 60), log.read_text()
        active = client.call("set_queries", m.SetQueries, queries=["nonsense"]).active
        assert [q.text for q in active] == ["mug", ""], "the argument queries did not arrive"
        pictures = client.node.get_subscriptions_info_by_topic("/camera/image_raw")
        assert [info.node_name for info in pictures] == ["sphinx"]
    finally:
        client.close()
        begun = time.monotonic()
        launched.send_signal(signal.SIGINT)
        launched.wait(30)
    said = log.read_text()
    assert said.count("process has finished cleanly") == 2, said
    assert time.monotonic() - begun < 15
