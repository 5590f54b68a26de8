"""Launch files: their words, and really launched where launch and launch_ros are installed."""

import os
import signal

import launch_support
import pytest
import ros_support
import yaml
from launch_support import arguments_of, launch
from patience import PATIENCE, until

from sphinx_ros.errors import BadRequest
from sphinx_ros.ros import launch_arguments as words
from sphinx_ros.ros.camera_params import TABLE as CAMERA
from sphinx_ros.ros.params import TABLE

ROWS = {row.name: row for row in (*TABLE, *CAMERA)}


@pytest.mark.parametrize(
    "name, word, value",
    [
        ("active", "True", True),
        ("active", "FALSE", False),
        ("max_rate", "2", 2.0),
        ("rate", "2.5", 2.5),
        ("seed", "7", 7),
        ("dtype", "BFloat16", "bfloat16"),
        ("source", "Clip", "clip"),
        ("device", "1", "1"),
        ("queries", "['detect: mug', \"pose\"]", ("detect: mug", "pose")),
        ("queries", "[]", ()),
        ("devices", "[cuda:0, cuda:1]", ("cuda:0", "cuda:1")),
        ("server", "http://gpu-box:8000", "http://gpu-box:8000"),
        ("server", "http://a:1, https://b", "http://a:1, https://b"),
        ("server_quality", "0", 0),
    ],
)
def test_words_become_values_of_the_parameters_types(name, word, value):
    found = words.value_of(ROWS[name], word)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "name, word, says",
    [
        ("active", "maybe", "true or false"),
        ("max_rate", "fast", "must be a number"),
        ("max_rate", "nan", "must be a number"),
        ("max_rate", ".inf", "0..1000"),
        ("max_rate", ".nan", "0..1000"),
        ("rate", "0", "0.1..120"),
        ("seed", "2.5", "whole number"),
        ("seed", "True", "whole number"),
        ("dtype", "int3", "float32"),
        ("queries", "detect: mug", "['detect: mug', 'pose']"),
        ("queries", "[detect: mug]", "list of strings"),
        ("queries", "['detect: mug'", "must be a list"),
        ("queries", "['nonsense']", "nonsense"),
        ("devices", "cuda:0", "['cuda:0', 'cuda:1']"),
    ],
)
def test_words_that_mean_nothing_are_refused_with_what_is_allowed(name, word, says):
    with pytest.raises(BadRequest) as refused:
        words.value_of(ROWS[name], word)
    assert says in str(refused.value) and name in str(refused.value)


def test_only_what_was_given_overrides_the_parameter_file():
    said = {row.name: "" for row in TABLE} | {"dtype": "float16", "active": "False", "other": "1"}
    assert words.given(said) == {"dtype": "float16", "active": False}


@pytest.mark.parametrize("word, value", [("True", True), ("true", True), ("FALSE", False)])
def test_flags_and_levels_in_any_case(word, value):
    assert words.flag("rviz", word) is value
    assert words.level("DEBUG") == "debug"
    with pytest.raises(BadRequest, match="debug, info"):
        words.level("loud")


def test_a_parameter_file_is_read_before_anything_starts(tmp_path):
    usual = ros_support.ROOT / "config" / "sphinx.yaml"
    assert words.parameter_file("", usual) == str(usual)
    broken = tmp_path / "broken.yaml"
    broken.write_text("sphinx: [1,\n")
    for path in (broken, tmp_path / "none.yaml"):
        with pytest.raises(BadRequest, match=path.name):
            words.parameter_file(str(path), usual)


def test_every_row_is_described_with_its_default_and_choices():
    for row in ROWS.values():
        said = words.described(row)
        assert "default" in said and all(choice in said for choice in row.choices)


DECLARED = ["checkpoint", "quantise", "rviz", *ROWS]


@pytest.mark.parametrize(
    "word, says",
    [
        ("check_point:=demo", "did you mean checkpoint"),
        ("quantize:=int8", "did you mean quantise"),
        ("Device:=cpu", "did you mean device"),
        ("xyz:=1", "no argument of sphinx.launch.py: --show-args"),
        (":=1", "no argument"),
    ],
)
@pytest.mark.parametrize("file", ["sphinx.launch.py", "/opt/share/launch/sphinx.launch.py"])
def test_a_name_that_is_no_argument_is_refused_with_what_was_meant(word, says, file):
    command = ["ros2", "launch", "sphinx_ros", file, "checkpoint:=demo", word]
    with pytest.raises(BadRequest, match=says):
        words.check_names(DECLARED, "sphinx.launch.py", command)
    words.check_names(DECLARED, "sphinx.launch.py", command[:-1])


def test_names_of_a_launch_file_that_includes_ours_are_its_own():
    command = ["ros2", "launch", "robot", "robot.launch.py", "check_point:=demo", "lidar:=false"]
    words.check_names(DECLARED, "sphinx.launch.py", command)


# Really launched


@pytest.fixture
def apart(monkeypatch):
    launch_support.set_apart(monkeypatch)


@pytest.mark.ros
@pytest.mark.parametrize("name", ["sphinx", "demo"])
def test_every_parameter_is_an_argument_with_a_description(apart, name):
    arguments = arguments_of(f"{name}.launch.py")
    rows = TABLE if name == "sphinx" else (*TABLE, *CAMERA)
    assert {row.name for row in rows} <= set(arguments)
    for argument in arguments.values():
        assert argument.default_value is not None, argument.name
        assert len(argument.description) > 10, argument.name


@pytest.mark.ros
def test_the_demonstration_lists_only_what_it_heeds(apart):
    fixed = set(arguments_of("sphinx.launch.py")) - set(arguments_of("demo.launch.py"))
    assert fixed == {
        "image", "camera_info", "depth", "namespace", "name", "use_sim_time", "rviz_frame"
    }  # fmt: skip


@pytest.mark.ros
@pytest.mark.parametrize(
    "name, given, says",
    [
        ("sphinx", "use_sim_time:=maybe", "true or false"),
        ("sphinx", "params_file:=/no/such.yaml", "/no/such.yaml"),
        ("demo", "rate:=much", "must be a number"),
        ("demo", "dtype:=int3", "float32"),
        ("demo", "log_level:=loud", "debug, info"),
        ("sphinx", "check_point:=demo", "did you mean checkpoint"),
        ("demo", "quantize:=int8", "did you mean quantise"),
        ("demo", "image:=/elsewhere", "no argument of demo.launch.py"),
    ],
)
def test_a_word_that_cannot_be_used_ends_launch_before_any_process(
    apart, tmp_path, name, given, says
):
    log = tmp_path / "launch.log"
    assert launch(f"{name}.launch.py", given, log=log).wait(PATIENCE) == 1
    assert says in log.read_text() and "process started" not in log.read_text()


@pytest.mark.ros
@pytest.mark.demo
def test_demo_launch_starts_camera_and_node_and_ends_them(apart, tmp_path):
    from ros_support import Client

    from sphinx_ros.ros import messages as m

    log = tmp_path / "launch.log"
    launched = launch(
        "demo.launch.py",
        "source:=Clip",
        "rate:=12.5",
        "rviz:=True",  # which is a message where it is not installed
        "queries:=['detect: mug', 'pose']",
        log=log,
    )
    client = Client("launch")
    try:
        truths = client.listen(m.String, "/camera/world_camera/truth")
        assert client.until(lambda: truths), log.read_text()
        active = client.call("set_queries", m.SetQueries, queries=["nonsense"]).active
        assert [q.text for q in active] == ["mug", ""], "the argument queries did not arrive"
        heard = client.node.get_subscriptions_info_by_topic
        for topic in ("/camera/image_raw", "/camera/camera_info", "/camera/depth/image_raw"):
            assert client.until(lambda topic=topic: heard(topic)), topic  # once it has loaded
            assert [info.node_name for info in heard(topic)] == ["sphinx"]
    finally:
        client.close()
        launched.send_signal(signal.SIGINT)
        launched.wait(PATIENCE)
    said = log.read_text()
    assert said.count("process has finished cleanly") >= 2, said


@pytest.mark.ros
def test_rviz_is_started_on_the_topics_of_this_node(apart, tmp_path, monkeypatch):
    """A program in rviz2's place, which can't be installed here, keeps what it was given."""
    (tmp_path / "share/ament_index/resource_index/packages").mkdir(parents=True)
    (tmp_path / "share/ament_index/resource_index/packages/rviz2").touch()
    program = tmp_path / "lib/rviz2/rviz2"
    program.parent.mkdir(parents=True)
    shown = tmp_path / "shown.rviz"
    program.write_text(f'#!/bin/sh\ncp "$2" {tmp_path}/copy && mv {tmp_path}/copy {shown}\n')
    program.chmod(0o755)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path}:{os.environ['AMENT_PREFIX_PATH']}")
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))
    file, log = tmp_path / "robot.yaml", tmp_path / "launch.log"
    file.write_text("/**: {ros__parameters: {cameras: [front, wrist], front: {image: /f/raw}}}")
    given = ("rviz:=true", "rviz_frame:=base", "namespace:=robot", f"params_file:={file}")
    launched = launch("sphinx.launch.py", *given, "checkpoint:=/no/such/folder", log=log)
    try:
        until(shown.exists)
    finally:
        launched.send_signal(signal.SIGINT)
        launched.wait(PATIENCE)
    assert shown.exists(), log.read_text()
    made = yaml.safe_load(shown.read_text())["Visualization Manager"]
    assert made["Global Options"]["Fixed Frame"] == "base"
    topics = {one["Topic"]["Value"] for one in made["Displays"] if "Topic" in one}
    assert topics == {
        "/f/raw", "/robot/wrist/image", "/robot/sphinx/front/annotated",
        "/robot/sphinx/wrist/annotated", "/robot/sphinx/front/markers",
        "/robot/sphinx/wrist/markers",
    }  # fmt: skip
