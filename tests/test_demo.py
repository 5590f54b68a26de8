"""The demonstration: how it judges answers, what its table and its last lines say."""

import math
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")

import numpy as np

from sphinx_ros.errors import Status
from sphinx_ros.ros import demo, demo_picture
from sphinx_ros.ros.demo_client import Row
from sphinx_ros.ros.demo_questions import Question, Reply, judge, questions
from sphinx_ros.tasks import Task
from sphinx_ros.types import COCO_KEYPOINTS, Detection, Keypoint, Pose

OBJECTS = [
    dict(kind="mug", colour="red", box=[0, 0, 100, 100], position=[0.1, 0.2, 1.0]),
    dict(kind="can", colour="blue", box=[200, 0, 260, 100]),
    dict(kind="ball", colour="green", box=[300, 0, 360, 60]),
    dict(kind="cone", colour="white", box=[400, 0, 460, 60]),
    dict(kind="person", colour="red", box=[0, 100, 100, 300],
         keypoints=[[10 * i, 100 + 10 * i, 2] for i in range(17)]),
]  # fmt: skip
ASKED = {q.shown: q for q in questions(OBJECTS, OBJECTS) if q.camera == "front"}
QUESTION = Question("service", Task.ASK, "How many?")


def row(status=Status.OK, milliseconds=100.0, right=True) -> Row:
    return Row(QUESTION, status.name, "right", right, milliseconds, Reply(status))


def test_many_different_things_are_asked():
    assert len(ASKED) >= 9
    assert len({q.task for q in ASKED.values()}) >= 5
    assert {q.how for q in ASKED.values()} == {"service", "action", "topic"}
    both = {q.camera for q in questions(OBJECTS, OBJECTS)}
    assert both == {"front", "wrist"} and {q.camera for q in questions(OBJECTS)} == {"front"}


@pytest.mark.parametrize(
    "line, reply, verdict, right",
    [
        ("ground: the red mug", Reply(Status.OK, [Detection("x", (0, 0, 100, 90))]),
         "IoU 0.90", True),
        ("ground: the red mug", Reply(Status.OK, [Detection("x", (200, 0, 300, 90))]),
         "IoU 0.00", False),
        ("ground: the red mug", Reply(Status.NOT_FOUND), "wrong: it is there", False),
        ("ground: the red mug",
         Reply(Status.OK, [Detection("x", (0, 0, 100, 90))], places=[(0.1, 0.2, 1.03)]),
         "IoU 0.90, 3.0 cm off", True),
        ("ground: the red mug",
         Reply(Status.OK, [Detection("x", (0, 0, 100, 90))], places=[(math.nan,) * 3]),
         "IoU 0.90", True),
        ("ground: the red cube", Reply(Status.NOT_FOUND), "right", True),
        ("ground: the red cube", Reply(Status.OK, [Detection("x", (0, 0, 9, 9))]),
         "wrong: there is none", False),
        ("point: the green ball", Reply(Status.OK, points=[Keypoint("x", 330, 30)]),
         "in its box", True),
        ("point: the green ball", Reply(Status.OK, points=[Keypoint("x", 30, 30)]),
         "beside it", False),
        ("point: the green ball", Reply(Status.NOT_FOUND), "wrong: it is there", False),
        ("ask: What is this? (in a box)", Reply(Status.OK, text="small blue can"), "right", True),
        ("ask: What is this? (in a box)", Reply(Status.OK, text="red mug"), "wrong: can", False),
        ("ground: the red mug", Reply(Status.TIMEOUT), "no answer", False),
        ("detect: cube", Reply(Status.NOT_FOUND), "right", True),
        ("detect: cube", Reply(Status.OK, [Detection("cube", (0, 0, 9, 9))]),
         "wrong: there is none", False),
        ("ask: How many objects are there?", Reply(Status.OK, text="5."), "right", True),
        ("ask: How many objects are there?", Reply(Status.OK, text="4"), "wrong: 5", False),
    ],
)  # fmt: skip
def test_answers_are_judged_by_the_truth(line, reply, verdict, right):
    assert judge(ASKED[line], reply, OBJECTS)[1:] == (verdict, right)


def test_a_list_is_right_when_everything_in_it_is():
    found = [Detection(f"{o['colour']} {o['kind']}", tuple(o["box"])) for o in OBJECTS]
    everything = ASKED["detect: objects"]
    whole = judge(everything, Reply(Status.OK, found), OBJECTS)
    assert whole == ("5 boxes", "5 of 5, mean IoU 1.00", True)
    assert not judge(everything, Reply(Status.OK, found[1:]), OBJECTS)[2]
    assert not judge(everything, Reply(Status.OK, [*found, found[0]]), OBJECTS)[2]


def test_boxes_are_judged_as_they_are_scored():
    """The same box twice finds one thing, and one of two kinds finds neither."""
    mug = Detection("red mug", (0, 0, 100, 100))
    found = judge(ASKED["detect: objects"], Reply(Status.OK, [mug] * 5), OBJECTS)
    assert found[1:] == ("1 of 5, mean IoU 1.00", False)
    wrong = Detection("red can", (0, 0, 100, 100))
    assert judge(ASKED["detect: objects"], Reply(Status.OK, [wrong]), OBJECTS)[1] == "0 of 5"


def test_a_pose_without_a_person_or_places_is_wrong():
    nowhere = Pose(tuple(Keypoint(n, float("nan"), float("nan")) for n in COCO_KEYPOINTS))
    for people in ([], [nowhere]):
        said = judge(ASKED["pose"], Reply(Status.OK, people=people), OBJECTS)
        assert said == ("0 joints", "0 of 17 near", False)


def test_a_pose_is_right_when_most_joints_are_near():
    joints = [Keypoint(n, 10.0 * i, 100.0 + 10 * i) for i, n in enumerate(COCO_KEYPOINTS)]
    away = tuple(Keypoint(k.name, k.x + 40, k.y) for k in joints)
    right = judge(ASKED["pose"], Reply(Status.OK, people=[Pose(tuple(joints))]), OBJECTS)
    wrong = judge(ASKED["pose"], Reply(Status.OK, people=[Pose(away)]), OBJECTS)
    assert right == ("17 joints", "17 of 17 near", True)
    assert wrong == ("17 joints", "0 of 17 near", False)


def test_a_late_answer_is_an_answer_and_a_timeout_is_named():
    late, slow = row(milliseconds=45_000.0), row(Status.TIMEOUT, right=False)
    assert late.came and not late.slow
    assert slow.slow and not slow.came
    said = demo.summary([row(), late, slow], 90.0)
    assert said.startswith("2 of 3 answers came, 2 are right")
    assert "1 came late" in said and "TIMEOUT" in said


def test_what_failed_is_named_with_its_status():
    failed = Row(QUESTION, "INTERNAL: a defect", "no answer", False, 1.0, Reply(Status.INTERNAL))
    silent = Row(QUESTION, "none in 120 s", "no answer", False, 1.0)
    assert not (failed.came or failed.slow or silent.came or silent.slow)
    said = demo.summary([row(), failed, silent, silent], 1.0)
    assert "3 failed (INTERNAL: a defect; none in 120 s)" in said


def test_the_lines_of_the_table_are_as_long_as_its_head():
    columns = demo.widths(list(ASKED.values()))
    head = demo.line(demo.HEADS, columns)
    long = Row(QUESTION, "many words " * 9, "and more " * 9, True, float("nan"))
    for made in (row(), long):
        assert len(demo.line(demo.cells(made), columns)) == len(head)
    assert "nan" not in demo.line(demo.cells(long), columns)


def test_a_run_that_half_failed_replaces_no_picture(tmp_path, capsys, monkeypatch):
    out = tmp_path / "annotated.png"
    out.write_bytes(b"the last whole one")
    monkeypatch.setattr(demo_picture, "picture", lambda rows: np.zeros((8, 8, 3), np.uint8))
    demo.write_picture([row(), row(Status.TIMEOUT)], out)
    assert out.read_bytes() == b"the last whole one"
    assert str(out) in capsys.readouterr().out
    demo.write_picture([row(), row(Status.NOT_FOUND)], out)
    assert out.read_bytes().startswith(b"\x89PNG")


def test_the_picture_goes_where_git_does_not_look():
    ignored = (Path(__file__).parents[1] / ".gitignore").read_text().split()
    assert f"{Path(demo.OUT).parts[0]}/" in ignored


def test_the_last_lines_say_how_to_go_on():
    said = demo.next_steps()
    assert "bin/activate" in said and "sphinx-ros " in said


def test_the_picture_shows_nine_answers_and_places_in_space():
    import cv2

    jpeg = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    asked = questions(OBJECTS, OBJECTS)
    reply = Reply(Status.OK, [Detection("x", (0, 0, 30, 30))], places=[(0.1, 0.2, 1.0)])
    rows = [Row(one, "[0 0 30 30]", "right", True, 5.0, reply, jpeg) for one in asked]
    made = demo_picture.picture(rows)
    assert made.shape[0] >= 3 * 48 and made.shape[1] >= 3 * 64
    assert demo_picture.note((0.1, -0.2, 1.0)) == "+0.10 -0.20 1.00 m"
    assert demo_picture.note((math.nan,) * 3) == ""
