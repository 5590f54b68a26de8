"""Every task through every door: each has one row, and whatever knows tasks follows from it."""

import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from sphinx_ros.commands.look import VERBS
from sphinx_ros.errors import BadRequest, Status
from sphinx_ros.prompt.queries import Query, read_query
from sphinx_ros.prompt.results import middles
from sphinx_ros.prompt.wording import question
from sphinx_ros.seen import Seen
from sphinx_ros.tasks import ROWS, Answers, Takes, Task
from sphinx_ros.types import (
    COCO_KEYPOINTS,
    Answer,
    Detection,
    Keypoint,
    Points,
    PointSource,
    Pose,
    Results,
    Timing,
    Visibility,
)

ROOT = Path(__file__).resolve().parent.parent
BOX = (10.0, 20.0, 110.0, 220.0)
tasks = pytest.mark.parametrize("task", list(Task), ids=lambda task: task.value)


def query(task: Task) -> Query:
    """A query that gives the task all it takes."""
    takes = task.row.takes
    return Query(task, "the mug" if takes.words else "", BOX if takes.region else None)


def test_every_task_has_a_row_and_a_number():
    assert list(ROWS) == list(Task)
    assert [row.number for row in ROWS.values()] == list(range(len(Task)))
    assert all(row.about.endswith(".") and row.max_new_tokens > 0 for row in ROWS.values())


@tasks
def test_prompting(task):
    row = task.row
    given = {"text": "the mug" if row.takes.words else ""}
    if row.takes.region:
        given["box"] = (0.1, 0.2, 0.3, 0.4)
    asked = question(task, **given)
    assert "{" not in asked
    assert ("mug" in asked) == row.takes.words
    regions = row.takes in (Takes.BOX, Takes.MAYBE_BOX)  # a question about one has a turn for it
    assert ("[0.100,0.200,0.300,0.400]" in asked) == regions
    if row.takes in (Takes.TEXT, Takes.QUESTION, Takes.BOX):
        with pytest.raises(BadRequest):
            question(task)
    else:
        assert question(task)
    asked = [question(t, **given_to(t)) for t in Task if t is not Task.POINT]
    assert len(set(asked)) == len(asked), "two ask the same"
    assert question(Task.POINT, "mug") == question(Task.GROUND, "mug"), "and no other"


def given_to(task):
    box = (0.1, 0.2, 0.3, 0.4) if task.row.takes.region else None
    return {"text": "mug" if task.row.takes.words else "", "box": box}


@tasks
def test_query_lines(task):
    read = read_query(task.line)
    assert read.task is task and read.line() == task.line
    assert read_query(query(task).line()) == query(task)
    if task.row.takes.words or task.row.takes is Takes.BOX:
        with pytest.raises(BadRequest):
            read_query(task.value)
    if task.row.takes is Takes.NOTHING:
        with pytest.raises(BadRequest, match="takes no text"):
            read_query(f"{task.value}: now")


class Recording:
    """Notes what is asked, with the signatures of the real methods."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        method = getattr(Seen, name)

        def call(*given, **options):
            inspect.signature(method).bind(self, *given, **options)
            self.calls.append((name, given, options))

        return call


@tasks
def test_the_method_of_seen(task):
    seen = Recording()
    query(task).put_to(seen, timeout=1.0)
    row = task.row
    expected = ("the mug",) if row.takes.words else (BOX,) if row.takes.region else ()
    about = {"box": BOX} if row.takes is Takes.QUESTION else {}
    assert seen.calls == [(task.value, expected, {"timeout": 1.0, **about})]
    result = str(inspect.signature(getattr(Seen, task.value)).return_annotation)
    kinds = {
        Answers.BOXES: "Results[Detection]",
        Answers.PEOPLE: "Results[Pose]",
        Answers.POINTS: "Points",
    }
    assert result == kinds.get(row.answers, "Answer")


@tasks
def test_the_verb_of_the_command_line(task, capsys):
    verb = VERBS[task.value]
    with pytest.raises(SystemExit) as done:
        verb.run(["--help"])
    said = capsys.readouterr().out
    assert done.value.code == 0 and task.row.about in " ".join(said.split())


def result_of(task: Task):
    """What the task answers with, made by hand."""
    if task.row.answers is Answers.WORDS:
        return Answer("two", raw_text="two")
    if task.row.answers is Answers.BOXES:
        return Results([Detection("mug", BOX, 0.5)])
    if task.row.answers is Answers.POINTS:
        boxes = (Detection("mug", BOX, 0.5),)
        return Points(middles(boxes), source=PointSource.BOX, boxes=boxes)
    joints = tuple(
        Keypoint(name, 100 + 5 * i, 100 + 9 * i, 0.5, Visibility.VISIBLE)
        for i, name in enumerate(COCO_KEYPOINTS)
    )
    return Results([Pose(joints, BOX, 0.5)])


@tasks
def test_the_verb_asks_the_method_of_seen(task, capsys, monkeypatch, tmp_path):
    """From words to the method, and from what it gives to the printed line."""
    from sphinx_ros.pipeline import Sphinx

    class Looked(Recording):
        timing, cached = Timing(1.0, 1.0), False

        def __getattr__(self, name):
            ask = super().__getattr__(name)
            return lambda *given, **options: ask(*given, **options) or result_of(task)

    seen = Looked()
    sphinx = SimpleNamespace(look=lambda rgb, after=None: seen)
    monkeypatch.setattr(Sphinx, "from_pretrained", lambda *_, **__: sphinx)
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.full((480, 640, 3), 90, np.uint8))
    takes = task.row.takes
    words = ["the", "mug"] if takes.words else ["10,20,110,220"] if takes.region else []
    code = VERBS[task.value].run([str(photo), *words, "--timeout", "5"])
    expected = ("the mug",) if takes.words else (BOX,) if takes.region else ()
    if takes is Takes.QUESTION:
        code = VERBS[task.value].run(
            [str(photo), *words, "--timeout", "5", "--box", "10,20,110,220"]
        )
        assert seen.calls.pop()[2].pop("box") == BOX
    limits = {"max_new_tokens": None, "timeout": 5.0}
    assert code == 0 and seen.calls == [(task.value, expected, limits)]
    said = {
        Answers.WORDS: "two",
        Answers.BOXES: "mug box",
        Answers.PEOPLE: "person box",
        Answers.POINTS: "mug point 60.0,120.0",
    }
    assert said[task.row.answers] in capsys.readouterr().out


@tasks
def test_the_messages(task):
    pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")
    from sphinx_ros.ros import messages as m
    from sphinx_ros.ros import replies
    from sphinx_ros.ros.outcomes import Outcome
    from sphinx_ros.ros.services import PORTS

    assert getattr(m.QueryMessage, task.name) == task.row.number
    assert m.query_of(m.query_message(query(task))) == query(task)
    outcome = Outcome(query(task), Status.OK, result=result_of(task), width=640, height=480)
    message = replies.answer_to(outcome)
    assert message.query.task == task.row.number and message.status.code == Status.OK
    kinds = {
        Answers.BOXES: m.DetectionArray,
        Answers.PEOPLE: m.PersonPoseArray,
        Answers.POINTS: m.PointArray,
    }
    assert type(message) is kinds.get(task.row.answers, m.Answer)
    assert replies.answer_message(outcome).status.code == Status.OK, "the action's result"
    if task in PORTS:
        _, kind, field = PORTS[task]
        assert field in kind.Request.get_fields_and_field_types()
        result = kind.Response().result
        assert type(result) is type(message)


@tasks
def test_what_is_drawn(task):
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    from sphinx_ros.ros.annotated import annotate
    from sphinx_ros.ros.outcomes import Outcome

    rgb = np.full((480, 640, 3), 90, np.uint8)
    outcome = Outcome(query(task), Status.OK, result=result_of(task), width=640, height=480)
    failed = Outcome(query(task), Status.TIMEOUT, "too slow", width=640, height=480)
    drawn = annotate(rgb, [outcome])
    assert drawn.shape != rgb.shape or (drawn != rgb).any()
    assert annotate(rgb, [failed]).shape[0] > rgb.shape[0], "a failure stands below the picture"


@pytest.mark.parametrize(
    "document", ["README.md", "docs/ros.md", "config/sphinx.yaml", "msg/Query.msg"]
)
def test_documents_name_every_task(document):
    text = (ROOT / document).read_text()
    missing = [task.value for task in Task if not re.search(rf"\b{task.value}\b", text)]
    assert not missing, f"{document} lacks {missing}"


@pytest.mark.parametrize("document", ["config/sphinx.yaml", "msg/Query.msg", "srv/SetQueries.srv"])
def test_documents_show_a_line_of_every_task(document):
    text = " ".join((ROOT / document).read_text().replace("#", " ").split())
    missing = [task.line for task in Task if f'"{task.line}"' not in text]
    assert not missing, f"{document} lacks {missing}"


@pytest.mark.parametrize("document", ["README.md", "docs/ros.md", "msg/Status.msg"])
def test_documents_name_every_status(document):
    text = (ROOT / document).read_text()
    assert not [status.name for status in Status if status.name not in text]


@pytest.mark.parametrize(
    "line, text, box",
    [
        ("ask: what is this? @ 10,20,110,220", "what is this?", BOX),
        ("ask: what is this? @10, 20, 110, 220", "what is this?", BOX),
        ("ask: who is a@b.org?", "who is a@b.org?", None),
        ("ask: are there 3 @ 4?", "are there 3 @ 4?", None),
        ("ground: the mug @ 10,20,110,220", "the mug @ 10,20,110,220", None),
    ],
)
def test_a_question_about_a_region_as_a_line(line, text, box):
    read = read_query(line)
    assert (read.text, read.box) == (text, box) and read_query(read.line()) == read


def test_a_region_that_is_none_is_refused():
    with pytest.raises(BadRequest, match="box"):
        read_query("ask: what is this? @ 10,20,5,220")
