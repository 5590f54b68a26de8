"""`ros2 sphinx VERB TEXT`: words to a question, and what a running node answers as lines."""

import signal
import subprocess
import sys
import threading

import pytest
from patience import PATIENCE, until

from sphinx_ros.ros.query_words import Words, add_verbs
from sphinx_ros.tasks import Task
from sphinx_ros.types import iou


def read(*words):
    import argparse

    parser = argparse.ArgumentParser(prog="ros2 sphinx")
    add_verbs(parser)
    return Words.of(parser.parse_args(words))


def test_every_task_is_a_verb_with_its_example():
    for task in Task:
        said = read(task.value, *task.row.example.split())
        assert said == Words(task, task.row.example)


def test_options():
    said = read("ground", "the", "red mug", "--node", "/arm/sphinx", "--timeout", "2.5")
    assert said == Words(Task.GROUND, "the red mug", "/arm/sphinx", "", 2.5)
    assert read("caption", "--camera", "wrist").camera == "wrist"
    assert read("pose").text == ""


@pytest.mark.parametrize(
    "words", [["ground"], ["describe"], ["caption", "it"], ["ground", "x", "--timeout", "-1"], []]
)
def test_words_that_are_no_question_are_refused(words, capsys):
    with pytest.raises(SystemExit) as refused:
        read(*words)
    assert refused.value.code == 2


# Against a node with the demonstration model and one picture


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A node that has seen one picture of the clip; the truth of that picture."""
    pytest.importorskip("rclpy")
    pytest.importorskip("sphinx_ros.msg")
    from ros_support import CHECKPOINT, UNHURRIED, Client, clip_pictures, environment, process

    from sphinx_ros.ros import messages as m
    from sphinx_ros.ros import query_client

    log = tmp_path_factory.mktemp("query") / "node.log"
    words = ("-r", "__node:=asked", "-r", "image:=/one", *UNHURRIED)
    patch = pytest.MonkeyPatch()
    patch.setattr(query_client, "APPEARS", PATIENCE)
    for name, value in environment().items():
        patch.setenv(name, value)
    ((rgb, truth),) = clip_pictures(1)
    client = Client("query", target="asked")
    try:
        with process("sphinx_ros.ros.node", *words, "-p", f"checkpoint:={CHECKPOINT}", log=log):
            publisher = client.publisher(m.Image, "/one")
            for _ in range(5):  # best effort: one may be lost
                publisher.publish(m.image_message(rgb, m.Header(frame_id="camera")))
                client.until(lambda: False, 0.1)
            yield truth
    finally:
        client.close()
        patch.undo()


def run(*words):
    from sphinx_ros.ros.query_client import main

    return main([*words, "--node", "/asked"])


@pytest.mark.ros
def test_what_is_there_is_answered_with_its_box(picture, capsys):
    (mug,) = [one for one in picture["objects"] if one["kind"] == "mug"]
    name = f"the {mug['colour']} mug"
    code = run("ground", *name.split())
    said = capsys.readouterr().out
    assert code == 0 and said.startswith(f"OK {name} box "), said
    box = [float(side) for side in said.split(" box ")[1].split()[0].split(",")]
    assert all(abs(side - true) < 15 for side, true in zip(box, mug["box"], strict=True))
    assert " score " in said


@pytest.mark.ros
def test_an_answer_in_words(picture, capsys):
    assert run("ask", "how many objects are there?") == 0
    assert capsys.readouterr().out.startswith("OK ")


@pytest.mark.ros
def test_what_is_not_there_is_exit_code_1(picture, capsys):
    assert "cone" in {one["kind"] for one in picture["objects"]}
    assert run("ground", "the green cone") == 1
    assert capsys.readouterr().out.startswith("NOT_FOUND")


@pytest.mark.ros
def test_what_cannot_be_asked_is_exit_code_2(picture, capsys):
    assert run("describe", "10,20") == 2
    assert "10,20" in capsys.readouterr().err
    assert run("describe", "9000,9000,9100,9100") == 2
    assert capsys.readouterr().out.startswith("BAD_REQUEST ")
    assert run("caption", "--camera", "nowhere") == 2
    assert "nowhere" in capsys.readouterr().out


@pytest.mark.ros
def test_a_time_limit_is_exit_code_3(picture, capsys):
    assert run("caption", "--timeout", "0.001") == 3
    assert capsys.readouterr().out.startswith("TIMEOUT ")


@pytest.mark.ros
def test_a_node_that_is_not_there_is_named_with_those_that_are(picture, capsys, monkeypatch):
    from sphinx_ros.ros import query_client

    monkeypatch.setattr(query_client, "APPEARS", 5.0)
    assert query_client.main(["pose", "--node", "/elsewhere"]) == 3
    said = capsys.readouterr().err
    assert "no node /elsewhere" in said and "there is /asked" in said


@pytest.mark.ros
def test_the_answer_as_values(picture):
    from sphinx_ros.errors import BadRequest, SphinxError, Status
    from sphinx_ros.prompt.queries import Query, read_query
    from sphinx_ros.ros.start import ask_node

    (mug,) = [one for one in picture["objects"] if one["kind"] == "mug"]
    name = f"the {mug['colour']} mug"
    (found,) = ask_node(Query(Task.GROUND, name), "/asked")
    assert found.label == name and iou(found.box, mug["box"]) > 0.6
    spot = ask_node(Query(Task.POINT, name), "/asked")
    assert len(spot) == len(spot.boxes) == 1
    assert ask_node(read_query("ask: how many objects are there?"), "/asked").text
    assert ask_node(Query(Task.GROUND, "the green cone"), "/asked").status is Status.NOT_FOUND
    assert ask_node(Query(Task.POSE), "/asked").poses
    for query, node, error in (
        (Query(Task.DESCRIBE, box=(9e3, 9e3, 9.1e3, 9.1e3)), "/asked", BadRequest),
        (Query(Task.CAPTION), "no name", BadRequest),
    ):
        with pytest.raises(error):
            ask_node(query, node)
    with pytest.raises(SphinxError, match="nowhere"):
        ask_node(Query(Task.CAPTION), "/asked", "nowhere")


@pytest.mark.ros
def test_who_stops_waiting_cancels_the_goal(context):
    """As an agent does that cancels its call."""
    pytest.importorskip("sphinx_ros.msg")
    import rclpy
    from rclpy.action import ActionServer, CancelResponse
    from rclpy.callback_groups import ReentrantCallbackGroup
    from ros_support import spinning

    from sphinx_ros.errors import Cancelled
    from sphinx_ros.prompt.queries import Query
    from sphinx_ros.ros import messages as m
    from sphinx_ros.ros.query_client import ask_node

    taken, cancelled = threading.Event(), threading.Event()

    def work(goal):
        taken.set()
        if until(lambda: goal.is_cancel_requested):
            cancelled.set()
            goal.canceled()
        return m.QueryAction.Result()

    node = rclpy.create_node("slow", context=context)
    how = {"cancel_callback": lambda goal: CancelResponse.ACCEPT}
    how["callback_group"] = ReentrantCallbackGroup()
    ActionServer(node, m.QueryAction, "/slow/query", work, **how)
    with spinning(node):
        with pytest.raises(Cancelled):
            ask_node(Query(Task.CAPTION), "/slow", cancel=taken.is_set)
        assert cancelled.wait(PATIENCE)


@pytest.mark.ros
def test_an_agent_asks_the_node(picture):
    """Its tool needs no model of its own."""
    from functools import partial

    from sphinx_ros.commands.mcp import answer

    call = partial(answer, root=".", model=None, cancel=lambda: False)
    (mug,) = [one for one in picture["objects"] if one["kind"] == "mug"]
    given = {"text": f"the {mug['colour']} mug", "node": "/asked"}
    said = call("ground", given)
    assert not said["isError"] and said["content"][0]["text"].startswith("/asked: OK the ")
    assert iou(said["structuredContent"]["results"][0]["box"], mug["box"]) > 0.6
    lost = call("caption", {"node": "/asked", "camera": "nowhere"})
    assert lost["isError"] and "nowhere" in lost["content"][0]["text"]


@pytest.mark.ros
def test_ros2_has_the_verb(picture):
    pytest.importorskip("ros2cli", reason="ros2cli is not installed (part of every ROS 2)")
    from importlib.metadata import entry_points

    if "sphinx" not in entry_points(group="ros2cli.command").names:
        pytest.skip("this package is not installed beside ros2cli")
    words = ["sphinx", "ask", "how many mugs are there?", "--node", "/asked"]
    code = "import sys; from ros2cli.cli import main; sys.exit(main(argv=sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0 and done.stdout.startswith("OK "), done.stderr


@pytest.mark.ros
def test_ctrl_c_ends_a_search_for_a_node_quietly():
    pytest.importorskip("rclpy")
    pytest.importorskip("sphinx_ros.msg")
    from ros_support import ROOT, environment
    from shared_memory import segments

    asked = subprocess.Popen(
        [sys.executable, "-m", "sphinx_ros.ros.query_client", "pose", "--node", "/nobody"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=ROOT,
        # a shell without job control has its background processes ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert until(lambda: segments(asked.pid)), "it never began to search"
        asked.send_signal(signal.SIGINT)
        assert asked.wait(PATIENCE) == 130
        assert "Traceback" not in asked.stderr.read()
    finally:
        asked.kill()
        asked.wait()
