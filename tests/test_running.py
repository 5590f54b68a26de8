"""The life of a ROS process: its words, its transport, and what it leaves behind: nothing."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ros_support
from patience import PATIENCE, until
from shared_memory import segments

from sphinx_ros.ros import camera_params, environment, params
from sphinx_ros.ros.usage import COMMANDS, answer_words, help_text

ROOT = ros_support.ROOT
TABLES = {"sphinx_node": params.TABLE, "world_camera": camera_params.TABLE}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches_every_parameter(name, capsys):
    assert answer_words(name, ["--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: {name}") and "--ros-args" in said
    for row in TABLES[name]:
        assert f"\n  {row.name} (default " in said
        assert all(choice in said for choice in row.choices)
    assert max(map(len, said.splitlines())) < 100


def test_help_needs_neither_ros_nor_torch():
    code = (
        "import sys\n"
        "for name in ('rclpy', 'torch', 'cv2'): sys.modules[name] = None\n"
        "sys.argv = ['sphinx_node', '-h']\n"
        "from sphinx_ros.ros.start import node\n"
        "sys.exit(node())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: sphinx_node")


@pytest.mark.parametrize(
    "words, refused",
    [
        (["checkpoint:=demo"], "checkpoint:=demo"),
        (["--ros-args", "-p", "rate:=2", "--", "--verbose"], "--verbose"),
        (["-p", "rate:=2"], "-p"),
    ],
)
def test_words_that_nobody_reads_are_refused(words, refused, capsys):
    assert answer_words("world_camera", words) == 2
    said = capsys.readouterr().err
    assert repr(refused) in said and "--ros-args" in said and "--help" in said


@pytest.mark.parametrize("words", [[], ["--ros-args", "-p", "help:=1"], ["--ros-args", "--help"]])
def test_words_of_ros_are_left_to_it(words):
    assert answer_words("sphinx_node", words) is None


@pytest.fixture
def untouched(monkeypatch):
    for name in (*environment.TRANSPORT_VARIABLES, "RMW_IMPLEMENTATION", "ROS_DISTRO"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    "free, variable, value",
    [
        (None, "", "fastdds.xml"),
        (8 << 30, "", "fastdds.xml"),
        (64 << 20, "", "fastdds_small.xml"),
        (1 << 20, "FASTDDS_BUILTIN_TRANSPORTS", "UDPv4"),
    ],
)
def test_the_transport_fits_into_the_shared_memory(untouched, capsys, free, variable, value):
    variable = variable or environment.profile_variable()
    untouched.setattr(environment, "free_shared_memory", lambda: free)
    untouched.setenv(variable, "")  # so that what is set here is taken away again
    environment.widen_transport("sphinx_node")
    assert Path(os.environ[variable]).name == value
    said = capsys.readouterr().err
    if free is None or free > 1 << 30:
        assert said == ""
    else:
        assert "--shm-size" in said and said.count("\n") == 1


@pytest.mark.parametrize("name", [*environment.TRANSPORT_VARIABLES, "RMW_IMPLEMENTATION"])
def test_a_transport_that_the_user_chose_stays(untouched, capsys, name):
    untouched.setattr(environment, "free_shared_memory", lambda: 1 << 20)
    untouched.setenv(name, "rmw_cyclonedds_cpp")
    before = dict(os.environ)
    environment.widen_transport("sphinx_node")
    assert dict(os.environ) == before and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "distribution, second, variable",
    [
        ("humble", False, "FASTRTPS_DEFAULT_PROFILES_FILE"),
        ("jazzy", False, "FASTRTPS_DEFAULT_PROFILES_FILE"),
        ("kilted", False, "FASTDDS_DEFAULT_PROFILES_FILE"),
        ("", True, "FASTRTPS_DEFAULT_PROFILES_FILE"),
        ("", False, "FASTDDS_DEFAULT_PROFILES_FILE"),
    ],
)
def test_the_settings_are_named_as_this_fast_dds_reads_them(
    untouched, tmp_path, distribution, second, variable
):
    untouched.setenv("ROS_DISTRO", distribution)
    untouched.setattr(sys, "prefix", str(tmp_path))  # as ROS 2 from PyPI lies in an environment
    (tmp_path / "lib").mkdir()
    if second:
        (tmp_path / "lib" / "libfastrtps.so").touch()
    assert environment.profile_variable() == variable


def test_the_profiles_lie_where_they_are_looked_for():
    for name in ("fastdds.xml", "fastdds_small.xml"):
        assert (environment.config_folder() / name).is_file()


def test_what_killed_processes_left_is_swept_and_nothing_else(tmp_path):
    for name in ("fastdds_dead", "fastrtps_dead", "fastdds_alive", "fastdds_young", "other"):
        (tmp_path / name).touch()
        (tmp_path / f"{name}_el").touch()
        age = 0 if name == "fastdds_young" else 60
        os.utime(tmp_path / f"{name}_el", (time.time() - age,) * 2)
    with (tmp_path / "fastdds_alive_el").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        environment.sweep_shared_memory(tmp_path)
    left = {path.name for path in tmp_path.iterdir() if not path.name.endswith("_el")}
    assert left == {"fastdds_alive", "fastdds_young", "other"}
    assert (tmp_path / "fastdds_alive_el").exists() and not (tmp_path / "fastdds_dead_el").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_of_each_parameter_when_it_may_be_changed(name):
    said = re.sub(r"\s+", " ", help_text(name))
    for row in TABLES[name]:
        changed = "Set at the start" if row.read_only else f"Changed {row.changed}"
        assert f"{row.description} {changed}." in said
    assert ("ros2 param set" in said) == any(not row.read_only for row in TABLES[name])


def wait_for_segments(process: subprocess.Popen) -> None:
    def there():
        return any("port" not in name for name in segments(process.pid))

    until(lambda: process.poll() is not None or there())
    assert process.poll() is None and there(), "it ended, or uses another middleware"


CLIENT = """
import signal, sys
def ended(*_): raise KeyboardInterrupt
for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, ended)
import rclpy
from sphinx_ros.ros.environment import prepare
prepare()
rclpy.init(args=[], signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
from sphinx_ros.ros.demo_client import Client
client = Client(60.0)
print("made", flush=True)
try: client.spin_until(lambda: False, 600)
except KeyboardInterrupt: pass
finally:
    client.close()
    rclpy.try_shutdown()
"""
COMMANDS_RUN = {
    "node": ros_support.program("sphinx_ros.ros.node", "-p", "checkpoint:=/no/such"),
    "camera": ros_support.program("sphinx_ros.ros.world_camera", "-p", "source:=clip"),
    "client": [sys.executable, "-c", CLIENT],
}


@pytest.mark.ros
@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="this system has no /dev/shm")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", COMMANDS_RUN)
def test_no_shared_memory_is_left_behind(name, number):
    """Files that outlive their process fill /dev/shm, 70 MB with each end."""
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")
    started = subprocess.Popen(
        COMMANDS_RUN[name],
        env=ros_support.environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE if name == "client" else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_segments(started)
        assert started.stdout is None or started.stdout.readline() == b"made\n"
        time.sleep(0.5)  # until it has found the ports of the domain as well
        held = segments(started.pid)
        started.send_signal(number)
        assert started.wait(PATIENCE) == 0
    finally:
        started.kill()
    assert [path for path in held if "port" not in path and Path(path).exists()] == []


@pytest.mark.ros
@pytest.mark.parametrize(
    "words, says",
    [
        (["-p", "source:=nowhere"], "source"),
        (["-p", "rate:=500"], "0.1..120"),
        (["-p", "seed"], "seed"),
    ],
)
def test_parameters_that_cannot_be_used_are_one_line(words, says):
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx_ros.ros.world_camera", "--ros-args", *words],
        env=ros_support.environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2
    assert last.startswith("world_camera: ") and says in last
    assert "Traceback" not in done.stderr


def in_a_process(program):
    """A program that runs a node, once it has ended."""
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=ROOT,
        env=ros_support.environment(),
    )


FAILING = """
import logging, signal
from rclpy.node import Node
from sphinx_ros.ros.running import run

class Failing(Node):
    def __init__(self):
        super().__init__("failing")
        self.calls = 0
        self.create_timer(0.01, self.fail)

    def fail(self):
        logging.getLogger("sphinx_ros").warning("mind this")
        self.calls += 1
        if self.calls == 20:
            signal.raise_signal(signal.SIGINT)
        raise ZeroDivisionError(f"call {self.calls}")

run("world_camera", Failing, [])
"""


def test_a_callback_that_always_fails_is_one_line_with_its_trace():
    done = in_a_process(FAILING)
    said = done.stdout + done.stderr
    assert done.returncode == 0
    assert said.count("a callback failed: ZeroDivisionError: call 1\n") == 1, said
    assert said.count("a callback failed") == 1 and said.count("Traceback") == 1
    assert "in fail" in said and said.count("mind this") == 1


ENDING = """
import sys
from rclpy.node import Node
from sphinx_ros.errors import BadRequest
from sphinx_ros.ros.running import run

def begin(node):
    raise BadRequest("begin")

def end(node):
    print("ended")
    raise ZeroDivisionError("end")

class Ending(Node):
    def destroy_node(self):
        super().destroy_node()
        print("destroyed")

run("world_camera", lambda: Ending("ending"), [], begin=begin, end=end)
"""


def test_a_defect_at_the_start_and_one_at_the_end_leave_nothing_behind():
    """Only a node that can't be made is a refusal, of one line and without an end."""
    done = in_a_process(ENDING)
    assert done.returncode == 1 and done.stdout.split() == ["ended", "destroyed"], done.stderr
    assert "BadRequest: begin" in done.stderr and "ZeroDivisionError: end" in done.stderr


INTERRUPTED = """
import runpy, signal, sys

class Pressed:  # Ctrl-C as soon as a module is looked for
    def find_spec(self, name, path=None, target=None):
        if name == moment:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)

module, moment = sys.argv[1:]
del sys.argv[1:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
sys.meta_path.insert(0, Pressed())
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("module", ["sphinx_ros.ros.node", "sphinx_ros.ros.world_camera"])
@pytest.mark.parametrize("moment", ["sphinx_ros.ros.usage", "rclpy", "numpy"])
def test_an_interrupt_while_modules_load_is_no_trace(module, moment):
    command = [sys.executable, "-c", INTERRUPTED, module, moment]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 130, done.stderr
    assert not done.stderr
