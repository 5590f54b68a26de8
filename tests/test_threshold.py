"""The parameters `threshold` and `verify`: what is left out of answers, and what is not asked."""

import math
import time

import pytest
from small_network import fresh, picture

from sphinx_ros.answer.score_calibration import Calibration
from sphinx_ros.errors import Status
from sphinx_ros.prompt.queries import Query, read_query
from sphinx_ros.ros.asking import Asker
from sphinx_ros.ros.counts import Counts
from sphinx_ros.ros.job import Job
from sphinx_ros.ros.outcomes import Frame, Outcome
from sphinx_ros.ros.params import Config
from sphinx_ros.ros.threshold import above
from sphinx_ros.ros.worker import Worker
from sphinx_ros.tasks import Task
from sphinx_ros.types import (
    COCO_KEYPOINTS,
    Answer,
    Detection,
    Keypoint,
    Points,
    PointSource,
    Pose,
    Results,
)

SCORES = (0.9, 0.2, math.nan, 0.5)
BOXES = tuple(Detection(str(score), (0, 0, 9, 9), score) for score in SCORES)
POINTS = tuple(Keypoint(str(score), 4.5, 4.5, score) for score in SCORES)
JOINTS = tuple(Keypoint(name, 1, 1, 0.1) for name in COCO_KEYPOINTS)
PEOPLE = tuple(Pose(JOINTS, score=score) for score in SCORES)


def outcome(result):
    return Outcome(Query(Task.DETECT, "mug"), result.status, "", result, result.raw_text)


@pytest.mark.parametrize("items", [BOXES, POINTS, PEOPLE])
def test_items_below_it_are_left_out_and_unknown_scores_are_kept(items):
    whole = outcome(Results(items, raw_text="all"))
    left = above(whole, 0.5)
    assert left.result.items == (items[0], items[2], items[3]) and left.status is Status.OK
    assert left.raw_text == left.result.raw_text == "all"
    assert above(whole, 0.0) is whole


def test_when_none_is_left_it_is_not_found_and_the_threshold_is_named():
    left = above(outcome(Results(BOXES[:2], raw_text="all")), 0.95)
    assert left.status is left.result.status is Status.NOT_FOUND and not left.boxes
    assert "0.9," in left.text and "threshold of 0.95" in left.text and left.raw_text == "all"


def test_a_point_goes_with_its_box():
    points = Points(POINTS, boxes=BOXES, source=PointSource.BOX)
    left = above(outcome(points), 0.6)
    assert left.points == (POINTS[0], POINTS[2]) and left.boxes == (BOXES[0], BOXES[2])
    assert left.result.source is PointSource.BOX
    none = above(outcome(Points(POINTS[1:2], boxes=BOXES[1:2], source=PointSource.BOX)), 0.6)
    assert none.status is Status.NOT_FOUND and none.result.source is PointSource.NONE
    assert none.boxes == ()
    own = above(outcome(Points(POINTS, source=PointSource.MODEL)), 0.6)
    assert own.points == left.points and own.boxes == ()


def test_words_stay_an_answer():
    left = above(outcome(Answer("a mug", BOXES[1:2], POINTS[:2])), 0.6)
    assert left.status is Status.OK and left.result.text == "a mug"
    assert left.boxes == () and left.points == POINTS[:1]


@pytest.mark.parametrize("status", [Status.NOT_FOUND, Status.PARSE_FAILED])
def test_an_answer_without_items_keeps_its_status(status):
    empty = outcome(Results(status=status))
    assert above(empty, 1.0) is empty


def answers(sphinx, config, *lines):
    """The outcomes of some lines about one picture, asked as the node asks them."""
    asker = Asker(sphinx, time.time, Counts())
    frame = Frame(lambda: picture(64, 48), time.time())
    jobs = [Job(read_query(line), frame, 30.0) for line in lines]
    for job in jobs:
        job.take()
    return asker.answer(asker.looks.of(frame), jobs, config, lambda: False)


LINE = "ground: the red mug"


@pytest.mark.parametrize("lines", [[LINE], [LINE, "caption"]])
def test_one_query_and_a_batch_follow_both_parameters(taught, lines):
    sphinx = fresh(taught, Calibration((0.0, 1.0, 0.0, 0.0, 0.0), present=1.1, sigma=1.0))
    denied = answers(sphinx, Config(), *lines)[0]
    assert denied.status is Status.NOT_FOUND and len(denied.result.denied) == 1
    found = answers(sphinx, Config(verify=False), *lines)[0]
    assert found.status is Status.OK and math.isnan(found.boxes[0].presence)
    above_all = answers(sphinx, Config(verify=False, threshold=1.0), *lines)[0]
    assert above_all.status is Status.NOT_FOUND and "threshold of 1" in above_all.text
    assert above_all.raw_text == found.raw_text


class Plain:
    """A model whose methods know neither `verify` nor `on_found`."""

    def look(self, rgb):
        return self

    def ground(self, text, *, max_new_tokens, cancel, timeout):
        return Results([Detection(text, (0, 0, 1, 1), 0.4)])


def test_a_model_that_knows_no_such_keyword_is_asked_without_it():
    (one,) = answers(Plain(), Config(verify=False), LINE)
    assert one.status is Status.OK and len(one.boxes) == 1
    (low,) = answers(Plain(), Config(verify=False, threshold=0.5), LINE)
    assert low.status is Status.NOT_FOUND


def test_each_camera_has_its_own_and_a_change_is_followed_at_once():
    worker = Worker(
        Plain, config=Config(cameras=("front", "wrist"), own={"front": {"threshold": 0.5}})
    )
    worker.start()
    try:
        assert worker.life.await_load(10)
        for camera in ("front", "wrist"):
            pictured = Frame(lambda: picture(64, 48), time.time(), time.time(), camera=camera)
            worker.inbox.offer(pictured)

        def status(camera):
            return worker.result(worker.submit(read_query(LINE), camera=camera)).status

        assert (status("front"), status("wrist")) == (Status.NOT_FOUND, Status.OK)
        worker.inbox.change(Config(cameras=("front", "wrist"), threshold=0.7))
        assert (status("front"), status("wrist")) == (Status.NOT_FOUND, Status.NOT_FOUND)
        worker.inbox.change(Config(cameras=("front", "wrist")))
        assert (status("front"), status("wrist")) == (Status.OK, Status.OK)
    finally:
        worker.stop()
